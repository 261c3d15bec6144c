"""What a run's files may hold: valid files with wrong values are refused in one line."""

import json
import math
import shutil

import numpy as np
import pytest
from conftest import QUICK, row
from saved_runs import CONFIG, change, save_run
from tiny import make_network

import mnist_dense
from benchmarks.wrong_files import read_wrong
from common.errors import UserError
from common.files import read_arrays, write_arrays
from experiment.runs.checkpoints import load_checkpoint, save_checkpoint
from experiment.runs.folder import read_config, read_metrics
from experiment.runs.history import COLUMNS, History, read_history, write_history
from experiment.train.fit import check_shapes
from tools.saved import load_model, read_runs


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": -1},
        {"seeds": []},
        {"seeds": [2]},  # `seed` is the first
        {"seeds": ["1"]},
        {"dataset": "cifar"},
        {"dataset": []},
        {"synthetic": 1},
        {"title": "MNIST\x1b[2J"},
        {"combinations": {}},
        {"combinations": []},
        {"combinations": [{"blocks": 1}, {}]},
        {"combinations": [{"colour": 1}]},
        {"combinations": [{"blocks": "one"}]},
        {"versions": ["2"]},
        {"resumed": [3]},
        {"epochs": None},
        {"epochs": True},
        {"hidden": [[4]]},
        {"rescale": 1},
        {"network": 3},
        {"dropout": math.nan},
        {"data_dir": "\0"},
    ],
)
def test_a_config_with_a_wrong_value_is_one_line(tmp_path, changes):
    save_run(tmp_path / "run", **changes)
    with pytest.raises(UserError, match=r"config\.json is damaged: ") as refused:
        read_config(tmp_path / "run")
    assert "\n" not in str(refused.value)


def test_a_config_without_what_every_run_has_is_refused_and_one_has_typed_options(tmp_path):
    save_run(tmp_path / "run", hidden=[4, 2], batch_size="all", learning_rate=None, future={"a": 1})
    config = read_config(tmp_path / "run")
    assert (config["hidden"], config["batch_size"], config["future"]) == ((4, 2), "all", {"a": 1})
    (tmp_path / "run" / "config.json").write_text(json.dumps({**CONFIG, "hidden": 8} | {}))
    assert read_config(tmp_path / "run")["hidden"] == (8,)
    (tmp_path / "run" / "config.json").write_text('{"script": "mnist_cnn"}')
    with pytest.raises(UserError, match="it lacks recipe, dataset"):
        read_config(tmp_path / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"test_accuracy": 1.5},
        {"test_accuracy": 0.91},  # not that of the confusion matrix
        {"test_accuracy": True},
        {"test_loss": "0.25"},
        {"parameters": 12.5},
        {"seconds": 3},
        {"seconds": {}},
        {"seconds": {"training": math.inf}},
        {"stopped_early": None},
        {"epochs": -1},
        {"confusion_matrix": [[9000, 1000]]},
        {"confusion_matrix": [[9000] * 9] * 10},
        {"per_class": {"0": 0.5}},
        {"seeds": [1, 2]},  # then it is the mean of several
    ],
)
def test_metrics_with_a_wrong_value_are_one_line(tmp_path, changes):
    save_run(tmp_path / "run")
    assert read_metrics(tmp_path / "run")["test_accuracy"] == 0.9
    change(tmp_path / "run" / "metrics.json", **changes)
    with pytest.raises(UserError, match=r"metrics\.json is damaged: "):
        read_metrics(tmp_path / "run")


@pytest.mark.parametrize(
    "changes",
    [{"epoch": 2}, {"loss": math.inf}, {"accuracy": 1.1}, {"seconds": -1}, {"learning_rate": None}],
)
def test_a_history_with_a_wrong_value_is_one_line(tmp_path, changes):
    unvalidated = {"validation_loss": math.nan, "validation_accuracy": math.nan}
    write_history(tmp_path, History([row(1, **unvalidated), row(2)]))
    assert len(read_history(tmp_path).rows) == 2
    write_history(tmp_path, History([row(1) | changes]))
    with pytest.raises(UserError, match=r"history\.csv is missing or damaged"):
        read_history(tmp_path)


