"""Attention layers of other libraries as layers of this one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from .._check import check_kind
from .._dims import BATCH_NORM
from ..layers import (
    BAM,
    CBAM,
    ConcurrentSqueezeExcite,
    CoordinateAttention,
    EfficientChannelAttention,
    GlobalContext,
    SpatialAttention,
    SqueezeExcite,
    TripletAttention,
)
from ..layers.attention.global_context import Fusion
from ._few import few

Layer = TypeVar("Layer", bound=nn.Module)
Make = Callable[[], nn.Module]
Keys = dict[str, tuple[str, str]]  # their key to our key and the tensor's sizes


def from_timm_cbam(state: Mapping[str, Tensor], *, prefix: str = "") -> CBAM:
    """`CBAM` with the weights of timm's ``CbamModule``.

    timm has batch normalisation after the spatial convolution, and the mean before the maximum, so
    the two channels of the kernel are swapped. timm's options for other activations and gates and
    its light variants are not supported.

    Args:
        state: State dict of the layer, or of a model that has it.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.se."``.

    Returns:
        A layer with `torch.nn.BatchNorm2d` as `norm`. Its linear layers have biases if theirs do.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_timm_cbam
        >>> state = {
        ...     "channel.fc1.weight": torch.randn(2, 8, 1, 1),
        ...     "channel.fc2.weight": torch.randn(8, 2, 1, 1),
        ...     "spatial.conv.conv.weight": torch.randn(1, 2, 7, 7),
        ...     "spatial.conv.bn.weight": torch.ones(1),
        ...     "spatial.conv.bn.bias": torch.zeros(1),
        ...     "spatial.conv.bn.running_mean": torch.zeros(1),
        ...     "spatial.conv.bn.running_var": torch.ones(1),
        ... }
        >>> layer = from_timm_cbam(state)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_timm_cbam", state, prefix)
    bias = source.has("channel.fc1.bias", "channel.fc2.bias")
    source.read(
        _excitation("channel.fc1.", "channel.fc2.", "1 1", bias, ours="channel.")
        | _weight("spatial.conv.conv.", "spatial.conv.", "1 2 k k")
        | _batch_norm("spatial.conv.bn.", "spatial.norm.")
    )
    layer = source.fill(_cbam(source.sizes, bias, nn.BatchNorm2d))
    _put_maximum_first(layer.spatial)
    return layer


