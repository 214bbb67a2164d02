"""Attention layers of other libraries, and how each becomes one of ours.

A layer's library is imported where the layer is made.
"""

import importlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from torchattn_blocks import convert

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


class AuthorsCBAM(nn.Module):
    """The formula of CBAM's authors' code, with the names of its parameters."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.ChannelGate, self.SpatialGate = nn.Module(), nn.Module()
        first, second = (
            nn.Linear(channels, hidden_channels),
            nn.Linear(hidden_channels, channels),
        )
        self.ChannelGate.mlp = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)
        conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        bn = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01)
        self.SpatialGate.spatial = nn.Sequential(OrderedDict(conv=conv, bn=bn))

    def forward(self, x):
        mlp = self.ChannelGate.mlp
        logits = mlp(F.adaptive_avg_pool2d(x, 1)) + mlp(F.adaptive_max_pool2d(x, 1))
        x = x * logits.sigmoid()[:, :, None, None]
        summary = torch.stack([x.max(1).values, x.mean(1)], 1)
        return x * self.SpatialGate.spatial(summary).sigmoid()


class MeanFirst(nn.Module):
    """A spatial attention with the mean first, a bias and batch normalisation if wanted."""

    def __init__(self, dims: int, size: int, bias: bool, norm: bool) -> None:
        super().__init__()
        make, make_norm = (
            (nn.Conv1d, nn.BatchNorm1d),
            (nn.Conv2d, nn.BatchNorm2d),
            (nn.Conv3d, nn.BatchNorm3d),
        )[dims - 1]
        self.conv1 = make(2, 1, size, padding=size // 2, bias=bias)
        self.after = make_norm(1) if norm else nn.Identity()

    def forward(self, x):
        summary = torch.stack([x.mean(1), x.max(1).values], 1)
        return x * self.after(self.conv1(summary)).sigmoid()


class AuthorsTriplet(nn.Module):
    """The formula of triplet attention's authors' code, with the names of its parameters."""

    def __init__(self) -> None:
        super().__init__()
        for pair in ("cw", "hc", "hw"):
            conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
            both = OrderedDict(conv=conv, bn=nn.BatchNorm2d(1, momentum=0.01))
            self.add_module(pair, nn.Sequential(OrderedDict(conv=nn.Sequential(both))))

    def forward(self, x):
        outputs = []
        for pair, order in {"hw": (0, 1, 2, 3), "cw": (0, 2, 1, 3), "hc": (0, 3, 2, 1)}.items():
            turned = x.permute(order)
            summary = torch.stack([turned.max(1).values, turned.mean(1)], 1)
            outputs.append((turned * getattr(self, pair)(summary).sigmoid()).permute(order))
        return sum(outputs) / 3


class AuthorsBAM(nn.Module):
    """The formula of BAM's authors' code, with the names of its parameters."""

    def __init__(self, channels: int, hidden: int, dilation: int = 4) -> None:
        super().__init__()
        self.channel_att, self.spatial_att = nn.Module(), nn.Module()
        self.channel_att.gate_c = nn.Sequential(
            OrderedDict(
                gate_c_fc_0=nn.Linear(channels, hidden),
                gate_c_bn_1=nn.BatchNorm1d(hidden),
                gate_c_relu_1=nn.ReLU(),
                gate_c_fc_final=nn.Linear(hidden, channels),
            )
        )
        steps = OrderedDict(gate_s_conv_reduce0=nn.Conv2d(channels, hidden, 1))
        for name in ("reduce0", "di_0", "di_1"):
            if name != "reduce0":
                conv = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
                steps[f"gate_s_conv_{name}"] = conv
            steps[f"gate_s_bn_{name}"] = nn.BatchNorm2d(hidden)
            steps[f"gate_s_relu_{name}"] = nn.ReLU()
        steps["gate_s_conv_final"] = nn.Conv2d(hidden, 1, 1)
        self.spatial_att.gate_s = nn.Sequential(steps)

    def forward(self, x):
        by_channel = self.channel_att.gate_c(x.mean((2, 3)))[:, :, None, None]
        return x * (1 + (by_channel * self.spatial_att.gate_s(x)).sigmoid())


class AuthorsCoordinate(nn.Module):
    """The formula of coordinate attention's authors' code, with the names of its parameters."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden)
        self.conv_h, self.conv_w = (nn.Conv2d(hidden, channels, 1) for _ in range(2))

    def forward(self, x):
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT
        both = self.bn1(self.conv1(torch.cat([rows, columns], 2)))
        rows, columns = F.hardswish(both).split([x.shape[2], x.shape[3]], 2)
        return x * self.conv_w(columns.mT).sigmoid() * self.conv_h(rows).sigmoid()


