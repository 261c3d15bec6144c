"""Files of a run that are whole but hold a wrong value.

For `python -m benchmarks.faults`. All is read in this process, of a small run on a few images.
"""

import contextlib
import copy
import csv
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

import mnist_dense
from common.data.dataset import Dataset
from common.files import write_json
from tools import compare, predict, report, rerun

QUICK = "--engine numpy --hidden 8 --figures none --quiet".split()
# What a value is replaced by, and a cell of history.csv.
VALUES = [
    *(None, True, False, 0, 1, -1, 7, 10**30, 0.5, -0.5, float("nan"), float("inf"), "", "text"),
    *("../x", "a\x1b[2J\nb", [], [[]], [None], ["text"], [1, 2], {}, {"a": None}, {"a": [1]}),
]
CELLS = ["", "0", "-1", "2", "0.5", "nan", "inf", "1e400", "text", "1,1"]
# For each try: the fault's title, and what was lost, or None.
Tries = Iterator[tuple[str, str | None]]


@contextlib.contextmanager
def tiny_data() -> Iterator[None]:
    """Let scripts and tools load 300 training and 100 test images, and draw no pixel."""
    labels = np.arange(400, dtype=np.uint8) % 10
    images = np.random.default_rng(0).integers(0, 50, (400, 28, 28)).astype(np.uint8)
    images[np.arange(400), labels * 2] = 255  # a bright row says the class
    parts = {"train_images": images[:300], "train_labels": labels[:300]}
    parts |= {"test_images": images[300:], "test_labels": labels[300:], "synthetic": False}
    words = {"name": "mnist", "title": "MNIST", "source": "a benchmark", "fingerprint": "0" * 64}
    data = Dataset(class_names=tuple("0123456789"), **words, **parts)

    def savefig(figure, path, **options) -> None:
        path.write_bytes(b"")

    with contextlib.ExitStack() as stack:
        for name in ("experiment.run.load", "tools.saved.load"):
            stack.enter_context(mock.patch(name, lambda *arguments, **options: data))
        stack.enter_context(mock.patch("matplotlib.figure.Figure.savefig", savefig))
        yield


def train(results: Path, *options: object) -> Path:
    """The folder of a small run."""
    argv = [*QUICK, "--results-dir", results, *options]
    with contextlib.redirect_stdout(io.StringIO()):
        return mnist_dense.main(list(map(str, argv))).folder


def read_wrong(tries: int, results: Path) -> Tries:
    """Give so many wrong values of each file to all that reads it.

    A wrong value is to be read, or refused in a line.
    """
    generator = random.Random(1)
    digit = np.pad(np.zeros((20, 4), np.uint8), 18, constant_values=255)
    Image.fromarray(digit).save(results / "picture.png")
    with tiny_data():
        train(results, "--epochs", 2, "--name", "other", "--seed", 2, "--dropout", 0.4)
        run = train(results, "--epochs", 2, "--name", "wrong")
        pristine = shutil.copytree(run, results / "pristine")
        for name in ("config.json", "metrics.json"):
            content = json.loads((run / name).read_text(encoding="utf-8"))
            for wrong in generator.choices(list(replacements(content)), k=tries):
                write_json(run / name, wrong)
                yield f"wrong value: {name}", problem_of_any(run, pristine)
        rows = list(csv.reader((run / "history.csv").open(newline="", encoding="utf-8")))
        for _ in range(tries):
            changed = copy.deepcopy(rows)
            cells = generator.choice(changed)
            cells[generator.randrange(len(cells))] = generator.choice(CELLS)
            (run / "history.csv").write_text("\n".join(map(",".join, changed)) + "\n")
            yield "wrong value: history.csv", problem_of_any(run, pristine)


def replacements(content: dict) -> Iterator[dict]:
    """Copies of a JSON object, in each another value replaced, at any depth, or left out."""

    def places(value, path=()) -> Iterator[tuple]:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in inner:
            yield (*path, key)
            if isinstance(each, dict | list):
                yield from places(each, (*path, key))

    for *parents, last in places(content):
        for value in [*VALUES, ...]:
            changed = inner = copy.deepcopy(content)
            for key in parents:
                inner = inner[key]
            inner[last] = value
            if value is ...:
                del inner[last]
            yield changed


def problem_of_any(run: Path, pristine: Path) -> str | None:
    """What went wrong where a run was read in all ways; it is put back as it was."""
    where = ["--results-dir", str(run.parents[1])]
    calls = {
        "compare": partial(compare.main, ["wrong", "other", *where]),
        "report": partial(report.main, ["wrong", *where]),
        "predict": partial(predict.main, ["wrong", str(run.parents[1] / "picture.png"), *where]),
        "rerun": partial(rerun.main, ["wrong", *where]),
        "resume": partial(
            mnist_dense.main, ["--resume", "wrong", "--epochs", "3", "--figures", "none", *where]
        ),
    }
    with mock.patch.object(rerun, "start", lambda folder, *_: folder):
        found = [f"{name}: {said}" for name, call in calls.items() if (said := problem(call))]
    shutil.rmtree(run)
    shutil.copytree(pristine, run)
    return "; ".join(found) or None


def problem(call: Callable[[], object]) -> str | None:
    """What is wrong with how a call ends; None where it succeeds, or is refused in lines."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            call()
        except SystemExit as end:
            return None if end.code in (0, 1, 2) else f"exit status {end.code}"
        except BaseException as error:
            return repr(error)[:300]
    return None
