"""Networks of other libraries, and what is put into each.

A library is imported where its network is made.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from torchattn_blocks import CBAM, DropBlock2d, IdentityStart, insert_after, out_channels

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "examples" / "hosts")]


@dataclass(frozen=True)
class Case:
    """A network, its library, and what changes it."""

    name: str
    library: str  # as `import` spells it
    network: Callable[[], nn.Module]
    changed: Callable[[nn.Module], nn.Module]
    shape: tuple[int, ...] = (2, 3, 64, 64)


def import_torchvision() -> None:
    """Prepare what timm and segmentation_models.pytorch import, too."""
    import libraries  # noqa: F401


def of_example(script: str, function: str) -> Callable[..., nn.Module]:
    """A function of a script in `examples/hosts`."""

    def call(*arguments: nn.Module) -> nn.Module:
        return getattr(importlib.import_module(script), function)(*arguments)

    return call


def timm_resnet() -> nn.Module:
    return importlib.import_module("timm").create_model("resnet18", num_classes=5)


def with_drop_block(network: nn.Module) -> nn.Module:
    return insert_after(network, "layer[34].*.bn?", lambda norm: DropBlock2d(0.1, block_size=3))


def with_cbam(network: nn.Module) -> nn.Module:
    return insert_after(network, "layer?.*", lambda block: IdentityStart(CBAM(out_channels(block))))


CASES = [
    Case(
        "ResNet in plain torch",
        "torch",
        of_example("torch_resnet", "network"),
        of_example("torch_resnet", "changed"),
        (2, 3, 16, 16),
    ),
    Case("timm resnet18, DropBlock", "timm", timm_resnet, with_drop_block),
    Case("timm resnet18, CBAM", "timm", timm_resnet, with_cbam),
    Case(
        "timm resnet18, features_only",
        "timm",
        of_example("timm_resnet", "network"),
        of_example("timm_resnet", "changed"),
    ),
    Case(
        "Unet with resnet18",
        "segmentation_models_pytorch",
        of_example("smp_unet", "network"),
        of_example("smp_unet", "changed"),
    ),
    Case(
        "BasicUNet, 2-D",
        "monai",
        of_example("monai_unet", "network"),
        of_example("monai_unet", "changed"),
        (2, 3, 32, 32),
    ),
    Case(
        "UNet, 3-D",
        "monai",
        of_example("monai_unet", "volume_network"),
        of_example("monai_unet", "volume_changed"),
        (2, 1, 8, 16, 16),
    ),
    Case(
        "convnext_tiny",
        "torchvision",
        of_example("torchvision_convnext", "network"),
        of_example("torchvision_convnext", "changed"),
    ),
]


def original(case: Case, seed: int = 0) -> nn.Module:
    """The case's network in evaluation mode."""
    torch.manual_seed(seed)
    return case.network().eval()


def image(case: Case) -> torch.Tensor:
    return torch.rand(case.shape, generator=torch.Generator().manual_seed(1))
