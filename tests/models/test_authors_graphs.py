"""Three networks of the RSAN authors, restated in NumPy from their Keras code, and ours.

RSAN, SD-Unet and SA-UNet share the outline: three levels, pooling, transposed convolutions 3 x 3
with padding "same", concatenation of the upsampled and the encoder's feature maps. The restatement
holds arrays as Keras does, (height, width, channels), and takes its weights one after the other.
"""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from torchattn_blocks import DropBlock2d, SpatialAttention, UNet, plain_stage, rsan
from torchattn_blocks.models import transposed

WIDTHS = (16, 32, 64, 128)
KERAS_EPS, RSAN_EPS = 1e-3, 2e-5


class Graph:
    """The authors' layers, which take what they need from a list of weights."""

    def __init__(self, weights, eps):
        self.weights = iter(weights)
        self.eps = eps

    def conv(self, x, width, size=3):
        kernel, bias = next(self.weights)
        assert kernel.shape == (size, size, x.shape[-1], width)
        pad = size // 2
        padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
        y = np.zeros((*x.shape[:2], width)) + bias
        for i in range(size):
            for j in range(size):
                y += padded[i : i + x.shape[0], j : j + x.shape[1]] @ kernel[i, j]
        return y

    def batch_norm(self, x):
        gamma, beta, mean, variance = next(self.weights)
        assert gamma.shape == x.shape[-1:]
        return (x - mean) / np.sqrt(variance + self.eps) * gamma + beta

    def attention(self, x):
        (kernel,) = next(self.weights)
        assert kernel.shape == (7, 7, 2, 1)  # over the mean, then the maximum
        summary = np.stack([x.mean(-1), x.max(-1)], -1)
        padded = np.pad(summary, ((3, 3), (3, 3), (0, 0)))
        logits = np.zeros((*x.shape[:2], 1))
        for i in range(7):
            for j in range(7):
                logits += padded[i : i + x.shape[0], j : j + x.shape[1]] @ kernel[i, j]
        return x / (1 + np.exp(-logits))

    def transposed(self, x, width):
        kernel, bias = next(self.weights)
        assert kernel.shape == (3, 3, width, x.shape[-1])
        full = np.zeros((2 * x.shape[0] + 1, 2 * x.shape[1] + 1, width))
        for i in range(3):
            for j in range(3):
                full[i : i + 2 * x.shape[0] : 2, j : j + 2 * x.shape[1] : 2] += x @ kernel[i, j].T
        return full[:-1, :-1] + bias  # "same" cuts the last row and column

    def unet(self, x, stage, bottleneck):
        skips = []
        for width in WIDTHS[:3]:
            skips.append(stage(x, width))
            h, w, c = skips[-1].shape
            x = skips[-1].reshape(h // 2, 2, w // 2, 2, c).max((1, 3))
        x = bottleneck(x, WIDTHS[3])
        for width, skip in zip(WIDTHS[2::-1], skips[::-1], strict=True):
            x = stage(np.concatenate([self.transposed(x, width), skip], -1), width)
        logits = self.conv(x, 1, size=1)
        assert list(self.weights) == []
        return 1 / (1 + np.exp(-logits))


def relu(x):
    return np.maximum(x, 0)


def rsan_restated(x, weights):
    graph = Graph(weights, RSAN_EPS)

    def branch(x, width):
        for _ in range(2):
            x = graph.conv(relu(graph.batch_norm(x)), width)
        return x

    def stage(x, width):
        y = branch(x, width)
        x = y + (x if x.shape[-1] == width else graph.conv(x, width, size=1))
        return relu(graph.batch_norm(graph.attention(branch(x, width)) + x))

    return graph.unet(x, stage, stage)


def sd_unet_restated(x, weights):
    graph = Graph(weights, KERAS_EPS)

    def stage(x, width):
        return relu(graph.conv(relu(graph.conv(x, width)), width))

    return graph.unet(x, stage, stage)


def sa_unet_restated(x, weights):
    graph = Graph(weights, KERAS_EPS)

    def half(x, width):
        return relu(graph.batch_norm(graph.conv(x, width)))

    def stage(x, width):
        return half(half(x, width), width)

    def bottleneck(x, width):
        return half(graph.attention(half(x, width)), width)

    return graph.unet(x, stage, bottleneck)


drop = partial(DropBlock2d, 0.1, 7, gamma="paper", scale="batch")
norm = partial(nn.BatchNorm2d, eps=KERAS_EPS)


def sd_unet():
    return UNet(stage=plain_stage(drop=drop, norm=None), up=transposed(3))


def sa_unet():
    half = plain_stage(drop=drop, norm=norm, convolutions=1)

    def bottleneck(in_channels, out_channels):
        first, second = half(in_channels, out_channels), half(out_channels, out_channels)
        return nn.Sequential(first, SpatialAttention(), second)

    return UNet(stage=plain_stage(drop=drop, norm=norm), bottleneck=bottleneck, up=transposed(3))


def in_keras_order(model):
    """Modules with weights as Keras' graph calls them: of each level the upsampling first."""
    parts = [*model.encoders, model.bottleneck]
    for level in zip(model.ups, model.decoders, strict=True):
        parts += level
    return [m for part in (*parts, model.head) for m in part.modules() if list(m.parameters(False))]


def keras_weights(module):
    """The weights of a module as Keras would hold them."""
    arrays = [v.detach().numpy() for v in module.state_dict().values() if v.dim()]
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        arrays[0] = arrays[0].transpose(2, 3, 1, 0)
        if arrays[0].shape[:3] == (7, 7, 2):
            arrays[0] = arrays[0][:, :, ::-1]  # ours has the maximum first
    return arrays


@pytest.mark.parametrize(
    ("make", "restated", "parameters", "modules"),
    [
        (partial(rsan, up_kernel_size=3), rsan_restated, 1_051_029, 81),
        (sd_unet, sd_unet_restated, 535_793, 18),
        (sa_unet, sa_unet_restated, 537_299, 33),
    ],
    ids=["RSAN", "SD-Unet", "SA-UNet"],
)
def test_equals_the_authors_graph(make, restated, parameters, modules):
    torch.manual_seed(0)
    model = make().double().eval()
    assert sum(w.numel() for w in model.parameters()) == parameters
    for value in model.state_dict().values():
        if value.dim() == 1:  # biases and normalisations such that each matters
            nn.init.uniform_(value, 0.3, 1.2)
    weighted = in_keras_order(model)
    assert len(weighted) == modules
    x = torch.rand(1, 3, 24, 32, dtype=torch.float64)
    with torch.no_grad():
        ours = model.predict_proba(x)[0].permute(1, 2, 0).numpy()
    theirs = restated(x[0].permute(1, 2, 0).numpy(), map(keras_weights, weighted))
    difference = np.abs(ours - theirs).max()
    print(f"largest difference of probabilities: {difference:.1e}")  # for `pytest -s`
    assert difference < 1e-12
    assert theirs.std() > 0.02
