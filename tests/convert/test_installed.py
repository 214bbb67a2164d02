"""Layers and models of the libraries that are installed, converted, compute the same.

Tests of a library that is not installed are skipped.
"""

import copy
from functools import partial

import pytest
import torch
from peer_layers import (
    CASES,
    filled,
    image,
    import_torchvision,
    made,
    output_and_gradient,
    parameters,
)
from torch import nn

from torchattn_blocks import convert


def need(library):
    """Skip the test unless the library is there."""
    import_torchvision()
    pytest.importorskip(library)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_is_equal(case, dtype):
    need(case.library)
    theirs, x = filled(case).to(dtype), image(case).to(dtype)
    ours = case.convert(theirs.state_dict()).eval()
    for a, b in zip(output_and_gradient(ours, x), output_and_gradient(theirs, x), strict=True):
        torch.testing.assert_close(a, b)
    assert parameters(ours) == parameters(theirs)


SILU, HARD = {"activation": nn.SiLU}, {"gate": nn.Hardsigmoid}
MODELS = {
    "timm seresnet18": (
        made("timm.create_model", "seresnet18", num_classes=5),
        ("SEModule", 8),
        convert.from_timm_se,
    ),
    "timm mobilenetv3_small_050": (
        made("timm.create_model", "mobilenetv3_small_050", num_classes=5),
        ("SqueezeExcite", 9),
        partial(convert.from_timm_se, **HARD),
    ),
    "timm efficientnet_b0": (
        made("timm.create_model", "efficientnet_b0", num_classes=5),
        ("SqueezeExcite", 16),
        partial(convert.from_timm_se, **SILU),
    ),
    "timm ecaresnet26t": (
        made("timm.create_model", "ecaresnet26t", num_classes=5),
        ("EcaModule", 8),
        convert.from_timm_eca,
    ),
    "timm resnet18 with coordinate attention": (
        made("timm.create_model", "resnet18", num_classes=5, block_args={"attn_layer": "coord"}),
        ("CoordAttn", 8),
        convert.from_timm_coord_attn,
    ),
    "timm resnet18 with global context": (
        made("timm.create_model", "resnet18", num_classes=5, block_args={"attn_layer": "gca"}),
        ("GlobalContext", 8),
        convert.from_timm_global_context,
    ),
    "timm resnet18 with CBAM": (
        made("timm.create_model", "resnet18", num_classes=5, block_args={"attn_layer": "cbam"}),
        ("CbamModule", 8),
        convert.from_timm_cbam,
    ),
    "torchvision mobilenet_v3_small": (
        made("torchvision.models.mobilenet_v3_small"),
        ("SqueezeExcitation", 9),
        partial(convert.from_torchvision_se, **HARD),
    ),
    "torchvision efficientnet_b0": (
        made("torchvision.models.efficientnet_b0"),
        ("SqueezeExcitation", 16),
        partial(convert.from_torchvision_se, **SILU),
    ),
    "segmentation_models_pytorch Unet": (
        made(
            "segmentation_models_pytorch.Unet",
            "resnet18",
            encoder_weights=None,
            decoder_attention_type="scse",
        ),
        ("SCSEModule", 9),
        convert.from_smp_scse,
    ),
    "monai SENet": (
        made(
            "monai.networks.nets.SENet", 2, 3, "se_bottleneck", (1, 1, 1, 1), 1, 16, num_classes=5
        ),
        ("ChannelSELayer", 4),
        convert.from_monai_se,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_model_is_equal(name):
    need(name.split()[0])
    make, (kind, number), function = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    channels = {}

    def note(layer, inputs, _):
        channels[layer] = inputs[0].shape[1]

    layers = {key: m for key, m in model.named_modules() if type(m).__name__ == kind}
    hooks = [layer.register_forward_hook(note) for layer in layers.values()]
    x = torch.randn(2, 3, 64, 64)
    expected = model(x)
    for hook in hooks:
        hook.remove()
    layers = {key: layer for key, layer in layers.items() if layer in channels}  # those it calls
    state, ours = model.state_dict(), copy.deepcopy(model)
    for key, layer in layers.items():
        options = {"channels": channels[layer]} if kind == "EcaModule" else {}
        converted = function(state, prefix=f"{key}.", **options).eval()
        z = torch.randn(2, channels[layer], 5, 6)
        torch.testing.assert_close(converted(z), layer(z))
        ours.set_submodule(key, converted)
    assert len(layers) == number
    torch.testing.assert_close(ours(x), expected)
    assert parameters(ours) == parameters(model)


def test_timms_cbam_trains_alike():
    need("timm")
    theirs = made("timm.layers.cbam.CbamModule", 8, rd_channels=2)()
    ours, x = convert.from_timm_cbam(theirs.state_dict()), torch.randn(2, 8, 5, 6)
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    for key, value in theirs.spatial.conv.bn.state_dict().items():
        torch.testing.assert_close(ours.spatial.norm.state_dict()[key], value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_mlp": True, "rd_channels": 4}, "use_mlp"),
        ({"norm_layer": nn.BatchNorm2d}, "normalises"),
    ],
)
def test_timms_variants_are_refused(options, message):
    need("timm")
    eca = "use_mlp" in options
    theirs = made("timm.layers.EcaModule" if eca else "timm.layers.SEModule", 16, **options)()
    function = partial(convert.from_timm_eca, channels=16) if eca else convert.from_timm_se
    with pytest.raises(ValueError, match=message):
        function(theirs.state_dict())


def test_monais_block_is_reached_by_a_prefix():
    need("monai")
    path = "monai.networks.blocks.squeeze_and_excitation.SEBlock"
    block = made(path, 3, 4, 4, 4, 8)().eval()
    ours = convert.from_monai_se(block.state_dict(), prefix="se_layer.", spatial_dims=3)
    x = torch.randn(1, 4, 3, 4, 5)
    expected = block(x)
    block.set_submodule("se_layer", ours)
    torch.testing.assert_close(block(x), expected)
