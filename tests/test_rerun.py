import importlib
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, needs_real_data, run_script
from saved_runs import change, images_drawn_once, save_run

import mnist_dense
from tools import rerun

QUICK = "--engine numpy --epochs 2 --images 300 --hidden 16 --quiet --figures none".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with two seeds of a small network."""
    results = tmp_path_factory.mktemp("results")
    options = [*QUICK, "--data", "synthetic", "--seed", "3", "4", "--name", "two"]
    with images_drawn_once():
        mnist_dense.main([*options, "--results-dir", str(results)])
    return results


@pytest.fixture
def results(finished, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "results")


@pytest.fixture
def in_process(monkeypatch):
    """Call the scripts' `main` instead of starting a process."""

    def run(command, check, env):
        with images_drawn_once():
            importlib.import_module(Path(command[1]).stem).main(command[2:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(rerun, "subprocess", SimpleNamespace(run=run))


@pytest.fixture
def started(monkeypatch):
    """What would have been started: (command, environment)."""
    found = []

    def run(command, check, env):
        found.append((command, env))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(rerun, "subprocess", SimpleNamespace(run=run))
    return found


def only_folder(results):
    (folder,) = (results / "mnist_dense").iterdir()
    return folder


def status_of_rerun(results, name="latest"):
    with pytest.raises(SystemExit) as stop:
        rerun.main([name, "--results-dir", str(results)])
    return stop.value.code


def test_a_run_started_again_is_the_same(results, in_process, capfd):
    name = only_folder(results).name
    (results / "mnist_dense" / "two-rerun").mkdir()
    rerun.main([name, "--results-dir", str(results)])
    told = capfd.readouterr().out
    for seed in (3, 4):
        assert f"mnist_dense/{name}/seed-{seed}: the same" in told
    (again,) = (results / "mnist_dense").glob("two-rerun-2*")
    assert (again / "config.json").exists() and not list(again.rglob("*.png"))


def test_what_has_changed_is_told(results, in_process, capfd):
    path = only_folder(results) / "config.json"
    command_line = json.loads(path.read_text())["command_line"]
    change(path, command_line=[*command_line, "--dropout", "0.5"])
    assert status_of_rerun(results) == 1
    told = capfd.readouterr().out
    assert "seed-3: not the same" in told and "dropout: 0.2 before, 0.5 now" in told
    assert "history: loss" in told and "logits by up to" in told and "weights" in told


def test_the_data_folder_is_the_one_that_was_used(tmp_path, started):
    """A relative path on the command line means another folder when started elsewhere."""
    place = str(tmp_path / "digits")
    typed = ["mnist_cnn.py", "--data-dir", "digits", "--show", "--distributed", "--tensorboard"]
    save_run(tmp_path / "mnist_cnn" / "a", command_line=typed, data_dir=place, backend="jax")
    assert status_of_rerun(tmp_path) == 3
    ((command, environment),) = started
    assert command[1] == str(REPOSITORY / "mnist_cnn.py")
    assert command[max(i for i, word in enumerate(command) if word == "--data-dir") + 1] == place
    assert not {"--show", "--distributed", "--tensorboard"} & set(command)
    assert environment["KERAS_BACKEND"] == "jax"


def test_a_script_that_has_changed_is_told(tmp_path, started, capfd):
    folder = save_run(tmp_path / "mnist_dense" / "a", script="mnist_dense", backend="numpy")
    script = REPOSITORY / "mnist_dense.py"
    for text, told in ((None, False), (script.read_bytes(), False), (b"x = 1\n", True)):
        if text is not None:
            (folder / "script.py").write_bytes(text)
        assert status_of_rerun(tmp_path) == 3
        printed = capfd.readouterr().out
        assert ("mnist_dense.py has changed since the run (lines added: " in printed) == told


def test_without_a_data_folder_there_is_no_such_option(tmp_path, started):
    save_run(tmp_path / "mnist_dense" / "a", script="mnist_dense", backend="numpy")
    assert status_of_rerun(tmp_path) == 3
    ((command, _),) = started
    assert "--data-dir" not in command and command[command.index("--data") + 1] == "real"


@pytest.mark.slow
@needs_real_data
def test_a_relative_data_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
    folder = Path(rerun.os.environ["MNIST_DATA_DIR"]).resolve()
    (tmp_path / "a" / "data").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "a")
    options = [*QUICK, "--data-dir", "data", "--name", "run", "--results-dir", tmp_path / "results"]
    answer = run_script("mnist_dense", *options)
    assert answer.returncode == 0, answer.stderr
    monkeypatch.chdir(tmp_path / "b")
    monkeypatch.delenv("MNIST_DATA_DIR")
    rerun.main(["run", "--results-dir", str(tmp_path / "results")])


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"command_line": "mnist_dense.py"}, "holds no finished run"),
        ({"command_line": []}, "does not say how the run was started"),
        ({"script": "../mnist_dense"}, "does not say how the run was started"),
        ({"script": "setup"}, "does not say how the run was started"),
        ({"epochs": 2, "resumed": [{"epochs": 1}]}, "resumed with more epochs"),
    ],
)
def test_what_cannot_be_started_again_is_one_line(tmp_path, started, changes, answer, capsys):
    save_run(tmp_path / "mnist_dense" / "a", **changes)
    assert status_of_rerun(tmp_path) == 1
    line = capsys.readouterr().err
    assert answer in line and line.count("\n") == 1 and not started


def test_one_of_several_runs_is_not_started_again(results, started, capsys):
    assert status_of_rerun(results, f"mnist_dense/{only_folder(results).name}/seed-3") == 1
    assert "is one of several runs: name all of them" in capsys.readouterr().err
    assert not started


def test_the_scripts_are_those_of_the_repository():
    assert {path.stem for path in REPOSITORY.glob("*.py")} == {
        "mnist_dense",
        "mnist_cnn",
        "fashion_cnn_augment",
    }
