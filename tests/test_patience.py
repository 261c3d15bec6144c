"""`--patience`: training ends some epochs after the best, whose weights are kept."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import (
    assert_same_state,
    finish,
    kill_after_epoch,
    needs_real_data,
    parse,
    row,
    run_script,
)
from test_recorder import GOOD, Weights
from tiny import make_network, make_run, split_dataset, train

import mnist_dense
from common.errors import UserError
from experiment.gallery.page import measurements
from experiment.runs.checkpoints import checkpoint_paths
from experiment.runs.saved import read_run
from experiment.train.recorder import Recorder
from tools.rerun import differing_columns

LOSSES = (0.5, 0.3, 0.4, 0.3, 0.35, 0.1, 0.1)  # the best is epoch 2 until epoch 6


def epochs(training, losses, first=0):
    """Epochs with these validation losses, until training ends; weights as the epoch's number."""
    for epoch, loss in enumerate(losses, first):
        logs = GOOD | {"val_loss": loss, "val_accuracy": 0.5}
        training.epoch(epoch, epoch + 1, logs)
        if training.model.stop_training:
            return


def kept(folder):
    return sorted(path.stem for path in checkpoint_paths(folder))


@pytest.mark.parametrize(("patience", "trained", "best"), [(1, 3, 2), (3, 5, 2), (4, 7, 6)])
def test_training_ends_so_many_epochs_after_the_best_and_keeps_its_weights(
    patience, trained, best, tmp_path
):
    """An equal loss is no better one."""
    training = Weights(tmp_path, patience=patience, epochs=7)
    assert training.recorder.restore_checkpoint() == 0
    epochs(training, LOSSES)
    history = training.run.history
    assert (len(history.rows), history.kept) == (trained, best)
    assert history.out_of_patience == (patience < 4)
    assert not history.stopped and not history.failure
    training.recorder.finish()
    assert np.array_equal(training.values, np.full(5, best))


@pytest.mark.parametrize("killed", range(1, 6))
def test_a_killed_run_resumed_ends_at_the_same_epoch_with_the_same_weights(killed, tmp_path):
    """Also killed after its last epoch, which is then not followed by another."""
    training = Weights(tmp_path, patience=3, epochs=7)
    training.recorder.restore_checkpoint()
    epochs(training, LOSSES[:killed])
    again = Weights(tmp_path, patience=3, epochs=7)
    again.run.folder = training.run.folder
    done = again.recorder.restore_checkpoint()
    assert done == (7 if killed == 5 else killed)
    if done < 7:
        epochs(again, LOSSES[done:], done)
    assert len(again.run.history.rows) == 5 and again.run.history.out_of_patience
    again.recorder.finish()
    assert np.array_equal(again.values, np.full(5, 2))


def test_the_best_checkpoint_is_kept_and_a_damaged_last_one_does_no_harm(tmp_path, capsys):
    training = Weights(tmp_path, patience=4, epochs=7)
    epochs(training, LOSSES)
    folder = training.run.folder
    assert kept(folder) == ["checkpoint-6", "checkpoint-7"]
    training = Weights(tmp_path, patience=4, epochs=7)
    folder = training.run.folder
    epochs(training, LOSSES[:6])  # after epoch 6, the best, that of epoch 2 may be needed
    assert kept(folder) == ["checkpoint-2", "checkpoint-5", "checkpoint-6"]
    (folder / "checkpoint-6.npz").write_bytes(b"damaged")
    again = Weights(tmp_path, patience=4, epochs=7)
    again.run.folder = folder
    assert again.recorder.restore_checkpoint() == 5 and again.recorder.best[0][0] == 2
    (folder / "checkpoint-2.npz").unlink()
    again = Weights(tmp_path, patience=4, epochs=7)
    again.run.folder = folder
    with pytest.raises(UserError, match=r"checkpoint-2.*held the best weights, so start a new run"):
        again.recorder.restore_checkpoint()