def from_cbam_authors(state: Mapping[str, Tensor], *, prefix: str = "") -> CBAM:
    """`CBAM` with the weights of its authors' code, ``attention-module`` by Jongchan Park.

    Args:
        state: State dict of the authors' ``CBAM``, or of a model that has it.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.cbam."``.

    Returns:
        A layer with biases in its linear layers and `torch.nn.BatchNorm2d` as `norm`. Its momentum
        is the authors' 0.01. It uses maxima and means, as theirs does by default. Weights trained
        with other ``pool_types``, such as only means, look the same, and the layer then gives other
        outputs than theirs.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_cbam_authors
        >>> state = {
        ...     "ChannelGate.mlp.1.weight": torch.randn(2, 8),
        ...     "ChannelGate.mlp.1.bias": torch.randn(2),
        ...     "ChannelGate.mlp.3.weight": torch.randn(8, 2),
        ...     "ChannelGate.mlp.3.bias": torch.randn(8),
        ...     "SpatialGate.spatial.conv.weight": torch.randn(1, 2, 7, 7),
        ...     "SpatialGate.spatial.bn.weight": torch.ones(1),
        ...     "SpatialGate.spatial.bn.bias": torch.zeros(1),
        ...     "SpatialGate.spatial.bn.running_mean": torch.zeros(1),
        ...     "SpatialGate.spatial.bn.running_var": torch.ones(1),
        ... }
        >>> layer = from_cbam_authors(state)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_cbam_authors", state, prefix)
    source.read(
        _excitation("ChannelGate.mlp.1.", "ChannelGate.mlp.3.", ours="channel.")
        | _weight("SpatialGate.spatial.conv.", "spatial.conv.", "1 2 k k")
        | _batch_norm("SpatialGate.spatial.bn.", "spatial.norm.")
    )
    return source.fill(_cbam(source.sizes, True, partial(nn.BatchNorm2d, momentum=0.01)))


def from_spatial_attention(
    state: Mapping[str, Tensor], *, mean_first: bool, prefix: str = ""
) -> SpatialAttention:
    """`SpatialAttention` with the weights of any layer that convolves a maximum and a mean.

    The layer may have any names. It has one kernel of shape (1, 2, k, k), or with one or three
    sizes k, and may have a bias, batch normalisation, or both.

    Args:
        state: State dict of the layer, or of a model that has it.
        mean_first: Whether the first channel of the kernel is for the mean, the second for the
            maximum. The weights do not show it. timm and the RSAN authors' code have the mean
            first, the CBAM authors' code the maximum (their paper writes the mean first).
        prefix: Prefix of the layer's keys, such as ``"encoder.0.attention."``.

    Returns:
        A layer with the same `bias` and `norm` as theirs. Batch normalisation has torch's default
        `eps` and `momentum`; set them on `layer.norm` if theirs differ.

    Raises:
        TypeError: If `state` is not a mapping of tensors, or `mean_first` not a bool.
        ValueError: If there is no such kernel or more than one, a key is missing or not expected,
            or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_spatial_attention
        >>> state = {"conv1.weight": torch.randn(1, 2, 7, 7), "conv1.bias": torch.randn(1)}
        >>> layer = from_spatial_attention(state, mean_first=True)
        >>> sum(w.numel() for w in layer.parameters())
        99
    """
    source = _Source("from_spatial_attention", state, prefix)
    check_kind(source.owner, bool, mean_first=mean_first)
    conv, spatial_dims = source.only_kernel()
    keys = _weight(conv, "conv.", " ".join("12" + "k" * spatial_dims))
    if bias := source.has(f"{conv}bias"):
        keys |= _bias(conv, "conv.", "1")
    means = [key for key in source.keys if key.endswith("running_mean")]
    if means:
        keys |= _batch_norm(means[0].removesuffix("running_mean"), "norm.")
    source.read(keys)
    layer = source.fill(
        SpatialAttention(
            kernel_size=source.sizes["k"],
            bias=bias,
            norm=BATCH_NORM[spatial_dims] if means else None,
            spatial_dims=spatial_dims,
            device="meta",
        )
    )
    if mean_first:
        _put_maximum_first(layer)
    return layer


def from_timm_se(
    state: Mapping[str, Tensor],
    *,
    activation: Make = nn.ReLU,
    gate: Make = nn.Sigmoid,
    prefix: str = "",
) -> SqueezeExcite:
    """`SqueezeExcite` with the weights of timm's ``SEModule`` or of its EfficientNets' layer.

    The keys show which of the two it is: ``fc1`` and ``fc2``, or ``conv_reduce`` and
    ``conv_expand``. Variants with normalisation raise an error. Variants with maxima
    (``add_maxpool``) and for channels last are not supported either.

    Args:
        state: State dict of the layer, or of a model that has it.
        activation: Function without arguments that returns the module between the linear layers. It
            is `torch.nn.SiLU` in timm's EfficientNets and `torch.nn.ReLU` in its ResNets: look at
            `act1` or `act` of their layer. It may not have weights.
        gate: Function without arguments that returns the module after the linear layers. It is
            `torch.nn.Hardsigmoid` in timm's MobileNetV3, for example: look at `gate` of their
            layer.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.se."``.

    Returns:
        A layer with biases if theirs has some.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_timm_se
        >>> state = {
        ...     "conv_reduce.weight": torch.randn(2, 8, 1, 1),
        ...     "conv_reduce.bias": torch.randn(2),
        ...     "conv_expand.weight": torch.randn(8, 2, 1, 1),
        ...     "conv_expand.bias": torch.randn(8),
        ... }
        >>> layer = from_timm_se(state, activation=torch.nn.SiLU)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_timm_se", state, prefix)
    source.refused = {"bn.": "the layer normalises between its linear layers, ours does not"}
    efficient = not source.has("fc1.weight", "fc2.weight") and any(
        key.endswith(("conv_reduce.weight", "conv_expand.weight")) for key in state
    )
    first, second = ("conv_reduce.", "conv_expand.") if efficient else ("fc1.", "fc2.")
    bias = source.has(f"{first}bias", f"{second}bias")
    source.read(_excitation(first, second, "1 1", bias))
    return source.fill(_squeeze_excite(source.sizes, activation, gate, bias=bias))


