import json
import math
import os
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY, run_script
from matplotlib.colors import to_hex
from scipy.stats import binomtest, ttest_ind
from test_runs import row

from experiment.runs.folder import HISTORY_COLUMNS
from experiment.runs.saved import SavedRun, read_run, run_folders
from tools import compare
from tools.comparison import overlay as comparison
from tools.comparison.significance import compare_networks, compare_seeds, mcnemar, welch

CONFIG = {
    "script": "mnist_cnn", "recipe": "default", "seed": 1, "seeds": [1], "combinations": [{}],
    "dataset": "mnist", "title": "MNIST", "rendered": False, "fingerprint": "a" * 64,
    "data_dir": None, "blocks": 2, "rescale": True, "name": "x", "command_line": ["x"],
    "versions": {"numpy": "2"}, "platform": "Linux", "git_commit": "c", "device": "CPU, 2 cores",
}  # fmt: skip


def save_run(folder, accuracies=(0.9, 0.95), training=(10, 0.9), logits=None, **changes):
    """A run folder, as small as can be: `accuracies` of the epochs, (seconds, test accuracy)."""
    folder.mkdir(parents=True)
    script = folder.parent.name
    config = CONFIG | {"script": script, "started": folder.name} | changes
    (folder / "config.json").write_text(json.dumps(config))
    metrics = {"test_accuracy": training[1], "test_loss": 0.25, "parameters": 1234}
    metrics |= {"seconds": {"training": training[0]}, "stopped_early": False}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [",".join(HISTORY_COLUMNS)]
    for epoch, accuracy in enumerate(accuracies, 1):
        values = row(epoch, validation_accuracy=accuracy, validation_loss=1.05 - accuracy)
        values |= {"seconds": 2 * epoch}
        lines.append(",".join(str(values[key]) for key in HISTORY_COLUMNS))
    (folder / "history.csv").write_text("\n".join(lines))
    if logits is not None:
        labels = np.arange(len(logits), dtype=np.uint8) % 10
        np.savez(folder / "test_predictions.npz", logits=logits, labels=labels)
    return folder


def answers(*classes, sure=5.0):
    """Logits of a network that takes the images for these classes."""
    return sure * np.eye(10, dtype=np.float32)[list(classes)]


def compare_runs(results, *options):
    """Compare as people do, but without waiting for a new process."""
    compare.main(["--results-dir", str(results), *options])


# Statistics


def test_mcnemar_by_hand():
    # Six coins, at most one head or at most one tail: 2 (1 + 6) of 64.
    assert mcnemar(1, 5) == mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    # As statsmodels 0.15 has it.
    assert mcnemar(120, 189) == pytest.approx(0.00010308476941905515)
    for few, many in ((0, 9), (12, 30), (120, 189), (400, 411)):
        expected = binomtest(few, few + many).pvalue
        assert mcnemar(few, many) == pytest.approx(expected)


def test_welch_as_scipy_has_it():
    generator = np.random.default_rng(0)
    for sizes in ((2, 2), (5, 3), (3, 20)):
        samples = [generator.normal(0.99, 0.01 * size, size).tolist() for size in sizes]
        assert welch(*samples) == pytest.approx(ttest_ind(*samples, equal_var=False).pvalue)
    assert welch([0.5, 0.5], [0.5, 0.5]) == 1
    assert welch([0.5, 0.5], [0.6, 0.6]) == 0


def test_networks_are_compared_where_one_alone_is_right():
    first = np.array([True] * 80 + [False] * 20)
    second = np.array([True] * 70 + [False] * 30)
    text = compare_networks(first, second, ["a", "b"])
    assert "'a' alone is right on 10, 'b' alone on 0" in text
    assert "p = 0.002," in text and "'a' is better" in text  # 2 / 1024
    assert "neither is shown to be better" in compare_networks(first, first, ["a", "b"])


