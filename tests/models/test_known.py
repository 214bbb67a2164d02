"""Attention U-Net against the network written out plainly. (For SD-Unet and SA-UNet, see Keras.)"""

import torch
from torch import nn
from torch.nn import functional as F

from torchattn_blocks import CBAM, DropBlock2d, SpatialAttention, attention_unet, sa_unet, sd_unet


def restated(state, x, levels):
    """Attention U-Net from a state dict, with torch's functions alone, in evaluation mode."""

    def conv(x, key, padding=0):
        return F.conv2d(x, state[f"{key}.weight"], state.get(f"{key}.bias"), padding=padding)

    def layer(x, conv_key, norm_key):
        x = conv(x, conv_key, 1)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"{norm_key}.{name}"] for name in names)
        return F.relu(F.batch_norm(x, mean, var, weight, bias, eps=1e-5))

    def stage(x, key):
        return layer(layer(x, f"{key}.0", f"{key}.1"), f"{key}.3", f"{key}.4")

    skips = []
    for level in range(levels):
        skips.append(stage(x, f"encoders.{level}"))
        x = F.max_pool2d(skips[-1], 2)
    x = stage(x, "bottleneck")
    for i, skip in enumerate(reversed(skips)):
        x = layer(F.interpolate(x, scale_factor=2, mode="nearest"), f"ups.{i}.1", f"ups.{i}.2")
        key = f"skips.{i}.gate"
        hidden = F.relu(conv(x, f"{key}.gate_conv") + conv(skip, f"{key}.skip_conv"))
        gated = skip * conv(hidden, f"{key}.psi").sigmoid()
        x = stage(torch.cat([x, gated], 1), f"decoders.{i}")
    return conv(x, "head")


def test_attention_unet_equals_the_network_written_out():
    torch.manual_seed(0)
    model = attention_unet(widths=(4, 6, 8, 10)).double()
    for value in model.state_dict().values():
        if value.dim() == 1:  # biases and normalisations such that each matters
            nn.init.uniform_(value, 0.3, 1.2)
    x = torch.rand(2, 3, 32, 40, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = model.eval()(x), restated(model.state_dict(), x, 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert theirs.std() > 0.02


def test_dropout_is_the_authors():
    for preset in (sd_unet, sa_unet):
        drops = [m for m in preset(p=0.18).modules() if isinstance(m, DropBlock2d)]
        assert len(drops) == 14
        assert {(m.p, m.gamma, m.scale) for m in drops} == {(0.18, "paper", "batch")}


def test_the_attention_of_sa_unet_is_a_slot():
    spatial = [m for m in sa_unet().modules() if isinstance(m, SpatialAttention)]
    assert [m.conv.kernel_size for m in spatial] == [(7, 7)]
    model = sa_unet(widths=(4, 8, 16), attention=CBAM)
    assert isinstance(model.bottleneck[1], CBAM)
    assert sa_unet(widths=(4, 8), spatial_dims=3)(torch.rand(2, 3, 6, 4, 4)).shape == (
        2,
        1,
        6,
        4,
        4,
    )
