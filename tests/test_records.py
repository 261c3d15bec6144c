"""The records of measured claims, the verdicts on them, and the page that is made of them."""

import importlib
import re
import shlex
from argparse import Namespace
from pathlib import Path

import pytest
from conftest import REPOSITORY, finish, parse
from PIL import Image

from benchmarks import (
    accuracy,
    from_scratch,
    published_figures,
    published_results,
    records,
    time_to_accuracy,
)
from benchmarks.published_rows import CLAIMS, CLASSICAL, COMMANDS, INSIGHTS
from benchmarks.runs import percent
from benchmarks.verdict import t_value, verdict
from common import files
from common.errors import UserError
from experiment.runs.saved import read_run

THREE = (0.909, 0.910, 0.911)  # mean 0.91, standard deviation 0.001
ROWS = (*CLAIMS, *INSIGHTS)


def test_t_is_the_distance_of_a_further_seed():
    # (0.9123 - 0.91) / (0.001 * sqrt(4 / 3)) by hand
    assert t_value(0.9123, THREE) == pytest.approx(0.0023 / 0.00115470, rel=1e-4)


@pytest.mark.parametrize(
    ("reported", "above", "words"),
    [
        # Student's t with two degrees of freedom: 4.3027 at 97.5 %, 2.9200 at 95 %; the interval
        # is 0.91 ± 4.3027 * 0.00115470 = 0.91 ± 0.00497.
        (0.9100, False, "agrees"),
        (0.9149, False, "agrees"),
        (0.9151, False, "reported higher"),
        (0.9051, False, "agrees"),
        (0.9049, False, "reported lower"),
        # One-sided: 2.9200 * 0.00115470 = 0.00337.
        (0.9066, True, "claim met"),
        (0.9067, True, "agrees"),
        (0.9133, True, "agrees"),
        (0.9134, True, "reported higher"),
    ],
)
def test_a_reported_number_agrees_where_a_further_seed_may_give_it(reported, above, words):
    assert verdict(reported, THREE, above=above) == words


def test_a_wide_interval_of_accuracies_says_nothing_of_a_number_within():
    wide = (0.900, 0.910, 0.920)  # 0.91 ± 0.0497
    assert verdict(0.95, wide) == "not informative"
    assert verdict(0.95, wide, accuracy=False) == "agrees"  # a loss has no points
    assert verdict(0.97, wide) == "reported higher"  # outside of even this interval
    assert verdict(0.95, wide[:1]) == "one seed only" and verdict(0.95, []) == "not measured yet"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A records' folder that is empty."""
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    return tmp_path


def line(seed: int, accuracy: float, member: str = "", **more) -> dict:
    """A row of a record."""
    return {"member": member, "seed": seed, "test_accuracy": accuracy} | more


def test_a_record_keeps_each_seed_once_and_what_was_not_measured_stays_empty(folder):
    records.add("a", [line(2, 0.98, "x", commit="abc"), line(1, 0.97, "x"), line(1, 0.5, "y")])
    records.add("a", [line(1, 0.971, "x")])
    assert records.values("a", "test_accuracy", "x") == [0.971, 0.98]
    assert records.values("a", "test_accuracy", "y") == [0.5]
    assert records.values("a", "test_loss", "x") == records.values("b", "test_loss") == []
    assert [row["seed"] for row in records.read("a")] == [1, 2, 1]
    assert (folder / "a.csv").read_text().splitlines()[0] == ",".join(records.COLUMNS)


def test_a_table_between_markers_is_replaced_and_a_page_without_them_refused():
    page = "a\n<!-- t: begin -->\nold\n<!-- t: end -->\nb\n"
    filled = records.fill(page, "t", [{"x": "1"}])
    assert filled == "a\n<!-- t: begin -->\n\n| x |\n| - |\n| 1 |\n\n<!-- t: end -->\nb\n"
    assert records.fill(filled, "t", [{"x": "1"}]) == filled
    with pytest.raises(UserError, match="lacks the markers"):
        records.fill(page, "u", [{"x": "1"}])


