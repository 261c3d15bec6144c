"""The benchmarks' own code, without Keras; measuring itself takes too long here."""

import importlib
import io
import os
import random
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPOSITORY, finish, needs_real_data
from PIL import Image, ImageDraw
from scipy import ndimage

import mnist_cnn
from benchmarks import (
    classical,
    damaged_files,
    digit_pictures,
    distributed,
    drawn_digits,
    engines,
    faults,
    other_digits,
    own_digits,
    runs,
    scaling,
    sheet_pictures,
    time_spent,
    time_to_accuracy,
)
from common import files
from common.errors import UserError

BENCHMARKS = """accuracy backends classical distributed drawn_digits engines faults gpu own_digits
    published_results records scaling time_spent time_to_accuracy""".split()
IMPORT_ALL = """
import importlib, pkgutil, sys
import benchmarks
for module in pkgutil.iter_modules(benchmarks.__path__):
    importlib.import_module(f"benchmarks.{module.name}")
heavy = {"keras", "tensorflow", "jax", "torch", "sklearn", "matplotlib", "hypothesis"}
print(*(heavy & sys.modules.keys()))
"""
# Leaves what a script leaves, and notes what it was started with.
STUB = """
import json, os, sys
from pathlib import Path
if "--fail" in sys.argv:
    sys.exit("error: as asked")
words = dict(zip(sys.argv[1:], sys.argv[2:]))
folder = Path(words["--results-dir"]) / "stub" / words["--name"]
folder.mkdir(parents=True)
config = {key: "x" for key in "script recipe title fingerprint".split()}
config |= {"dataset": "mnist", "data_dir": None, "synthetic": False}
config |= {"seed": 1, "seeds": [1], "combinations": [{}]}
config |= {"words": sys.argv[1:], "backend": os.environ.get("KERAS_BACKEND")}
(folder / "config.json").write_text(json.dumps(config))
metrics = {"test_accuracy": 0.99, "epochs": 3, "seconds": {"training": 0.5}}
metrics |= {"test_loss": 0.1, "parameters": 10, "stopped_early": False}
(folder / "metrics.json").write_text(json.dumps(metrics))
lines = ["epoch,seconds,learning_rate,loss,accuracy,validation_loss,validation_accuracy"]
lines += [f"{epoch},{seconds},0.1,1,0.5,1,0.5" for epoch, seconds in enumerate((9, 2, 4), 1)]
(folder / "history.csv").write_text("\\n".join(lines) + "\\n")
"""


