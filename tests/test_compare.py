import json
import math
import os
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from matplotlib.colors import to_hex
from saved_runs import CONFIG, change, images_drawn_once, save_run, save_seeds
from scipy.integrate import trapezoid
from scipy.stats import binomtest, ttest_ind

import mnist_dense
from common.data.dataset import Dataset
from experiment.runs.saved import SavedRun
from tools import compare
from tools.comparison import overlay
from tools.comparison.significance import compare_networks, compare_seeds, mcnemar, welch
from tools.saved import read_runs, run_folders


def answers(*classes, sure=5.0):
    """Logits of a network that takes the images for these classes."""
    return sure * np.eye(10, dtype=np.float32)[list(classes)]


def compare_runs(results, *options):
    """Compare as people do, but without waiting for a new process."""
    compare.main(["--results-dir", str(results), *options])


@pytest.fixture
def no_figures(monkeypatch):
    """Drawing takes most of the time."""
    monkeypatch.setattr(compare, "draw", lambda *_: None)


# Significance


def test_mcnemar_by_hand():
    # Six coins, at most one head or at most one tail: 2 (1 + 6) of 64.
    assert mcnemar(1, 5) == mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1
    # As statsmodels 0.15 has it.
    assert mcnemar(120, 189) == pytest.approx(0.00010308476941905515)


def test_welch_by_hand():
    # Means 2 and 4, variances 1 and 4: t = -2 / sqrt(5 / 3) with 2.94 degrees of freedom.
    first, second = [1, 2, 3], [2, 4, 6]
    freedom = (1 / 3 + 4 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (4 / 3) ** 2 / 2)
    t = np.linspace(2 / math.sqrt(5 / 3), 4000, 4_000_001)  # the tail of Student's distribution
    constant = (
        math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(math.pi * freedom)
    )
    tail = constant * trapezoid((1 + t * t / freedom) ** (-(freedom + 1) / 2), t)
    assert welch(first, second) == pytest.approx(2 * tail, rel=1e-4)
    assert welch(first, second) == welch(second, first)


def test_networks_are_compared_where_one_alone_is_right():
    first = np.array([True] * 80 + [False] * 20)
    second = np.array([True] * 70 + [False] * 30)
    text = compare_networks(first, second, ["a", "b"])
    assert "'a' alone is right on 10, 'b' alone on 0" in text
    assert "p = 0.002," in text and "'a' is better" in text  # 2 / 1024
    assert "neither is shown to be better" in compare_networks(first, first, ["a", "b"])


def test_seeds_are_compared_by_their_means():
    better, worse = [0.985, 0.99, 0.995], [0.965, 0.97, 0.975]
    text = compare_seeds(worse, better, ["a", "b"], 10_000)
    p = ttest_ind(worse, better, equal_var=False).pvalue
    assert "differ by 2.00 points" in text and f"p = {p:.2g}, " in text and "'b' is better" in text
    # The standard deviation of a binomial fraction: sqrt(0.97 * 0.03 / 10,000).
    assert "± 0.17 points" in text
    near = compare_seeds([0.9951, 0.9958, 0.9945], [0.9952, 0.9957, 0.9947], ["a", "b"], 10_000)
    assert "neither is shown to be better" in near and "± 0.07 points" in near


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ([0.9, 0.901], [0.99, 0.991, 0.992], "'a' has fewer than 3 seeds"),
        ([0.99, 0.991, 0.992], [0.9], "'b' has fewer than 3 seeds"),
        ([0.9, 0.9, 0.9], [0.99, 0.991, 0.992], "the seeds of 'a' show no spread"),
        ([0.99, 0.991, 0.992], [0.9, 0.9, 0.9], "the seeds of 'b' show no spread"),
    ],
)
def test_too_few_seeds_give_no_conclusion(first, second, why):
    text = compare_seeds(first, second, ["a", "b"], 10_000)
    assert f"No conclusion: {why}" in text and "--repeats" in text
    assert "p " not in text.replace("p = ", "p ") and "better" not in text


# Options


