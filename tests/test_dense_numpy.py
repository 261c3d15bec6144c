"""The network from scratch against finite differences, and the three engines against each other."""

import subprocess
import sys
from argparse import Namespace

import keras
import numpy as np
import pytest
from conftest import REPOSITORY
from sklearn.metrics import log_loss

import mnist_dense
from common.networks import dense_tensorflow
from common.networks.dense_numpy import (
    ACTIVATIONS,
    DenseNetwork,
    cross_entropy_and_softmax,
    initial_parameters,
    sigmoid,
)
from experiment.train.keras_loop import make_optimizer

SIZES = [784, 12, 11, 10]


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20, 28, 28)).astype(np.uint8)
    return images, generator.integers(0, 10, 20).astype(np.uint8)


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("dropout", [0, 0.4])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_agree_with_central_differences(activation, dropout, loss, batch):
    images, labels = batch
    parameters = initial_parameters(SIZES, "fan_out_normal", 1)
    network = DenseNetwork(parameters, activation, dropout, loss=loss, dtype=np.float64)
    scale = len(labels) if loss == "sum" else 1

    def cost():
        # The same generator drops the same outputs again.
        *_, logits = network.forward(images, np.random.default_rng(7))
        return scale * cross_entropy_and_softmax(logits, labels)[0]

    _, _, gradients = network.gradients(images, labels, np.random.default_rng(7))
    generator = np.random.default_rng(2)
    for values, gradient in zip(network.parameters, gradients, strict=True):
        assert gradient.shape == values.shape
        for place in generator.choice(values.size, min(values.size, 30), replace=False):
            flat, step = values.reshape(-1), 1e-6
            before = flat[place]
            flat[place] = before + step
            above = cost()
            flat[place] = before - step
            below = cost()
            flat[place] = before
            wanted = (above - below) / (2 * step)
            assert gradient.reshape(-1)[place] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_cross_entropy_and_softmax_agree_with_scikit_learn():
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(0, 5, (200, 10)), generator.integers(0, 10, 200)
    loss, probabilities = cross_entropy_and_softmax(logits, labels)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(200))
    assert loss == pytest.approx(log_loss(labels, probabilities, labels=range(10)))


def test_nothing_overflows():
    with np.errstate(over="raise", invalid="raise"):
        assert sigmoid(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]
        loss, _ = cross_entropy_and_softmax(np.array([[1e4, -1e4]]), np.array([1]))
    assert loss == pytest.approx(2e4)


@pytest.mark.parametrize(
    ("initializer", "variance", "bias_variance"),
    [
        ("glorot_uniform", 2 / 1000, 0),
        ("he_normal", 2 / 600, 0),
        ("standard_normal", 1, 0),
        ("fan_out_normal", 1 / 400, 1 / 400),
    ],
)
def test_weights_start_as_in_keras_with_the_variance_they_should_have(
    initializer, variance, bias_variance
):
    weights, biases = initial_parameters([600, 400], initializer, 5)
    assert (weights.shape, biases.shape) == ((600, 400), (400,))
    assert weights.var() == pytest.approx(variance, rel=0.02)
    assert biases.var() == pytest.approx(bias_variance, rel=0.2)
    model = mnist_dense.build_model((400,), "relu", 0, initializer)
    in_keras, biases_in_keras, *_ = model.get_weights()
    ours, _ = initial_parameters([784, 400], initializer, 5)
    assert in_keras.var() == pytest.approx(ours.var(), rel=0.02)
    assert np.abs(in_keras).max() == pytest.approx(np.abs(ours).max(), rel=0.3)
    assert biases_in_keras.var() == pytest.approx(bias_variance, rel=0.2)


def losses_of(network, batches, rate):
    return np.array([network.train_step(*batch, rate)[0] for batch in batches])


@pytest.fixture(scope="module")
def batches():
    """A hundred batches that can be learned: each label lights up a row of its own."""
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 10, (100, 64)).astype(np.uint8)
    images = generator.integers(0, 60, (100, 64, 28, 28)).astype(np.uint8)
    for step, of_batch in enumerate(labels):
        images[step, np.arange(64), 2 * of_batch] = 200
    return list(zip(images, labels, strict=True))


RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 0.002}


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("optimizer", RATES)
def test_numpy_and_tensorflow_agree_in_double_precision(optimizer, activation, loss, batches):
    settings = {"loss": loss, "optimizer": optimizer, "dtype": np.float64}
    parameters = initial_parameters([784, 32, 16, 10], "glorot_uniform", 6)
    rate = RATES[optimizer] / (64 if loss == "sum" and optimizer != "adam" else 1)
    ours = DenseNetwork(parameters, activation, **settings)
    theirs = dense_tensorflow.DenseNetwork(parameters, activation, **settings)
    losses = losses_of(ours, batches, rate)
    assert losses[-1] < 0.95 * losses[0]
    assert losses_of(theirs, batches, rate) == pytest.approx(losses, rel=1e-8)
    for a, b in zip(ours.parameters, theirs.parameters, strict=True):
        assert a == pytest.approx(b.numpy(), rel=1e-6, abs=1e-8)
    images = batches[0][0]
    assert ours.predict(images, 10) == pytest.approx(theirs.predict(images), rel=1e-6)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("optimizer", RATES)
def test_all_three_engines_agree_in_single_precision(optimizer, rescale, batches):
    parameters = initial_parameters([784, 32, 16, 10], "glorot_uniform", 6)
    rate = RATES[optimizer] / (1 if rescale else 1000)
    settings = {"optimizer": optimizer, "rescale": rescale}
    ours = losses_of(DenseNetwork(parameters, "tanh", **settings), batches, rate)
    by_hand = dense_tensorflow.DenseNetwork(parameters, "tanh", **settings)
    assert losses_of(by_hand, batches, rate) == pytest.approx(ours, rel=1e-4)
    model = mnist_dense.build_model((32, 16), "tanh", 0, rescale=rescale)
    model.set_weights(parameters)
    options = Namespace(optimizer=optimizer, learning_rate=rate, schedule="constant")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(make_optimizer(options, 100), loss)
    in_keras = []
    for batch in batches:
        model.reset_metrics()  # else it is a running mean
        in_keras.append(float(model.train_on_batch(*batch)))
    assert in_keras == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("network", [DenseNetwork, dense_tensorflow.DenseNetwork])
def test_dropout_keeps_the_expectation_and_repeats_with_its_seed(network, batch):
    images, labels = batch
    parameters = initial_parameters([784, 4000, 10], "glorot_uniform", 8)

    def step(*seed):
        trained = network(parameters, "relu", 0.5)
        loss, _ = trained.train_step(images, labels, 0.0, seed)
        return loss

    without, _ = network(parameters, "relu").train_step(images, labels, 0.0)
    assert step(1, 2) == step(1, 2) != step(1, 3)
    assert step(1, 2) == pytest.approx(without, rel=0.1) and step(1, 2) != without


def test_the_saved_parameters_are_those_of_the_network(tmp_path, batch):
    parameters = initial_parameters(SIZES, "he_normal", 9)
    for network in (DenseNetwork, dense_tensorflow.DenseNetwork):
        trained = network(parameters, "relu", optimizer="adam")
        trained.train_step(*batch, 0.01)
        assert trained.count_params() == 784 * 12 + 12 + 12 * 11 + 11 + 11 * 10 + 10
        trained.save(tmp_path / "model.npz")
        with np.load(tmp_path / "model.npz") as saved:
            assert list(saved) == [
                f"{kind}_{layer}" for layer in (1, 2, 3) for kind in ("weights", "biases")
            ]
            again = DenseNetwork(list(saved.values()), "relu")
        assert again.predict(batch[0]) == pytest.approx(trained.predict(batch[0]), rel=1e-4)


def test_the_numpy_engine_loads_neither_tensorflow_nor_keras(tmp_path):
    code = (
        "import sys, mnist_dense\n"
        "mnist_dense.main(['--engine', 'numpy', '--data', 'rendered', '--epochs', '1', '--images',"
        f" '1000', '--results-dir', {str(tmp_path)!r}])\n"
        "loaded = {'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert answer.returncode == 0, answer.stderr
