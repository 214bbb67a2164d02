"""The attention maps of a whole network, collected in one forward pass, and a figure of them."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..._check import check_at_least, check_kind


def attention_maps(model: nn.Module, *inputs: Any) -> dict[str, Tensor]:
    """The attention map of every attention layer in a model, for one input.

    The model runs once, in evaluation mode and without recording gradients; each module then has
    its own mode back. A layer counts if it has a method `attention_map`, as all attention layers of
    this library have, and layers of your own may have. Compiled models run uncompiled.

    Args:
        model: A network, or any other module.
        inputs: What to call it with.

    Returns:
        The maps by the names of ``model.named_modules()``, in the order of the calls. A layer
        that is called again has ``"name#2"``, and so on. A `CBAM` comes three times: as a whole,
        ``"name.channel"`` and ``"name.spatial"``.

    Raises:
        TypeError: If `model` is not a module.
        ValueError: If no layer with attention maps was called.

    Example:
        >>> import torch
        >>> from torchattn_blocks import attention_maps, rsan
        >>> maps = attention_maps(rsan(widths=(4, 8)), torch.rand(1, 3, 32, 32))
        >>> for name, attention in maps.items():
        ...     print(name, tuple(attention.shape))
        encoders.0.1.attention (1, 1, 32, 32)
        bottleneck.1.attention (1, 1, 16, 16)
        decoders.0.1.attention (1, 1, 32, 32)
    """
    check_kind("attention_maps", nn.Module, model=model)
    found: dict[str, Tensor] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            calls = sum(known.partition("#")[0] == name for known in found)
            key = f"{name}#{calls + 1}" if calls else name
            found[key] = layer.attention_map(*args, **kwargs)

        return hook

    model = getattr(model, "_orig_mod", model)  # of a compiled model: names without that prefix
    modes = [(module, module.training) for module in model.modules()]
    layers = [(n, m) for n, m in model.named_modules() if callable(getattr(m, "attention_map", 0))]
    hooks = [m.register_forward_hook(note(name), with_kwargs=True) for name, m in layers]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    if not found:
        raise ValueError(
            f"attention_maps: model must call a layer that has attention maps, got "
            f"{type(model).__name__} with {len(layers)} such layers"
        )
    return found


def save_attention_maps(
    path: str | Path,
    maps: Mapping[str, Tensor],
    *,
    image: Tensor | None = None,
    sample: int = 0,
    columns: int = 4,
) -> None:
    """Save a figure of attention maps, one panel for each.

    A map with a weight for each position is drawn as an image, bright where the weight is high; if
    it has several channels, as their mean; if it has three dimensions, in the middle of the first.
    A map with one weight for each channel is drawn as a line over the channels.

    Args:
        path: The file; its ending chooses the format, as in matplotlib.
        maps: Maps by name, as `attention_maps` returns them.
        image: An image to draw first, of shape (1, H, W) or (3, H, W), with values from 0 to 1.
        sample: Which element of the batch to draw.
        columns: How many panels stand side by side.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        TypeError: If `sample` or `columns` is not an int.
        ValueError: If `maps` is empty, `columns` below 1, `sample` outside the batch, or `image` of
            another shape.

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
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes[panels:]:
        axis.set_axis_off()
    if image is not None:
        axes[0].imshow(image.detach().cpu().permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")
        axes[0].set_title("image", fontsize=9)
        axes[0].set_axis_off()
    for axis, (name, attention) in zip(
        axes[panels - len(maps) : panels], maps.items(), strict=True
    ):
        _draw(axis, name or "attention map", attention[sample].detach().float().cpu())
    figure.savefig(path, dpi=110)


def _draw(axis: Any, name: str, attention: Tensor) -> None:
    """One map, of shape (C, *size) or (C, 1, ...)."""
    by_channel = all(size == 1 for size in attention.shape[1:])
    axis.set_title(f"{name}\n{attention.min():.2f} to {attention.max():.2f}", fontsize=9)
    values = attention.flatten() if by_channel else attention.mean(0)
    while values.dim() > 2:
        values = values[len(values) // 2]
    if values.dim() == 2:
        axis.imshow(values.numpy(), cmap="magma", interpolation="nearest")
        axis.set_axis_off()
        return
    axis.plot(values.numpy())
    axis.set_ylim(bottom=0)
    axis.set_xlabel("channel" if by_channel else "position")


def _check_drawable(
    maps: Mapping[str, Tensor], image: Tensor | None, sample: int, columns: int
) -> None:
    owner = "save_attention_maps"
    check_at_least(owner, 1, columns=columns)
    check_at_least(owner, 0, sample=sample)
    if not maps:
        raise ValueError(f"{owner}: maps must hold a map, got none")
    if sample >= (batch := min(len(attention) for attention in maps.values())):
        raise ValueError(f"{owner}: sample must be below the batch size {batch}, got {sample}")
    if image is not None and (image.dim() != 3 or image.shape[0] not in (1, 3)):
        expected = "shape (1, H, W) or (3, H, W)"
        raise ValueError(f"{owner}: image must have {expected}, got {tuple(image.shape)}")
