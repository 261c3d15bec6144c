"""The end of a run: test once, save the numbers and the model, then sum up several runs."""

import csv
import json
import os
import signal
import sys

import numpy as np
import pytest
from conftest import dataset, finish, row
from sklearn.metrics import confusion_matrix as reference_confusion_matrix
from sklearn.metrics import log_loss, precision_recall_fscore_support

from common.networks.dense_numpy import cross_entropy_and_softmax
from common.tables import markdown_table, mean_std
from experiment.report import (
    final_measurements,
    per_class_metrics,
    report,
)
from experiment.runs.checkpoints import checkpoint_paths, save_checkpoint
from experiment.runs.folder import MARKER
from experiment.runs.history import History


def read(folder, name="metrics.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


class Guesser:
    """A model that finds the fraction `skill` of the labels."""

    parameters = (np.zeros((784, 10)),)

    def __init__(self, labels, skill=1.0):
        self.labels, self.skill, self.asked = labels, skill, 0

    def predict(self, images, batch_size, verbose):
        self.asked += len(images)
        logits = np.zeros((len(images), 10))
        found = round(len(images) * self.skill)
        logits[np.arange(found), self.labels[:found]] = 5
        logits[np.arange(found, len(images)), (self.labels[found:] + 1) % 10] = 5
        return logits

    def count_params(self):
        return 1234

    def save(self, path):
        path.write_bytes(b"weights")


# ---- Numbers --------------------------------------------------------------------------------


@pytest.fixture
def labels_and_logits():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 10, 3000)
    logits = generator.normal(size=(3000, 10)).astype(np.float32)
    logits[np.arange(3000), labels] += 2
    return labels, logits


def test_precision_and_recall_agree_with_scikit_learn(labels_and_logits):
    labels, logits = labels_and_logits
    predicted = logits.argmax(axis=1)
    predicted[predicted == 4] = 5  # a class that is never predicted
    counts = reference_confusion_matrix(labels, predicted)
    ours = per_class_metrics(counts, tuple("0123456789"))
    precision, recall, *_ = precision_recall_fscore_support(labels, predicted, zero_division=0)
    for name, wanted_precision, wanted_recall in zip("0123456789", precision, recall, strict=True):
        assert ours[name]["precision"] == pytest.approx(wanted_precision)
        assert ours[name]["recall"] == pytest.approx(wanted_recall)


def test_cross_entropy_agrees_with_scikit_learn(labels_and_logits):
    labels, logits = labels_and_logits
    exponentials = np.exp(logits.astype(float))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert cross_entropy_and_softmax(logits, labels)[0] == pytest.approx(
        log_loss(labels, probabilities)
    )


def test_cross_entropy_of_huge_logits_stays_finite():
    loss, _ = cross_entropy_and_softmax(np.array([[1e4, 0], [0, 1e4]]), np.array([0, 0]))
    assert loss == pytest.approx(5e3)


def test_final_measurements_are_the_last_epochs_or_nothing():
    history = History([row(1), row(2, accuracy=0.5, validation_loss=float("nan"))])
    final = final_measurements(history)
    assert final["training_accuracy"] == 0.5
    assert final["validation_loss"] is None
    assert set(final_measurements(History()).values()) == {None}


def test_a_table_lines_up_whatever_is_missing():
    table = markdown_table([{"a": "1"}, {"a": "22", "long name": "x"}])
    assert table.splitlines() == [
        "| a  | long name |",
        "| -- | --------- |",
        "| 1  |           |",
        "| 22 | x         |",
    ]


def test_a_deviation_needs_two_values():
    assert mean_std([0.99]) == "99.00%"
    assert mean_std([0.98, 0.99]) == "98.50% ± 0.71%"  # 1 / sqrt(2)


# ---- One run --------------------------------------------------------------------------------


def test_a_tested_run_leaves_its_numbers_predictions_and_model(
    experiment, tiny_data, tmp_path, monkeypatch
):
    labels = tiny_data.test_labels
    model = Guesser(labels, skill=0.9)
    monkeypatch.setattr("common.data.dataset.UNCONFIRMED", (4, 95))
    with experiment(tmp_path, "--shift", 1) as runs:
        for run in runs:
            run.history.rows, run.history.seconds = [row(1), row(2)], 7.0
            for epochs in (1, 2):
                save_checkpoint(run.folder, History(run.history.rows[:epochs]), [np.zeros(3)])
            data = run.split()
            report(model, data, run)
    assert model.asked == len(labels)  # the test set is used once
    metrics = read(run.folder)
    assert metrics == run.metrics and metrics["test_accuracy"] == 0.9
    assert metrics["test_loss"] == pytest.approx(np.log(np.exp(5) + 9) - 0.9 * 5)
    assert metrics["seconds"]["training"] == 7 and metrics["parameters"] == 1234
    assert (metrics["epochs"], metrics["stopped_early"]) == (2, False)
    wrong = np.flatnonzero(
        np.load(run.folder / "test_predictions.npz")["logits"].argmax(1) != labels
    )
    assert metrics["unconfirmed_mistakes"] == [95] and 95 in wrong and 4 not in wrong
    arrays = np.load(run.folder / "test_predictions.npz")
    wanted = reference_confusion_matrix(labels, arrays["logits"].argmax(axis=1))
    assert (metrics["confusion_matrix"] == wanted).all() and np.trace(wanted) == 90
    assert (arrays["logits"].argmax(axis=1)[:90] == labels[:90]).all()
    assert (arrays["labels"] == labels).all() and arrays["logits"].dtype == np.float32
    assert (run.folder / "model.npz").read_bytes() == b"weights"
    examples = np.load(run.folder / "augmentation.npz")
    assert examples["originals"].shape == (10, 28, 28) and len(examples["labels"]) == 10
    assert [path.name for path in checkpoint_paths(run.folder)] == ["checkpoint-2.npz"]


