"""A killed run resumes from its last completed epoch, and ends as one that was not killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    QUICK,
    REPOSITORY,
    SCRIPTS,
    assert_same_state,
    dataset,
    finish,
    kill_after_epoch,
    needs_real_data,
    parse,
    row,
    run_script,
)

import mnist_dense
from common.errors import UserError
from common.files import write_json
from experiment.resume import resumed_options
from experiment.runs.checkpoints import checkpoint_paths, load_checkpoint, save_checkpoint
from experiment.runs.folder import MARKER
from experiment.runs.history import History, read_history
from tools.rerun import differing_columns
from tools.saved import run_folders

STATE = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7)]
OLD = Path(__file__).with_name("old_results")  # as the version before this house left them


class Killed(Exception):
    """Ends training where a test wants it."""


def killed_after(batches):
    """An augmentation that ends training at a batch; until then it draws random numbers."""
    seen = []

    def vary(images, generator):
        seen.append(len(images))
        if len(seen) > batches:
            raise Killed
        return images ^ generator.integers(0, 2, images.shape, np.uint8)

    return vary


# ---- Killed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [0, 12, 23])  # of five an epoch; Keras takes some in advance
@pytest.mark.parametrize(
    "engine",
    ["numpy", *(pytest.param(name, marks=pytest.mark.slow) for name in ("keras", "tensorflow"))],
)
def test_a_killed_training_ends_as_one_that_was_not(
    engine, batches, tiny_data, tmp_path, monkeypatch
):
    def main(batches, *argv):
        vary = killed_after(batches)
        monkeypatch.setattr("experiment.runs.run.choose_augmentation", lambda options: vary)
        return mnist_dense.main([*argv, "--quiet", "--results-dir", str(tmp_path)])

    options = f"--engine {engine} --hidden 32 --epochs 6 --batch-size 64 --precision float32"
    options += " --figures none --name"
    whole = main(1000, *options.split(), "whole")
    with pytest.raises(Exception, match="Killed" if engine == "keras" else None) as death:
        main(batches, *options.split(), "killed")
    assert engine == "keras" or death.type is Killed
    folder = whole.folder.with_name("killed")
    kept = read_history(folder).rows
    assert len(kept) == batches // 5 or engine == "keras"
    run = main(1000, "--resume", "latest")
    assert run.folder == folder
    for name in ("checkpoint-6.npz", "test_predictions.npz"):
        assert_same_state(whole.folder / name, folder / name)
    assert not differing_columns(whole.history, run.history)
    assert run.history.rows[: len(kept)] == kept  # with their times: they were not trained again
    assert not differing_columns(read_history(folder), whole.history)


@pytest.mark.slow
@needs_real_data
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_is_killed_resumes_and_ends_the_same(script, tmp_path):
    short = ["--images", "3000", "--epochs", "4", "--figures", "none", "--results-dir", tmp_path]
    assert run_script(script, *short, "--name", "whole").returncode == 0
    kill_after_epoch(2, script, *short, "--name", "killed")
    answer = run_script(script, "--resume", "latest", "--results-dir", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "resuming after epoch" in answer.stdout
    whole, folder = (tmp_path / script / name for name in ("whole", "killed"))
    for name in ("test_predictions.npz", "checkpoint-4.npz"):
        assert_same_state(whole / name, folder / name)
    assert {path.name for path in whole.iterdir()} == {path.name for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs fork, affinity and /dev/full")
def test_lost_streams_and_fewer_cores_cost_nothing(tmp_path):
    command = [sys.executable, "-m", "benchmarks.faults", "cores", "streams"]
    command += ["--results-dir", str(tmp_path)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.slow
@needs_real_data
def test_damaged_files_are_refused_in_one_line_whatever_the_damage(tmp_path):
    """A short run of the benchmark that damages ten thousand files of each kind."""
    command = [sys.executable, "-m", "benchmarks.faults", "fuzz", "--times", "30"]
    answer = subprocess.run(
        [*command, "--results-dir", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    counts = json.loads((tmp_path / "faults.json").read_text())["measured"]["fuzz"]["counts"]
    assert len(counts) == 8 and all(count == [30, 0] for count in counts.values())  # tried, lost


# ---- Checkpoints ----------------------------------------------------------------------------


def test_the_last_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path, capsys):
    for epoch in (1, 2, 10):
        rows = [row(number) for number in range(1, epoch + 1)]
        save_checkpoint(tmp_path, History(rows, seconds=epoch), STATE)
    assert [path.name for path in checkpoint_paths(tmp_path)] == [
        "checkpoint-10.npz",
        "checkpoint-2.npz",
    ]
    loaded = load_checkpoint(tmp_path)
    assert loaded.history.rows[-1] == row(10) and loaded.history.seconds == 10
    for before, after in zip(STATE, loaded.state, strict=True):
        assert before.dtype == after.dtype and np.array_equal(before, after)

    path = tmp_path / "checkpoint-10.npz"
    path.write_bytes(path.read_bytes()[:-200])
    assert len(load_checkpoint(tmp_path).history.rows) == 2
    assert "checkpoint-10.npz is missing or damaged" in capsys.readouterr().err
    (tmp_path / "checkpoint-2.npz").write_bytes(b"no archive")
    assert load_checkpoint(tmp_path) is None


def test_every_changed_byte_of_a_checkpoint_is_noticed_or_does_no_harm(tmp_path):
    save_checkpoint(tmp_path, History([row(1)]), STATE)
    (path,) = checkpoint_paths(tmp_path)
    content = path.read_bytes()
    noticed = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        loaded = load_checkpoint(tmp_path)
        noticed += loaded is None
        if loaded:
            assert loaded.history.rows == [row(1)]
            assert all(map(np.array_equal, loaded.state, STATE))
    assert noticed > len(content) / 2


# ---- Which runs can be resumed ----------------------------------------------------------------


@pytest.fixture
def refused(experiment, tmp_path, capsys):
    """The one line in which an experiment is refused."""

    def refused(*argv, status=1):
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving, experiment(tmp_path, *argv):
            pass
        line = capsys.readouterr().err.splitlines()[-1]
        assert leaving.value.code == status
        return line

    return refused


@pytest.fixture
def unfinished(experiment, tmp_path):
    """A run's folder, `a`, as it is left when killed before the end of its first epoch."""
    with pytest.raises(Killed), experiment(tmp_path, "--name", "a", "--hidden", "8,4") as runs:
        raise Killed
    return runs.folder


