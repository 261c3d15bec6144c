"""Run a finished run again, and say whether it came out the same, bit for bit.

RUN is `latest`, a folder, a name, or script/name. The same script is started with the same options
and seeds; the new run is kept in the results folder, as <name>-rerun. Exit status 0: every weight,
loss, accuracy and prediction is the same. 1: not, and where it is known, why.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, read_json
from experiment.backend.device import GPU_FINDERS
from experiment.options import ToolParser, as_typed
from experiment.resume import options_typed
from experiment.runs.checkpoints import checkpoint_paths, read_checkpoint
from experiment.runs.folder import NOT_COMPARED
from experiment.runs.saved import SavedRun, find_run, read_run

# What changes no result. Of an option that is given twice, the last one counts.
LEAST = ["--figures", "none", "--quiet"]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options in `argv`."""
    parser = ToolParser("rerun", __doc__)
    parser.add_argument("run", metavar="RUN", help="which run")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def start_again(folder: Path, results: Path) -> Path:
    """Start the run in `folder` again, and give the new one's folder.

    Raises UserError where its config.json holds no command line of a script here.
    """
    config = read_json(folder / "config.json")
    typed, name = options_typed(config, folder), config.get("script")
    scripts = {path.stem: path for path in REPOSITORY.glob("*.py")}
    if name not in scripts:
        raise UserError(
            f"{folder / 'config.json'} does not say how the run was started: {name!r} is no script"
        )
    for before in config.get("resumed", []):
        if before.get("epochs") != config["epochs"]:
            raise UserError(
                f"{folder.name} was resumed with more epochs than at its start; a run in one go "
                "has another schedule, and ends elsewhere"
            )
    if (folder.parent / "config.json").exists():
        raise UserError(f"{folder.name} is one of several runs: name all of them, {folder.parent}")
    taken = {path.name for path in (results / name).glob("*")}
    again = f"{folder.name[:60].removesuffix('-rendered')}-rerun"
    numbered = (
        again if number == 1 else f"{again}-{number}" for number in range(1, len(taken) + 2)
    )
    again = next(name for name in numbered if not {name, f"{name}-rendered"} & taken)
    options = [word for word in typed if word not in ("--show", "--distributed")]
    options += [*LEAST, "--data", "rendered" if config["rendered"] else "real"]
    command = [sys.executable, scripts[name], *options, "--name", again, "--results-dir", results]
    print(f"running {' '.join([scripts[name].name, *options])}", flush=True)
    environment = dict(os.environ)
    if config.get("backend") in GPU_FINDERS:  # where Keras trained
        environment["KERAS_BACKEND"] = config["backend"]
    answer = subprocess.run(list(map(str, command)), check=False, env=environment)
    if answer.returncode:  # the script has said why
        sys.exit(answer.returncode)
    return results / name / (f"{again}-rendered" if config["rendered"] else again)


def differences(old: SavedRun, new: SavedRun) -> list[str]:
    """In what two trainings differ, in words; nothing where they are the same."""
    found = [f"history: {column}" for column in old.history.differing_columns(new.history)]
    (logits, _), (others, _) = old.predictions, new.predictions
    if not np.array_equal(logits, others):
        changed = int((logits.argmax(axis=1) != others.argmax(axis=1)).sum())
        largest = float(np.abs(logits - others).max())
        found.append(f"logits by up to {largest:.2g}, and with them {changed} predictions")
    states = [
        read_checkpoint(paths[0]).state
        for paths in (checkpoint_paths(old.folder), checkpoint_paths(new.folder))
        if paths
    ]
    if len(states) == 2:
        same = len(states[0]) == len(states[1]) and all(map(np.array_equal, *states))
        found += [] if same else ["weights, or what the optimizer remembers"]
    return found


def compare(old: Path, new: Path) -> bool:
    """Print in what two runs differ; whether they are the same."""
    same = True
    olds, news = ([one for run in read_run(f) for one in run.trainings] for f in (old, new))
    if len(olds) != len(news):
        raise UserError(f"{old} holds {len(olds)} finished trainings, and {new} {len(news)}")
    for first, second in zip(olds, news, strict=True):
        found = differences(first, second)
        accuracy = f"{second.metrics['test_accuracy']:.2%}"
        if found:
            was = f"{first.metrics['test_accuracy']:.2%}"
            print(f"{first.name}: not the same; {was} then, {accuracy} now")
            print("\n".join(f"  {line}" for line in found))
        else:
            print(f"{first.name}: the same, {accuracy}")
        same = same and not found
    then, now = (read_json(folder / "config.json") for folder in (old, new))
    for key in sorted(then.keys() & now.keys() - NOT_COMPARED):
        if not same and then[key] != now[key]:
            print(
                f"  {key.replace('_', ' ')}: {as_typed(then[key])} then, {as_typed(now[key])} now"
            )
    return same


def main(argv: Sequence[str] = ()) -> None:
    """Run again and compare, as the options in `argv` say."""
    args = parse(argv)
    with one_line_errors(args.debug):
        folder = find_run(args.run, args.results_dir)
        read_run(folder)  # that it is whole is to be known before it is run again
        if not compare(folder, start_again(folder, args.results_dir)):
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
