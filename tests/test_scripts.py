"""The real scripts, run as people run them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import pytest
from conftest import REPOSITORY, SCRIPTS, needs_real_data, only_run, run_script

from common.data.load import load
from experiment.runs.folder import MARKER

# One epoch over the rendered images: enough to pass through all of a script.
SHORT = ("--data", "rendered", "--epochs", "1")
FILES = {"config.json", "history.csv", "metrics.json", "model.keras"}
FILES |= {"test_predictions.npz", "curves.png", "confusion_matrix.png", "calibration.png"}
AUGMENTATION_FILES = {"augmentation.npz", "augmentation.png"}
FILES |= {"mistakes.png", "filters.png", "checkpoint-1.npz"} | AUGMENTATION_FILES
CNN_FILES = {"feature_maps.png", "attention.png"}

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has neither the call nor its kind")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_run_leaves_a_whole_folder_wherever_it_is_started(script, tmp_path):
    """From another folder, in a path with spaces and other letters, without a home or a screen."""
    elsewhere = tmp_path / "Übung mit Bildern"
    repository = elsewhere / "repo"
    for package in ("common", "experiment"):
        shutil.copytree(REPOSITORY / package, repository / package)
    shutil.copy(REPOSITORY / f"{script}.py", repository)
    hidden = ("HOME", "USERPROFILE", "DISPLAY", "WAYLAND_DISPLAY", "KERAS_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    answer = run_script(
        script, *SHORT, "--show", repository=repository, cwd=elsewhere, env=environment
    )
    assert answer.returncode == 0, answer.stderr
    folder = only_run(repository / "results", script)
    more = set() if script == "mnist_dense" else CNN_FILES
    assert {path.name for path in folder.iterdir()} == FILES | more
    for picture in folder.glob("*.png"):
        assert 5_000 < picture.stat().st_size < 300_000

    # Without a screen, --show costs one line, and nothing else is on stderr.
    assert answer.stderr.count("\n") == 1 and "no screen" in answer.stderr
    lines = answer.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["data", "device", "recipe"]
    assert lines[3].startswith("epoch 1/1")
    assert lines[-1] == f"results in {folder}"
    assert folder.name.endswith("-rendered") and "(rendered)" in lines[-3]

    metrics = metrics_of(folder)
    assert metrics["rendered"] and metrics["test_accuracy"] > 0.5
    assert f"test accuracy {metrics['test_accuracy']:.2%}" in lines[-3]
    assert len(metrics["per_class"]) == 10
    assert sum(map(sum, metrics["confusion_matrix"])) == 2000
    with (folder / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["rendered"] and config["epochs"] == 1

    dataset = load(config["dataset"], "rendered")
    model = keras.saving.load_model(folder / "model.keras")
    right = model.predict(dataset.test_images, verbose=0).argmax(axis=1) == dataset.test_labels
    assert metrics["test_accuracy"] == pytest.approx(right.mean())


def test_repeats_give_a_run_for_each_seed_and_their_mean(tmp_path):
    options = ("--repeats", 2, "--seed", 5, "--hidden", 32, "--name", "twice")
    answer = run_script("mnist_dense", *SHORT, *options, "--results-dir", tmp_path)
    assert answer.returncode == 0, answer.stderr
    folder = tmp_path / "mnist_dense" / "twice-rendered"
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "metrics.json", "curves.png", "seed-5", "seed-6")
    }
    each = [metrics_of(folder / f"seed-{seed}")["test_accuracy"] for seed in (5, 6)]
    overview = metrics_of(folder)
    assert each[0] != each[1]
    assert overview["test_accuracy_of_each"] == each
    assert overview["test_accuracy"] == pytest.approx(sum(each) / 2)
    assert overview["test_accuracy_sd"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
    assert "±" in answer.stdout.splitlines()[-3]


@posix_only
def test_ctrl_c_saves_what_there_is(tmp_path):
    command = [sys.executable, REPOSITORY / "mnist_dense.py", "--data", "rendered"]
    command += ["--epochs", "500", "--results-dir", tmp_path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch   2/500"):
                process.send_signal(signal.SIGINT)
                break
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "what there was is saved" in output
    folder = only_run(tmp_path, "mnist_dense")
    metrics = metrics_of(folder)
    checkpoint = {f"checkpoint-{metrics['epochs']}.npz"}
    wanted = FILES - {"checkpoint-1.npz"} | checkpoint | {MARKER}
    assert {path.name for path in folder.iterdir()} == wanted
    assert metrics["stopped_early"] and 2 <= metrics["epochs"] < 500


def one_line(answer, status):
    """The one line of stderr with which a script has ended."""
    assert answer.returncode == status, answer.stderr
    assert answer.stderr.count("\n") == 1, answer.stderr
    return answer.stderr


@pytest.fixture
def no_data(tmp_path):
    """An environment without the data and without a network."""
    if (REPOSITORY / "datasets").exists():
        pytest.skip("there is a datasets/ folder here")
    dead_end = "http://127.0.0.1:9"
    environment = os.environ | {"http_proxy": dead_end, "https_proxy": dead_end}
    environment |= {"KERAS_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment.pop("MNIST_DATA_DIR", None)
    return environment


def test_real_data_that_is_nowhere_is_one_line(no_data):
    answer = run_script("mnist_cnn", "--data", "real", env=no_data)
    assert "--data-dir" in one_line(answer, 1)
    assert answer.stdout.count("downloading") == 2


def test_without_data_and_network_the_stand_ins_are_announced(no_data, tmp_path):
    """And the options that the other runs here leave alone."""
    options = ("--epochs", 1, "--no-augment", "--validation", 0, "--quiet")
    answer = run_script(
        "fashion_cnn_augment", *options, "--results-dir", tmp_path / "results", env=no_data
    )
    assert answer.returncode == 0
    assert "THIS IS NOT FASHION-MNIST" in answer.stderr
    assert len(answer.stdout.splitlines()) == 3 and "rendered" in answer.stdout.splitlines()[-1]
    folder = only_run(tmp_path / "results", "fashion_cnn_augment")
    wanted = (FILES | CNN_FILES) - AUGMENTATION_FILES
    assert {path.name for path in folder.iterdir()} == wanted
    with (folder / "history.csv").open() as file:
        assert [row["validation_accuracy"] for row in csv.DictReader(file)] == ["nan"]


@pytest.mark.parametrize("engine", ["tensorflow", "numpy"])
def test_an_engine_by_hand_leaves_the_same_folder(engine, tmp_path):
    answer = run_script("mnist_dense", *SHORT, "--engine", engine, "--results-dir", tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    folder = only_run(tmp_path, "mnist_dense")
    assert {path.name for path in folder.iterdir()} == FILES - {"model.keras"} | {"model.npz"}
    assert metrics_of(folder)["test_accuracy"] > 0.6


def test_a_sweep_leaves_a_run_for_each_value_a_table_and_an_overlay(tmp_path):
    options = ("--blocks", 1, 2, "--network", "pooled", "two_convolutions", "--images", 600)
    answer = run_script("mnist_cnn", *SHORT, *options, "--no-rescale", "--results-dir", tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    folder = only_run(tmp_path, "mnist_cnn")
    members = {
        f"network-{network}_blocks-{blocks}"
        for network in ("pooled", "two_convolutions")
        for blocks in (1, 2)
    }
    own = {"config.json", "sweep.md", "sweep.png"}
    assert {path.name for path in folder.iterdir()} == own | members
    for member in members:
        assert {path.name for path in (folder / member).iterdir()} >= FILES
        assert metrics_of(folder / member)["parameters"] > 1000
    assert (folder / "sweep.md").read_text(encoding="utf-8") in answer.stdout


def test_garments_can_be_varied_by_keras(tmp_path):
    options = ("--recipe", "image_data_generator", "--images", 1000, "--results-dir", tmp_path)
    answer = run_script("fashion_cnn_augment", *SHORT, *options)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert (only_run(tmp_path, "fashion_cnn_augment") / "augmentation.png").exists()


def test_debug_shows_the_traceback(tmp_path):
    answer = run_script("mnist_cnn", "--data-dir", tmp_path / "nowhere", "--debug")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr and "UserError" in answer.stderr


def test_a_data_folder_without_data_is_one_line(tmp_path):
    answer = run_script("mnist_cnn", "--data-dir", tmp_path / "nowhere")
    assert "nowhere" in one_line(answer, 1)


def test_a_results_folder_that_cannot_be_written_is_one_line(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the superuser may write anywhere but to such places
        folder = "/proc" if os.name != "nt" else "nul"
    answer = run_script("mnist_dense", *SHORT, "--results-dir", folder)
    assert "--results-dir" in one_line(answer, 1)
    assert answer.stdout == ""


def test_a_loss_that_is_no_number_is_one_line_and_keeps_the_folder(tmp_path):
    options = ("--optimizer", "sgd", "--learning-rate", 1e9, "--results-dir", tmp_path)
    answer = run_script("mnist_dense", *SHORT, *options)
    assert "in epoch 1: lower --learning-rate" in one_line(answer, 1)
    folder = only_run(tmp_path, "mnist_dense")
    assert "the loss became" in (folder / MARKER).read_text()


@posix_only
def test_a_full_disk_is_one_error_and_what_was_written_stays_whole(tmp_path):
    import resource

    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    answer = run_script(
        "mnist_dense", *SHORT, "--results-dir", tmp_path, preexec_fn=small_files_only
    )
    warning, error = answer.stderr.splitlines()
    assert "checkpoint-1.npz" in warning and "training goes on" in warning
    assert answer.returncode == 1 and error.startswith("error: ") and "model.keras" in error
    folder = only_run(tmp_path, "mnist_dense")
    assert metrics_of(folder)["test_accuracy"] > 0.5
    names = {path.name for path in folder.iterdir()}
    small = {"config.json", "history.csv", "metrics.json", "test_predictions.npz"}
    assert names == small | {MARKER}


def test_a_notebook_runs_a_script_and_shows_the_curves(tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        code = (
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
            "import mnist_dense\n"
            f"mnist_dense.main(['--data', 'rendered', '--epochs', '1', '--hidden', '16',"
            f" '--show', '--results-dir', {str(tmp_path)!r}])"
        )
        shown = []
        reply = client.execute_interactive(code, timeout=200, output_hook=shown.append)
        assert reply["content"]["status"] == "ok", reply["content"]
        pictures = [m for m in shown if m["msg_type"] == "display_data"]
        assert len(pictures) == 1 and "image/png" in pictures[0]["content"]["data"]
        script = REPOSITORY / "mnist_dense.py"
        wrong = client.execute_interactive(
            f"%run {str(script)!r} --epochs 0", timeout=60, output_hook=shown.append
        )
        assert "whole number from 1" in str(shown[-4:]), wrong
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


@needs_real_data
@pytest.mark.parametrize(
    ("script", "epochs", "accuracy"),
    [("mnist_dense", 2, 0.965), ("mnist_cnn", 1, 0.97), ("fashion_cnn_augment", 1, 0.80)],
)
def test_a_short_training_on_real_data_reaches_its_accuracy(script, epochs, accuracy, tmp_path):
    began = time.perf_counter()
    answer = run_script(script, "--data", "real", "--epochs", epochs, "--results-dir", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    metrics = metrics_of(only_run(tmp_path, script))
    assert not metrics["rendered"]
    assert metrics["test_accuracy"] >= accuracy
    assert sum(map(sum, metrics["confusion_matrix"])) == 10_000
    assert metrics["seconds"]["training"] < time.perf_counter() - began
