"""The runs that a person names, and what is loaded for them: images and trained networks."""

import contextlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from common.data.dataset import Dataset
from common.data.load import load
from common.errors import UserError, suggestion
from common.files import absolute_path, read_arrays
from common.networks.dense_numpy import DenseNetwork
from experiment.backend.device import prepare
from experiment.runs.folder import read_config, started
from experiment.runs.saved import SavedRun, read_members, read_run
from experiment.train.fit import check_shapes


def run_folders(results: Path) -> list[Path]:
    """Every folder that a script left in the results folder, finished or not, latest first."""
    folders = [path.parent for path in results.glob("*/*/config.json")]
    return sorted(folders, key=lambda folder: (started(folder), folder.name), reverse=True)


def find_run(text: str, results: Path) -> Path:
    """The folder of the run that `text` names: `latest`, a path, `script/name`, or a name alone.

    `latest` is the last started one with a result. Raises UserError where there is no such run, or
    where several scripts have one of that name.
    """
    if (Path(text) / "config.json").is_file():
        return absolute_path(text)
    folders = run_folders(results)
    if text == "latest":
        for folder in folders:
            with contextlib.suppress(UserError):
                read_runs(folder)
                return folder
        raise UserError(f"{results} holds no finished run: start one with python mnist_cnn.py")
    if (results / text / "config.json").is_file():  # script/name, also of one run of a sweep
        return results / text
    found = [folder for folder in folders if folder.name == text]
    if len(found) > 1:
        names = " or ".join(f"{folder.parent.name}/{folder.name}" for folder in found)
        raise UserError(f"several runs are named {text!r}: choose {names}")
    if not found:
        names = [folder.name for folder in folders]
        near = suggestion(text, names) or f"; the newest: {', '.join(names[:5]) or 'none'}"
        raise UserError(f"there is no run {text!r} in {results}{near}")
    return found[0]


def find_network(text: str, results: Path) -> SavedRun:
    """The run that `text` names; with several seeds, the one that holds them all.

    Raises UserError where there is none, or where it is a sweep, which has several networks.
    """
    folder = find_run(text, results)
    runs = read_runs(folder)
    if runs[0].folder != folder:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"{text} is a sweep of several networks: name one of {names}")
    return runs[0]


def read_runs(folder: Path) -> list[SavedRun]:
    """What a script left in a folder: of a sweep the run of each combination, else one run.

    Of a sweep or of several seeds, those that did not end well are left out. Raises UserError where
    a file is missing or damaged, or where there is no result yet.
    """
    combinations = read_config(folder)["combinations"]
    if len(combinations) <= 1:
        return [read_run(folder)]

    def number(run: SavedRun) -> int:
        """Which of the combinations the run had; their number for none."""
        for number, combination in enumerate(combinations):
            if all(run.config.get(key) == value for key, value in combination.items()):
                return number
        return len(combinations)

    return sorted(read_members(folder), key=number)


def load_dataset(run: SavedRun) -> Dataset:
    """The images that the run was trained and tested on, before the split.

    Raises UserError where they are not to be had, or are others by now.
    """
    kind = "synthetic" if run.config["synthetic"] else "real"
    folder = run.config["data_dir"]
    if folder is not None and not Path(folder).is_dir():  # moved since
        folder = None
    dataset = load(run.config["dataset"], kind, folder, quiet=True)
    if dataset.fingerprint != run.config["fingerprint"]:
        raise UserError(f"{run.name} was trained on other images than {dataset.source} holds")
    return dataset


def load_model(run: SavedRun):
    """The trained network; `predict(images)`, uint8 (n, 28, 28), gives logits (n, 10).

    Raises UserError where the file is missing, damaged, or more than a network.
    """
    if run.custom_engine:
        path, model = run.folder / "model.npz", load_dense_network(run)
    else:
        path = run.folder / "model.keras"
        model = load_keras_model(path)
    if model.count_params() != run.metrics["parameters"]:
        raise UserError(f"{path} is not the network of {run.name}: it has other parameters")
    return model


def load_dense_network(run: SavedRun) -> DenseNetwork:
    """The network in a model.npz. Raises UserError where it is not the one of the options."""
    path, config = run.folder / "model.npz", run.config
    arrays = list(read_arrays(path).values())
    sizes = [784, *config.get("hidden", ()), 10]
    shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
    finite = all(values.dtype.kind == "f" and np.isfinite(values).all() for values in arrays)
    if not finite or [values.shape for values in arrays] != shapes:
        raise UserError(f"{path} is not the network of {sizes} units")
    activation, rescale = config.get("activation", "relu"), config.get("rescale", True)
    return DenseNetwork(arrays, activation, rescale=rescale)


def load_keras_model(path: Path):
    """The network in a model.keras. Raises UserError where it is not one for these images."""
    if not path.is_file():
        raise UserError(f"{path} is missing: train again, or name another run")
    prepare()
    import keras

    try:
        # Keras refuses by itself to run code that a file brings with it.
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        check_shapes(model)
        return model
    except Exception as error:  # whatever a damaged file makes Keras raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} cannot be loaded as a network: {reason}") from error
