"""The folders of runs: names, markers, config.json, history.csv; one run, seeds, sweeps."""

import json
import math
import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DEVICE, QUICK, dataset, finish, only_run, options, row
from saved_runs import CONFIG
from tiny import make_run

import mnist_dense
from common.errors import UserError
from experiment import run as experiment_module
from experiment.run import Runs
from experiment.runs.folder import MARKER, create_folder, lock, read_config, remove_partial_files
from experiment.runs.history import COLUMNS, History, read_history, write_history
from tools.rerun import differing_columns


def read(folder, name="config.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


# ---- history.csv ----------------------------------------------------------------------------


def test_history_is_read_back_exactly(tmp_path):
    history = History([row(1), row(2, validation_loss=math.nan)])
    write_history(tmp_path, history)
    again = read_history(tmp_path)
    assert not differing_columns(history, again)
    assert again.column("loss") == history.column("loss")
    assert again.column("validation_loss")[0] == 0.3
    assert math.isnan(again.column("validation_loss")[1])
    table = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert list(table.dtype.names) == COLUMNS and table["epoch"].tolist() == [1, 2]


def test_histories_differ_in_what_was_computed_and_not_in_seconds():
    history = History([row(1), row(2)])
    assert not differing_columns(history, History([row(1, seconds=9), row(2)]))
    other = History([row(1), row(2, accuracy=0.91, validation_loss=math.nan)])
    assert differing_columns(history, other) == ["accuracy", "validation_loss"]
    assert "loss" in differing_columns(history, History([row(1)]))


@pytest.mark.parametrize(
    "content", [None, b"", b"epoch,loss\n1,2\n", b"\xff\xfe\x00", b"epoch\nx\n"]
)
def test_a_damaged_history_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"history\.csv is missing or damaged"):
        read_history(tmp_path)


# ---- Folders --------------------------------------------------------------------------------


def test_a_taken_name_is_refused_or_numbered(tmp_path):
    folder = create_folder(tmp_path, "a")
    (folder / "history.csv").touch()  # also where config.json is lost
    with pytest.raises(UserError, match="choose another --name"):
        create_folder(tmp_path, "a")
    assert create_folder(tmp_path, "a", numbered=True).name == "a-2"


def test_a_folder_that_a_killed_process_has_left_is_used_again(tiny_data, tmp_path):
    folder = create_folder(tmp_path / "mnist_dense", "mine")
    for name in (".lock", ".123-config.json", MARKER):
        (folder / name).touch()
    run = mnist_dense.main([*QUICK, "--results-dir", str(tmp_path), "--name", "mine"])
    assert run.folder == folder and run.metrics["epochs"] == 2
    assert not list(folder.glob(".1*"))


def test_the_folders_of_a_sweep_have_names_that_file_systems_take(experiment, tmp_path):
    layers = [",".join(["100"] * 60), ",".join(["100"] * 59 + ["200"])]
    with experiment(tmp_path, "--name", "mine", "--hidden", *layers) as runs:
        for run in runs:
            finish(run)
    names = [run.folder.name for run in runs.results]
    assert len(set(names)) == 2 and all(len(name) < 200 for name in names)
    assert [path.name for path in (tmp_path / "mnist_dense").iterdir()] == ["mine"]


def test_a_name_that_another_process_has_begun_meanwhile_is_refused(experiment, tmp_path):
    with experiment(tmp_path, "--name", "mine") as runs:
        for run in runs:
            finish(run)
    with pytest.raises(UserError, match="exists already"):
        Runs(runs.args, runs.dataset, runs.device, runs.folder)


def test_runs_started_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: create_folder(tmp_path, "a", numbered=True), range(64)))
    assert len(set(folders)) == 64


def test_a_results_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="--results-dir"):
        create_folder(tmp_path / "results", "a", numbered=True)


def test_only_what_a_killed_process_left_half_written_is_removed(tmp_path):
    for name in (".123-model.keras", ".lock", ".hidden-file", "model.keras", "config.json"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".lock", ".hidden-file", "model.keras", "config.json"}


