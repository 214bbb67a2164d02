"""Vessel probabilities of an image, from any camera."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .. import mean_and_std, monte_carlo
from .._check import check_ints, check_numbers
from .._kinds import is_dropout, rate_of
from .._restored import in_evaluation, own_random_numbers
from .data.beyond import continued
from .data.fov import estimate_fov
from .data.fov import fov_diameter as measured_diameter
from .data.tensors import crop_evenly, image_tensor, resized_image, resized_map
from .fundus import Fundus, check_image, checked_mask
from .weights import Settings, Trained, check_trained

# Larger images are computed in tiles of this side. The networks see this far at most: a stage of
# RSAN sees 7 pixels at its own resolution, twice at each of three levels and once at the fourth.
# Multiples of 8, so that poolings meet the same pixels in a tile as in the image.
_TILE, _MARGIN = 1024, 168


def segment(
    image: NDArray[np.uint8],
    trained: Trained,
    *,
    fov: NDArray[np.bool_] | None = None,
    fov_diameter: float | None = None,
    flips: bool = False,
) -> NDArray[np.float32]:
    """Compute the vessel probability of each pixel of a fundus image of any size.

    The image is resized until its field of view has the diameter that the network was trained at,
    and the probability map is resized back. If the diameters differ by less than 3 %, nothing is
    resized. Where the frame cuts the retina, the image is mirrored beyond the frame (unless the
    network was trained on padded images).

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        trained: The network and its settings, from `load_pretrained` or `load_weights`.
        fov: Field of view, shape (H, W); by default `estimate_fov` of the image. If the image has
            no dark border, the field of view is the whole image.
        fov_diameter: Diameter in pixels to resize the field of view to, above 0; by default the
            diameter used in training. A larger one helps if vessels are narrow in a wide field of
            view.
        flips: Average over the image and its three flips (horizontal, vertical, both).

    Returns:
        The probability map, shape (H, W). Values outside the field of view mean nothing.

    Raises:
        TypeError: If `image` is not an array of type uint8, `trained` is not a `Trained` or
            `fov_diameter` is not a number.
        ValueError: If `image` is not of shape (H, W, 3), `fov` has another height or width or no
            True pixel, or `fov_diameter` is not above 0.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained, segment, synthesize
        >>> fundus = synthesize(0, height=160, width=150)
        >>> segment(fundus.image, load_pretrained("drive")).shape
        (160, 150)
    """
    check_trained("segment", trained)
    seen = _seen("segment", image, fov, fov_diameter, trained.settings)
    [probability] = seen_probabilities([seen], trained, flips=flips)
    return probability


class Seen(NamedTuple):
    """What a network sees of an image.

    Attributes:
        image: RGB values, with the field of view as wide as in training, and mirrored beyond the
            frame where that cuts it.
        inner: The rows and columns of `image` that hold the image itself.
        size: Height and width of the image before it was resized.
    """

    image: NDArray[np.uint8]
    inner: tuple[slice, slice]
    size: tuple[int, ...]


def seen_fundus(fundus: Fundus, trained: Trained, fov_diameter: float | None = None) -> Seen:
    """What a network sees of an image in `segment`."""
    return _seen("segment", fundus.image, fundus.fov, fov_diameter, trained.settings)


def seen_probabilities(
    seen: Sequence[Seen], trained: Trained, *, flips: bool = False
) -> list[NDArray[np.float32]]:
    """The probability maps of images as `segment` gives them.

    Images that the network pads to the same size go through it together.
    """
    model, settings = trained
    together: dict[tuple[int, ...], list[int]] = {}
    for number, one in enumerate(seen):
        size = _padded_size(model, one.image.shape[:2], settings.side)
        together.setdefault(size or (-1, number), []).append(number)
    maps: dict[int, NDArray[np.float32]] = {}
    with in_evaluation(model):
        for numbers in together.values():
            images = [seen[number].image for number in numbers]
            found = _means_of_flips(model, images, settings.side, flips=flips)
            for number, probability in zip(numbers, found, strict=True):
                inner = probability[seen[number].inner]
                maps[number] = resized_map(inner[None], seen[number].size)[0].numpy()
    return [maps[number] for number in range(len(seen))]


def _padded_size(
    model: nn.Module, size: tuple[int, ...], side: int | None
) -> tuple[int, ...] | None:
    """The size to which an image is padded for a network. None: it goes through in tiles."""
    if side is not None:
        return (side, side) if max(size) <= side else None
    strides = getattr(model, "strides", ((1, 1),))
    steps = [math.prod(along) for along in zip(*strides, strict=True)]
    return tuple(-n % step + n for n, step in zip(size, steps, strict=True))


def segment_monte_carlo(
    image: NDArray[np.uint8],
    trained: Trained,
    passes: int = 20,
    *,
    fov: NDArray[np.bool_] | None = None,
    fov_diameter: float | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute how much the vessel probabilities of a fundus image vary under DropBlock.

    By Monte-Carlo dropout (Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016): the
    image is segmented several times as by `segment`, each time with other random blocks dropped.
    Where the results differ, the network is uncertain. The network is in evaluation mode, except
    for its dropout layers; see `torchattn_blocks.monte_carlo`.

    Args:
        image: RGB values of shape (H, W, 3), 0 to 255.
        trained: The network and its settings. It must have DropBlock, as `rsan` and
            `backbone_dropblock` do; the shipped networks do.
        passes: How often to segment, 2 or more. Each pass takes as long as `segment`.
        fov: Field of view, shape (H, W), as for `segment`.
        fov_diameter: Diameter to resize the field of view to, as for `segment`.
        seed: Seed of the dropped blocks. On one machine, the same seed gives the same result. The
            call leaves torch's own random state unchanged.

    Returns:
        The mean and the standard deviation of the probability, both of shape (H, W). The standard
        deviation divides by ``passes - 1``. The mean differs from the result of `segment`, which
        drops nothing. Values outside the field of view mean nothing.

    Raises:
        TypeError: If `image` is not an array of type uint8, `trained` is not a `Trained`,
            `fov_diameter` is not a number, or `passes` or `seed` is not an int.
        ValueError: If `image` is not of shape (H, W, 3), `fov` has another height or width or no
            True pixel, `fov_diameter` is not above 0, `passes` is below 2, `seed` is not from 0 to
            2**63 - 1, or the network has no DropBlock with `p` above 0.

    Example:
        >>> from torchattn_blocks.retina import load_pretrained, segment_monte_carlo, synthesize
        >>> fundus = synthesize(0, height=160, width=150)
        >>> mean, std = segment_monte_carlo(fundus.image, load_pretrained("drive"), passes=2)
        >>> mean.shape, std.shape
        ((160, 150), (160, 150))
    """
    check_ints("segment_monte_carlo", 2, passes=passes)
    check_ints("segment_monte_carlo", 0, 2**63 - 1, seed=seed)
    check_trained("segment_monte_carlo", trained)
    check_drops("segment_monte_carlo", trained)
    model, settings = trained
    seen = _seen("segment_monte_carlo", image, fov, fov_diameter, settings)

    def draw() -> Tensor:
        [probability] = _means_of_flips(model, [seen.image], settings.side)
        return resized_map(probability[seen.inner][None], seen.size)[0]

    with own_random_numbers(_device(model)), monte_carlo(model):
        torch.manual_seed(seed)
        mean, std = mean_and_std(draw, passes)
    return mean.numpy(), std.numpy()


