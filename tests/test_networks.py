"""The networks of the scripts, their parameters counted by hand."""

from itertools import pairwise

import keras
import numpy as np
import pytest

import fashion_cnn_augment
import mnist_cnn
import mnist_dense


def test_the_dense_network():
    model = mnist_dense.build_model((512, 256), "tanh", 0.3)
    assert model.output_shape == (None, 10)
    assert model.count_params() == (784 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 10


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_the_network_of_strides(blocks):
    model = mnist_cnn.build_model(blocks, 8, 0.5)
    filters = [8, 16, 32, 64][:blocks]
    wanted = (25 + 1) * 8
    wanted += sum((9 * a + 1) * b for a, b in pairwise(filters))
    flat = (12, 5, 2, 1)[blocks - 1] ** 2 * filters[-1]  # 28 -> 12 -> 10 pooled to 5 -> 2 -> 1
    wanted += (flat + 1) * 128 + (128 + 1) * 10
    assert model.output_shape == (None, 10)
    assert model.count_params() == wanted


def test_the_network_of_strides_for_garments():
    model = fashion_cnn_augment.build_model(8, 0.5, "strided")
    wanted = (25 + 1) * 8 + (9 * 8 + 1) * 16 + (7 * 7 * 16 + 1) * 256 + (256 + 1) * 10
    assert model.count_params() == wanted


def test_the_textbooks_network():
    model = mnist_cnn.build_model(3, 32, 0.5, "pooled")
    wanted = (9 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128  # 28 -> 14 -> 7 -> 3
    assert model.count_params() == wanted + (3 * 3 * 128 + 1) * 10


def test_two_convolutions_on_pixels_as_they_are():
    model = mnist_cnn.build_model(2, 32, 0, "two_convolutions", rescale=False)
    wanted = (9 + 1) * 64 + (9 * 64 + 1) * 32  # 28 -> 26 -> 24 -> 12
    assert model.count_params() == wanted + (12 * 12 * 32 + 1) * 10
    assert model.layers[0].scale == 1


def test_the_deep_network():
    wanted = (25 + 1) * 8 + 2 * (9 * 8 + 1) * 8
    wanted += 9 * 8 * 16 + 9 * 16 * 16 + 2 * 4 * 16  # with batch normalisation for biases
    for model in (
        mnist_cnn.build_model(2, 8, 0.5, "deep"),
        fashion_cnn_augment.build_model(8, 0.5),
    ):
        assert model.count_params() == wanted + (16 + 1) * 10
        assert model.output_shape == (None, 10)


def test_logits_are_float32_whatever_the_network_computes_in():
    keras.config.set_dtype_policy("mixed_bfloat16")
    images = np.zeros((2, 28, 28), np.uint8)
    for model in (
        mnist_dense.build_model((8,), "relu", 0),
        mnist_cnn.build_model(2, 8, 0),
        fashion_cnn_augment.build_model(8, 0),
    ):
        assert model.layers[-2].compute_dtype == "bfloat16"
        assert model.predict(images, verbose=0).dtype == np.float32
        assert {weights.dtype for weights in model.get_weights()} == {np.dtype(np.float32)}
