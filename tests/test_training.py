import argparse
import math
import os
import random
import re
import shutil
import signal
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from test_runs import DEVICE, dataset, options

from common.augment import augment
from common.networks.dense_numpy import DenseNetwork, initial_parameters
from common.networks.dense_tensorflow import DenseNetwork as TensorFlowNetwork
from experiment.backend.device import set_seed
from experiment.runs.folder import History, Run, read_history
from experiment.train.keras_loop import make_loss, make_optimizer
from experiment.train.training import (
    Batches,
    Recorder,
    Schedule,
    advice_on_memory,
    stop_requests,
    train,
)

COUNT = 300


@pytest.fixture
def small():
    """Noise with a bright row where its label says: learnable in a few steps."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, COUNT + 100).astype(np.uint8)
    images = generator.integers(0, 50, (COUNT + 100, 28, 28)).astype(np.uint8)
    images[np.arange(COUNT + 100), labels * 2] = 255
    whole = dataset()
    return type(whole)(
        **vars(whole)
        | {
            "train_images": images[:COUNT],
            "train_labels": labels[:COUNT],
            "validation_images": images[COUNT:],
            "validation_labels": labels[COUNT:],
        }
    )


def make_run(folder, **changes):
    values = {
        "epochs": 3,
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 0.003,
        "schedule": "cosine",
    }
    folder = Path(tempfile.mkdtemp(dir=folder))  # a new one, which holds no checkpoint
    return Run(folder, options(folder, **values | changes), 3, DEVICE)


def make_model():
    set_seed(3)
    return keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )


class Witness(keras.Model):
    """Gives the same logits for everything, and keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.shown = []
        self.bias = self.add_weight(shape=(10,), initializer="zeros")

    def call(self, images, training=False):
        if training:
            self.shown.append(keras.ops.convert_to_numpy(images[:, 0, 0]))
        return keras.ops.zeros((keras.ops.shape(images)[0], 10)) + self.bias

    def compile(self, **keywords):
        super().compile(run_eagerly=True, **keywords)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX cannot run eagerly")
def test_fit_shows_the_batches_of_each_epoch_in_their_order(small, tmp_path):
    small.train_images[:, 0, 0] = np.arange(COUNT) % 256
    model = Witness()
    random.seed(99)  # which must make no difference
    train(model, small, make_run(tmp_path, epochs=3))
    shown = np.concatenate(model.shown)[-3 * COUNT :].reshape(3, COUNT)
    batches = Batches(small.train_images, small.train_labels, 64, seed=3)
    for epoch, order in enumerate(shown):
        batches.start_epoch(epoch)
        wanted = np.concatenate([batches[i][0][:, 0, 0] for i in range(len(batches))])
        assert (order == wanted).all()
        assert (np.sort(order) == np.sort(np.arange(COUNT) % 256)).all()
    assert (shown[0] != shown[1]).any() and (shown[1] != shown[2]).any()


def test_batches_depend_on_seed_and_epoch_alone(small):
    def epoch(seed, number):
        vary = lambda images, generator: augment(images, generator, shift=2)  # noqa: E731
        batches = Batches(small.train_images, small.train_labels, 64, seed, vary)
        batches.start_epoch(number)
        return np.concatenate([batches[i][0] for i in range(len(batches))])

    assert len(epoch(1, 0)) == COUNT
    assert (epoch(1, 2) == epoch(1, 2)).all()
    assert (epoch(1, 2) != epoch(1, 1)).any()
    assert (epoch(1, 2) != epoch(2, 2)).any()


def test_labels_stay_with_their_images(small):
    batches = Batches(small.train_images, small.train_labels, 50, 1)
    for number in range(len(batches)):
        images, labels = batches[number]
        brightest = images.astype(int).sum(axis=2).argmax(axis=1)
        assert (brightest == labels * 2).all()


def test_the_same_seed_gives_the_same_weights_bit_for_bit(small, tmp_path):
    vary = lambda images, generator: augment(images, generator, shift=1)  # noqa: E731
    results = []
    for _ in range(2):
        model = make_model()
        history = train(model, small, make_run(tmp_path), vary)
        results.append((model.get_weights(), history.column("loss")))
    (weights, losses), (again, losses_again) = results
    assert all((a == b).all() for a, b in zip(weights, again, strict=True))
    assert losses == losses_again


