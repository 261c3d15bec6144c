"""The figures of whole runs, at their end and by `python -m tools.report`."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REPOSITORY
from matplotlib.figure import Figure
from saved_runs import CONFIG

from common.errors import UserError
from common.files import read_json, write_atomically, write_json
from experiment import figures
from experiment.runs.saved import SavedRun
from experiment.train.batches import Schedule
from tools import report

ALL = {"curves", "confusion_matrix", "calibration", "mistakes", "filters", "augmentation"}
CNN = ALL | {"feature_maps", "attention"}
FILM = {"training_frames"}  # of a run that trained
PREDICTED = {"calibration", "mistakes", "feature_maps", "attention"}  # they need the logits


def pictures(folder):
    """The figures below a folder, by their path without the ending."""
    return {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.png")}


# Quick: of runs that never trained


def dense(shape=(784, 6)):
    return SimpleNamespace(parameters=[np.random.default_rng(0).normal(size=shape)])


def cnn():
    from keras import Input, Sequential, layers

    pixels = [Input((28, 28), dtype="uint8"), layers.Rescaling(1 / 255)]
    chain = [layers.Reshape((28, 28, 1)), layers.Conv2D(4, 5, 2), layers.MaxPooling2D()]
    return Sequential([*pixels, *chain, layers.Flatten(), layers.Dense(10)])


class Run(SimpleNamespace):
    """A stand-in for a SavedRun of three epochs and 60 test images, of which it gets 50 right."""

    test_accuracies = SavedRun.test_accuracies

    def __init__(self, folder, network, **changes):
        generator = np.random.default_rng(0)
        labels = np.arange(60) % 10
        predicted = np.where(np.arange(60) < 50, labels, (labels + 1) % 10)
        logits = generator.normal(0, 1, (60, 10)) + 9 * np.eye(10)[predicted]
        counts = np.zeros((10, 10), int)
        np.add.at(counts, (labels, predicted), 1)
        images = generator.integers(0, 256, (60, 28, 28), dtype=np.uint8)
        rates = [0.01, 0.005, 0.0]
        rows = {name: [0.5, 0.8, 0.9] for name in figures.COLUMNS}
        rows |= {"epoch": [1, 2, 3], "learning_rate": rates}
        config = {"script": "mnist_cnn", "recipe": "quick", "title": "MNIST", "dataset": "mnist"}
        config |= {"dropout": 0.5, "schedule": "cosine", "learning_rate": 0.01, "epochs": 3}
        super().__init__(
            folder=folder,
            name="mnist_cnn/stand-in",
            config=config,
            metrics={
                "test_accuracy": 50 / 60,
                "confusion_matrix": counts.tolist(),
                "per_class": dict.fromkeys("0123456789"),
            },
            members=(),
            trainings=(self,),
            history=SimpleNamespace(column=rows.get),
            predictions=(logits, labels),
            custom_engine=isinstance(network, SimpleNamespace),
        )
        examples = {"originals": images[:10], "labels": labels[:10]}
        varied = np.stack([images[:10]] * 7, axis=1)
        np.savez(folder / "augmentation.npz", varied=varied, **examples)
        vars(self).update(changes)
        self.inputs = {
            "model": network,
            "dataset": SimpleNamespace(test_images=images, unconfirmed=(1,)),
        }


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are made and saved, but not rendered, which takes most of the time."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, dpi: path.write_bytes(b"PNG"))


@pytest.mark.parametrize(("make", "wanted"), [(dense, ALL), (cnn, CNN)])
def test_a_run_has_the_figures_that_fit_its_network(make, wanted, tmp_path, capsys):
    run = Run(tmp_path, make())
    figures.draw_run(run, **run.inputs)
    assert capsys.readouterr().err == ""
    assert pictures(tmp_path) == wanted


def test_without_augmentation_there_is_no_figure_of_it(tmp_path, unrendered):
    run = Run(tmp_path, dense())
    (tmp_path / "augmentation.npz").unlink()
    figures.draw_run(run, **run.inputs)
    assert pictures(tmp_path) == ALL - {"augmentation"}


def test_fewer_figures_are_drawn_on_request_and_of_several_seeds(tmp_path, unrendered):
    run = Run(tmp_path, dense())
    figures.draw_run(run, "curves")
    assert pictures(tmp_path) == {"curves"}
    (tmp_path / "curves.png").unlink()
    del run.metrics["per_class"], run.metrics["confusion_matrix"]  # a summary has none
    run.members = run.trainings = (run, Run(tmp_path, dense(), metrics={"test_accuracy": 0.9}))
    figures.draw_run(run, **run.inputs)
    assert pictures(tmp_path) == {"curves"}
    title = "mnist_cnn · quick · MNIST · test accuracy 86.67% ± 4.71% (2 seeds)"
    assert figures.figure_title(run) == title


def never_wrong(logits, labels):
    return 9 * np.eye(10)[labels], labels


def always_wrong_and_without_a_class(logits, labels):
    return 9 * np.eye(10)[(labels + 1) % 10], np.where(labels == 4, 2, labels)


@pytest.mark.parametrize("change", [never_wrong, always_wrong_and_without_a_class])
def test_every_figure_can_be_drawn_of_odd_predictions(change, tmp_path, capsys, unrendered):
    run = Run(tmp_path, cnn())
    run.predictions = change(*run.predictions)
    figures.draw_run(run, **run.inputs)
    assert capsys.readouterr().err == ""
    assert pictures(tmp_path) == CNN


def test_predictions_that_are_no_numbers_cost_only_their_figures(tmp_path, capsys, unrendered):
    run = Run(tmp_path, cnn())
    run.predictions[0][:, 3] = np.nan
    figures.draw_run(run, **run.inputs)
    warnings = capsys.readouterr().err.splitlines()
    assert {line.split()[1] for line in warnings} == {f"{name}.png" for name in PREDICTED}
    assert all("not finite numbers" in line for line in warnings)
    assert pictures(tmp_path) == CNN - PREDICTED


def test_metrics_that_lack_the_classes_cost_only_their_figures(tmp_path, capsys, unrendered):
    run = Run(tmp_path, dense(), metrics={"test_accuracy": 0.5})
    figures.draw_run(run, **run.inputs)
    lost = {"confusion_matrix", "mistakes", "augmentation"}
    warnings = capsys.readouterr().err.splitlines()
    assert {line.split()[1] for line in warnings} == {f"{name}.png" for name in lost}
    assert pictures(tmp_path) == ALL - lost


@pytest.mark.parametrize("gone", ["model", "dataset"])
def test_a_model_or_images_that_are_gone_cost_only_the_figures_of_them(
    gone, tmp_path, capsys, monkeypatch, unrendered
):
    def fail(run):
        raise UserError(f"the {gone} is missing")

    run = Run(tmp_path, dense(), members=())
    monkeypatch.setattr(report, "read_runs", lambda folder: [run])
    for name, value in run.inputs.items():
        monkeypatch.setattr(report, f"load_{name}", lambda run, value=value: value)
    monkeypatch.setattr(report, f"load_{gone}", fail)
    write_json(tmp_path / "config.json", CONFIG)
    report.redraw(tmp_path, "all")
    (line,) = capsys.readouterr().err.splitlines()
    start = "warning: no figures of the network of mnist_cnn/stand-in"
    assert line == f"{start}: the {gone} is missing"
    assert pictures(tmp_path) == {"curves", "confusion_matrix", "calibration", "augmentation"}


def test_a_figure_that_cannot_be_drawn_is_a_warning(tmp_path, capsys):
    def broken():
        raise RuntimeError("no fonts")

    write_atomically(tmp_path / "curves.png", b"what was there")
    figures.draw(tmp_path, "curves", broken)
    assert capsys.readouterr().err == "warning: curves.png could not be drawn: no fonts\n"
    assert (tmp_path / "curves.png").read_bytes() == b"what was there"


@pytest.mark.parametrize("epochs", [3, 100_000])
def test_the_schedule_is_drawn_in_a_thousand_points_whatever_the_epochs(
    epochs, tmp_path, monkeypatch
):
    asked = []

    class Counted(Schedule):
        def __call__(self, step):
            asked.append(step)
            return super().__call__(step)

    monkeypatch.setattr(figures, "Schedule", Counted)
    run = Run(tmp_path, dense())
    run.config["epochs"] = epochs
    line, dots = figures.training_curves(run, "title").axes[2].lines
    assert 500 <= len(asked) <= 2000 and {type(step) for step in asked} == {int}
    assert line.get_xdata().min() == 0 and line.get_xdata().max() == min(epochs, 3.5)
    if epochs == 3:
        # Half a cosine after a fifth of linear rise: at 0.6 it is highest, at 1.8 half of that.
        rate = dict(zip(line.get_xdata().round(2), line.get_ydata(), strict=True))
        assert rate[0.6] == pytest.approx(0.01, rel=0.01)
        assert rate[1.8] == pytest.approx(0.005, rel=0.01)
    assert list(dots.get_xdata()) == [1, 2, 3]


def test_a_note_says_what_only_training_has(tmp_path):
    run = Run(tmp_path, dense())
    note = figures.training_curves(run, "title").get_supxlabel()
    assert "without dropout and augmentation" in note
    (tmp_path / "augmentation.npz").unlink()
    run.config["dropout"] = 0
    assert "without" not in figures.training_curves(run, "title").get_supxlabel()


def test_a_sweep_has_a_figure_of_its_own(tmp_path, capsys):
    config = Run(tmp_path, dense()).config | {
        "combinations": [{"batch_size": 64, "activation": "relu"}]
    }
    write_json(tmp_path / "config.json", CONFIG | config)
    runs = [
        Run(tmp_path, dense(), config=config | {"batch_size": size, "activation": "relu"})
        for size in (64, 128)
    ]
    figures.draw_sweep(tmp_path, runs)
    assert capsys.readouterr().err == "" and pictures(tmp_path) == {"sweep"}
    *_, axes = figures.sweep(config, runs).axes
    assert axes.get_ylabel() == "batch size, activation"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["64, relu", "128, relu"]


def test_nothing_to_show_is_a_wrong_option(capsys):
    import mnist_dense

    with pytest.raises(SystemExit) as stop:
        mnist_dense.main(["--figures", "none", "--show"])
    assert stop.value.code == 2 and "nothing to --show" in capsys.readouterr().err


# Slow: of runs that trained

DATA = "synthetic"
SHORT = f"--data {DATA} --epochs 1 --images 300 --quiet".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with a CNN, a sweep of the engine in NumPy, and runs with fewer figures."""
    import mnist_cnn
    import mnist_dense

    results = tmp_path_factory.mktemp("results")
    engine = ["--engine", "numpy", "--hidden", "8"]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        for script, name, options in (
            (mnist_cnn, "cnn", ["--blocks", "1"]),
            (mnist_dense, "sweep", [*engine, "--activation", "tanh", "relu"]),
            (mnist_dense, "none", [*engine, "--repeats", "2", "--figures", "none"]),
            (mnist_dense, "few", [*engine, "--figures", "curves"]),
        ):
            script.main([*SHORT, *options, "--name", name, "--results-dir", str(results)])
    assert errors.getvalue() == ""
    return results


