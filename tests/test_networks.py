"""The networks of the scripts, their parameters counted on paper, and those that people build."""

import re
from argparse import Namespace
from itertools import pairwise
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

import fashion_cnn_augment
import mnist_cnn
import mnist_dense
from common.errors import UserError
from experiment.train.fit import with_logits


def dense(*hidden, **options):
    values = {"dropout": 0.3, "activation": "tanh", "initializer": "glorot_uniform"}
    options = values | {"engine": "keras", "rescale": True} | options
    return mnist_dense.build_model(Namespace(hidden=hidden, **options))


def digits(network, **options):
    values = {"blocks": 2, "filters": 8, "dropout": 0.5, "rescale": True} | options
    return mnist_cnn.build_model(Namespace(network=network, **values))


def garments(network="six_convolutions"):
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


def test_the_network_of_cosines_has_a_first_layer_of_waves_that_training_leaves_alone():
    model = digits("cosines", filters=16)
    waves = model.layers[2].get_weights()[0].reshape(25, 16)
    assert (waves[:, 8:] == -waves[:, :8]).all()
    products = waves[:, :8].T @ waves[:, :8]
    assert products == pytest.approx(np.diag(np.diag(products)), abs=1e-5)  # at right angles
    assert np.diag(products) ** 0.5 == pytest.approx([0.5, 1, 1, 1.5, 2.5, 2.5, 3, 3])
    assert np.ptp(waves[:, 0]) < 1e-6  # the slowest does not change
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(np.full((8, 28, 28), 200, np.uint8), np.arange(8), verbose=0)
    assert (model.layers[2].get_weights()[0].reshape(25, 16) == waves).all()
    assert {len(layer.trainable_weights) for layer in model.layers} == {0, 2}


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
    for model, small in ((digits("deep"), 2), (garments(), 3)):  # convolutions on 7 x 7
        wanted = (25 + 1) * 8 + 2 * (9 * 8 + 1) * 8 + (16 + 1) * 10
        wanted += 9 * 8 * 16 + (small - 1) * 9 * 16 * 16
        wanted += small * 4 * 16  # batch normalization, for biases
        assert model.count_params() == wanted
        assert model.output_shape == (None, 10)


def test_the_deep_networks_differ_in_one_convolution():
    ours, theirs = (
        [layer.get_config() | {"name": "", "seed": None} for layer in model.layers]
        for model in (digits("deep"), garments())
    )
    for config in (*ours, *theirs):
        config.pop("build_config", None)
    assert theirs[9:12] == theirs[12:15]
    assert ours == theirs[:9] + theirs[12:]


def test_logits_are_float32_whatever_the_network_computes_in():
    keras.config.set_dtype_policy("mixed_bfloat16")
    images = np.zeros((2, 28, 28), np.uint8)
    for model in (dense(8), digits("strided"), digits("pooled"), garments()):
        assert model.layers[-2].compute_dtype == "bfloat16"
        assert keras.backend.standardize_dtype(model(images).dtype) == "float32"
        assert {weights.dtype for weights in model.get_weights()} == {np.dtype(np.float32)}


# ---- What people build ------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)


def sequential(*end, shape=(28, 28)):
    hidden = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(8, "relu")]
    return keras.Sequential([keras.Input(shape, dtype="uint8"), *hidden, *end])


def functional(end):
    images = keras.Input((28, 28))
    hidden = layers.Dense(8, "relu")(layers.Flatten()(layers.Rescaling(1 / 255)(images)))
    return keras.Model(images, end(hidden))


def nested(*end):
    return sequential(keras.Sequential([keras.Input((8,)), *end]))