def test_only_what_differs_is_shown(tmp_path, capsys, no_figures):
    save_run(tmp_path / "mnist_cnn" / "1", blocks=2, name="a", command_line=["a"])
    save_run(tmp_path / "mnist_cnn" / "2", blocks=3, name="b", command_line=["b"], git_commit="d")
    compare_runs(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    columns = ["run", "blocks", "test accuracy", "test loss", "training time", "parameters"]
    assert cells[0] == columns
    assert cells[2] == ["mnist_cnn/1", "2", "90.00%", "0.2500", "10.0 s", "1,234"]
    assert cells[3][:2] == ["mnist_cnn/2", "3"]


def test_layers_and_scripts_that_differ_are_printed_and_saved(tmp_path, capsys, no_figures):
    for name, layers in (("a", ["Dense units 10"]), ("b", ["Dropout rate 0.5", "Dense units 10"])):
        folder = save_run(tmp_path / "mnist_cnn" / name)
        rows = [f"| {layer} | 10 | 0 |" for layer in layers]
        (folder / "network.md").write_text("\n".join(["head", "---", *rows]))
        (folder / "script.py").write_text("".join(f"{layer}\n" for layer in layers))
    compare_runs(tmp_path)
    printed = capsys.readouterr().out
    assert (
        "- mnist_cnn/a: no other\n- mnist_cnn/b:\n  - Dropout rate 0.5: output 10, parameters 0\n"
        in printed
    )
    assert "mnist_cnn.py changed (lines added: 1, removed: 0)" in printed
    (saved,) = tmp_path.glob("comparisons/*/comparison.md")
    assert saved.read_text().strip() in printed


def test_precision_and_backend_are_told_and_epochs_are_those_of_the_result(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1", precision="float32", backend="jax", epochs=14)
    save_run(tmp_path / "mnist_cnn" / "2", precision="bfloat16", backend="tensorflow", epochs=60)
    change(tmp_path / "mnist_cnn" / "2" / "metrics.json", epochs=2)  # it is being trained further
    assert compare.differing_options(compare.last_runs(2, None, tmp_path)) == [
        {"precision": "float32", "backend": "jax", "epochs": 14},
        {"precision": "bfloat16", "backend": "tensorflow", "epochs": 2},
    ]


def resumed(epochs, **entry):
    """An entry of `resumed` in config.json: what a run was resumed with before."""
    return {"started": "2026-11-24", "epochs": epochs, "changed": {}} | entry


@pytest.mark.parametrize(
    ("entries", "schedule", "says"),
    [
        ([resumed(14, schedule_changed_at=14)], "cosine", "from 14 to 30 epochs, after epoch 14"),
        ([resumed(14, schedule_changed_at=5)], "cosine", "from 14 to 30 epochs, after epoch 5"),
        ([resumed(14)], "cosine", "from 14 to 30 epochs"),  # from before that was saved
        ([resumed(30)], "cosine", "-"),  # killed, and resumed as it was
        ([resumed(14)], "constant", "-"),
        (
            [resumed(14, schedule_changed_at=14), resumed(20), resumed(20, schedule_changed_at=17)],
            "cosine",
            "from 14 to 20 epochs, after epoch 14; from 20 to 30 epochs, after epoch 17",
        ),
        ([resumed(14, schedule_changed_at=30)], "cosine", "-"),  # its result is from before that
    ],
)
def test_a_run_resumed_with_more_epochs_differs_from_one_in_one_go(
    tmp_path, entries, schedule, says
):
    for name, own in (("whole", {}), ("resumed", {"resumed": entries})):
        folder = save_run(tmp_path / "mnist_cnn" / name, epochs=30, schedule=schedule, **own)
        change(folder / "metrics.json", epochs=30)
    runs = [
        run for name in ("whole", "resumed") for run in read_runs(tmp_path / "mnist_cnn" / name)
    ]
    options = compare.differing_options(runs)
    if says == "-":
        assert options == [{}, {}]
    else:
        assert options == [{"schedule_changed": None}, {"schedule_changed": says}]
        assert f"| {says} " in compare.table(runs, options)


def test_an_option_of_one_script_is_a_dash_for_the_other(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1")
    save_run(tmp_path / "mnist_dense" / "2", hidden=[64, 32])
    runs = compare.last_runs(2, None, tmp_path)
    options = compare.differing_options(runs)
    assert options == [
        {"script": "mnist_cnn", "hidden": None},
        {"script": "mnist_dense", "hidden": (64, 32)},
    ]
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


def test_stopped_early_is_said(tmp_path, capsys, no_figures):
    for name in "12":
        folder = save_run(tmp_path / "mnist_cnn" / name)
    change(folder / "metrics.json", stopped_early=True)
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
    for name in "1234567":
        save_run(tmp_path / "mnist_cnn" / name)
    folder = tmp_path / "mnist_cnn"
    (folder / "7" / "metrics.json").unlink()
    (folder / "7" / "UNFINISHED").write_text("started by process 7")
    (folder / "6" / "history.csv").write_text("epoch\n1")
    change(folder / "5" / "metrics.json", seconds=3)
    change(folder / "4" / "metrics.json", test_loss="much")
    (folder / "2" / "config.json").write_text('{"started": "2"}')
    names = [run.name for run in compare.last_runs(2, None, tmp_path)]
    assert names == ["mnist_cnn/1", "mnist_cnn/3"]
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("left out: ") for line in lines)
    assert "holds no result: started by process 7" in lines[0]
    damaged = ("history.csv", "metrics.json", "metrics.json", "config.json")
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
    unfinished = save_run(tmp_path / "mnist_cnn" / "4", started="1969-12-31")
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


def test_seeds_are_a_line_each_run_and_a_sentence(tmp_path, capsys, no_figures):
    save_seeds(tmp_path / "mnist_cnn" / "1", [0.99, 0.991, 0.992], blocks=2)
    save_seeds(tmp_path / "mnist_cnn" / "2", [0.97, 0.971, 0.972], blocks=3)
    compare_runs(tmp_path)
    text = capsys.readouterr().out
    assert "99.10% ± 0.10% (3 seeds)" in text
    assert "'blocks 2' and 'blocks 3' differ by 2.00 points" in text
    assert "'blocks 2' is better" in text and "10,000 test images" in text


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


def test_images_that_are_gone_cost_only_their_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MNIST_DATA_DIR", str(tmp_path / "nowhere"))
    save_run(tmp_path / "mnist_cnn" / "1", logits=answers(0, 1))
    save_run(tmp_path / "mnist_cnn" / "2", logits=answers(0, 2))
    compare_runs(tmp_path)
    said = capsys.readouterr()
    assert "warning: the images cannot be shown" in said.err and "alone on 0" in said.out
    (folder,) = (tmp_path / "comparisons").iterdir()
    assert {path.name for path in folder.iterdir()} == {"comparison.md", "comparison.png"}


def test_the_most_confident_disagreements_come_first():
    first = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.99, 0.01], [0.3, 0.7]])
    second = np.array([[0.1, 0.9], [0.4, 0.6], [0.7, 0.3], [0.95, 0.05], [0.9, 0.1]])
    # The less sure answers: 0.9, 0.6, 0.7, none since they agree, 0.7.
    assert compare.disagreements(first, second).tolist() == [0, 2, 4, 1]