def check_drops(owner: str, trained: Trained) -> None:
    """Raise `ValueError` unless the network has a dropout layer that drops anything."""
    layers = [layer for layer in trained.model.modules() if is_dropout(layer)]
    if not any(rate_of(layer) > 0 for layer in layers):
        name = trained.settings.network.model
        raise ValueError(
            f"{owner}: the network must have DropBlock (or other dropout) with p above 0, which "
            f"rsan and backbone_dropblock can have, got {name}{' with p = 0' if layers else ''}"
        )


def working_scale(
    owner: str, fov: NDArray[np.bool_], fov_diameter: float | None, settings: Settings
) -> float:
    """The factor by which an image with this field of view is resized."""
    if fov_diameter is not None:
        check_numbers(owner, 0, ends="(]", fov_diameter=fov_diameter)
    return (fov_diameter or settings.fov_diameter) / measured_diameter(fov)


def _seen(
    owner: str,
    image: NDArray[np.uint8],
    fov: NDArray[np.bool_] | None,
    fov_diameter: float | None,
    settings: Settings,
) -> Seen:
    """What the network sees of an image."""
    check_image(owner, image)
    size = image.shape[:2]
    fov = estimate_fov(image) if fov is None else checked_mask(owner, fov, size)
    seen = resized_image(image, working_scale(owner, fov, fov_diameter, settings))
    height, width = seen.shape[:2]
    if settings.side is not None:  # networks that were trained on padded images have seen cuts
        return Seen(seen, (slice(height), slice(width)), size)
    small = Image.fromarray(fov).resize((width, height), Image.Resampling.NEAREST)
    return Seen(*continued(seen, np.array(small)), size)


