"""Compare saved runs: what differs in their options and layers, how well they did, how fast.

Prints a table and saves it with a figure in `results/comparisons/`. Of two runs it also says
whether the difference may be chance, and shows the images on which they disagree. A run with
several seeds is one line of the table; a sweep has a line for each combination of options.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import mean

if not __package__:  # started as a file: python tools/compare.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from common.console import say, warn
from common.errors import UserError, one_line_errors, suggestion
from common.files import atomic_path, write_text
from common.tables import markdown_table, mean_std
from experiment.options import NOT_COMPARED
from experiment.runs.folder import create_folder
from experiment.runs.saved import SavedRun
from experiment.values import as_typed, in_words, whole_number
from tools.command_line import RUN_HELP, ToolParser
from tools.comparison.significance import compare_networks, compare_seeds
from tools.comparison.versions import differing_layers, differing_scripts
from tools.saved import find_run, load_dataset, read_runs, run_folders

# What a config.json holds beside options. The seeds shown are those that gave a result.
NO_OPTIONS = {*NOT_COMPARED, *"seed cores threads platform versions git_commit".split()}
NO_OPTIONS |= {*"dataset title synthetic source fingerprint".split()}
WIDEST_TABLE = 120  # characters; a wider one is turned, with a column for each run
SHOWN = 24  # images on which two networks disagree


def main(argv: Sequence[str] = ()) -> None:
    """Compare the runs that `argv` names: print the table, and save it with the figures."""
    args = parse(argv)
    with one_line_errors(args.debug):
        runs = choose_runs(args)
        options = differing_options(runs)
        labels = choose_labels(runs, options)
        predictions = predictions_of_two(runs)
        text = table(runs, options)
        for found in (differing_layers(runs, names_of(runs)), differing_scripts(runs)):
            text += f"\n\n{found}" if found else ""
        if predictions:
            right = [logits.argmax(axis=1) == classes for logits, classes in predictions]
            text += f"\n\n{compare_networks(*right, labels)}"
        elif len(runs) == 2 and any(run.members for run in runs):
            accuracies = [run.test_accuracies for run in runs]
            images = int(np.sum(runs[0].trainings[0].metrics["confusion_matrix"]))
            text += f"\n\n{compare_seeds(*accuracies, labels, images)}"
        say(*text.split("\n"))
        name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        folder = create_folder(args.results_dir / "comparisons", name, numbered=True)
        write_text(folder / "comparison.md", text)
        draw(runs, labels, predictions, folder)
        say("", f"comparison in {folder}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; exits with status 2 and one line when one is wrong."""
    parser = ToolParser("compare", __doc__)
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help=RUN_HELP)
    add("--last", type=whole_number(1), metavar="N", help="the last N runs or sweeps (2)")
    add("--script", metavar="NAME", help="only those of one script, such as mnist_cnn")
    args = parser.parse_args(argv)
    if args.runs and (args.last or args.script):
        parser.error("name runs, or choose them with --last and --script, not both")
    return args


def choose_runs(args: argparse.Namespace) -> list[SavedRun]:
    """The runs to compare. Raises UserError for fewer than two, or tests on different images."""
    if args.runs:
        folders = [find_run(text, args.results_dir) for text in args.runs]
        found = [run for folder in folders for run in complete_runs(folder)]
    else:
        found = last_runs(args.last or 2, args.script, args.results_dir)
    runs = list({run.folder.resolve(): run for run in found}.values())
    if len(runs) < 2:
        known = f"only {runs[0].name}" if runs else "no finished run"
        raise UserError(f"two runs are needed, and there is {known}: train or name another")
    images = {run.config["fingerprint"]: f"{run.name} on {run.config['title']}" for run in runs}
    if len(images) > 1:
        raise UserError(
            f"runs on different images cannot be compared: {', '.join(images.values())}; name runs "
            "on the same images, or choose with --script"
        )
    return runs


def last_runs(count: int, script: str | None, results: Path) -> list[SavedRun]:
    """The runs of the last `count` calls of a script, oldest first.

    Folders that cannot be compared are left out, with a line on stderr. Raises UserError where
    `script` has no runs.
    """
    folders = run_folders(results)
    if script is not None:
        script = script.removesuffix(".py")
        scripts = sorted({folder.parent.name for folder in folders})
        if script not in scripts:
            near = suggestion(script, scripts)
            raise UserError(f"no script {script!r} has runs in {results}{near}")
        folders = [folder for folder in folders if folder.parent.name == script]
    calls = []
    for folder in folders:
        try:
            calls.append(complete_runs(folder))
        except UserError as error:
            say(f"left out: {error}", stderr=True)
        if len(calls) == count:
            break
    return [run for runs in reversed(calls) for run in runs]


def complete_runs(folder: Path) -> list[SavedRun]:
    """The runs of a folder. Raises UserError where a file that every comparison needs is wrong."""
    runs = read_runs(folder)
    for training in (training for run in runs for training in run.trainings):
        _ = training.history  # raises UserError where it is damaged
    return runs


def differing_options(runs: Sequence[SavedRun]) -> list[dict]:
    """For each run, the options in which the runs differ; None where its script lacks one."""
    each = [options_of(run) for run in runs]
    names = dict.fromkeys(name for options in each for name in options)
    differ = [name for name in names if any(o.get(name) != each[0].get(name) for o in each)]
    return [{name: options.get(name) for name in differ} for options in each]


