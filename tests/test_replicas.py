"""Several devices that share each batch, stood in for by parts of the processor."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import REPOSITORY, assert_same_state, only_backend, run_script
from test_runs import dataset

from common.errors import UserError
from experiment.backend.device import NUMPY_DEVICE, Device, count_devices
from experiment.runs.folder import read_history
from experiment.train.training import Batches

# Steps so short that a difference of rounding stays one. With longer ones it grows, where it
# decides which pixel of a pooling is the largest, or whether a ReLU lets a value through.
STEPS = "--data rendered --images 1600 --validation 0.2 --batch-size 64 --figures none".split()
STEPS += "--optimizer momentum --learning-rate 0.002 --precision float32 --dropout 0".split()
# Batches are normalised in other ways by TensorFlow on several devices, with other rounding.
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
    folders = [tmp_path / "mnist_cnn" / f"{devices}-rendered" for devices in (1, 2)]
    assert_same_state(*(next(one.glob("checkpoint-*")) for one in folders), within=1e-5)
    logits = [np.load(folder / "test_predictions.npz")["logits"] for folder in folders]
    np.testing.assert_allclose(*logits, atol=1e-4)
    for column in ("accuracy", "validation_accuracy"):
        columns = [read_history(folder).column(column) for folder in folders]
        np.testing.assert_allclose(*columns, atol=0.002)


def shared(images, batch_size, processes):
    """What each process's Batches hold of one epoch."""
    labels = np.arange(len(images)) % 10
    settings = {"backend": "jax", "count": 2 * processes, "processes": processes}
    return [
        Batches(images, labels, batch_size, 1, None, Device("", "", process=process, **settings))
        for process in range(processes)
    ]


def test_the_shares_of_a_batch_are_the_batch():
    images = np.arange(106, dtype=np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)
    alone = Batches(images, np.arange(106) % 10, 20, 1, None, NUMPY_DEVICE)
    parts = shared(images, 20, 2)
    assert [len(batches) for batches in (alone, *parts)] == [6, 6, 6]
    for number in range(6):
        for whole, *shares in zip(alone[number], *(one[number] for one in parts), strict=True):
            # The last six images are two more than four devices can share evenly.
            assert np.array_equal(whole[: 4 if number == 5 else 20], np.concatenate(shares))


def test_batches_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(UserError, match="4 devices cannot share 18 images evenly"):
        shared(dataset().train_images, 18, 2)
    with pytest.raises(UserError, match="4 devices cannot share all images evenly"):
        shared(dataset().train_images[:3], "all", 2)


def test_devices_are_counted():
    assert count_devices([], None, "tensorflow") == 1
    assert count_devices(["a", "b", "c"], None, "jax") == 3
    assert count_devices(["a", "b", "c"], 2, "jax") == 2
    assert count_devices(["a", "b", "c"], None, "jax", 128) == 2
    assert count_devices(["a", "b", "c"], None, "jax", [96, 120, "all"]) == 3
    assert count_devices(["a", "b", "c"], None, "jax", [96, 128]) == 2
    assert count_devices([], None, "jax", 128) == 1
    assert count_devices(["a", "b"], None, "torch") == 1
    with pytest.raises(UserError, match="finds 2 GPU"):
        count_devices(["a", "b"], 3, "tensorflow")
    with pytest.raises(UserError, match="KERAS_BACKEND"):
        count_devices(["a", "b"], 2, "torch")


def test_a_processor_in_use_is_not_divided():
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
