"""The gallery: what its page holds, and how it behaves in a real browser."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from conftest import QUICK, REPOSITORY, finish, run_script
from PIL import Image

import mnist_dense
from common.errors import UserError
from experiment.gallery.page import refresh, refresh_after
from experiment.runs.folder import MARKER
from experiment.runs.history import COLUMNS

# What Keras says when a label is not among the outputs.
FAILURE = (
    "ended by InvalidArgumentError: Graph execution error:\n\nDetected at node Gather:\n"
    "  File somewhere\n\nindices[24] = 9 is not in [0, 9)\n\t [[{{node Gather}}]]\n"
)
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>&amp;"


def config(script="mnist_dense", **changes):
    title = "Fashion-MNIST" if "fashion" in script else "MNIST"
    return {
        "script": script,
        "recipe": "default",
        "dataset": "fashion_mnist" if "fashion" in script else "mnist",
        "title": title,
        "synthetic": False,
        "fingerprint": "0" * 64,
        "data_dir": None,
        "seed": 1,
        "seeds": [1],
        "combinations": [{}],
        "started": "2026-11-20T09:30:00+00:00",
        "hidden": [32, 16],
        "epochs": 3,
        "versions": {"python": "3.11.2"},
    } | changes


def save_run(folder, accuracy=0.9, seconds=10.0, epochs=3, **changes):
    """Write by hand what a script would leave in a run's folder."""
    folder.mkdir(parents=True)
    script = folder.parent.name
    content = config(**{"script": script} | changes)
    (folder / "config.json").write_text(json.dumps(content))
    metrics = {"test_accuracy": accuracy, "test_loss": 0.25, "parameters": 1234, "epochs": epochs}
    metrics |= {"seconds": {"training": seconds}, "stopped_early": False}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [",".join(COLUMNS)]
    for epoch in range(1, epochs + 1):
        reached = accuracy - 0.1 / epoch
        lines.append(f"{epoch},1.5,0.001,{0.6 / epoch},{reached},{0.5 / epoch},{reached - 0.01}")
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder


def save_picture(path, colour="#0072B2"):
    Image.new("RGB", (200, 100), colour).save(path)


def save_network(folder, *layers):
    lines = [f"| {layer} | 10 | 1,234 | 5,678 |" for layer in layers]
    (folder / "network.md").write_text("\n".join(["head", "---", *lines, "| Total | | 9 | 9 |"]))


def content(results):
    """The numbers that the page holds."""
    return {run["name"]: run for run in content_of(results / "index.html")["runs"]}


