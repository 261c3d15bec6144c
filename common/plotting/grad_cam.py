"""What the layers of a Keras network compute for an image, on any backend of Keras."""

from collections.abc import Callable

import keras
import numpy as np
from scipy import ndimage


def first_weights(model: keras.Model) -> tuple[str, np.ndarray] | None:
    """The first layer's name and weights, float32 (filters, height, width); None if no images."""
    layer = next((layer for layer in model.layers if layer.weights), None)
    if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
        weights = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
        size = getattr(layer, "kernel_size", (28, 28))
        if weights.size == np.prod(size) * weights.shape[-1]:
            return layer.name, np.moveaxis(weights.reshape(*size, -1), -1, 0)
    return None


def convolutions(model: keras.Model) -> list[keras.Layer]:
    """The convolutions of a sequential network, from input to output; [] for other networks."""
    layers = model.layers if isinstance(model, keras.Sequential) else []
    return [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]


def feature_maps(model: keras.Sequential, images: np.ndarray) -> dict[str, np.ndarray]:
    """Each convolution's output by its name, (n, height, width, filters), for uint8 images."""
    shape, kind = (-1, *model.input_shape[1:]), model.inputs[0].dtype  # perhaps with a channel
    maps, outputs = {}, keras.ops.cast(images.reshape(shape), kind)
    for layer in model.layers:
        outputs = layer(outputs, training=False)
        if layer in convolutions(model):
            maps[layer.name] = keras.ops.convert_to_numpy(outputs).astype(np.float32)
    return maps


def grad_cam(model: keras.Sequential, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Where in each image the network sees evidence for a class: (n, 28, 28), from 0 to 1.

    `images`: uint8 (n, 28, 28); `classes`: (n,). Grad-CAM (Selvaraju and others, ICCV 2017,
    https://arxiv.org/abs/1610.02391, equations 1 and 2): the positive part of the sum of the last
    convolution's maps, weighted by the class's mean gradient; divided by the image's maximum.
    """
    maps = list(feature_maps(model, images).values())[-1]
    end = model.layers.index(convolutions(model)[-1]) + 1
    chosen = keras.ops.one_hot(classes, model.output_shape[-1])

    def score(outputs):
        """The sum of the chosen logits, each of which depends on its own image's maps only."""
        for layer in model.layers[end:]:
            outputs = layer(outputs, training=False)
        return keras.ops.sum(keras.ops.cast(outputs, "float32") * chosen)

    importance = gradient(score, keras.ops.convert_to_tensor(maps)).mean(axis=(1, 2))
    heat = np.maximum(np.einsum("nhwf,nf->nhw", maps, importance), 0)
    heat /= np.maximum(heat.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)
    return on_pixels(heat, model.layers[:end], images.shape[1:])


def gradient(function: Callable, values) -> np.ndarray:
    """The gradient of a function that returns one number, at a tensor of Keras's backend."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(function)(values))
    if keras.backend.backend() == "torch":
        import torch

        (gradients,) = torch.autograd.grad(function(values.requires_grad_()), values)
        return keras.ops.convert_to_numpy(gradients)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(values)
        answer = function(values)
    return tape.gradient(answer, values).numpy()


def on_pixels(heat: np.ndarray, layers: list, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate the cells that `layers` end in, (n, height, width), to pixels: (n, *shape).

    A cell lies at the centre of the pixels that it sees; beyond the outermost, heat falls to 0.
    """
    centres = np.stack(np.indices(shape), axis=-1)[None].astype(np.float32)
    step = np.ones(2)
    for layer in layers:
        if window := getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None):
            centres = keras.ops.average_pool(centres, window, layer.strides, layer.padding)
            step *= layer.strides
    middle = np.array(centres.shape[1:3]) // 2  # cells at the border see less
    first = keras.ops.convert_to_numpy(centres)[0, *middle] - middle * step
    matrix, offset, shape = [1, *1 / step], [0, *-first / step], (len(heat), *shape)
    return ndimage.affine_transform(heat, matrix, offset, shape, order=1, mode="grid-constant")