PROBABILITIES = {
    "Dense": lambda: sequential(layers.Dense(10, activation="softmax")),
    "with a channel": lambda: sequential(layers.Dense(10, "softmax"), shape=(28, 28, 1)),
    "sigmoid": lambda: sequential(layers.Dense(10, activation="sigmoid")),
    "a function": lambda: sequential(layers.Dense(10, activation=keras.ops.softmax)),
    "Softmax": lambda: sequential(layers.Dense(10), layers.Softmax()),
    "Activation": lambda: sequential(layers.Dense(10), layers.Activation("softmax")),
    "functional Dense": lambda: functional(layers.Dense(10, "softmax")),
    "functional Softmax": lambda: functional(lambda x: layers.Softmax()(layers.Dense(10)(x))),
    "functional softmax": lambda: functional(lambda x: keras.ops.softmax(layers.Dense(10)(x))),
    "nested Dense": lambda: nested(layers.Dense(10, "softmax")),
    "nested Softmax": lambda: nested(layers.Dense(10), layers.Softmax()),
}


@pytest.mark.parametrize("build", PROBABILITIES.values(), ids=PROBABILITIES)
def test_a_softmax_at_the_end_is_left_out(build):
    """Its network gives the logits that one without it has, also when it is built again."""
    plain, said = sequential(layers.Dense(10)), []
    model = build()
    model.set_weights(plain.get_weights())
    assert model(IMAGES).numpy().min() >= 0 and model(IMAGES).numpy().max() <= 1
    run = SimpleNamespace(custom_engine=False, say=said.append)
    logits_model = with_logits(model, run)
    assert isinstance(logits_model, type(model))  # for Grad-CAM, Sequential stays Sequential
    again = type(logits_model).from_config(logits_model.get_config())
    again.set_weights(plain.get_weights())
    for network in (logits_model, again):
        assert network(IMAGES).numpy() == pytest.approx(plain(IMAGES).numpy(), abs=1e-5)
    (line,) = said
    assert re.match(r"note: the (softmax|sigmoid) at the network's end is left out", line)


@pytest.mark.parametrize(("activation", "warns"), [(None, 0), ("log_softmax", 0), ("relu", 1)])
def test_what_does_not_end_in_probabilities_is_left_as_it_is(activation, warns, capsys):
    run = SimpleNamespace(custom_engine=False, say=None)
    model = sequential(layers.Dense(10, activation=activation))
    wanted = model(IMAGES).numpy()
    assert with_logits(model, run) is model
    assert (model(IMAGES).numpy() == wanted).all()
    assert capsys.readouterr().err.count("relu at the network's end limits the logits") == warns


def two(inputs, outputs):
    """A functional network of so many inputs and outputs."""
    images = [keras.Input((28, 28)) for _ in range(inputs)]
    hidden = layers.Flatten()(images[0])
    return keras.Model(images, [layers.Dense(10)(hidden) for _ in range(outputs)])


UNFIT = {
    "9": (lambda: sequential(layers.Dense(9)), "takes (n, 28, 28) and gives (n, 9); it must"),
    "11": (lambda: sequential(layers.Dense(11, "softmax")), "gives (n, 11); it must begin with"),
    "no Flatten": (
        lambda: keras.Sequential(
            [
                keras.Input((28, 28)),
                layers.Reshape((28, 28, 1)),
                layers.MaxPooling2D(4),
                layers.Dense(10),
            ]
        ),
        "gives (n, 7, 7, 10); it must begin with",
    ),
    "other images": (
        lambda: sequential(layers.Dense(10), shape=(14, 14)),
        'takes (n, 14, 14) and gives (n, 10); it must begin with Input((28, 28), dtype="uint8") '
        "and end with Dense(10), a logit for each class",
    ),
    "two inputs": (lambda: two(2, 1), "takes [(n, 28, 28), (n, 28, 28)] and gives"),
    "two outputs": (lambda: two(1, 2), "gives [(n, 10), (n, 10)]; it must"),
    "no layers": (lambda: keras.Sequential([]), "takes None and gives None; it must"),
    "no Input": (lambda: keras.Sequential([layers.Flatten(), layers.Dense(10)]), "takes None"),
    "no return": (lambda: None, "takes None and gives None; it must begin with"),
}


@pytest.mark.parametrize(("build", "wanted"), UNFIT.values(), ids=UNFIT)
def test_a_network_that_cannot_be_trained_is_one_line(build, wanted):
    run = SimpleNamespace(custom_engine=False, say=lambda line: None)
    with pytest.raises(UserError, match=re.escape(wanted)):
        with_logits(build(), run)
