import json
import shutil
import zipfile

import numpy as np
import pytest
from conftest import run_script

from common.errors import UserError
from common.files import read_arrays, read_json
from experiment.runs.saved import find_run, read_run, run_folders

QUICK = "--data rendered --engine numpy --epochs 2 --images 300 --hidden 16 --quiet".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with a run, one with two seeds, and a sweep."""
    results = tmp_path_factory.mktemp("results")
    for name, options in (
        ("one", []),
        ("two", ["--repeats", "2"]),
        ("sweep", ["--activation", "tanh", "relu", "--repeats", "2"]),
    ):
        answer = run_script(
            "mnist_dense", *QUICK, *options, "--name", name, "--results-dir", results
        )
        assert answer.returncode == 0, answer.stderr
    return results


@pytest.fixture
def results(finished, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(finished, tmp_path / "results")


def test_a_saved_model_gives_the_saved_predictions(finished):
    (run,) = read_run(finished / "mnist_dense" / "one-rendered")
    logits, labels = run.predictions
    dataset = run.dataset()
    assert (labels == dataset.test_labels).all()
    again = run.model().predict(dataset.test_images)
    np.testing.assert_allclose(again, logits, atol=1e-5)
    assert run.metrics["test_accuracy"] == (logits.argmax(axis=1) == labels).mean()
    assert [row["epoch"] for row in run.history.rows] == [1, 2]
    assert run.trainings == (run,)


def test_seeds_are_one_run_and_combinations_several(finished):
    (two,) = read_run(finished / "mnist_dense" / "two-rendered")
    assert [run.config["seed"] for run in two.trainings] == [1, 2]
    tanh, relu = read_run(finished / "mnist_dense" / "sweep-rendered")
    assert (tanh.config["activation"], relu.config["activation"]) == ("tanh", "relu")
    assert tanh.name == "mnist_dense/sweep-rendered/activation-tanh"
    assert len(relu.trainings) == 2


def test_a_run_is_found_by_what_people_call_it(finished, monkeypatch):
    one = finished / "mnist_dense" / "one-rendered"
    for text in ("one-rendered", "mnist_dense/one-rendered", str(one)):
        assert find_run(text, finished) == one
    assert find_run("latest", finished).name == "sweep-rendered"
    monkeypatch.chdir(one)
    assert find_run(".", finished) == one
    with pytest.raises(UserError, match="did you mean one-rendered"):
        find_run("one-renderd", finished)


def test_a_run_that_was_moved_has_its_folders_name(results, tmp_path):
    shutil.move(results / "mnist_dense" / "one-rendered", tmp_path / "elsewhere")
    assert read_run(tmp_path / "elsewhere")[0].name == "elsewhere"


def test_latest_is_the_last_with_a_result(results):
    (results / "mnist_dense" / "sweep-rendered" / "config.json").write_text("{")
    assert run_folders(results)[-1].name == "sweep-rendered"
    (results / "mnist_dense" / "two-rendered" / "metrics.json").unlink()
    assert find_run("latest", results).name == "one-rendered"


def test_a_name_that_two_scripts_have_is_refused(results):
    shutil.copytree(results / "mnist_dense", results / "mnist_cnn")
    with pytest.raises(UserError, match=r"mnist_(cnn|dense)/one-rendered or"):
        find_run("one-rendered", results)


def test_no_runs_at_all_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        find_run("latest", tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seeds": [1]}', "\udcff", "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_damaged_numbers_are_one_line(results, name, content):
    folder = results / "mnist_dense" / "one-rendered"
    (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=name):
        read_run(folder)


def test_while_a_run_is_trained_further_its_history_is_that_of_its_result(results):
    folder = results / "mnist_dense" / "one-rendered"
    (run,) = read_run(folder)
    assert len(run.history.rows) == run.metrics["epochs"]
    with (folder / "history.csv").open("a") as file:
        file.write("9,1,1,1,1,1,1\n")
    (again,) = read_run(folder)
    assert again.history.rows == run.history.rows
    odd = type(run)(folder, run.config, {"epochs": "some"})  # from a file that was damaged
    assert len(odd.history.rows) == len(run.history.rows) + 1


@pytest.mark.parametrize("name", ["test_predictions.npz", "model.npz"])
@pytest.mark.parametrize("damage", ["missing", "short", "empty", "other", "pickle"])
def test_damaged_arrays_are_one_line(results, name, damage):
    folder = results / "mnist_dense" / "one-rendered"
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "short":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        np.savez(path, something=np.zeros(3))
    elif damage == "pickle":
        np.save(path, np.array([{}], object), allow_pickle=True)
        path.with_suffix(".npz.npy").replace(path)
    (run,) = read_run(folder)
    with pytest.raises(UserError, match=name):
        _ = run.model() if name == "model.npz" else run.predictions


def test_an_unfinished_run_says_why(results):
    folder = results / "mnist_dense" / "one-rendered"
    (folder / "metrics.json").unlink()
    (folder / "UNFINISHED").write_text("ended by KeyError: x")
    with pytest.raises(UserError, match="no result: ended by KeyError"):
        read_run(folder)


def test_other_images_than_those_trained_on_are_refused(results):
    folder = results / "mnist_dense" / "one-rendered"
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps(config | {"fingerprint": "0" * 64}))
    with pytest.raises(UserError, match="other images"):
        read_run(folder)[0].dataset()


def test_arrays_are_read_back(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    assert read_arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]


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
    (run,) = read_run(finished / "mnist_dense" / "one-rendered")
    config = run.config | {"engine": "keras"}
    bad = type(run)(tmp_path, config, run.metrics)
    keras_file(tmp_path / "model.keras", change)
    with pytest.raises(UserError, match="cannot be loaded as a network") as refusal:
        bad.model()
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_an_archive_that_declares_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, zeros=np.zeros(100_000_000, np.uint8))
    assert path.stat().st_size < 200_000
    with pytest.raises(UserError, match="not written by this program"):
        read_arrays(path)
