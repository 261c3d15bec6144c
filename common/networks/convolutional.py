"""The convolutional networks that the scripts do not write out themselves."""

from argparse import Namespace

import numpy as np
from keras import Input, Layer, Sequential, layers


def build(args: Namespace) -> Sequential:
    """The network that `args.network` names: uint8 images (n, 28, 28) in, logits (n, 10) out."""
    networks = (pooled, cosines, two_convolutions, three_convolutions, growing, deep)
    hidden = {network.__name__: network for network in networks}[args.network]
    return Sequential(
        [
            Input((28, 28), dtype="uint8"),
            layers.Rescaling(1 / 255 if vars(args).get("rescale", True) else 1),
            layers.Reshape((28, 28, 1)),
            *hidden(args),
            layers.Dropout(args.dropout),
            layers.Dense(10, dtype="float32"),
        ]
    )


def pooled(args: Namespace) -> list[Layer]:
    """The network of the textbooks: every convolution is followed by a pooling."""
    hidden = []
    for block in range(args.blocks):
        hidden.append(layers.Conv2D(args.filters * 2**block, 3, padding="same", activation="relu"))
        hidden.append(layers.MaxPooling2D())
    return [*hidden, layers.Flatten()]


def cosines(args: Namespace) -> list[Layer]:
    """A first layer that is not trained, which saves two fifths of a step.

    Its filters are the eight slowest of the cosine transform, and their negatives.
    """
    waves = np.cos(np.pi * np.outer(np.arange(5), np.arange(5) + 0.5) / 5)  # (frequency, pixel)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    slowest = sorted(np.ndindex(5, 5), key=lambda pair: np.square(pair).sum())[:8]
    # A digit's fast waves are weak: their filters are stronger.
    filters = [0.5 * (1 + x * x + y * y) * np.outer(waves[y], waves[x]) for y, x in slowest]
    first = layers.Conv2D(16, 5, strides=2, use_bias=False, activation="relu", trainable=False)
    first.build((None, 28, 28, 1))
    first.set_weights([np.stack([*filters, *np.negative(filters)], axis=-1)[:, :, None]])
    return [
        first,
        layers.Conv2D(args.filters, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
    ]


def two_convolutions(args: Namespace) -> list[Layer]:
    """Two convolutions on the whole image, with one pooling at the end."""
    return [
        layers.Conv2D(2 * args.filters, 3, activation="relu"),
        layers.Conv2D(args.filters, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
    ]


def three_convolutions(args: Namespace) -> list[Layer]:
    """Three convolutions with two poolings between them, and a dense layer: project A's network."""
    return [
        layers.Conv2D(args.filters, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(2 * args.filters, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(2 * args.filters, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(2 * args.filters, activation="relu"),
    ]


def growing(args: Namespace) -> list[Layer]:
    """Three pooled convolutions, each with many more filters, and dropout: project E's network."""
    return [
        layers.Conv2D(args.filters, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(8 * args.filters, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(16 * args.filters, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.5),  # the project has two rates; --dropout is that before the last layer
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
    ]


def deep(args: Namespace) -> list[Layer]:
    """The layers of `fashion_cnn_augment.py`, which explains them, without its last convolution."""
    return [
        layers.Conv2D(args.filters, 5, strides=2, padding="same", activation="relu"),
        layers.Conv2D(args.filters, 3, padding="same", activation="relu"),
        layers.Conv2D(args.filters, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(2 * args.filters, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("relu"),
        layers.Conv2D(2 * args.filters, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.Activation("relu"),
        layers.GlobalAveragePooling2D(),
    ]