def test_seeds_are_compared_by_their_means():
    better, worse = [0.99, 0.991, 0.992], [0.97, 0.971, 0.972]
    text = compare_seeds(worse, better, ["a", "b"])
    assert "2.00 points" in text and "'b' is better" in text
    assert "neither" in compare_seeds([0.9, 0.99], [0.91, 0.98], ["a", "b"])
    assert "single seed" in compare_seeds([0.9], better, ["a", "b"])


# Options


def test_only_what_differs_is_shown(tmp_path, capsys):
    save_run(tmp_path / "mnist_cnn" / "1", blocks=2, name="a", command_line=["a"])
    save_run(tmp_path / "mnist_cnn" / "2", blocks=3, name="b", command_line=["b"], git_commit="d")
    compare_runs(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    columns = ["run", "blocks", "test accuracy", "test loss", "training time", "parameters"]
    assert cells[0] == columns
    assert cells[2] == ["mnist_cnn/1", "2", "90.00%", "0.2500", "10.0 s", "1,234"]
    assert cells[3][:2] == ["mnist_cnn/2", "3"]


def test_precision_and_backend_are_told_and_epochs_are_those_of_the_result(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1", precision="float32", backend="jax", epochs=14)
    save_run(tmp_path / "mnist_cnn" / "2", precision="bfloat16", backend="tensorflow", epochs=60)
    path = tmp_path / "mnist_cnn" / "2" / "metrics.json"  # it is being trained further
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 2}))
    assert compare.differing_options(compare.last_runs(2, None, tmp_path)) == {
        "precision": ["float32", "bfloat16"],
        "backend": ["jax", "tensorflow"],
        "epochs": [14, 2],
    }


