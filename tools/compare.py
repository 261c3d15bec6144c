"""Compare saved runs: what differs in their options, how well they did, and how fast.

Prints a table and leaves it with a figure in `results/comparisons/`. Of two runs it also says
whether chance may explain the difference, and shows the images on which they disagree.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy.special import softmax

from common.errors import UserError, one_line_errors, suggestion
from common.files import beside, create_folder, write_atomically
from experiment.options import ToolParser, as_typed, in_words, whole_number
from experiment.report import markdown_table
from experiment.runs.folder import NOT_COMPARED
from experiment.runs.saved import SavedRun, find_run, read_run, run_folders
from tools.comparison.significance import compare_networks, compare_seeds

# What a config.json holds beside options. The seeds are told as those that gave a result.
NO_OPTIONS = {*NOT_COMPARED, "seed", "cores", "platform", "versions", "git_commit"} | {
    "dataset", "title", "rendered", "source", "fingerprint"
}  # fmt: skip
WIDEST_TABLE = 120  # characters; a wider one is turned, with a column for each run
SHOWN = 24  # images on which two networks disagree


def main(argv: Sequence[str] = ()) -> None:
    """Compare the runs that `argv` names: print the table, and write it with the figures."""
    args = parse(argv)
    with one_line_errors():
        results = args.results_dir
        with contextlib.suppress(RuntimeError):  # "~nobody" is then a name like any other
            results = results.expanduser()
        results = results.resolve()
        runs = choose_runs(args, results)
        check_same_images(runs)
        options = differing_options(runs)
        labels = choose_labels(runs, options)
        answers = predictions_of_two(runs)
        text = table(runs, options)
        if answers:
            right = [logits.argmax(axis=1) == classes for logits, classes in answers]
            text += f"\n\n{compare_networks(*right, labels)}"
        elif len(runs) == 2 and any(run.members for run in runs):
            text += f"\n\n{compare_seeds(*map(test_accuracies, runs), labels)}"
        print(text, flush=True)
        name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        folder = create_folder(results / "comparisons", name, numbered=True)
        write_atomically(folder / "comparison.md", f"{text}\n".encode())
        draw(runs, labels, answers, folder)
        print(f"\ncomparison in {folder}")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; leaves with status 2 and one line when one is wrong."""
    parser = ToolParser("compare", __doc__)
    add = parser.add_argument
    add(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a run's name, script/name or folder, or latest; one with several seeds is one line, "
        "a sweep stands for its combinations of options",
    )
    add("--last", type=whole_number(1), metavar="N", help="the last N runs or sweeps (2)")
    add("--script", metavar="NAME", help="only those of one script, such as mnist_cnn")
    args = parser.parse_args(argv)
    if args.runs and (args.last or args.script):
        parser.error("name runs, or choose them with --last and --script, not both")
    return args


def choose_runs(args: argparse.Namespace, results: Path) -> list[SavedRun]:
    """The runs to compare, at least two. Raises UserError where there are fewer."""
    if args.runs:
        folders = [find_run(text, results) for text in args.runs]
        found = [run for folder in folders for run in complete_runs(folder)]
    else:
        found = last_runs(args.last or 2, args.script, results)
    runs = list({run.folder.resolve(): run for run in found}.values())
    if len(runs) < 2:
        known = f"only {runs[0].name}" if runs else "no finished run"
        raise UserError(f"two runs are needed, and there is {known}: train or name another")
    return runs


def last_runs(count: int, script: str | None, results: Path) -> list[SavedRun]:
    """What the last `count` calls of a script left, oldest first; of one script, if named.

    Folders that cannot be compared are left out, with a line on stderr. Raises UserError where
    nothing is known of the script.
    """
    folders = run_folders(results)
    if script is not None:
        script = script.removesuffix(".py")
        scripts = sorted({folder.parent.name for folder in folders})
        folders = [folder for folder in folders if folder.parent.name == script]
        if not folders:
            raise UserError(
                f"no script {script!r} has runs in {results}{suggestion(script, scripts)}"
            )
    calls = []
    for folder in folders:
        try:
            calls.append(complete_runs(folder))
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
        if len(calls) == count:
            break
    return [run for runs in reversed(calls) for run in runs]


def complete_runs(folder: Path) -> list[SavedRun]:
    """The runs of a folder. Raises UserError where one lacks what every comparison needs."""
    runs = read_run(folder)
    for training in (training for run in runs for training in run.trainings):
        seconds = training.metrics.get("seconds")
        needed = [training.metrics.get("test_loss"), training.metrics.get("parameters")]
        needed.append(seconds.get("training") if isinstance(seconds, dict) else None)
        if not all(isinstance(value, (int, float)) for value in needed):
            path = training.folder / "metrics.json"
            raise UserError(f"{path} is damaged: it lacks the loss, the parameters or the time")
        _ = training.history  # raises UserError where it is damaged
    return runs


def check_same_images(runs: Sequence[SavedRun]) -> None:
    """Raise UserError where not all runs were tested on the same images."""
    examples = {}
    for run in runs:
        examples.setdefault(run.config["fingerprint"], run)
    if len(examples) > 1:
        which = ", ".join(f"{run.name} on {run.config['title']}" for run in examples.values())
        raise UserError(
            f"runs on different images cannot be compared: {which}; name runs on the same images, "
            "or choose with --script"
        )


