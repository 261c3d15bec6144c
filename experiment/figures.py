"""Which figures a run has, drawn from what its folder holds: at its end, or at any time later."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib.figure import Figure

from common.data.load import Dataset
from common.errors import UserError
from common.files import beside, read_arrays, read_json
from common.plotting import calibration as explain
from common.plotting import curves as plotting
from common.plotting import network as plotting_network
from experiment.options import as_typed
from experiment.runs.saved import SavedRun
from experiment.train.training import Schedule


def draw_run(run: SavedRun, which: str = "all", model=None, dataset: Dataset | None = None) -> None:
    """Draw the figures of one training, or of several seeds: "all" of them or "curves".

    `model` and `dataset` are read from disk where they are not at hand. A figure that cannot be
    drawn is a warning, and the others are drawn all the same.
    """
    draw(run.folder, "curves", curves, run)
    if which == "curves" or run.members:
        return
    draw(run.folder, "confusion_matrix", confusion_matrix, run)
    draw(run.folder, "calibration", calibration, run)
    if augmentation_file(run.folder).exists():
        draw(run.folder, "augmentation", augmentation, run)
    try:
        dataset, model = dataset or run.dataset(), model or run.model()
    except UserError as error:
        print(f"warning: no pictures of what {run.name} learned: {error}", file=sys.stderr)
        return
    draw(run.folder, "mistakes", mistakes, run, dataset)
    if run.by_hand:
        first = ("weights_1", np.asarray(model.parameters[0]).T.reshape(-1, 28, 28))
    else:
        from common.plotting import (
            grad_cam as explain_keras,  # not at the top: the engine numpy does without Keras
        )

        first = explain_keras.first_weights(model)
    if first:
        draw(run.folder, "filters", plotting_network.filters, *first, figure_title(run))
    if not run.by_hand and explain_keras.has_convolutions(model):
        draw(run.folder, "feature_maps", feature_maps, run, model, dataset)
        draw(run.folder, "attention", attention, run, model, dataset)


def draw_sweep(folder: Path, runs: Sequence[SavedRun]) -> None:
    """Draw what compares the combinations of options whose runs are in `folder`."""
    draw(folder, "sweep", sweep, read_json(folder / "config.json"), runs)


def draw(folder: Path, name: str, make: Callable[..., Figure], *inputs) -> None:
    """Save the figure that `make(*inputs)` gives as `<name>.png`; when it fails, warn and go on."""
    try:
        figure = make(*inputs)
        with beside(folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=plotting.DPI)
    except Exception as error:
        print(f"warning: {name}.png could not be drawn: {error}", file=sys.stderr)


def figure_title(run: SavedRun) -> str:
    """Which script, recipe and data a figure shows, and how well it went."""
    accuracies = [training.metrics["test_accuracy"] for training in run.trainings]
    accuracy = f"{mean(accuracies):.2%}"
    if run.members:
        deviation = f" ± {stdev(accuracies):.2%}" if len(accuracies) > 1 else ""
        accuracy += f"{deviation} ({len(accuracies)} seeds)"
    return f"{experiment_title(run.config)} · test accuracy {accuracy}"


def experiment_title(config: dict) -> str:
    """Which script, recipe and data a figure shows."""
    return " · ".join(config[key] for key in ("script", "recipe", "title"))


def augmentation_file(folder: Path) -> Path:
    """Where a run that augments its images keeps some of them."""
    return folder / "augmentation.npz"


def curves(run: SavedRun) -> Figure:
    """Accuracy, loss and learning rate over the epochs, of one training or of several seeds."""
    config, histories = run.config, [training.history for training in run.trainings]
    handicaps = ["dropout"] if config["dropout"] else []
    if augmentation_file(run.trainings[0].folder).exists():
        handicaps.append("augmentation")
    steps = plotting.SCHEDULE_STEPS * config["epochs"]
    schedule = Schedule(config["schedule"], config["learning_rate"], steps)
    return plotting.curves(histories, config["dataset"], figure_title(run), handicaps, schedule)


def confusion_matrix(run: SavedRun) -> Figure:
    """How often each class was taken for each."""
    counts = np.array(run.metrics["confusion_matrix"])
    return plotting.confusion_matrix(counts, class_names(run), figure_title(run))


def calibration(run: SavedRun) -> Figure:
    """How far the network's confidence can be trusted."""
    logits, labels = run.predictions
    measured = explain.calibrate(explain.softmax(logits), labels)
    return plotting.calibration(measured, figure_title(run))


