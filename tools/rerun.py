"""Run a finished run again, and say whether the result is the same, bit for bit.

The script is started with the same options and seeds; the new run is kept as <name>-rerun. Exit
status 0: every weight, loss, accuracy and prediction is the same. 1: the differences are printed.
"""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python tools/rerun.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.console import say
from common.errors import UserError, one_line_errors
from common.files import REPOSITORY
from experiment.backend.device import GPU_FINDERS
from experiment.options import NOT_COMPARED
from experiment.runs.checkpoints import checkpoint_paths, read_checkpoint
from experiment.runs.folder import SCRIPT, read_config
from experiment.runs.history import COLUMNS, History
from experiment.runs.saved import SavedRun
from tools.command_line import RUN_HELP, ToolParser
from tools.comparison.versions import changed_lines
from tools.saved import find_run, read_runs

LEFT_OUT = "--show", "--distributed", "--tensorboard"  # which change no result


def main(argv: Sequence[str] = ()) -> None:
    """Run again and compare, as the options in `argv` say."""
    parser = ToolParser("rerun", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    args = parser.parse_args(argv)
    with one_line_errors(args.debug):
        folder = find_run(args.run, args.results_dir)
        read_runs(folder)  # raises UserError now if a file is damaged
        config = read_config(folder)
        options = options_again(folder, config)
        tell_changes(folder, config)
        again = start(folder, config, options, args.results_dir)
        if not same_results(folder, again):
            sys.exit(1)


def options_again(folder: Path, config: dict) -> list[str]:
    """The options that give the same run again. Raises UserError where there are none."""
    typed, scripts = config.get("command_line"), {path.stem for path in REPOSITORY.glob("*.py")}
    if not typed or config["script"] not in scripts:
        raise UserError(f"{folder / 'config.json'} does not say how the run was started")
    if any(entry.get("epochs") != config.get("epochs") for entry in config.get("resumed", [])):
        raise UserError(f"{folder.name} was resumed with more epochs, which cannot be repeated")
    if (folder.parent / "config.json").exists():
        raise UserError(f"{folder.name} is one of several runs: name all of them, {folder.parent}")
    data = "synthetic" if config["synthetic"] else "real"
    options = [word for word in typed[1:] if word not in LEFT_OUT]
    options += ["--figures", "none", "--quiet", "--data", data]  # the last one of each counts
    if config.get("data_dir") is not None:  # what was typed may be relative to another folder
        options += ["--data-dir", str(config["data_dir"])]
    return options


def tell_changes(folder: Path, config: dict) -> None:
    """Print whether the script has changed since the run, where the run kept a copy."""
    script, copy = REPOSITORY / f"{config['script']}.py", folder / SCRIPT
    if copy.is_file() and (changes := changed_lines(copy.read_bytes(), script.read_bytes())):
        say(f"{script.name} has changed since the run ({changes}): see {copy}")


def start(folder: Path, config: dict, options: Sequence[str], results: Path) -> Path:
    """Run the script again, and give the new run's folder."""
    script, parent = REPOSITORY / f"{config['script']}.py", results / config["script"]
    stem = re.sub("-(synthetic|rendered)$", "", folder.name)[:60] + "-rerun"
    names = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
    name = next(name for name in names if not any(parent.glob(f"{name}*")))
    say(f"running {' '.join([script.name, *options])}")
    command = [sys.executable, script, *options, "--name", name, "--results-dir", results]
    backend = config.get("backend")  # "numpy" where Keras did not train
    environment = os.environ | ({"KERAS_BACKEND": backend} if backend in GPU_FINDERS else {})
    status = subprocess.run([*map(str, command)], check=False, env=environment).returncode
    if status:  # the script has said why
        sys.exit(status)
    return next(parent.glob(f"{name}*"))  # "-synthetic" may have been added


def same_results(old: Path, new: Path) -> bool:
    """Print how two runs differ; True if their results are the same."""
    same = True
    olds, news = ([one for run in read_runs(f) for one in run.trainings] for f in (old, new))
    if len(olds) != len(news):
        raise UserError(f"{old} holds {len(olds)} finished trainings, and {new} {len(news)}")
    for first, second in zip(olds, news, strict=True):
        found = differences(first, second)
        before, now = (f"{one.metrics['test_accuracy']:.2%}" for one in (first, second))
        answer = f"not the same, {before} before, {now} now" if found else f"the same, {now}"
        say(f"{first.name}: {answer}", *(f"  {line}" for line in found))
        same = same and not found
    before, now = map(read_config, (old, new))
    for key in sorted(before.keys() & now.keys() - NOT_COMPARED):
        if not same and before[key] != now[key]:
            say(f"  {key.replace('_', ' ')}: {before[key]} before, {now[key]} now")
    return same


def differences(old: SavedRun, new: SavedRun) -> list[str]:
    """In what the results of two trainings differ, in words; empty where they are the same."""
    found = [f"history: {column}" for column in differing_columns(old.history, new.history)]
    (logits, _), (others, _) = old.predictions, new.predictions
    if not np.array_equal(logits, others):
        changed = int((logits.argmax(axis=1) != others.argmax(axis=1)).sum())
        largest = float(np.abs(logits - others).max())
        found.append(f"logits by up to {largest:.2g}, which changes {changed} predictions")
    paths = [checkpoint_paths(run.folder) for run in (old, new)]
    if all(paths):
        first, second = (read_checkpoint(those[0]).state for those in paths)
        if len(first) != len(second) or not all(map(np.array_equal, first, second)):
            found.append("weights or the optimizer's state")
    return found


def differing_columns(one: History, other: History) -> list[str]:
    """The columns in which two histories differ, seconds aside."""
    return [
        name
        for name in COLUMNS
        if name != "seconds"
        and not np.array_equal(one.column(name), other.column(name), equal_nan=True)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
