"""Keras's own training: loss, optimizer, the batches that `fit` shows, and what history holds."""

import argparse
import dataclasses
import sys
import time

import keras
import numpy as np
import pytest
from conftest import DEVICE, dataset, options
from scipy.special import logsumexp
from sklearn.metrics import log_loss
from tiny import make_network, make_run, split_dataset, train

from experiment.options import ACTIVATIONS
from experiment.train.batches import Batches, Schedule
from experiment.train.keras_loop import FusedAdam, blocks_of, compile_options, make_optimizer

COUNT = 300


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
def test_fit_shows_the_batches_of_each_epoch_in_their_order(tmp_path):
    data = dataset(COUNT)
    data.train_images[:, 0, 0] = np.arange(COUNT) % 256
    model, run = Witness(), make_run(tmp_path, epochs=2)
    train(model, data, run)
    shown = np.concatenate(model.shown)[-2 * COUNT :].reshape(2, COUNT)
    batches = Batches(data, 64, seed=3)
    for epoch, order in enumerate(shown):
        batches.start_epoch(epoch)
        wanted = np.concatenate([batches[i][0][:, 0, 0] for i in range(len(batches))])
        assert (order == wanted).all()
    assert (shown[0] != shown[1]).any()


def test_batches_are_handed_over_in_blocks_of_which_the_next_is_being_prepared(monkeypatch):
    monkeypatch.setattr("experiment.train.keras_loop.IMAGES_AT_ONCE", 4 * 20)
    batches = Batches(dataset(COUNT), 20, seed=3)
    numbers, made, ready = range(len(batches)), [], 0
    original = Batches.__getitem__

    def noting(batches, number):
        made.append(number)
        return original(batches, number)

    monkeypatch.setattr(Batches, "__getitem__", noting)
    for images, labels in blocks_of(batches):
        block = [original(batches, number) for number in numbers[ready : ready + 4]]
        assert (images == np.concatenate([images for images, _ in block])).all()
        assert (labels == np.concatenate([labels for _, labels in block])).all()
        ready += len(block)
        soon = time.monotonic() + 10
        while len(made) < min(ready + 4, len(batches)) and time.monotonic() < soon:
            time.sleep(0.001)
        assert len(made) == min(ready + 4, len(batches)), "one block ahead, and no more"
    assert made == [*numbers]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others have Keras's own")
def test_the_loop_on_tensorflow_takes_the_steps_of_keras_s_own(tmp_path, monkeypatch):
    """Also where an epoch's last call takes fewer steps than the others."""
    monkeypatch.setattr("experiment.train.keras_loop.STEPS_PER_EXECUTION", 2)
    weights, losses, made = [], [], []
    original = keras.callbacks.CallbackList.on_epoch_end

    def noting(callbacks, *arguments):
        made.append(callbacks._model.train_function.__module__)
        original(callbacks, *arguments)

    monkeypatch.setattr(keras.callbacks.CallbackList, "on_epoch_end", noting)
    for _ in range(2):
        model = make_network("keras")
        history = train(model, split_dataset(), make_run(tmp_path))
        weights.append(model.get_weights())
        losses.append(history.column("loss"))
        assert model.train_function is None, "a fit of the user's own needs another"
        monkeypatch.setattr("experiment.train.keras_loop.train_function", lambda *_: None)
    assert made[0] == "experiment.train.keras_loop" and made[-1].startswith("keras.")
    for ours, theirs in zip(*weights, strict=True):
        assert (ours == theirs).all()
    assert losses[0] == losses[1]


def test_the_progress_bar_ends_at_the_last_step(tmp_path, monkeypatch):
    """Also where Keras takes two steps at once, and an epoch has five."""
    shown = []
    monkeypatch.setattr("experiment.train.keras_loop.STEPS_PER_EXECUTION", 2)
    monkeypatch.setattr(
        keras.utils.Progbar, "update", lambda bar, step, *_, **__: shown.append(step)
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    train(make_network("keras"), split_dataset(), make_run(tmp_path, epochs=1, quiet=False))
    assert shown == [2, 4, 5, 5]  # at last with validation


def loss_in_keras(logits, labels, **changes):
    """What `fit` minimises on a batch of these logits."""
    model = keras.Sequential([keras.Input((10,)), keras.layers.Identity()])
    args = argparse.Namespace(optimizer="sgd", learning_rate=0.1, schedule="constant", epochs=1)
    vars(args).update(changes)
    model.compile(**compile_options(args, 1, DEVICE))
    return float(model.compute_loss(x=logits, y=labels, y_pred=model(logits)))


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0, 0.1, 0.5])
def test_the_loss_is_the_formula_s(smoothing, loss):
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 3, (50, 10)).astype(np.float32)
    labels = generator.integers(0, 10, 50).astype(np.uint8)
    normaliser = logsumexp(logits.astype(float), axis=1)
    of_label = normaliser - logits[np.arange(50), labels]
    of_all = normaliser - logits.mean(axis=1)
    each = (1 - smoothing) * of_label + smoothing * of_all
    expected = each.mean() if loss == "mean" else each.sum()
    ours = loss_in_keras(logits, labels, loss=loss, label_smoothing=smoothing)
    assert ours == pytest.approx(expected, rel=1e-5)