def test_a_history_shorter_than_the_run_is_damaged(tmp_path):
    folder = save_run(tmp_path / "run")
    change(folder / "metrics.json", epochs=2)
    (run,) = read_runs(folder)
    assert len(run.history.rows) == 2
    (folder / "history.csv").write_text(",".join(COLUMNS))
    (run,) = read_runs(folder)
    with pytest.raises(UserError, match="it lacks epochs"):
        _ = run.history


@pytest.fixture
def runs(tiny_data, tmp_path):
    """A small run, and one of another seed."""

    def train(name, *options):
        argv = [*QUICK, "--results-dir", str(tmp_path), "--name", name, *options]
        return mnist_dense.main(argv).folder

    return train("one"), train("other", "--seed", "2", "--epochs", "3")


def altered(path, change):
    """Change the arrays of floats in a file."""
    arrays = read_arrays(path)
    floats = {name: change(v) for name, v in arrays.items() if v.dtype.kind == "f"}
    write_arrays(path, **arrays | floats)


def test_what_another_run_has_left_is_refused(runs, tmp_path, capsys):
    one, other = runs
    resume = ["--resume", "one", "--epochs", "4", "--results-dir", str(tmp_path)]
    shutil.copy(other / "checkpoint-3.npz", one)
    with pytest.raises(SystemExit):
        mnist_dense.main(resume)
    error = capsys.readouterr().err
    assert "checkpoint-3.npz is of another run, with other epochs, seed: remove it" in error
    assert (one / "checkpoint-3.npz").exists() and read_config(one)["epochs"] == 2
    (one / "checkpoint-3.npz").unlink()
    shutil.copy(other / "test_predictions.npz", one)
    with pytest.raises(UserError, match="of another run"):
        _ = read_runs(one)[0].predictions
    change(one / "metrics.json", parameters=1)
    with pytest.raises(UserError, match="has other parameters"):
        load_model(read_runs(one)[0])


@pytest.mark.parametrize("kind", ["U9", complex, object])
def test_arrays_of_something_else_than_numbers_are_refused(runs, kind, capsys):
    one, _ = runs
    for name in ("checkpoint-2.npz", "test_predictions.npz", "model.npz"):
        if kind is object:
            altered(one / name, lambda values: values * np.float32(np.nan))
        else:
            altered(one / name, lambda values: values.astype(kind))
    (run,) = read_runs(one)
    with pytest.raises(UserError, match=r"model\.npz is not the network"):
        load_model(run)
    with pytest.raises(UserError, match=r"predictions"):
        _ = run.predictions
    assert load_checkpoint(one) is None
    assert "holds other than finite numbers" in capsys.readouterr().err


def test_a_checkpoint_of_before_says_not_whose_it_is_and_is_taken(tmp_path):
    save_checkpoint(tmp_path, History([row(1)]), [np.zeros(3)])
    save_run(tmp_path / "run", epochs=1)
    shutil.copy(tmp_path / "checkpoint-1.npz", tmp_path / "run")
    assert load_checkpoint(tmp_path / "run").run == {}


def test_a_network_for_other_images_is_refused():
    import keras

    check_shapes(make_network("keras"))
    images = keras.Input((28, 28))
    flat = keras.layers.Flatten()(images)
    for wrong in (
        keras.Sequential([keras.Input((14, 14)), keras.layers.Flatten(), keras.layers.Dense(10)]),
        keras.Model(images, keras.layers.Dense(12)(flat)),
        keras.Model([images, keras.Input((28, 28))], keras.layers.Dense(10)(flat)),
        keras.Model(images, {"logits": keras.layers.Dense(10)(flat)}),
    ):
        with pytest.raises(UserError, match="the network takes"):
            check_shapes(wrong)


@pytest.mark.slow
def test_the_benchmark_of_wrong_files_finds_nothing_lost(tmp_path):
    tries = list(read_wrong(20, tmp_path))
    assert len({title for title, _ in tries}) == 3 and not [loss for _, loss in tries if loss]
