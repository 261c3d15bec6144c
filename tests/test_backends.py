"""The scripts on Keras's other backends, without TensorFlow."""

import json
from importlib.util import find_spec

import pytest
from conftest import assert_same_state, kill_after_epoch, only_backend, only_run, run_script

pytestmark = pytest.mark.slow

SHORT = ("--data", "synthetic", "--epochs", 2, "--images", 1000, "--batch-size", 50)


@pytest.fixture(params=["jax", "torch"])  # the other tests run on TensorFlow
def environment(request, tmp_path_factory):
    """The environment of a script that is to run on one backend."""
    if not find_spec(request.param):
        pytest.skip(f"{request.param} is not installed")
    return only_backend(request.param, tmp_path_factory.mktemp("hidden"))


def assert_whole(folder, environment, figures):
    """That a run has left all that it would on TensorFlow, and has learned; its metrics.

    After two epochs, what batch normalization has averaged for the test may still be far off.
    """
    wanted = {"curves", "confusion_matrix", "mistakes", "calibration", "filters", "augmentation"}
    wanted |= {"training_frames"}
    assert {path.stem for path in folder.glob("*.png")} == wanted | figures
    config, metrics = (
        json.loads((folder / name).read_text()) for name in ("config.json", "metrics.json")
    )
    assert config["backend"] == environment["KERAS_BACKEND"]
    assert metrics["training_accuracy"] > 0.6
    return metrics


def test_a_convolutional_network_leaves_the_same_folder(environment, tmp_path):
    answer = run_script("fashion_cnn_augment", *SHORT, "--results-dir", tmp_path, env=environment)
    assert (answer.returncode, answer.stderr) == (0, "")
    folder = only_run(tmp_path, "fashion_cnn_augment")
    assert_whole(folder, environment, {"feature_maps", "attention"})


def test_a_run_that_is_killed_ends_the_same(environment, tmp_path):
    options = [*SHORT, "--epochs", 4, "--results-dir", tmp_path]
    whole = run_script("mnist_dense", *options, "--name", "whole", env=environment)
    assert (whole.returncode, whole.stderr) == (0, "")
    kill_after_epoch(1, "mnist_dense", *options, "--name", "cut", env=environment)
    again = ("--resume", "latest", "--figures", "none", "--results-dir", tmp_path)
    answer = run_script("mnist_dense", *again, env=environment)
    assert answer.returncode == 0, answer.stderr
    assert "resuming after epoch" in answer.stdout
    cut, whole = (tmp_path / "mnist_dense" / f"{name}-synthetic" for name in ("cut", "whole"))
    assert assert_whole(whole, environment, set())["test_accuracy"] > 0.7
    assert_same_state(cut / "checkpoint-4.npz", whole / "checkpoint-4.npz")
