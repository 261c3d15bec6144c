import argparse
import json
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from common.data.load import Dataset
from common.errors import Interrupted, UserError
from common.files import create_folder, write_atomically
from experiment.backend.device import Device
from experiment.runs.folder import (
    MARKER,
    Experiment,
    History,
    Run,
    read_history,
)

DEVICE = Device("CPU, 2 cores", "there is nothing else", "tensorflow")


def options(folder, **changes):
    values = {
        "script": "mnist_dense",
        "recipe": "default",
        "name": None,
        "resume": None,
        "epochs": 2,
        "results_dir": folder,
        "data_dir": None,
        "figures": "all",
        "seed": 3,
        "repeats": 1,
        "quiet": True,
        "command_line": ["mnist_dense.py"],
        "started": datetime(2026, 11, 21, 9, 30, 0, tzinfo=UTC),
        "hidden": (32, 16),
        "label_smoothing": 0,
    }
    values |= changes
    first, count = values["seed"], values["repeats"]
    values = {"seeds": list(range(first, first + count)), "combinations": [{}]} | values
    return argparse.Namespace(**values)


def dataset(rendered=False):
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8)
    return Dataset(
        name="mnist",
        title="MNIST",
        class_names=tuple("0123456789"),
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        source="a test",
        fingerprint="0" * 64,
        rendered=rendered,
    )


def row(epoch, **changes):
    values = {"seconds": 1.5, "learning_rate": 1e-3, "loss": 0.1 / epoch, "accuracy": 0.9}
    return {
        "epoch": epoch,
        **values,
        "validation_loss": 0.3,
        "validation_accuracy": 1 / 3,
    } | changes


def test_history_is_read_back_exactly(tmp_path):
    history = History([row(1), row(2, validation_loss=math.nan)])
    Run(tmp_path, options(tmp_path), 3, DEVICE).write_history(history)
    again = read_history(tmp_path)
    assert again.column("loss") == history.column("loss")
    assert again.column("validation_accuracy") == history.column("validation_accuracy")
    assert again.column("validation_loss")[0] == 0.3
    assert math.isnan(again.column("validation_loss")[1])


@pytest.mark.parametrize(
    "content", [None, b"", b"epoch,loss\n1,2\n", b"\xff\xfe\x00", b"epoch\nx\n"]
)
def test_a_damaged_history_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "history.csv").write_bytes(content)
    if content == b"":
        assert read_history(tmp_path).rows == []
        return
    with pytest.raises(UserError, match=r"history\.csv is missing or damaged"):
        read_history(tmp_path)


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "config.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text, where bytes belong")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_vanished_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "gone" / "metrics.json", b"{}")


def test_a_taken_name_is_refused_or_numbered(tmp_path):
    assert create_folder(tmp_path, "a").name == "a"
    with pytest.raises(UserError, match="choose another --name"):
        create_folder(tmp_path, "a")
    assert create_folder(tmp_path, "a", numbered=True).name == "a-2"


def test_runs_started_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: create_folder(tmp_path, "a", numbered=True), range(64)))
    assert len(set(folders)) == 64


def test_a_results_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="--results-dir"):
        create_folder(tmp_path / "results", "a", numbered=True)


def test_an_experiment_names_its_folder_by_the_time_and_says_rendered(tmp_path):
    assert Experiment(options(tmp_path), dataset(), DEVICE).folder == (
        tmp_path / "mnist_dense" / "2026-11-21_09-30-00"
    )
    assert Experiment(options(tmp_path), dataset(), DEVICE).folder.name.endswith("-2")
    rendered = Experiment(options(tmp_path, name="mine"), dataset(rendered=True), DEVICE)
    assert rendered.folder.name == "mine-rendered"


def test_the_marker_goes_only_when_all_is_well(tmp_path):
    with Experiment(options(tmp_path, name="good"), dataset(), DEVICE) as good:
        assert (good.folder / MARKER).exists()
    assert not (good.folder / MARKER).exists()
    for name, error in (("bad", ValueError("no luck")), ("stopped", Interrupted(130))):
        with (
            pytest.raises(type(error)),
            Experiment(options(tmp_path, name=name), dataset(), DEVICE) as experiment,
        ):
            raise error
        assert (experiment.folder / MARKER).exists()
    assert "no luck" in (tmp_path / "mnist_dense" / "bad" / MARKER).read_text()


def test_config_holds_what_ran(tmp_path):
    experiment = Experiment(options(tmp_path), dataset(), DEVICE)
    config = json.loads((experiment.folder / "config.json").read_text(encoding="utf-8"))
    assert config["hidden"] == [32, 16]
    assert config["seed"] == 3
    assert config["fingerprint"] == "0" * 64
    assert config["device"] == "CPU, 2 cores"
    assert config["versions"]["numpy"] == np.__version__
    assert config["started"] == "2026-11-21T09:30:00+00:00"


def test_repeats_are_runs_in_folders_of_their_seeds_until_one_is_stopped(tmp_path):
    experiment = Experiment(options(tmp_path, repeats=3), dataset(), DEVICE)
    seeds = []
    for run in experiment:
        seeds.append(run.seed)
        assert json.loads((run.folder / "config.json").read_text())["seed"] == run.seed
        run.history = History(stopped=2 if run.seed == 4 else None)
    assert seeds == [3, 4]
    assert [run.folder.name for run in experiment.runs] == ["seed-3", "seed-4"]


def test_each_combination_of_options_is_a_run_in_a_folder_of_its_own(tmp_path):
    combinations = [{"hidden": (8,), "engine": "numpy"}, {"hidden": (8, 4), "engine": "keras"}]
    args = options(tmp_path, combinations=combinations, repeats=2, name="sweep")
    with Experiment(args, dataset(), DEVICE) as experiment:
        for run in experiment:
            run.history = History([row(1)])
            config = json.loads((run.folder / "config.json").read_text())
            assert tuple(config["hidden"]) == run.args.hidden
            assert (config["seed"], config["combinations"]) == (run.seed, [{}])
            wanted = "numpy" if run.args.engine == "numpy" else "tensorflow"
            assert config["backend"] == wanted
    assert [str(run.folder.relative_to(experiment.folder)) for run in experiment.runs] == [
        str(Path(f"hidden-{units}") / f"seed-{seed}")
        for units in ("8_engine-numpy", "8,4_engine-keras")
        for seed in (3, 4)
    ]
    overview = json.loads((experiment.folder / "config.json").read_text())
    assert [those["engine"] for those in overview["combinations"]] == ["numpy", "keras"]
    assert not (experiment.folder / MARKER).exists()


def test_a_failure_ends_a_single_run_and_is_a_warning_among_several(tmp_path, capsys):
    failed = History(failure="the loss became nan")
    with (
        pytest.raises(UserError, match="nan"),
        Experiment(options(tmp_path, name="alone"), dataset(), DEVICE) as experiment,
    ):
        for run in experiment:
            run.history = failed
    assert "nan" in (experiment.folder / MARKER).read_text()

    args = options(tmp_path, name="several", combinations=[{"hidden": (8,)}, {"hidden": (4,)}])
    with Experiment(args, dataset(), DEVICE) as experiment:
        for run in experiment:
            run.history = failed if run.args.hidden == (8,) else History([row(1)])
    assert capsys.readouterr().err == "warning: the loss became nan\n"
    assert "nan" in (experiment.folder / "hidden-8" / MARKER).read_text()
    assert not (experiment.folder / "hidden-4" / MARKER).exists()
