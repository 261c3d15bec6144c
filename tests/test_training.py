"""Training with each of the three engines: learning, repeating, failing, stopping, resuming."""

import random
import re
import signal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import dataset
from sklearn.metrics import log_loss
from tiny import ENGINES, make_network, make_run, press_ctrl_c, split_dataset, train

from common.augment import augment
from experiment.options import LEARNING_RATES
from experiment.runs.checkpoints import checkpoint_paths, load_checkpoint
from experiment.runs.history import read_history
from tools.rerun import differing_columns

SETTINGS = {"epochs": 8, "learning_rate": 0.01}
SHIFT = partial(augment, shift=1)


@pytest.fixture(scope="module")
def data():
    return split_dataset()  # five batches an epoch


@pytest.fixture(scope="module", params=ENGINES)
def whole(request, data, tmp_path_factory):
    """A training that ends as it should, to compare others with."""
    run = make_run(tmp_path_factory.mktemp("whole"), engine=request.param, **SETTINGS)
    network = make_network(request.param)
    train(network, data, run, SHIFT)
    return SimpleNamespace(engine=request.param, run=run, network=network, history=run.history)


def test_training_learns_and_history_tells_the_truth(whole, data):
    history = whole.history
    assert history.column("epoch") == list(range(1, 9))
    assert history.column("learning_rate")[-1] == pytest.approx(0, abs=1e-6)
    assert not differing_columns(read_history(whole.run.folder), history)
    logits = whole.network.predict(data.validation_images, verbose=0)
    right = (logits.argmax(axis=1) == data.validation_labels).mean()
    assert history.column("validation_accuracy")[-1] == pytest.approx(right, abs=1e-6)
    assert right > 0.9
    logits = logits.astype(float)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = log_loss(data.validation_labels, probabilities, labels=range(10))
    assert history.column("validation_loss")[-1] == pytest.approx(expected, rel=1e-4)
    assert history.seconds > sum(history.column("seconds")) > 0


def test_a_run_stopped_in_the_last_steps_of_an_epoch_keeps_it_and_resumed_ends_the_same(
    whole, data, tmp_path, monkeypatch
):
    """Bit for bit, whatever the state of `random`, and however many steps Keras takes at once."""
    before = signal.getsignal(signal.SIGINT)
    run = make_run(tmp_path, engine=whole.engine, **SETTINGS)
    with monkeypatch.context() as patch:
        # For Keras all five steps are one execution, at whose end it notices Ctrl-C.
        press_ctrl_c(patch, epoch=1, batch=4)
        history = train(make_network(whole.engine), data, run, SHIFT)
    assert history.stopped == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    assert len(history.rows) == 2
    assert history.column("validation_loss") == whole.history.column("validation_loss")[:2]
    assert not differing_columns(read_history(run.folder), history)

    random.seed(99)
    monkeypatch.setattr("experiment.train.keras_loop.STEPS_PER_EXECUTION", 2)
    resumed = make_run(tmp_path, engine=whole.engine, **SETTINGS)
    resumed.folder = run.folder
    train(make_network(whole.engine), data, resumed, SHIFT)
    assert resumed.history.rows[:2] == history.rows  # with their times: they were not trained again
    assert not differing_columns(resumed.history, whole.history)
    state, same = (load_checkpoint(one.folder).state for one in (run, whole.run))
    assert len(state) == len(same) and all(map(np.array_equal, state, same))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_with_any_optimizer_a_resumed_run_ends_the_same(optimizer, data, tmp_path):
    """Bit for bit, at its usual rate: the checkpoint holds all that it keeps between steps."""

    def run_in(folder):
        rate = LEARNING_RATES[optimizer]
        run = make_run(tmp_path, epochs=3, optimizer=optimizer, learning_rate=rate)
        run.folder = folder or run.folder
        network = make_network("keras")
        before = network.get_weights()
        train(network, data, run)
        assert not any(map(np.array_equal, before[::2], network.get_weights()[::2]))  # it moves
        return run, load_checkpoint(run.folder).state

    run, whole = run_in(None)
    checkpoint_paths(run.folder)[0].unlink()
    resumed, state = run_in(run.folder)
    assert len(state) == len(whole) and all(map(np.array_equal, state, whole))
    assert resumed.history.rows[:2] == run.history.rows[:2]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_stopped_in_mid_epoch_keeps_the_completed_ones(engine, tmp_path, monkeypatch):
    """Here without validation, whose columns are empty, and with a constant learning rate."""
    monkeypatch.setattr("experiment.train.keras_loop.STEPS_PER_EXECUTION", 1)
    press_ctrl_c(monkeypatch, epoch=2, batch=2)
    constant = {"schedule": "constant", "learning_rate": 0.005, "epochs": 500}
    run = make_run(tmp_path, engine=engine, **constant)
    history = train(make_network(engine), dataset(400), run)
    assert history.stopped == signal.SIGINT
    assert history.column("epoch") == [1, 2]
    assert np.isnan(history.column("validation_loss")).all()
    assert np.isnan(history.column("validation_accuracy")).all()
    assert history.column("learning_rate") == pytest.approx([0.005] * 2)
    assert not differing_columns(read_history(run.folder), history)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_that_is_not_finite_names_the_epoch_and_the_remedy(engine, data, tmp_path):
    changes = {"optimizer": "sgd", "learning_rate": 1e30, "schedule": "constant", "epochs": 5}
    run = make_run(tmp_path, engine=engine, **changes)
    history = train(make_network(engine), data, run)
    assert re.search(r"became .* in epoch 1: lower --learning-rate", history.failure)
    assert not history.rows
