"""The end of a run: test once, save the numbers, save the model, then draw."""

from __future__ import annotations

import argparse
import math
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType

import numpy as np

from common.augment import Augmentation, augmentation_examples, predict
from common.data.load import Dataset
from common.errors import Interrupted, UserError
from common.files import beside, read_json, write_arrays, write_atomically
from experiment.gallery.page import refresh_after
from experiment.options import as_typed
from experiment.runs.checkpoints import remove_checkpoints
from experiment.runs.folder import Experiment, Group, History, Run, stop_requests
from experiment.runs.saved import SavedRun, read_run


def report(
    run: Run,
    model,
    dataset: Dataset,
    history: History,
    augmentation: Augmentation | None = None,
) -> None:
    """Test `model` and leave in the run's folder all that it should keep.

    The model is one of Keras's whose outputs are logits (n, 10), or a `DenseNetwork`. The test set
    is used here and nowhere else. A figure that cannot be drawn is a warning: the numbers are safe
    by then. Ctrl-C waits until all is saved. What a training that failed had reached is saved, but
    not tested. Of several processes that train together, the first reports.
    """
    if run.device.process:
        return
    if history.failure:
        if history.rows:
            save_model(run, model)
        return
    with stop_requests(history):
        test_and_save(run, model, dataset, history)
        if augmentation:
            examples = (dataset.train_images, dataset.train_labels, augmentation, run.seed)
            write_arrays(run.folder / "augmentation.npz", **augmentation_examples(*examples))
        if figures := figures_module(run.args):
            (saved,) = read_run(run.folder)
            figures.draw_run(saved, run.args.figures, model, dataset)


