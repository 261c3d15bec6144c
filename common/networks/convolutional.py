"""The network of the scripts' best recipes."""

from __future__ import annotations

import keras
from keras import layers


def deep_network(filters: int, dropout: float, rescale: bool = True) -> keras.Sequential:
    """Five convolutions: uint8 images (n, 28, 28) in, logits (n, 10) out.

    Three on maps of 14 x 14 pixels, and two with twice the filters on 7 x 7, where batch
    normalisation is cheap; their mean over the map goes to the last layer.
    """
    return keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8"),
            layers.Rescaling(1 / 255 if rescale else 1),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.Activation("relu"),
            layers.Conv2D(2 * filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.Activation("relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(dropout),
            layers.Dense(10, dtype="float32"),
        ]
    )