@pytest.mark.parametrize(
    ("schedule", "losses", "noted"),
    [
        ("cosine", LOSSES, True),
        ("linear", LOSSES, True),
        ("cosine", (3, 2, 1), False),
        ("constant", LOSSES, False),
    ],
)
def test_it_says_what_is_kept_and_that_the_rate_was_not_yet_annealed(
    schedule, losses, noted, tmp_path, capsys
):
    training = Weights(tmp_path, patience=3, epochs=len(losses), schedule=schedule, quiet=False)
    epochs(training, losses)
    capsys.readouterr()
    training.recorder.finish()
    first, *rest = capsys.readouterr().out.splitlines()
    told = "trained 5 of 7 epochs, and kept the weights of epoch 2, with the lowest validation loss"
    assert noted is False or first == told
    assert len(rest) == noted and ("not yet annealed, 0.1:" in "".join(rest)) == noted


def test_a_training_that_fails_keeps_the_last_good_weights_as_ever(tmp_path):
    training = Weights(tmp_path, patience=3)
    epochs(training, LOSSES[:3])
    training.epoch(3, np.inf)
    training.recorder.finish()
    assert training.run.history.failure and np.array_equal(training.values, np.full(5, 3))


@pytest.mark.parametrize(
    "engine", ["keras", "numpy", pytest.param("tensorflow", marks=pytest.mark.slow)]
)
def test_every_engine_gives_back_the_best_weights(engine, tmp_path, monkeypatch):
    states = []

    def spoiled(recorder, state, original=Recorder.note_best):
        states.append(state)
        if len(states) == 3:  # as if validation had been better than it will ever be
            recorder.history.rows[-1]["validation_loss"] = 0
        original(recorder, state)

    monkeypatch.setattr(Recorder, "note_best", spoiled)
    run, network = make_run(tmp_path, engine=engine, patience=2, epochs=9), make_network(engine)
    history = train(network, split_dataset(), run)
    assert (len(history.rows), history.kept, history.out_of_patience) == (5, 3, True)
    variables = network.variables if engine == "keras" else network.parameters
    for values, saved in zip(variables, states[2], strict=False):
        assert np.array_equal(np.asarray(values), saved)
    assert not np.array_equal(states[2][0], states[4][0])


def test_a_run_with_patience_tests_the_kept_weights_and_tells_of_it(
    tiny_data, tmp_path, monkeypatch, capsys
):
    def worse(recorder, state, original=Recorder.note_best):
        row = recorder.history.rows[-1]
        row["validation_loss"] = (0.5, 0.4, 0.6, 0.7)[row["epoch"] - 1]
        original(recorder, state)

    monkeypatch.setattr(Recorder, "note_best", worse)
    options = "--engine numpy --hidden 8 --epochs 9 --patience 2 --figures curves --name a"
    call = ["--results-dir", str(tmp_path)]
    run = mnist_dense.main([*options.split(), *call])
    assert "trained 4 of 9 epochs, and kept the weights of epoch 2" in capsys.readouterr().out
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert (metrics["epochs"], metrics["kept_epoch"]) == (4, 2)
    assert metrics["out_of_patience"] and not metrics["stopped_early"]
    assert metrics["validation_loss"] == 0.4
    assert kept(run.folder) == ["checkpoint-2", "checkpoint-4"]
    with np.load(run.folder / "checkpoint-2.npz") as best:
        assert np.array_equal(best["state_0"], run.model.parameters[0])
    note = measurements(read_run(run.folder))["note"]
    assert note == "the weights of the lowest validation loss, epoch 2 of 4"
    # It is finished, also where it was asked for more epochs.
    for more in ([], ["--epochs", "20"]):
        with pytest.raises(SystemExit):
            mnist_dense.main(["--resume", "a", *more, *call])
        assert "is finished: --patience ended it" in capsys.readouterr().err


