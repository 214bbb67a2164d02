"""The scale at which a network knows the vessels of an image, found only from its maps."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from .data.fov import estimate_fov
from .data.fov import fov_diameter as measured_diameter
from .data.tensors import resized_map, scaled_size
from .fundus import check_image, checked_mask
from .predict import segment
from .weights import Trained, check_trained

_STEP, _REACH = 1.25, 4  # from one diameter to the next, and steps to both sides: .41 to 2.44
_COMMON = 535  # diameter at which all maps are measured: DRIVE's
_STAY = 0.05  # another diameter must be more certain than the start by this part
_CERTAIN = 0.9


def find_fov_diameter(
    image: NDArray[np.uint8], trained: Trained, *, fov: NDArray[np.bool_] | None = None
) -> float:
    """Find the diameter of the field of view at which the network is most certain of the vessels.

    The diameter used in training is right for cameras that see as much of the retina as the
    training's camera. In other images, vessels are narrower or wider than the network knows them.
    This function segments the image at diameters from 0.41 to 2.44 times the training's, in steps
    of 1.25. It starts at the training's diameter and goes uphill. A diameter's score is the length
    of vessels with a probability above 0.9, times the F1 that the map would have if it were
    calibrated. The training's diameter stays unless another scores 5 % higher.

    It takes about six times as long as `segment`, and longer if vessels are narrow. It works for
    ``load_pretrained("drive")``, and not for ``"chase_db1"``; a page of the documentation tells
    what it was tried on.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        trained: The network and its settings, from `load_pretrained` or `load_weights`.
        fov: Field of view, shape (H, W); by default `estimate_fov` of the image.

    Returns:
        The diameter in pixels, for `segment`.

    Raises:
        TypeError: If `image` is not an array of type uint8 or `trained` is not a `Trained`.
        ValueError: If `image` is not of shape (H, W, 3), or `fov` has another height or width or no
            True pixel.

    Example:
        >>> from torchattn_blocks.retina import find_fov_diameter, load_pretrained, synthesize
        >>> fundus = synthesize(0, height=160, width=150)
        >>> trained = load_pretrained("drive")
        >>> 0.4 < find_fov_diameter(fundus.image, trained) / trained.settings.fov_diameter < 2.5
        True
    """
    check_trained("find_fov_diameter", trained)
    check_image("find_fov_diameter", image)
    if fov is None:
        fov = estimate_fov(image)
    fov = checked_mask("find_fov_diameter", fov, image.shape[:2])
    size = scaled_size(fov.shape, _COMMON / measured_diameter(fov))
    inside = resized_map(torch.from_numpy(fov).float()[None], size)[0].numpy() > 0.5

    def diameter(steps: int) -> float:
        return trained.settings.fov_diameter * _STEP**steps

    def measure(steps: int) -> float:
        found = segment(image, trained, fov=fov, fov_diameter=diameter(steps))
        return certainty(resized_map(torch.from_numpy(found)[None], size)[0].numpy(), inside)

    return diameter(climb(measure))


def certainty(probability: NDArray[np.float32], fov: NDArray[np.bool_]) -> float:
    """How certain a network is of the vessels of an image: a number for comparing its maps.

    Args:
        probability: A probability map (H, W), resized to a common diameter of the field of view.
        fov: The field of view, shape (H, W).
    """
    inside = np.where(fov, probability, 0)
    length = np.count_nonzero(skeletonize(inside > _CERTAIN)) / _COMMON
    values = inside[fov].astype(np.float64)
    found = values[values > 0.5]
    # The sum of the values of a calibrated map is the expected number of vessel pixels.
    return float(length * 2 * found.sum() / max(found.size + values.sum(), 1e-9))


def climb(
    measure: Callable[[int], float], low: int = -_REACH, high: int = _REACH, stay: float = _STAY
) -> int:
    """The place from `low` to `high` where a measure is highest, uphill from 0.

    It looks two steps to both sides, goes on uphill until the measure falls, and then looks one
    step to both sides. It leaves 0 only for a measure that is higher by the part `stay`.
    """
    seen = {0: measure(0)}
    for stride in (2, 1):
        best = None
        while best != (best := max(seen, key=lambda place: seen[place])):
            for side in (best - stride, best + stride):
                if low <= side <= high and side not in seen:
                    seen[side] = measure(side)
    return best if best is not None and seen[best] > (1 + stay) * seen[0] else 0