def test_a_run_that_is_going_on_is_not_resumed_and_an_ended_one_only_for_more(
    experiment, refused, tmp_path
):
    with experiment(tmp_path, "--name", "a") as runs:
        assert "still working" in refused("--resume", "a")
        finish(*runs)
    save_checkpoint(runs.folder, runs.results.history, STATE)
    assert "is finished: train it further with more --epochs" in refused("--resume", "a")
    with experiment(tmp_path, "--resume", "a", "--epochs", 3) as again:
        for run in again:
            assert run.args.epochs == 3
            finish(run, epochs=3)
    config = json.loads((runs.folder / "config.json").read_text())
    assert (again.folder, config["epochs"], len(config["resumed"])) == (runs.folder, 3, 1)
    assert not (runs.folder / MARKER).exists()


def test_a_result_is_not_trained_over_where_its_checkpoint_is_gone(experiment, refused, tmp_path):
    with experiment(tmp_path, "--name", "a") as runs:
        finish(*runs)
        (runs.folder / "test_predictions.npz").touch()
    before = {path: path.read_bytes() for path in runs.folder.iterdir()}
    assert "its checkpoint is gone" in refused("--resume", "a", "--epochs", 3)
    assert {path: path.read_bytes() for path in runs.folder.iterdir()} == before
    # A full disk kept the model from being saved: there is no whole result.
    (runs.folder / MARKER).touch()
    with experiment(tmp_path, "--resume", "a") as again:
        assert not again.overview.metrics
        finish(*again)
    # Stopped in its first epoch, it has a result all the same.
    finish(runs.results, epochs=0, stopped_early=True)
    with experiment(tmp_path, "--resume", "a") as again:
        assert not again.overview.metrics
        finish(*again)


