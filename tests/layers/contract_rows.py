"""Every layer, block and network: the rows that the contract runs over."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
import torch
from torch import nn

from torchattn_blocks import (
    BAM,
    CBAM,
    RSAB,
    AttentionGate,
    ChannelAttention,
    ConcurrentSqueezeExcite,
    CoordinateAttention,
    DropBlock1d,
    DropBlock2d,
    DropBlock3d,
    EfficientChannelAttention,
    GlobalContext,
    IdentityStart,
    PreActResidual,
    SimAM,
    SpatialAttention,
    SqueezeExcite,
    StochasticDepth,
    TripletAttention,
    UNet,
    attention_unet,
    backbone,
    backbone_dropblock,
    insert_after,
    insert_before,
    plain_stage,
    rsan,
    sa_unet,
    sd_unet,
    unet,
)
from torchattn_blocks.layers._dropping import Dropping
from torchattn_blocks.models import add, concatenate, pixel_shuffle, strided_conv, transposed


class Row(NamedTuple):
    name: str
    make: Callable[[], nn.Module]
    out_channels: int = 3  # of inputs with 3 channels
    excused: Mapping[str, str] = {}  # which check it does not pass, and why
    axes: int = 2  # how many the input has after its channels

    def image(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """An input with as many axes as the layer takes, for a shape (N, C, H, W)."""
        batch, channels, height, width = shape or (2, 3, 12, 10)
        size = {1: (height * width,), 2: (height, width), 3: (3, height, width)}[self.axes]
        return image(batch, channels, *size, dtype=dtype)

    def out_shape(self, x: torch.Tensor) -> tuple[int, ...]:
        return (x.shape[0], self.out_channels, *x.shape[2:])

    @property
    def channels_last(self) -> torch.memory_format:
        """What the layer can take at most."""
        formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
        return formats[self.axes - 1]

    @property
    def any_size(self) -> dict[int, torch.export.Dim]:
        return {2 + axis: torch.export.Dim.DYNAMIC for axis in range(self.axes)}


class GatedByItself(nn.Module):
    """An attention gate as a layer of one input, whose gate has other sizes than its skip."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.gate = AttentionGate(3, 3, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gate(x[..., ::2], x)


def with_inserted_layers() -> nn.Module:
    """A network in plain torch with layers of ours after and before its modules."""
    first = PreActResidual(3, 4, drop=None)
    net = nn.Sequential(first, nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1))
    insert_after(net, "0", lambda block: DropBlock2d(0.3, 3), inplace=True)
    insert_after(net, "0.conv1", lambda conv: CBAM(4), inplace=True)
    insert_after(net, "1", lambda norm: IdentityStart(SpatialAttention()), inplace=True)
    return insert_before(net, "2", lambda conv: SqueezeExcite(conv.in_channels), inplace=True)


def other_slots() -> nn.Module:
    """A network whose slots are filled by what the presets do not use."""
    return UNet(
        3,
        1,
        widths=(4, 6, 6),
        strides=((1, 2), 2),
        stage=plain_stage(drop=lambda: DropBlock2d(0.3, 2), attention=SqueezeExcite, norm=None),
        bottleneck=plain_stage(activation=nn.SiLU, dilation=2),
        down=strided_conv(),
        up=lambda i, o, level, stride: (transposed(3), pixel_shuffle())[level](i, o, stride=stride),
        skip=lambda i, o, level: (concatenate(AttentionGate), add())[level](i, o),
    )


