"""The three networks of the RSAN authors, built with Keras 3, and weights for them."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers, ops

WIDTHS = (16, 32, 64, 128)


class Mean(layers.Layer):
    def call(self, x):
        return ops.mean(x, axis=3, keepdims=True)


class Maximum(layers.Layer):
    def call(self, x):
        return ops.max(x, axis=3, keepdims=True)


def attention(x):
    summary = layers.Concatenate(axis=3)([Mean()(x), Maximum()(x)])
    conv = layers.Conv2D(1, 7, padding="same", activation="sigmoid", use_bias=False)
    return layers.multiply([x, conv(summary)])


def unet(stage, bottleneck):
    x = image = layers.Input((None, None, 3))
    skips = []
    for width in WIDTHS[:3]:
        skips.append(stage(x, width))
        x = layers.MaxPooling2D(2)(skips[-1])
    x = bottleneck(x, WIDTHS[3])
    for width, skip in zip(WIDTHS[2::-1], skips[::-1], strict=True):
        up = layers.Conv2DTranspose(width, 3, strides=2, padding="same")(x)
        x = stage(layers.concatenate([up, skip]), width)
    return keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(x))


def rsan():
    def norm_relu(x):
        return layers.Activation("relu")(layers.BatchNormalization(epsilon=2e-5)(x))

    def branch(x, width):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same")(norm_relu(x))
        return x

    def stage(x, width):
        y = branch(x, width)
        if x.shape[-1] != width:
            x = layers.Conv2D(width, 1)(x)
        x = layers.add([y, x])
        return norm_relu(layers.add([x, attention(branch(x, width))]))

    return unet(stage, stage)


def sd_unet():
    def stage(x, width):
        for _ in range(2):
            x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        return x

    return unet(stage, stage)


def sa_unet():
    def half(x, width):
        x = layers.Dropout(0.1)(layers.Conv2D(width, 3, padding="same")(x))
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    def stage(x, width):
        return half(half(x, width), width)

    def bottleneck(x, width):
        return half(attention(half(x, width)), width)

    return unet(stage, bottleneck)


def filled(make):
    """A model with weights such that each matters."""
    model, rng = make(), np.random.default_rng(0)
    for weight in model.weights:
        if "seed" in weight.path:  # of dropout
            continue
        name, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
        if name == "kernel":
            values = rng.normal(size=shape, scale=(2 / np.prod(shape[:3])) ** 0.5)
        elif name == "bias":
            values = rng.uniform(-0.6, 0.6, size=shape)
        else:
            values = rng.uniform(0.3, 1.2, size=shape)
        weight.assign(values)
    return model
