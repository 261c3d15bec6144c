"""The gallery: `results/index.html` shows and compares every run of a folder, `report.html` one.

Each is a template with the runs' numbers put into it, so that it needs no server.
"""

import contextlib
import json
import math
import os
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from common.console import warn
from common.errors import UserError
from common.files import read_text, write_atomically
from experiment.options import NOT_COMPARED, SETTINGS
from experiment.runs.folder import MARKER, NETWORK, SCRIPT, STARTED, read_config, why_unfinished
from experiment.runs.history import read_history
from experiment.runs.saved import SavedRun, read_run

PLACE_OF_HEAD, PLACE_OF_RUNS = "<!-- @HEAD@ -->\n", "@RUNS@"  # in a template
REPORT = "report.html"
# Near the start of the template; the second one is that of an earlier version.
SIGNATURES = ('content="experiment/gallery/page.py"', 'content="common/gallery.py"')

# A folder with one of these is a run's, even if the others are lost.
A_RUN_HOLDS = ("config.json", "history.csv", "metrics.json", MARKER)

# The first figures, in this order; the others follow by name.
FIGURES = "curves training_frames confusion_matrix mistakes filters feature_maps attention".split()

# What config.json holds and a comparison of options leaves out, or shows in its own place.
UNCOMPARED = {*NOT_COMPARED, *"dataset title synthetic source fingerprint seed versions".split()}
UNCOMPARED -= {"recipe", "seeds"}


def refresh_after(folder: Path) -> None:
    """Refresh the gallery at the end of the run in `folder`; when that fails, warn and go on."""
    try:
        refresh(folder.parent.parent, ended=folder)
    except Exception as error:  # the run is worth more than the page
        warn(f"the gallery was not refreshed: {error}")


def refresh(results: Path, ended: Path | None = None, reports: bool = True) -> Path:
    """Write `index.html` into the results folder anew, and give its path.

    With `reports`, also write the `report.html` of every run, or only that of the run that has just
    `ended`, which is shown as finished although its folder is still marked. Raises UserError where
    the page cannot be written, or would replace another.
    """
    page = results / "index.html"
    start = read_text(page)[:1000] if page.is_file() else ""
    if page.exists() and not any(mark in start for mark in SIGNATURES):
        raise UserError(f"{page} is not a gallery of runs: move it, and refresh again")
    files = results.glob("*/*/*")
    folders = sorted({file.parent for file in files if file.name in A_RUN_HOLDS})
    for folder in ([ended] if ended else folders) if reports else ():
        for place in places(folder):
            with contextlib.suppress(Exception):  # what is wrong with it is for its row to say
                write_report(read_run(place))
    rows = [row_of(place, results, ended) for folder in folders for place in places(folder)]
    refreshed = datetime.now().astimezone().isoformat(" ", "minutes")[:16]
    write_page(page, "gallery.html", {"refreshed": refreshed, "runs": rows})
    return page


def write_report(run: SavedRun) -> None:
    """Write `report.html`, all that is known of one run, into its folder and those of its seeds."""
    depth, metrics = len(Path(run.name).parts), run.trainings[0].metrics
    row = row_of(run.folder, run.folder.parents[depth - 1], ended=run.folder)
    row |= {"home": "../" * depth, "script_copy": (run.folder / SCRIPT).exists()}
    row |= {key: metrics.get(key) for key in ("per_class", "confusion_matrix")}
    row["members"] = {one.folder.name: one.metrics["test_accuracy"] for one in run.members}
    write_page(run.folder / REPORT, REPORT, row)
    for member in run.members:
        write_report(member)


def write_page(path: Path, template: str | Path, content: dict) -> None:
    """Write a template, one that lies here or another, with the content put into it."""
    content["settings"] = [name.replace("_", " ") for name in SETTINGS]
    # NaN is no JSON; a "<" could end the script element; ASCII has room for any name of a file.
    text = json.dumps(json.loads(json.dumps(content), parse_constant=str)).replace("<", "\\u003c")
    page, head = (read_text(Path(__file__).parent / name) for name in (template, "head.html"))
    write_atomically(path, page.replace(PLACE_OF_HEAD, head).replace(PLACE_OF_RUNS, text).encode())


def places(folder: Path) -> list[Path]:
    """The folders that get a row: of a sweep those of its runs, else the folder itself."""
    with contextlib.suppress(Exception):  # what is wrong with the folder is for its row to say
        if len(read_config(folder)["combinations"]) > 1:
            return sorted(folder.glob("*/")) or [folder]
    return [folder]


