"""What the layers of a Keras network make of images, on any of Keras's backends."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np


def first_weights(model: keras.Model) -> tuple[str, np.ndarray] | None:
    """The first layer's name and its weights as images, float32 (filters, height, width).

    Kernels of a convolution; of a dense layer, the weights of each unit over the 28 x 28 pixels.
    None where the first layer that has weights is neither, or looks at something else.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        weights = keras.ops.convert_to_numpy(layer.weights[0]).astype(np.float32)
        if isinstance(layer, keras.layers.Conv2D) and weights.shape[2] == 1:
            return layer.name, weights[:, :, 0].transpose(2, 0, 1)
        if isinstance(layer, keras.layers.Dense) and len(weights) == 28 * 28:
            return layer.name, weights.T.reshape(-1, 28, 28)
        break
    return None


def has_convolutions(model: keras.Model) -> bool:
    """Whether the layers of `model` form one chain with a convolution in it."""
    return isinstance(model, keras.Sequential) and any(map(is_convolution, model.layers))


def is_convolution(layer: keras.Layer) -> bool:
    """Whether `layer` gives feature maps."""
    return isinstance(layer, keras.layers.Conv2D)


def last_convolution(model: keras.Sequential) -> keras.Layer:
    """The convolution nearest to the logits."""
    return [layer for layer in model.layers if is_convolution(layer)][-1]


def feature_maps(model: keras.Sequential, images: np.ndarray) -> dict[str, np.ndarray]:
    """What each convolution makes of `images`, uint8 (n, 28, 28), by the layer's name.

    The maps are float32 (n, height, width, filters), after the layer's activation.
    """
    maps, outputs = {}, images
    for layer in model.layers:
        outputs = layer(outputs, training=False)
        if is_convolution(layer):
            maps[layer.name] = keras.ops.convert_to_numpy(outputs).astype(np.float32)
    return maps


def grad_cam(model: keras.Sequential, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Where in each image the network sees evidence for a class: (n, 28, 28), from 0 to 1.

    `images`: uint8 (n, 28, 28); `classes`: (n,). Grad-CAM (Selvaraju and others, ICCV 2017,
    https://arxiv.org/abs/1610.02391, equations 1 and 2): the last convolution's maps are added,
    each weighted by the mean of the class's gradient over it, and what is negative is left out.
    Each image's heat is divided by its highest, and stays 0 where nothing speaks for the class.
    """
    end = model.layers.index(last_convolution(model)) + 1
    maps = images
    for layer in model.layers[:end]:
        maps = layer(maps, training=False)
    chosen = keras.ops.one_hot(classes, model.output_shape[-1])

    def score(maps):
        """The sum of the chosen classes' logits: an image's own depends on its own maps alone."""
        for layer in model.layers[end:]:
            maps = layer(maps, training=False)
        return keras.ops.sum(keras.ops.multiply(keras.ops.cast(maps, "float32"), chosen))

    slopes = gradient(score, maps)
    maps = keras.ops.convert_to_numpy(maps).astype(np.float32)
    heat = np.maximum(np.einsum("nhwf,nf->nhw", maps, slopes.mean(axis=(1, 2))), 0)
    heat /= np.maximum(heat.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    return on_pixels(heat, model.layers[:end], images.shape[1:])


def gradient(function: Callable, values) -> np.ndarray:
    """The gradient of a function, whose answer is one number, at `values`, a backend's tensor."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(values)
            answer = function(values)
        slopes = tape.gradient(answer, values)
    elif backend == "jax":
        import jax

        slopes = jax.grad(function)(values)
    else:
        import torch

        with torch.enable_grad():
            values = values.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(function(values), values)
    return keras.ops.convert_to_numpy(slopes).astype(np.float32)


def on_pixels(maps: np.ndarray, layers: list, shape: tuple[int, int]) -> np.ndarray:
    """Maps (n, height, width), that `layers` end in, interpolated to the pixels of their images.

    Beyond the outermost cells they fall to zero.
    """
    weights = []
    for axis, (cells, side) in enumerate(zip(maps.shape[1:], shape, strict=True)):
        first, step = first_centre_and_step(layers, axis, side)
        middles = first + step * np.arange(cells)
        distances = np.abs(np.arange(side) - middles[:, None])
        weights.append(np.maximum(1 - distances / step, 0))  # linear interpolation
    return np.einsum("nhw,hy,wx->nyx", maps, *weights).astype(np.float32)


def first_centre_and_step(layers: list, axis: int, side: int) -> tuple[float, int]:
    """Where in an image the cells of a map look, along one axis, in pixels.

    The pixel in the middle of what the first cell sees, and how far the next cell's is from it.
    `layers` lead to the map; `side`: how many pixels the image has there.
    """
    first, step = 0.0, 1
    for layer in layers:
        window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
        if window is None:
            continue
        stride = layer.strides[axis]
        reach = (window[axis] - 1) * getattr(layer, "dilation_rate", (1, 1))[axis]
        padding, cells = 0, (side - reach - 1) // stride + 1
        if layer.padding == "same":
            cells = math.ceil(side / stride)
            padding = max((cells - 1) * stride + reach + 1 - side, 0) // 2
        first += (reach / 2 - padding) * step
        step, side = step * stride, cells
    return first, step