def test_an_option_of_one_script_is_a_dash_for_the_other(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1")
    save_run(tmp_path / "mnist_dense" / "2", hidden=[64, 32])
    runs = compare.last_runs(2, None, tmp_path)
    options = compare.differing_options(runs)
    assert options == {"script": ["mnist_cnn", "mnist_dense"], "hidden": [None, (64, 32)]}
    text = compare.table(runs, options)
    assert re.search(r"mnist_cnn/1 +\| mnist_cnn +\| - ", text)
    assert re.search(r"mnist_dense/2 +\| mnist_dense +\| 64,32 ", text)


def test_many_differences_between_few_runs_are_rows(tmp_path):
    many = {f"a_rather_long_option_{number}": number for number in range(8)}
    save_run(tmp_path / "mnist_cnn" / "1", **many)
    save_run(tmp_path / "mnist_cnn" / "2")
    runs = compare.last_runs(2, None, tmp_path)
    text = compare.table(runs, compare.differing_options(runs))
    assert max(map(len, text.splitlines())) <= compare.WIDEST_TABLE
    assert re.search(r"\| a rather long option 3 \| 3 +\| - +\|", text)


def test_labels_are_what_differs_or_else_the_names(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1", rescale=True)
    save_run(tmp_path / "mnist_cnn" / "2", rescale=False)
    save_run(tmp_path / "mnist_cnn" / "3", rescale=False)
    runs = compare.last_runs(3, None, tmp_path)

    def labels(runs):
        return compare.choose_labels(runs, compare.differing_options(runs))

    assert labels(runs[:2]) == ["rescale", "no rescale"]
    assert labels(runs) == ["mnist_cnn/1", "mnist_cnn/2", "mnist_cnn/3"]


def test_stopped_early_is_said(tmp_path, capsys):
    for name in "12":
        path = save_run(tmp_path / "mnist_cnn" / name) / "metrics.json"
    path.write_text(path.read_text().replace("false", "true"))
    compare_runs(tmp_path)
    assert "mnist_cnn/2 (stopped early)" in capsys.readouterr().out


# Which runs


def test_the_last_runs_come_oldest_first_and_of_one_script(tmp_path):
    for script, name in (("mnist_cnn", "1"), ("mnist_dense", "2"), ("mnist_cnn", "3")):
        save_run(tmp_path / script / name)
    names = [run.name for run in compare.last_runs(2, None, tmp_path)]
    assert names == ["mnist_dense/2", "mnist_cnn/3"]
    names = [run.name for run in compare.last_runs(2, "mnist_cnn.py", tmp_path)]
    assert names == ["mnist_cnn/1", "mnist_cnn/3"]


def test_what_cannot_be_compared_is_left_out_with_a_line(tmp_path, capsys):
    for name in "123456":
        save_run(tmp_path / "mnist_cnn" / name)
    folder = tmp_path / "mnist_cnn"
    (folder / "6" / "metrics.json").unlink()
    (folder / "6" / "UNFINISHED").write_text("started by process 7")
    (folder / "5" / "history.csv").write_text("epoch\n1")
    (folder / "4" / "metrics.json").write_text('{"test_accuracy": 0.5, "seconds": 3}')
    (folder / "2" / "config.json").write_text('{"started": "2"}')
    names = [run.name for run in compare.last_runs(2, None, tmp_path)]
    assert names == ["mnist_cnn/1", "mnist_cnn/3"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("left out: ") for line in lines)
    assert "holds no result: started by process 7" in lines[0]
    damaged = ("history.csv", "metrics.json", "config.json")
    assert all(name in line for name, line in zip(damaged, lines[1:], strict=True))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "mnist_dense/2 on MNIST, fashion_cnn_augment/3 on Fashion-MNIST"),
        (["1", "1"], "only mnist_cnn/1"),
        (["--last", "1"], "only fashion_cnn_augment/3"),
        (["1", "nothing"], "no run 'nothing'"),
        (["--script", "mnist_cn"], "did you mean mnist_cnn"),
        (["1", "--last", "2"], "not both"),
        (["--last", "0"], "whole number"),
        (["1", "4"], "holds no result"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, capsys, options, says):
    save_run(tmp_path / "mnist_cnn" / "1")
    save_run(tmp_path / "mnist_dense" / "2")
    fashion = {"dataset": "fashion_mnist", "title": "Fashion-MNIST", "fingerprint": "b" * 64}
    save_run(tmp_path / "fashion_cnn_augment" / "3", **fashion)
    unfinished = save_run(tmp_path / "mnist_cnn" / "4", started="0")
    (unfinished / "metrics.json").unlink()
    (unfinished / "UNFINISHED").write_text("ended")
    with pytest.raises(SystemExit) as stop:
        compare_runs(tmp_path, *options)
    assert stop.value.code == (2 if "--last" in options and options != ["--last", "1"] else 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "comparisons").exists()


def test_an_empty_results_folder_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        compare_runs(tmp_path)
    assert "there is no finished run" in capsys.readouterr().err


# Two networks


def test_missing_predictions_cost_only_the_test(tmp_path, capsys):
    save_run(tmp_path / "mnist_cnn" / "1", logits=answers(0, 1))
    save_run(tmp_path / "mnist_cnn" / "2")
    compare_runs(tmp_path)
    said = capsys.readouterr()
    (warning,) = said.err.splitlines()
    assert "test_predictions.npz is missing" in warning and "p = " not in said.out
    (folder,) = (tmp_path / "comparisons").iterdir()
    assert {path.name for path in folder.iterdir()} == {"comparison.md", "comparison.png"}


def test_predictions_of_different_images_are_not_compared(tmp_path, capsys):
    save_run(tmp_path / "mnist_cnn" / "1", logits=answers(0, 1))
    save_run(tmp_path / "mnist_cnn" / "2", logits=answers(0, 1, 2))
    assert compare.predictions_of_two(compare.last_runs(2, None, tmp_path)) == []
    assert "different images" in capsys.readouterr().err


def test_the_most_confident_disagreements_come_first():
    first = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.99, 0.01], [0.3, 0.7]])
    second = np.array([[0.1, 0.9], [0.4, 0.6], [0.7, 0.3], [0.95, 0.05], [0.9, 0.1]])
    # The less sure answers: 0.9, 0.6, 0.7, none since they agree, 0.7.
    assert compare.disagreements(first, second).tolist() == [0, 2, 4, 1]


