"""What several tests need: the scripts run for real, and the real data where there is some."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BACKENDS = ("tensorflow", "jax", "torch")
SCRIPTS = ("mnist_dense", "mnist_cnn", "fashion_cnn_augment")

needs_real_data = pytest.mark.skipif(
    not os.environ.get("MNIST_DATA_DIR"), reason="MNIST_DATA_DIR does not say where the data is"
)


@pytest.fixture(scope="session", autouse=True)
def font_cache():
    """Let matplotlib list the fonts now: the first time it may warn that this takes a while."""
    import matplotlib.font_manager

    return matplotlib.font_manager.fontManager


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