def test_several_steps_at_once_are_the_same_steps(small, tmp_path, monkeypatch):
    weights = []
    for several in (1, 3):  # of five steps an epoch
        monkeypatch.setattr("common.training_keras.STEPS_AT_ONCE", several)
        model = make_model()
        train(model, small, make_run(tmp_path))
        weights.append(model.get_weights())
    assert all((a == b).all() for a, b in zip(*weights, strict=True))


def test_smoothed_labels_cost_what_keras_says_of_one_hot_ones(tmp_path):
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 3, (50, 10)).astype(np.float32)
    labels = generator.integers(0, 10, 50)
    ours = make_loss(options(tmp_path, label_smoothing=0.1))(labels, logits)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert math.isclose(float(ours), float(theirs(np.eye(10)[labels], logits)), rel_tol=1e-6)


def test_history_holds_the_plain_cross_entropy_of_smoothed_labels(small, tmp_path):
    model = make_model()
    history = train(model, small, make_run(tmp_path, label_smoothing=0.3))
    logits = model.predict(small.validation_images, verbose=0)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = float(plain(small.validation_labels, logits))
    assert math.isclose(history.column("validation_loss")[-1], expected, rel_tol=1e-4)


def test_training_learns_and_history_tells_the_truth(small, tmp_path):
    model = make_model()
    run = make_run(tmp_path, epochs=8, learning_rate=0.01)
    history = train(model, small, run)
    assert history.column("epoch") == list(range(1, 9))
    assert history.column("validation_accuracy")[-1] > 0.9
    assert read_history(run.folder).column("loss") == history.column("loss")
    logits = model.predict(small.validation_images, verbose=0)
    right = (logits.argmax(axis=1) == small.validation_labels).mean()
    assert history.column("validation_accuracy")[-1] == pytest.approx(right, abs=1e-6)
    assert history.seconds > sum(history.column("seconds")) > 0


def test_without_validation_its_columns_are_empty(small, tmp_path):
    small = type(small)(
        **vars(small)
        | {
            "validation_images": small.validation_images[:0],
            "validation_labels": small.validation_labels[:0],
        }
    )
    history = train(make_model(), small, make_run(tmp_path, epochs=1))
    assert math.isnan(history.column("validation_loss")[0])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_cosine_rises_for_a_fifth_and_ends_at_zero(optimizer):
    args = argparse.Namespace(optimizer=optimizer, learning_rate=0.4, schedule="cosine")
    rate = make_optimizer(args, steps=1000)._learning_rate
    values = np.array([float(rate(step)) for step in range(1001)])
    assert values[0] == pytest.approx(0.02)
    assert values.argmax() == 200 and values[200] == pytest.approx(0.4)
    assert values[100] == pytest.approx((0.02 + 0.4) / 2)
    assert values[600] == pytest.approx(0.2, rel=1e-4)
    assert values[1000] == pytest.approx(0, abs=1e-6)
    ours = [Schedule("cosine", 0.4, 1000)(step) for step in range(1001)]
    assert values == pytest.approx(ours, rel=1e-4, abs=1e-7)


def test_constant_stays(small, tmp_path):
    history = train(
        make_model(), small, make_run(tmp_path, schedule="constant", learning_rate=0.005)
    )
    assert history.column("learning_rate") == pytest.approx([0.005] * 3)


ENGINES = ("keras", "tensorflow", "numpy")


def make_network(engine, optimizer="adam"):
    if engine == "keras":
        return make_model()
    network = {"numpy": DenseNetwork, "tensorflow": TensorFlowNetwork}[engine]
    parameters = initial_parameters([784, 32, 10], "glorot_uniform", 3)
    return network(parameters, "relu", 0.2, optimizer=optimizer)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_is_no_number_names_the_epoch_and_the_remedy(engine, small, tmp_path):
    changes = {"optimizer": "sgd", "learning_rate": 1e30, "schedule": "constant"}
    run = make_run(tmp_path, epochs=5, engine=engine, **changes)
    history = train(make_network(engine, "sgd"), small, run)
    assert re.search(r"epoch \d.*lower --learning-rate", history.failure)
    assert len(history.rows) < 5