def test_disagreements_show_both_answers():
    from test_runs import dataset

    probabilities = [np.full((4, 10), 0.02) for _ in range(2)]
    probabilities[0][2, 0], probabilities[1][2, 7] = 0.82, 0.61  # the label is 0
    figure = comparison.disagreements(dataset(), [2], probabilities, ["one", "other"], 5)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["true: 0", "A ✓ 0, 82%", "B ✗ 7, 61%"]
    assert "1 most confident of 5" in figure.get_suptitle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A: one", "B: other"]


# The overlay


def test_curves_are_aligned_by_epoch_and_by_seconds(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1", accuracies=(0.5, 0.8, 0.9), training=(13, 0.85))
    save_run(tmp_path / "mnist_cnn" / "2", accuracies=(0.7, 0.97), training=(7, 0.96))
    runs = compare.last_runs(2, None, tmp_path)
    figure = comparison.overlay(runs, ["a", "b"], "title")
    panels = {axes.get_label(): axes for axes in figure.axes}
    lines = panels["accuracy by epoch"].lines
    assert [line.get_ydata().tolist() for line in lines] == [[0.5, 0.8, 0.9], [0.7, 0.97]]
    assert [line.get_xdata().tolist() for line in lines] == [[1, 2, 3], [1, 2]]
    for name in ("accuracy by seconds", "loss by seconds"):
        lines = panels[name].lines
        assert [line.get_xdata().tolist() for line in lines] == [[2, 6, 12], [2, 6]]
    assert panels["loss by epoch"].lines[1].get_ydata().tolist() == pytest.approx([0.35, 0.08])
    dots = [line.get_xydata()[0].tolist() for line in panels["test"].lines]
    assert dots == [[13, 0.85], [7, 0.96]]
    for axes in panels.values():
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        assert len([tick for tick in axes.get_yticks() if bottom <= tick <= top]) > 1
        for line in axes.lines:
            assert (line.get_xdata() > left).all() and (line.get_xdata() < right).all()
            assert (line.get_ydata() > bottom).all() and (line.get_ydata() < top).all()


def test_seeds_are_a_mean_and_a_standard_deviation(tmp_path):
    seeds = []
    for seed, accuracies, training in ((1, (0.5, 0.9), (10, 0.9)), (2, (0.7, 0.95), (20, 0.94))):
        folder = save_run(tmp_path / "mnist_cnn" / f"{seed}", accuracies, training, seed=seed)
        seeds += read_run(folder)
    several = SavedRun(tmp_path / "mnist_cnn" / "several", CONFIG, {}, tuple(seeds))
    figure = comparison.overlay([several, seeds[0]], ["both", "one"], "title")
    panels = {axes.get_label(): axes for axes in figure.axes}
    mean = panels["accuracy by epoch"].lines[0].get_ydata()
    assert mean.tolist() == pytest.approx([0.6, 0.925])
    band = panels["accuracy by epoch"].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 0.95))
    (bar,) = panels["test"].collections[0].get_segments()
    deviation = statistics.stdev([0.9, 0.94])
    assert bar.ravel().tolist() == pytest.approx([15, 0.92 - deviation, 15, 0.92 + deviation])
    text = compare.table([several, seeds[0]], {})
    assert "92.00% ± 2.83% (2 seeds)" in text and "15.0 s" in text
    assert compare.differing_options([several, seeds[0]]) == {"seed": [(1, 2), (1,)]}


def test_no_two_of_many_runs_look_the_same():
    looks = [comparison.look(place) for place in range(49)]
    assert len({tuple(look.values()) for look in looks}) == 49
    assert len({(look["color"], look["marker"]) for look in looks}) == 49  # the dots have no line
    assert len({to_hex(look["color"]) for look in looks[:7]}) == 7