def test_disagreements_show_both_answers():
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.uint8)
    own = {"name": "mnist", "title": "MNIST", "class_names": tuple("0123456789"), "source": "here"}
    own |= {"train_images": images, "train_labels": labels, "fingerprint": "0", "synthetic": False}
    dataset = Dataset(test_images=images, test_labels=labels, **own)
    probabilities = [np.full((4, 10), 0.02) for _ in range(2)]
    probabilities[0][2, 0], probabilities[1][2, 7] = 0.82, 0.61  # the label is 0
    figure = overlay.disagreements(dataset, [2], probabilities, ["one", "other"], 5)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["true: 0", "A ✓ 0, 82%", "B ✗ 7, 61%"]
    assert "1 most confident of 5" in figure.get_suptitle()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A: one", "B: other"]


# The overlay


def test_curves_are_aligned_by_epoch_and_by_seconds(tmp_path):
    save_run(tmp_path / "mnist_cnn" / "1", (0.5, 0.8, 0.9), seconds=13, accuracy=0.85)
    save_run(tmp_path / "mnist_cnn" / "2", (0.7, 0.97), seconds=7, accuracy=0.96)
    runs = compare.last_runs(2, None, tmp_path)
    figure = overlay.overlay(runs, ["a", "b"], "title")
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
    for seed, accuracies, seconds, accuracy in (
        (1, (0.5, 0.9), 10, 0.9),
        (2, (0.7, 0.95), 20, 0.94),
    ):
        folder = tmp_path / "mnist_cnn" / f"{seed}"
        seeds += read_runs(save_run(folder, accuracies, seconds, accuracy, seed=seed, seeds=[seed]))
    several = SavedRun(tmp_path / "mnist_cnn" / "several", CONFIG, {}, tuple(seeds))
    figure = overlay.overlay([several, seeds[0]], ["both", "one"], "title")
    panels = {axes.get_label(): axes for axes in figure.axes}
    mean = panels["accuracy by epoch"].lines[0].get_ydata()
    assert mean.tolist() == pytest.approx([0.6, 0.925])
    band = panels["accuracy by epoch"].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.5, 0.95))
    (bar,) = panels["test"].collections[0].get_segments()
    deviation = statistics.stdev([0.9, 0.94])
    assert bar.ravel().tolist() == pytest.approx([15, 0.92 - deviation, 15, 0.92 + deviation])
    options = compare.differing_options([several, seeds[0]])
    assert options == [{"seed": (1, 2)}, {"seed": (1,)}]
    text = compare.table([several, seeds[0]], options)
    assert "92.00% ± 2.83% (2 seeds)" in text and "15.0 s" in text