def test_a_run_killed_in_its_report_is_only_tested(tiny_data, tmp_path, monkeypatch):
    """Where no epoch is left to train, its weights are those of the best, too."""
    options = "--engine numpy --hidden 8 --epochs 40 --patience 1 --learning-rate 0.1 --shift 0"
    options += " --figures none --quiet --name"
    call = ["--results-dir", str(tmp_path)]
    whole = mnist_dense.main([*options.split(), "whole", *call])
    assert whole.history.out_of_patience and len(whole.history.rows) < 40

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("experiment.report.predict", killed)
        with pytest.raises(RuntimeError):
            mnist_dense.main([*options.split(), "cut", *call])
    cut = mnist_dense.main(["--resume", "cut", "--quiet", *call])
    assert not differing_columns(cut.history, whole.history)
    assert all(map(np.array_equal, cut.model.parameters, whole.model.parameters))
    assert cut.metrics["test_accuracy"] == whole.metrics["test_accuracy"]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--patience 3 --validation 0", "--patience needs validation images, and --validation 0"),
        ("--patience 3 --validation 0.1 0", "--patience needs validation images"),
        ("--patience 3 --distributed", "--patience does not go with --distributed"),
        ("--patience 0", "must be a whole number from 1"),
    ],
)
def test_patience_is_refused_in_one_line_where_it_means_nothing(argv, line, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("mnist_dense", *argv.split())
    answer = capsys.readouterr().err
    assert stop.value.code == 2 and line in answer and answer.count("\n") == 1


def test_too_few_images_to_validate_on_are_refused(tiny_data, tmp_path, capsys):
    argv = "--engine numpy --images 30 --validation 0.01 --patience 3 --results-dir"
    with pytest.raises(SystemExit):
        mnist_dense.main([*argv.split(), str(tmp_path)])
    assert "--patience needs validation images: raise --validation" in capsys.readouterr().err


def test_the_figure_marks_the_kept_epoch():
    from common.plotting.curves import curves

    columns = {name: [row(1)[name], row(2)[name]] for name in row(1)}
    plain, marked = curves([columns], "mnist", ""), curves([columns], "mnist", "", kept=[1])
    assert "weights of epoch 1, the best by validation loss" in marked.get_supxlabel()
    for axes, other in zip(marked.axes, plain.axes, strict=True):
        assert len(axes.lines) == len(other.lines) + 1
        assert 1 in [line.get_xdata()[0] for line in axes.lines if line.get_ls() == ":"]


@pytest.mark.slow
@needs_real_data
def test_a_script_killed_and_resumed_stops_at_the_same_epoch(tmp_path):
    script = "fashion_cnn_augment"
    rate = ["--schedule", "constant", "--optimizer", "adam", "--learning-rate", "0.01"]
    options = ["--images", "3000", "--epochs", "60", "--patience", "2", *rate]
    options += ["--filters", "8", "--figures", "none", "--results-dir", tmp_path, "--name"]
    assert run_script(script, *options, "whole").returncode == 0
    kill_after_epoch(3, script, *options, "killed")
    answer = run_script(script, "--resume", "killed", "--results-dir", tmp_path)
    assert answer.returncode == 0 and "kept the weights of epoch" in answer.stdout
    whole, folder = (tmp_path / script / name for name in ("whole", "killed"))
    assert json.loads((whole / "metrics.json").read_text())["out_of_patience"]
    assert kept(whole) == kept(folder) and len(kept(whole)) == 2
    for name in ("test_predictions.npz", *(f"{name}.npz" for name in kept(whole))):
        assert_same_state(whole / name, folder / name)


def test_an_earlier_run_has_no_patience(experiment, tmp_path):
    with experiment(tmp_path, "--name", "a") as runs:
        finish(*runs)
    run = SimpleNamespace(**vars(runs.results.args))
    assert run.patience is None
    assert measurements(read_run(runs.folder))["note"] == ""