def test_a_checkpoint_of_another_network_is_refused(unfinished, tiny_data, tmp_path, capsys):
    save_checkpoint(unfinished, History([row(1)]), STATE)
    with pytest.raises(SystemExit):
        mnist_dense.main(["--resume", "a", "--results-dir", str(tmp_path)])
    assert "error: the checkpoint is of another network" in capsys.readouterr().err


def test_finished_members_of_a_sweep_are_not_run_again(experiment, tmp_path):
    sweep = ("--name", "a", "--hidden", 8, 4, "--seed", 3, "--repeats", 2)
    with pytest.raises(Killed), experiment(tmp_path, *sweep) as first:
        for run in first:
            if len(first.results) == 3:
                raise Killed
            finish(run)
    ran = []
    with experiment(tmp_path, "--resume", "a") as again:
        for run in again:
            ran.append(run.folder.relative_to(first.folder).parts)
            finish(run)
    assert ran == [("hidden-4", "seed-3"), ("hidden-4", "seed-4")]
    assert len(again.results) == 4 and len(again.results[0].history.rows) == 2
    assert not list(first.folder.rglob(MARKER))


def test_a_sweep_with_seeds_that_was_killed_at_its_very_end_is_resumed(tiny_data, tmp_path):
    options = ["--results-dir", str(tmp_path)]
    sweep = [*QUICK, "--epochs", "1", "--hidden", "4", "8", "--seed", "1", "2", "--name", "a"]
    folder = mnist_dense.main([*sweep, *options])[0].folder.parents[1]
    for mark in (folder, folder / "hidden-8"):
        (mark / MARKER).write_text("started long ago")
    (folder / "sweep.md").unlink()
    assert len(mnist_dense.main(["--resume", "a", *options])) == 4
    assert (folder / "sweep.md").exists() and not list(folder.rglob(MARKER))


def test_other_images_are_refused_and_another_machine_is_a_warning(
    unfinished, experiment, refused, tmp_path, capsys, monkeypatch
):
    path = unfinished / "config.json"
    config = json.loads(path.read_text())
    write_json(path, config | {"cores": 1000})
    (unfinished / ".123-model.keras").write_text("half")
    with experiment(tmp_path, "--resume", "a") as runs:
        finish(*runs)
    assert "warning: not the machine and software of the start (cores" in capsys.readouterr().err
    (resumed,) = json.loads(path.read_text())["resumed"]
    assert resumed["changed"]["cores"][0] == 1000
    assert not (unfinished / ".123-model.keras").exists()
    (unfinished / "metrics.json").unlink()
    for change, wanted, status in [
        ({"fingerprint": "1" * 64}, "other images than these: set --data-dir", 1),
        ({"fingerprint": "1" * 64, "synthetic": True}, "other images than these: ", 1),
        ({"backend": "jax"}, "set KERAS_BACKEND=jax", 2),
    ]:
        write_json(path, config | change)
        assert wanted in refused("--resume", "a", status=status)
    write_json(path, config | {"fingerprint": "1" * 64, "synthetic": True})
    others = dataset(synthetic=True)
    monkeypatch.setattr("experiment.run.load", lambda *arguments: others)
    assert "this version draws other synthetic ones" in refused("--resume", "a")


# ---- With which options -----------------------------------------------------------------------


def resumed(results, *argv, script="mnist_dense"):
    """The options of a resumed run."""
    return resumed_options(parse(script, *argv, "--results-dir", results))


def test_a_resumed_run_has_the_options_of_its_start(unfinished, tmp_path):
    for name in ("a", "latest"):
        args = resumed(tmp_path, "--resume", name, "--figures", "all")
        assert (args.hidden, args.engine, args.epochs) == ((8, 4), "numpy", 2)
        assert (args.resume, args.figures) == (unfinished, "all")
        assert "--resume" not in args.command_line and "8,4" in args.command_line
    more = resumed(tmp_path, f"--resume={name}", "--epochs", "9")
    assert more.epochs == 9 and more.command_line[-2:] == ["--epochs", "9"]
    assert resumed(tmp_path, "--resume", "a", "--hidden", "8,4").hidden == (8, 4)