@pytest.fixture
def results(finished, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(finished, tmp_path / "results")


@pytest.mark.slow
def test_the_scripts_draw_their_figures(finished):
    assert pictures(finished / "mnist_cnn" / f"cnn-{DATA}") == CNN | FILM
    sweep = finished / "mnist_dense" / f"sweep-{DATA}"
    wanted = {f"activation-{member}/{name}" for member in ("tanh", "relu") for name in ALL | FILM}
    assert pictures(sweep) == wanted | {"sweep"}
    assert pictures(finished / "mnist_dense" / f"none-{DATA}") == set()
    assert pictures(finished / "mnist_dense" / f"few-{DATA}") == {"curves"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "sweep"])
def test_a_report_draws_the_same_pictures_again(results, name, capsys):
    (folder,) = results.glob(f"*/{name}-{DATA}")
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    for path in before:
        path.unlink()
    report.main([folder.name, "--results-dir", str(results)])
    assert capsys.readouterr().err == ""
    for path, content in before.items():
        assert path.read_bytes() == content, path


@pytest.mark.slow
def test_figures_left_out_can_be_drawn_later(results, capsys):
    folder = results / "mnist_dense" / f"none-{DATA}"
    pages = sorted(folder.rglob("report.html"))
    without = [page.read_text() for page in pages]
    assert len(pages) == 3 and not any("curves.png" in text for text in without)
    report.main([f"none-{DATA}", "--figures", "curves", "--results-dir", str(results)])
    assert all("curves.png" in page.read_text() for page in pages)
    assert pictures(folder) == {"curves", "seed-1/curves", "seed-2/curves"}
    assert capsys.readouterr().out.splitlines()[-1] == f"figures in {folder}"


@pytest.mark.slow
def test_images_that_are_gone_cost_only_the_figures_of_them(results, capsys):
    folder = results / "mnist_dense" / f"few-{DATA}"
    config = read_json(folder / "config.json") | {"fingerprint": "0" * 64}
    write_atomically(folder / "config.json", json.dumps(config).encode())
    report.main([f"few-{DATA}", "--results-dir", str(results)])
    (line,) = capsys.readouterr().err.splitlines()
    assert "was trained on other images" in line
    assert pictures(folder) == {"curves", "confusion_matrix", "calibration", "augmentation"}


@pytest.mark.slow
def test_a_run_that_is_not_there_is_one_line(results, capsys):
    with pytest.raises(SystemExit) as stop:
        report.main([f"cn-{DATA}", "--results-dir", str(results)])
    assert stop.value.code == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and f"did you mean cnn-{DATA}" in errors


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


@pytest.mark.slow
def test_the_engine_in_numpy_is_drawn_without_tensorflow(results):
    answer = python(
        f"main(['few-{DATA}', '--results-dir', {str(results)!r}])\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert pictures(results / "mnist_dense" / f"few-{DATA}") == ALL
