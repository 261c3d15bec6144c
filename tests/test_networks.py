"""The networks of the scripts, their parameters counted on paper."""

from argparse import Namespace
from itertools import pairwise

import keras
import numpy as np
import pytest

import fashion_cnn_augment
import mnist_cnn
import mnist_dense


def dense(*hidden, **options):
    values = {"dropout": 0.3, "activation": "tanh", "initializer": "glorot_uniform"}
    options = values | {"engine": "keras", "rescale": True} | options
    return mnist_dense.build_model(Namespace(hidden=hidden, **options))


def digits(network, **options):
    values = {"blocks": 2, "filters": 8, "dropout": 0.5, "rescale": True} | options
    return mnist_cnn.build_model(Namespace(network=network, **values))


def garments(network="deep"):
    return fashion_cnn_augment.build_model(Namespace(network=network, filters=8, dropout=0.5))


def test_the_dense_network():
    model = dense(512, 256)
    assert model.output_shape == (None, 10)
    assert model.count_params() == (784 + 1) * 512 + (512 + 1) * 256 + (256 + 1) * 10
    activations = [getattr(layer, "activation", None) for layer in model.layers]
    assert activations.count(keras.activations.tanh) == 2
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.3, 0.3]


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_the_network_of_strides(blocks):
    model = digits("strided", blocks=blocks)
    filters = [8, 16, 32, 64][:blocks]
    wanted = (25 + 1) * 8
    wanted += sum((9 * a + 1) * b for a, b in pairwise(filters))
    flat = (12, 5, 2, 1)[blocks - 1] ** 2 * filters[-1]  # 28 -> 12 -> 10 pooled to 5 -> 2 -> 1
    wanted += (flat + 1) * 128 + (128 + 1) * 10
    assert model.output_shape == (None, 10)
    assert model.count_params() == wanted


def test_the_network_of_strides_for_garments():
    wanted = (25 + 1) * 8 + (9 * 8 + 1) * 16 + (7 * 7 * 16 + 1) * 256 + (256 + 1) * 10
    assert garments("strided").count_params() == wanted


def test_the_textbooks_network():
    wanted = (9 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128  # 28 -> 14 -> 7 -> 3
    model = digits("pooled", blocks=3, filters=32)
    assert model.count_params() == wanted + (3 * 3 * 128 + 1) * 10


def test_three_convolutions_of_project_a():
    wanted = (9 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64  # 28 -> 26, 13 -> 11, 5 -> 3
    wanted += (3 * 3 * 64 + 1) * 64 + (64 + 1) * 10
    assert digits("three_convolutions", filters=32, dropout=0).count_params() == wanted


def test_the_growing_network_of_project_e():
    model = digits("growing", filters=16, dropout=0.25)
    wanted = (9 + 1) * 16 + (9 * 16 + 1) * 128 + (9 * 128 + 1) * 256  # 28, 14 -> 12, 6 -> 4, 2
    wanted += (2 * 2 * 256 + 1) * 128 + (128 + 1) * 10
    assert model.count_params() == wanted
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.5, 0.25]


def test_two_convolutions_on_pixels_as_they_are():
    model = digits("two_convolutions", filters=32, rescale=False)
    wanted = (9 + 1) * 64 + (9 * 64 + 1) * 32  # 28 -> 26 -> 24 -> 12
    assert model.count_params() == wanted + (12 * 12 * 32 + 1) * 10
    assert model.layers[0].scale == 1


def test_help_does_not_say_that_filters_are_those_of_the_first_block(capsys):
    """Of `two_convolutions` they are not: it has twice as many first."""
    model = digits("two_convolutions", filters=5)
    assert [layer.filters for layer in model.layers if hasattr(layer, "filters")] == [10, 5]
    with pytest.raises(SystemExit):
        mnist_cnn.main(["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "--filters N [N ...] filters" in words and "of the first block" not in words


def test_the_deep_network():
    wanted = (25 + 1) * 8 + 2 * (9 * 8 + 1) * 8
    wanted += 9 * 8 * 16 + 9 * 16 * 16 + 2 * 4 * 16  # with batch normalization for biases
    for model in (digits("deep"), garments("deep")):
        assert model.count_params() == wanted + (16 + 1) * 10
        assert model.output_shape == (None, 10)


def test_both_places_that_write_out_the_deep_network_mean_the_same():
    ours, theirs = (
        [layer.get_config() | {"name": "", "seed": None} for layer in model.layers]
        for model in (digits("deep"), garments("deep"))
    )
    for config in (*ours, *theirs):
        config.pop("build_config", None)
    assert ours == theirs


def test_logits_are_float32_whatever_the_network_computes_in():
    keras.config.set_dtype_policy("mixed_bfloat16")
    images = np.zeros((2, 28, 28), np.uint8)
    for model in (dense(8), digits("strided"), digits("pooled"), garments("deep")):
        assert model.layers[-2].compute_dtype == "bfloat16"
        assert keras.backend.standardize_dtype(model(images).dtype) == "float32"
        assert {weights.dtype for weights in model.get_weights()} == {np.dtype(np.float32)}