def test_a_resumed_sweep_has_the_combinations_and_seeds_of_its_start(experiment, tmp_path):
    sweep = ("--name", "a", "--hidden", "8,4", "16", "--batch-size", 64, "all", "--seed", 3, 5)
    with pytest.raises(Killed), experiment(tmp_path, *sweep) as runs:
        raise Killed
    args = resumed(tmp_path, "--resume", "a")
    assert args.combinations == runs.args.combinations and len(args.combinations) == 4
    assert (args.seeds, args.repeats, args.hidden) == ([3, 5], 2, [(8, 4), (16,)])


def test_a_recipe_that_has_changed_since_makes_no_difference(unfinished, tmp_path, monkeypatch):
    wanted = resumed(tmp_path, "--resume", "a")
    changed = mnist_dense.RECIPES["default"] | {"dropout": 0.9, "learning_rate": 7, "epochs": 99}
    monkeypatch.setitem(mnist_dense.RECIPES, "default", changed)
    args = resumed(tmp_path, "--resume", "a")
    assert (args.dropout, args.learning_rate, args.epochs) == (0.2, 0.002, 2)
    assert vars(args) | {"started": 0} == vars(wanted) | {"started": 0}


def test_a_relative_data_folder_is_found_from_another_working_directory(
    experiment, tmp_path, monkeypatch
):
    start, later = tmp_path / "start", tmp_path / "later"
    for folder in (start, later):
        folder.mkdir()
    monkeypatch.chdir(start)
    argv = ("--name", "a", "--data-dir", "images")
    with pytest.raises(Killed), experiment(tmp_path, *argv):
        raise Killed
    monkeypatch.chdir(later)
    assert resumed(tmp_path, "--resume", "a").data_dir == start.resolve() / "images"
    moved = resumed(tmp_path, "--resume", "a", "--data-dir", "images")
    assert moved.data_dir == later.resolve() / "images"


def test_a_resumed_run_keeps_the_precision_that_auto_has_chosen(unfinished, tmp_path):
    config = json.loads((unfinished / "config.json").read_text())
    write_json(unfinished / "config.json", config | {"engine": "keras", "precision": "bfloat16"})
    assert resumed(tmp_path, "--resume", "a").precision == "bfloat16"
    with pytest.raises(UserError, match="was started with precision bfloat16"):
        resumed(tmp_path, "--resume", "a", "--precision", "float32")


@pytest.mark.parametrize(
    ("argv", "answer", "status"),
    [
        ("a --hidden 64", "was started with hidden 8,4", 2),
        ("a --epochs 1", "was started with epochs 2", 2),
        ("a --recipe quick", "was started with recipe default", 2),
        ("a --seed 1 2", "was started with seed 1: leave the option out", 2),
        ("a --repeats 2", "was started with repeats 1", 2),
        ("aa", "there is no run 'aa'", 1),
        ("aa", "; did you mean a?", 1),
        ("../a", "there is no run '../a'", 1),
        ("nonsense", "; the newest: a\n", 1),
    ],
)
def test_other_options_and_names_are_refused_in_one_line(argv, answer, status, unfinished, capsys):
    with pytest.raises(SystemExit) as stop:
        mnist_dense.main(["--resume", *argv.split(), "--results-dir", str(unfinished.parents[1])])
    line = capsys.readouterr().err
    assert stop.value.code == status and line.count("\n") == 1
    assert answer in line


def test_without_a_run_of_that_name_the_newest_five_are_named(experiment, refused, tmp_path):
    assert "; the newest: none" in refused("--resume", "nonsense")
    for number, name in enumerate("bdacef"):
        with experiment(tmp_path, "--name", name) as runs:
            finish(*runs)
        os.utime(runs.folder / "config.json", (number, number))
    assert refused("--resume", "nonsense").endswith("; the newest: f, e, c, a, d")


@pytest.mark.parametrize(
    "change",
    [
        {"command_line": 7},
        {"combinations": None},
        {"combinations": [{"hidden": "8;4"}]},
        {"combinations": [{"unknown": 1}]},
        {"seeds": "one"},
        {"hidden": 7.5},
        {"learning_rate": {}},
        None,
    ],
)
def test_a_damaged_config_is_one_line(change, unfinished, capsys):
    path = unfinished / "config.json"
    config = json.loads(path.read_text())
    path.write_text("{" if change is None else json.dumps(config | change))
    with pytest.raises(SystemExit) as stop:
        mnist_dense.main(["--resume", "a", "--results-dir", str(unfinished.parents[1])])
    line = capsys.readouterr().err
    assert stop.value.code == 1 and line.count("\n") == 1 and "damaged" in line


