"""Saved runs read back: all that figures, gallery and tools know of a run comes from its folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import read_arrays
from experiment.runs.folder import MARKER, read_config, read_metrics
from experiment.runs.history import History, read_history


@dataclass(frozen=True, eq=False)
class SavedRun:
    """What a run left in its folder: one training, or with --repeats one for each seed."""

    folder: Path
    config: dict  # options, versions, data: see `configuration`
    metrics: dict  # see `experiment/report.py`
    members: tuple["SavedRun", ...] = ()  # with --repeats, the training of each seed

    @property
    def trainings(self) -> tuple["SavedRun", ...]:
        """The training of each seed: the run itself when there is only one."""
        return self.members or (self,)

    @property
    def test_accuracies(self) -> list[float]:
        """The test accuracy of each seed."""
        return [training.metrics["test_accuracy"] for training in self.trainings]

    @property
    def custom_engine(self) -> bool:
        """Whether the network is a `DenseNetwork`, and not one of Keras's."""
        return self.config.get("engine", "keras") != "keras"

    @property
    def name(self) -> str:
        """`mnist_cnn/mine`, `mnist_cnn/mine/blocks-1`; the folder's name where it was moved."""
        script = self.config["script"]
        _, found, below = f"/{self.folder.as_posix()}".rpartition(f"/{script}/")
        return f"{script}/{below}" if found else self.folder.name

    @cached_property
    def history(self) -> History:
        """A row for each epoch that the result stands for, also while the run is trained further.

        Raises UserError where history.csv is missing or damaged.
        """
        rows, epochs = read_history(self.folder).rows, self.metrics.get("epochs", 0)
        if len(rows) < epochs:
            raise UserError(f"{self.folder / 'history.csv'} is damaged: it lacks epochs")
        return History(rows[:epochs] if "epochs" in self.metrics else rows)

    @cached_property
    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Logits float32 (n, 10) and labels uint8 (n,) of the test images, in their order.

        Raises UserError where they are missing or damaged.
        """
        path = self.folder / "test_predictions.npz"
        arrays = read_arrays(path)
        logits, labels = (arrays.get(name, np.zeros(0)) for name in ("logits", "labels"))
        kinds, shapes = (logits.dtype.kind, labels.dtype.kind), (logits.shape, labels.shape)
        if kinds != ("f", "u") or shapes != ((len(labels), 10), (len(labels),)):
            raise UserError(f"{path} holds no predictions")
        accuracy = (logits.argmax(axis=1) == labels).mean()
        if labels.max() > 9 or not abs(accuracy - self.metrics["test_accuracy"]) < 1e-6:
            raise UserError(f"{path} is damaged, or of another run: the test accuracy is another")
        return logits, labels


def read_run(folder: Path) -> SavedRun:
    """A training, or with its members one of several seeds, without those that did not end well.

    Raises UserError where a file is missing or damaged, or where there is no result yet.
    """
    config = read_config(folder)
    members = read_members(folder) if len(config["seeds"]) > 1 else []
    members.sort(key=lambda run: run.config["seed"])
    return SavedRun(folder, config, read_metrics(folder), tuple(members))


def read_members(folder: Path) -> list[SavedRun]:
    """The runs below a folder that ended well. Raises UserError where there is none."""
    places = [path.parent for path in folder.glob("*/metrics.json")]
    members = [read_run(place) for place in places if not (place / MARKER).exists()]
    if not members:
        raise UserError(f"{folder} holds no finished run")
    return members