def content_of(path):
    """What was put into a template, read as a browser would."""
    page = path.read_text(encoding="utf-8")
    (text,) = re.findall(r'<script type="application/json" id="runs?">(.*?)</script>', page, re.S)
    return json.loads(text, parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs of every kind, in a folder that is hard to address."""
    results = tmp_path_factory.mktemp("a b #1 100% what?") / "results"
    best = save_run(results / "mnist_cnn" / "best", 0.99, 30, started="2026-11-21T10:00:00+00:00")
    save_picture(best / "curves.png")
    save_picture(best / "confusion_matrix.png", "#E69F00")
    save_network(best, "Conv2D filters 8", "Dense units 10")
    resumed = [{"epochs": 2, "schedule_changed_at": 2}]
    fast = results / "mnist_dense" / "fast"
    save_run(fast, 0.95, 5, hidden=[64], epochs=5, resumed=resumed)
    save_network(fast, "Flatten", "Dense units 10")
    stand_in = {"synthetic": True, "title": "Fashion-MNIST (synthetic)"}
    late = {"started": "2026-11-21T11:00:00+02:00"} | stand_in
    save_run(results / "fashion_cnn_augment" / "late", 0.85, 200, **late)
    broken = save_run(results / "mnist_dense" / "broken-metrics")
    (broken / "metrics.json").write_text("{")
    (save_run(results / "mnist_dense" / "no-history") / "history.csv").unlink()
    (save_run(results / "mnist_dense" / "no-config") / "config.json").unlink()
    save_run(results / "mnist_dense" / "wrong-kinds", seeds=7, combinations=None, versions=[3])
    under_way = save_run(results / "mnist_dense" / "under-way", epochs=2)
    (under_way / "metrics.json").unlink()
    (under_way / MARKER).write_text("started 2026-11-21 by process 4711\n")
    for name in (MARKER, "history.csv"):
        os.utime(under_way / name, (1e9, 1e9))  # killed long ago
    folder = results / "mnist_dense" / "hostile"
    save_run(folder, recipe=HOSTILE, title=HOSTILE, started=HOSTILE, command_line=[HOSTILE])
    save_network(folder, HOSTILE)
    for filters in (32, 64):
        typed = f"mnist_cnn.py --recipe quick --filters 32 64 --name of-{filters}".split()
        quick = {"recipe": "quick", "filters": filters, "blocks": 2, "command_line": typed}
        save_run(results / "mnist_cnn" / f"of-{filters}", 0.9, 50, epochs=2, **quick)
    for name, layer in (("plain", "Flatten"), ("edited", "Dropout rate 0.5")):
        folder = save_run(results / "mnist_cnn" / name, recipe="mine", started="2026-11-19")
        save_network(folder, layer, "Dense units 10")
    failed = save_run(results / "mnist_dense" / "failed", started="2026-11-19")
    (failed / "metrics.json").unlink()
    (failed / MARKER).write_text(FAILURE)
    if os.name == "posix":  # names that Windows does not allow
        folder = save_run(results / "mnist_dense" / "<b>a & 'b' \"c\" #1 50% ?x")
        save_picture(folder / "curves.png")
    refresh(results)
    return results


# ---- What the page holds --------------------------------------------------------------------


def test_numbers_of_a_run_reach_the_page(results):
    best = content(results)["best"]
    assert (best["accuracy"], best["seconds"], best["parameters"]) == (0.99, 30, 1234)
    assert (best["script"], best["dataset"], best["seeds"]) == ("mnist_cnn", "MNIST", 1)
    assert best["options"]["hidden"] == [32, 16] and best["options"]["recipe"] == "default"
    assert best["curves"]["accuracy"] == pytest.approx([0.88, 0.93, 0.99 - 0.1 / 3 - 0.01], 1e-5)
    assert best["curves"]["measured_on"] == "validation"
    assert [name for name, _ in best["figures"]] == ["curves", "confusion matrix"]
    assert "damage" not in best and "unfinished" not in best


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("broken-metrics", "metrics.json is missing or damaged"),
        ("no-history", "history.csv is missing or damaged"),
        ("no-config", "config.json is missing or damaged"),
        ("wrong-kinds", "is damaged"),
    ],
)
def test_damage_is_said_and_what_is_whole_is_shown(results, name, said):
    row = content(results)[name]
    assert said in row["damage"] and row["damage"].startswith("mnist_dense")
    if name == "no-history":
        assert row["accuracy"] == 0.9


def test_a_run_under_way_shows_its_marker_and_its_epochs(results):
    row = content(results)["under-way"]
    assert row["unfinished"] == "started 2026-11-21 by process 4711"
    assert len(row["curves"]["loss"]) == 2 and "damage" not in row


def test_a_run_in_its_first_epoch_has_no_curves_yet(tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "new", epochs=0)
    (folder / "metrics.json").unlink()
    (folder / MARKER).write_text("started just now")
    refresh(tmp_path)
    assert not content(tmp_path)["new"].keys() & {"curves", "damage"}
    (folder / "history.csv").unlink()
    refresh(tmp_path)
    assert not content(tmp_path)["new"].keys() & {"curves", "damage"}


def test_without_validation_the_curves_are_training_ones(tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "all", epochs=1)
    (folder / "history.csv").write_text(",".join(COLUMNS) + "\n1,1,0.1,0.5,0.75,nan,nan\n")
    refresh(tmp_path)
    wanted = {"accuracy": [0.75], "loss": [0.5], "measured_on": "training"}
    assert content(tmp_path)["all"]["curves"] == wanted


def test_numbers_that_are_none_become_null(tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "odd")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"test_loss": float("nan")}))
    refresh(tmp_path)
    assert content(tmp_path)["odd"]["loss"] is None


def test_numbers_that_are_none_in_a_damaged_file_break_nothing(tmp_path):
    save_run(tmp_path / "mnist_dense" / "odd", dropout=float("nan"))
    refresh(tmp_path)
    assert "below 1, not 'nan'" in content(tmp_path)["odd"]["damage"]


def test_real_runs_refresh_the_page(tiny_data, tmp_path):
    """One run, and a sweep with seeds: whole, and not marked as unfinished."""
    options = [*QUICK, "--results-dir", str(tmp_path)]
    one = mnist_dense.main([*options, "--name", "one"])
    assert content(tmp_path).keys() == {"one"}
    sweep = "--activation relu tanh --repeats 2 --name sweep"
    mnist_dense.main([*options, *sweep.split()])
    rows = content(tmp_path)
    assert rows.keys() == {"sweep/activation-relu", "sweep/activation-tanh", "one"}
    for name, row in rows.items():
        assert not row.keys() & {"damage", "unfinished"} and not row["note"]
        assert row["seeds"] == (1 if name == "one" else 2)
    assert rows["one"]["accuracy"] == pytest.approx(one.metrics["test_accuracy"], rel=1e-5)
    relu, folder = rows["sweep/activation-relu"], tmp_path / "mnist_dense" / "sweep"
    metrics = json.loads((folder / "activation-relu" / "metrics.json").read_text())
    assert relu["accuracy_sd"] == pytest.approx(metrics["test_accuracy_sd"], rel=1e-5)
    tables = [
        np.genfromtxt(folder / "activation-relu" / f"seed-{seed}" / "history.csv", delimiter=",")
        for seed in (1, 2)
    ]
    wanted = np.mean(tables, axis=0)[1:, COLUMNS.index("validation_loss")]
    assert relu["curves"]["loss"] == pytest.approx(wanted, rel=1e-5)
    assert relu["options"]["activation"] == "relu" and relu["options"]["seeds"] == [1, 2]
    assert relu["network"] == (folder / "activation-relu/seed-1/network.md").read_text()
    assert relu["report"] and relu["command"].endswith(sweep)
    of_seeds = content_of(folder / "activation-relu" / "report.html")
    assert of_seeds["name"] == "sweep/activation-relu" and of_seeds["home"] == "../" * 3
    assert list(of_seeds["members"]) == ["seed-1", "seed-2"] and of_seeds["network"]
    of_seed = content_of(folder / "activation-relu" / "seed-2" / "report.html")
    assert of_seed["home"] == "../" * 4 and of_seed["accuracy"] in of_seeds["members"].values()
    assert len(list(tmp_path.rglob("report.html"))) == 7
    save_picture(folder / "sweep.png")
    refresh(tmp_path)
    assert content(tmp_path)["sweep/activation-relu"]["figures"] == [
        ["sweep", "mnist_dense/sweep/sweep.png"]
    ]


@pytest.mark.slow
def test_scripts_that_end_at_once_leave_a_whole_page(tmp_path):
    """And the engine numpy imports no TensorFlow on the way."""
    quick = "--data synthetic --engine numpy --epochs 2 --images 300 --hidden 16 --quiet".split()
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('TensorFlow was imported')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(name):
        where = ("--name", name, "--results-dir", tmp_path / "results")
        return run_script("mnist_dense", *quick, *where, env=environment)

    with ThreadPoolExecutor() as pool:
        for answer in pool.map(run, ("one", "two")):
            assert answer.returncode == 0 and not answer.stderr, answer.stderr
    # Which of the two had the last word is left to chance.
    rows = content(tmp_path / "results")
    assert rows and all(row["synthetic"] and not row.get("damage") for row in rows.values())
    assert any("unfinished" not in row for row in rows.values())
    assert [path.name for path in (tmp_path / "results").glob("*.html")] == ["index.html"]
    assert not list((tmp_path / "results").glob(".*"))


def test_runs_of_the_version_before_are_shown(tmp_path):
    shutil.copytree(Path(__file__).with_name("old_results"), tmp_path, dirs_exist_ok=True)
    refresh(tmp_path)
    rows = content(tmp_path)
    one, plain = rows["one-rendered"], rows["plain-rendered"]
    assert one["synthetic"] and (one["accuracy"], one["dataset"]) == (0.218, "MNIST (rendered)")
    assert plain["options"]["augmenter"] == "none" and plain["curves"]["loss"]
    for row in rows.values():
        assert not row.keys() & {"damage", "unfinished"} and not row["note"]
        assert not row["options"].keys() & {"rendered", "augment", "repeats exactly"}


def test_a_report_holds_what_is_known_of_a_run(results):
    folder = results / "mnist_cnn" / "best"
    report = content_of(folder / "report.html")
    assert (report["name"], report["accuracy"], report["loss"]) == ("best", 0.99, 0.25)
    assert report["home"] == "../../" and report["members"] == {} and not report["script_copy"]
    assert [name for name, _ in report["figures"]] == ["curves", "confusion matrix"]
    assert report["network"] == (folder / "network.md").read_text()
    assert {"hidden", "learning rate"} <= {*report["settings"]}
    assert report["per_class"] is None  # of what is missing, nothing is shown


def test_only_runs_with_a_result_have_a_report(results):
    rows = content(results)
    without = {"broken-metrics", "no-history", "no-config", "wrong-kinds", "under-way", "failed"}
    assert {name for name, row in rows.items() if not row["report"]} == without - {"no-history"}
    assert (
        "history.csv is missing"
        in content_of(results / "mnist_dense" / "no-history" / "report.html")["damage"]
    )


def test_a_run_that_ends_writes_its_own_report_only(tmp_path):
    mine, other = (save_run(tmp_path / "mnist_dense" / name) for name in ("mine", "other"))
    (mine / MARKER).write_text("started just now")
    refresh_after(mine)
    assert not (other / "report.html").exists() and not content(tmp_path)["other"]["report"]
    assert content(tmp_path)["mine"]["report"]
    assert "unfinished" not in content_of(mine / "report.html")


def test_the_run_that_ends_now_is_no_longer_unfinished(tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "mine")
    (folder / MARKER).write_text("started just now")
    (save_run(tmp_path / "mnist_dense" / "other") / MARKER).write_text("started just now")
    refresh_after(folder)
    assert "unfinished" not in content(tmp_path)["mine"]
    assert content(tmp_path)["other"]["unfinished"] == "started just now"


def test_stopped_runs_and_lost_seeds_are_noted(tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "stopped")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"stopped_early": True}))
    whole = save_run(tmp_path / "mnist_dense" / "seeds", seeds=[1, 2, 3])
    (whole / "metrics.json").write_text(
        '{"test_accuracy": 0.8, "test_loss": 1.0, "training_seconds": 4, "seeds": [1, 2]}'
    )
    for seed, accuracy in ((1, 0.7), (2, 0.9)):
        member = save_run(
            whole / f"seed-{seed}", accuracy, script="mnist_dense", seed=seed, seeds=[seed]
        )
    save_run(whole / "seed-3", 0.1)
    (whole / "seed-3" / MARKER).write_text("the loss became nan")
    refresh(tmp_path)
    rows = content(tmp_path)
    assert rows["stopped"]["note"] == "stopped early, after 3 epochs"
    assert rows["seeds"]["note"] == "only 2 of 3 seeds ended well"
    assert rows["seeds"]["curves"]["accuracy"][-1] == pytest.approx(0.8 - 0.1 / 3 - 0.01, rel=1e-5)
    assert (member / "history.csv").exists() and len(rows) == 2


def test_a_schedule_that_changed_when_resumed_is_noted(tmp_path):
    resumed = [{"epochs": 2}, {"epochs": 4, "schedule_changed_at": 4}]
    folder = save_run(tmp_path / "mnist_dense" / "further", epochs=6, resumed=resumed)
    refresh(tmp_path)
    assert content(tmp_path)["further"]["note"] == "the schedule changed after epoch 4"
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"stopped_early": True}))
    refresh(tmp_path)
    assert content(tmp_path)["further"]["note"] == (
        "stopped early, after 6 epochs; the schedule changed after epoch 4"
    )


def test_the_members_of_a_sweep_that_was_stopped_are_not_shown_as_started(experiment, tmp_path):
    sweep = ("--hidden", 4, 8, "--repeats", 2)
    with pytest.raises(SystemExit), experiment(tmp_path, *sweep) as runs:
        for run in runs:
            run.history.stopped = 2
            finish(run, stopped_early=True)
    (row,) = content(tmp_path).values()
    assert row["unfinished"].startswith("stopped on request")


def test_failing_to_write_is_a_warning(tmp_path, capsys):
    folder = save_run(tmp_path / "mnist_dense" / "mine")
    (tmp_path / "index.html").mkdir()
    refresh_after(folder)
    error = capsys.readouterr().err
    assert error.startswith("warning: the gallery was not refreshed: ") and error.count("\n") == 1


def test_a_page_of_somebody_else_is_left_alone(tmp_path):
    save_run(tmp_path / "mnist_dense" / "mine")
    (tmp_path / "index.html").write_text("<p>my home page")
    with pytest.raises(UserError, match="not a gallery"):
        refresh(tmp_path)
    assert (tmp_path / "index.html").read_text() == "<p>my home page"


def test_many_refreshes_at_once_leave_a_whole_page(results, tmp_path):
    copy = shutil.copytree(results, tmp_path / "results")
    code = (
        "import sys, pathlib; from experiment.gallery.page import refresh\n"
        "for _ in range(20): refresh(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, copy]
    processes = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        with contextlib.suppress(PermissionError):  # Windows, at the moment of renaming
            assert content(copy).keys() == content(results).keys()
    assert [process.returncode for process in processes] == [0, 0]


def test_the_tool_refreshes_the_page(results, tmp_path, capsys):
    from tools import gallery

    copy = shutil.copytree(results, tmp_path / "results")
    shutil.rmtree(copy / "mnist_cnn")
    gallery.main(["--results-dir", str(copy)])
    assert str(copy / "index.html") in capsys.readouterr().out
    assert "best" not in content(copy)
    with pytest.raises(SystemExit) as stop:
        gallery.main(["--results-dir", str(tmp_path / "nowhere")])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "there is no folder" in error and error.count("\n") == 1


def test_colours_are_those_of_the_figures():
    from common.plotting import style

    folder = REPOSITORY / "experiment" / "gallery"
    templates = folder / "gallery.html", folder / "report.html", REPOSITORY / "tools" / "draw.html"
    texts = [path.read_text(encoding="utf-8") for path in templates]
    (line,) = re.findall(r"const COLOURS = (\[.*\]);", texts[0])
    assert json.loads(line)[:6] == list(style.COLOURS[:6])
    for text in (*texts, (folder / "head.html").read_text(encoding="utf-8")):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)  # needs no network
    for text in texts:
        assert text.count("@RUNS@") == text.count("<!-- @HEAD@ -->") == 1


# ---- In a browser ---------------------------------------------------------------------------


class Page:
    """The gallery in a browser, as a person sees it."""

    def __init__(self, driver, results):
        self.driver = driver
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        driver.get("about:blank")  # or it would bring back what the last test has chosen
        driver.get((results / "index.html").as_uri())

    def find(self, selector):
        return self.driver.find_elements("css selector", selector)

    def script(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def names(self):
        """Of the rows that are shown, from top to bottom."""
        return self.script(
            "return [...document.querySelectorAll('#body tr:not([hidden]) th a')]"
            ".map((link) => link.textContent)"
        )

    def row(self, name):
        return self.script("return runs.find((run) => run.name === arguments[0]).row", name)

    def sort(self, key):
        self.script("scrollTo(0, 0)")
        (button,) = self.find(f"[data-key={key}]")
        button.click()
        return button.find_element("xpath", "..").get_attribute("aria-sort")

    def choose(self, field, text):
        for option in self.find(f"#{field} option"):
            if option.text == text:
                option.click()

    def tick(self, *names):
        for name in names:
            box = self.row(name).find_element("css selector", "input")
            self.script("arguments[0].scrollIntoView({block: 'center'})", box)
            box.click()

    def table(self):
        """The comparison's rows: name and cells."""
        rows = self.script(
            "return [...document.querySelectorAll('#facts tr')]"
            ".map((row) => [...row.children].map((cell) => cell.textContent))"
        )
        return {first: cells for first, *cells in rows}

    def emulate(self, **media):
        features = [
            {"name": name.replace("_", "-"), "value": value} for name, value in media.items()
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def phone(self):
        size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def page(browser, results):
    """The page in a state as new; afterwards nothing may stand in the browser's console."""
    page = Page(browser, results)
    yield page
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_rows_show_what_the_folders_hold(page, results):
    assert sorted(page.names()) == sorted(content(results))
    best = page.row("best").text
    for text in ("mnist_cnn · MNIST", "2026-11-21\n10:00", "99.00 %", "30.0 s", "1,234"):
        assert text in best
    assert "synthetic" in page.row("late").text
    assert "the schedule changed after epoch 2" in page.row("fast").text
    assert "unfinished" in page.row("under-way").text and "4711" in page.row("under-way").text
    for name in ("broken-metrics", "no-history", "no-config", "wrong-kinds"):
        assert "damaged" in page.row(name).text
    assert [th.get_attribute("scope") for th in page.find("#table thead th")] == ["col"] * 8


def loaded(page, image):
    """Wait until a picture is there."""
    page.script("arguments[0].scrollIntoView()", image)
    deadline = time.monotonic() + 20
    while not page.script("return arguments[0].naturalWidth", image):
        assert time.monotonic() < deadline, image.get_attribute("src")
        time.sleep(0.02)


@pytest.mark.slow
def test_curves_are_shown_while_the_focus_is_on_a_name(page):
    """Whatever the folders are called."""
    images = page.find("#body img")
    assert len(images) == (2 if os.name == "posix" else 1)
    for image in images:
        assert image.get_attribute("alt") and not image.is_displayed()
        page.script("arguments[0].previousSibling.focus()", image)
        loaded(page, image)
        assert image.is_displayed() and image.size["width"] > 500


@pytest.mark.slow
def test_the_options_tell_runs_apart(page):
    """Those that differ in the same script and recipe, those that were given, or the layers."""
    cells = {
        name: page.row(name).find_element("css selector", ".options").text
        for name in ("of-32", "of-64", "best", "plain", "edited")
    }
    assert cells["of-32"] == "filters 32" and cells["of-64"] == "filters 64"
    assert cells["best"] == ""
    assert (cells["plain"], cells["edited"]) == ("layers: Flatten", "layers: Dropout rate 0.5")
    assert page.row("of-64").find_element("css selector", ".recipe").text == "quick"
    page.script("runs.push({...runs[0], name: 'new', options: {recipe: 'own', flip: false}})")
    page.script("runs.at(-1).recipe = 'own'; runs.at(-1).command = 'x.py --no-flip --name --y'")
    assert page.script("tellApart(); return runs.at(-1).told") == "no flip"


@pytest.mark.slow
def test_an_error_is_one_line_and_whole_in_the_details(page):
    (remark,) = page.row("failed").find_elements("css selector", ".remark")
    assert remark.text == "indices[24] = 9 is not in [0, 9)"
    assert remark.get_attribute("title") == FAILURE.strip() and remark.size["height"] < 30
    page.row("failed").find_element("css selector", "a").click()
    assert page.find("#heading")[0].text == "failed" and "Detected at" in page.table()["remarks"][0]
    assert page.script("return inBrief('ended by ValueError: no\\n\\nmore')") == (
        "ended by ValueError: no"
    )


@pytest.mark.slow
def test_a_name_opens_the_page_of_the_run(page, results):
    page.row("best").find_element("css selector", "th a").click()
    assert page.find("h1")[0].text == "mnist_cnn/best"
    text = page.find("body")[0].text
    for part in ("99.00 %", "0.2500", "1,234", "32,16", "Conv2D filters 8"):
        assert part in text, part
    images = page.find("img")
    assert [image.get_attribute("alt") for image in images] == ["curves", "confusion matrix"]
    for image in images:
        loaded(page, image)
    page.find("a")[0].click()
    assert page.driver.current_url == (results / "index.html").as_uri()


@pytest.mark.slow
def test_the_page_of_a_run_shows_classes_seeds_and_hostile_text_as_text(browser, tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "seeds", seeds=[1, 2], title=HOSTILE)
    save_run(folder / "seed-1", 0.9, script="mnist_dense", seed=1)
    options = {"script": "mnist_dense", "seed": 2, "seeds": [2], "recipe": HOSTILE}
    member = save_run(folder / "seed-2", 0.8, **options)
    save_network(member, HOSTILE)
    metrics = json.loads((member / "metrics.json").read_text())
    counts = np.zeros((10, 10), int)
    counts[:3, :3] = [[90, 10, 0], [0, 70, 0], [1, 2, 27]]
    metrics |= {"confusion_matrix": counts.tolist(), "test_accuracy": 187 / 200}
    names = ("cat", HOSTILE, "emu", *"abcdefg")
    metrics["per_class"] = {key: {"precision": 0.5, "recall": 0.25} for key in names}
    (member / "metrics.json").write_text(json.dumps(metrics))
    averages = {"test_accuracy": 0.85, "test_loss": 0.1, "training_seconds": 4, "seeds": [1, 2]}
    (folder / "metrics.json").write_text(json.dumps(averages))
    page = Page(browser, refresh(tmp_path).parent)
    page.row("seeds").find_element("css selector", "th a").click()
    page.find("section a")[1].click()
    assert page.find("h1")[0].text == "mnist_dense/seeds/seed-2"
    rows = [row.text for row in page.find("tbody tr")]
    assert "cat 100 10 50.00 % 25.00 % " + HOSTILE + " (10)" in rows
    assert "emu 30 3 50.00 % 25.00 % " + HOSTILE + " (2)" in rows
    assert f"{HOSTILE} 70 0 50.00 % 25.00 % –" in rows  # noqa: RUF001
    assert f"recipe {HOSTILE}" in rows
    assert f"{HOSTILE} 10 1,234 5,678" in rows and "13 of 200" in page.find("dl")[0].text
    assert page.script("return window.hacked") is None
    page.phone()
    assert page.script("return document.documentElement.scrollWidth") <= 360
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_sorting(page):
    assert page.names()[:2] == ["best", "late"]  # 10:00 in London, 09:00 for a clock of 11:00+02
    assert page.sort("accuracy") == "descending"
    assert page.names()[:2] == ["best", "fast"] and page.find("[aria-sort=none]")
    assert page.sort("accuracy") == "ascending"
    assert page.names()[0] == "late"
    assert page.sort("seconds") == "ascending"
    assert page.names()[0] == "fast"
    assert "broken-metrics" in page.names()[-5:]  # without a value: last, either way
    page.sort("seconds")
    assert page.names()[0] == "late" and "broken-metrics" in page.names()[-5:]
    assert page.sort("name") == "ascending"
    assert len(page.find("th[aria-sort=ascending], th[aria-sort=descending]")) == 1


@pytest.mark.slow
def test_filters(page):
    page.choose("script", "fashion_cnn_augment")
    assert page.names() == ["late"] and "1 of" in page.find("#count")[0].text
    page.choose("script", "all scripts")
    page.choose("dataset", "Fashion-MNIST (synthetic)")
    assert page.names() == ["late"]
    page.choose("script", "mnist_cnn")
    assert page.names() == []
    page.choose("script", "all scripts")
    page.choose("dataset", "all datasets")
    for text, names in (
        ("FAST", ["fast"]),
        ("quick", ["of-32", "of-64"]),
        ("filters 64", ["of-64"]),
        ("Quick, blocks 2, filters 32", ["of-32"]),
        ("dropout rate 0.5", ["edited"]),
        ("quick, nothing", []),
    ):
        page.find("#search")[0].clear()
        page.find("#search")[0].send_keys(text)
        assert page.names() == names, text


@pytest.mark.slow
def test_comparison_shows_curves_results_and_differing_options(page):
    assert not page.find("#bar")[0].is_displayed()
    page.tick("best", "fast")
    page.find("#compare")[0].click()
    assert page.find("#heading")[0].text == "2 runs compared"
    table = page.table()
    assert table["test accuracy"] == ["99.00 %", "95.00 %"]
    assert table["hidden"] == ["32,16", "64"]
    assert "recipe" not in table and "version of python" not in table
    assert table["layers"] == ["Conv2D filters 8", "Flatten"]
    for chart, loss in zip(page.find("#charts svg"), (False, True), strict=True):
        assert ("loss" if loss else "accuracy") in chart.get_attribute("aria-label")
        lines = chart.find_elements("css selector", "polyline")
        curves = [line.get_attribute("points").split() for line in lines]
        assert [len(curve) for curve in curves] == [3, 5]
        heights = [[float(point.split(",")[1]) for point in curve] for curve in curves]
        # Downwards on the screen: losses fall together, accuracies rise, the better run's higher.
        assert all((a < b) == loss for line in heights for a, b in pairwise(line))
        assert loss or mean(heights[0]) < mean(heights[1])
    page.find("#close")[0].click()
    page.find("#untick")[0].click()
    assert not page.find("#bar")[0].is_displayed() and not page.find("tr.ticked")


@pytest.mark.slow
def test_equal_distances_in_errors_are_equal_on_the_screen(page):
    """90 %, 99 % and 99.9 % are evenly spaced, as in the figures."""
    low, middle, high = page.script("return [0.9, 0.99, 0.999].map(ACCURACY.scale)")
    assert middle - low == pytest.approx(high - middle) and high > low


@pytest.mark.slow
def test_everything_together_can_be_compared(page, results):
    page.script("for (const run of runs) run.box.checked = true; countTicked()")
    page.find("#compare")[0].click()
    assert len(page.table()["test accuracy"]) == len(content(results))
    assert len(page.find("#charts polyline")) == 2 * len(content(results))
    assert "damaged" in " ".join(page.table()["remarks"])


@pytest.mark.slow
def test_by_keyboard(page):
    (body,) = page.find("body")
    from selenium.webdriver.common.keys import Keys

    def focused():
        return page.driver.switch_to.active_element

    body.send_keys(Keys.TAB * 4)
    assert focused().get_attribute("data-key") == "name"
    focused().send_keys(Keys.TAB * 3 + Keys.ENTER)
    assert page.names()[0] == "best"
    style = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.script(style) == "solid"
    focused().send_keys(Keys.TAB * 3)
    assert focused().get_attribute("aria-label") == "compare best"
    focused().send_keys(Keys.SPACE)
    focused().send_keys(Keys.ARROW_DOWN)
    assert focused().get_attribute("aria-label") == "compare fast"
    focused().send_keys(Keys.SPACE)
    focused().send_keys(Keys.ENTER)
    assert page.find("dialog[open]")
    focused().send_keys(Keys.ESCAPE)
    assert not page.find("dialog[open]")
    assert focused().get_attribute("aria-label") == "compare fast"


@pytest.mark.slow
def test_every_control_has_a_name(page):
    nameless = page.script(
        "return [...document.querySelectorAll('input, select, button, a, img')].filter((node) =>"
        " !(node.labels?.length || node.ariaLabel || node.alt || node.textContent.trim()"
        " || node.querySelector('img[alt]'))).map((node) => node.outerHTML)"
    )
    assert nameless == []


@pytest.mark.slow
def test_hostile_text_stays_text(page):
    assert HOSTILE in page.row("hostile").text
    page.tick("hostile", "best")
    page.find("#compare")[0].click()
    assert HOSTILE in page.table()["recipe"]
    assert page.script("return window.hacked") is None
    assert not page.find("img[src=x]") and not page.find("th b b")


@pytest.mark.slow
def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    page.phone()
    page.tick("best", "fast", "hostile")
    width = "return document.documentElement.scrollWidth"
    assert page.script(width) <= 360
    assert page.row("best").size["width"] > 300
    assert page.sort("accuracy") == "descending"
    page.find("#compare")[0].click()
    assert page.script(width) <= 360
    (dialog,) = page.find("dialog")
    assert page.script("return arguments[0].scrollWidth <= arguments[0].clientWidth", dialog)


@pytest.mark.slow
def test_light_and_dark(page):
    style = "getComputedStyle(document.body)"
    colours = f"return [{style}.color, {style}.backgroundColor]"

    def brightness():
        return [mean(map(int, re.findall(r"\d+", text)[:3])) for text in page.script(colours)]

    page.emulate(prefers_color_scheme="light")
    text, background = brightness()
    assert text < 60 and background > 230
    page.emulate(prefers_color_scheme="dark")
    text, background = brightness()
    assert text > 200 and background < 50


@pytest.mark.slow
def test_a_picture_that_is_damaged_breaks_nothing(browser, tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "one")
    (folder / "curves.png").write_bytes(b"\x89PNG\r\n")
    refresh(tmp_path)
    page = Page(browser, tmp_path)
    assert page.names() == ["one"] and browser.get_log("browser") == []


@pytest.mark.slow
def test_no_runs_at_all(browser, tmp_path):
    page = Page(browser, refresh(tmp_path).parent)
    assert "no runs yet" in page.find("#caption")[0].text
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_two_hundred_runs_are_quick(browser, tmp_path):
    """Generous limits, several times what a busy machine needs."""
    first = save_run(tmp_path / "mnist_cnn" / "run-0", epochs=30)
    for name in ("curves", "confusion_matrix", "mistakes", "filters", "feature_maps"):
        save_picture(first / f"{name}.png")
    for number in range(1, 200):
        folder = shutil.copytree(first, tmp_path / "mnist_cnn" / f"run-{number}")
        started = f"2026-11-{1 + number % 28:02}T10:00:00+00:00"
        (folder / "config.json").write_text(json.dumps(config("mnist_cnn", started=started)))
    refresh(tmp_path)  # writes 200 reports, too
    began = time.perf_counter()
    refresh(tmp_path, ended=first)  # what a run waits for
    refreshing = time.perf_counter() - began
    page = Page(browser, tmp_path)
    rendering = page.script(
        "const [entry] = performance.getEntriesByType('navigation');"
        "return entry.domContentLoadedEventEnd - entry.responseEnd"
    )
    times = page.script(
        "const time = (work) => { const began = performance.now(); work();"
        " document.body.offsetHeight; return performance.now() - began; };"
        "return [time(() => document.querySelector('[data-key=name]').click()), time(filter)]"
    )
    assert page.names()[:3] == ["run-0", "run-1", "run-2"] and page.names()[-1] == "run-199"
    loaded = page.script(
        "return runs.filter((run) => run.row.querySelector('img').naturalWidth).length"
    )
    print(f"refresh {refreshing:.2f} s, render {rendering:.0f} ms, sort and filter {times} ms")
    assert refreshing < 3 and rendering < 3000 and max(times) < 1000
    assert not loaded  # they wait until they are shown
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_a_slider_shows_the_frames_of_a_film(browser, tmp_path):
    """In the page of the run, and in the gallery."""
    from selenium.webdriver.common.keys import Keys

    folder = save_run(tmp_path / "mnist_cnn" / "mine")
    Image.new("RGB", (1000, 4 * 560)).save(folder / "training_frames.png")
    page = Page(browser, refresh(tmp_path).parent)
    page.tick("mine")
    page.find("#compare")[0].click()

    def shown():
        loaded(page, page.find(".film img")[0])
        place = "return document.querySelector('.film').getBoundingClientRect().y"
        image = "document.querySelector('.film img').getBoundingClientRect()"
        return round(
            4 * page.script(f"{place} - {image}.y") / page.script(f"return {image}.height")
        )

    assert shown() == 3 and not page.find("#body img")  # at first the last one
    page.find(".film input")[0].send_keys(Keys.ARROW_LEFT * 2)
    assert shown() == 1
    page.driver.get((folder / "report.html").as_uri())
    assert shown() == 3 and page.find("figcaption")[0].text.endswith("training.gif")
    assert browser.get_log("browser") == []
