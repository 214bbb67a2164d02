"""Networks around encoders of timm, torchvision and segmentation_models.pytorch.

Tests of a library that is not installed are skipped.
"""

import copy
import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

from torchattn_blocks import AttentionGate, DropBlock2d, UNet, plain_stage

DOCS = Path(__file__).parents[2] / "docs"
TIMM = [
    "resnet18", "resnet34", "convnext_atto", "efficientnet_b0", "mobilenetv3_small_050", "vgg11",
    "regnetx_002", "densenet121", "hrnet_w18_small", "pvt_v2_b0", "edgenext_xx_small", "repvgg_a0",
]  # fmt: skip
TORCHVISION = {
    "resnet18": ["relu", "layer1", "layer2", "layer3", "layer4"],
    "convnext_tiny": ["features.1", "features.3", "features.5", "features.7"],
    "mobilenet_v3_small": ["features.0", "features.1", "features.3", "features.8", "features.12"],
}
SMP = ["resnet18", "mit_b0"]
CASES = [
    *(("timm", name) for name in TIMM),
    *(("torchvision", name) for name in TORCHVISION),
    *(("segmentation_models_pytorch", name) for name in SMP),
]


def library(name):
    """The library; the test is skipped without it."""
    sys.path.append(str(DOCS.parent / "benchmarks"))
    importlib.import_module("libraries")  # prepares the import of torchvision
    sys.path.pop()
    return pytest.importorskip(name, reason=f"{name} is not installed")


def encoder_of(kind, name):
    peer = library(kind)
    torch.manual_seed(0)
    if kind == "timm":
        return peer.create_model(name, features_only=True, pretrained=False)
    if kind == "torchvision":
        extraction = importlib.import_module("torchvision.models.feature_extraction")
        network = getattr(peer.models, name)()
        return extraction.create_feature_extractor(network, TORCHVISION[name])
    return peer.encoders.get_encoder(name, weights=None)


@pytest.mark.filterwarnings("ignore")  # of the libraries, about themselves
@pytest.mark.parametrize(("kind", "name"), CASES, ids="-".join)
def test_any_size_frozen_or_not(kind, name):
    encoder = encoder_of(kind, name)
    reference = copy.deepcopy(encoder).eval()
    stage = plain_stage(drop=lambda: DropBlock2d(0.1))
    model = UNet(3, 2, encoder=encoder, stage=stage, skip=AttentionGate).eval()
    with torch.no_grad():
        for size in [(64, 96), (65, 50), (7, 131)]:
            assert model(torch.rand(1, 3, *size)).shape == (1, 2, *size)
        x = torch.rand(1, 3, 64, 96)
        for ours, theirs in zip(maps(model.encoder, x), maps(reference, x), strict=True):
            assert torch.equal(ours, theirs)

    model.encoder.requires_grad_(False)
    model.train()
    model.encoder.eval()
    before = copy.deepcopy(encoder.state_dict())
    model(torch.rand(2, 3, 65, 50)).square().mean().backward()
    assert all(w.grad is None for w in encoder.parameters())
    assert all(torch.equal(v, before[key]) for key, v in encoder.state_dict().items())
    assert all(w.grad is not None for w in model.head.parameters())

    model.encoder.requires_grad_(True)
    model.train()
    model(torch.rand(2, 3, 65, 50)).square().mean().backward()
    assert any(w.grad is not None and w.grad.abs().sum() > 0 for w in encoder.parameters())


def maps(encoder, x):
    features = encoder(x)
    return features.values() if isinstance(features, dict) else features


@pytest.mark.filterwarnings("ignore")
def test_the_examples_of_the_page_run(monkeypatch, tmp_path):
    """Without downloads: networks are made without weights."""
    monkeypatch.chdir(tmp_path)
    timm, torchvision = library("timm"), library("torchvision")
    page = (DOCS / "encoders.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.S))
    create, resnet = timm.create_model, torchvision.models.resnet18
    monkeypatch.setattr(timm, "create_model", lambda *args, pretrained, **kw: create(*args, **kw))
    monkeypatch.setattr(torchvision.models, "resnet18", lambda weights: resnet())
    made = {}
    exec(code, made)
    assert made["logits"].shape == (2, 1, 65, 50)
    assert made["again"].eval()(torch.rand(1, 3, 65, 50)).shape == (1, 1, 65, 50)
    assert made["other"].eval()(torch.rand(1, 3, 65, 50)).shape == (1, 1, 65, 50)


def test_the_page_names_what_is_tried():
    page = (DOCS / "encoders.md").read_text(encoding="utf-8")
    assert [name for name in TIMM if f"`{name}`" not in page] == []
    for others in ("ResNet-18, ConvNeXt tiny, MobileNetV3 small", "ResNet-18, MiT-B0"):
        assert f"({others})" in page
    assert [*TORCHVISION] == ["resnet18", "convnext_tiny", "mobilenet_v3_small"]
    assert SMP == ["resnet18", "mit_b0"]