def options_of(run: SavedRun) -> dict:
    """The options of a run that may make a difference, script and recipe first."""
    options = {key: run.config[key] for key in ("script", "recipe")}
    options |= {key: value for key, value in run.config.items() if key not in NO_OPTIONS}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    metrics = run.trainings[0].metrics
    if "epochs" in metrics and not metrics.get("stopped_early"):
        options["epochs"] = metrics["epochs"]  # config.json has more while it is trained further
    changes = dict.fromkeys(text for one in run.trainings for text in schedule_changes(one))
    options["schedule_changed"] = "; ".join(changes) or None
    return options | {"seed": tuple(training.config["seed"] for training in run.trainings)}


def schedule_changes(run: SavedRun) -> list[str]:
    """How the schedule changed each time that a run was resumed with more epochs, in words."""
    resumed, changes = run.config.get("resumed", []), []
    totals = [entry["epochs"] for entry in resumed] + [run.config.get("epochs")]
    for entry, (before, after) in zip(resumed, pairwise(totals), strict=True):
        epoch = entry.get("schedule_changed_at")  # older runs did not save it
        trained_further = run.metrics.get("epochs") != (epoch or before)
        if before != after and trained_further and run.config.get("schedule") != "constant":
            at = f", after epoch {epoch}" if epoch else ""
            changes.append(f"from {before} to {after} epochs{at}")
    return changes


def names_of(runs: Sequence[SavedRun]) -> list[str]:
    """What to call the runs: script/name, or the folders where two of these are the same."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def choose_labels(runs: Sequence[SavedRun], options: Sequence[dict]) -> list[str]:
    """Labels for figures: the options that differ where these are few words, else the names."""
    labels = [in_words({k: v for k, v in own.items() if v is not None}) for own in options]
    distinct = len(set(labels)) == len(labels)
    return labels if distinct and all(0 < len(label) <= 60 for label in labels) else names_of(runs)


def table(runs: Sequence[SavedRun], options: Sequence[dict]) -> str:
    """Options and results in Markdown: a row for each run, or where too wide a column."""
    rows = []
    for run, name, own in zip(runs, names_of(runs), options, strict=True):
        metrics, accuracies = [one.metrics for one in run.trainings], run.test_accuracies
        stopped = any(numbers.get("stopped_early") for numbers in metrics)
        row = {"run": f"{name} (stopped early)" if stopped else name}
        for key, value in own.items():
            row[key.replace("_", " ")] = "-" if value is None else as_typed(value)
        seeds = f" ({len(accuracies)} seeds)" if len(accuracies) > 1 else ""
        row["test accuracy"] = f"{mean_std(accuracies)}{seeds}"
        row["test loss"] = f"{mean(numbers['test_loss'] for numbers in metrics):.4f}"
        seconds = mean(numbers["seconds"]["training"] for numbers in metrics)
        row["training time"] = f"{seconds:.1f} s"
        row["parameters"] = f"{metrics[0]['parameters']:,}"
        rows.append(row)
    text = markdown_table(rows)
    if text.index("\n") <= WIDEST_TABLE:
        return text
    columns = [*rows[0]][1:]
    turned = [{"run": column} | {row["run"]: row[column] for row in rows} for column in columns]
    return min(text, markdown_table(turned), key=lambda text: text.index("\n"))


def predictions_of_two(runs: Sequence[SavedRun]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The saved logits and labels of two single networks; empty for any other runs.

    Empty, too, with a warning on stderr, where they are missing, damaged, or of other images.
    """
    if len(runs) != 2 or any(run.members for run in runs):
        return []
    try:
        (_, labels), (_, others) = predictions = [run.predictions for run in runs]
        if np.array_equal(labels, others):
            return predictions
        raise UserError("the saved test predictions are of different images")
    except UserError as error:
        warn(f"the two networks' answers are not compared: {error}")
        return []


def draw(runs: list[SavedRun], labels: list[str], predictions: list[tuple], folder: Path) -> None:
    """Save comparison.png and, with the predictions of two networks, disagreements.png."""
    from tools.comparison import overlay  # not at the top: --help need not wait for matplotlib

    scripts = ", ".join(dict.fromkeys(run.config["script"] for run in runs))
    title = f"{scripts} · {runs[0].config['title']}"
    figures = {"comparison": overlay.overlay(runs, labels, title)}
    probabilities = [softmax(logits, axis=1) for logits, _ in predictions]
    chosen = disagreements(*probabilities) if predictions else np.zeros(0, int)
    try:
        if chosen.size:
            inputs = load_dataset(runs[0]), chosen[:SHOWN], probabilities, labels, len(chosen)
            figures["disagreements"] = overlay.disagreements(*inputs)
    except UserError as error:
        warn(f"the images cannot be shown: {error}")
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=100)


def disagreements(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The images on which two networks disagree, int (n,); first those where both are confident.

    first, second: probabilities (images, classes).
    """
    differ = np.flatnonzero(first.argmax(axis=1) != second.argmax(axis=1))
    confidence = np.minimum(first.max(axis=1), second.max(axis=1))[differ]
    return differ[np.argsort(-confidence, kind="stable")]


if __name__ == "__main__":
    main(sys.argv[1:])