def test_and_save(run: Run, model, dataset: Dataset, history: History) -> None:
    """Write metrics.json, the test's predictions, the model, and history.csv again."""
    run.write_history(history)
    stopped_early = history.stopped is not None and len(history.rows) < run.args.epochs
    began = time.perf_counter()
    logits = predict(model, dataset.test_images, vars(run.args).get("test_flip", False))
    seconds = time.perf_counter() - began
    counts = count_confusions(dataset.test_labels, logits.argmax(axis=1))
    run.metrics = {
        "dataset": dataset.title,
        "rendered": dataset.rendered,
        "test_accuracy": float(np.trace(counts) / counts.sum()),
        "test_loss": cross_entropy(logits, dataset.test_labels),
        "parameters": model.count_params(),
        **final_measurements(history),
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
    write_arrays(
        run.folder / "test_predictions.npz",
        logits=logits.astype(np.float32),
        labels=dataset.test_labels,
    )
    save_model(run, model)
    remove_checkpoints(run.folder, kept=1)


def save_model(run: Run, model) -> None:
    """Write the network, as Keras or NumPy does."""
    with beside(run.folder / ("model.npz" if run.by_hand else "model.keras")) as partial:
        if run.by_hand:
            model.save(partial)
        else:
            from experiment.train.keras_loop import save_network

            save_network(model, partial)


def figures_module(args: argparse.Namespace) -> ModuleType | None:
    """What draws, or None where no figures are wanted, or, with a warning, none can be drawn."""
    if args.figures == "none":
        return None
    try:
        from experiment import figures  # not at the top: --help need not wait for matplotlib
    except ImportError as error:
        print(f"warning: no figures, because {error}", file=sys.stderr)
        return None
    return figures


def finish(experiment: Experiment) -> None:
    """Print the result, of all runs where there are several, and say where it is kept.

    Raises Interrupted at the end where training was stopped early, and UserError where one of
    several runs has failed.
    """
    if experiment.device.process:
        return
    dataset, args, runs = experiment.dataset, experiment.args, experiment.runs
    stopped = runs[-1].history.stopped
    failed = [run for run in runs if run.history.failure]
    for group in experiment.groups:
        if args.repeats > 1:
            summarise(group, dataset)
    elapsed = (datetime.now().astimezone() - args.started).total_seconds()
    training = sum(run.history.seconds for run in runs)
    if stopped:
        print(
            f"stopped after {len(runs[-1].history.rows)} whole epochs; what there was is saved, "
            f"and --resume {experiment.folder.name} goes on"
        )
    if len(args.combinations) > 1:
        print(report_sweep(experiment))
    elif tested(experiment.groups[0]):
        print(result_line(experiment.groups[0], dataset))
    print(f"{elapsed:.0f} s in all, {training:.0f} s of it training")
    print(f"results in {experiment.folder}", flush=True)
    refresh_after(experiment.folder)
    if args.show:
        show(experiment.folder / ("sweep.png" if len(args.combinations) > 1 else "curves.png"))
    if stopped:
        raise Interrupted(128 + stopped)
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {failed[0].history.failure}")


def tested(group: Group) -> list[Run]:
    """The runs that have a result. Those stopped early count only if there are no others."""
    runs = [run for run in group.runs if run.metrics]
    return [run for run in runs if not run.metrics["stopped_early"]] or runs


def result_line(group: Group, dataset: Dataset) -> str:
    """Test accuracy and loss in words."""
    runs, over = tested(group), ""
    if len(runs) > 1:
        over = f" (mean ± standard deviation over {len(runs)} seeds)"
    on = f" on {dataset.title}" if dataset.rendered else ""
    loss = mean(run.metrics["test_loss"] for run in runs)
    return f"test accuracy {spread(group, 'test_accuracy')}, loss {loss:.4f}{over}{on}"


def spread(group: Group, name: str) -> str:
    """A share as the mean over the group's runs, with the standard deviation of several."""
    shares = [run.metrics[name] for run in tested(group)]
    if None in shares or not shares:
        return "-"
    deviation = f" ± {stdev(shares):.2%}" if len(shares) > 1 else ""
    return f"{mean(shares):.2%}{deviation}"


def summarise(group: Group, dataset: Dataset) -> None:
    """Write metrics.json and curves.png over a group's seeds."""
    runs = tested(group)
    if not runs:
        return
    group.overview.write_json("metrics.json", summary(dataset, runs))
    if figures := figures_module(group.overview.args):
        figures.draw_run(read_group(group), group.overview.args.figures)
    if group.combination and all(run.metrics for run in group.runs):
        group.overview.unmark()


def read_group(group: Group) -> SavedRun:
    """What a group's runs have left, as a tool reads it; those that `tested` gives."""
    members = [saved for run in tested(group) for saved in read_run(run.folder)]
    folder = group.overview.folder
    if members[0].folder == folder:
        return members[0]
    config, metrics = (read_json(folder / name) for name in ("config.json", "metrics.json"))
    return SavedRun(folder, config, metrics, tuple(members))


def report_sweep(experiment: Experiment) -> str:
    """Write the table and the figure that compare the combinations of options; the table."""
    table = markdown_table([table_row(group) for group in experiment.groups])
    write_atomically(experiment.folder / "sweep.md", f"{table}\n".encode())
    if figures := figures_module(experiment.args):
        runs = [read_group(group) for group in experiment.groups if tested(group)]
        figures.draw_sweep(experiment.folder, runs)
    return table


def table_row(group: Group) -> dict[str, str]:
    """What a sweep's table says of one combination of options."""
    row = {key.replace("_", " "): as_typed(value) for key, value in group.combination.items()}
    runs = tested(group)
    if not runs:
        return row | {"test accuracy": "failed" if group.runs else "not run"}
    training = [run.metrics["training_accuracy"] for run in runs]
    validation = [run.metrics["validation_accuracy"] for run in runs]
    gap = "-"
    if None not in training + validation:
        gap = f"{100 * (mean(training) - mean(validation)):.2f}"
    return row | {
        "parameters": f"{runs[0].metrics['parameters']:,}",
        "training": spread(group, "training_accuracy"),
        "validation": spread(group, "validation_accuracy"),
        "gap, points": gap,
        "test accuracy": spread(group, "test_accuracy"),
        "test loss": f"{mean(run.metrics['test_loss'] for run in runs):.4f}",
        "training time": f"{mean(run.history.seconds for run in runs):.1f} s",
    }


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table with aligned columns; the longest row names the columns."""
    columns = list(max(rows, key=len))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        text.append(f"| {' | '.join(cells)} |")
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def final_measurements(history: History) -> dict[str, float | None]:
    """The last epoch's loss and accuracy on training and validation images, None without them."""
    last = history.rows[-1] if history.rows else {}
    parts = {"training": "", "validation": "validation_"}
    values = {
        f"{part}_{quantity}": last.get(f"{prefix}{quantity}", math.nan)
        for part, prefix in parts.items()
        for quantity in ("accuracy", "loss")
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


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
