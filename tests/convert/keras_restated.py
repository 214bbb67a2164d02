"""Three networks of the RSAN authors, restated in NumPy from their Keras code.

RSAN, SD-Unet and SA-UNet share the outline: three levels, pooling, transposed convolutions 3 x 3
with padding "same", concatenation of the upsampled and the encoder's feature maps. The restatement
holds arrays as Keras does, (height, width, channels), and makes its weights as it goes: it names
them as Keras would.
"""

import numpy as np

WIDTHS = (16, 32, 64, 128)
KERAS_EPS, RSAN_EPS = 1e-3, 2e-5
PARAMETERS = {"rsan": 1_051_029, "sd_unet": 535_793, "sa_unet": 537_299}


class Graph:
    """The authors' layers. The weights that they make are in `arrays`, by name."""

    def __init__(self, eps, *, first=1, ending=":0"):
        self.rng = np.random.default_rng(0)
        self.eps, self.first, self.ending = eps, first, ending
        self.arrays = {}
        self.counts = {}

    def made(self, kind, **shapes):
        number = self.counts[kind] = self.counts.get(kind, self.first - 1) + 1
        layer = f"{kind}_{number}" if number else kind
        arrays = {name: self.drawn(name, shape) for name, shape in shapes.items()}
        self.arrays |= {f"{layer}/{name}{self.ending}": x for name, x in arrays.items()}
        return arrays.values()

    def drawn(self, name, shape):
        if name == "kernel":
            return self.rng.normal(size=shape, scale=(2 / np.prod(shape[:3])) ** 0.5)
        if name == "bias":
            return self.rng.uniform(-0.6, 0.6, size=shape)
        return self.rng.uniform(0.3, 1.2, size=shape)

    def conv(self, x, width, size=3):
        kernel, bias = self.made("conv2d", kernel=(size, size, x.shape[-1], width), bias=(width,))
        return convolved(x, kernel) + bias

    def batch_norm(self, x):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = self.made(
            "batch_normalization", **dict.fromkeys(names, x.shape[-1:])
        )
        return (x - mean) / np.sqrt(variance + self.eps) * gamma + beta

    def attention(self, x):
        (kernel,) = self.made("conv2d", kernel=(7, 7, 2, 1))  # over the mean, then the maximum
        return x * sigmoid(convolved(np.stack([x.mean(-1), x.max(-1)], -1), kernel))

    def transposed(self, x, width):
        kernel, bias = self.made(
            "conv2d_transpose", kernel=(3, 3, width, x.shape[-1]), bias=(width,)
        )
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
        return sigmoid(self.conv(x, 1, size=1))


def convolved(x, kernel):
    pad = len(kernel) // 2
    padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    y = np.zeros((*x.shape[:2], kernel.shape[-1]))
    for i, row in enumerate(kernel):
        for j, weights in enumerate(row):
            y += padded[i : i + x.shape[0], j : j + x.shape[1]] @ weights
    return y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def rsan(x, **names):
    graph = Graph(RSAN_EPS, **names)

    def branch(x, width):
        for _ in range(2):
            x = graph.conv(relu(graph.batch_norm(x)), width)
        return x

    def stage(x, width):
        y = branch(x, width)
        x = y + (x if x.shape[-1] == width else graph.conv(x, width, size=1))
        return relu(graph.batch_norm(graph.attention(branch(x, width)) + x))

    return graph.unet(x, stage, stage), graph.arrays


def sd_unet(x, **names):
    graph = Graph(KERAS_EPS, **names)

    def stage(x, width):
        return relu(graph.conv(relu(graph.conv(x, width)), width))

    return graph.unet(x, stage, stage), graph.arrays


def sa_unet(x, *, attention=True, **names):
    graph = Graph(KERAS_EPS, **names)

    def half(x, width):
        return relu(graph.batch_norm(graph.conv(x, width)))

    def stage(x, width):
        return half(half(x, width), width)

    def bottleneck(x, width):
        x = half(x, width)
        return half(graph.attention(x) if attention else x, width)

    return graph.unet(x, stage, bottleneck), graph.arrays