@pytest.mark.parametrize("epochs", [0, 1])
def test_what_a_failed_training_had_reached_is_saved_but_not_tested(epochs, experiment, tmp_path):
    model = Guesser(np.zeros(100, int))
    with pytest.raises(SystemExit), experiment(tmp_path) as runs:
        for run in runs:
            run.history.rows = [row(1)][:epochs]
            run.history.failure = "the loss became nan"
            report(model, run.split(), run)
    assert not model.asked and not (run.folder / "metrics.json").exists()
    assert (run.folder / "model.npz").exists() == bool(epochs)


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process that is sent a signal")
def test_a_request_to_stop_waits_until_everything_is_saved(experiment, tiny_data, tmp_path):
    class Interrupting(Guesser):
        def predict(self, *arguments, **keywords):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().predict(*arguments, **keywords)

    with pytest.raises(SystemExit) as stop, experiment(tmp_path) as runs:
        for run in runs:
            run.history.rows = [row(1), row(2)]
            report(Interrupting(tiny_data.test_labels), run.split(), run)
    assert stop.value.code == 143
    assert read(run.folder)["test_accuracy"] == 1 and (run.folder / "model.npz").exists()
    assert not read(run.folder)["stopped_early"]


def test_figures_that_cannot_be_drawn_are_a_warning(
    experiment, tiny_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "experiment.figures", None)  # as without matplotlib
    with experiment(tmp_path, "--figures", "all") as runs:
        for run in runs:
            run.history.rows = [row(1), row(2)]
            report(Guesser(tiny_data.test_labels), run.split(), run)
    assert capsys.readouterr().err.startswith("warning: no figures, because ")
    assert read(run.folder)["test_accuracy"] == 1 and not (run.folder / MARKER).exists()


# ---- Several runs ---------------------------------------------------------------------------


def test_a_run_that_was_stopped_stays_out_of_the_mean(experiment, tmp_path, capsys):
    argv = ("--name", "a", "--seed", 3, "--repeats", 5, "--figures", "curves")
    with pytest.raises(SystemExit) as stop, experiment(tmp_path, *argv) as runs:
        for run, accuracy in zip(runs, (0.98, 0.99, 0.5), strict=False):
            early = accuracy == 0.5
            run.history.stopped = 2 if early else None
            finish(run, 1 if early else 2, test_accuracy=accuracy, stopped_early=early)
    assert stop.value.code == 130
    overview = read(runs.folder)
    assert overview["seeds"] == [3, 4]
    assert overview["test_accuracy"] == pytest.approx(0.985)
    assert overview["test_accuracy_sd"] == pytest.approx(0.01 / 2**0.5)
    output = capsys.readouterr()
    assert "98.50% ± 0.71%" in output.out and output.err == ""
    assert "stopped after epoch 1" in output.out and "--resume a" in output.out
    assert (runs.folder / "curves.png").exists()
    assert (runs.folder / MARKER).exists()
    assert not (runs.folder / "seed-3" / MARKER).exists()
    assert (runs.folder / "seed-5" / MARKER).exists()


def test_a_sweep_ends_with_a_table_and_a_figure_of_all_that_was_tested(
    experiment, tmp_path, capsys
):
    skills = {(8,): (0.9, 0.92), (4,): (0.5, 0.6), (2,): None}
    argv = ("--hidden", 8, 4, 2, "--seed", 3, "--repeats", 2, "--figures", "curves", "--shift", 0)
    with pytest.raises(SystemExit) as stop, experiment(tmp_path, *argv) as runs:
        labels = runs.dataset.test_labels
        for run in runs:
            skill = skills[run.args.hidden]
            run.history.seconds = 7
            run.history.rows = [row(1), row(2, accuracy=0.97, validation_accuracy=0.95)]
            if skill is None:
                run.history.failure = "the loss became nan"
            report(Guesser(labels, skill and skill[run.args.seed - 3]), run.split(), run)
    printed = capsys.readouterr()
    assert stop.value.code == 1
    assert printed.err.splitlines()[-1].startswith("error: 2 of 6 runs failed: the loss became nan")
    table = (runs.folder / "sweep.md").read_text(encoding="utf-8").splitlines()
    assert printed.out.splitlines()[: len(table)] == table
    assert len(table) == 5  # no gap is below 0, so no note on that
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    rows = [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]
    assert [line["hidden"] for line in rows] == ["8", "4", "2"]
    accuracies = ["91.00% ± 1.41%", "55.00% ± 7.07%", "failed"]
    assert [line["test accuracy"] for line in rows] == accuracies
    assert rows[0]["gap, points"] == "2.00" and rows[0]["training time"] == "7.0 s"
    assert (runs.folder / "sweep.png").stat().st_size > 10_000
    one = runs.folder / "hidden-4"
    assert read(one)["test_accuracy"] == pytest.approx(0.55)
    assert (one / "curves.png").exists() and not (one / MARKER).exists()
    assert (runs.folder / "hidden-2" / MARKER).exists()
    with (one / "seed-3" / "history.csv").open(newline="") as file:
        assert [line["accuracy"] for line in csv.DictReader(file)] == ["0.9", "0.97"]


def test_results_on_synthetic_images_say_so(experiment, tmp_path, monkeypatch, capsys):
    images = dataset(title="MNIST (synthetic)", synthetic=True)
    monkeypatch.setattr("experiment.run.load", lambda *arguments: images)
    with experiment(tmp_path) as runs:
        finish(*runs)
    assert "test accuracy 90.00%, loss 0.1000 on MNIST (synthetic)\n" in capsys.readouterr().out
