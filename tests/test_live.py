"""The gallery while runs are under way: what is written, what it costs, what a browser shows."""

import json
import os
import sys
import threading
import time
import webbrowser
from types import SimpleNamespace

import pytest
from conftest import finish, row
from test_gallery import Page, content, save_run

from experiment.gallery import live
from experiment.gallery.page import refresh
from experiment.runs.folder import MARKER
from experiment.runs.history import History, write_history


def run_under_way(results, silent=0, planned=6, **options):
    """A run that has done two epochs, and gave its last sign of life so many seconds ago."""
    folder = save_run(results / "mnist_dense" / "mine", epochs=2, **options)
    config = json.loads((folder / "config.json").read_text()) | {"epochs": planned}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.json").unlink()
    (folder / MARKER).write_text("started 2026-11-21 by process 4711\n")
    for name in (MARKER, "history.csv"):
        os.utime(folder / name, (time.time() - silent,) * 2)
    return folder


# ---- What is written ------------------------------------------------------------------------


def test_a_run_under_way_has_a_sign_of_life_and_the_time_left(tmp_path):
    run_under_way(tmp_path)
    refresh(tmp_path)
    mine = content(tmp_path)["mine"]
    assert mine["alive"] == pytest.approx(time.time(), abs=60)
    assert mine["progress"] == {
        "epochs": 6,
        "planned": 6,
        "done": 2,
        "seconds": mine["progress"]["seconds"],
    }
    assert 0 <= mine["progress"]["seconds"] <= 4 * 1.5  # four epochs of 1.5 s are left


def test_of_several_seeds_the_curves_are_those_of_the_last_and_the_time_is_for_all(tmp_path):
    folder = run_under_way(tmp_path, planned=4, seeds=[1, 2, 3])
    (folder / "history.csv").unlink()
    for seed, epochs in ((1, 4), (2, 1)):
        member = folder / f"seed-{seed}"
        member.mkdir()
        write_history(member, History([row(epoch) for epoch in range(1, epochs + 1)]))
        os.utime(member / "history.csv", (1e9 + seed,) * 2)
    refresh(tmp_path)
    mine = content(tmp_path)["mine"]
    assert mine["progress"] == {"epochs": 4, "planned": 12, "done": 5, "seconds": 0}
    assert len(mine["curves"]["loss"]) == 1 and "damage" not in mine


def test_a_finished_run_that_is_trained_further_is_under_way_again(tmp_path):
    folder = save_run(tmp_path / "mnist_dense" / "mine", epochs=3)
    (folder / MARKER).write_text("started 2026-11-21 by process 4711\n")
    refresh(tmp_path)
    mine = content(tmp_path)["mine"]
    assert mine["progress"]["done"] == 3 and mine["accuracy"] == 0.9 and mine["alive"]


