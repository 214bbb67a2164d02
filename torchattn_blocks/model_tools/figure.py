"""A figure of attention maps."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .._check import check_ints, check_kind


def save_attention_maps(
    path: str | Path,
    maps: Mapping[str, Tensor],
    *,
    image: Tensor | None = None,
    sample: int = 0,
    columns: int = 4,
) -> None:
    """Save a figure of attention maps, with one panel per map.

    A map with a weight for each position is drawn as an image, bright where the weight is high.
    Several channels are averaged; a map with three dimensions is cut in the middle of the first. A
    map of one dimension is drawn as a line over the positions, a map with a weight for each channel
    as a line over the channels. Each panel ranges from its lowest to its highest weight, which are
    printed above it.

    Args:
        path: The file; its suffix sets the format, as in matplotlib.
        maps: Maps by name, as `attention_maps` returns them.
        image: An image to draw first, of shape (1, H, W) or (3, H, W), with values from 0 to 1.
        sample: Which element of the batch to draw.
        columns: Number of panels side by side.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        TypeError: If `maps` is not a mapping of tensors, `image` not a tensor, or `sample` or
            `columns` not an int.
        ValueError: If `maps` is empty, a map has fewer than three dimensions or no element,
            `columns` is below 1, `sample` outside the batch, or `image` of another shape or range.

    Example:
        >>> import tempfile, torch
        >>> from torchattn_blocks import CBAM, attention_maps, save_attention_maps
        >>> image = torch.rand(1, 3, 32, 32)
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), CBAM(8))
        >>> maps = attention_maps(model, image)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_attention_maps(f"{folder}/maps.png", maps, image=image[0])
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "save_attention_maps needs matplotlib: pip install matplotlib", name=error.name
        ) from error
    _check_drawable(maps, image, sample, columns)
    panels = len(maps) + (image is not None)
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows), layout="constrained")
    axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
    if image is not None:
        axis = next(axes)
        pixels = image.detach().float().cpu().permute(1, 2, 0).squeeze(-1)
        axis.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1)
        axis.set_title("image", fontsize=9)
        axis.set_axis_off()
    for name, attention in maps.items():
        _draw(next(axes), name or "attention map", attention[sample].detach().float().cpu())
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)


def _draw(axis: Any, name: str, attention: Tensor) -> None:
    """Draw one map, of shape (C, *size) or (C, 1, ...)."""
    by_channel = all(size == 1 for size in attention.shape[1:])
    axis.set_title(f"{name}\n{_short(attention.min())} to {_short(attention.max())}", fontsize=9)
    values = attention.flatten() if by_channel else attention.mean(0)
    while values.dim() > 2:
        values = values[len(values) // 2]
    if values.dim() == 2:
        axis.imshow(values.numpy(), cmap="magma", interpolation="nearest")
        axis.set_axis_off()
        return
    axis.plot(values.numpy(), marker=".")
    axis.set_xlabel("channel" if by_channel else "position")


def _short(weight: Tensor) -> str:
    """Two decimals, or two digits if that is 0.00: the weights of many positions sum to 1."""
    return f"{weight:.2f}" if weight == 0 or abs(weight) >= 0.01 else f"{weight:.1e}"


def _check_drawable(
    maps: Mapping[str, Tensor], image: Tensor | None, sample: int, columns: int
) -> None:
    owner = "save_attention_maps"
    check_kind(owner, Mapping, maps=maps)
    check_ints(owner, 1, columns=columns)
    check_ints(owner, 0, sample=sample)
    if not maps:
        raise ValueError(f"{owner}: maps must hold a map, got none")
    for name, attention in maps.items():
        check_kind(owner, Tensor, **{f"maps[{name!r}]": attention})
        shape = tuple(attention.shape)
        if attention.dim() < 3 or 0 in shape[1:]:
            raise ValueError(f"{owner}: maps[{name!r}] must have shape (N, C, ...), got {shape}")
        if sample >= len(attention):
            batch = f"the batch size of maps[{name!r}], {len(attention)}"
            raise ValueError(f"{owner}: sample must be below {batch}, got {sample}")
    if image is None:
        return
    check_kind(owner, Tensor, image=image)
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        expected = "shape (1, H, W) or (3, H, W)"
        raise ValueError(f"{owner}: image must have {expected}, got {tuple(image.shape)}")
    if image.min() < 0 or image.max() > 1:
        values = f"{image.min():g} to {image.max():g}"
        raise ValueError(f"{owner}: image must have values from 0 to 1, got {values}")