@dataclass(frozen=True)
class Case:
    """A layer of another library, what converts it, and the shape of an input."""

    name: str
    library: str  # where it is imported from; "torch" for those written out above
    make: Callable[[], nn.Module]
    convert: Callable[..., nn.Module]
    shape: tuple[int, ...] = (2, 8, 5, 6)

    @property
    def function(self) -> str:
        """The name of the function that converts it."""
        return getattr(self.convert, "func", self.convert).__name__


def made(path: str, *args: object, **options: object) -> Callable[[], nn.Module]:
    """What makes an object of another library from the path of its class or function."""

    def make() -> nn.Module:
        import_torchvision()
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)(*args, **options)

    return make


def import_torchvision() -> None:
    """Prepare what timm and segmentation_models.pytorch import, too."""
    import peers  # noqa: F401


TIMM_SE, TIMM_EFFICIENT_SE = (
    "timm.layers.SEModule",
    "timm.models._efficientnet_blocks.SqueezeExcite",
)
TIMM_CBAM = "timm.layers.cbam.CbamModule"
TORCHVISION_SE = "torchvision.ops.misc.SqueezeExcitation"
SMP_SCSE = "segmentation_models_pytorch.base.modules.SCSEModule"
MONAI = "monai.networks.blocks.squeeze_and_excitation"
LINE, PLANE, VOLUME = (2, 8, 9), (2, 8, 5, 6), (1, 8, 3, 4, 5)

