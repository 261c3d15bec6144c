"""What several tests need: a tiny dataset, options, and the scripts run for real."""

import argparse
import importlib
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawn_digits import start_browser
from common.data.dataset import Dataset
from common.errors import UserError
from common.files import write_json
from experiment import command_line
from experiment.backend.device import Device
from experiment.report import final_measurements
from experiment.run import open_experiment
from experiment.runs.history import write_history

REPOSITORY = Path(__file__).resolve().parent.parent
BACKENDS = ("tensorflow", "jax", "torch")
SCRIPTS = ("mnist_dense", "mnist_cnn", "fashion_cnn_augment")
QUICK = "--engine numpy --hidden 8 --epochs 2 --figures none --quiet".split()  # of mnist_dense
DEVICE = Device("CPU, 2 cores", "there is nothing else", "tensorflow")

needs_real_data = pytest.mark.skipif(
    not os.environ.get("MNIST_DATA_DIR"), reason="MNIST_DATA_DIR does not say where the data is"
)


@pytest.fixture(autouse=True)
def font_cache(request):
    """Let matplotlib list the fonts before a script does: the first time it may warn of that."""
    if request.node.get_closest_marker("slow"):
        import matplotlib.font_manager  # noqa: F401


@pytest.fixture(autouse=True)
def usual_log_level(monkeypatch):
    """Keep from the scripts that a test starts what tf2onnx makes of TensorFlow's level."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)


@pytest.fixture(autouse=True)
def float32():
    """Keep from the next test the precision that this one has chosen."""
    yield
    if keras := sys.modules.get("keras"):
        keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; without one, the test is skipped."""
    try:
        browser = start_browser(1280, 900)
    except UserError as error:
        pytest.skip(str(error))
    yield browser
    browser.quit()


# ---- In this process ------------------------------------------------------------------------


def dataset(train=4, test=4, **changes) -> Dataset:
    """A few images: noise with a bright pair of rows where the label says, so easy to learn."""
    labels = np.arange(train + test, dtype=np.uint8) % 10
    images = np.random.default_rng(0).integers(0, 50, (train + test, 28, 28)).astype(np.uint8)
    for row in (0, 1):
        images[np.arange(train + test), labels * 2 + row] = 255
    values = {
        "name": "mnist",
        "title": "MNIST",
        "class_names": tuple("0123456789"),
        "train_images": images[:train],
        "train_labels": labels[:train],
        "test_images": images[train:],
        "test_labels": labels[train:],
        "source": "a test",
        "fingerprint": "0" * 64,
        "synthetic": False,
    }
    return Dataset(**values | changes)


@pytest.fixture
def tiny_data(monkeypatch) -> Dataset:
    """The dataset that the scripts and saved runs load in this test: 300 and 100 images."""
    tiny = dataset(300, 100)
    for module in ("experiment.run", "tools.saved"):
        monkeypatch.setattr(f"{module}.load", lambda *arguments, **keywords: tiny)
    return tiny


@pytest.fixture
def experiment(tiny_data):
    """Opens an experiment of mnist_dense.py on the tiny dataset, for the runs to be made up."""

    def experiment(results: Path, *argv: object):
        script = importlib.import_module("mnist_dense")
        quick = ["--quiet"] if "--resume" in argv else QUICK
        argv = [*quick, "--results-dir", str(results), *map(str, argv)]
        return open_experiment(script.__file__, "", "mnist", script.RECIPES, script.OPTIONS, argv)

    return experiment


def finish(run, epochs=2, **changes) -> None:
    """Leave in a run's folder what training and testing would."""
    run.history.rows = [row(epoch) for epoch in range(1, epochs + 1)]
    run.metrics = final_measurements(run.history) | {"test_accuracy": 0.9, "test_loss": 0.1}
    run.metrics |= {"epochs": epochs, "parameters": 10, "stopped_early": False}
    run.metrics |= {"seconds": {"training": 1.0}} | changes
    write_history(run.folder, run.history)
    write_json(run.folder / "metrics.json", run.metrics)


def parse(script: str, *argv: object) -> argparse.Namespace:
    """A script's own options, as its main() would see them."""
    module = importlib.import_module(script)
    argv = list(map(str, argv))
    return command_line.parse(module.__file__, module.__doc__, module.RECIPES, module.OPTIONS, argv)


def options(results: Path, **changes) -> argparse.Namespace:
    """Options of mnist_dense.py, some of them as tests like them: seed 3, no augmentation."""
    values = vars(parse("mnist_dense", "--results-dir", results))
    values |= {"epochs": 2, "hidden": (32, 16), "shift": 0, "seed": 3, "quiet": True, "given": []}
    values["started"] = datetime(2026, 11, 21, 9, 30, 0, tzinfo=UTC)
    values |= changes
    seeds = range(values["seed"], values["seed"] + values["repeats"])
    return argparse.Namespace(**values | {"seeds": changes.get("seeds", list(seeds))})


def row(epoch: int, **changes) -> dict[str, float]:
    """An epoch's row of history."""
    values = {"epoch": epoch, "seconds": 1.5, "learning_rate": 1e-3}
    values |= {"loss": 0.1 / epoch, "accuracy": 0.9}
    return values | {"validation_loss": 0.3, "validation_accuracy": 1 / 3} | changes


# ---- As processes ---------------------------------------------------------------------------


def run_script(script: str, *options: object, repository: Path = REPOSITORY, **keywords):
    """Run a script to its end as a person would, and give what it printed and its status."""
    command = [sys.executable, str(repository / f"{script}.py"), *map(str, options)]
    keywords.setdefault("env", os.environ)
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=280, **keywords
    )


def only_backend(name: str, folder: Path) -> dict[str, str]:
    """An environment in which Keras runs on one backend, and no other one is installed.

    Modules that stand in for the others are put into `folder`.
    """
    for other in {*BACKENDS} - {name}:
        missing = f'raise ModuleNotFoundError("there is no {other}", name={other!r})'
        (folder / f"{other}.py").write_text(missing)
    return os.environ | {"KERAS_BACKEND": name, "PYTHONPATH": str(folder)}


def start_script(script: str, *options: object, **keywords) -> subprocess.Popen:
    """Start a script, and do not wait for it."""
    command = [sys.executable, str(REPOSITORY / f"{script}.py"), *map(str, options)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, encoding="utf-8", **pipes, **keywords)


def kill_after_epoch(epoch: int, script: str, *options: object, **keywords) -> None:
    """Start a script, and kill it once an epoch's checkpoint is there."""
    process = start_script(script, *options, **keywords)
    results = Path(options[options.index("--results-dir") + 1]) / script
    name = options[options.index("--name") + 1]
    wait_for(process, results, f"{name}*/checkpoint-{epoch}.npz")
    process.kill()
    process.communicate()


def wait_for(process: subprocess.Popen, folder: Path, pattern: str) -> None:
    """Wait until a file is there, as long as the process runs that is to write it."""
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def assert_same_state(path: Path, other: Path, within: float = 0) -> None:
    """That two checkpoints hold the same weights, and the same of optimizer and dropout.

    Or that two other files of arrays are the same.
    """
    states = [np.load(path), np.load(other)]
    names = set(states[0].files) - {"history"}
    assert names and names == set(states[1].files) - {"history"}
    for name in names:
        assert states[0][name].shape == states[1][name].shape
        np.testing.assert_allclose(states[0][name], states[1][name], rtol=0, atol=within)


def only_run(results: Path, script: str) -> Path:
    """The one run folder that a script has left."""
    (folder,) = (results / script).iterdir()
    return folder