def augmentation(run: SavedRun) -> Figure:
    """Training images beside their augmented copies."""
    saved = read_arrays(augmentation_file(run.folder))
    names = [class_names(run)[label] for label in saved["labels"]]
    originals, varied = saved["originals"], saved["varied"]
    return plotting_network.augmentation(originals, varied, names, figure_title(run))


def mistakes(run: SavedRun, dataset: Dataset) -> Figure:
    """The test images that the network was most confidently wrong about."""
    logits, labels = run.predictions
    probabilities = explain.softmax(logits)
    chosen = explain.confident_mistakes(probabilities, labels)
    images, title = dataset.test_images, figure_title(run)
    return plotting_network.mistakes(images, labels, probabilities, chosen, class_names(run), title)


def feature_maps(run: SavedRun, model, dataset: Dataset) -> Figure:
    """What each convolution makes of an image of each class."""
    from common.plotting import grad_cam as explain_keras

    logits, labels = run.predictions
    chosen = explain.recognised_examples(explain.softmax(logits), labels)
    images = dataset.test_images[chosen]
    maps = explain_keras.feature_maps(model, images)
    names = [class_names(run)[label] for label in labels[chosen]]
    return plotting_network.feature_maps(images, maps, names, figure_title(run))


def attention(run: SavedRun, model, dataset: Dataset) -> Figure:
    """Where the network looks: an image of each class that it recognises, and its mistakes."""
    from common.plotting import grad_cam as explain_keras

    logits, labels = run.predictions
    probabilities = explain.softmax(logits)
    predicted, names = probabilities.argmax(axis=1), class_names(run)
    right = explain.recognised_examples(probabilities, labels)
    right = right[predicted[right] == labels[right]]
    wrong = explain.confident_mistakes(probabilities, labels)[: plotting_network.EXAMPLES_SHOWN]

    images = dataset.test_images

    def evidence(chosen: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return explain_keras.grad_cam(model, images[chosen], classes[chosen])

    def words(chosen: np.ndarray) -> dict[str, list[str]]:
        return {
            "true class": [names[label] for label in labels[chosen]],
            "predicted": [names[label] for label in predicted[chosen]],
            "probability": [f"{share:.1%}" for share in probabilities[chosen].max(axis=1)],
        }

    parts = []
    if len(right):
        heats = {"predicted class": evidence(right, predicted)}
        parts.append(("Right", images[right], heats, words(right)))
    if len(wrong):
        heats = {
            "predicted class": evidence(wrong, predicted),
            "true class": evidence(wrong, labels),
        }
        parts.append(("Most confidently wrong", images[wrong], heats, words(wrong)))
    layer = explain_keras.last_convolution(model).name
    return plotting_network.attention(parts, layer, figure_title(run))


def sweep(config: dict, runs: Sequence[SavedRun]) -> Figure:
    """What the values of the swept options do."""
    options = list(config["combinations"][0])
    groups = []
    for run in runs:
        label = ", ".join(as_typed(run.config[key]) for key in options)
        histories = [training.history for training in run.trainings]
        accuracies = [training.metrics["test_accuracy"] for training in run.trainings]
        groups.append((label, histories, accuracies))
    names = ", ".join(key.replace("_", " ") for key in options)
    return plotting.sweep(groups, names, experiment_title(config))


def class_names(run: SavedRun) -> list[str]:
    """The names of the classes, in the order of their labels."""
    return list(run.metrics["per_class"])