def options_of(run: SavedRun) -> dict:
    """The options of a run that could make a difference, script and recipe first."""
    seeds = tuple(training.config["seed"] for training in run.trainings)
    options = {key: run.config[key] for key in ("script", "recipe")}
    options |= {key: value for key, value in run.config.items() if key not in NO_OPTIONS}
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    metrics = run.trainings[0].metrics
    if "epochs" in metrics and not metrics.get("stopped_early"):
        options["epochs"] = metrics["epochs"]  # config.json has more while it is trained further
    return options | {"seed": seeds}


def differing_options(runs: Sequence[SavedRun]) -> dict[str, list]:
    """The options in which the runs differ, each with its value in every run.

    None stands for an option that a run's script does not have.
    """
    each = [options_of(run) for run in runs]
    columns = {key: [own.get(key) for own in each] for key in {k: 0 for own in each for k in own}}
    return {k: values for k, values in columns.items() if any(v != values[0] for v in values)}


def test_accuracies(run: SavedRun) -> list[float]:
    """The test accuracy of each seed."""
    return [training.metrics["test_accuracy"] for training in run.trainings]


def names_of(runs: Sequence[SavedRun]) -> list[str]:
    """What to call the runs by: script/name, or the folders where two of these are the same."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def choose_labels(runs: Sequence[SavedRun], options: dict[str, list]) -> list[str]:
    """Labels for figures: the options that differ where these are few words, else the names."""
    labels = []
    for place in range(len(runs)):
        own = {key: values[place] for key, values in options.items() if values[place] is not None}
        labels.append(in_words(own))
    distinct = len(set(labels)) == len(labels)
    return labels if distinct and all(0 < len(label) <= 60 for label in labels) else names_of(runs)


def table(runs: Sequence[SavedRun], options: dict[str, list]) -> str:
    """What differs and what came of it, in Markdown: a row for each run, or a column where wide."""
    rows = []
    for place, (run, name) in enumerate(zip(runs, names_of(runs), strict=True)):
        metrics = [training.metrics for training in run.trainings]
        stopped = any(numbers.get("stopped_early") for numbers in metrics)
        row = {"run": f"{name} (stopped early)" if stopped else name}
        for key, values in options.items():
            row[key.replace("_", " ")] = "-" if values[place] is None else as_typed(values[place])
        accuracies = test_accuracies(run)
        accuracy = f"{mean(accuracies):.2%}"
        if len(accuracies) > 1:
            accuracy += f" ± {stdev(accuracies):.2%} ({len(accuracies)} seeds)"
        rows.append(row | {
            "test accuracy": accuracy,
            "test loss": f"{mean(numbers['test_loss'] for numbers in metrics):.4f}",
            "training time": f"{mean(numbers['seconds']['training'] for numbers in metrics):.1f} s",
            "parameters": f"{metrics[0]['parameters']:,}",
        })  # fmt: skip
    text = markdown_table(rows)
    if text.index("\n") <= WIDEST_TABLE:
        return text
    turned = [
        {"run": column} | {row["run"]: row[column] for row in rows} for column in [*rows[0]][1:]
    ]
    return min(text, markdown_table(turned), key=lambda text: text.index("\n"))


def predictions_of_two(runs: Sequence[SavedRun]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The saved logits and labels of two single networks; empty for any other runs.

    Empty, too, with a warning on stderr, where they are missing, damaged, or of other images.
    """
    if len(runs) != 2 or any(run.members for run in runs):
        return []
    try:
        answers = [run.predictions for run in runs]
        if not np.array_equal(answers[0][1], answers[1][1]):
            raise UserError("the saved test predictions are of different images")
        return answers
    except UserError as error:
        print(f"warning: the two networks' answers are not compared: {error}", file=sys.stderr)
        return []


def draw(
    runs: Sequence[SavedRun],
    labels: Sequence[str],
    answers: Sequence[tuple[np.ndarray, np.ndarray]],
    folder: Path,
) -> None:
    """Write comparison.png and, with the answers of two networks, disagreements.png."""
    from tools.comparison import (
        overlay as comparison,  # not at the top: --help need not wait for matplotlib
    )

    scripts = ", ".join(dict.fromkeys(run.config["script"] for run in runs))
    title = f"{scripts} · {runs[0].config['title']}"
    figures = {"comparison": comparison.overlay(runs, labels, title)}
    if answers:
        try:
            dataset = runs[0].dataset()
        except UserError as error:
            print(f"warning: no images can be shown: {error}", file=sys.stderr)
        else:
            probabilities = [softmax(logits, axis=1) for logits, _ in answers]
            order = disagreements(*probabilities)
            if len(order):
                figures["disagreements"] = comparison.disagreements(
                    dataset, order[:SHOWN], probabilities, labels, len(order)
                )
    for name, figure in figures.items():
        with beside(folder / f"{name}.png") as partial:
            figure.savefig(partial, dpi=100)


def disagreements(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which images two networks take for different things, int (n,), the most confident first.

    first, second: probabilities (images, classes). The less sure of the two answers counts, so that
    an image comes first where both are sure.
    """
    differ = np.flatnonzero(first.argmax(axis=1) != second.argmax(axis=1))
    confidence = np.minimum(first.max(axis=1), second.max(axis=1))[differ]
    return differ[np.argsort(-confidence, kind="stable")]


if __name__ == "__main__":
    main(sys.argv[1:])
