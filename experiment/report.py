"""The end of a training: test once, save the numbers, save the model, then draw."""

import importlib
import math
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np

from common.augment import augmentation_examples, predict
from common.console import warn
from common.data.dataset import Dataset
from common.files import atomic_path, write_arrays, write_json
from common.networks.dense_numpy import cross_entropy_and_softmax
from experiment.runs.checkpoints import remove_checkpoints
from experiment.runs.history import History, write_history
from experiment.runs.run import Run
from experiment.runs.saved import read_run
from experiment.train.recorder import stop_requests


def report(model, data: Dataset, run: Run) -> None:
    """Test `model`, which gives logits (n, 10), and save all that the run should keep.

    The test set is used here and nowhere else. Figures come last: one that fails is a warning.
    Ctrl-C waits until everything is saved. What a failed training had reached is saved, but not
    tested. Of several processes that train together, the first one reports.
    """
    if run.device.process:
        return
    if run.history.failure:
        if run.history.rows:
            save_model(run, model)
        return
    with stop_requests(run.history):
        write_history(run.folder, run.history)
        began = time.perf_counter()
        logits = predict(model, data.test_images, vars(run.args).get("test_flip", False))
        seconds = time.perf_counter() - began
        run.model, run.metrics = model, measure(model, data, run, logits, seconds)
        write_json(run.folder / "metrics.json", run.metrics)
        arrays = {"logits": logits.astype(np.float32), "labels": data.test_labels}
        write_arrays(run.folder / "test_predictions.npz", **arrays)
        save_model(run, model)
        remove_checkpoints(run.folder, kept=1, best=run.history.kept)
        if run.augmentation:
            images, labels = data.train_images, data.train_labels
            examples = augmentation_examples(images, labels, run.augmentation, run.args.seed)
            write_arrays(run.folder / "augmentation.npz", **examples)
        if figures := figures_module(run.args):
            figures.draw_run(read_run(run.folder), run.args.figures, model, data)


def measure(model, data: Dataset, run: Run, logits: np.ndarray, seconds: float) -> dict:
    """What metrics.json says; `logits` (n, 10) of the test images took so many seconds."""
    history, labels, answers = run.history, data.test_labels, logits.argmax(axis=1)
    confusions = np.zeros((10, 10), int)  # true classes in rows, predicted ones in columns
    np.add.at(confusions, (labels, answers), 1)
    wrong = {*np.flatnonzero(answers != labels).tolist()}
    return {
        "dataset": data.title,
        "synthetic": data.synthetic,
        "test_accuracy": float(np.trace(confusions) / confusions.sum()),
        "test_loss": cross_entropy_and_softmax(logits.astype(np.float64), labels)[0],
        "parameters": model.count_params(),
        **final_measurements(history),
        "epochs": len(history.rows),
        "kept_epoch": history.kept,
        "out_of_patience": history.out_of_patience,
        "stopped_early": history.stopped is not None and len(history.rows) < run.args.epochs,
        "seconds": {
            "data": round(data.seconds, 3),
            "training": round(history.seconds, 3),
            "evaluation": round(seconds, 3),
        },
        "peak_memory_bytes": peak_memory(),
        "unconfirmed_mistakes": [index for index in data.unconfirmed if index in wrong],
        "per_class": per_class_metrics(confusions, data.class_names),
        "confusion_matrix": confusions.tolist(),
    }


def save_model(run: Run, model) -> None:
    """Write the network, as Keras or NumPy does."""
    if not run.custom_engine:
        from experiment.train.keras_loop import copy_of

        # Without optimizer and loss: a third of the size, and nothing but Keras to load it.
        model = copy_of(model)
    with atomic_path(run.folder / f"model.{'npz' if run.custom_engine else 'keras'}") as partial:
        model.save(partial)


def figures_module(args: Namespace) -> ModuleType | None:
    """The module that draws; None with `--figures none`, or with a warning if its import fails."""
    if args.figures == "none":
        return None
    try:
        return importlib.import_module("experiment.figures")  # --help need not wait for matplotlib
    except ImportError as error:
        warn(f"no figures, because {error}")
        return None


def final_measurements(history: History) -> dict[str, float | None]:
    """The kept epoch's loss and accuracy on training and validation images, None without them."""
    last = history.rows[(history.kept or 0) - 1] if history.rows else {}
    known = {name: value for name, value in last.items() if math.isfinite(value)}
    return {
        f"{part}_{quantity}": known.get(f"{prefix}{quantity}")
        for part, prefix in (("training", ""), ("validation", "validation_"))
        for quantity in ("accuracy", "loss")
    }


def per_class_metrics(confusions: np.ndarray, class_names: tuple[str, ...]) -> dict[str, dict]:
    """Precision and recall of each class; 0 where a class was never predicted or never there."""
    right = np.diag(confusions)
    precision = (right / np.maximum(confusions.sum(axis=0), 1)).tolist()
    recall = (right / np.maximum(confusions.sum(axis=1), 1)).tolist()
    classes = zip(class_names, precision, recall, strict=True)
    return {name: {"precision": precise, "recall": found} for name, precise, found in classes}


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def show(picture: Path) -> None:
    """Show a saved picture below the cell of a notebook; elsewhere a browser shows the gallery."""
    if "ipykernel" in sys.modules and picture.exists():
        from IPython.display import Image, display

        display(Image(filename=picture))
