"""Finished runs read back: what figures, gallery and tools know of a run."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, dataset

import mnist_dense
from common.errors import UserError
from common.files import read_json, write_json
from experiment.runs.saved import SavedRun
from tools.saved import load_dataset, load_model, read_runs

OLD = Path(__file__).with_name("old_results")  # as the version before this house left them


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of mnist_dense.py's runs: one, one with two seeds, and a sweep."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiment.run.load", lambda *arguments: dataset(300, 100))
        for name, options in (
            ("one", []),
            ("two", ["--repeats", "2"]),
            ("sweep", ["--activation", "tanh", "relu", "--repeats", "2"]),
        ):
            where = ["--name", name, "--results-dir", str(results)]
            mnist_dense.main([*QUICK, *options, *where])
    return results / "mnist_dense"


@pytest.fixture
def runs(finished, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(finished, tmp_path / "results" / "mnist_dense")


def test_a_saved_model_gives_the_saved_predictions(finished, tiny_data):
    (run,) = read_runs(finished / "one")
    logits, labels = run.predictions
    assert (labels == tiny_data.test_labels).all()
    assert (load_dataset(run).test_labels == labels).all()
    again = load_model(run).predict(tiny_data.test_images)
    np.testing.assert_allclose(again, logits, atol=1e-5)
    assert run.metrics["test_accuracy"] == (logits.argmax(axis=1) == labels).mean()
    assert [row["epoch"] for row in run.history.rows] == [1, 2]
    assert run.trainings == (run,) and run.custom_engine


def test_seeds_are_one_run_and_combinations_several(finished):
    (two,) = read_runs(finished / "two")
    assert [run.config["seed"] for run in two.trainings] == [1, 2]
    accuracies = [run.metrics["test_accuracy"] for run in two.trainings]
    assert two.metrics["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert two.metrics["test_accuracy_sd"] == pytest.approx(np.std(accuracies, ddof=1))
    tanh, relu = read_runs(finished / "sweep")
    assert (tanh.config["activation"], relu.config["activation"]) == ("tanh", "relu")
    assert tanh.name == "mnist_dense/sweep/activation-tanh"
    assert len(relu.trainings) == 2


def test_a_run_that_was_moved_has_its_folders_name(runs, tmp_path):
    shutil.move(runs / "one", tmp_path / "elsewhere")
    assert read_runs(tmp_path / "elsewhere")[0].name == "elsewhere"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seeds": [1]}', "\udcff", "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_damaged_numbers_are_one_line(runs, name, content):
    (runs / "one" / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=name):
        read_runs(runs / "one")


def test_while_a_run_is_trained_further_its_history_is_that_of_its_result(runs):
    (run,) = read_runs(runs / "one")
    assert len(run.history.rows) == run.metrics["epochs"]
    with (run.folder / "history.csv").open("a") as file:
        file.write("3,1,1,1,1,1,1\n")
    (again,) = read_runs(run.folder)
    assert again.history.rows == run.history.rows


@pytest.mark.parametrize("name", ["test_predictions.npz", "model.npz"])
@pytest.mark.parametrize("damage", ["missing", "short", "other"])
def test_damaged_arrays_are_one_line(runs, name, damage):
    """Whatever else may be wrong with such a file: see test_atomic_files.py."""
    path = runs / "one" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "short":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        np.savez(path, something=np.zeros(3))
    (run,) = read_runs(runs / "one")
    with pytest.raises(UserError, match=name):
        _ = load_model(run) if name == "model.npz" else run.predictions


def test_an_unfinished_run_says_why(runs):
    (runs / "one" / "metrics.json").unlink()
    (runs / "one" / "UNFINISHED").write_text("ended by KeyError: x")
    with pytest.raises(UserError, match="no result: ended by KeyError"):
        read_runs(runs / "one")


def test_of_several_runs_those_that_did_not_end_well_are_left_out(runs):
    (runs / "two" / "seed-1" / "UNFINISHED").write_text("the loss became nan")
    (two,) = read_runs(runs / "two")
    assert [run.config["seed"] for run in two.trainings] == [2]
    (runs / "two" / "seed-2" / "metrics.json").unlink()
    with pytest.raises(UserError, match="holds no finished run"):
        read_runs(runs / "two")


def test_other_images_than_those_trained_on_are_refused(runs, tiny_data):
    config = read_json(runs / "one" / "config.json")
    write_json(runs / "one" / "config.json", config | {"fingerprint": "1" * 64})
    with pytest.raises(UserError, match="other images"):
        load_dataset(read_runs(runs / "one")[0])


def test_runs_of_the_version_before_are_read():
    (run,) = read_runs(OLD / "mnist_dense" / "one-rendered")
    assert run.config["synthetic"] and run.metrics["synthetic"] and run.config["deterministic"]
    assert (run.metrics["test_accuracy"], run.config["hidden"]) == (0.218, (16,))
    assert run.history.column("epoch") == [1, 2] and run.custom_engine
    (plain,) = read_runs(OLD / "fashion_cnn_augment" / "plain-rendered")
    assert (plain.config["augmenter"], plain.config["flip"]) == ("none", True)
    for saved in (run, plain):
        assert not saved.config.keys() & {"rendered", "repeats_exactly", "augment"}


def test_the_images_of_a_run_of_the_version_before_are_the_synthetic_ones(monkeypatch):
    (run,) = read_runs(OLD / "mnist_dense" / "one-rendered")
    asked = []
    images = dataset(fingerprint=run.config["fingerprint"])
    monkeypatch.setattr("tools.saved.load", lambda *values, **_: asked.append(values) or images)
    assert load_dataset(run) is images
    assert asked == [("mnist", "synthetic", None)]


# ---- Models that bring code -------------------------------------------------------------------


def keras_file(path, change):
    """A small network's .keras file, with its config changed."""
    import keras

    keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten()]).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def lambda_layer(config):
    """A layer that brings its own code, marshalled, which only an unsafe loader would run."""
    layer = config["config"]["layers"][-1]
    layer["class_name"] = "Lambda"
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}
    layer["config"] = {"name": "bad", "function": code}


def system_call(config):
    """A function of another library where a layer should be."""
    layer = config["config"]["layers"][-1]
    layer |= {"module": "os", "class_name": "system", "config": {"command": "touch broken-in"}}


def script_of_another(config):
    """Another kind of object altogether."""
    config |= {"module": "builtins", "class_name": "exec", "config": {"source": "1"}}


@pytest.mark.parametrize("change", [lambda_layer, system_call, script_of_another])
def test_a_model_that_brings_code_is_refused_in_one_line(change, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run,) = read_runs(finished / "one")
    bad = SavedRun(tmp_path, run.config | {"engine": "keras"}, run.metrics)
    keras_file(tmp_path / "model.keras", change)
    with pytest.raises(UserError, match="cannot be loaded as a network") as refusal:
        load_model(bad)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_model_that_is_missing_is_one_line(finished, tmp_path):
    (run,) = read_runs(finished / "one")
    with pytest.raises(UserError, match=r"model\.keras is missing"):
        load_model(SavedRun(tmp_path, run.config | {"engine": "keras"}, run.metrics))