class Pyramid(nn.Module):
    """An encoder: feature maps of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Conv2d(4, 6, 3, 2, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        half = self.first(x)
        return half, self.second(half)


def with_encoder() -> nn.Module:
    """A network around an encoder."""
    stage = plain_stage(drop=lambda: DropBlock2d(0.3, 2))
    return UNet(3, 1, encoder=Pyramid(), widths=(4, 6), stage=stage, skip=AttentionGate)


def deep() -> nn.Module:
    return StochasticDepth(0.4)


INDUCTOR = {"test_inductor": "inductor draws random numbers of its own, as for torch's dropout"}
DEPTH = INDUCTOR | {"test_bad_input": "it takes any number of dimensions: test_drop_path.py"}
WRITES = "it writes into what its children return, as it was asked to"
SMALL = {"widths": (4, 6), "p": 0.3, "block_size": 2}
ROWS = [
    Row("DropBlock2d", lambda: DropBlock2d(0.3, 3)),
    Row("DropBlock2d-paper", lambda: DropBlock2d(0.3, 3, gamma="paper", scale="batch")),
    Row("DropBlock2d-position", lambda: DropBlock2d(0.3, (2, 3), scale="position")),
    Row("DropBlock2d-shared", lambda: DropBlock2d(0.3, 3, channelwise=False)),
    Row("DropBlock1d", lambda: DropBlock1d(0.3, 3), axes=1),
    Row("DropBlock3d", lambda: DropBlock3d(0.3, (2, 3, 3), scale="none"), axes=3),
    Row("StochasticDepth", lambda: StochasticDepth(0.4), excused=DEPTH),
    Row("StochasticDepth-batch", lambda: StochasticDepth(0.4, "batch"), excused=DEPTH),
    Row("SpatialAttention", SpatialAttention),
    Row("SpatialAttention-bias", lambda: SpatialAttention(kernel_size=3, bias=True)),
    Row("SpatialAttention-norm", lambda: SpatialAttention(norm=nn.BatchNorm2d)),
    Row("SpatialAttention-1d", lambda: SpatialAttention(spatial_dims=1), axes=1),
    Row("SpatialAttention-3d", lambda: SpatialAttention(spatial_dims=3, kernel_size=3), axes=3),
    Row("ChannelAttention", lambda: ChannelAttention(3)),
    Row("ChannelAttention-3d", lambda: ChannelAttention(3, bias=True, spatial_dims=3), axes=3),
    Row("CBAM", lambda: CBAM(3)),
    Row("CBAM-channel", lambda: CBAM(3, channel=EfficientChannelAttention)),
    Row("GlobalContext", lambda: GlobalContext(3)),
    Row("GlobalContext-scale", lambda: GlobalContext(3, fusion="scale")),
    Row("GlobalContext-1d", lambda: GlobalContext(3, norm=None, spatial_dims=1), axes=1),
    Row("GlobalContext-3d", lambda: GlobalContext(3, fusion="scale", spatial_dims=3), axes=3),
    Row("CoordinateAttention", lambda: CoordinateAttention(3)),
    Row("CoordinateAttention-plain", lambda: CoordinateAttention(3, norm=None, bias=False)),
    Row("CoordinateAttention-3d", lambda: CoordinateAttention(3, spatial_dims=3), axes=3),
    Row("TripletAttention", lambda: TripletAttention(kernel_size=3)),
    Row("TripletAttention-plain", lambda: TripletAttention(norm=None)),
    Row("BAM", lambda: BAM(3, hidden_channels=2)),
    Row("BAM-plain", lambda: BAM(3, norm=None, channel_norm=None)),
    Row("BAM-1d", lambda: BAM(3, fusion="multiply", spatial_dims=1), axes=1),
    Row("BAM-3d", lambda: BAM(3, channel_norm=nn.LayerNorm, spatial_dims=3), axes=3),
    Row("SimAM", SimAM),
    Row("SimAM-1d", lambda: SimAM(spatial_dims=1), axes=1),
    Row("SimAM-3d", lambda: SimAM(spatial_dims=3, eps=0.1), axes=3),
    Row("SqueezeExcite", lambda: SqueezeExcite(3)),
    Row("SqueezeExcite-1d", lambda: SqueezeExcite(3, reduction=1, spatial_dims=1), axes=1),
    Row("EfficientChannelAttention", lambda: EfficientChannelAttention(3, kernel_size=3)),
    Row("ConcurrentSqueezeExcite", lambda: ConcurrentSqueezeExcite(3)),
    Row("AttentionGate", GatedByItself),
    Row("AttentionGate-3d", lambda: GatedByItself(spatial_dims=3), axes=3),
    Row(
        "IdentityStart",
        lambda: IdentityStart(SpatialAttention()),
        excused={"test_bad_input": "the layer in it raises, under its own name"},
    ),
    Row(
        "inserted",
        with_inserted_layers,
        excused={"test_bad_input": "torch's convolution raises"},
    ),
    Row("PreActResidual", lambda: PreActResidual(3)),
    Row("PreActResidual-wider", lambda: PreActResidual(3, 5), 5),
    Row("RSAB", lambda: RSAB(3)),
    Row("RSAB-drop_path", lambda: RSAB(3, drop_path=deep), excused=INDUCTOR),
    Row("RSAB-plain", lambda: RSAB(3, drop=None, norm=lambda channels: nn.Identity())),
    Row(
        "RSAB-inplace",
        lambda: RSAB(3, inplace=True),
        excused={
            "test_full_backward_hooks": "torch refuses writing into what a hook watches",
            "test_children_are_called_and_outputs_are_not_overwritten": WRITES,
            "test_linearize": "torch folds its ReLU's input into a parameter, which it then writes",
        },
    ),
    Row("rsan", lambda: rsan(out_channels=2, **SMALL), 2),
    Row("backbone_dropblock", lambda: backbone_dropblock(out_channels=2, **SMALL), 2),
    Row("backbone", lambda: backbone(widths=(4, 6)), 1),
    Row("unet", lambda: unet(widths=(4, 6)), 1),
    Row("RSAB-memory", lambda: RSAB(3, memory_efficient=True)),
    Row("rsan-memory", lambda: rsan(out_channels=2, memory_efficient=True, **SMALL), 2),
    Row("unet-stages", lambda: unet(widths=(4, 6), memory_efficient="stages"), 1),
    Row("RSAB-1d", lambda: RSAB(3, spatial_dims=1), axes=1),
    Row("rsan-3d", lambda: rsan(spatial_dims=3, **SMALL), 1, axes=3),
    Row("UNet", other_slots, 1),
    Row("UNet-encoder", with_encoder, 1),
    Row("sd_unet", lambda: sd_unet(**SMALL), 1),
    Row("sa_unet", lambda: sa_unet(**SMALL), 1),
    Row("attention_unet", lambda: attention_unet(widths=(4, 6)), 1),
]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def one_row_a_family(network: str = "rsan") -> pytest.MarkDecorator:
    """A row of each layer, and one network; the others are slow."""
    chosen = {"DropBlock2d", "SpatialAttention", "CBAM", "AttentionGate", "RSAB", network}
    rows = [
        pytest.param(row, id=row.name, marks=() if row.name in chosen else pytest.mark.slow)
        for row in ROWS
    ]
    return pytest.mark.parametrize("row", rows)


def image(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A repeatable input, by default of shape (2, 3, 12, 10)."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape or (2, 3, 12, 10), generator=generator).to(dtype)


def made(row: Row, *, training: bool = True, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return row.make().to(dtype).train(training)


def bytes_saved(layer: nn.Module, x: torch.Tensor) -> list[int]:
    """Sizes of what a call keeps for its backward pass, but for input, output and parameters."""
    saved = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer(x)  # kept until the sizes are read, so that no address is used twice
    for own in (x, y, *layer.parameters()):
        saved.pop(own.untyped_storage().data_ptr(), None)
    return sorted(saved.values())


def without_running_statistics(layer: nn.Module) -> nn.Module:
    """torch.func cannot update batch normalisation's statistics: torch's own way around it."""
    return torch.func.replace_all_batch_norm_modules_(layer)


def seeded(call: Callable, *args: object) -> object:
    torch.manual_seed(7)
    return call(*args)


def is_random(layer: nn.Module) -> bool:
    return any(isinstance(m, Dropping) for m in layer.modules())


def varies(call: Callable[[], torch.Tensor]) -> bool:
    """Whether not all of several calls return the same. One decision for all varies seldom."""
    first = call()
    return any(not torch.equal(call(), first) for _ in range(16))


def has_batch_norm(row: Row) -> bool:
    kind = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, kind) for module in row.make().modules())


def has_layer_norm(row: Row) -> bool:
    return any(isinstance(module, nn.LayerNorm) for module in row.make().modules())