def vessel_probability(
    model: nn.Module, image: NDArray[np.uint8], side: int | None = None, *, flips: bool = False
) -> NDArray[np.float32]:
    """Compute the vessel probability of each pixel of one image, without resizing it.

    Args:
        model: A network from images (1, 3, H, W) to logits (1, 1, H, W). It is in evaluation mode
            during the call and runs on the device of its parameters.
        image: RGB values of shape (H, W, 3), 0 to 255.
        side: Pad the image with zeros around it to `side` x `side` pixels, as in training. Images
            of more than 1024 pixels are computed in overlapping tiles, to save memory; for networks
            of up to four stages the result is the same. None: neither.
        flips: Average over the image and its three flips (horizontal, vertical, both). It takes
            four times as long and often scores a little higher.

    Returns:
        The probability map, shape (H, W).

    Raises:
        TypeError: If `image` is not an array of type uint8.
        ValueError: If `image` is not of shape (H, W, 3), or `model` has more than one output
            channel.

    Example:
        >>> import numpy as np
        >>> from torchattn_blocks import rsan
        >>> from torchattn_blocks.retina import vessel_probability
        >>> image = np.zeros((30, 45, 3), np.uint8)
        >>> vessel_probability(rsan(widths=(4, 8)), image).shape
        (30, 45)
    """
    check_image("vessel_probability", image)
    with in_evaluation(model):
        [probability] = _means_of_flips(model, [image], side, flips=flips)
        return probability.numpy()


@torch.inference_mode()
def _means_of_flips(
    model: nn.Module,
    images: Sequence[NDArray[np.uint8]],
    side: int | None,
    *,
    flips: bool = False,
) -> list[Tensor]:
    """The maps of `vessel_probability`, on the CPU; modules keep their modes.

    Of several images, all must be padded to the same size.
    """
    mirrors: list[tuple[int, ...]] = [(), (2,), (3,), (2, 3)] if flips else [()]
    fits = side is None or max(max(image.shape[:2]) for image in images) <= side
    see = _probability if fits else _in_tiles
    inputs = [image_tensor(image, side if fits else None)[None] for image in images]
    maps = []
    for axes in mirrors:
        found = see(model, _stacked([x.flip(axes) for x in inputs]).to(_device(model)))
        each = zip(torch.split(found, 1), inputs, strict=True)
        maps.append([one[..., : x.shape[2], : x.shape[3]].flip(axes) for one, x in each])
    means = (torch.stack(of_one).mean(0)[0, 0] for of_one in zip(*maps, strict=True))
    return [
        crop_evenly(mean, *image.shape[:2]).cpu() for mean, image in zip(means, images, strict=True)
    ]


def _stacked(inputs: Sequence[Tensor]) -> Tensor:
    """Images as one batch. The smaller ones are padded as the network would pad them."""
    height, width = (max(x.shape[axis] for x in inputs) for axis in (2, 3))
    padded = [F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in inputs]
    return torch.cat(padded)


def _device(model: nn.Module) -> torch.device:
    return next((w.device for w in model.parameters()), torch.device("cpu"))


def _in_tiles(model: nn.Module, x: Tensor) -> Tensor:
    """The probabilities of an image, computed tile by tile if it is larger than a tile.

    Of each tile only the part is kept that sees no other surroundings than in the whole image.
    """
    height, width = x.shape[-2:]
    result = x.new_empty((1, 1, height, width))
    kept = _TILE - 2 * _MARGIN if max(height, width) > _TILE else _TILE
    for top in range(0, height, kept):
        for left in range(0, width, kept):
            above, before = max(top - _MARGIN, 0), max(left - _MARGIN, 0)
            tile = x[..., above : top + kept + _MARGIN, before : left + kept + _MARGIN]
            part = _probability(model, tile)[..., top - above :, left - before :][..., :kept, :kept]
            result[..., top : top + kept, left : left + kept] = part
    return result


def _probability(model: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    if logits.shape[1] != 1:
        raise ValueError(
            f"vessel_probability: model must have 1 output channel, got {logits.shape[1]}"
        )
    return logits.float().sigmoid()
