import keras
import numpy as np
import pytest
from keras import Input, Sequential, layers

import mnist_cnn
import mnist_dense
from common.plotting.grad_cam import (
    feature_maps,
    first_centre_and_step,
    first_weights,
    grad_cam,
    gradient,
    has_convolutions,
)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)


def test_the_first_layers_weights_are_those_that_meet_the_pixels(images):
    model = mnist_dense.build_model((5,), "relu", 0)
    _, weights = first_weights(model)
    # A unit's answer before its activation: the sum of its weights times the pixels.
    wanted = np.einsum("uhw,nhw->nu", weights, images / 255)
    hidden = model.layers[2](images.reshape(6, 784).astype(np.float32) / 255).numpy()
    np.testing.assert_allclose(hidden, np.maximum(wanted, 0), atol=1e-3)


def test_the_first_kernels_are_those_that_meet_the_pixels(images):
    model = mnist_cnn.build_model(1, 5, 0)
    name, weights = first_weights(model)
    assert weights.shape == (5, 5, 5)
    corner = np.einsum("fhw,nhw->nf", weights, images[:, :5, :5] / 255)
    maps = feature_maps(model, images)[name]
    np.testing.assert_allclose(maps[:, 0, 0], np.maximum(corner, 0), atol=1e-4)


def test_other_first_layers_are_left_out():
    model = Sequential([Input((28, 28)), layers.LSTM(4), layers.Dense(10)])
    assert first_weights(model) is None and not has_convolutions(model)


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("network", mnist_cnn.NETWORKS)
def test_every_network_has_maps_and_attention(network, blocks, images):
    model = mnist_cnn.build_model(blocks, 4, 0.5, network)
    maps = feature_maps(model, images)
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    assert list(maps) == [layer.name for layer in convolutions]
    for layer in convolutions:
        assert maps[layer.name].shape == (6, *layer.output.shape[1:])
    heat = grad_cam(model, images, np.arange(6))
    assert heat.shape == images.shape and heat.min() >= 0 and heat.max() <= 1 + 1e-6


def test_grad_cam_of_a_network_worked_out_by_hand(images):
    """Of a linear ending, the gradient is its weights, whatever the images."""
    model = Sequential(
        [
            Input((28, 28), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    classes = np.array([3, 1, 4, 1, 5, 9])
    (maps,) = feature_maps(model, images).values()
    kernel = model.layers[-1].kernel.numpy().reshape(28, 28, 3, 10)
    importance = kernel.mean(axis=(0, 1))[:, classes]  # (filters, images)
    wanted = np.maximum(np.einsum("nhwf,fn->nhw", maps, importance), 0)
    wanted /= np.maximum(wanted.max(axis=(1, 2), keepdims=True), 1e-30)
    np.testing.assert_allclose(grad_cam(model, images, classes), wanted, atol=1e-4)


def test_the_gradient_of_a_cube():
    values = keras.ops.convert_to_tensor(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    slopes = gradient(lambda x: keras.ops.sum(x**3), values)
    assert slopes.tolist() == [[3, 12], [27, 48]]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_cell_is_placed_in_the_middle_of_what_it_sees(size, stride, padding):
    """Found the slow way: by lighting one pixel after the other."""
    model = Sequential(
        [
            Input((84, 84, 1)),
            layers.Conv2D(1, 5, strides=2, kernel_initializer="ones"),
            layers.Conv2D(1, size, stride, padding, kernel_initializer="ones"),
            layers.MaxPooling2D(),
        ]
    )
    first, step = first_centre_and_step(model.layers, axis=1, side=84)
    pixels = np.zeros((84, 84, 84, 1), np.float32)
    pixels[range(84), :, range(84)] = 1
    cells = model(pixels).numpy()
    middle = cells.shape[2] // 2  # at the border a cell sees less
    (seen,) = np.nonzero(cells[:, cells.shape[1] // 2, middle, 0])
    assert first + step * middle == pytest.approx((seen.min() + seen.max()) / 2)
