"""Run folders written by hand, and synthetic images drawn once: so that tests of tools are fast."""

import contextlib
import functools
import json

import numpy as np
import pytest

from common.data import synthetic
from experiment.runs.history import COLUMNS

CONFIG = {
    "script": "mnist_cnn", "recipe": "default", "seed": 1, "seeds": [1], "combinations": [{}],
    "dataset": "mnist", "title": "MNIST", "synthetic": False, "fingerprint": "a" * 64,
    "data_dir": None, "blocks": 2, "rescale": True, "name": "x", "command_line": ["mnist_cnn.py"],
    "versions": {"numpy": "2"}, "platform": "Linux", "git_commit": "c", "device": "CPU, 2 cores",
}  # fmt: skip


def save_run(folder, accuracies=(0.9, 0.95), seconds=10, accuracy=0.9, logits=None, **changes):
    """A finished run, as small as can be.

    accuracies: of validation in each epoch; seconds: of training; accuracy: of the test; logits: of
    test images of the classes 0, 1, 2 ...; changes: what config.json holds beside CONFIG.
    """
    folder.mkdir(parents=True)
    if logits is not None:
        labels = np.arange(len(logits), dtype=np.uint8) % 10
        np.savez(folder / "test_predictions.npz", logits=logits, labels=labels)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
    config = CONFIG | {"script": folder.parent.name, "started": folder.name} | changes
    (folder / "config.json").write_text(json.dumps(config))
    metrics = {"test_accuracy": accuracy, "test_loss": 0.25, "parameters": 1234}
    metrics |= {"seconds": {"training": seconds}, "stopped_early": False}
    counts = np.zeros((10, 10), int)
    images = 10_000 if logits is None else len(logits)
    right = round(images * accuracy)
    counts[0, :2] = right, images - right
    metrics |= {"confusion_matrix": counts.tolist()}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [",".join(COLUMNS)]
    for epoch, validation in enumerate(accuracies, 1):
        row = [epoch, 2 * epoch, 0.001, 0.1 / epoch, 0.9, 1.05 - validation, validation]
        lines.append(",".join(map(str, row)))
    (folder / "history.csv").write_text("\n".join(lines))
    return folder


def save_seeds(folder, accuracies, **changes):
    """A finished run of several seeds, with the test accuracy of each."""
    seeds = list(range(1, len(accuracies) + 1))
    save_run(folder, accuracy=round(sum(accuracies) / len(accuracies), 4), seeds=seeds, **changes)
    for seed, accuracy in zip(seeds, accuracies, strict=True):
        member = save_run(folder / f"seed-{seed}", accuracy=accuracy)
        changes |= {"script": folder.parent.name, "seed": seed, "seeds": [seed]}
        change(member / "config.json", **changes)
    return folder


def change(path, **changes):
    """Change values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


synthetic_images = functools.cache(synthetic.synthesise)


@contextlib.contextmanager
def images_drawn_once():
    """Draw the synthetic images only once, which takes more than a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "synthesise", synthetic_images)
        yield
