"""Several devices that share each batch, stood in for by parts of the processor."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same_state, only_backend, run_script

from experiment.runs.history import read_history

pytestmark = pytest.mark.slow

# Steps so short that a difference of rounding stays one. With longer ones it grows, where it
# decides which pixel of a pooling is the largest, or whether a ReLU lets a value through.
STEPS = "--data synthetic --images 1600 --validation 0.2 --batch-size 64 --figures none".split()
STEPS += "--optimizer momentum --learning-rate 0.002 --precision float32 --dropout 0".split()
# Batches are normalized in other ways by TensorFlow on several devices, with other rounding.
NETWORKS = {"strided": ("--epochs", 2), "deep": ("--filters", 4, "--epochs", 1, "--images", 400)}


@pytest.mark.parametrize(
    ("backend", "network"), [("tensorflow", "strided"), ("tensorflow", "deep"), ("jax", "deep")]
)
def test_several_devices_take_the_steps_of_one(backend, network, tmp_path):
    if not find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    environment = only_backend(backend, tmp_path)
    for devices in (1, 2):
        options = [*STEPS, *NETWORKS[network], "--network", network, "--devices", devices]
        place = ("--name", devices, "--results-dir", tmp_path)
        answer = run_script("mnist_cnn", *options, *place, env=environment)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert ("as 2 devices" in answer.stdout) == (devices == 2)
    folders = [tmp_path / "mnist_cnn" / f"{devices}-synthetic" for devices in (1, 2)]
    assert_same_state(*(next(one.glob("checkpoint-*")) for one in folders), within=1e-5)
    logits = [np.load(folder / "test_predictions.npz")["logits"] for folder in folders]
    np.testing.assert_allclose(*logits, atol=1e-4)
    for column in ("accuracy", "validation_accuracy"):
        columns = [read_history(folder).column(column) for folder in folders]
        np.testing.assert_allclose(*columns, atol=0.002)


def test_a_processor_in_use_is_not_split():
    code = (
        "from common.errors import one_line_errors\nfrom experiment.backend.device import prepare\n"
        "import tensorflow as tf; tf.zeros(3) + 1\n"
        "with one_line_errors(): prepare(devices=2)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert answer.returncode == 1
    assert "start a new one for --devices" in answer.stderr and "Traceback" not in answer.stderr