CASES = [
    Case("timm CbamModule", "timm", made(TIMM_CBAM, 8, rd_channels=4), convert.from_timm_cbam),
    Case(
        "timm CbamModule, mlp_bias, kernel 3",
        "timm",
        made(TIMM_CBAM, 8, rd_channels=4, mlp_bias=True, spatial_kernel_size=3),
        convert.from_timm_cbam,
    ),
    Case("authors' CBAM", "torch", partial(AuthorsCBAM, 8, 4), convert.from_cbam_authors),
    Case(
        "timm SpatialAttn",
        "timm",
        made("timm.layers.cbam.SpatialAttn"),
        partial(convert.from_spatial_attention, mean_first=True),
    ),
    *(
        Case(
            f"mean first, {dims}d, {'bias' if bias else 'no bias'}{', norm' if norm else ''}",
            "torch",
            partial(MeanFirst, dims, size, bias, norm),
            partial(convert.from_spatial_attention, mean_first=True),
            shape,
        )
        for dims, size, bias, norm, shape in [
            (1, 5, True, False, LINE),
            (1, 3, False, True, LINE),
            (2, 7, True, False, PLANE),
            (2, 7, True, True, PLANE),
            (2, 7, False, False, PLANE),
            (3, 3, False, False, VOLUME),
            (3, 3, False, True, VOLUME),
        ]
    ),
    Case("timm SEModule", "timm", made(TIMM_SE, 8, rd_channels=4), convert.from_timm_se),
    Case(
        "timm SEModule, no bias, SiLU, hard sigmoid",
        "timm",
        made(TIMM_SE, 8, rd_channels=4, bias=False, act_layer=nn.SiLU, gate_layer="hard_sigmoid"),
        partial(convert.from_timm_se, activation=nn.SiLU, gate=nn.Hardsigmoid),
    ),
    Case(
        "timm EfficientNet SqueezeExcite", "timm", made(TIMM_EFFICIENT_SE, 8), convert.from_timm_se
    ),
    Case(
        "timm EfficientNet SqueezeExcite, SiLU",
        "timm",
        made(TIMM_EFFICIENT_SE, 8, act_layer=nn.SiLU),
        partial(convert.from_timm_se, activation=nn.SiLU),
    ),
    *(
        Case(
            f"timm EcaModule, {channels} channels",
            "timm",
            made("timm.layers.EcaModule", channels),
            partial(convert.from_timm_eca, channels=channels),
            (1, channels, 2, 3),
        )
        for channels in (4, 16, 128)
    ),
    *(
        Case(
            f"timm GlobalContext, {fusion}",
            "timm",
            made("timm.layers.GlobalContext", 8, rd_channels=4, **options),
            convert.from_timm_global_context,
        )
        for fusion, options in [
            ("scale", {}),
            ("add", {"fuse_add": True, "fuse_scale": False}),
        ]
    ),
    Case(
        "timm CoordAttn",
        "timm",
        made("timm.layers.coord_attn.CoordAttn", 8, rd_channels=4),
        convert.from_timm_coord_attn,
    ),
    Case(
        "timm CoordAttn, bias, ReLU, hard sigmoid",
        "timm",
        made(
            "timm.layers.coord_attn.CoordAttn",
            16,
            bias=True,
            act_layer=nn.ReLU,
            gate_layer="hard_sigmoid",
        ),
        partial(convert.from_timm_coord_attn, activation=nn.ReLU, gate=nn.Hardsigmoid),
        (2, 16, 5, 6),
    ),
    Case(
        "authors' CoordAtt",
        "torch",
        partial(AuthorsCoordinate, 8, 4),
        convert.from_timm_coord_attn,
    ),
    Case("authors' TripletAttention", "torch", AuthorsTriplet, convert.from_triplet_authors),
    Case("authors' BAM", "torch", partial(AuthorsBAM, 8, 3), convert.from_bam_authors),
    Case(
        "authors' BAM, dilation 2",
        "torch",
        partial(AuthorsBAM, 8, 3, 2),
        partial(convert.from_bam_authors, dilation=2),
    ),
    Case(
        "timm GlobalContext, GELU, hard sigmoid",
        "timm",
        made("timm.layers.GlobalContext", 8, act_layer=nn.GELU, gate_layer="hard_sigmoid"),
        partial(convert.from_timm_global_context, activation=nn.GELU, gate=nn.Hardsigmoid),
    ),
    Case(
        "torchvision SqueezeExcitation",
        "torchvision",
        made(TORCHVISION_SE, 8, 4),
        convert.from_torchvision_se,
    ),
    Case(
        "torchvision SqueezeExcitation, SiLU, hard sigmoid",
        "torchvision",
        made(TORCHVISION_SE, 8, 4, nn.SiLU, nn.Hardsigmoid),
        partial(convert.from_torchvision_se, activation=nn.SiLU, gate=nn.Hardsigmoid),
    ),
    Case(
        "segmentation_models.pytorch SCSEModule",
        "segmentation_models_pytorch",
        made(SMP_SCSE, 8, 4),
        convert.from_smp_scse,
    ),
    *(
        Case(
            f"MONAI {kind}, {len(shape) - 2}d",
            "monai",
            made(f"{MONAI}.{kind}", len(shape) - 2, shape[1]),
            partial(
                convert.from_monai_se,
                residual=kind == "ResidualSELayer",
                spatial_dims=len(shape) - 2,
            ),
            shape,
        )
        for kind in ("ChannelSELayer", "ResidualSELayer")
        for shape in (LINE, PLANE, VOLUME)
    ),
    Case(
        "MONAI ChannelSELayer, SiLU, add_residual",
        "monai",
        made(f"{MONAI}.ChannelSELayer", 2, 8, 4, "swish", "sigmoid", add_residual=True),
        partial(convert.from_monai_se, activation=nn.SiLU, gate=nn.Sigmoid, residual=True),
        PLANE,
    ),
]


def filled(case: Case, seed: int = 0) -> nn.Module:
    """The case's layer in evaluation mode, with random weights and statistics."""
    layer = case.make().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in layer.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif value.is_floating_point():
                value.normal_(0, 0.5, generator=generator)
    return layer


def image(case: Case, seed: int = 1) -> torch.Tensor:
    """An input of the case's layer, without ties among its values."""
    return torch.randn(case.shape, generator=torch.Generator().manual_seed(seed))


def output_and_gradient(layer: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's output, and the gradient of half the sum of its squares."""
    x = x.clone().requires_grad_()
    y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, y.detach())
    return y.detach(), gradient


def parameters(layer: nn.Module) -> int:
    """How many numbers a layer learns."""
    return sum(w.numel() for w in layer.parameters())