def test_a_run_becomes_a_record_that_is_compared_with_an_older_one(
    experiment, folder, tmp_path, capsys
):
    accuracies = iter((0.961, 0.962, 0.963))
    with experiment(tmp_path, "--name", "mine", "--repeats", 3) as runs:
        for run in runs:
            finish(run, test_accuracy=next(accuracies), validation_loss=0.2)
    records.add("old", [line(seed, 0.95 + seed / 1000) for seed in (1, 2, 3)])
    records.main(["new", "mine", "--than", "old", "--results-dir", str(tmp_path)])
    answer = capsys.readouterr().out
    assert "'new' and 'old' differ by 1.00 points" in answer and "'new' is better" in answer
    assert re.search(r"p = 0\.000\d", answer)
    assert records.values("new", "test_accuracy") == [0.961, 0.962, 0.963]
    row = records.read("new")[0]
    assert "keras" in row["versions"] and "core" in row["processor"] and row["date"]
    with pytest.raises(SystemExit):
        records.main(["new", "mine", "--than", "absent", "--results-dir", str(tmp_path)])
    assert "error: there is no record 'absent'" in capsys.readouterr().err
    records.main([])
    assert "new : 96.20% ± 0.10%, seeds 3" in capsys.readouterr().out


def test_curve_and_digits_have_a_column_for_each_seed(folder):
    for seed, values in ((2, {1: 0.5, 2: 0.6}), (1, {1: 0.3, 2: 0.41}), (2, {1: 0.7, 2: 0.8})):
        from_scratch.add_column("c.csv", "step", values, seed)
    assert from_scratch.read("c.csv") == {1: [0.7, 0.3], 2: [0.8, 0.41]}


def test_what_is_recorded_is_not_measured_again_unless_asked(folder, monkeypatch):
    few = {"low_level": COMMANDS["low_level"], "s/m": "mnist_dense.py", "classical": CLASSICAL}
    monkeypatch.setattr(published_results, "COMMANDS", few)
    records.add("low_level", [line(1, 0.9), line(3, 0.9)])
    records.add("s", [line(1, 0.9, "m"), line(2, 0.9, "other")])
    args = Namespace(seeds=3, rows=[], fresh=False)
    expected = [("low_level", 2), ("s/m", 2), ("s/m", 3), ("classical", 1)]
    assert list(published_results.missing(args)) == expected
    assert list(published_results.missing(Namespace(**vars(args) | {"rows": ["D1"]})))[:1] == [
        ("low_level", 2)
    ]
    assert len(list(published_results.missing(Namespace(**vars(args) | {"fresh": True})))) == 7


def test_each_classical_method_is_a_member_of_its_record(tmp_path, monkeypatch):
    measured = {"RBF SVM (C 10)": {"1": {"test_accuracy": 0.98, "fit_seconds": 2.5}}}

    def main(argv):
        files.write_json(Path(argv[1]) / "classical.json", {"measured": measured})

    monkeypatch.setattr(published_results.classical, "main", main)
    args = Namespace(results_dir=tmp_path, fresh=False)
    (row,) = published_results.measure("classical", 1, args)
    assert (row["member"], row["seed"]) == ("RBF SVM (C 10)", 1)
    assert (row["test_accuracy"], row["seconds"]) == (0.98, 2.5)


def test_a_row_says_what_was_reported_and_measured_and_how_they_agree(folder):
    records.add("unscaled", [line(n, 0.98 + n / 1000, test_loss=0.1) for n in (1, 2, 3)])
    rows = {row["quantity"]: row for row in published_results.claim_rows() if row[""] == "C1"}
    test, training = rows["test"], rows["training"]
    assert (test["reported"], test["measured"]) == ("98.15 %", "98.20 ± 0.10 %")
    assert (test["t"], test["verdict"]) == ("-0.43", "agrees")  # -0.0005 / (0.001 * sqrt(4 / 3))
    assert test["seeds"] == "3, to be measured"
    assert (training["measured"], training["verdict"]) == ("-", "not measured yet")
    records.add("low_level_adam", [line(n, 0.95, test_loss=0.2 + n / 100) for n in range(5)])
    (row,) = (row for row in published_results.insight_rows() if row["system"] == "with Adam")
    assert (row["test loss"], row["seeds"]) == ("0.2200 ± 0.0158", "5")


