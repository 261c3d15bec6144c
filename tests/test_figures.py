"""The figures of whole runs, at their end and by `python -m tools.report`."""

import contextlib
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

import mnist_cnn
import mnist_dense
from common.files import read_arrays, read_json, write_atomically
from experiment import figures
from experiment.runs.saved import read_run
from tools import report

SHORT = "--data rendered --epochs 1 --images 300 --quiet".split()
ALL = {"curves", "confusion_matrix", "calibration", "mistakes", "filters", "augmentation"}
CNN = ALL | {"feature_maps", "attention"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with a CNN, a sweep by hand, and runs with fewer figures."""
    results = tmp_path_factory.mktemp("results")
    by_hand = ["--engine", "numpy", "--hidden", "8"]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        for script, name, options in (
            (mnist_cnn, "cnn", ["--blocks", "1"]),
            (mnist_dense, "sweep", [*by_hand, "--activation", "tanh", "relu"]),
            (mnist_dense, "none", [*by_hand, "--repeats", "2", "--figures", "none"]),
            (mnist_dense, "few", [*by_hand, "--figures", "curves"]),
        ):
            script.main([*SHORT, *options, "--name", name, "--results-dir", str(results)])
    assert errors.getvalue() == ""
    return results


@pytest.fixture
def results(finished, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(finished, tmp_path / "results")


def pictures(folder):
    """The figures below a folder, by their path without the ending."""
    return {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.png")}


def test_a_run_has_the_figures_that_fit_its_network(finished):
    assert pictures(finished / "mnist_cnn" / "cnn-rendered") == CNN
    sweep = finished / "mnist_dense" / "sweep-rendered"
    wanted = {f"activation-{member}/{name}" for member in ("tanh", "relu") for name in ALL}
    assert pictures(sweep) == wanted | {"sweep"}


def test_fewer_figures_are_drawn_on_request(finished):
    assert pictures(finished / "mnist_dense" / "none-rendered") == set()
    assert pictures(finished / "mnist_dense" / "few-rendered") == {"curves"}


def test_nothing_to_show_is_a_wrong_option(capsys):
    with pytest.raises(SystemExit) as stop:
        mnist_dense.main(["--figures", "none", "--show"])
    assert stop.value.code == 2 and "nothing to --show" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cnn-rendered", "sweep-rendered"])
def test_a_report_draws_the_same_pictures_again(results, name, capsys):
    (folder,) = results.glob(f"*/{name}")
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    for path in before:
        path.unlink()
    report.main([name, "--results-dir", str(results)])
    assert capsys.readouterr().err == ""
    for path, content in before.items():
        assert path.read_bytes() == content, path


def test_figures_left_out_can_be_drawn_later(results, capsys):
    report.main(["none-rendered", "--figures", "curves", "--results-dir", str(results)])
    folder = results / "mnist_dense" / "none-rendered"
    assert pictures(folder) == {"curves", "seed-1/curves", "seed-2/curves"}
    assert capsys.readouterr().out.splitlines()[-1] == f"figures in {folder}"


def test_images_that_are_gone_cost_only_the_figures_of_them(results, capsys):
    folder = results / "mnist_cnn" / "cnn-rendered"
    config = read_json(folder / "config.json") | {"fingerprint": "0" * 64}
    write_atomically(folder / "config.json", json.dumps(config).encode())
    for path in folder.glob("*.png"):
        path.unlink()
    report.main(["cnn-rendered", "--results-dir", str(results)])
    (line,) = capsys.readouterr().err.splitlines()
    assert "was trained on other images" in line
    assert pictures(folder) == {"curves", "confusion_matrix", "calibration", "augmentation"}


def test_a_run_that_is_not_there_is_one_line(results, capsys):
    with pytest.raises(SystemExit) as stop:
        report.main(["cnn-renderd", "--results-dir", str(results)])
    assert stop.value.code == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "did you mean cnn-rendered" in errors


def python(code):
    """Run code in a process of its own."""
    command = [sys.executable, "-c", f"import sys\nfrom tools.report import main\n{code}"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_help_needs_neither_keras_nor_matplotlib():
    answer = python(
        "try: main(['--help'])\n"
        "finally: assert not {'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)"
    )
    assert answer.returncode == 0 and "latest" in answer.stdout, answer.stderr


def test_the_engine_in_numpy_is_drawn_without_tensorflow(results):
    answer = python(
        f"main(['few-rendered', '--results-dir', {str(results)!r}])\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert pictures(results / "mnist_dense" / "few-rendered") == ALL


def rewrite(run, change):
    """Save other predictions than the run's own."""
    path = run.folder / "test_predictions.npz"
    arrays = read_arrays(path)
    change(arrays)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def never_wrong(arrays):
    arrays["logits"] = 9 * np.eye(10, dtype=np.float32)[arrays["labels"]]


def always_wrong_and_without_a_class(arrays):
    arrays["logits"] = 9 * np.eye(10, dtype=np.float32)[(arrays["labels"] + 1) % 10]
    arrays["labels"][arrays["labels"] == 4] = 2


@pytest.mark.parametrize("change", [never_wrong, always_wrong_and_without_a_class])
def test_every_figure_can_be_drawn_of_odd_predictions(results, change, capsys):
    (run,) = read_run(results / "mnist_cnn" / "cnn-rendered")
    rewrite(run, change)
    figures.draw_run(run)
    assert capsys.readouterr().err == ""
    assert pictures(run.folder) == CNN


def test_predictions_that_are_no_numbers_cost_only_their_figures(results, capsys):
    (run,) = read_run(results / "mnist_cnn" / "cnn-rendered")

    def no_numbers(arrays):
        arrays["logits"][:, 3] = np.nan

    rewrite(run, no_numbers)
    for path in run.folder.glob("*.png"):
        path.unlink()
    figures.draw_run(run)
    lost = {"calibration", "mistakes", "feature_maps", "attention"}
    warnings = capsys.readouterr().err.splitlines()
    assert {line.split()[1] for line in warnings} == {f"{name}.png" for name in lost}
    assert all("no finite numbers" in line for line in warnings)
    assert pictures(run.folder) == CNN - lost


def test_a_model_that_is_gone_costs_only_the_figures_of_it(results, capsys):
    (run,) = read_run(results / "mnist_cnn" / "cnn-rendered")
    for path in (run.folder / "model.keras", *run.folder.glob("*.png")):
        path.unlink()
    figures.draw_run(run)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no pictures of what mnist_cnn/cnn-rendered learned:")
    assert pictures(run.folder) == {"curves", "confusion_matrix", "calibration", "augmentation"}


def test_a_figure_that_cannot_be_drawn_is_a_warning(tmp_path, capsys):
    def broken():
        raise RuntimeError("no fonts")

    write_atomically(tmp_path / "curves.png", b"what was there")
    figures.draw(tmp_path, "curves", broken)
    assert capsys.readouterr().err == "warning: curves.png could not be drawn: no fonts\n"
    assert (tmp_path / "curves.png").read_bytes() == b"what was there"
