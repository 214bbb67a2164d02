"""Changes of how a retina looks: reflexes of its vessels, light, optics, sensor and compression.

Each takes an image (3, H, W) with values between 0 and 1. No change moves a vessel.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

# Vessels of at least this width in pixels have a reflex; no vessel is wider than twice the reach.
_WIDE, _REACH = 3, 10


def with_reflex(image: Tensor, target: Tensor, gain: float, rng: np.random.Generator) -> Tensor:
    """Brighten the middle of about half of the wider vessels by up to 1 + `gain`, as in arteries.

    The choice is smooth over the image: a vessel has a reflex along its way, or none.
    """
    from scipy import ndimage  # here, so that a recipe need not load it

    depth = ndimage.distance_transform_edt(target[0].numpy() > 0.5)
    deepest = ndimage.maximum_filter(depth, 2 * _REACH + 1)  # of the middle of a vessel near by
    middle = np.clip(2 * depth / np.maximum(deepest, 1) - 1, 0, 1) * (2 * deepest > _WIDE)
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 4, 4))).float()
    where = F.interpolate(coarse, image.shape[1:], mode="bilinear")[0].mul(4).clamp(0, 1)
    return image * (1 + gain * where * torch.from_numpy(middle).float())


def with_light(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Light the image unevenly, by a random polynomial of the third degree (MONAI's)."""
    from monai.transforms import RandBiasField  # here: it takes as long to load as torch

    field = RandBiasField(degree=3, coeff_range=(-strength, strength), prob=1.0)
    field.set_random_state(int(rng.integers(2**32)))
    return torch.as_tensor(field(image)).as_subclass(Tensor)


def with_contrast(image: Tensor, fov: Tensor, factor: float) -> Tensor:
    """Move values away from the mean of each channel in the field of view, or towards it."""
    mean = (image * fov).sum((1, 2), keepdim=True) / fov.sum().clamp(min=1)
    return torch.where(fov > 0, mean + factor * (image - mean), image)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of this standard deviation in pixels."""
    from scipy import ndimage

    # SciPy's blur continues the image beyond its border. MONAI's takes zeros there, and darkens it.
    smooth = ndimage.gaussian_filter(image.numpy(), sigma, mode="nearest", axes=(1, 2))
    return torch.from_numpy(smooth)


def with_noise(image: Tensor, fov: Tensor, std: float, rng: np.random.Generator) -> Tensor:
    """Add Gaussian noise in the field of view (MONAI's)."""
    from monai.transforms import RandGaussianNoise

    noise = RandGaussianNoise(prob=1.0, std=std, sample_std=False)
    noise.set_random_state(int(rng.integers(2**32)))
    noisy = torch.as_tensor(noise(image)).as_subclass(Tensor)
    return torch.where(fov > 0, noisy, image)


def compressed(image: Tensor, quality: int) -> Tensor:
    """Compress by JPEG, and decode again."""
    values = (255 * image.clamp(0, 1)).round().byte().permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=quality)
    decoded = np.array(Image.open(buffer))
    return torch.from_numpy(decoded).permute(2, 0, 1).float() / 255