def test_readme_tells_accuracy_and_time_of_each_recipe_that_is_recorded(folder):
    where = {"processor": "C, 2 cores", "precision": "float32"}
    for seed, seconds in ((1, 70.2), (2, None), (4, 81.9)):  # None: other work disturbed it
        row = line(seed, 0.99 + seed / 1000, seconds=seconds, **where)
        records.add("mnist_cnn_default", [row])
    (row,) = accuracy.rows()
    assert row.pop("network")
    assert list(row.values()) == [
        *("`python mnist_cnn.py`", "99.23 ± 0.15 %", "3", "76 s", "C, 2 cores, float32")
    ]
    args = Namespace(seeds=4, recipes=["default"], fresh=False)
    assert ("mnist_cnn.py --recipe default", 2) not in accuracy.missing(args)
    assert ("mnist_cnn.py --recipe default", 3) in accuracy.missing(args)
    assert not any("best" in command for command, _ in accuracy.missing(args))


@pytest.mark.parametrize("measured", [False, True])
def test_the_figures_show_what_is_measured_so_far(measured, folder, tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    docs.mkdir()
    monkeypatch.setattr(published_figures, "DOCS", docs)
    if measured:
        halves = {"training_accuracy": 0.99, "validation_accuracy": 0.95}
        records.add(
            "depth", [line(1, 0.9, "blocks-1", **halves), line(2, 0.92, "blocks-1", **halves)]
        )
        records.add("batch_size_sweep", [line(1, 0.9, "batch-size-32")])
        from_scratch.add_column(from_scratch.CURVE, "step", {1: 0.1, 2: 0.4}, 1)
        from_scratch.add_column(from_scratch.DIGITS, "digit", {0: 0.9, 1: 0.95}, 1)
    published_figures.write(CLAIMS)
    for path in docs.iterdir():
        with Image.open(path) as picture:
            assert picture.text[published_figures.DIGEST] == records.digest()
            assert min(picture.size) > 700
    assert len(list(docs.iterdir())) == 2


@pytest.mark.parametrize("command", sorted(set(COMMANDS.values()) - {CLASSICAL}))
def test_every_command_of_the_tables_is_one_of_its_script(command, tmp_path):
    script, *options = shlex.split(command)
    args = parse(script.removesuffix(".py"), *options)
    assert args.precision == "float32" or "--recipe" not in command


def test_every_row_has_a_command_and_a_member_that_is_measured():
    for row in ROWS:
        assert row.record in COMMANDS
        members = {kept["member"] for kept in records.read(row.record)}
        assert not members or row.member in members, row


# ---- What is committed ------------------------------------------------------------------------


@pytest.mark.parametrize("benchmark", [accuracy, published_results, time_to_accuracy])
def test_the_tables_are_those_of_the_records(benchmark):
    assert benchmark.page() == benchmark.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["mnist_dense", "mnist_cnn", "fashion_cnn_augment"])
def test_a_script_says_what_its_record_does(script):
    measured = percent(records.values(f"{script}_default", "test_accuracy"))
    assert f"Measured: {measured} test" in importlib.import_module(script).__doc__


def test_the_figures_are_those_of_the_records():
    for name in ("published_results.png", "published_insights.png"):
        with Image.open(REPOSITORY / "docs" / name) as picture:
            assert picture.text[published_figures.DIGEST] == records.digest(), name


def test_every_mean_in_the_prose_is_that_of_a_record():
    known = set()
    for path in records.FOLDER.glob("*.csv"):
        for member in {row["member"] for row in records.read(path.stem)}:
            for measure in records.MEASURES:
                values = records.values(path.stem, measure, member)
                known.add(published_results.formatted(values, measure).removesuffix(" %"))
    page = published_results.PAGE.read_text(encoding="utf-8")
    prose = re.sub(r"<!-- \w+: begin -->.*?<!-- \w+: end -->", "", page, flags=re.DOTALL)
    assert set(re.findall(r"[\d.]+ ± [\d.]+", " ".join(prose.split()))) <= known


def test_the_digits_of_a_network_are_those_of_its_validation_images(
    experiment, tiny_data, tmp_path
):
    import mnist_dense

    argv = "--engine numpy --hidden 8 --epochs 3 --validation 0.3 --quiet --figures none --name a"
    run = mnist_dense.main([*argv.split(), "--results-dir", str(tmp_path)])
    digits = from_scratch.digit_accuracies(read_run(run.folder))
    assert sorted(digits) == list(range(10))
    mean = sum(digits.values()) / 10  # the tiny classes are of one size
    assert mean == pytest.approx(run.metrics["validation_accuracy"], abs=1e-6)
