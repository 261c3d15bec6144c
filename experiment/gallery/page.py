"""The gallery: `results/index.html`, one page that shows and compares every run of a folder.

The page is `gallery.html` with the runs' numbers put into it, so that it needs no server.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from common.errors import UserError
from common.files import read_json, write_atomically
from experiment.options import as_typed
from experiment.runs.folder import MARKER, NOT_COMPARED
from experiment.runs.saved import SavedRun, read_run

TEMPLATE = Path(__file__).with_name("gallery.html")
PLACE_OF_RUNS = "@RUNS@"
SIGNATURE = b'<meta name="generator" content="common/gallery.py">'  # near the template's start

# A folder with one of these is a run's, even if the others are lost.
A_RUN_HOLDS = ("config.json", "history.csv", "metrics.json", MARKER)

# The order of the figures; others follow by name.
FIGURES = (
    "curves confusion_matrix mistakes filters feature_maps attention calibration augmentation"
).split()

# What config.json holds and a comparison of options leaves out, or shows in its own place.
UNCOMPARED = {*NOT_COMPARED, *"dataset title rendered source fingerprint seed versions".split()}
UNCOMPARED -= {"recipe", "seeds"}


def refresh_after(folder: Path) -> None:
    """Refresh the gallery at the end of the run in `folder`; when that fails, warn and go on."""
    try:
        refresh(folder.parent.parent, ended=folder)
    except Exception as error:  # the run is worth more than the page
        print(f"warning: the gallery was not refreshed: {error}", file=sys.stderr)


def refresh(results: Path, ended: Path | None = None) -> Path:
    """Write `index.html` into the results folder anew, and give its path.

    The folder `ended` belongs to a run that ends just now: that it is still marked as unfinished
    is not shown. Raises UserError where the page cannot be written, or would replace another.
    """
    page = results / "index.html"
    if page.exists():
        with page.open("rb") as file:
            if SIGNATURE not in file.read(1000):
                raise UserError(f"{page} is no gallery of runs: move it, and refresh again")
    files = results.glob("*/*/*")
    folders = sorted({file.parent for file in files if file.name in A_RUN_HOLDS})
    rows = [row for folder in folders for row in rows_of(folder, results, ended)]
    refreshed = datetime.now().astimezone().isoformat(" ", "minutes")[:16]
    # A "<" could end the page's script element; JSON in ASCII has room for any name of a file.
    content = json.dumps({"refreshed": refreshed, "runs": rows}).replace("<", "\\u003c")
    template = TEMPLATE.read_text(encoding="utf-8")
    write_atomically(page, template.replace(PLACE_OF_RUNS, content).encode())
    return page


def rows_of(folder: Path, results: Path, ended: Path | None) -> list[dict]:
    """What the page shows of a folder that a script left: of a sweep a row for each combination."""
    places = [folder]
    with contextlib.suppress(Exception):  # what is wrong with the folder is for its row to say
        if len(read_json(folder / "config.json")["combinations"]) > 1:
            places = sorted(path for path in folder.iterdir() if path.is_dir()) or places
    return [row_of(place, results, ended) for place in places]


def row_of(place: Path, results: Path, ended: Path | None) -> dict:
    """What the page shows of one run, or of its seeds together.

    What could be read before something damaged was met is shown, and `damage` says what it was.
    """
    path = place.relative_to(results)
    row = {
        "name": "/".join(path.parts[1:]),
        "script": path.parts[0],
        "link": link(path),
        "figures": [[name, link(figure)] for name, figure in figures(place, results)],
    }
    try:
        if place != ended and (place / MARKER).exists():
            text = (place / MARKER).read_text(encoding="utf-8", errors="replace").strip()
            row["unfinished"] = text or "no reason given"
        config = read_json(place / "config.json")
        row |= settings(config)
        if "unfinished" in row and not (place / "metrics.json").exists():
            run = SavedRun(place, config, {})
            row |= curves(run) if (place / "history.csv").exists() else {}
        else:
            (run,) = read_run(place)
            row |= measurements(run)
            row |= curves(run)
    except Exception as error:  # a file may hold anything, and the other rows are to be seen
        text = f"{error}" if isinstance(error, UserError) else f"{place} is damaged: {error!r}"
        row["damage"] = text.replace(f"{results}{os.sep}", "")
    return row


def link(path: Path) -> str:
    """A path below the results folder as a relative URL, whatever its letters."""
    return quote(os.fsencode(path.as_posix()))


def figures(place: Path, results: Path) -> list[tuple[str, Path]]:
    """Names and paths, below the results folder, of a run's pictures and of its sweep's."""
    found = [path for path in place.glob("*.png") if not path.name.startswith(".")]
    order = {name: number for number, name in enumerate(FIGURES)}
    found.sort(key=lambda path: (order.get(path.stem, len(order)), path.stem))
    found += place.parent.glob("sweep.png")
    return [(path.stem.replace("_", " "), path.relative_to(results)) for path in found]


def settings(config: dict) -> dict:
    """What was asked for: data, time, and each option as text."""
    versions = config.get("versions", {})
    options = {key: config[key] for key in config.keys() - UNCOMPARED}
    options |= {f"version of {package}": version for package, version in versions.items()}
    return {
        "dataset": str(config.get("title", "")),
        "rendered": bool(config.get("rendered")),
        "started": str(config.get("started", "")),
        "options": {key.replace("_", " "): as_text(options[key]) for key in sorted(options)},
    }


def as_text(value: object) -> str:
    """An option's value for people: `512,512`, `yes`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return as_typed(value)


def measurements(run: SavedRun) -> dict:
    """What came out, as means over the seeds; times in seconds, accuracies as shares."""
    metrics, first = run.metrics, run.trainings[0].metrics
    seconds = metrics["training_seconds"] if run.members else metrics["seconds"]["training"]
    result = {
        "accuracy": metrics["test_accuracy"],
        "accuracy_sd": metrics.get("test_accuracy_sd"),
        "loss": metrics["test_loss"],
        "loss_sd": metrics.get("test_loss_sd"),
        "seconds": seconds,
        "parameters": first["parameters"],
        "epochs": first["epochs"],
        "seeds": len(run.trainings),
    }
    result = {key: finite(value) for key, value in result.items()}
    seeds = len(run.config["seeds"])
    if metrics.get("stopped_early"):
        result["note"] = f"stopped early, after {first['epochs']} epochs"
    elif len(run.trainings) < seeds:
        result["note"] = f"only {len(run.trainings)} of {seeds} seeds ended well"
    return result


def curves(run: SavedRun) -> dict:
    """Accuracy and loss after each epoch, as means over the seeds, and what they were measured on.

    That is the validation images; without any, the training images. Nothing without an epoch.
    """
    histories = [training.history for training in run.trainings]
    length = min(len(history.rows) for history in histories)
    if not length:
        return {}

    def means(column: str) -> list[float | None]:
        values = np.mean([history.column(column)[:length] for history in histories], axis=0)
        return [finite(value) for value in values.tolist()]

    measured_on, prefix = "validation", "validation_"
    if all(value is None for value in means("validation_accuracy")):
        measured_on, prefix = "training", ""
    curve = {quantity: means(prefix + quantity) for quantity in ("accuracy", "loss")}
    return {"curves": curve | {"measured_on": measured_on}}


def finite(value: float | None) -> float | None:
    """A number in six digits; None for what is no finite number, which JSON cannot hold."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
