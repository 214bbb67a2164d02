"""The recipes of docs/unet.md: what the page says of them."""

import contextlib
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from torchattn_blocks import AttentionGate, unet

PAGE = (Path(__file__).parents[2] / "docs" / "unet.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    made = {}
    torch.manual_seed(0)
    with contextlib.chdir(tmp_path_factory.mktemp("recipes")):
        exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.S)), made)
    return made


def count(model):
    return sum(w.numel() for w in model.parameters())


def test_numbers_on_the_page(recipes):
    assert recipes["logits"].shape == (2, 4, 65, 50)
    for make, options in [("sd_unet", {}), ("sa_unet", {}), ("sa_unet", {"attention": None})]:
        assert f"{count(recipes[make](**options)):,}" in PAGE
    assert f"{count(recipes['attention_unet']()):,}" in PAGE
    assert [tuple(one.shape) for one in recipes["outputs"]] == [
        (1, 1, 65, 50),
        (1, 1, 33, 25),
        (1, 1, 17, 13),
    ]
    assert [one.shape for one in recipes["targets"]] == [one.shape for one in recipes["outputs"]]
    assert recipes["again"].config() == recipes["trained"].config()
    assert f"It has {count(recipes['light']):,} parameters" in PAGE
    assert f"{count(unet()):,}." in PAGE
    labels = recipes["labels"]
    assert labels.min() >= 0
    assert not torch.allclose(labels.sum(1), torch.ones(()))


def test_networks_run_and_are_what_the_page_says(recipes):
    gates = [m for m in recipes["gated"].skips.modules() if isinstance(m, AttentionGate)]
    assert len(gates) == 3
    volume = torch.rand(1, 1, 5, 18, 15)
    assert recipes["nnunet"].eval()(volume).shape == (1, 3, 5, 18, 15)
    wide = recipes["wide"].eval()
    assert [m.p for m in wide.modules() if isinstance(m, nn.Dropout2d)] == [
        *(0.0, 0.0, 0.05, 0.05, 0.1, 0.1),  # encoder
        *(0.1, 0.1, 0.05, 0.05, 0.0, 0.0),  # decoder
    ]
    seen = torch.zeros(1, 128, 15, 15, requires_grad=True)
    wide.bottleneck[3](seen)[0, 0, 7, 7].backward()
    rows = seen.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 9
    for name in ("other", "wide", "light"):
        assert recipes[name].eval()(torch.rand(1, 3, 20, 33)).shape == (1, 1, 20, 33)


def test_equals_the_network_of_nnunet(recipes):
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet", reason="needs nnU-Net's networks"
    )
    theirs = unet.PlainConvUNet(
        1,
        3,
        list(recipes["widths"]),
        nn.Conv3d,
        recipes["kernels"],
        [1, *recipes["strides"]],
        list(recipes["convolutions"]),
        3,
        1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
    )
    ours = recipes["nnunet"]
    order = [ours.encoders[0]]
    for down, stage in zip(ours.downs, [*ours.encoders[1:], ours.bottleneck], strict=True):
        order += [down, stage]
    decoder = theirs.decoder
    pairs = [(theirs.encoder, nn.ModuleList(order))]
    pairs += [(decoder.transpconvs, ours.ups), (decoder.stages, ours.decoders)]
    pairs += [(decoder.seg_layers[-1], ours.head)]
    for source, target in pairs:
        for mine, given in zip(target.parameters(), source.parameters(), strict=True):
            assert mine.shape == given.shape
            mine.data.copy_(nn.init.uniform_(given.data, -0.2, 0.3))
    x = torch.rand(1, 1, 6, 24, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)