@pytest.mark.parametrize("wrong", ["loss", "weights"])
def test_a_training_that_fails_has_the_weights_of_the_last_good_epoch(wrong, tmp_path):
    run, weights = make_run(tmp_path), np.ones(5, np.float32)
    recorder = Recorder(run)

    def write(state):
        weights[:] = state[0]

    assert recorder.go_on(lambda: [weights.copy()], write) == 0
    recorder.record(1.0, 0.1, (0.5, 0.9))
    weights[:] = 2
    recorder.record(1.0, 0.1, (0.4, 0.9))
    assert not recorder.must_stop
    weights[:] = np.inf if wrong == "weights" else 3
    recorder.record(1.0, 0.1, (math.nan if wrong == "loss" else 0.3, 0.9))
    assert recorder.must_stop and np.array_equal(weights, np.full(5, 2))
    assert re.search(r"in epoch 3: lower .* epoch 2 are in", run.history.failure)
    assert len(run.history.rows) == 2


def test_what_cannot_be_written_while_training_is_one_warning(tmp_path, capsys):
    run = make_run(tmp_path)
    recorder = Recorder(run)
    recorder.go_on(lambda: [np.ones(5)], lambda state: None)
    shutil.rmtree(run.folder)
    for _ in range(3):
        recorder.record(1.0, 0.1, (0.5, 0.9))
    assert len(run.history.rows) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: cannot write") and line.endswith("training goes on")


@pytest.mark.parametrize(
    ("error", "batch_size", "advice"),
    [
        (MemoryError("Unable to allocate 3 GiB"), 512, "--batch-size 256"),
        (ValueError("RESOURCE_EXHAUSTED: failed to allocate"), "all", "--batch-size 1000"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "--batch-size 1"),
    ],
)
def test_memory_that_does_not_suffice_is_a_failure_with_a_way_out(
    error, batch_size, advice, tmp_path
):
    run = make_run(tmp_path, batch_size=batch_size)
    run.history = History()
    with advice_on_memory(run):
        raise error
    assert "memory does not suffice" in run.history.failure and advice in run.history.failure
    with pytest.raises(ValueError, match="of something else"), advice_on_memory(run):
        raise ValueError("of something else")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_learns_and_repeats_itself(engine, small, tmp_path):
    histories = []
    for _ in range(2):
        run = make_run(tmp_path, epochs=8, learning_rate=0.01, engine=engine)
        histories.append(train(make_network(engine), small, run))
    first, again = histories
    assert first.column("validation_accuracy")[-1] > 0.9
    assert first.column("loss") == again.column("loss")
    assert first.column("learning_rate")[-1] == pytest.approx(0, abs=1e-6)
    logits = make_network(engine).predict(small.validation_images, verbose=0)
    assert logits.shape == (100, 10)


def test_a_summed_loss_is_recorded_as_a_mean(small, tmp_path):
    values = []
    for loss, rate in (("mean", 0.064), ("sum", 0.001)):
        run = make_run(tmp_path, epochs=2, optimizer="sgd", learning_rate=rate, loss=loss)
        run.args.schedule = "constant"
        small_batches = train(make_model(), small, run)
        values.append(small_batches.column("loss") + small_batches.column("validation_loss"))
    # The last batch of an epoch is smaller than 64, so that the two are not quite the same.
    assert values[0] == pytest.approx(values[1], rel=0.1)


def test_the_whole_training_set_can_be_one_batch(small):
    batches = Batches(small.train_images, small.train_labels, "all", 1)
    assert len(batches) == 1 and len(batches[0][0]) == COUNT


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_request_ends_training_and_keeps_the_whole_epochs(engine, small, tmp_path):
    seen = []

    def interrupt(images, generator):
        seen.append(len(images))
        if len(seen) == 40:
            signal.raise_signal(signal.SIGINT)
        return images

    before = signal.getsignal(signal.SIGINT)
    run = make_run(tmp_path, epochs=500, engine=engine)
    history = train(make_network(engine), small, run, interrupt)
    assert history.stopped == signal.SIGINT
    assert 1 <= len(history.rows) < 500
    assert read_history(run.folder).column("loss") == history.column("loss")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM to send on Windows")
def test_a_second_stop_request_ends_at_once():
    with pytest.raises(KeyboardInterrupt), stop_requests(History()):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