def test_a_folder_belongs_to_one_process(tmp_path):
    with lock(tmp_path), pytest.raises(UserError, match="still working"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


def test_a_process_that_opened_the_lock_before_does_not_hold_it_with_a_third(tmp_path):
    """Of three processes, each with a handle of its own: two must never hold one folder."""
    fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")
    with lock(tmp_path):
        second = (tmp_path / ".lock").open("a")
    with second, lock(tmp_path), pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ---- One run --------------------------------------------------------------------------------


def test_a_run_is_named_by_the_time_or_by_name_and_says_synthetic(
    experiment, tmp_path, monkeypatch
):
    opened = []
    for _ in range(2):
        with experiment(tmp_path) as runs:
            opened.append(runs)
            finish(*runs)
    time = opened[0].args.started.strftime("%Y-%m-%d_%H-%M-%S")
    assert opened[0].folder == tmp_path.resolve() / "mnist_dense" / time
    assert opened[1].folder.name in (f"{time}-2", f"{opened[1].args.started:%Y-%m-%d_%H-%M-%S}")
    synthetic = dataset(synthetic=True)
    monkeypatch.setattr(experiment_module, "load", lambda *arguments: synthetic)
    with experiment(tmp_path, "--name", "mine") as runs:
        finish(*runs)
    assert runs.folder.name == "mine-synthetic"


def test_the_marker_goes_only_when_the_run_ends_well(experiment, tmp_path):
    with experiment(tmp_path, "--name", "good") as runs:
        assert f"by process {os.getpid()}" in (runs.folder / MARKER).read_text()
        finish(*runs)
    assert not (runs.folder / MARKER).exists()
    with pytest.raises(ValueError), experiment(tmp_path, "--name", "bad") as runs:
        raise ValueError("no luck")
    assert "ended by ValueError: no luck" in (runs.folder / MARKER).read_text()
    with pytest.raises(SystemExit) as stop, experiment(tmp_path, "--name", "stopped") as runs:
        for run in runs:
            run.history.stopped = 2
            finish(run, epochs=1, stopped_early=True)
    assert stop.value.code == 130
    assert "stopped on request" in (runs.folder / MARKER).read_text()


def test_config_holds_what_ran(experiment, tmp_path):
    with experiment(tmp_path, "--hidden", "32,16", "--seed", 3, "--data-dir", "x") as runs:
        finish(*runs)
    config = read(runs.folder)
    assert (config["hidden"], config["seed"], config["seeds"]) == ([32, 16], 3, [3])
    assert (config["fingerprint"], config["source"]) == ("0" * 64, "a test")
    assert (config["dataset"], config["title"], config["synthetic"]) == ("mnist", "MNIST", False)
    assert config["device"].startswith("CPU") and config["deterministic"] is True
    assert config["versions"]["numpy"] == np.__version__
    assert config["started"] == runs.args.started.isoformat(timespec="seconds")
    assert config["command_line"][0] == "mnist_dense.py" and "32,16" in config["command_line"]
    assert config["data_dir"] == str(Path("x").resolve())
    assert not config.keys() & {"resume", "given", "about"}


def test_the_line_of_the_recipe_names_what_differs_from_the_catalogue(experiment, tmp_path, capsys):
    with experiment(tmp_path, "--loss", "sum") as runs:
        finish(*runs)
        runs.overview.args.quiet = False
        experiment_module.Runs(runs.args, runs.dataset, runs.device, create_folder(tmp_path, "b"))
    data, device, recipe = capsys.readouterr().out.splitlines()[:3]
    assert data == "data: MNIST from a test"
    assert device.startswith("device: CPU") and device.endswith("float32")
    assert recipe.startswith("recipe: default (") and "loss sum" in recipe
    assert "hidden 8" in recipe and "epochs 2" in recipe and "optimizer" not in recipe


@pytest.mark.parametrize("engine", ["keras", "tensorflow", "numpy"])
def test_an_untrained_network_is_tested_and_can_be_trained_further(
    engine, tiny_data, tmp_path, capsys
):
    argv = (
        f"--engine {engine} --hidden 8 --epochs 0 --figures curves --name a --results-dir".split()
    )
    run = mnist_dense.main([*argv, str(tmp_path)])
    assert not run.history.rows and run.metrics["training_accuracy"] is None
    assert abs(run.metrics["test_loss"] - np.log(10)) < 0.5  # it knows nothing
    assert capsys.readouterr().err == "" and not (run.folder / "curves.png").exists()
    further = ["--resume", "a", "--epochs", "2", "--results-dir", str(tmp_path)]
    run = mnist_dense.main(further)
    assert len(run.history.rows) == 2 and run.metrics["training_accuracy"] > 0.1


def test_results_are_handed_to_a_notebook(tiny_data, tmp_path, capsys):
    run = mnist_dense.main(f"{shlex.join(QUICK)} --epochs=4 --results-dir '{tmp_path}'")
    printed = capsys.readouterr().out.splitlines()
    assert run.folder == only_run(tmp_path.resolve(), "mnist_dense")
    assert len(run.history.rows) == 4 and run.history.seconds > 0
    assert run.metrics == read(run.folder, "metrics.json")
    logits = run.model.predict(tiny_data.test_images)
    accuracy = (logits.argmax(axis=1) == tiny_data.test_labels).mean()
    assert accuracy == pytest.approx(run.metrics["test_accuracy"])
    assert printed[0].startswith(f"test accuracy {accuracy:.2%}, loss ")
    assert printed[-1] == f"results in {run.folder}"
    assert repr(run) == f"<Run of mnist_dense: test accuracy {accuracy:.2%}, in {run.folder}>"
    data = run.split()  # as it was trained on
    sizes = [len(data.train_labels), len(data.validation_labels), len(data.test_labels)]
    assert sizes == [270, 30, 100]
    words = ["mnist_dense.py", *QUICK, "--epochs=4", "--results-dir", str(tmp_path)]
    assert read(run.folder)["command_line"] == words
    assert repr(replace(run, metrics=None)) == f"<Run of mnist_dense: no test, in {run.folder}>"


def test_several_runs_are_a_list_also_when_only_one_has_begun(experiment, tmp_path):
    with experiment(tmp_path, "--hidden", 4, 8) as runs:
        for run in runs:
            assert run in runs.results
            finish(run)
    assert [run.args.hidden for run in runs.results] == [(4,), (8,)]


# ---- Seeds and sweeps -----------------------------------------------------------------------


def test_repeats_are_runs_in_folders_of_their_seeds_until_one_is_stopped(experiment, tmp_path):
    seeds = []
    with pytest.raises(SystemExit), experiment(tmp_path, "--seed", 3, "--repeats", 3) as runs:
        for run in runs:
            seeds.append(run.args.seed)
            assert read(run.folder)["seed"] == read(run.folder)["seeds"][0] == run.args.seed
            run.history.stopped = 2 if run.args.seed == 4 else None
            finish(run, stopped_early=run.args.seed == 4)
    assert seeds == [3, 4]
    assert [run.folder.name for run in runs.results] == ["seed-3", "seed-4"]


def test_each_combination_of_options_is_a_run_in_a_folder_of_its_own(tmp_path):
    combinations = [{"hidden": (8,), "engine": "numpy"}, {"hidden": (8, 4), "engine": "tensorflow"}]
    args = options(tmp_path, combinations=combinations, repeats=2)
    folder = create_folder(tmp_path, "sweep")
    device = replace(DEVICE, precision="bfloat16", count=2)
    runs = experiment_module.Runs(args, dataset(), device, folder)
    for run in runs:
        config = read(run.folder)
        assert tuple(config["hidden"]) == run.args.hidden
        assert (config["seed"], config["combinations"]) == (run.args.seed, [{}])
        wanted = "numpy" if run.args.engine == "numpy" else "tensorflow"
        assert (config["backend"], config["precision"]) == (wanted, "float32")
    assert [run.folder.relative_to(folder).as_posix() for run in runs.results] == [
        f"hidden-{units}/seed-{seed}"
        for units in ("8_engine-numpy", "8,4_engine-tensorflow")
        for seed in (3, 4)
    ]
    assert [those["engine"] for those in read(folder)["combinations"]] == ["numpy", "tensorflow"]


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_stopped_member_of_a_sweep_is_marked_as_stopped(repeats, experiment, tmp_path):
    """And not as started by a process, as if it still ran."""
    argv = ("--hidden", 4, 8, 16, "--repeats", repeats)
    with pytest.raises(SystemExit) as stop, experiment(tmp_path, *argv) as runs:
        for run in runs:
            run.history.stopped = 15 if run.args.hidden == (8,) else None
            finish(run, stopped_early=bool(run.history.stopped))
    assert stop.value.code == 143
    marked = {path.parent: path.read_text() for path in runs.folder.rglob(MARKER)}
    stopped = runs.folder / "hidden-8"
    assert set(marked) == {runs.folder, stopped, runs.results[-1].folder}
    assert all(text.startswith("stopped on request") for text in marked.values())


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_member_in_which_a_sweep_ends_by_an_error_says_so(repeats, experiment, tmp_path):
    argv = ("--hidden", 4, 8, "--repeats", repeats)
    with pytest.raises(ValueError), experiment(tmp_path, *argv) as runs:
        for run in runs:
            if run.args.hidden == (8,):
                raise ValueError("no luck")
            finish(run)
    marked = {path.parent: path.read_text() for path in runs.folder.rglob(MARKER)}
    assert set(marked) >= {runs.folder, runs.folder / "hidden-8", runs.results[-1].folder}
    assert all("ended by ValueError: no luck" in text for text in marked.values())


def test_a_failure_ends_a_single_run_and_is_a_warning_among_several(experiment, tmp_path, capsys):
    with pytest.raises(SystemExit), experiment(tmp_path, "--name", "alone") as runs:
        for run in runs:
            run.history.failure = "the loss became nan"
    assert "error: the loss became nan" in capsys.readouterr().err
    assert "nan" in (runs.folder / MARKER).read_text()

    with pytest.raises(SystemExit), experiment(tmp_path, "--hidden", 8, 4) as runs:
        for run in runs:
            if run.args.hidden == (8,):
                run.history.failure = "the loss became nan"
            else:
                finish(run)
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == "warning: the loss became nan"
    assert error == "error: 1 of 2 runs failed: the loss became nan"
    assert "nan" in (runs.folder / "hidden-8" / MARKER).read_text()
    assert not (runs.folder / "hidden-4" / MARKER).exists()
    assert "1 of 2 runs failed" in (runs.folder / MARKER).read_text()


# ---- Folders of an earlier version ------------------------------------------------------------


def test_old_names_in_a_config_are_translated(tmp_path):
    now = {key: value for key, value in CONFIG.items() if key != "synthetic"}
    old = {"rendered": True, "repeats_exactly": False, "augment": False, "augmenter": "numpy"} | now
    (tmp_path / "config.json").write_text(json.dumps(old))
    wanted = {"synthetic": True, "deterministic": False, "augmenter": "none"} | now
    assert read_config(tmp_path) == wanted
    (tmp_path / "config.json").write_text(json.dumps(old | {"augment": True}))
    assert read_config(tmp_path) == wanted | {"augmenter": "numpy"}


@pytest.mark.parametrize("images", [50, "all", 8])
def test_a_recipe_for_more_images_than_are_synthetic_takes_them_all(tmp_path, capsys, images):
    run = make_run(tmp_path, images=images, validation=0.2, quiet=False)
    run.dataset = dataset(20, synthetic=True)
    data = run.split()
    assert len(data.train_labels) + len(data.validation_labels) == (8 if images == 8 else 20)
    said = "images: all 20 synthetic images, fewer than the 50 asked for\n"
    assert capsys.readouterr().out == (said if images == 50 else "")


def test_too_many_real_images_are_an_error(tmp_path):
    run = make_run(tmp_path, images=50)
    run.dataset = dataset(20)
    with pytest.raises(UserError, match="--images 50 is more than the 20 there are"):
        run.split()
