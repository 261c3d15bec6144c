import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference_confusion_matrix
from sklearn.metrics import log_loss, precision_recall_fscore_support
from test_runs import DEVICE, dataset, options, row

from common import plotting
from common.options import Interrupted
from common.report import count_confusions, cross_entropy, draw, finish, per_class_metrics
from common.runs import MARKER, Experiment, History, Run


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


def test_a_figure_that_cannot_be_drawn_is_a_warning(tmp_path, capsys, monkeypatch):
    def broken():
        raise RuntimeError("no fonts")

    monkeypatch.setattr(plotting, "curves", broken)
    draw(Run(tmp_path, options(tmp_path), 1, DEVICE), "curves")
    assert capsys.readouterr().err == "warning: curves.png could not be drawn: no fonts\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_stopped_stays_out_of_the_mean(tmp_path, capsys):
    args = options(tmp_path, repeats=5, name="stopped", show=False)
    with (
        pytest.raises(Interrupted) as stop,
        Experiment(args, dataset(), DEVICE) as experiment,
    ):
        for run, accuracy in zip(experiment, (0.98, 0.99, 0.5), strict=False):
            early = accuracy == 0.5
            run.history = History([row(1)], stopped=2 if early else None)
            run.metrics = {
                "test_accuracy": accuracy,
                "test_loss": 0.1,
                "stopped_early": early,
                "seconds": {"training": 1},
            }
            if early:
                break
        finish(experiment)
    assert stop.value.status == 130
    overview = json.loads((experiment.folder / "metrics.json").read_text())
    assert overview["seeds"] == [3, 4]
    assert overview["test_accuracy"] == pytest.approx(0.985)
    assert overview["test_accuracy_sd"] == pytest.approx(0.01 / 2**0.5)
    assert "98.50% ± 0.71%" in capsys.readouterr().out
    assert (experiment.folder / MARKER).exists()
    assert not (experiment.folder / "seed-3" / MARKER).exists()
    assert (experiment.folder / "seed-5" / MARKER).exists()