def row_of(place: Path, results: Path, ended: Path | None) -> dict:
    """What the page shows of one run, or of its seeds together.

    What could be read before something damaged was met is shown, and `damage` says what it was.
    """
    path = place.relative_to(results)
    row = {"name": "/".join(path.parts[1:]), "script": path.parts[0]}
    row |= {"link": link(path), "figures": figures(place, results)}
    row["report"] = (place / REPORT).exists()
    try:
        if place != ended and (reason := why_unfinished(place)):
            row["unfinished"] = reason
            if reason.startswith(STARTED):
                signs = (place / MARKER, *place.rglob("history.csv"))  # of life: see live.py
                row["alive"] = max(path.stat().st_mtime for path in signs)
        config = read_config(place)
        row |= settings(config)
        run = SavedRun(place, config, {})
        if "unfinished" not in row or (place / "metrics.json").exists():
            run = read_run(place)
            row |= measurements(run)
        if "alive" in row:
            run, row["progress"] = under_way(run)
        network = run.trainings[0].folder / NETWORK
        row["network"] = read_text(network) if network.is_file() else ""
        if run.metrics or (run.folder / "history.csv").exists():
            row |= curves(run)
    except Exception as error:  # a file may hold anything, and the other rows are to be seen
        text = f"{error}" if isinstance(error, UserError) else f"{place} is damaged: {error!r}"
        row["damage"] = text.replace(f"{results}{os.sep}", "")
    return row


def link(path: Path) -> str:
    """A path below the results folder as a relative URL, whatever its letters."""
    return quote(os.fsencode(path.as_posix()))


def figures(place: Path, results: Path) -> list[tuple[str, str]]:
    """Names and URLs of a run's pictures and of its sweep's."""
    found = [path for path in place.glob("*.png") if not path.name.startswith(".")]
    found.sort(key=lambda path: ([*FIGURES, path.stem].index(path.stem), path.stem))
    found += place.parent.glob("sweep.png")
    return [(path.stem.replace("_", " "), link(path.relative_to(results))) for path in found]


def settings(config: dict) -> dict:
    """What was asked for: data, time, and each option."""
    options = {key: config[key] for key in config.keys() - UNCOMPARED}
    for package, version in config.get("versions", {}).items():
        options[f"version of {package}"] = version
    return {
        "dataset": str(config.get("title", "")),
        "synthetic": bool(config.get("synthetic")),
        "started": str(config.get("started", "")),
        "command": " ".join(map(str, config.get("command_line", []))),
        "options": {key.replace("_", " "): options[key] for key in sorted(options)},
    }


def measurements(run: SavedRun) -> dict:
    """What came out, as means over the seeds, and what is special about it.

    Times are in seconds, accuracies are fractions.
    """
    metrics, first, seeds = run.metrics, run.trainings[0].metrics, len(run.trainings)
    notes = []
    if metrics.get("stopped_early"):
        notes.append(f"stopped early, after {first['epochs']} epochs")
    elif seeds < len(run.config["seeds"]):
        notes.append(f"only {seeds} of {len(run.config['seeds'])} seeds ended well")
    if kept := first.get("kept_epoch"):
        one = f", epoch {kept} of {first['epochs']}" if seeds == 1 else ""
        notes.append(f"the weights of the lowest validation loss{one}")
    for resumed in run.config.get("resumed", []):
        if epoch := resumed.get("schedule_changed_at"):
            notes.append(f"the schedule changed after epoch {epoch}")
    numbers = {
        "accuracy": metrics["test_accuracy"],
        "accuracy_sd": metrics.get("test_accuracy_sd"),
        "loss": metrics["test_loss"],
        "loss_sd": metrics.get("test_loss_sd"),
        "seconds": metrics["training_seconds"] if run.members else metrics["seconds"]["training"],
        "parameters": first["parameters"],
        "epochs": first["epochs"],
        "seeds": seeds,
    }
    return {key: finite(value) for key, value in numbers.items()} | {"note": "; ".join(notes)}


def under_way(run: SavedRun) -> tuple[SavedRun, dict]:
    """The training that is going on, of several seeds the last one, and how far all of them are."""
    epochs, found = run.config["epochs"], [*run.folder.glob("**/history.csv")]
    files = sorted(found, key=lambda path: path.stat().st_mtime)
    seconds = [row["seconds"] for file in files for row in read_history(file.parent).rows]
    progress = {"epochs": epochs, "planned": epochs * len(run.config["seeds"])}
    progress["done"] = len(seconds)
    if seconds:
        since = time.time() - files[-1].stat().st_mtime
        left = np.median(seconds) * (progress["planned"] - len(seconds))
        progress["seconds"] = max(left - since, 0)
    return SavedRun(files[-1].parent if files else run.folder, run.config, {}), progress


def curves(run: SavedRun) -> dict:
    """Accuracy and loss after each epoch, as means over the seeds, and what they were measured on.

    That is the validation images; without any, the training images. Nothing without an epoch.
    """
    histories = [training.history for training in run.trainings]
    length = min(len(history.rows) for history in histories)
    for measured_on, prefix in (("validation", "validation_"), ("training", "")):
        means = {
            quantity: np.mean([h.column(prefix + quantity)[:length] for h in histories], axis=0)
            for quantity in ("accuracy", "loss")
        }
        if np.isfinite(means["accuracy"]).any():
            curve = {name: [*map(finite, values.tolist())] for name, values in means.items()}
            return {"curves": curve | {"measured_on": measured_on}}
    return {}


def finite(value: float | None) -> float | None:
    """A number in six digits; None for one that is not finite, which JSON cannot hold."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
