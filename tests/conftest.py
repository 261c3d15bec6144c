"""What several tests need: the scripts run for real, and the real data where there is some."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
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


def only_run(results: Path, script: str) -> Path:
    """The one run folder that a script has left."""
    (folder,) = (results / script).iterdir()
    return folder
