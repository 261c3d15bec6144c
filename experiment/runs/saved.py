"""Saved runs: found by name and read back. All that a tool knows of a run comes from its folder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from common.data.load import Dataset, load
from common.errors import UserError, suggestion
from common.files import read_arrays, read_json
from common.networks.dense_numpy import DenseNetwork
from experiment.backend.device import prepare
from experiment.runs.folder import MARKER, History, read_history

# Without these a config.json is not one of ours.
NEEDED = "script recipe dataset title rendered fingerprint data_dir seed seeds combinations".split()


@dataclass(frozen=True, eq=False)
class SavedRun:
    """What a run left in its folder: one training, or with --repeats one for each seed."""

    folder: Path
    config: dict  # options, versions, data: see `runs.configuration`
    metrics: dict  # see `report.test_and_save`; of several seeds, `report.summary`
    members: tuple[SavedRun, ...] = ()  # with --repeats, the training of each seed

    @property
    def trainings(self) -> tuple[SavedRun, ...]:
        """The training of each seed: the run itself when there is only one."""
        return self.members or (self,)

    @property
    def by_hand(self) -> bool:
        """Whether the network is a `DenseNetwork`, and not one of Keras's."""
        return self.config.get("engine", "keras") != "keras"

    @cached_property
    def name(self) -> str:
        """The folder below the results folder: `mnist_cnn/mine`, `mnist_cnn/mine/blocks-1`.

        The folder's own name where it has been moved elsewhere.
        """
        parts = self.folder.parts
        if self.config["script"] not in parts:
            return self.folder.name
        script = len(parts) - 1 - parts[::-1].index(self.config["script"])
        return "/".join(parts[script:])

    @cached_property
    def history(self) -> History:
        """A row for each epoch that the result stands for, also while the run is trained further.

        Raises UserError where history.csv is missing or damaged.
        """
        rows, epochs = read_history(self.folder).rows, self.metrics.get("epochs")
        return History(rows[:epochs] if isinstance(epochs, int) else rows)

    @cached_property
    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Logits float32 (n, 10) and labels uint8 (n,) of the test images, in their order.

        Raises UserError where they are missing or damaged.
        """
        arrays = read_arrays(self.folder / "test_predictions.npz")
        logits, labels = arrays.get("logits"), arrays.get("labels")
        if logits is None or labels is None or logits.shape != (len(labels), 10):
            raise UserError(f"{self.folder / 'test_predictions.npz'} holds no predictions")
        return logits, labels

    def dataset(self) -> Dataset:
        """The images that the run was trained and tested on, before the split.

        Raises UserError where they are not to be had, or are others by now.
        """
        kind = "rendered" if self.config["rendered"] else "real"
        folder = self.config["data_dir"]
        if folder is not None and not Path(folder).is_dir():  # moved since
            folder = None
        dataset = load(self.config["dataset"], kind, folder, quiet=True)
        if dataset.fingerprint != self.config["fingerprint"]:
            raise UserError(f"{self.name} was trained on other images than {dataset.source} holds")
        return dataset

    def model(self):
        """The trained network; `predict(images)`, uint8 (n, 28, 28), gives logits (n, 10).

        Raises UserError where the file is missing, damaged, or more than a network.
        """
        if self.by_hand:
            arrays = list(read_arrays(self.folder / "model.npz").values())
            sizes = [784, *self.config["hidden"], 10]
            shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
            if [values.shape for values in arrays] != shapes:
                raise UserError(f"{self.folder / 'model.npz'} is not the network of {sizes} units")
            settings = {"rescale": self.config["rescale"]}
            return DenseNetwork(arrays, self.config["activation"], **settings)
        path = self.folder / "model.keras"
        if not path.is_file():
            raise UserError(f"{path} is missing: train again, or name another run")
        prepare()
        import keras

        try:
            # Keras refuses by itself to run code that a file brings with it.
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # whatever a damaged file makes Keras raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} cannot be loaded as a network: {reason}") from error


def read_run(folder: Path) -> list[SavedRun]:
    """What a script left in a folder: of a sweep the run of each combination, else one run.

    Of a sweep or of several seeds, those that did not end well are left out. Raises UserError where
    a file is missing or damaged, or where there is no result yet.
    """
    config = read_json(folder / "config.json")
    if missing := [key for key in NEEDED if key not in config]:
        raise UserError(f"{folder / 'config.json'} is no run's: it lacks {', '.join(missing)}")
    sweep, several_seeds = len(config["combinations"]) > 1, len(config["seeds"]) > 1
    if not (sweep or several_seeds):
        return [SavedRun(folder, config, read_metrics(folder))]
    places = (path.parent for path in folder.glob("*/metrics.json"))
    finished = [place for place in places if not (place / MARKER).exists()]
    members = [run for place in finished for run in read_run(place)]
    if not members:
        raise UserError(f"{folder} holds no finished run")
    if sweep:
        return sorted(members, key=lambda run: combination_number(run, config["combinations"]))
    members.sort(key=lambda run: run.config["seed"])
    return [SavedRun(folder, config, read_metrics(folder), tuple(members))]


def read_metrics(folder: Path) -> dict:
    """What the test gave. Raises UserError, with the reason, where it has not been reached."""
    marker = folder / MARKER
    if not (folder / "metrics.json").exists() and marker.exists():
        reason = marker.read_text(encoding="utf-8", errors="replace").strip()
        raise UserError(f"{folder} holds no result: {reason}")
    metrics = read_json(folder / "metrics.json")
    if not isinstance(metrics.get("test_accuracy"), float):
        raise UserError(f"{folder / 'metrics.json'} is damaged: it has no test accuracy")
    return metrics


def combination_number(run: SavedRun, combinations: list[dict]) -> int:
    """Which of a sweep's combinations of options a run had; the number of them for none."""
    for number, combination in enumerate(combinations):
        if all(run.config.get(key) == value for key, value in combination.items()):
            return number
    return len(combinations)


