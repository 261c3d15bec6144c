import keras
import numpy as np
import pytest
from keras import Input, Sequential, layers

from common.plotting.grad_cam import (
    convolutions,
    feature_maps,
    first_weights,
    grad_cam,
    gradient,
    on_pixels,
)


@pytest.fixture
def images():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)


def network(*middle):
    """Pixels from 0 to 1, `middle`, then ten logits."""
    pixels = [Input((28, 28), dtype="uint8"), layers.Rescaling(1 / 255)]
    return Sequential([*pixels, *middle, layers.Flatten(), layers.Dense(10)])


def test_the_first_layers_weights_are_those_that_meet_the_pixels(images):
    model = network(layers.Flatten(), layers.Dense(5, "relu"))
    _, weights = first_weights(model)
    # A unit's output before its activation: the sum of its weights times the pixels.
    wanted = np.einsum("uhw,nhw->nu", weights, images / 255)
    hidden = model.layers[2](images.reshape(6, 784).astype(np.float32) / 255)
    hidden = keras.ops.convert_to_numpy(hidden)
    np.testing.assert_allclose(hidden, np.maximum(wanted, 0), atol=1e-3)


def test_the_first_kernels_are_those_that_meet_the_pixels(images):
    model = network(layers.Reshape((28, 28, 1)), layers.Conv2D(7, (5, 4), 2, activation="relu"))
    name, weights = first_weights(model)
    assert weights.shape == (7, 5, 4)
    corner = np.einsum("fhw,nhw->nf", weights, images[:, :5, :4] / 255)
    maps = feature_maps(model, images)[name]
    np.testing.assert_allclose(maps[:, 0, 0], np.maximum(corner, 0), atol=1e-4)


def test_a_network_that_begins_with_a_channel_has_the_same_maps_and_heat(images):
    """And one whose convolution meets the pixels as they are, as floats."""
    end = [layers.Conv2D(7, 5, 2, activation="relu"), layers.Flatten(), layers.Dense(10)]
    first = [layers.Rescaling(1.0), layers.Reshape((28, 28, 1))]
    usual = Sequential([Input((28, 28), dtype="uint8"), *first, *end])
    channel = Sequential([Input((28, 28, 1)), *end])  # the same layers, with the same weights
    (maps,), (others,) = (feature_maps(model, images).values() for model in (usual, channel))
    np.testing.assert_allclose(others, maps, rtol=1e-5)
    classes = np.arange(6)
    wanted = grad_cam(usual, images, classes)
    np.testing.assert_allclose(grad_cam(channel, images, classes), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "first",
    [[layers.LSTM(4)], [layers.Reshape((14, 14, 4)), layers.Conv2D(3, 3)], [layers.Dense(3)]],
)
def test_other_first_layers_are_left_out(first):
    assert first_weights(network(*first)) is None


def test_only_a_chain_of_layers_has_convolutions_to_show():
    inputs = Input((28, 28, 1))
    branched = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    assert convolutions(branched) == [] and convolutions(network(layers.LSTM(4))) == []


def test_grad_cam_of_a_network_computed_on_paper(images):
    """Of a linear ending, the gradient is its weights, whatever the images."""
    convolution = layers.Conv2D(3, 3, padding="same", activation="relu")
    model = network(layers.Reshape((28, 28, 1)), convolution)
    classes = np.array([3, 1, 4, 1, 5, 9])
    (maps,) = feature_maps(model, images).values()
    kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel).reshape(28, 28, 3, 10)
    importance = kernel.mean(axis=(0, 1))[:, classes]  # (filters, images)
    wanted = np.maximum(np.einsum("nhwf,fn->nhw", maps, importance), 0)
    wanted /= np.maximum(wanted.max(axis=(1, 2), keepdims=True), 1e-30)
    np.testing.assert_allclose(grad_cam(model, images, classes), wanted, atol=1e-4)


def test_grad_cam_finds_the_only_thing_that_speaks_for_a_class():
    """A bright spot in a dark image, seen through strides, pooling and no padding."""
    chain = [
        layers.Conv2D(1, 5, strides=2, kernel_initializer="ones"),
        layers.Conv2D(1, 3, kernel_initializer="ones"),
        layers.MaxPooling2D(),
        layers.Conv2D(1, 1, kernel_initializer="ones"),
    ]
    model = network(layers.Reshape((28, 28, 1)), *chain)
    model.layers[-1].kernel.assign(np.ones((25, 10)))
    images = np.zeros((3, 28, 28), np.uint8)
    spots = [(8, 17), (13, 13), (20, 9)]
    for image, (row, column) in zip(images, spots, strict=True):
        image[row, column] = 255
    for heat, spot in zip(grad_cam(model, images, np.zeros(3, int)), spots, strict=True):
        centre = [np.average(place, weights=heat) for place in np.indices((28, 28))]
        assert centre == pytest.approx(spot, abs=1.6)  # a cell of the map is four pixels wide


def test_the_gradient_of_a_cube():
    values = keras.ops.convert_to_tensor(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    gradients = gradient(lambda x: keras.ops.sum(x**3), values)
    assert gradients.tolist() == [[3, 12], [27, 48]]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_cell_is_placed_at_the_centre_of_what_it_sees(size, stride, padding):
    """Compared with the pixels that change the cell, found by lighting one after the other."""
    model = Sequential(
        [
            Input((84, 84, 1)),
            layers.Conv2D(1, 5, strides=2, kernel_initializer="ones"),
            layers.Conv2D(1, size, stride, padding, kernel_initializer="ones"),
            layers.MaxPooling2D(),
        ]
    )
    pixels = np.zeros((84, 84, 84, 1), np.float32)
    pixels[range(84), :, range(84)] = 1
    cells = keras.ops.convert_to_numpy(model(pixels))[..., 0]
    middle = cells.shape[2] // 2  # at the border a cell sees less
    (seen,) = np.nonzero(cells[:, middle, middle])
    heat = np.zeros((1, *cells.shape[1:]))
    heat[0, middle, middle] = 1
    (spot,) = on_pixels(heat, model.layers, (84, 84))
    centre = [np.average(place, weights=spot) for place in np.indices(spot.shape)]
    assert centre == pytest.approx([(seen.min() + seen.max()) / 2] * 2)


def pooled(blocks):
    for block in range(blocks):
        yield layers.Conv2D(4 * 2**block, 3, padding="same", activation="relu")
        yield layers.MaxPooling2D()


def strided(blocks):
    yield layers.Conv2D(4, 5, strides=2, activation="relu")
    for block in range(1, blocks):
        yield layers.Conv2D(4 * 2**block, 3, padding="valid" if block == 1 else "same")
        yield layers.MaxPooling2D()


def normalised():
    yield layers.Conv2D(4, 5, strides=2, padding="same", activation="relu")
    yield from (layers.Dropout(0.5), layers.Conv2D(8, 3, use_bias=False))
    yield from (layers.BatchNormalization(), layers.Activation("relu"))
    yield layers.GlobalAveragePooling2D()


@pytest.mark.parametrize("chain", [pooled(1), pooled(4), strided(1), strided(4), normalised()])
def test_networks_like_those_of_the_scripts_have_maps_and_attention(chain, images):
    model = network(layers.Reshape((28, 28, 1)), *chain)
    maps = feature_maps(model, images)
    assert list(maps) == [layer.name for layer in convolutions(model)] != []
    for layer in convolutions(model):
        assert maps[layer.name].shape == (6, *layer.output.shape[1:])
    heat = grad_cam(model, images, np.arange(6))
    assert heat.shape == images.shape and heat.min() >= 0 and 0.2 < heat.max() <= 1 + 1e-6