def test_scripts_without_the_option_loss_take_the_mean():
    logits, labels = np.eye(10, dtype=np.float32), np.arange(10, dtype=np.uint8)
    with_option = loss_in_keras(logits, labels, loss="mean", label_smoothing=0.1)
    assert loss_in_keras(logits, labels, label_smoothing=0.1) == with_option


def test_history_holds_the_plain_mean_cross_entropy_whatever_the_loss(tmp_path):
    data = split_dataset()
    changes = {"label_smoothing": 0.3, "loss": "sum", "learning_rate": 0.001}
    model, run = make_network("keras"), make_run(tmp_path, **changes)
    history = train(model, data, run)
    logits = model.predict(data.validation_images, verbose=0).astype(float)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    plain = log_loss(data.validation_labels, probabilities, labels=range(10))
    assert history.column("validation_loss")[-1] == pytest.approx(plain, rel=1e-4)
    assert history.column("loss")[0] == pytest.approx(np.log(10), abs=0.7)
    for changes, measured in (
        ({}, ["accuracy"]),
        ({"label_smoothing": 0.3}, ["accuracy", "mean"]),
        ({"loss": "sum"}, ["accuracy", "mean"]),
    ):
        metrics = compile_options(options(tmp_path, **changes), 5, DEVICE)["metrics"]
        assert [metric.name for metric in metrics] == measured


@pytest.mark.parametrize("steps", [4, 100])
@pytest.mark.parametrize(("optimizer", "name"), [("adam", "cosine"), ("sgd", "linear")])
def test_schedules_in_keras_are_ours(optimizer, name, steps):
    args = argparse.Namespace(optimizer=optimizer, learning_rate=0.4, schedule=name)
    schedule = Schedule(name, 0.4, steps)
    rate = make_optimizer(args, schedule, DEVICE)._learning_rate
    values = [float(rate(step)) for step in range(steps + 1)]
    wanted = [schedule(step) for step in range(steps + 1)]
    assert values == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    assert max(wanted) == 0.4 and wanted[-1] == pytest.approx(0)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="others have Keras's Adam")
@pytest.mark.parametrize(
    ("optimizer", "betas"), [("adam", {}), ("adam_short", {"beta_1": 0.8, "beta_2": 0.95})]
)
def test_adam_in_one_operation_takes_keras_s_steps(optimizer, betas):
    args = argparse.Namespace(optimizer=optimizer, learning_rate=0.02, schedule="linear")
    fused = make_optimizer(args, Schedule("linear", 0.02, 20), DEVICE)
    assert type(fused) is FusedAdam
    kinds, trained = [((5, 7), "float32"), ((7,), "float64")], {}
    for each in (fused, keras.optimizers.Adam(fused._learning_rate, **betas)):
        rng = np.random.default_rng(0)
        weights = [keras.Variable(rng.normal(size=shape), dtype=d) for shape, d in kinds]
        each.build(weights)
        for _ in range(20):
            each.apply([keras.ops.array(rng.normal(size=w.shape), "float32") for w in weights])
        trained[each] = [keras.ops.convert_to_numpy(v) for v in (*weights, *each.variables)]
    for ours, theirs in zip(*trained.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_several_devices_have_keras_s_adam():
    args = argparse.Namespace(optimizer="adam", learning_rate=0.02, schedule="constant")
    several = dataclasses.replace(DEVICE, count=2)
    optimizer = make_optimizer(args, Schedule("constant", 0.02, 20), several)
    assert type(optimizer) is not FusedAdam and isinstance(optimizer, keras.optimizers.Adam)


def test_momentum_and_every_activation_of_the_options_are_keras_s():
    args = argparse.Namespace(optimizer="momentum", learning_rate=0.01, schedule="constant")
    assert make_optimizer(args, Schedule("constant", 0.01, 10), DEVICE).momentum == 0.9
    logits = keras.ops.convert_to_tensor(np.linspace(-2, 2, 5, dtype=np.float32)[None])
    for name in ACTIVATIONS:
        assert keras.activations.get(name)(logits).shape == (1, 5)


class Logs(keras.callbacks.Callback):
    """Stands in for Keras's TensorBoard, which writes nothing where TensorBoard is missing."""

    seen = ()

    def __init__(self, folder, **options):
        super().__init__()
        Logs.seen = [folder]

    def on_epoch_end(self, epoch, logs=None):
        Logs.seen.append((epoch, *sorted(logs)))


def test_with_tensorboard_each_epoch_is_logged_into_the_run_s_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.callbacks, "TensorBoard", Logs)
    monkeypatch.setattr(Logs, "seen", [])
    run = make_run(tmp_path, epochs=2, tensorboard=True)
    train(make_network("keras"), split_dataset(), run)
    measured = ("accuracy", "loss", "val_accuracy", "val_loss")
    assert Logs.seen == [run.folder / "tensorboard", (0, *measured), (1, *measured)]


@pytest.mark.slow
def test_tensorboard_reads_what_is_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.util.tensor_util import make_ndarray

    run = make_run(tmp_path, epochs=2, tensorboard=True)
    history = train(make_network("keras"), split_dataset(), run)
    logs = EventMultiplexer().AddRunsFromDirectory(str(run.folder / "tensorboard")).Reload()
    for part, name in (("train", "accuracy"), ("validation", "validation_accuracy")):
        events = logs.Tensors(part, "epoch_accuracy")
        values = [float(make_ndarray(event.tensor_proto)) for event in events]
        assert values == pytest.approx(history.column(name))