@pytest.mark.parametrize("accuracies", [(), (math.nan, math.nan), (1.0, 1.0), (0.0,), (0.99,) * 40])
def test_runs_with_little_to_show_can_be_drawn(tmp_path, accuracies):
    for name in "12":
        save_run(tmp_path / "mnist_cnn" / name, accuracies, training=(0, 1.0))
    figure = comparison.overlay(compare.last_runs(2, None, tmp_path), ["a", "b"], "title")
    figure.savefig(tmp_path / "figure.png")
    (dots,) = (axes for axes in figure.axes if axes.get_label() == "test")
    lowest, highest = dots.get_ylim()
    assert all(lowest < line.get_ydata()[0] < highest for line in dots.lines)


# For real


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A results folder that the script has filled: a sweep of two with two seeds."""
    results = tmp_path_factory.mktemp("results")
    options = "--data rendered --engine numpy --epochs 2 --images 300 --hidden 16 --quiet".split()
    options += "--activation tanh relu --repeats 2 --name sweep".split()
    answer = run_script("mnist_dense", *options, "--results-dir", results)
    assert answer.returncode == 0, answer.stderr
    return results


def test_two_networks_in_a_process_of_its_own(trained, tmp_path):
    names = [f"mnist_dense/sweep-rendered/activation-{name}/seed-2" for name in ("tanh", "relu")]
    code = (
        "import sys; from tools.compare import main; main(sys.argv[1:]); "
        "print(sorted({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *names]
    answer = subprocess.run(
        [*command, "--results-dir", trained], capture_output=True, text=True, encoding="utf-8",
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True,
    )  # fmt: skip
    lines = answer.stdout.splitlines()
    assert lines[-1] == "[]" and not answer.stderr
    (folder,) = (trained / "comparisons").iterdir()
    assert lines[-2] == f"comparison in {folder}"
    files = {path.name for path in folder.iterdir()}
    assert files == {"comparison.md", "comparison.png", "disagreements.png"}
    assert (folder / "comparison.md").read_text(encoding="utf-8").splitlines() == lines[:-3]
    assert len(run_folders(trained)) == 1  # a comparison is no run

    networks = [np.load(trained / name / "test_predictions.npz") for name in names]
    right = [file["logits"].argmax(axis=1) == file["labels"] for file in networks]
    (accuracies,) = (line for line in lines if "test accuracy" in line)
    assert re.findall(r"[\d.]+%", accuracies) == [f"{those.mean():.2%}" for those in right]
    alone = [(right[0] > right[1]).sum(), (right[1] > right[0]).sum()]
    p = binomtest(min(alone), sum(alone)).pvalue
    says = "'activation tanh' alone is right on {:,}, 'activation relu' alone on {:,}. "
    assert says.format(*alone) in answer.stdout
    assert f"p = {p:.2g}, " in answer.stdout or p < 0.0001


def test_a_sweep_stands_for_its_combinations(trained, capsys):
    compare_runs(trained, "--last", "1")
    text = capsys.readouterr().out
    assert "activation" in text and "Welch's t-test: p" in text
    for combination in ("tanh", "relu"):
        folder = trained / "mnist_dense" / "sweep-rendered" / f"activation-{combination}"
        tests = [json.loads(path.read_text()) for path in folder.glob("seed-*/metrics.json")]
        shares = [test["test_accuracy"] for test in tests]
        assert f"{statistics.mean(shares):.2%} ± {statistics.stdev(shares):.2%} (2 seeds)" in text


def test_help_and_wrong_options_come_at_once():
    command = [sys.executable, "-m", "tools.compare"]
    keywords = {"capture_output": True, "text": True, "cwd": REPOSITORY}
    assert "--last" in subprocess.run([*command, "--help"], check=True, **keywords).stdout
    wrong = subprocess.run([*command, "--lst"], **keywords)
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1
