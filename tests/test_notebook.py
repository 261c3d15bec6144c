"""The notebook of the tour, and scripts started as an IDE starts them."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY

TOUR = REPOSITORY / "docs" / "tour.ipynb"


def cells():
    """The code of each cell."""
    notebook = json.loads(TOUR.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def test_the_tour_is_small_and_stored_without_what_a_run_leaves():
    notebook = json.loads(TOUR.read_text(encoding="utf-8"))
    assert TOUR.stat().st_size < 200_000 and notebook["nbformat"] == 4
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"]) <= 10
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    assert all(code.startswith("# ") for code in cells())


@pytest.fixture
def copy(tmp_path):
    """A copy of the project, where a notebook may leave its results."""
    ignored = shutil.ignore_patterns(".*", "results", "__pycache__", "records")
    shutil.copytree(REPOSITORY, tmp_path / "project", ignore=ignored)
    (tmp_path / "project" / "results").mkdir()
    return tmp_path / "project"


@pytest.mark.slow
def test_every_cell_of_the_tour_runs_in_a_kernel_and_shows_its_pictures(copy):
    manager = pytest.importorskip("jupyter_client.manager")
    # From docs/, as Jupyter and VS Code start a notebook's kernel.
    kernel, client = manager.start_new_kernel(kernel_name="python3", cwd=str(copy / "docs"))
    pictures, printed = 0, ""
    try:
        for code in cells():
            shown = []
            reply = client.execute_interactive(code, timeout=400, output_hook=shown.append)
            assert reply["content"]["status"] == "ok", (code, reply["content"])
            pictures += sum("image/png" in m["content"].get("data", {}) for m in shown)
            texts = [m["content"] for m in shown if m["msg_type"] == "stream"]
            assert not [text for text in texts if "warning" in text["text"]]
            printed += "".join(text["text"] for text in texts)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert pictures == 4  # curves, mistakes, the comparison, one's own digit
    assert "epoch 2/2" in printed and "test accuracy" in printed and "my-digit.png: 7" in printed
    assert len([*copy.glob("results/mnist_cnn/*/draw.html")]) == 1
    assert {"mnist_cnn", "mnist_dense", "comparisons"} <= {p.name for p in copy.glob("results/*")}


@pytest.mark.slow
def test_a_script_runs_without_a_terminal_from_another_folder(copy, tmp_path):
    """As an IDE starts it: by its full path, without input, and output that is no terminal."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = "--engine numpy --hidden 8 --epochs 1 --data synthetic --show".split()
    answers = [
        subprocess.run(
            [sys.executable, copy / file, *more],
            cwd=elsewhere,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        for file, more in (("mnist_dense.py", options), ("tools/report.py", ["latest"]))
    ]
    assert [answer.returncode for answer in answers] == [0, 0], answers
    assert "cannot show" in answers[0].stderr  # there is no screen
    (folder,) = (copy / "results" / "mnist_dense").iterdir()
    assert str(folder) in answers[0].stdout and (folder / "mistakes.png").exists()
    assert not [*elsewhere.iterdir()]