def test_the_latest_run_is_the_last_started_whatever_the_time_zone(unfinished, tmp_path):
    """Also where summer time ends, and where other folders are damaged."""
    config = json.loads((unfinished / "config.json").read_text())
    for name, started in {
        "a": "2026-10-25T02:30:00+02:00",
        "b": "2026-10-25T02:10:00+01:00",  # 40 minutes later
        "c": "2026-10-24T20:00:00-04:00",
        "d": "no time",
        "e": ["2027"],
    }.items():
        (folder := unfinished.with_name(name)).mkdir(exist_ok=True)
        write_json(folder / "config.json", config | {"started": started})
        (folder / MARKER).touch()
    (folder / "config.json").write_text("{")
    assert resumed(tmp_path, "--resume", "latest").resume.name == "b"
    assert run_folders(tmp_path)[0].name == "b"


def test_without_an_unfinished_run_latest_is_none(unfinished, capsys):
    (unfinished / MARKER).unlink()
    with pytest.raises(SystemExit):
        mnist_dense.main(["--resume", "latest", "--results-dir", str(unfinished.parents[1])])
    assert "holds no unfinished run" in capsys.readouterr().err


# ---- With more epochs -------------------------------------------------------------------------


def further(results, schedule, epochs=4):
    """Train a run of 2 epochs further, and give what its config.json says of that."""
    options = [*QUICK, "--results-dir", str(results)]
    mnist_dense.main([*options, "--schedule", schedule, "--name", schedule])
    more = ["--epochs", str(epochs), "--results-dir", str(results), "--figures", "none"]
    run = mnist_dense.main(["--resume", schedule, *more])
    return run, json.loads((run.folder / "config.json").read_text())["resumed"]


def test_a_schedule_that_changes_in_mid_run_is_told_and_recorded(tiny_data, tmp_path, capsys):
    run, (resumed,) = further(tmp_path, "cosine")
    assert (resumed["epochs"], resumed["schedule_changed_at"]) == (2, 2)
    line = "warning: from epoch 3 on the learning rate follows a schedule of 4 epochs"
    assert line in capsys.readouterr().err
    rates = run.history.column("learning_rate")
    assert rates[1] < rates[2]  # it had come down to zero, and starts again


def test_a_constant_rate_is_that_of_a_longer_run(tiny_data, tmp_path, capsys):
    run, (resumed,) = further(tmp_path, "constant")
    assert "schedule_changed_at" not in resumed and "schedule" not in capsys.readouterr().err
    options = [*QUICK, "--results-dir", str(tmp_path), "--schedule", "constant", "--epochs", "4"]
    whole = mnist_dense.main([*options, "--name", "whole"])
    assert not differing_columns(whole.history, run.history)


# ---- Folders of an earlier version ------------------------------------------------------------


def test_a_run_of_the_version_before_has_its_options(tmp_path):
    """Data that was called rendered, and augmentation that was switched off by --no-augment."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    args = resumed(tmp_path, "--resume", "one-rendered", "--epochs", 4)
    assert (args.engine, args.hidden, args.images, args.epochs) == ("numpy", (16,), 300, 4)
    assert (args.data, args.combinations, args.seeds) == ("synthetic", [{}], [1])
    plain = resumed(tmp_path, "--resume", "plain-rendered", script="fashion_cnn_augment")
    assert (plain.augmenter, plain.flip, plain.data) == ("none", True, "synthetic")
    assert (plain.network, plain.filters) == ("deep", 2)


def test_a_run_of_the_version_before_is_resumed(experiment, tiny_data, tmp_path, capsys):
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "mnist_dense" / "one-rendered"
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"fingerprint": tiny_data.fingerprint})
    with experiment(tmp_path, "--resume", "one-rendered", "--epochs", 4, "--hidden", 16) as runs:
        finish(*runs, epochs=4)
    assert "may differ in its last digits" in capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    assert config["synthetic"] and config["deterministic"] and config["epochs"] == 4
    assert not config.keys() & {"rendered", "repeats_exactly"}
