"""The figures of a run, drawn from its folder: when it ends, or at any later time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common.console import warn
from common.data.dataset import Dataset
from common.files import atomic_path, read_arrays
from common.plotting import curves, film, network, predictions, style
from common.tables import mean_std
from experiment.film import FILM
from experiment.runs.folder import read_config
from experiment.runs.history import COLUMNS
from experiment.runs.saved import SavedRun
from experiment.train.batches import Schedule
from experiment.values import as_typed

AUGMENTATION = "augmentation.npz"  # some training images, and augmented copies of them


def draw_run(run: SavedRun, which: str = "all", model=None, dataset: Dataset | None = None) -> None:
    """Draw "all" figures or the "curves" of one training, or the curves of several seeds.

    Without `model` and `dataset` those that need them are left out. One that fails is a warning.
    """
    folder, title = run.folder, figure_title(run)
    if run.trainings[0].history.column("epoch"):
        draw(folder, "curves", lambda: training_curves(run, title))
    if which == "curves" or run.members:
        return
    names = list(run.metrics.get("per_class", ()))
    counts = np.array(run.metrics.get("confusion_matrix", ()))
    draw(folder, "confusion_matrix", lambda: predictions.confusion_matrix(counts, names, title))
    smoothing = run.config.get("label_smoothing", 0)
    draw(folder, "calibration", lambda: predictions.calibration(*predicted(run), title, smoothing))
    if (file := folder / AUGMENTATION).exists():
        draw(folder, "augmentation", lambda: network.augmentation(read_arrays(file), names, title))
    if (folder / FILM).exists():
        draw_film(run, names, title)
    if model is None or dataset is None:
        return
    images, shown = dataset.test_images, (names, title, dataset.unconfirmed)
    draw(folder, "mistakes", lambda: predictions.mistakes(images, *predicted(run), *shown))
    if run.custom_engine:
        first, layers = ("weights_1", np.asarray(model.parameters[0]).T.reshape(-1, 28, 28)), ()
    else:
        from common.plotting import grad_cam  # here, because the engine numpy works without Keras

        first, layers = grad_cam.first_weights(model), grad_cam.convolutions(model)
    if first:
        draw(folder, "filters", lambda: network.filters(*first, title))
    if layers:
        draw(folder, "feature_maps", lambda: feature_maps(run, model, images, names, title))
        draw(folder, "attention", lambda: attention(run, model, images, names, title))


def draw_sweep(folder: Path, runs: Sequence[SavedRun]) -> None:
    """Draw the figure that compares the combinations of options, whose runs are in `folder`."""
    draw(folder, "sweep", lambda: sweep(read_config(folder), runs))


def draw(folder: Path, name: str, make: Callable[[], Figure]) -> None:
    """Save the figure that `make` returns as `<name>.png`; if that fails, warn and go on."""
    try:
        figure = make()
        with atomic_path(folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=style.DPI)
    except Exception as error:
        warn(f"{name}.png could not be drawn: {error}")


def draw_film(run: SavedRun, names: list[str], title: str) -> None:
    """Save the film of training: a GIF, and its frames for the gallery; warn if that fails."""
    try:
        accuracies, dataset = run.history.column("validation_accuracy"), run.config["dataset"]
        frames = film.frames(read_arrays(run.folder / FILM), accuracies, dataset, names, title)
        film.save(list(frames), run.folder / "training.gif", run.folder / "training_frames.png")
    except Exception as error:
        warn(f"training.gif could not be drawn: {error}")


def figure_title(run: SavedRun) -> str:
    """Script, recipe, data and test accuracy."""
    seeds = f" ({len(run.members)} seeds)" if run.members else ""
    return f"{experiment_title(run.config)} · test accuracy {mean_std(run.test_accuracies)}{seeds}"


def experiment_title(config: dict) -> str:
    """Script, recipe and data."""
    return " · ".join(config[key] for key in ("script", "recipe", "title"))


def histories(run: SavedRun) -> list[dict[str, list[float]]]:
    """The history of each seed, as columns."""
    rows = [training.history for training in run.trainings]
    return [{name: history.column(name) for name in COLUMNS} for history in rows]


def predicted(run: SavedRun) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, float (n, classes), and labels, (n,), of the test images."""
    logits, labels = run.predictions
    return predictions.softmax(logits), labels


def training_curves(run: SavedRun, title: str) -> Figure:
    """Accuracy, loss and learning rate by epoch, of one training or of several seeds."""
    config, columns = run.config, histories(run)
    regularizers = ["dropout"] if config["dropout"] else []
    if (run.trainings[0].folder / AUGMENTATION).exists():
        regularizers.append("augmentation")
    # 1,000 points over the epochs that are drawn, however many were planned.
    end = min(max(len(history["epoch"]) for history in columns) + 0.5, config["epochs"])
    schedule = Schedule(config["schedule"], config["learning_rate"], 1000 * config["epochs"])
    steps = np.linspace(0, 1000 * end, 1000, dtype=int)
    line = steps / 1000, np.array([schedule(step) for step in steps.tolist()])
    kept = [epoch for one in run.trainings if (epoch := one.metrics.get("kept_epoch"))]
    return curves.curves(columns, config["dataset"], title, regularizers, line, kept)


def sweep(config: dict, runs: Sequence[SavedRun]) -> Figure:
    """What the values of the swept options do."""
    options, groups = list(config["combinations"][0]), []
    for run in runs:
        label = ", ".join(as_typed(run.config[key]) for key in options)
        groups.append((label, histories(run), run.test_accuracies))
    names = ", ".join(key.replace("_", " ") for key in options)
    return curves.sweep(groups, names, experiment_title(config))


def feature_maps(run: SavedRun, model, images: np.ndarray, names: list[str], title: str) -> Figure:
    """The output of each convolution for an image of each class."""
    from common.plotting import grad_cam

    probabilities, labels = predicted(run)
    chosen = predictions.recognised_examples(probabilities, labels)
    maps = grad_cam.feature_maps(model, images[chosen])
    return network.feature_maps(images[chosen], maps, [names[i] for i in labels[chosen]], title)


def attention(run: SavedRun, model, images: np.ndarray, names: list[str], title: str) -> Figure:
    """Where the network looks: in an image of each class that it recognises, in its mistakes."""
    from common.plotting import grad_cam

    probabilities, labels = predicted(run)
    guesses, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predictions.recognised_examples(probabilities, labels)
    right = right[guesses[right] == labels[right]]
    wrong = predictions.confident_mistakes(probabilities, labels)[: network.EXAMPLES_SHOWN]
    classes, parts = {"predicted class": guesses}, []
    for heading, chosen in (("Right", right), ("Most confidently wrong", wrong)):
        if len(chosen):
            shown = images[chosen]
            heat = {
                kind: grad_cam.grad_cam(model, shown, of[chosen]) for kind, of in classes.items()
            }
            answers = [(names[labels[i]], names[guesses[i]], f"{highest[i]:.1%}") for i in chosen]
            parts.append((heading, shown, heat, answers))
        classes["true class"] = labels  # of the mistakes, what speaks for the right answer, too
    return network.attention(parts, grad_cam.convolutions(model)[-1].name, title)