def test_no_benchmark_imports_anything_heavy_before_it_starts():
    command = [sys.executable, "-c", IMPORT_ALL]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert answer.stdout.strip() == ""


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_says_how_a_benchmark_is_started(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # which `gpu` would set
    with pytest.raises(SystemExit) as end:
        module.main()
    answer = capsys.readouterr().out
    assert end.value.code == 0 and f"\n    python -m benchmarks.{name}" in answer


@pytest.fixture
def stub(tmp_path, monkeypatch) -> Path:
    """A results folder, beside a repository whose script `stub.py` trains nothing."""
    monkeypatch.setattr(files, "REPOSITORY", tmp_path)
    (tmp_path / "stub.py").write_text(STUB)
    return tmp_path / "results"


def test_a_script_hands_over_what_its_run_left(stub):
    (run,) = runs.run_script("stub.py --epochs 3", "--data-dir", "a b", KERAS_BACKEND="jax")
    assert run.config["words"][:4] == ["--epochs", "3", "--data-dir", "a b"]
    assert run.config["words"][4:6] == ["--data", "real"] and run.config["backend"] == "jax"
    assert runs.epoch_seconds(run) == 3  # of 2 and 4; the first epoch holds the set-up
    assert run.metrics["test_accuracy"] == 0.99 and run.metrics["seconds"]["process"] > 0
    assert not stub.exists()  # it was in a temporary folder


def test_a_kept_run_is_started_anew_where_it_was_not_finished(stub):
    (stub / "stub" / "mine").mkdir(parents=True)
    (stub / "stub" / "mine" / "UNFINISHED").touch()
    runs.run_script("stub.py", results=stub, name="mine")
    assert {path.name for path in (stub / "stub" / "mine").iterdir()} == {
        "config.json",
        "history.csv",
        "metrics.json",
    }


def test_a_script_of_several_seeds_hands_over_each(experiment, tmp_path, monkeypatch):
    def start(command, results, *options, **settings):
        with experiment(results, "--name", "mine", "--repeats", 2) as several:
            for run in several:
                finish(run)
        return Namespace(wait=lambda: 0)

    monkeypatch.setattr(runs, "start_script", start)
    (run,) = runs.run_script("mnist_dense.py", results=tmp_path, name="mine")
    assert [len(training.history.rows) for training in run.trainings] == [2, 2]
    assert run.metrics["seconds"]["process"] > 0


def test_where_a_script_fails_the_benchmark_ends_with_its_status(stub, capfd):
    with pytest.raises(SystemExit) as end:
        runs.run_script("stub.py --fail")
    assert end.value.code == 1 and capfd.readouterr().err == "error: as asked\n"


def test_a_function_runs_in_a_process_of_its_own_and_so_do_its_errors(tmp_path):
    assert runs.in_own_process(os.getpid) != os.getpid()
    with pytest.raises(SystemExit, match="3"):
        runs.in_own_process(sys.exit, 3)
    with pytest.raises(UserError, match="missing or damaged"):
        runs.in_own_process(files.read_json, tmp_path / "absent.json")


def measure(folder: Path, *options: str, seeds: int = 2, measured: float = 1.0) -> list:
    """Run a benchmark of two programs, and give what it measured this time."""
    done = []
    parser = runs.BenchmarkParser("trial", "A trial.", seeds=seeds)
    argv = ["--results-dir", str(folder), *options]
    with parser.results(lambda kept: [{"programs": str(sorted(kept))}], argv=argv) as results:
        for name, seed in results.missing(["a", "b"], range(1, results.args.seeds + 1)):
            done.append(f"{name}{seed}")
            results.keep(name, seed, measured)
    return done


def test_programs_are_measured_in_turns_and_what_is_measured_is_kept(tmp_path, capsys):
    assert measure(tmp_path) == ["a1", "b1", "a2", "b2"]
    assert measure(tmp_path) == []
    assert measure(tmp_path, "--seeds", "3", measured=2.0) == ["a3", "b3"]
    kept = files.read_json(tmp_path / "trial.json")["measured"]["b"]
    assert kept == {"1": 1.0, "2": 1.0, "3": 2.0}
    assert measure(tmp_path, "--fresh") == ["a1", "b1", "a2", "b2"]
    assert "| ['a', 'b'] |" in capsys.readouterr().out


def test_a_stopped_benchmark_goes_on_where_it_was(tmp_path):
    class Stop(Exception):
        pass

    parser = runs.BenchmarkParser("trial", "A trial.", seeds=2)
    argv = ["--results-dir", str(tmp_path)]
    with pytest.raises(Stop), parser.results(lambda kept: [{"": ""}], argv=argv) as results:
        for name, seed in results.missing(["a", "b"], [1, 2]):
            if (name, seed) == ("b", 1):
                raise Stop
            results.keep(name, seed, 1.0)
    assert measure(tmp_path) == ["b1", "a2", "b2"]


def test_numbers_of_another_machine_are_not_mixed_with_those_of_this_one(tmp_path, monkeypatch):
    measure(tmp_path)
    monkeypatch.setattr(runs, "machine", lambda: "another")
    with pytest.raises(SystemExit) as end:
        measure(tmp_path)
    assert end.value.code == 1
    assert measure(tmp_path, "--fresh") == ["a1", "b1", "a2", "b2"]


def test_a_file_of_an_earlier_version_is_not_continued(tmp_path, capsys):
    (tmp_path / "trial.json").write_text("[]")
    with pytest.raises(SystemExit):
        measure(tmp_path)
    assert "--fresh measures again" in capsys.readouterr().err
    assert len(measure(tmp_path, "--fresh")) == 4


def test_measurements_of_another_form_are_of_an_earlier_version(tmp_path, capsys):
    argv = ["--results-dir", str(tmp_path)]
    of_before = {"mnist": {"RBF SVM (C 10)": {"test_accuracy": 0.98}}}
    files.write_json(
        tmp_path / "classical.json", {"conditions": runs.machine(), "measured": of_before}
    )
    with pytest.raises(SystemExit):
        classical.main(argv)
    assert "--fresh measures again" in capsys.readouterr().err
    parser = runs.BenchmarkParser("classical", "A trial.")
    with parser.results(classical.rows, argv=[*argv, "--fresh"]) as results:
        results.keep("SVM", 1, {"test_accuracy": 0.98, "fit_seconds": 2, "predict_seconds": 3})
    assert "| SVM    | 98.00%        | 2.0 s | 3.0 s" in capsys.readouterr().out


def test_accuracies_are_told_in_percent_with_their_standard_deviation():
    assert runs.percent([0.9950, 0.9952]) == "99.51 ± 0.01 %"
    assert runs.percent([0.5]) == "50.00 %" and runs.percent([]) == "-"


def test_seconds_are_told_as_median_range_and_ratio():
    rows = engines.rows({"keras": {"1": 2.0}, "numpy": {"1": 1.0, "2": 5.0, "3": 4.0}})
    assert list(rows[1].values()) == ["numpy", "4.00", "1.00", "5.00", "2.00"]


def test_the_time_is_that_of_the_first_epoch_whose_mean_reaches_the_goal():
    curves = {
        "1": [(10, 0.985), (20, 0.9912), (30, 0.9915)],
        "2": [(11, 0.986), (24, 0.9886), (33, 0.9911)],
        "3": [(12, 0.987), (21, 0.9905), (31, 0.9890)],
    }
    ours, theirs = time_to_accuracy.rows({"ours": {"1": [(7, 0.991)]}, "theirs": curves})
    assert ours["ours / theirs"] == "1.00"
    assert list(theirs.values())[1:4] == ["21.00", "20.00", "24.00"]
    assert theirs["test accuracy"] == "99.01 ± 0.13 %"  # means 98.6, 99.01 and 99.05 %
    assert theirs["ours / theirs"] == "0.33"


def test_multiply_adds_count_the_gradients_that_are_needed():
    model = mnist_cnn.build_model(Namespace(network="cosines", filters=48, dropout=0, rescale=True))
    by_hand = 57_600 + 2 * 691_200 + 3 * (153_600 + 1_280)
    assert time_spent.multiply_adds_of(model) == by_hand


def test_a_disturbed_turn_does_not_make_the_parts_longer():
    turns = {"1": [0.5, 0.8, 2.5, 1.6], "2": [0.9, 0.7, 1.3, 1.7]}
    assert time_spent.parts_of(turns) == pytest.approx([0.5, 0.7, 0.6, 0.3])


def test_a_program_that_never_gets_there_is_told_with_its_last_epoch():
    assert time_to_accuracy.at_goal([[(10, 0.97), (20, 0.98)]]) == [(20, 0.98)]


@pytest.mark.parametrize("others", [0, 0.5])
def test_the_load_is_that_of_other_processes(others, monkeypatch):
    def busy_seconds():
        return 100 + time.process_time() + others * time.perf_counter()

    monkeypatch.setattr(runs, "busy_seconds", busy_seconds)
    given, load = runs.with_load(sum, range(2_000_000))
    assert given == 1_999_999_000_000 and load == pytest.approx(others, abs=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_linux_counts_the_seconds_that_all_processes_take():
    before, own = runs.busy_seconds(), time.process_time()
    sum(range(5_000_000))
    assert runs.busy_seconds() - before >= time.process_time() - own - 0.05


def test_two_machines_exchange_each_gradient_once_around_the_ring(monkeypatch):
    network = "1 Gbit/s Ethernet"
    # Half of 4 MB each way, twice, at 125 MB a second, and two messages of 0.1 ms.
    exchange = 2 * (2e6 / 125e6 + 100e-6)
    gain = distributed.speed_up(1, 0.5, 1_000_000, 2, network)
    assert gain == pytest.approx(1 / (0.5 + exchange))
    monkeypatch.setitem(distributed.NETWORKS, network, (1e30, 0))
    assert distributed.speed_up(1, 0.5, 1_000_000, 8, network) == pytest.approx(8)
    assert distributed.speed_up(1, 0.6, 1_000_000, 8, network) == pytest.approx(1 / 0.225)


def test_costs_are_compared_with_the_first_line_of_their_group():
    augmentation, *_ = scaling.GROUPS.values()
    measured = {augmentation[0]: {"1": [2.0, 1e9]}, augmentation[1]: {"1": [3.0, 1.5e9]}}
    rows = [list(row.values()) for row in scaling.rows(measured)]
    assert rows[2][1:] == ["3.00", "3.00", "3.00", "1.50", "1.50", "0.50"]
    assert sum(len(row) > 1 for row in rows) == 2


MEASURED = {
    distributed: {"default CNN, batches of 128": {"1": [0.02, 0.011, 100_000]}},
    time_spent: {"float32": {"1": [0.5, 0.8, 1.4, 1.5], "2": [0.6, 0.8, 1.3, 1.6]}},
    time_to_accuracy: {"Keras's example": {"1": [(10, 0.98), (20, 0.991)]}},
}


@pytest.mark.parametrize("module", MEASURED, ids=lambda module: module.__name__)
def test_what_has_been_measured_so_far_is_written_as_table_and_figure(module, tmp_path):
    parser = runs.BenchmarkParser("trial", "A trial.")
    argv = ["--results-dir", str(tmp_path)]
    with parser.results(module.rows, module.draw, argv) as results:
        ((name, by_number),) = MEASURED[module].items()
        for number, measured in by_number.items():
            results.keep(name, number, measured)
    assert runs.machine() in (tmp_path / "trial.md").read_text(encoding="utf-8")
    with Image.open(tmp_path / "trial.png") as picture:
        assert min(picture.size) > 100
    assert {path.name for path in tmp_path.iterdir()} == {"trial.json", "trial.md", "trial.png"}


HISTORY = """epoch,seconds,learning_rate,loss,accuracy,validation_loss,validation_accuracy
1,{seconds},0.1,{loss},0.5,1,0.5
"""


def leave_run(folder: Path, seconds: float = 1, loss: float = 2, weight: float = 0) -> Path:
    """A run's folder with a history and a checkpoint, which holds times, too."""
    folder.mkdir()
    (folder / "history.csv").write_text(HISTORY.format(seconds=seconds, loss=loss))
    state = {"w": np.array([weight]), "history": np.array([seconds])}
    files.write_arrays(folder / "checkpoint-1.npz", **state)
    return folder


def test_two_trainings_are_the_same_but_for_their_times(tmp_path):
    whole, same = leave_run(tmp_path / "whole"), leave_run(tmp_path / "same", seconds=3)
    (same / ".lock").touch()
    assert faults.difference(whole, same) is None
    other = leave_run(tmp_path / "loss", loss=2.5)
    assert faults.difference(whole, other) == "loss: history.csv, ['loss'] differ"
    other = leave_run(tmp_path / "weight", weight=1e-7)
    assert faults.difference(whole, other) == "weight: checkpoint-1.npz differs"
    (same / "UNFINISHED").touch()
    assert faults.difference(whole, same) == "same: files ['UNFINISHED']"


def test_an_epoch_that_is_trained_again_after_a_kill_is_a_loss(tmp_path):
    before = [{tmp_path: [{"epoch": 1, "seconds": 2.5}]}]
    now = {tmp_path: [{"epoch": 1, "seconds": 2.5}, {"epoch": 2, "seconds": 2.0}]}
    assert faults.trained_again(before, now) is None
    now[tmp_path][0] = {"epoch": 1, "seconds": 2.75}
    assert "after epoch 1" in faults.trained_again(before, now)


def test_a_file_that_is_damaged_or_left_over_is_a_loss(tmp_path):
    run = leave_run(tmp_path / "run")
    assert faults.broken(run) is None and faults.broken(tmp_path / "absent") is None
    (run / ".123-metrics.json").touch()
    assert "damaged" in faults.broken(run)  # an empty file is no JSON
    (run / ".123-metrics.json").rename(run / ".123-model.keras")
    assert "left over" in faults.broken(run)


def test_losses_are_counted_by_fault_and_printed(capsys):
    tries = iter([("kill", None), ("kill", "an epoch"), ("disk", None)])
    counts = faults.count(tries)
    assert counts == {"kill": (2, 1), "disk": (1, 0)}
    assert "LOST, kill: an epoch\n" in capsys.readouterr().out
    row = next(faults.rows({"some": {"counts": counts}}))
    assert row == {"fault": "kill", "tried": "2", "survived": "1", "lost": "1"}


def test_a_file_is_damaged_differently_each_time_and_the_same_with_the_same_seed():
    content = bytes(range(200))
    copies = [
        [damaged_files.damaged(content, generator) for _ in range(200)]
        for generator in (random.Random(1), random.Random(1))
    ]
    assert copies[0] == copies[1] and len(set(copies[0])) > 190
    assert any(copy.startswith(content[:50]) for copy in copies[0])
    lengths = [len(copy) for copy in copies[0]]
    assert min(lengths) < 50 and max(lengths) > 300


def test_a_damaged_file_may_be_refused_in_one_line_and_nothing_else(tmp_path):
    def refuse(error: Exception):
        def read(path: Path) -> None:
            raise error

        return damaged_files.failure(read, tmp_path)

    assert damaged_files.failure(lambda path: path, tmp_path) is None
    assert refuse(UserError("file is damaged")) is None
    assert refuse(UserError("two\nlines")) == "more than one line"
    assert "ZeroDivisionError" in refuse(ZeroDivisionError("1 / 0"))


def one() -> np.ndarray:
    """A digit, uint8 (28, 28)."""
    digit = np.zeros((28, 28), np.uint8)
    digit[5:23, 12:16] = 255
    return digit


@pytest.mark.parametrize("kind", {**digit_pictures.KINDS, **sheet_pictures.KINDS})
def test_a_digit_is_found_in_every_kind_of_picture(kind):
    file = own_digits.KINDS[kind](one(), np.random.default_rng(2))
    (found,) = own_digits.read(file).found
    form = found.forms[0]
    assert own_digits.resize(file).shape == form.shape == (28, 28)
    rows, columns = (np.ptp(np.flatnonzero((form > 127).any(axis=axis))) for axis in (1, 0))
    assert rows > 2 * columns  # it still is a one


def test_a_skeleton_is_one_pixel_wide_and_unbroken():
    ring = ndimage.distance_transform_edt(np.pad(np.zeros((1, 1)), 30, constant_values=1))
    skeleton = digit_pictures.skeleton((ring > 12) & (ring < 20))
    _, parts = ndimage.label(skeleton, np.ones((3, 3)))
    assert parts == 1 and 80 < skeleton.sum() < 110  # about the circumference, 2 pi 16
    _, around = ndimage.label(~skeleton)
    assert around == 2  # inside and outside


def test_an_unreadable_picture_counts_as_misread():
    file = io.BytesIO()
    Image.new("L", (40, 40), 255).save(file, "PNG")
    assert own_digits.read(file.getvalue()) is None


def test_a_sheet_lies_where_its_corners_are():
    corners = np.array([(20, 30), (10, 150), (95, 140), (90, 25)], float)  # rows and columns
    sheet, table = np.ones((60, 80, 3)), np.zeros((120, 180, 3))
    seen = sheet_pictures.laid(sheet, corners, table)[..., 0] > 0.5
    drawn = Image.new("1", (180, 120))
    ImageDraw.Draw(drawn).polygon([(x, y) for y, x in corners], fill=1)
    assert (seen != np.asarray(drawn)).sum() < 0.03 * seen.sum()  # its rim


@pytest.mark.parametrize("seed", range(5))
def test_the_margin_around_a_sheet_is_as_wide_as_said(seed):
    generator = np.random.default_rng(seed)
    corners, shape = sheet_pictures.outline(700, 1000, generator)
    margins = np.concatenate([corners.min(axis=0) / shape, 1 - corners.max(axis=0) / shape])
    outside = margins < 0
    assert outside.sum() <= 2 and (margins > -0.06).all() and (margins < 0.151).all()
    assert (margins[~outside] > 0.019).all()


def test_digits_of_other_hands_are_enlarged_with_ink_dark_or_light():
    digit = np.zeros((8, 8), np.uint8)
    digit[:, 3:5] = 255
    for name, margin in (("20x", 0), ("margin", 64)):
        for polarity, ink in (("dark on light", 0), ("light on dark", 255)):
            file = other_digits.KINDS[f"8 x 8, {name}, {polarity}"](digit, None)
            picture = np.asarray(Image.open(io.BytesIO(file)))
            assert picture.shape == (160 + 2 * margin,) * 2
            assert picture[80 + margin, 80 + margin] == ink
            assert picture[80 + margin, margin] == 255 - ink
    assert ndimage.center_of_mass(other_digits.centred(digit)) == pytest.approx((13.5, 13.5))


def test_only_wrong_answers_without_a_warning_count_as_sure(monkeypatch):
    file = digit_pictures.KINDS["large, black on white"](one(), np.random.default_rng(2))
    answers = [(0.99, []), (0.99, ["not sure"]), (0.8, []), (0.99, [])]
    answers = [(np.array([[1 - p, p]]), warnings) for p, warnings in answers]
    monkeypatch.setattr(own_digits, "ask", lambda run, readings: answers)
    monkeypatch.setattr(own_digits, "load_model", lambda _: Ones())
    digits, labels = np.stack([one()] * 4), np.array([0, 0, 0, 1])
    run = SimpleNamespace(trainings=[None])
    counts = own_digits.measure(run, [file] * 4, digits, labels)
    assert (counts["wrong"], counts["wrong and sure"], counts["processed"]) == (3, 1, 1)
    assert counts["in MNIST's own form"] == 1 and counts["one digit found"] == 4


class Ones:
    """A network that takes all for a 1."""

    def predict(self, images, verbose):
        return np.eye(2)[np.ones(len(images), int)]


@pytest.mark.slow
@needs_real_data
def test_the_clock_of_our_program_runs_from_the_network_to_its_test():
    ((seconds, reached),) = runs.in_own_process(time_to_accuracy.ours, 1)
    assert seconds > 0.5 and reached > 0.98


def test_a_digit_becomes_the_path_of_a_pen():
    seven = [(6, 7), (20, 7), (11, 23)]
    image = Image.new("L", (28 * 8, 28 * 8))
    thick = [(8 * x, 8 * y) for x, y in seven]
    ImageDraw.Draw(image).line(thick, fill=255, width=24, joint="curve")
    paths = drawn_digits.pen_paths(np.asarray(image.resize((28, 28))))
    (path,) = (path / drawn_digits.FINER for path in paths)
    corner = np.linalg.norm(path - seven[1], axis=1)
    assert corner.min() < 2 and 0 < corner.argmin() < len(path) - 1
    ends = sorted(path[[0, -1]].tolist(), key=lambda end: end[1])
    assert np.abs(np.array(ends) - [seven[0], seven[2]]).max() < 2.5
    ring = np.hypot(*(np.indices((28, 28)) - 13.5))
    (path,) = drawn_digits.pen_paths(np.uint8(255 * ((ring > 5) & (ring < 8))))
    distance = np.linalg.norm(path / drawn_digits.FINER - 14, axis=1)
    assert abs(distance.mean() - 6.5) < 0.5 and distance.std() < 0.4
    assert np.linalg.norm(path[0] - path[-1]) < 3 * drawn_digits.FINER  # closed


def test_a_drawn_digit_stays_on_the_pad():
    generator = np.random.default_rng(1)
    for _ in range(20):
        (path,) = drawn_digits.placed([np.array([[3.0, 90], [40, 10]])], generator)
        assert path.min() >= 0.05 and path.max() <= 0.95
        assert 0.35 <= np.ptp(path, axis=0).max() <= 0.85
