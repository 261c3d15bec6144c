"""What all tools share: how they start, and how they find the runs that a person means."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY
from saved_runs import save_run, save_seeds

from common.errors import UserError
from tools.command_line import ToolParser
from tools.saved import find_network, find_run, run_folders

TOOLS = sorted(path.stem for path in (REPOSITORY / "tools").glob("[a-z]*.py"))
TOOLS = [name for name in TOOLS if name not in ("command_line", "saved")]


@pytest.fixture
def results(tmp_path):
    """A results folder with a run, one with two seeds, and a sweep, started in this order."""
    scripts = tmp_path / "results" / "mnist_dense"
    save_run(scripts / "one", started="2026-11-21T10:00:00")
    save_seeds(scripts / "two", [0.9, 0.91], started="2026-11-21T10:00:01")
    values = [{"activation": "tanh"}, {"activation": "relu"}]
    save_run(scripts / "sweep", started="2026-11-21T10:00:02", combinations=values)
    for value in values:
        member = scripts / "sweep" / f"activation-{value['activation']}"
        save_run(member, script="mnist_dense", **value)
    return tmp_path / "results"


def start(*command, cwd=REPOSITORY):
    """Start Python; what it printed, and the modules that it imported."""
    command = [sys.executable, "-X", "importtime", *map(str, command)]
    answer = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=cwd)
    lines = answer.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}
    errors = [line for line in lines if not line.startswith("import time")]
    return answer.returncode, answer.stdout, errors, imported


@pytest.mark.parametrize("way", ["module", "file"])
def test_help_comes_at_once(way, tmp_path):
    before = sum(os.times()[2:4])  # processor time of ended children; nothing on Windows
    if way == "module":
        status, help_text, errors, imported = start("-m", "tools.predict", "--help")
    else:  # as an IDE starts it, from any folder
        file = REPOSITORY / "tools" / "predict.py"
        status, help_text, errors, imported = start(file, "--help", cwd=tmp_path)
    assert (status, errors) == (0, [])
    assert "usage: python -m tools.predict" in help_text and "--debug" in help_text
    assert "numpy" in imported and not {"keras", "tensorflow", "matplotlib"} & imported
    assert sum(os.times()[2:4]) - before < 2  # seconds; half a second where nothing else runs


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_starts_in_both_ways(tool, tmp_path):
    for command, cwd in (
        (["-m", f"tools.{tool}"], REPOSITORY),
        ([REPOSITORY / "tools" / f"{tool}.py"], tmp_path),
    ):
        status, help_text, errors, imported = start(*command, "--help", cwd=cwd)
        assert (status, errors) == (0, []) and "--results-dir" in help_text
        assert not {"keras", "tensorflow", "matplotlib"} & imported
        status, _, errors, _ = start(*command, "--hlp", cwd=cwd)
        assert status == 2 and len(errors) == 1


def test_all_tools_have_the_same_start():
    for tool in TOOLS:
        lines = (REPOSITORY / "tools" / f"{tool}.py").read_text(encoding="utf-8").splitlines()
        start = lines.index(f"if not __package__:  # started as a file: python tools/{tool}.py")
        assert (
            lines[start + 1] == "    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))"
        )
        assert lines[-2:] == ['if __name__ == "__main__":', "    main(sys.argv[1:])"]


def test_the_results_folder_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    parser = ToolParser("any", "a tool")
    assert parser.parse_args([]).results_dir == REPOSITORY / "results"
    assert parser.parse_args(["--results-dir", "~/runs"]).results_dir == tmp_path / "runs"
    assert not parser.parse_args([]).debug


def test_a_run_is_found_by_what_people_call_it(results, monkeypatch):
    one = results / "mnist_dense" / "one"
    for text in ("one", "mnist_dense/one", str(one)):
        assert find_run(text, results) == one
    assert find_run("latest", results).name == "sweep"
    monkeypatch.chdir(one)
    assert find_run(".", results) == one
    with pytest.raises(UserError, match="did you mean one"):
        find_run("oen", results)


def test_latest_is_the_last_one_with_a_result(results):
    (results / "mnist_dense" / "sweep" / "config.json").write_text("{")
    assert run_folders(results)[-1].name == "sweep"
    (results / "mnist_dense" / "two" / "metrics.json").unlink()
    assert find_run("latest", results).name == "one"


def test_a_name_that_two_scripts_have_is_refused(results):
    shutil.copytree(results / "mnist_dense", results / "mnist_cnn")
    with pytest.raises(UserError, match=r"choose mnist_(cnn|dense)/one or"):
        find_run("one", results)


def test_no_runs_at_all_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        find_run("latest", tmp_path / "nowhere")


def test_of_several_seeds_there_is_a_network_and_of_a_sweep_several(results):
    assert [run.config["seed"] for run in find_network("two", results).trainings] == [1, 2]
    assert find_network("mnist_dense/two/seed-2", results).config["seed"] == 2
    with pytest.raises(UserError, match=r"sweep of several .*mnist_dense/sweep/activation-tanh"):
        find_network("sweep", results)