def test_no_two_of_many_runs_look_the_same():
    looks = [overlay.look(place) for place in range(49)]
    assert len({tuple(look.values()) for look in looks}) == 49
    assert len({(look["color"], look["marker"]) for look in looks}) == 49  # the dots have no line
    assert len({to_hex(look["color"]) for look in looks[:7]}) == 7


@pytest.mark.parametrize("accuracies", [(), (math.nan, math.nan), (1.0, 1.0), (0.0,), (0.99,) * 40])
def test_runs_with_little_to_show_can_be_drawn(tmp_path, accuracies):
    for name in "12":
        save_run(tmp_path / "mnist_cnn" / name, accuracies, seconds=0, accuracy=1.0)
    figure = overlay.overlay(compare.last_runs(2, None, tmp_path), ["a", "b"], "title")
    figure.savefig(tmp_path / "figure.png")
    (dots,) = (axes for axes in figure.axes if axes.get_label() == "test")
    lowest, highest = dots.get_ylim()
    assert all(lowest < line.get_ydata()[0] < highest for line in dots.lines)


# For real


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep of two with two seeds, that the script has left in a results folder."""
    results = tmp_path_factory.mktemp("results")
    options = "--data synthetic --engine numpy --epochs 2 --images 300 --hidden 16 --quiet".split()
    options += "--activation tanh relu --repeats 2 --figures none --name sweep".split()
    with images_drawn_once():
        mnist_dense.main([*options, "--results-dir", str(results)])
        yield run_folders(results)[0]


def test_two_networks(trained, tmp_path, capsys):
    results = tmp_path / "results"
    folders = [trained / f"activation-{name}" / "seed-2" for name in ("tanh", "relu")]
    compare_runs(results, *map(str, folders))
    said = capsys.readouterr()
    lines = said.out.splitlines()
    (folder,) = (results / "comparisons").iterdir()
    assert lines[-1] == f"comparison in {folder}" and not said.err
    files = {path.name for path in folder.iterdir()}
    assert files == {"comparison.md", "comparison.png", "disagreements.png"}
    assert (folder / "comparison.md").read_text(encoding="utf-8").splitlines() == lines[:-2]
    assert not run_folders(results)  # a comparison is no run

    networks = [np.load(folder / "test_predictions.npz") for folder in folders]
    right = [file["logits"].argmax(axis=1) == file["labels"] for file in networks]
    (accuracies,) = (line for line in lines if "test accuracy" in line)
    assert re.findall(r"[\d.]+%", accuracies) == [f"{those.mean():.2%}" for those in right]
    alone = [(right[0] > right[1]).sum(), (right[1] > right[0]).sum()]
    p = binomtest(min(alone), sum(alone)).pvalue
    says = "'activation tanh' alone is right on {:,}, 'activation relu' alone on {:,}. "
    assert says.format(*alone) in said.out
    assert f"p = {p:.2g}, " in said.out or p < 0.0001


def test_a_sweep_stands_for_its_combinations(trained, capsys, no_figures):
    compare_runs(trained.parents[1], "--last", "1")
    text = capsys.readouterr().out
    assert "activation" in text and "fewer than 3 seeds" in text
    for combination in ("tanh", "relu"):
        paths = trained.glob(f"activation-{combination}/seed-*/metrics.json")
        accuracies = [json.loads(path.read_text())["test_accuracy"] for path in paths]
        mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
        assert f"{mean:.2%} ± {deviation:.2%} (2 seeds)" in text


@pytest.mark.slow
def test_a_comparison_needs_neither_keras_nor_a_screen(trained, tmp_path):
    code = (
        "import sys; from tools.compare import main; main(sys.argv[1:]); "
        "print({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    names = [str(trained / f"activation-{name}" / "seed-1") for name in ("tanh", "relu")]
    command = [sys.executable, "-c", code, *names, "--results-dir", tmp_path / "results"]
    answer = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, check=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert answer.stdout.splitlines()[-1] == "set()" and not answer.stderr
