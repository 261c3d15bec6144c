"""The end of a run: test once, save the numbers, save the model, then draw."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from common.data import Dataset
from common.options import Interrupted
from common.runs import Experiment, History, Run, beside


def report(
    run: Run,
    model,
    dataset: Dataset,
    history: History,
    augmentation: Callable | None = None,
) -> None:
    """Test `model` and leave in the run's folder all that it should keep.

    The model is one of Keras's whose outputs are logits (n, 10). The test set is used here and
    nowhere else. A figure that cannot be drawn is a warning: the numbers are safe by then.
    """
    began = time.perf_counter()
    logits = model.predict(dataset.test_images, batch_size=1000, verbose=0)
    seconds = time.perf_counter() - began
    counts = count_confusions(dataset.test_labels, logits.argmax(axis=1))
    run.history = history
    run.metrics = {
        "dataset": dataset.title,
        "rendered": dataset.rendered,
        "test_accuracy": float(np.trace(counts) / counts.sum()),
        "test_loss": cross_entropy(logits, dataset.test_labels),
        "parameters": model.count_params(),
        "epochs": len(history.rows),
        "stopped_early": history.stopped is not None,
        "seconds": {
            "data": round(dataset.seconds, 3),
            "training": round(history.seconds, 3),
            "evaluation": round(seconds, 3),
            "per_epoch": round(mean(history.column("seconds") or [0]), 3),
        },
        "images_per_second": images_per_second(history, len(dataset.train_images)),
        "peak_memory_bytes": peak_memory(),
        "per_class": per_class_metrics(counts, dataset.class_names),
        "confusion_matrix": counts.tolist(),
    }
    run.write_json("metrics.json", run.metrics)
    with beside(run.folder / "model.keras") as partial:
        model.save(partial)

    from common import plotting  # not at the top: --help need not wait for matplotlib

    title = figure_title(run, dataset.title, f"{run.metrics['test_accuracy']:.2%}")
    run.handicaps = ["dropout"] if run.args.dropout else []
    run.handicaps += ["augmentation"] if augmentation else []
    draw(run, "curves.png", plotting.curves, [history], dataset.name, title, run.handicaps)
    draw(run, "confusion_matrix.png", plotting.confusion_matrix, counts, dataset.class_names, title)
    if augmentation:
        title = figure_title(run, dataset.title)
        draw(run, "augmentation.png", plotting.augmentation, dataset, augmentation, run.seed, title)


def finish(experiment: Experiment) -> None:
    """Print the result, over all seeds where there are several, and say where it is kept.

    Raises Interrupted at the end where training was stopped early.
    """
    run, runs = experiment.overview, experiment.runs
    accuracies = [each.metrics["test_accuracy"] for each in runs]
    losses = [each.metrics["test_loss"] for each in runs]
    accuracy = f"{mean(accuracies):.2%}"
    if len(runs) > 1:
        accuracy += f" ± {stdev(accuracies):.2%}"
        run.metrics = {
            "dataset": experiment.dataset.title,
            "rendered": experiment.dataset.rendered,
            "seeds": [each.seed for each in runs],
            "test_accuracy": mean(accuracies),
            "test_accuracy_sd": stdev(accuracies),
            "test_accuracies": accuracies,
            "test_loss": mean(losses),
            "test_loss_sd": stdev(losses),
            "training_seconds": mean(each.metrics["seconds"]["training"] for each in runs),
        }
        run.write_json("metrics.json", run.metrics)
        title = figure_title(run, experiment.dataset.title, f"{accuracy} ({len(runs)} seeds)")
        from common import plotting

        histories = [each.history for each in runs]
        name, handicaps = experiment.dataset.name, runs[0].handicaps
        draw(run, "curves.png", plotting.curves, histories, name, title, handicaps)

    elapsed = (datetime.now().astimezone() - run.args.started).total_seconds()
    training = sum(each.metrics["seconds"]["training"] for each in runs)
    if run.args.show:
        show(experiment.folder / "curves.png")
    stopped = runs[-1].history.stopped
    if stopped:
        print(f"stopped after {len(runs[-1].history.rows)} whole epochs; what there was is saved")
    over = f" (mean ± standard deviation over {len(runs)} seeds)" if len(runs) > 1 else ""
    on = f" on {experiment.dataset.title}" if experiment.dataset.rendered else ""
    print(f"test accuracy {accuracy}, loss {mean(losses):.4f}{over}{on}")
    print(f"{elapsed:.0f} s in all, {training:.0f} s of it training")
    print(f"results in {experiment.folder}", flush=True)
    if stopped:
        raise Interrupted(128 + stopped)


def count_confusions(labels: np.ndarray, predicted: np.ndarray, classes: int = 10) -> np.ndarray:
    """How often each true class (rows) was taken for each class (columns)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats of the softmax of `logits` (n, classes)."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(logits).sum(axis=1))
    return float((log_sums - logits[np.arange(len(labels)), labels]).mean())


def per_class_metrics(counts: np.ndarray, class_names: tuple[str, ...]) -> dict[str, dict]:
    """Precision and recall of each class; 0 where a class was never predicted or never there."""
    right = np.diag(counts)
    precision = right / np.maximum(counts.sum(axis=0), 1)
    recall = right / np.maximum(counts.sum(axis=1), 1)
    return {
        name: {"precision": float(precision[i]), "recall": float(recall[i])}
        for i, name in enumerate(class_names)
    }


def images_per_second(history: History, images: int) -> float | None:
    """Training throughput over the finished epochs, or None when there are none."""
    seconds = sum(history.column("seconds"))
    return round(len(history.rows) * images / seconds, 1) if seconds else None


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def figure_title(run: Run, dataset_title: str, accuracy: str | None = None) -> str:
    """Which script, recipe and data a figure shows, and how well it went."""
    parts = [run.args.script, run.args.recipe, dataset_title]
    return " · ".join(parts + ([f"test accuracy {accuracy}"] if accuracy else []))


def draw(run: Run, name: str, plot: Callable, *numbers) -> None:
    """Save what `plot(*numbers)` draws; when that fails, warn and go on."""
    try:
        figure = plot(*numbers)
        with beside(run.folder / name) as partial:
            figure.savefig(partial, dpi=100)
    except Exception as error:
        print(f"warning: {name} could not be drawn: {error}", file=sys.stderr)


def show(picture: Path) -> None:
    """Show a saved picture: below the cell of a notebook, or in a window if there is a screen."""
    try:
        if "ipykernel" in sys.modules:
            from IPython.display import Image, display

            display(Image(filename=picture))
            return
        from matplotlib import pyplot

        if pyplot.get_backend().lower() == "agg":
            raise RuntimeError("there is no screen")
        pyplot.figure(figsize=(10, 5), layout="tight").gca().imshow(pyplot.imread(picture))
        pyplot.axis("off")
        pyplot.show()
    except Exception as error:
        print(f"warning: cannot show {picture}: {error}", file=sys.stderr)
