"""The real scripts: in this process on a tiny dataset, and, slowly, as people run them."""

import csv
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import mean, stdev

import numpy as np
import pytest
from conftest import BACKENDS, REPOSITORY, SCRIPTS, dataset, needs_real_data, only_run, run_script
from sklearn.metrics import log_loss
from tiny import press_ctrl_c

from common.data.load import load
from common.errors import UserError
from experiment.options import SETTINGS
from experiment.runs.folder import MARKER
from experiment.train.recorder import Recorder
from tools.rerun import differing_columns

OF_EVERY_CALL = {".lock", "config.json", "script.py"}
OF_EVERY_RUN = {"history.csv", "metrics.json", "network.md", "report.html", "test_predictions.npz"}
OF_EVERY_RUN |= OF_EVERY_CALL
FIGURES = {"curves.png", "confusion_matrix.png", "calibration.png", "mistakes.png", "filters.png"}
OF_AUGMENTATION = {"augmentation.npz", "augmentation.png"}
OF_CONVOLUTIONS = {"feature_maps.png", "attention.png"}
FILM = {"film.npz", "training.gif", "training_frames.png"}
FILES = OF_EVERY_RUN | FIGURES | OF_AUGMENTATION | FILM | {"model.keras", "checkpoint-1.npz"}

# One epoch over the synthetic images: enough to pass through all of a script.
SHORT = ("--data", "synthetic", "--epochs", 1)
NUMPY = ("--engine", "numpy", "--hidden", 16, "--epochs", 2, "--figures", "none")

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has neither the call nor its kind")


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def json_in(folder, name="metrics"):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def exit_status(run):
    """With which status a script's main() ends the process."""
    with pytest.raises(SystemExit) as stop:
        run()
    return stop.value.code


def settings_of(run):
    """A run's settings as text, by which several processes see whether theirs are the same."""
    return json.dumps({name: vars(run.args)[name] for name in SETTINGS if name in run.args})


@pytest.fixture
def run_main(monkeypatch, tmp_path):
    """Calls a script's main() on 400 images, with its results in `tmp_path`."""
    tiny = dataset(400, 100, title="MNIST (synthetic)", synthetic=True)
    monkeypatch.setattr("experiment.run.load", lambda *_: tiny)

    def call(script, *options):
        module = importlib.import_module(script)
        return module.main([*map(str, options), "--results-dir", str(tmp_path)])

    return call


