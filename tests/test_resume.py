"""Runs that were killed go on from their last whole epoch, and end as if nothing had been."""

import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import (
    REPOSITORY,
    SCRIPTS,
    assert_same_state,
    kill_after_epoch,
    needs_real_data,
    run_script,
)
from test_runs import DEVICE, dataset, options, row
from test_training import ENGINES, make_network, make_run, small  # noqa: F401

import mnist_dense
from common.errors import UserError
from common.files import lock
from experiment.options import parse
from experiment.runs.checkpoints import checkpoint_paths, load_checkpoint, save_checkpoint
from experiment.runs.folder import MARKER, Experiment, History, read_history
from experiment.train.training import train

STATE = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7)]


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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batches", [0, 12, 23])  # of five an epoch; Keras takes some in advance
def test_a_killed_training_ends_as_one_that_was_not(engine, batches, small, tmp_path):  # noqa: F811
    def start(run, batches):
        network = make_network(engine)
        history = train(network, small, run, killed_after(batches))
        return history, network.predict(small.validation_images, verbose=0)

    changes = {"epochs": 6, "engine": engine, "learning_rate": 0.01}
    whole, logits = start(make_run(tmp_path, **changes), 1000)
    run = make_run(tmp_path, **changes)
    with pytest.raises(Exception, match="Killed" if engine == "keras" else None):
        start(run, batches)
    assert len(read_history(run.folder).rows) == batches // 5 or engine == "keras"
    checkpoint = load_checkpoint(run.folder)
    kept = checkpoint.history.rows if checkpoint else []
    again, resumed_logits = start(run, 1000)
    assert np.array_equal(logits, resumed_logits)
    assert again.rows[: len(kept)] == kept  # with their times: they were not trained again
    for column in ("epoch", "learning_rate", "loss", "accuracy", "validation_loss"):
        assert again.column(column) == whole.column(column)
    assert read_history(run.folder).column("loss") == whole.column("loss")


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


def test_a_checkpoint_of_another_network_is_refused(small, tmp_path):  # noqa: F811
    run = make_run(tmp_path, engine="numpy")
    save_checkpoint(run.folder, History([row(1)]), STATE)
    with pytest.raises(UserError, match="of another network"):
        train(make_network("numpy"), small, run)


def experiment(folder, **changes):
    return Experiment(options(folder, script="mnist_dense", **changes), dataset(), DEVICE)


def test_a_run_under_way_is_not_resumed_and_an_ended_one_only_for_more(tmp_path):
    with experiment(tmp_path, name="a") as first:
        with pytest.raises(UserError, match="still under way"):
            experiment(tmp_path, resume=first.folder)
        first.overview.write_json("metrics.json", {"epochs": 2, "seconds": {"training": 1.0}})
        first.overview.write_history(History([row(1), row(2)]))
    assert not (first.folder / ".lock").exists()
    with pytest.raises(UserError, match="is finished: more --epochs"):
        experiment(tmp_path, resume=first.folder)
    assert not (first.folder / ".lock").exists()
    with experiment(tmp_path, resume=first.folder, epochs=3) as second:
        assert [run.folder for run in second if setattr(run, "history", History()) is None]
    config = json.loads((first.folder / "config.json").read_text())
    assert config["epochs"] == 3 and len(config["resumed"]) == 1


def test_a_result_is_not_trained_over_where_its_checkpoint_is_gone(tmp_path):
    with experiment(tmp_path, name="a") as first:
        first.overview.write_json("metrics.json", {"epochs": 2, "seconds": {"training": 1.0}})
        (first.folder / "test_predictions.npz").touch()
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    with pytest.raises(UserError, match="its checkpoint is gone"):
        experiment(tmp_path, resume=first.folder, epochs=3)
    assert {path: path.read_bytes() for path in first.folder.iterdir()} == before
    # Stopped in its first epoch, it has a result all the same.
    stopped = {"epochs": 0, "stopped_early": True, "seconds": {"training": 1.0}}
    first.overview.write_json("metrics.json", stopped)
    with experiment(tmp_path, resume=first.folder) as second:
        assert not second.overview.metrics


def test_finished_members_of_a_sweep_are_not_run_again(tmp_path):
    sweep = {"combinations": [{"hidden": (8,)}, {"hidden": (4,)}], "repeats": 2}
    with pytest.raises(Killed), experiment(tmp_path, name="a", **sweep) as first:
        for run in first:
            if len(first.runs) == 3:
                raise Killed
            run.write_json("metrics.json", {"epochs": 2, "seconds": {"training": 1.0}})
            run.history = History([row(1), row(2)])
            run.write_history(run.history)
    ran = []
    with experiment(tmp_path, resume=first.folder, **sweep) as second:
        for run in second:
            ran.append(run.folder.relative_to(first.folder).parts)
            run.history = History()
    assert ran == [("hidden-4", "seed-3"), ("hidden-4", "seed-4")]
    assert len(second.runs) == 4 and len(second.runs[0].history.rows) == 2


def test_other_images_are_refused_and_another_machine_is_a_warning(tmp_path, capsys):
    with pytest.raises(Killed), experiment(tmp_path, name="a") as first:
        raise Killed
    path = first.folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"cores": 1000}))
    (first.folder / ".123-model.keras").write_text("half")
    with experiment(tmp_path, resume=first.folder):
        pass
    assert "(cores)" in capsys.readouterr().err
    assert not (first.folder / ".123-model.keras").exists()
    path.write_text(json.dumps(config | {"fingerprint": "1" * 64}))
    with pytest.raises(UserError, match="other images"):
        experiment(tmp_path, resume=first.folder)
    path.write_text(json.dumps(config | {"fingerprint": "1" * 64, "rendered": True}))
    with pytest.raises(UserError, match="with --data rendered"):
        experiment(tmp_path, resume=first.folder)
    path.write_text(json.dumps(config | {"backend": "jax"}))
    with pytest.raises(UserError, match="set KERAS_BACKEND=jax"):
        experiment(tmp_path, resume=first.folder)


@pytest.fixture
def unfinished(tmp_path):
    """A run's folder as `mnist_dense.py --hidden 64,32 --epochs 5` leaves it when killed."""
    argv = ["--hidden", "64,32", "--epochs", "5", "--name", "a", "--results-dir", str(tmp_path)]
    first = Experiment(read_options(argv), dataset(), DEVICE)
    first.lock.release()
    return first.folder


def read_options(argv):
    name = mnist_dense.__file__
    return parse(name, "", mnist_dense.RECIPES, mnist_dense.add_network_options, argv)


def test_a_resumed_run_has_the_options_of_its_start(unfinished):
    place = ["--results-dir", str(unfinished.parent.parent)]
    for name in ("a", "latest"):
        args = read_options(["--resume", name, *place, "--figures", "none"])
        assert (args.hidden, args.epochs, args.figures) == ((64, 32), 5, "none")
        assert args.resume == unfinished
        assert "--resume" not in args.command_line and "64,32" in args.command_line
    assert read_options([f"--resume={name}", *place, "--epochs", "9"]).epochs == 9
    assert read_options(["--resume", "a", *place, "--hidden", "64,32"]).hidden == (64, 32)


@pytest.mark.parametrize(
    ("argv", "answer", "status"),
    [
        (["--resume", "a", "--hidden", "64"], "was started with hidden 64,32", 2),
        (["--resume", "a", "--epochs", "4"], "was started with epochs 5", 2),
        (["--resume", "a", "--recipe", "quick"], "was started with recipe default", 2),
        (["--resume", "a", "--precision", "float32"], "was started with precision auto", 2),
        (["--resume", "aa"], "no run 'aa' in .*; did you mean a?", 1),
        (["--resume", "../a"], "no run '../a'", 1),
    ],
)
def test_other_options_and_names_are_refused_in_one_line(argv, answer, status, unfinished, capsys):
    with pytest.raises(SystemExit) as stop:
        read_options([*argv, "--results-dir", str(unfinished.parent.parent)])
    line = capsys.readouterr().err
    assert stop.value.code == status and line.count("\n") == 1
    assert answer.partition(" in .*")[0] in line


def test_a_recipe_that_has_changed_or_a_damaged_config_is_refused(unfinished, capsys):
    argv = ["--resume", "a", "--results-dir", str(unfinished.parent.parent)]
    path = unfinished / "config.json"
    config = json.loads(path.read_text())
    for content, answer in [
        (json.dumps(config | {"batch_size": 7}), "the recipe default is another"),
        (json.dumps(config | {"command_line": "rm"}), "no command line"),
        ("{", "is missing or damaged"),
    ]:
        path.write_text(content)
        with pytest.raises(SystemExit):
            read_options(argv)
        assert answer in capsys.readouterr().err


def test_without_an_unfinished_run_latest_is_none(unfinished, capsys):
    (unfinished / MARKER).unlink()
    with pytest.raises(SystemExit):
        read_options(["--resume", "latest", "--results-dir", str(unfinished.parent.parent)])
    assert "holds no unfinished run" in capsys.readouterr().err


def test_a_folder_is_one_process_s_own(tmp_path):
    held = lock(tmp_path)
    with pytest.raises(UserError, match="still under way"):
        lock(tmp_path)
    held.release()
    lock(tmp_path).release()


@needs_real_data
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_is_killed_goes_on_and_ends_the_same(script, tmp_path):
    short = ["--images", "3000", "--epochs", "4", "--figures", "none", "--results-dir", tmp_path]
    assert run_script(script, *short, "--name", "whole").returncode == 0
    kill_after_epoch(2, script, *short, "--name", "killed")
    answer = run_script(script, "--resume", "latest", "--results-dir", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "going on after epoch" in answer.stdout
    whole, folder = (tmp_path / script / name for name in ("whole", "killed"))
    for name in ("test_predictions.npz", "checkpoint-4.npz"):
        assert_same_state(whole / name, folder / name)
    assert {path.name for path in whole.iterdir()} == {path.name for path in folder.iterdir()}


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
    rows = json.loads((tmp_path / "faults.json").read_text())["fuzz"]
    assert len(rows) == 8 and all(row["lost"] == "0" for row in rows)