def find_run(text: str, results: Path) -> Path:
    """The folder that a person means: `latest`, a path, `script/name`, or a name alone.

    `latest` is the one started last that has a result. Raises UserError where there is none such,
    or where several scripts have one of that name.
    """
    if (Path(text) / "config.json").is_file():
        return Path(text).resolve()
    folders = run_folders(results)
    if text == "latest":
        for folder in folders:
            with contextlib.suppress(UserError):
                read_run(folder)
                return folder
        raise UserError(f"{results} holds no finished run: start one with python mnist_cnn.py")
    if (results / text / "config.json").is_file():  # script/name, also of a sweep's member
        return results / text
    found = [folder for folder in folders if folder.name == text]
    if len(found) > 1:
        names = " or ".join(f"{folder.parent.name}/{folder.name}" for folder in found)
        raise UserError(f"there are several runs {text!r}: say {names}")
    if not found:
        near = suggestion(text, [folder.name for folder in folders])
        raise UserError(f"there is no run {text!r} in {results}{near}")
    return found[0]


def find_network(text: str, results: Path) -> SavedRun:
    """The run that `text` names; of several seeds, still the one that holds them.

    Raises UserError where there is none, or where it is a sweep, which has no network of its own.
    """
    folder = find_run(text, results)
    runs = read_run(folder)
    if len(runs[0].config["combinations"]) > 1 or runs[0].folder != folder:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"{text} is a sweep of several networks: name one of {names}")
    return runs[0]


def run_folders(results: Path) -> list[Path]:
    """Every folder that a script left in the results folder, whatever its state, latest first."""
    folders = [path.parent for path in results.glob("*/*/config.json")]

    def started(folder: Path) -> str:
        try:
            return str(read_json(folder / "config.json").get("started", ""))
        except UserError:
            return ""

    return sorted(folders, key=lambda folder: (started(folder), folder.name), reverse=True)
