"""The network from scratch against finite differences, and the three engines against each other."""

import itertools
from argparse import Namespace

import numpy as np
import pytest
from conftest import DEVICE
from scipy.special import expit
from sklearn.metrics import log_loss

import mnist_dense
from common.networks import dense_tensorflow
from common.networks.dense_numpy import ACTIVATIONS, DenseNetwork, cross_entropy_and_softmax
from common.networks.initializers import initial_parameters
from experiment.train.keras_loop import compile_options

SIZES = [784, 12, 11, 10]
ENGINES = {"numpy": DenseNetwork, "tensorflow": dense_tensorflow.DenseNetwork}
RATES = {"sgd": 0.1, "momentum": 0.02, "adam": 0.002}


def combinations(quick, *values):
    """All combinations of values as parameters of a test; those that are not `quick` are slow."""
    return [
        pytest.param(*chosen, marks=() if chosen in quick else pytest.mark.slow)
        for chosen in itertools.product(*values)
    ]


def compiled(engine, parameters, *settings, optimizer="sgd", loss="mean", **more):
    """A network that is ready for `train_step`."""
    network = ENGINES[engine](parameters, *settings, **more)
    network.compile(optimizer, lambda step: 0.1, loss)
    return network


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
    network = compiled("numpy", parameters, activation, dropout, loss=loss, dtype=np.float64)
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


def test_sigmoid_and_cross_entropy_overflow_for_no_number():
    sigmoid, _ = ACTIVATIONS["sigmoid"]
    numbers = np.linspace(-20, 20, 101)
    assert sigmoid(numbers) == pytest.approx(expit(numbers), abs=1e-12)
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
    options = {"activation": "relu", "dropout": 0, "initializer": initializer, "rescale": True}
    model = mnist_dense.build_model(Namespace(engine="keras", hidden=(400,), **options))
    in_keras, biases_in_keras, *_ = model.get_weights()
    ours, _ = initial_parameters([784, 400], initializer, 5)
    assert in_keras.var() == pytest.approx(ours.var(), rel=0.02)
    assert np.abs(in_keras).max() == pytest.approx(np.abs(ours).max(), rel=0.3)
    assert biases_in_keras.var() == pytest.approx(bias_variance, rel=0.2)


def losses_of(network, batches, rate):
    return np.array([network.train_step(*batch, rate)[0] for batch in batches])


@pytest.fixture(scope="module")
def batches():
    """Thirty batches that can be learned: each label lights up a row of its own."""
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 10, (30, 64)).astype(np.uint8)
    images = generator.integers(0, 60, (30, 64, 28, 28)).astype(np.uint8)
    for step, of_batch in enumerate(labels):
        images[step, np.arange(64), 2 * of_batch] = 200
    return list(zip(images, labels, strict=True))