@pytest.mark.parametrize(
    ("script", "changes", "kind"),
    [
        ("mnist_dense", {"hidden": "16"}, "Flatten"),
        ("mnist_cnn", {"filters": 4, "optimizer": "momentum"}, "Conv2D"),
        pytest.param(
            *("fashion_cnn_augment", {"filters": 4, "erase": 8, "test_flip": True}, "Conv2D"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_changed_recipe_and_a_layer_more_change_the_default_run(
    script, changes, kind, run_main, tmp_path, monkeypatch, capsys
):
    """A whole run in Keras: what it prints, keeps and gives back."""
    import keras

    module = importlib.import_module(script)
    build, plain = module.build_model, []

    def deeper(args):
        model = build(args)
        plain.append(model.count_params())
        last = model.layers[-1]
        model.pop()
        model.add(keras.layers.Dense(7))
        model.add(type(last).from_config(last.get_config()))
        return model

    monkeypatch.setattr(module, "build_model", deeper)
    default = module.RECIPES["default"] | changes | {"epochs": 1, "batch_size": 80}
    monkeypatch.setattr(module, "RECIPES", module.RECIPES | {"default": default})
    run = run_main(script, "--figures", "curves", "--precision", "float32")

    assert run.folder == only_run(tmp_path, script) and run.folder.name.endswith("-synthetic")
    assert names_in(run.folder) == FILES - FIGURES - FILM - {"augmentation.png"} | {"curves.png"}
    config, metrics = json_in(run.folder, "config"), json_in(run.folder)
    given = {name: config[name] for name in changes if name != "hidden"}
    assert given.items() <= changes.items()
    assert config["epochs"] == 1 and config["synthetic"] and metrics["synthetic"]
    with (run.folder / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["validation_accuracy"]) == metrics["validation_accuracy"]
    assert len(metrics["per_class"]) == 10 and sum(map(sum, metrics["confusion_matrix"])) == 100

    # What main() gives back is what the folder holds.
    assert json_in(run.folder) == run.metrics and run.history.column("epoch") == [1]
    assert metrics["parameters"] == run.model.count_params() != plain[0]
    assert kind in {type(layer).__name__ for layer in run.model.layers}
    saved = keras.saving.load_model(run.folder / "model.keras")
    assert all(map(np.array_equal, saved.get_weights(), run.model.get_weights()))
    data = run.dataset
    logits = run.model(data.test_images).numpy()
    if "test_flip" in changes:
        logits = (logits + run.model(data.test_images[:, :, ::-1]).numpy()) / 2
    with np.load(run.folder / "test_predictions.npz") as predictions:
        assert predictions["logits"] == pytest.approx(logits, abs=1e-4)
        assert (predictions["labels"] == data.test_labels).all()
    right = (logits.argmax(axis=1) == data.test_labels).mean()
    assert metrics["test_accuracy"] == pytest.approx(right)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["data", "device", "recipe", "network"]
    assert f"network: {metrics['parameters']:,} parameters" in lines[3]
    assert "Dense 7 > Dense 10" in " ".join(map(str.strip, lines[4:-4]))
    assert lines[-4].startswith("epoch 1/1") and len(lines) <= 12
    assert f"test accuracy {right:.2%}" in lines[-3] and "(synthetic)" in lines[-3]
    assert lines[-1] == f"results in {run.folder}"


def test_a_softmax_at_the_end_makes_no_difference(run_main, monkeypatch, capsys):
    import keras

    import mnist_dense

    build, runs = mnist_dense.build_model, []
    for activation in ("softmax", None):

        def edited(args, activation=activation):
            model = build(args)
            model.pop()
            model.add(keras.layers.Dense(10, activation, dtype="float32"))
            return model

        monkeypatch.setattr(mnist_dense, "build_model", edited)
        runs.append(run_main("mnist_dense", "--hidden", 16, "--epochs", 2, "--figures", "none"))
        told = "note: the softmax at the network's end is left out" in capsys.readouterr().out
        assert told == bool(activation)
    for one, other in zip(runs[0].model.get_weights(), runs[1].model.get_weights(), strict=True):
        assert np.array_equal(one, other)
    first, second = ({**run.metrics, "seconds": 0} for run in runs)
    assert first | {"peak_memory_bytes": 0} == second | {"peak_memory_bytes": 0}
    saved = keras.saving.load_model(runs[0].folder / "model.keras")
    logits = saved.predict(runs[0].dataset.test_images, verbose=0)
    assert np.abs(logits.sum(axis=1) - 1).max() > 0.1  # no probabilities


def test_a_recipe_more_can_be_chosen(run_main, monkeypatch, capsys):
    import mnist_dense

    mine = {"about": "my own", "engine": "numpy", "hidden": [8, (8, 8)], "epochs": 1, "shift": 0}
    monkeypatch.setattr(mnist_dense, "RECIPES", mnist_dense.RECIPES | {"mine": mine})
    runs = run_main("mnist_dense", "--recipe", "mine", "--figures", "curves")
    assert (runs[0].folder.parent / "sweep.png").is_file()
    assert all((run.folder / "curves.png").is_file() for run in runs)
    assert [run.metrics["parameters"] for run in runs] == [785 * 8 + 90, 785 * 8 + 72 + 90]
    assert exit_status(lambda: run_main("mnist_dense", "--help")) == 0
    assert "my own" in capsys.readouterr().out
    monkeypatch.setitem(mine, "epochs", -1)
    assert exit_status(lambda: run_main("mnist_dense", "--recipe", "mine")) == 2
    assert "the recipe mine: must be a whole number from 0" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["tensorflow", "numpy"])
def test_an_engine_from_scratch_leaves_the_same_folder(engine, run_main, capsys):
    options = (*NUMPY, "--engine", engine, "--epochs", 8, "--learning-rate", 0.01)
    run = run_main("mnist_dense", *options, "--quiet")
    kept = OF_EVERY_RUN | {"augmentation.npz", "model.npz", "checkpoint-8.npz"}
    assert names_in(run.folder) == kept
    assert run.metrics["test_accuracy"] > 0.6
    assert run.metrics["parameters"] == 785 * 16 + 17 * 10
    with np.load(run.folder / "model.npz") as saved:
        assert all(map(np.array_equal, saved.values(), map(np.asarray, run.model.parameters)))
    answer = capsys.readouterr()
    assert answer.err == "" and len(answer.out.splitlines()) == 3


def test_repeats_give_a_run_for_each_seed_and_their_mean(run_main, tmp_path, capsys):
    options = (*NUMPY, "--figures", "curves", "--repeats", 2, "--seed", 5, "--name", "twice")
    runs = run_main("mnist_dense", *options)
    folder = tmp_path / "mnist_dense" / "twice-synthetic"
    own = {"metrics.json", "report.html", "curves.png"}
    assert names_in(folder) == OF_EVERY_CALL | own | {"seed-5", "seed-6"}
    assert [run.folder for run in runs] == [folder / "seed-5", folder / "seed-6"]
    each = [json_in(run.folder)["test_accuracy"] for run in runs]
    overview = json_in(folder)
    assert each[0] != each[1]
    assert overview["seeds"] == [5, 6] and overview["test_accuracy_of_each"] == each
    assert overview["test_accuracy"] == pytest.approx(mean(each))
    assert overview["test_accuracy_sd"] == pytest.approx(stdev(each))
    assert "±" in capsys.readouterr().out.splitlines()[-3]


def test_a_sweep_leaves_a_run_for_each_combination_and_a_table(run_main, tmp_path, capsys):
    options = (*NUMPY, "--activation", "relu", "tanh", "--batch-size", 50, 100)
    runs = run_main("mnist_dense", *options)
    folder = only_run(tmp_path, "mnist_dense")
    members = [
        f"activation-{activation}_batch-size-{size}"
        for activation in ("relu", "tanh")
        for size in (50, 100)
    ]
    assert names_in(folder) == OF_EVERY_CALL | {"sweep.md", *members}
    assert [run.folder for run in runs] == [folder / member for member in members]
    for run in runs:
        assert names_in(run.folder) >= OF_EVERY_RUN - {".lock", "script.py"} | {"model.npz"}
        config = json_in(run.folder, "config")
        name = f"activation-{config['activation']}_batch-size-{config['batch_size']}"
        assert name == run.folder.name
    output = capsys.readouterr().out
    table = (folder / "sweep.md").read_text(encoding="utf-8")
    lines = table.splitlines()
    assert table in output and len(lines) == 9
    assert " | -" in lines[2] and lines[7].startswith("A gap below 0 is no mistake")
    for number, member in enumerate(members):
        row = table.splitlines()[2 + number]
        words = member.replace("batch-size", "batch size").replace("_", ", ").replace("-", " ")
        assert f"--- {words}" in output and words.split()[1].rstrip(",") in row
        assert f"{100 * runs[number].metrics['test_accuracy']:.2f}" in row


def test_ctrl_c_saves_all_that_was_reached_and_resuming_ends_the_same(
    run_main, tmp_path, monkeypatch, capsys
):
    options = (*NUMPY, "--epochs", 4)
    whole = run_main("mnist_dense", *options, "--name", "whole")
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, epoch=2, batch=0)
        cut = lambda: run_main("mnist_dense", *options, "--name", "cut")  # noqa: E731
        assert exit_status(cut) == 128 + signal.SIGINT
    folder = tmp_path / "mnist_dense" / "cut-synthetic"
    answer = capsys.readouterr()
    assert "stopping as soon as everything is saved" in answer.err
    line = "stopped after epoch 2; everything is saved, and --resume cut-synthetic"
    assert line in answer.out
    metrics = json_in(folder)
    assert metrics["stopped_early"] and metrics["epochs"] == 2
    kept = names_in(whole.folder) - {"checkpoint-4.npz"} | {"checkpoint-2.npz", MARKER}
    assert names_in(folder) == kept
    assert "stopped on request" in (folder / MARKER).read_text()

    run = run_main("mnist_dense", "--resume", "latest")
    assert run.folder == folder and "resuming after epoch 2" in capsys.readouterr().out
    assert settings_of(run) == settings_of(whole)
    assert names_in(folder) == names_in(whole.folder)
    assert not differing_columns(run.history, whole.history)
    for values, same in zip(run.model.parameters, whole.model.parameters, strict=True):
        assert np.array_equal(values, same)


def test_ctrl_c_ends_a_sweep_and_its_other_runs_are_resumed(
    run_main, tmp_path, monkeypatch, capsys
):
    options = (*NUMPY, "--name", "sweep", "--batch-size", 50, 100, 200)
    batches = iter(range(1000))

    def interrupted(recorder, number, logs=None):
        if next(batches) == 20:  # of 8 and of 4 in each of two epochs
            signal.raise_signal(signal.SIGINT)
        original(recorder, number, logs)

    original = Recorder.on_train_batch_end
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_batch_end", interrupted)
        assert exit_status(lambda: run_main("mnist_dense", *options)) == 130
    folder = tmp_path / "mnist_dense" / "sweep-synthetic"
    members = [folder / f"batch-size-{size}" for size in (50, 100, 200)]
    assert [(member / MARKER).exists() for member in members[:2]] == [False, True]
    assert not members[2].exists() and (folder / MARKER).exists()
    # A member that was stopped does not look as if it still ran.
    assert "stopped on request" in (members[1] / MARKER).read_text()
    assert (folder / "sweep.md").read_text().count("\n| ") == 3

    runs = run_main("mnist_dense", "--resume", "sweep-synthetic")
    assert [run.folder for run in runs] == members
    assert "--- batch size 50: finished before" in capsys.readouterr().out
    assert all(json_in(member)["epochs"] == 2 for member in members)
    assert not [*folder.rglob(MARKER)]


def test_a_loss_that_is_not_finite_is_one_line_and_keeps_the_folder(run_main, tmp_path, capsys):
    options = (*NUMPY, "--optimizer", "sgd", "--learning-rate", 1e30)
    assert exit_status(lambda: run_main("mnist_dense", *options)) == 1
    answer = capsys.readouterr()
    assert answer.err.count("\n") == 1 and answer.err.startswith("error: ")
    assert "in epoch 1: lower --learning-rate (it was 1e+30)" in answer.err
    marker = (only_run(tmp_path, "mnist_dense") / MARKER).read_text()
    assert "became" in marker and "ended by" in marker


def test_of_a_sweep_the_runs_that_do_not_fail_are_kept(run_main, tmp_path, capsys):
    options = (*NUMPY, "--optimizer", "sgd", "--learning-rate", 1e30, 0.1, "--repeats", 2)
    assert exit_status(lambda: run_main("mnist_dense", *options)) == 1
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 3 and all(line.startswith("warning: ") for line in warnings[:2])
    assert warnings[2].startswith("error: 2 of 4 runs failed: ")
    folder = only_run(tmp_path, "mnist_dense")
    table = (folder / "sweep.md").read_text(encoding="utf-8").splitlines()
    assert "failed" in table[2] and "±" in table[3]
    kept = folder / "learning-rate-0.1"
    assert json_in(kept)["seeds"] == [1, 2] and not (kept / MARKER).exists()
    assert "became" in (folder / "learning-rate-1e+30" / "seed-1" / MARKER).read_text()


def test_a_run_that_ends_by_an_error_is_resumed_after_its_last_epoch(
    run_main, tmp_path, monkeypatch, capsys
):
    whole = run_main("mnist_dense", *NUMPY, "--name", "whole")

    class PowerCut(Exception):
        pass

    def on_epoch_begin(recorder, epoch, logs=None):
        if epoch == 1:
            raise PowerCut("of the whole street")
        original(recorder, epoch, logs)

    original = Recorder.on_epoch_begin
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_epoch_begin", on_epoch_begin)
        with pytest.raises(PowerCut):
            run_main("mnist_dense", *NUMPY, "--name", "cut")
    folder = tmp_path / "mnist_dense" / "cut-synthetic"
    assert "ended by PowerCut: of the whole street" in (folder / MARKER).read_text()
    capsys.readouterr()
    run = run_main("mnist_dense", "--resume", "latest", "--quiet")
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert run.folder == folder and names_in(folder) == names_in(whole.folder)
    for values, same in zip(run.model.parameters, whole.model.parameters, strict=True):
        assert np.array_equal(values, same)


def test_a_data_folder_without_data_is_one_line_and_with_debug_a_traceback(tmp_path, capsys):
    import mnist_cnn

    argv = ["--data-dir", str(tmp_path / "nowhere"), "--results-dir", str(tmp_path)]
    assert exit_status(lambda: mnist_cnn.main(argv)) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "nowhere" in line
    with pytest.raises(UserError, match="nowhere"):
        mnist_cnn.main([*argv, "--debug"])
    assert not [*tmp_path.glob("mnist_cnn/*")]


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """A process without the data and without a network."""
    monkeypatch.setattr("common.data.load.DATASETS_FOLDER", tmp_path / "none")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    return tmp_path / "results"


def test_real_data_that_is_nowhere_is_one_line(no_data, capsys):
    import mnist_cnn

    argv = ["--data", "real", "--results-dir", str(no_data)]
    assert exit_status(lambda: mnist_cnn.main(argv)) == 1
    answer = capsys.readouterr()
    assert answer.err.count("\n") == 1 and "--data-dir" in answer.err
    assert answer.out.count("downloading") == 2


def test_a_results_folder_that_cannot_be_written_is_one_line(run_main, tmp_path, capsys):
    folder = tmp_path / "results"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # the superuser may write anywhere but to such places
        folder = "/proc" if os.name != "nt" else "nul"
    import mnist_dense

    argv = ["--data", "synthetic", "--results-dir", str(folder)]
    assert exit_status(lambda: mnist_dense.main(argv)) == 1
    answer = capsys.readouterr()
    assert answer.err.count("\n") == 1 and "--results-dir" in answer.err
    assert answer.out == ""


# Slow from here on: other networks in Keras, and the scripts as processes.


@pytest.mark.slow
def test_a_sweep_in_keras_has_all_figures_of_each_run(run_main, tmp_path):
    options = ("--network", "pooled", "two_convolutions", "--filters", 4, "--no-rescale")
    runs = run_main("mnist_cnn", *options, "--epochs", 1, "--seed", 1, 2)
    folder = only_run(tmp_path, "mnist_cnn")
    members = {"network-pooled", "network-two_convolutions"}
    assert names_in(folder) == OF_EVERY_CALL | {"sweep.md", "sweep.png"} | members
    for run in runs:
        assert names_in(run.folder) == (FILES | OF_CONVOLUTIONS) - {".lock", "script.py"}
        assert '"sweep"' in (run.folder / "report.html").read_text(encoding="utf-8")
        assert run.metrics["parameters"] > 1000


@pytest.mark.slow
def test_garments_can_be_augmented_by_keras(run_main):
    options = ("--recipe", "image_data_generator", "--filters", 4, "--epochs", 1)
    run = run_main("fashion_cnn_augment", *options)
    assert names_in(run.folder) == (FILES | OF_CONVOLUTIONS) - FILM  # it has no validation images


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_leaves_a_whole_folder_wherever_it_is_started(script, tmp_path):
    """From another folder, in a path with spaces and other letters, without a home or a screen."""
    import keras

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
    assert names_in(folder) == FILES | (set() if script == "mnist_dense" else OF_CONVOLUTIONS)
    for picture in folder.glob("*.png"):
        assert 5_000 < picture.stat().st_size < 300_000

    # Without a screen, --show costs one line, and nothing else is on stderr.
    # (Beside TensorFlow's remark on its own graph, which comes and goes.)
    (line,) = [line for line in answer.stderr.splitlines() if "ParallelMapDataset" not in line]
    assert "no screen" in line
    lines = answer.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["data", "device", "recipe", "network"]
    assert lines[-4].startswith("epoch 1/1")
    assert lines[-1] == f"results in {folder}"
    assert folder.name.endswith("-synthetic") and "(synthetic)" in lines[-3]

    metrics = json_in(folder)
    assert metrics["synthetic"] and metrics["test_accuracy"] > 0.5
    assert f"test accuracy {metrics['test_accuracy']:.2%}" in lines[-3]
    images = load(json_in(folder, "config")["dataset"], "synthetic")
    model = keras.saving.load_model(folder / "model.keras")
    right = model.predict(images.test_images, verbose=0).argmax(axis=1) == images.test_labels
    assert metrics["test_accuracy"] == pytest.approx(right.mean())


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS[:2])
@pytest.mark.parametrize(
    "end", ['layers.Dense(10, activation="softmax")', "layers.Dense(10), layers.Softmax()"]
)
def test_a_tutorial_s_network_with_a_softmax_is_tested_as_it_should_be(end, backend, tmp_path):
    """An image with a channel and a softmax at the end, as every tutorial has it."""
    if not find_spec(backend):  # importing TensorFlow would change the environment of the script
        pytest.skip(f"{backend} is not installed")
    for package in ("common", "experiment"):
        shutil.copytree(REPOSITORY / package, tmp_path / package)
    text = (REPOSITORY / "mnist_cnn.py").read_text()
    before, _, after = text.partition("    if args.network != ")
    network = "[Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.Conv2D(8, 5, strides=2), "
    network += f"layers.Flatten(), {end}]"
    main = after[after.index("def main(") :]
    script = f"{before}    return Sequential({network})\n\n\n{main}"
    script = script.replace("    from common.networks import convolutional\n", "")
    (tmp_path / "mnist_cnn.py").write_text(script)
    environment = os.environ | {"KERAS_BACKEND": backend}
    answer = run_script("mnist_cnn", *SHORT, repository=tmp_path, env=environment)
    assert (answer.returncode, answer.stderr) == (0, "")
    note = "note: the softmax at the network's end is left out: loss and tests take logits"
    assert answer.stdout.splitlines()[3] == note
    folder = only_run(tmp_path / "results", "mnist_cnn")
    assert names_in(folder) == FILES | OF_CONVOLUTIONS
    metrics = json_in(folder)
    with np.load(folder / "test_predictions.npz") as predictions:
        logits, labels = predictions["logits"].astype(float), predictions["labels"]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert metrics["test_loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-3)
    assert metrics["test_accuracy"] > 0.8 and metrics["test_loss"] < 0.8
    assert probabilities.max(axis=1).mean() == pytest.approx(metrics["test_accuracy"], abs=0.15)


@pytest.mark.slow
def test_without_data_and_network_the_stand_ins_are_announced(no_data):
    """And the options that the other runs here leave alone."""
    if (REPOSITORY / "datasets").exists():
        pytest.skip("there is a datasets/ folder here")
    options = ("--epochs", 1, "--augmenter", "none", "--validation", 0, "--quiet")
    answer = run_script("fashion_cnn_augment", *options, "--results-dir", no_data)
    assert answer.returncode == 0
    assert "THIS IS NOT FASHION-MNIST" in answer.stderr
    assert len(answer.stdout.splitlines()) == 3 and "synthetic" in answer.stdout.splitlines()[-1]
    folder = only_run(no_data, "fashion_cnn_augment")
    assert names_in(folder) == (FILES | OF_CONVOLUTIONS) - OF_AUGMENTATION - FILM
    with (folder / "history.csv").open() as file:
        assert [row["validation_accuracy"] for row in csv.DictReader(file)] == ["nan"]


@pytest.mark.slow
def test_the_numpy_engine_loads_neither_tensorflow_nor_keras(tmp_path):
    options = ["--engine", "numpy", *map(str, SHORT), "--results-dir", str(tmp_path)]
    code = (
        f"import sys, mnist_dense\nmnist_dense.main({options!r})\n"
        "loaded = {'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert (answer.returncode, answer.stderr) == (0, "")
    folder = only_run(tmp_path, "mnist_dense")
    assert names_in(folder) == FILES - {"model.keras"} | {"model.npz"}
    assert json_in(folder)["test_accuracy"] > 0.6


@pytest.mark.slow
@posix_only
def test_ctrl_c_ends_a_script_without_a_traceback(tmp_path):
    command = [sys.executable, REPOSITORY / "mnist_dense.py", "--data", "synthetic"]
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
    assert "everything is saved" in output
    folder = only_run(tmp_path, "mnist_dense")
    metrics = json_in(folder)
    checkpoint = {f"checkpoint-{metrics['epochs']}.npz"}
    assert names_in(folder) == FILES - {"checkpoint-1.npz"} | checkpoint | {MARKER}
    assert metrics["stopped_early"] and 2 <= metrics["epochs"] < 500


@pytest.mark.slow
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
    assert json_in(folder)["test_accuracy"] > 0.5
    assert names_in(folder) == OF_EVERY_RUN - {"report.html"} | {MARKER, "film.npz"}


@pytest.mark.slow
def test_a_notebook_runs_a_script_and_shows_the_curves(tmp_path):
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        code = (
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
            "import mnist_dense\n"
            "run = mnist_dense.main(['--data', 'synthetic', '--epochs', '1', '--hidden', '16',"
            f" '--show', '--results-dir', {str(tmp_path)!r}])\n"
            "assert run.model.count_params() == run.metrics['parameters']"
        )
        shown = []
        reply = client.execute_interactive(code, timeout=200, output_hook=shown.append)
        assert reply["content"]["status"] == "ok", reply["content"]
        page, picture = [m["content"]["data"] for m in shown if m["msg_type"] == "display_data"]
        assert 'src="index.html"' in page["text/html"] and "image/png" in picture
        script = REPOSITORY / "mnist_dense.py"
        # A wrong option, and an error later on, are one line, without advice on how to leave.
        for code, line in (
            (f"%run {str(script)!r} --epochs -1", "must be a whole number from 0 to"),
            ("mnist_dense.main('--epochs -1')", "must be a whole number from 0 to"),
            ("mnist_dense.main('--resume nonsense')", "error: there is no run 'nonsense'"),
        ):
            shown.clear()
            client.execute_interactive(code, timeout=60, output_hook=shown.append)
            (error,) = [m["content"] for m in shown if m["msg_type"] == "error"]
            (shown_line,) = error["traceback"]
            assert line in shown_line and "\n" not in shown_line
            assert not [m for m in shown if m["msg_type"] in ("stream", "display_data")]
        shown.clear()
        client.execute_interactive("mnist_dense.main('--help')", output_hook=shown.append)
        assert "--learning-rate" in str(shown) and "To exit" not in str(shown)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


@pytest.mark.slow
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
    metrics = json_in(only_run(tmp_path, script))
    assert not metrics["synthetic"]
    assert metrics["test_accuracy"] >= accuracy
    assert sum(map(sum, metrics["confusion_matrix"])) == 10_000
    assert metrics["seconds"]["training"] < time.perf_counter() - began