def test_a_run_that_failed_has_no_sign_of_life(tmp_path):
    (run_under_way(tmp_path) / MARKER).write_text("the loss became nan")
    refresh(tmp_path)
    assert not content(tmp_path)["mine"].keys() & {"alive", "progress"}


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_page_grows_while_the_run_trains(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    monkeypatch.setattr(live, "FRACTION", 1)

    def epochs():
        return content(tmp_path)["mine"]["progress"]["done"] if page.exists() else None

    page = tmp_path / "index.html"
    with experiment(tmp_path, "--name", "mine", "--figures", "curves") as runs:
        for run in runs:
            until(lambda: epochs() == 0)
            os.utime(run.folder / MARKER, (1, 1))
            write_history(run.folder, History([row(1)]))
            until(lambda: epochs() == 1)
            assert content(tmp_path)["mine"]["alive"] > 1e9
            finish(run)
    mine = content(tmp_path)["mine"]
    assert mine["accuracy"] == 0.9 and not mine.keys() & {"alive", "unfinished"}
    assert not any(
        thread.daemon and "keep_writing" in thread.name for thread in threading.enumerate()
    )


def test_a_run_that_ends_in_an_error_is_shown_so_at_once(experiment, tmp_path):
    with pytest.raises(ZeroDivisionError), experiment(tmp_path, "--name", "mine") as runs:
        for _ in runs:
            raise ZeroDivisionError("no")
    mine = content(tmp_path)["mine"]
    assert mine["unfinished"] == "ended by ZeroDivisionError: no" and "alive" not in mine


def test_without_figures_nothing_is_written_before_the_end(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "keep_writing", lambda *_: pytest.fail("a thread was started"))
    with experiment(tmp_path, "--figures", "none") as runs:
        for run in runs:
            finish(run)
            assert not (tmp_path / "index.html").exists()
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize(("cost", "wanted"), [(0, 2), (0.1, 10), (100, 60)])
def test_the_page_takes_a_hundredth_of_the_time(cost, wanted, tmp_path, monkeypatch):
    clock, pauses = [0.0], []
    monkeypatch.setattr(live.time, "thread_time", lambda: clock[0])

    def write(*_, **__):
        clock[0] += cost
        raise OSError("a page that cannot be written costs no run")

    monkeypatch.setattr(live, "refresh", write)
    over = SimpleNamespace(wait=lambda pause: pauses.append(pause) or len(pauses) > 2)
    live.keep_writing(tmp_path, over)
    assert pauses == pytest.approx([0, wanted, wanted])


# ---- --show ---------------------------------------------------------------------------------


def test_the_page_is_opened_in_a_browser(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: not opened.append(uri))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    run_under_way(tmp_path)
    live.open_page(tmp_path)
    assert opened == [(tmp_path / "index.html").as_uri()] and "mine" in content(tmp_path)
    assert capsys.readouterr().err == ""


def test_without_a_screen_no_browser_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda uri: pytest.fail("it may be a text browser"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    live.open_page(tmp_path)
    assert "there is no screen" in capsys.readouterr().err
    assert (tmp_path / "index.html").exists()


def test_without_a_browser_there_is_one_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda uri: False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    live.open_page(tmp_path)
    assert capsys.readouterr().err == (
        "warning: cannot show the runs under way: there is no screen, or no browser\n"
    )


def test_in_a_notebook_the_page_is_below_the_cell(tmp_path, monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.chdir(tmp_path)
    live.open_page(tmp_path)
    assert shown[0].src == "index.html"


# ---- In a browser ---------------------------------------------------------------------------


def written_again(page, results, changed):
    """Change the results, write the page, and wait until the browser has loaded it by itself."""
    page.script("window.loadedBefore = true")
    changed()
    refresh(results)
    until(lambda: page.script("return !window.loadedBefore && document.readyState === 'complete'"))


@pytest.mark.slow
def test_curves_grow_and_what_was_chosen_stays(browser, tmp_path):
    folder = run_under_way(tmp_path)
    for name in ("a", "b"):
        save_run(tmp_path / "mnist_cnn" / name)
    page = Page(browser, refresh(tmp_path).parent)
    points = "return document.querySelectorAll('#running svg circle').length"
    assert page.script(points) == 2 * 2 and "2 of 6 epochs" in page.find("#running")[0].text
    assert "running" in page.row("mine").text and "unfinished" not in page.row("mine").text
    page.sort("name")
    page.find("#search")[0].send_keys("hidden 32")
    page.tick("b", "mine")
    page.find("#compare")[0].click()
    write = lambda: write_history(folder, History([row(n) for n in (1, 2, 3)]))  # noqa: E731
    written_again(page, tmp_path, write)
    assert page.script(points) == 2 * 3 and "3 of 6 epochs" in page.find("#running")[0].text
    assert page.names() == ["a", "b", "mine"] and page.find("[aria-sort=ascending]")
    assert page.find("#search")[0].get_attribute("value") == "hidden 32"
    assert page.script("return ticked().map((run) => run.name)") == ["b", "mine"]
    assert page.find("dialog[open]") and page.find("#heading")[0].text == "2 runs compared"
    page.find("#close")[0].click()
    written_again(page, tmp_path, (folder / MARKER).unlink)
    assert not page.find("dialog[open]") and not page.find("#running article")
    page.script("window.loadedBefore = true")
    time.sleep(5)
    assert page.script("return window.loadedBefore")  # with no run under way it stays
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_a_killed_run_is_shown_as_ended(browser, tmp_path):
    run_under_way(tmp_path, silent=1000)
    page = Page(browser, refresh(tmp_path).parent)
    assert (
        "no sign of life since" in page.row("mine").text and "running" not in page.row("mine").text
    )
    assert not page.find("#running article")
