"""The recorder: history and checkpoint an epoch, failures, stop requests."""

import math
import os
import re
import shutil
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import dataset
from tiny import make_run

from experiment.runs.checkpoints import load_checkpoint
from experiment.runs.history import History, read_history
from experiment.train.batches import Batches
from experiment.train.recorder import Recorder, advice_on_memory, epoch_line, stop_requests
from tools.rerun import differing_columns

GOOD = {"loss": 0.5, "accuracy": 0.9}


class Weights:
    """A training of five weights."""

    def __init__(self, folder, **options):
        self.values = np.ones(5, np.float32)
        self.run = make_run(folder, **options)
        self.model = SimpleNamespace(stop_training=False)
        batches = Batches(dataset(300), 64, 3)
        read = lambda: [self.values.copy()]  # noqa: E731
        self.recorder = Recorder(self.run, self.model, batches, read, self.write, lambda: 0.1)

    def write(self, state):
        self.values[:] = state[0]

    def epoch(self, epoch, value, logs=GOOD):
        """An epoch at whose end all weights have a value."""
        self.recorder.on_epoch_begin(epoch)
        self.values[:] = value
        self.recorder.on_epoch_end(epoch, logs)


@pytest.mark.parametrize(
    ("value", "logs", "problem"),
    [
        (4, {"loss": math.nan, "accuracy": 0.1}, "the loss became nan"),
        (4, GOOD | {"val_loss": math.inf, "val_accuracy": 0.1}, "the loss became inf"),
        (np.inf, GOOD, "the weights became infinite or not a number"),
        (np.nan, GOOD, "the weights became infinite or not a number"),
    ],
)
def test_a_training_that_fails_says_why_and_has_the_last_good_weights(
    value, logs, problem, tmp_path
):
    training = Weights(tmp_path, learning_rate=0.5)
    assert training.recorder.restore_checkpoint() == 0
    training.epoch(0, 2)
    training.epoch(1, 3)
    assert not training.recorder.should_stop and not training.model.stop_training
    training.epoch(2, value, logs)
    assert training.recorder.should_stop and training.model.stop_training
    assert np.array_equal(training.values, np.full(5, 3))
    assert len(training.run.history.rows) == 2
    assert training.run.history.failure == (
        f"{problem} in epoch 3: lower --learning-rate (it was 0.5); "
        f"the weights of epoch 2 are in {training.run.folder}"
    )


def test_a_training_that_fails_at_once_says_so(tmp_path):
    training = Weights(tmp_path)
    training.epoch(0, np.inf)
    assert "no epoch before it was completed" in training.run.history.failure


def test_an_epoch_is_a_row_and_a_checkpoint_and_a_resumed_run_has_both(tmp_path):
    training = Weights(tmp_path)
    training.epoch(0, 2, {"loss": 9.0, "mean": 0.25, "accuracy": 0.5})
    logs = {"loss": 9.0, "mean": 0.2, "accuracy": 0.6}
    training.epoch(1, 3, logs | {"val_loss": 9.0, "val_mean": 0.3, "val_accuracy": 0.7})
    history = read_history(training.run.folder)
    assert history.column("epoch") == [1, 2] and history.column("learning_rate") == [0.1, 0.1]
    # The mean cross-entropy, where the loss is another.
    assert history.column("loss") == [0.25, 0.2] and history.column("accuracy") == [0.5, 0.6]
    assert math.isnan(history.column("validation_loss")[0])
    assert history.column("validation_loss")[1] == 0.3
    assert history.column("validation_accuracy")[1] == 0.7

    again = Weights(tmp_path)
    again.run.folder = training.run.folder
    assert again.recorder.restore_checkpoint() == 2
    assert np.array_equal(again.values, np.full(5, 3))
    assert not differing_columns(again.run.history, training.run.history)
    assert again.recorder.seconds > training.run.history.seconds > 0


def test_an_epoch_that_is_cut_short_is_not_recorded(tmp_path):
    training = Weights(tmp_path)
    training.epoch(0, 2)
    training.recorder.on_epoch_begin(1)
    training.recorder.on_train_batch_end(0)
    assert not training.model.stop_training
    training.run.history.stopped = signal.SIGINT
    training.recorder.on_train_batch_end(1)
    assert training.model.stop_training
    training.recorder.on_epoch_end(1, GOOD)
    assert len(training.run.history.rows) == 1
    assert len(load_checkpoint(training.run.folder).history.rows) == 1


def test_what_cannot_be_written_while_training_is_one_warning(tmp_path, capsys):
    training = Weights(tmp_path)
    shutil.rmtree(training.run.folder)
    for epoch in range(3):
        training.epoch(epoch, 2)
    assert len(training.run.history.rows) == 3 and not training.recorder.should_stop
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: cannot write") and line.endswith("training goes on")


def test_an_epoch_in_words():
    row = {"epoch": 2, "seconds": 1.26, "loss": 0.5, "accuracy": 0.912}
    row |= {"validation_loss": math.nan, "validation_accuracy": math.nan}
    line = epoch_line(row, 10)
    assert line == "epoch  2/10    1.3 s   training: loss 0.5000, accuracy 91.20%"
    row |= {"validation_loss": 0.4, "validation_accuracy": 0.95}
    assert epoch_line(row, 10) == f"{line}   validation: loss 0.4000, accuracy 95.00%"


@pytest.mark.parametrize(
    ("error", "batch_size", "advice"),
    [
        (MemoryError("Unable to allocate 3 GiB"), 512, "--batch-size 256"),
        (ValueError("RESOURCE_EXHAUSTED: failed to allocate"), "all", "--batch-size 1000"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "--batch-size 1"),
    ],
)
def test_out_of_memory_is_a_failure_with_a_way_out(error, batch_size, advice, tmp_path):
    run = make_run(tmp_path, batch_size=batch_size)
    with advice_on_memory(run):
        raise error
    assert "out of memory" in run.history.failure and advice in run.history.failure
    with pytest.raises(ValueError, match="of something else"), advice_on_memory(run):
        raise ValueError("of something else")


def test_a_stop_request_is_noted_and_the_handlers_are_put_back(capsys):
    before, history = signal.getsignal(signal.SIGINT), History()
    with stop_requests(history):
        signal.raise_signal(signal.SIGINT)
    assert history.stopped == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    assert re.search("stopping as soon as everything is saved", capsys.readouterr().err)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM to send on Windows")
def test_a_second_stop_request_ends_at_once():
    with pytest.raises(KeyboardInterrupt) as stop, stop_requests(History()):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.args == (signal.SIGTERM,)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGHUP on Windows")
def test_a_terminal_that_is_closed_is_a_stop_request_unless_nohup_ignores_it():
    before, history = signal.getsignal(signal.SIGHUP), History()
    try:
        for handler, wanted in ((signal.SIG_IGN, None), (signal.SIG_DFL, signal.SIGHUP)):
            signal.signal(signal.SIGHUP, handler)
            with stop_requests(history):
                signal.raise_signal(signal.SIGHUP)
            assert history.stopped == wanted and signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_there_are_no_signals_to_handle():
    entered = []

    def work():
        with stop_requests(History()):
            entered.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered
