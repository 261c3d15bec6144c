import json
import shutil

import pytest
from conftest import REPOSITORY, run_script

from tools import rerun

QUICK = "--data rendered --engine numpy --epochs 2 --images 300 --hidden 16 --quiet".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with two seeds of a small network."""
    results = tmp_path_factory.mktemp("results")
    options = [*QUICK, "--seed", "3", "4", "--name", "two", "--results-dir", results]
    answer = run_script("mnist_dense", *options)
    assert answer.returncode == 0, answer.stderr
    return results


@pytest.fixture
def results(finished, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "results")


def test_a_run_started_again_is_the_same(results, capfd):
    rerun.main(["two-rendered", "--results-dir", str(results)])
    told = capfd.readouterr().out
    for seed in (3, 4):
        assert f"mnist_dense/two-rendered/seed-{seed}: the same" in told
    again = results / "mnist_dense" / "two-rerun-rendered"
    assert not list(again.rglob("*.png"))


def test_what_has_changed_is_told(results, capfd):
    folder = results / "mnist_dense" / "two-rendered"
    config = json.loads((folder / "config.json").read_text())
    config["command_line"] += ["--dropout", "0.5"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as stop:
        rerun.main(["two-rendered", "--results-dir", str(results)])
    told = capfd.readouterr().out
    assert stop.value.code == 1
    assert "seed-3: not the same" in told and "dropout: 0.2 then, 0.5 now" in told
    assert "history: loss" in told and "logits by up to" in told and "weights" in told


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"command_line": "mnist_dense.py"}, "does not say how the run was started"),
        ({"script": "../mnist_dense"}, "does not say how the run was started"),
        ({"script": "setup"}, "does not say how the run was started"),
        ({"resumed": [{"epochs": 1}]}, "resumed with more epochs"),
    ],
)
def test_what_cannot_be_started_again_is_one_line(results, changes, answer, capsys):
    path = results / "mnist_dense" / "two-rendered" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SystemExit):
        rerun.main(["two-rendered", "--results-dir", str(results)])
    line = capsys.readouterr().err
    assert answer in line and line.count("\n") == 1


def test_one_of_several_runs_is_not_started_again(results, capsys):
    with pytest.raises(SystemExit):
        rerun.main(["mnist_dense/two-rendered/seed-3", "--results-dir", str(results)])
    assert "is one of several runs: name all of them" in capsys.readouterr().err


def test_the_scripts_are_those_of_the_repository():
    assert {path.stem for path in REPOSITORY.glob("*.py")} == {
        "mnist_dense",
        "mnist_cnn",
        "fashion_cnn_augment",
    }
