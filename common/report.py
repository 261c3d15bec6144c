"""The end of a run: test once, save the numbers, save the model, then draw."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from common.augment import Augmentation
from common.data import Dataset
from common.options import Interrupted
from common.runs import Experiment, History, Run, beside, stop_requests


def report(
    run: Run,
    model,
    dataset: Dataset,
    history: History,
    augmentation: Augmentation | None = None,
) -> None:
    """Test `model` and leave in the run's folder all that it should keep.

    The model is one of Keras's whose outputs are logits (n, 10). The test set is used here and
    nowhere else. A figure that cannot be drawn is a warning: the numbers are safe by then. Ctrl-C
    waits until all is saved.
    """
    with stop_requests(history):
        test_and_save(run, model, dataset, history)
        draw_all(run, dataset, history, augmentation)


def test_and_save(run: Run, model, dataset: Dataset, history: History) -> None:
    """Write metrics.json and model.keras, and history.csv again."""
    run.write_history(history)
    stopped_early = history.stopped is not None and len(history.rows) < run.args.epochs
    began = time.perf_counter()
    logits = model.predict(dataset.test_images, batch_size=1000, verbose=0)
    seconds = time.perf_counter() - began
    counts = count_confusions(dataset.test_labels, logits.argmax(axis=1))
    run.metrics = {
        "dataset": dataset.title,
        "rendered": dataset.rendered,
        "test_accuracy": float(np.trace(counts) / counts.sum()),
        "test_loss": cross_entropy(logits, dataset.test_labels),
        "parameters": model.count_params(),
        "epochs": len(history.rows),
        "stopped_early": stopped_early,
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


def draw_all(
    run: Run, dataset: Dataset, history: History, augmentation: Augmentation | None
) -> None:
    """Draw every figure of a single run."""
    run.handicaps = ["dropout"] if run.args.dropout else []
    run.handicaps += ["augmentation"] if augmentation else []
    counts = np.array(run.metrics["confusion_matrix"])
    title = figure_title(run, dataset.title, f"{run.metrics['test_accuracy']:.2%}")
    draw(run, "curves", [history], dataset.name, title, run.handicaps)
    draw(run, "confusion_matrix", counts, dataset.class_names, title)
    if augmentation:
        title = figure_title(run, dataset.title)
        draw(run, "augmentation", dataset, augmentation, run.seed, title)


def finish(experiment: Experiment) -> None:
    """Print the result, over all seeds where there are several, and say where it is kept.

    Raises Interrupted at the end where training was stopped early.
    """
    dataset, args, runs = experiment.dataset, experiment.args, experiment.runs
    stopped = runs[-1].history.stopped
    # A run that was stopped early says nothing about the recipe, unless it is all there is.
    whole = [run for run in runs if not run.metrics["stopped_early"]] or runs
    accuracies = [run.metrics["test_accuracy"] for run in whole]
    losses = [run.metrics["test_loss"] for run in whole]
    accuracy, over = f"{mean(accuracies):.2%}", ""
    if len(whole) > 1:
        accuracy += f" ± {stdev(accuracies):.2%}"
        over = f" (mean ± standard deviation over {len(whole)} seeds)"
    if args.repeats > 1:
        overview = experiment.overview
        overview.write_json("metrics.json", summary(dataset, whole))
        title = figure_title(overview, dataset.title, f"{accuracy} ({len(whole)} seeds)")
        histories = [run.history for run in whole]
        draw(overview, "curves", histories, dataset.name, title, whole[0].handicaps)

    elapsed = (datetime.now().astimezone() - args.started).total_seconds()
    training = sum(run.metrics["seconds"]["training"] for run in runs)
    if stopped:
        print(f"stopped after {len(runs[-1].history.rows)} whole epochs; what there was is saved")
    on = f" on {dataset.title}" if dataset.rendered else ""
    print(f"test accuracy {accuracy}, loss {mean(losses):.4f}{over}{on}")
    print(f"{elapsed:.0f} s in all, {training:.0f} s of it training")
    print(f"results in {experiment.folder}", flush=True)
    if args.show:
        show(experiment.folder / "curves.png")
    if stopped:
        raise Interrupted(128 + stopped)


def summary(dataset: Dataset, runs: list[Run]) -> dict:
    """What several seeds give together; standard deviations are None for a single one."""
    result = {"dataset": dataset.title, "rendered": dataset.rendered}
    result["seeds"] = [run.seed for run in runs]
    for name in ("test_accuracy", "test_loss"):
        values = [run.metrics[name] for run in runs]
        result |= {
            name: mean(values),
            f"{name}_sd": stdev(values) if len(values) > 1 else None,
            f"{name}_of_each": values,
        }
    result["training_seconds"] = mean(run.metrics["seconds"]["training"] for run in runs)
    return result


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


def draw(run: Run, name: str, *numbers) -> None:
    """Save as `<name>.png` what the function of that name draws; when it fails, warn and go on."""
    try:
        from common import plotting  # not at the top: --help need not wait for matplotlib

        figure = getattr(plotting, name)(*numbers)
        with beside(run.folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=100)
    except Exception as error:
        print(f"warning: {name}.png could not be drawn: {error}", file=sys.stderr)


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
