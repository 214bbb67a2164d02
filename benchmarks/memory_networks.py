"""The networks whose memory is measured: ours in each setting, and others of similar size."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pkgutil import resolve_name

import libraries
from libraries import OURS
from torch import nn

from torchattn_blocks import rsan, unet

RSAN_PLAIN, UNET_PLAIN = "rsan()", "unet()"


@dataclass(frozen=True, kw_only=True)
class Contender(libraries.Contender):
    """A network, and the name of the plain one that it is compared with."""

    build: Callable[[], nn.Module]
    plain: str = ""


def _ours(name: str, preset: Callable[..., nn.Module]) -> list[Contender]:
    settings = {
        "": {},
        "inplace=True": {"inplace": True},
        'memory_efficient="activations"': {"memory_efficient": "activations"},
        "memory_efficient=True": {"memory_efficient": True},
        'memory_efficient="stages"': {"memory_efficient": "stages"},
    }
    return [
        Contender(
            name=f"{name}({setting})",
            library=OURS,
            build=partial(preset, **options),
            plain=f"{name}()",
        )
        for setting, options in settings.items()
    ]


def peer(name: str, library: str, path: str, *args: object, **options: object) -> Contender:
    missing = "" if find_spec(library) else f"{library} is not installed"

    def build() -> nn.Module:
        return resolve_name(path)(*args, **options)

    return Contender(name=name, library=library, missing=missing, build=build)


SMP, MONAI = "segmentation_models_pytorch", "monai"
SMP_MOBILENET = peer(
    "smp.Unet, MobileNetV3 0.75",
    SMP,
    f"{SMP}:Unet",
    "timm-mobilenetv3_small_075",
    decoder_channels=(64, 48, 32, 24, 16),
    encoder_weights=None,
)
NETWORKS = [
    *_ours("rsan", rsan),
    *_ours("unet", unet),
    peer("smp.Unet, ResNet-18", SMP, f"{SMP}:Unet", "resnet18", encoder_weights=None),
    SMP_MOBILENET,
    peer(
        "MONAI UNet",
        MONAI,
        "monai.networks.nets:UNet",
        2,
        3,
        1,
        (24, 48, 96, 192),
        (2, 2, 2),
        num_res_units=2,
    ),
    peer(
        "MONAI BasicUNet",
        MONAI,
        "monai.networks.nets:BasicUNet",
        2,
        3,
        1,
        (16, 16, 32, 64, 128, 16),
    ),
]