def from_timm_eca(
    state: Mapping[str, Tensor], channels: int, *, prefix: str = ""
) -> EfficientChannelAttention:
    """`EfficientChannelAttention` with the weights of timm's ``EcaModule``.

    timm's variants with two convolutions (``use_mlp``) or a bias raise an error. Its
    ``CecaModule``, and other gates than the sigmoid (``gate_layer``), have the same keys but
    another formula. The weights do not show this, so do not convert them.

    Args:
        state: State dict of the layer, or of a model that has it.
        channels: Channels of the input. The weights do not depend on them.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.se."``.

    Returns:
        A layer with the same kernel size as theirs.

    Raises:
        TypeError: If `state` is not a mapping of tensors, or `channels` not an int.
        ValueError: If a key is missing or not expected, a tensor has another shape, or `channels`
            is below 1.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_timm_eca
        >>> layer = from_timm_eca({"conv.weight": torch.randn(1, 1, 3)}, 8)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_timm_eca", state, prefix)
    source.refused = {
        "conv2.": "the layer has two convolutions (use_mlp), ours has one",
        "conv.bias": "the convolution has a bias (act_layer or use_mlp), ours has none",
    }
    source.read(_weight("conv.", "conv.", "1 1 k"))
    kernel_size = source.sizes["k"]
    return source.fill(EfficientChannelAttention(channels, kernel_size=kernel_size, device="meta"))


def from_timm_global_context(
    state: Mapping[str, Tensor],
    *,
    activation: Make = nn.ReLU,
    gate: Make = nn.Sigmoid,
    prefix: str = "",
) -> GlobalContext:
    """`GlobalContext` with the weights of timm's ``GlobalContext``.

    The keys show whether it multiplies (timm's default) or adds. A layer that does both, or has no
    attention over the positions (``use_attn=False``), raises an error.

    Args:
        state: State dict of the layer, or of a model that has it.
        activation: Function without arguments that returns the module between the linear layers.
        gate: Function without arguments that returns the module after them in a layer that
            multiplies.
        prefix: Prefix of the layer's keys, such as ``"stages.0.0.attn."``.

    Returns:
        A layer whose normalisation has timm's eps of 1e-6.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_timm_global_context
        >>> state = {
        ...     "conv_attn.weight": torch.randn(1, 8, 1, 1),
        ...     "conv_attn.bias": torch.randn(1),
        ...     "mlp_scale.fc1.weight": torch.randn(4, 8, 1, 1),
        ...     "mlp_scale.fc1.bias": torch.randn(4),
        ...     "mlp_scale.norm.weight": torch.ones(4),
        ...     "mlp_scale.norm.bias": torch.zeros(4),
        ...     "mlp_scale.fc2.weight": torch.randn(8, 4, 1, 1),
        ...     "mlp_scale.fc2.bias": torch.randn(8),
        ... }
        >>> layer = from_timm_global_context(state)
        >>> layer.fusion
        'scale'
    """
    source = _Source("from_timm_global_context", state, prefix)
    fusion: Fusion = "add" if source.has_any("mlp_add.") else "scale"
    mlp = f"mlp_{fusion}"
    source.refused = {"mlp_": "the layer adds and multiplies, ours does one of the two"}
    source.read(
        _weight("conv_attn.", "conv.", "1 C 1 1")
        | _bias("conv_attn.", "conv.", "1")
        | _excitation(f"{mlp}.fc1.", f"{mlp}.fc2.", "1 1")
        | _weight(f"{mlp}.norm.", "norm.", "H")
        | _bias(f"{mlp}.norm.", "norm.", "H")
    )
    return source.fill(
        GlobalContext(
            source.sizes["C"],
            fusion=fusion,
            hidden_channels=source.sizes["H"],
            norm=partial(nn.LayerNorm, eps=1e-6),
            activation=activation,
            gate=gate if fusion == "scale" else None,
            device="meta",
        )
    )


def from_torchvision_se(
    state: Mapping[str, Tensor],
    *,
    activation: Make = nn.ReLU,
    gate: Make = nn.Sigmoid,
    prefix: str = "",
) -> SqueezeExcite:
    """`SqueezeExcite` with the weights of torchvision's ``SqueezeExcitation``.

    Args:
        state: State dict of the layer, or of a model that has it.
        activation: Function without arguments that returns the module between the linear layers. It
            is `torch.nn.SiLU` in torchvision's EfficientNets and `torch.nn.ReLU` in its other
            models.
        gate: Function without arguments that returns the module after the linear layers. It is
            `torch.nn.Hardsigmoid` in torchvision's MobileNetV3.
        prefix: Prefix of the layer's keys, such as ``"features.1.0.block.1."``.

    Returns:
        A layer with biases.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_torchvision_se
        >>> state = {
        ...     "fc1.weight": torch.randn(2, 8, 1, 1),
        ...     "fc1.bias": torch.randn(2),
        ...     "fc2.weight": torch.randn(8, 2, 1, 1),
        ...     "fc2.bias": torch.randn(8),
        ... }
        >>> layer = from_torchvision_se(state, gate=torch.nn.Hardsigmoid)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_torchvision_se", state, prefix)
    source.read(_excitation("fc1.", "fc2.", "1 1"))
    return source.fill(_squeeze_excite(source.sizes, activation, gate))


def from_smp_scse(state: Mapping[str, Tensor], *, prefix: str = "") -> ConcurrentSqueezeExcite:
    """`ConcurrentSqueezeExcite` with the weights of segmentation_models.pytorch's ``SCSEModule``.

    Args:
        state: State dict of the layer, or of a model that has it.
        prefix: Prefix of the layer's keys, such as ``"decoder.blocks.0.attention1.attention."``.

    Returns:
        A layer with biases.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_smp_scse
        >>> state = {
        ...     "cSE.1.weight": torch.randn(2, 8, 1, 1),
        ...     "cSE.1.bias": torch.randn(2),
        ...     "cSE.3.weight": torch.randn(8, 2, 1, 1),
        ...     "cSE.3.bias": torch.randn(8),
        ...     "sSE.0.weight": torch.randn(1, 8, 1, 1),
        ...     "sSE.0.bias": torch.randn(1),
        ... }
        >>> layer = from_smp_scse(state)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_smp_scse", state, prefix)
    source.read(
        _excitation("cSE.1.", "cSE.3.", "1 1")
        | _weight("sSE.0.", "conv.", "1 C 1 1")
        | _bias("sSE.0.", "conv.", "1")
    )
    channels, hidden_channels = source.sizes["C"], source.sizes["H"]
    return source.fill(
        ConcurrentSqueezeExcite(channels, hidden_channels=hidden_channels, device="meta")
    )


def from_monai_se(
    state: Mapping[str, Tensor],
    *,
    activation: Make | None = None,
    gate: Make | None = None,
    residual: bool = False,
    spatial_dims: int = 2,
    prefix: str = "",
) -> SqueezeExcite:
    """`SqueezeExcite` with the weights of MONAI's ``ChannelSELayer`` or ``ResidualSELayer``.

    The layer in MONAI's ``SEBlock`` is a ``ChannelSELayer``: the prefix ends in ``"se_layer."``.
    Many copies of the layer in other projects have the same two linear layers without biases; this
    reads their weights, too.

    Args:
        state: State dict of the layer, or of a model that has it.
        activation: Function without arguments that returns the module between the linear layers.
            None is MONAI's default: `torch.nn.LeakyReLU` if `residual`, otherwise `torch.nn.ReLU`.
        gate: Function without arguments that returns the module after the linear layers. None is
            MONAI's default: `torch.nn.ReLU` if `residual`, otherwise `torch.nn.Sigmoid`.
        residual: Whether the layer adds its input to its output, as ``ResidualSELayer`` does, and
            ``ChannelSELayer`` with ``add_residual``; for the latter you must pass activation and
            gate. The weights do not show it. Our layer then adds one to its gate.
        spatial_dims: Dimensions after the channels: 1, 2 or 3.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.se_layer."``.

    Returns:
        A layer with biases if theirs has some, as all of MONAI's do.

    Raises:
        TypeError: If `state` is not a mapping of tensors, `residual` not a bool, or `spatial_dims`
            not an int.
        ValueError: If a key is missing or not expected, a tensor has another shape, or
            `spatial_dims` is not 1, 2 or 3.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_monai_se
        >>> state = {
        ...     "fc.0.weight": torch.randn(2, 8),
        ...     "fc.0.bias": torch.randn(2),
        ...     "fc.2.weight": torch.randn(8, 2),
        ...     "fc.2.bias": torch.randn(8),
        ... }
        >>> layer = from_monai_se(state, residual=True, spatial_dims=3)
        >>> layer(torch.randn(1, 8, 4, 16, 16)).shape
        torch.Size([1, 8, 4, 16, 16])
    """
    source = _Source("from_monai_se", state, prefix)
    check_kind(source.owner, bool, residual=residual)
    bias = source.has("fc.0.bias", "fc.2.bias")
    source.read(_excitation("fc.0.", "fc.2.", bias=bias))
    activation = activation or (nn.LeakyReLU if residual else nn.ReLU)
    gate = gate or (nn.ReLU if residual else nn.Sigmoid)
    gate = partial(_OnePlus, gate) if residual else gate
    layer = _squeeze_excite(source.sizes, activation, gate, bias=bias, spatial_dims=spatial_dims)
    return source.fill(layer)


class _OnePlus(nn.Module):
    """A gate plus one: the layer then adds its input to the product."""

    def __init__(self, gate: Make) -> None:
        super().__init__()
        self.gate = gate()

    def forward(self, logits: Tensor) -> Tensor:
        return 1 + self.gate(logits)


def from_timm_coord_attn(
    state: Mapping[str, Tensor],
    *,
    activation: Make = nn.Hardswish,
    gate: Make = nn.Sigmoid,
    prefix: str = "",
) -> CoordinateAttention:
    """`CoordinateAttention` with the weights of timm's ``CoordAttn``, or of the authors' code.

    Both have the same keys; the authors' convolutions have biases. timm's option ``has_skip``,
    which adds the input to the output, leaves no trace in the weights: do not convert such a layer.

    Args:
        state: State dict of the layer, or of a model that has it.
        activation: Function without arguments that returns the module after the first convolution.
        gate: Function without arguments that returns the module after the last convolutions.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.se."``.

    Returns:
        A layer with batch normalisation as `norm`, and with biases if theirs has some.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, or a tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_timm_coord_attn
        >>> state = {
        ...     "conv1.weight": torch.randn(4, 8, 1, 1),
        ...     "bn1.weight": torch.ones(4),
        ...     "bn1.bias": torch.zeros(4),
        ...     "bn1.running_mean": torch.zeros(4),
        ...     "bn1.running_var": torch.ones(4),
        ...     "conv_h.weight": torch.randn(8, 4, 1, 1),
        ...     "conv_w.weight": torch.randn(8, 4, 1, 1),
        ... }
        >>> layer = from_timm_coord_attn(state)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_timm_coord_attn", state, prefix)
    bias = source.has("conv1.bias", "conv_h.bias", "conv_w.bias")
    keys = _weight("conv1.", "conv.", "H C 1 1") | _batch_norm("bn1.", "norm.", "H")
    for i, axis in enumerate("hw"):
        keys |= _weight(f"conv_{axis}.", f"convs.{i}.", "C H 1 1")
        if bias:
            keys |= _bias(f"conv_{axis}.", f"convs.{i}.", "C")
    source.read(keys | (_bias("conv1.", "conv.", "H") if bias else {}))
    return source.fill(
        CoordinateAttention(
            source.sizes["C"],
            hidden_channels=source.sizes["H"],
            bias=bias,
            activation=activation,
            gate=gate,
            device="meta",
        )
    )


def from_triplet_authors(state: Mapping[str, Tensor], *, prefix: str = "") -> TripletAttention:
    """`TripletAttention` with the weights of the authors' code.

    Args:
        state: State dict of the layer, or of a model that has it.
        prefix: Prefix of the layer's keys, such as ``"layer1.0.triplet_attention."``.

    Returns:
        A layer whose batch normalisation has the authors' momentum of 0.01.

    Raises:
        TypeError: If `state` is not a mapping of tensors.
        ValueError: If a key is missing or not expected, as in a layer with ``no_spatial``, or a
            tensor has another shape.

    Example:
        >>> import torch
        >>> from torchattn_blocks.convert import from_triplet_authors
        >>> state = {}
        >>> for pair in ("cw", "hc", "hw"):
        ...     state[f"{pair}.conv.conv.weight"] = torch.randn(1, 2, 7, 7)
        ...     for name in ("weight", "bias", "running_mean", "running_var"):
        ...         state[f"{pair}.conv.bn.{name}"] = torch.ones(1)
        >>> layer = from_triplet_authors(state)
        >>> layer(torch.randn(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """
    source = _Source("from_triplet_authors", state, prefix)
    keys: Keys = {}
    for i, pair in enumerate(("hw", "cw", "hc")):  # across channels, rows, columns
        keys |= _weight(f"{pair}.conv.conv.", f"convs.{i}.", "1 2 k k")
        keys |= _batch_norm(f"{pair}.conv.bn.", f"norms.{i}.")
    source.read(keys)
    norm = partial(nn.BatchNorm2d, momentum=0.01)
    return source.fill(TripletAttention(kernel_size=source.sizes["k"], norm=norm, device="meta"))


def from_bam_authors(state: Mapping[str, Tensor], *, dilation: int = 4, prefix: str = "") -> BAM:
    """`BAM` with the weights of the authors' code.

    The authors' code multiplies its two parts; the paper adds them. On feature maps that are not
    square their code fails or does not average over whole channels; the layer here takes any.

    Args:
        state: State dict of the layer, or of a model that has it.
        dilation: Dilation of the 3 x 3 convolutions. The weights do not depend on it.
        prefix: Prefix of the layer's keys, such as ``"bam1."``.

    Returns:
        A layer with ``fusion="multiply"`` and batch normalisation.

    Raises:
        TypeError: If `state` is not a mapping of tensors, or `dilation` not an int.
        ValueError: If a key is missing or not expected, a tensor has another shape, or `dilation`
            is below 1.

    Example:
        >>> import torch
        >>> from torchattn_blocks import BAM
        >>> from torchattn_blocks.convert import from_bam_authors
        >>> ours = BAM(8, hidden_channels=2).state_dict()
        >>> theirs = {
        ...     "channel_att.gate_c.gate_c_fc_0.": "channel.0.",
        ...     "channel_att.gate_c.gate_c_bn_1.": "channel.1.",
        ...     "channel_att.gate_c.gate_c_fc_final.": "channel.3.",
        ...     "spatial_att.gate_s.gate_s_conv_reduce0.": "position.0.",
        ...     "spatial_att.gate_s.gate_s_bn_reduce0.": "position.1.",
        ...     "spatial_att.gate_s.gate_s_conv_di_0.": "position.3.",
        ...     "spatial_att.gate_s.gate_s_bn_di_0.": "position.4.",
        ...     "spatial_att.gate_s.gate_s_conv_di_1.": "position.6.",
        ...     "spatial_att.gate_s.gate_s_bn_di_1.": "position.7.",
        ...     "spatial_att.gate_s.gate_s_conv_final.": "position.9.",
        ... }
        >>> state = {
        ...     their + key.removeprefix(our): ours[key]
        ...     for their, our in theirs.items()
        ...     for key in ours
        ...     if key.startswith(our)
        ... }
        >>> from_bam_authors(state).fusion
        'multiply'
    """
    source = _Source("from_bam_authors", state, prefix)
    gate, maps = "channel_att.gate_c.gate_c", "spatial_att.gate_s.gate_s"
    keys = _weight(f"{gate}_fc_0.", "channel.0.", "H C") | _bias(f"{gate}_fc_0.", "channel.0.", "H")
    keys |= _weight(f"{gate}_fc_final.", "channel.3.", "C H")
    keys |= _bias(f"{gate}_fc_final.", "channel.3.", "C")
    keys |= _batch_norm(f"{gate}_bn_1.", "channel.1.", "H")
    steps = {"reduce0": "H C 1 1", "di_0": "H H 3 3", "di_1": "H H 3 3"}
    for i, (name, sizes) in enumerate(steps.items()):
        keys |= _weight(f"{maps}_conv_{name}.", f"position.{3 * i}.", sizes)
        keys |= _bias(f"{maps}_conv_{name}.", f"position.{3 * i}.", "H")
        keys |= _batch_norm(f"{maps}_bn_{name}.", f"position.{3 * i + 1}.", "H")
    keys |= _weight(f"{maps}_conv_final.", "position.9.", "1 H 1 1")
    source.read(keys | _bias(f"{maps}_conv_final.", "position.9.", "1"))
    return source.fill(
        BAM(
            source.sizes["C"],
            hidden_channels=source.sizes["H"],
            fusion="multiply",
            dilation=dilation,
            device="meta",
        )
    )


def _cbam(sizes: dict[str, int], bias: bool, norm: Callable[[int], nn.Module]) -> CBAM:
    return CBAM(
        sizes["C"],
        hidden_channels=sizes["H"],
        mlp_bias=bias,
        kernel_size=sizes["k"],
        norm=norm,
        device="meta",
    )


def _squeeze_excite(
    sizes: dict[str, int], activation: Make, gate: Make, *, bias: bool = True, spatial_dims: int = 2
) -> SqueezeExcite:
    return SqueezeExcite(
        sizes["C"],
        hidden_channels=sizes["H"],
        bias=bias,
        activation=activation,
        gate=gate,
        spatial_dims=spatial_dims,
        device="meta",
    )


def _put_maximum_first(layer: SpatialAttention) -> None:
    """Swap the two channels of a kernel that has the mean first."""
    with torch.no_grad():
        layer.conv.weight.copy_(layer.conv.weight.flip(1))


def _weight(theirs: str, ours: str, sizes: str) -> Keys:
    return {f"{theirs}weight": (f"{ours}weight", sizes)}


def _bias(theirs: str, ours: str, sizes: str) -> Keys:
    return {f"{theirs}bias": (f"{ours}bias", sizes)}


def _excitation(
    first: str, second: str, kernel: str = "", bias: bool = True, ours: str = ""
) -> Keys:
    """Two linear layers, or convolutions with the kernel's sizes."""
    keys = _weight(first, f"{ours}fc1.", f"H C {kernel}")
    keys |= _weight(second, f"{ours}fc2.", f"C H {kernel}")
    if bias:
        keys |= _bias(first, f"{ours}fc1.", "H") | _bias(second, f"{ours}fc2.", "C")
    return keys


def _batch_norm(theirs: str, ours: str, size: str = "1") -> Keys:
    """Batch normalisation; old files have no counter, so torch adds it."""
    names = ("weight", "bias", "running_mean", "running_var")
    keys = {f"{theirs}{name}": (f"{ours}{name}", size) for name in names}
    return keys | {f"{theirs}{_COUNTER}": (f"{ours}{_COUNTER}", "")}


_COUNTER = "num_batches_tracked"


class _Source:
    """The tensors of one layer, as another library names them. Errors name the function."""

    def __init__(self, owner: str, state: object, prefix: str) -> None:
        if not isinstance(state, Mapping):
            got = f"got {type(state).__name__}; of a module, pass .state_dict()"
            raise TypeError(f"{owner}: state must be a state dict, {got}")
        check_kind(owner, str, prefix=prefix)
        self.owner, self.prefix = owner, prefix
        self.state: Mapping[str, Tensor] = state
        self.keys = [key.removeprefix(prefix) for key in state if key.startswith(prefix)]
        self.refused: dict[str, str] = {}  # a key's start, and why it cannot be converted
        self.sizes: dict[str, int] = {}
        self.tensors: dict[str, Tensor] = {}

    def has(self, *keys: str) -> bool:
        """Whether any of the keys is there."""
        return any(key in self.keys for key in keys)

    def has_any(self, start: str) -> bool:
        """Whether any key starts with `start`."""
        return any(key.startswith(start) for key in self.keys)

    def only_kernel(self) -> tuple[str, int]:
        """The prefix of the only kernel for two channels, and the kernel's dimensions."""
        kernels = [key for key, value in self.state.items() if _is_kernel(key, value)]
        here = [key for key in kernels if key.startswith(self.prefix)]
        if len(here) != 1:
            raise ValueError(
                f"{self.owner}: there must be one weight of shape (1, 2, k, k), or with one or "
                f"three sizes k, under the prefix {self.prefix!r}, got {len(here)}; in the whole "
                f"state: {few([repr(key) for key in kernels])}"
            )
        (kernel,) = here
        name = kernel.removeprefix(self.prefix).removesuffix("weight")
        return name, self.state[kernel].dim() - 2

    def read(self, keys: Keys) -> None:
        """Take all tensors and learn the sizes; raise unless keys and shapes match."""
        for key, (_, sizes) in keys.items():
            if not self.has(key) and not key.endswith(_COUNTER):
                raise ValueError(
                    f"{self.owner}: the key {self.prefix + key!r} is missing; it must have shape "
                    f"{self._shape(sizes.split())}{self._hint(keys)}"
                )
        for key in self.keys:
            if key not in keys:
                whys = (why for start, why in self.refused.items() if key.startswith(start))
                why = next(whys, f"the layer's keys are {', '.join(map(repr, keys))}")
                raise ValueError(
                    f"{self.owner}: the key {self.prefix + key!r} is not expected: {why}"
                )
        for key, (ours, sizes) in keys.items():
            if self.has(key):
                self.tensors[ours] = self._checked(key, sizes.split())

    def fill(self, layer: Layer) -> Layer:
        """Give the layer, built on the meta device, copies of the tensors in the layer's shapes."""
        shapes = {key: value.shape for key, value in layer.state_dict().items()}
        copies = {key: x.detach().reshape(shapes[key]).clone() for key, x in self.tensors.items()}
        layer.load_state_dict(copies, assign=True)
        return layer

    def _checked(self, key: str, sizes: list[str]) -> Tensor:
        x = self.state[self.prefix + key]
        check_kind(self.owner, Tensor, **{f"state[{self.prefix + key!r}]": x})
        expected = self._shape(sizes)
        fits = x.dim() == len(sizes) and all(
            size == (int(name) if name.isdigit() else self.sizes.setdefault(name, size))
            for name, size in zip(sizes, x.shape, strict=True)
        )
        if not fits or self.sizes.get("k", 1) % 2 == 0:
            got = f"got {tuple(x.shape)}"
            raise ValueError(
                f"{self.owner}: {self.prefix + key!r} must have shape {expected}, {got}"
            )
        return x

    def _shape(self, sizes: list[str]) -> str:
        """A shape in words, with the sizes that are known."""
        shape = ", ".join(str(self.sizes.get(name, name)) for name in sizes)
        return f"({shape})" + (" with k odd" if "k" in shape else "")

    def _hint(self, keys: Keys) -> str:
        """The prefixes, if any, under which all keys are."""
        first, *others = (key for key in keys if not key.endswith(_COUNTER))
        starts = [key.removesuffix(first) for key in self.state if key.endswith(first)]
        fitting = [p for p in starts if all(p + key in self.state for key in others)]
        fitting.sort(key=lambda start: not start.startswith(self.prefix))
        names = [repr(start) for start in fitting]
        return f". Prefixes that have all keys: {few(names)}" if fitting else ""


def _is_kernel(key: str, value: Tensor) -> bool:
    """Whether this is a convolution's kernel for a maximum and a mean, of any size."""
    if not (isinstance(value, Tensor) and value.dim() in (3, 4, 5)):
        return False
    return key.endswith("weight") and value.shape[:2] == (1, 2)
