import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference_confusion_matrix
from sklearn.metrics import log_loss, precision_recall_fscore_support
from test_runs import DEVICE, dataset, options, row

from common.errors import Interrupted, UserError
from experiment.report import (
    count_confusions,
    cross_entropy,
    final_measurements,
    finish,
    markdown_table,
    per_class_metrics,
    report,
)
from experiment.runs.folder import MARKER, Experiment, History

# Options that the end of a run reads.
TRAINING = {"show": False, "dropout": 0, "epochs": 8, "schedule": "cosine", "learning_rate": 0.004}
TRAINING |= {"engine": "numpy", "figures": "curves"}


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
    counts = count_confusions(labels, predicted)
    assert (counts == reference_confusion_matrix(labels, predicted)).all()
    ours = per_class_metrics(counts, tuple("0123456789"))
    precision, recall, *_ = precision_recall_fscore_support(labels, predicted, zero_division=0)
    for name, wanted_precision, wanted_recall in zip("0123456789", precision, recall, strict=True):
        assert ours[name]["precision"] == pytest.approx(wanted_precision)
        assert ours[name]["recall"] == pytest.approx(wanted_recall)


def test_cross_entropy_agrees_with_scikit_learn(labels_and_logits):
    labels, logits = labels_and_logits
    shares = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(axis=1, keepdims=True)
    assert cross_entropy(logits, labels) == pytest.approx(log_loss(labels, shares))


def test_cross_entropy_of_huge_logits_stays_finite():
    assert cross_entropy(np.array([[1e4, 0], [0, 1e4]]), np.array([0, 0])) == pytest.approx(5e3)


def test_a_run_that_was_stopped_stays_out_of_the_mean(tmp_path, capsys):
    args = options(tmp_path, repeats=5, name="stopped", **TRAINING)
    with (
        pytest.raises(Interrupted) as stop,
        Experiment(args, dataset(), DEVICE) as experiment,
    ):
        for run, accuracy in zip(experiment, (0.98, 0.99, 0.5), strict=False):
            early = accuracy == 0.5
            run.history = History([row(1)], stopped=2 if early else None)
            run.write_history(run.history)
            run.metrics = {
                "test_accuracy": accuracy,
                "test_loss": 0.1,
                "stopped_early": early,
                "seconds": {"training": 1},
            }
            run.write_json("metrics.json", run.metrics)
            if early:
                break
        finish(experiment)
    assert stop.value.status == 130
    overview = json.loads((experiment.folder / "metrics.json").read_text())
    assert overview["seeds"] == [3, 4]
    assert overview["test_accuracy"] == pytest.approx(0.985)
    assert overview["test_accuracy_sd"] == pytest.approx(0.01 / 2**0.5)
    output = capsys.readouterr()
    assert "98.50% ± 0.71%" in output.out and output.err == ""
    assert (experiment.folder / "curves.png").exists()
    assert (experiment.folder / MARKER).exists()
    assert not (experiment.folder / "seed-3" / MARKER).exists()
    assert (experiment.folder / "seed-5" / MARKER).exists()


class Guesser:
    """A model that finds the share `skill` of the labels."""

    parameters = (np.zeros((784, 10)),)

    def __init__(self, labels, skill):
        self.labels, self.skill = labels, skill

    def predict(self, images, batch_size, verbose):
        logits = np.zeros((len(images), 10))
        found = round(len(images) * self.skill)
        logits[np.arange(found), self.labels[:found]] = 5
        logits[np.arange(found, len(images)), (self.labels[found:] + 1) % 10] = 5
        return logits

    def count_params(self):
        return 1234

    def save(self, path):
        path.write_bytes(b"")


def test_a_sweep_ends_with_a_table_and_a_figure_of_all_that_was_tested(tmp_path, capsys):
    labels = np.arange(100, dtype=np.uint8) % 10
    data = type(dataset())(
        **vars(dataset()) | {"test_labels": labels, "test_images": np.zeros((100, 28, 28))}
    )
    skills = {(8,): (0.9, 0.92), (4,): (0.5, 0.6), (2,): None}
    args = options(
        tmp_path,
        name="sweep",
        **TRAINING | {"epochs": 2},
        repeats=2,
        combinations=[{"hidden": units} for units in skills],
    )
    with (
        pytest.raises(UserError, match="2 of 6 runs failed"),
        Experiment(args, data, DEVICE) as experiment,
    ):
        for run in experiment:
            skill = skills[run.args.hidden]
            rows = [row(1), row(2, accuracy=0.97, validation_accuracy=0.95)]
            run.history = History(rows, seconds=7)
            if skill is None:
                run.history.failure = "the loss became nan"
                report(run, Guesser(labels, 0), data, run.history)
            else:
                report(run, Guesser(labels, skill[run.seed - 3]), data, run.history)
        finish(experiment)
    printed = capsys.readouterr().out.splitlines()
    table = (experiment.folder / "sweep.md").read_text().splitlines()
    assert printed[: len(table)] == table
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    rows = [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]
    assert [line["hidden"] for line in rows] == ["8", "4", "2"]
    accuracies = ["91.00% ± 1.41%", "55.00% ± 7.07%", "failed"]
    assert [line["test accuracy"] for line in rows] == accuracies
    assert rows[0]["gap, points"] == "2.00" and rows[0]["training time"] == "7.0 s"
    assert (experiment.folder / "sweep.png").stat().st_size > 10_000
    one = experiment.folder / "hidden-4"
    assert json.loads((one / "metrics.json").read_text())["test_accuracy"] == pytest.approx(0.55)
    assert (one / "curves.png").exists() and not (one / MARKER).exists()
    assert (experiment.folder / "hidden-2" / MARKER).exists()


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
        "|----|-----------|",
        "| 1  |           |",
        "| 22 | x         |",
    ]