@pytest.mark.parametrize(
    ("activation", "optimizer", "loss"),
    combinations(
        [("relu", "sgd", "mean"), ("sigmoid", "momentum", "sum"), ("tanh", "adam", "mean")],
        *(ACTIVATIONS, RATES, ("mean", "sum")),
    ),
)
def test_numpy_and_tensorflow_agree_in_double_precision(optimizer, activation, loss, batches):
    settings = {"loss": loss, "optimizer": optimizer, "dtype": np.float64}
    parameters = initial_parameters([784, 32, 16, 10], "glorot_uniform", 6)
    rate = RATES[optimizer] / (64 if loss == "sum" and optimizer != "adam" else 1)
    ours, theirs = (compiled(engine, parameters, activation, **settings) for engine in ENGINES)
    losses = losses_of(ours, batches, rate)
    assert losses[-1] < 0.95 * losses[0]
    assert losses_of(theirs, batches, rate) == pytest.approx(losses, rel=1e-8)
    for a, b in zip(ours.parameters, theirs.parameters, strict=True):
        assert a == pytest.approx(b.numpy(), rel=1e-6, abs=1e-8)
    images = batches[0][0]
    assert ours.predict(images, 10) == pytest.approx(theirs.predict(images), rel=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "rescale"),
    combinations([("sgd", True), ("momentum", False), ("adam", True)], RATES, (True, False)),
)
def test_all_three_engines_agree_in_single_precision(optimizer, rescale, batches):
    parameters = initial_parameters([784, 32, 16, 10], "glorot_uniform", 6)
    rate = RATES[optimizer] / (1 if rescale else 1000)
    settings = {"optimizer": optimizer, "rescale": rescale}
    ours, theirs = (
        losses_of(compiled(engine, parameters, "tanh", **settings), batches, rate)
        for engine in ENGINES
    )
    assert theirs == pytest.approx(ours, rel=1e-4)
    options = {"activation": "tanh", "dropout": 0, "initializer": "he_normal", "rescale": rescale}
    model = mnist_dense.build_model(Namespace(engine="keras", hidden=(32, 16), **options))
    model.set_weights(parameters)
    options = {"learning_rate": rate, "schedule": "constant", "label_smoothing": 0, "epochs": 1}
    options = Namespace(optimizer=optimizer, loss="mean", **options)
    model.compile(**compile_options(options, 1, DEVICE))
    in_keras = []
    for batch in batches:
        model.reset_metrics()  # else it is a running mean
        in_keras.append(float(model.train_on_batch(*batch)[0]))
    assert in_keras == pytest.approx(ours, rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_keeps_the_expectation_in_each_layer_and_repeats_with_its_seed(engine, batch):
    """All 500 units of both hidden layers give 1, and their mean is a third of the first logit."""
    images, labels = batch[0], np.zeros(20, np.uint8)
    first = np.zeros((784, 500)), np.ones(500)
    last = np.pad(np.full((500, 1), 3 / 500), ((0, 0), (0, 9))), np.zeros(10)
    parameters = [*first, np.eye(500), np.zeros(500), *last]

    def step(dropout, *seed):
        network = compiled(engine, parameters, "relu", dropout)
        return network.train_step(images, labels, 0.0, seed)[0]

    without, dropped = step(0, 1, 2), step(0.5, 1, 2)
    assert without == pytest.approx(np.log(1 + 9 * np.exp(-3)), rel=1e-4)
    assert dropped == step(0.5, 1, 2) != step(0.5, 1, 3)
    # With the same units dropped in both layers, the mean would be 2, and without scaling 1 / 4.
    assert dropped == pytest.approx(without, rel=0.2) and dropped != without


@pytest.mark.parametrize("engine", ENGINES)
def test_the_saved_parameters_are_those_of_the_network(engine, tmp_path, batch):
    network = compiled(engine, initial_parameters(SIZES, "he_normal", 9), "relu", optimizer="adam")
    network.train_step(*batch, 0.01)
    assert network.count_params() == 784 * 12 + 12 + 12 * 11 + 11 + 11 * 10 + 10
    network.save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as saved:
        assert list(saved) == [
            f"{kind}_{layer}" for layer in (1, 2, 3) for kind in ("weights", "biases")
        ]
        again = DenseNetwork(list(saved.values()), "relu")
    assert again.predict(batch[0]) == pytest.approx(network.predict(batch[0]), rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_restored_state_continues_as_the_network_it_was_taken_from(engine, batches):
    parameters = initial_parameters([784, 8, 10], "he_normal", 9)
    network = compiled(engine, parameters, "relu", optimizer="adam")
    losses_of(network, batches[:3], 0.01)
    again, state = compiled(engine, parameters, "relu", optimizer="adam"), network.state()
    expected = losses_of(network, batches[3:6], 0.01)
    again.restore(state)
    assert (losses_of(again, batches[3:6], 0.01) == expected).all()
    assert all(map(np.array_equal, network.state(), again.state()))
    assert not np.array_equal(state[0], network.state()[0])  # it was a copy
