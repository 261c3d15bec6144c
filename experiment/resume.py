"""`--resume`: the options of a run that was stopped or killed, so that it can go on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import UserError, suggestion
from common.files import read_json, whole_path
from experiment.options import in_words
from experiment.runs.folder import MARKER

# What may differ from the start: it does not change what is computed, or is not an option. The
# images must be the same, whatever they are loaded from: their fingerprint is compared later.
FREE = """command_line started resume name results_dir data_dir data figures show quiet debug
    devices distributed""".split()


def resumed(
    asked: argparse.Namespace, argv: Sequence[str], parse: Callable[[Sequence[str]], object]
) -> argparse.Namespace:
    """The options to go on with the run that `asked.resume` names: those it was started with.

    `argv` is the command line with --resume, and `parse` makes options of a command line. Raises
    UserError where there is no such run, or `argv` gives an option that it was not started with;
    but --epochs may grow.
    """
    folder = find_folder(asked)
    config = read_json(folder / "config.json")
    options = options_typed(config, folder)
    first = parse(without_resume(options))
    command = without_resume([*options, *argv])
    args = parse(command)

    # The command line again gives other options where a recipe has been changed.
    compared = config.keys() & vars(first).keys() - {*FREE, "precision"}  # auto, and what it chose
    then = {key: config[key] for key in sorted(compared)}
    if changed := differing(as_read(vars(first)), then):
        raise UserError(
            f"the recipe {args.recipe} is another since {folder.name} was started with "
            f"{in_words({key: then[key] for key in changed})}: start a new run"
        )
    changed = differing(vars(args), vars(first) | {key: vars(args)[key] for key in FREE})
    more = isinstance(args.epochs, int) and isinstance(first.epochs, int)
    if more and args.epochs > first.epochs:
        changed = [key for key in changed if key != "epochs"]
    if changed:
        was = in_words({key: vars(first)[key] for key in changed})
        raise UserError(
            f"{folder.name} was started with {was}: leave the option out (only --epochs may "
            "grow), or start a new run",
            status=2,
        )
    args.resume, args.results_dir = folder, asked.results_dir
    return args


def find_folder(asked: argparse.Namespace) -> Path:
    """The folder of the run that `asked.resume` names; `latest` is the last unfinished one."""
    parent = whole_path(asked.results_dir) / asked.script
    folders = {path.parent.name: path.parent for path in parent.glob("*/config.json")}
    if asked.resume == "latest":
        started = {}
        for folder in folders.values():
            if (folder / MARKER).exists():
                started[str(read_json(folder / "config.json").get("started"))] = folder
        if not started:
            raise UserError(f"{parent} holds no unfinished run: name one, with more --epochs")
        return started[max(started)]
    if asked.resume not in folders:
        hint = suggestion(asked.resume, list(folders))
        if asked.distributed:
            hint += " (only the first process needs --resume: start the others as at first)"
        raise UserError(f"there is no run {asked.resume!r} in {parent}{hint}")
    return folders[asked.resume]


def options_typed(config: dict, folder: Path) -> list[str]:
    """What was typed after the script's name to start the run in a folder.

    Raises UserError where its config does not say so.
    """
    line = config.get("command_line")
    if not (isinstance(line, list) and line and all(isinstance(word, str) for word in line)):
        raise UserError(
            f"{folder / 'config.json'} does not say how the run was started: it has no command line"
        )
    return line[1:]


def without_resume(argv: Sequence[str]) -> list[str]:
    """A command line without --resume and its value."""
    words, rest = list(argv), []
    while words:
        word = words.pop(0)
        if word == "--resume":
            words = words[1:]
        elif not word.startswith("--resume="):
            rest.append(word)
    return rest


def differing(some: dict, others: dict) -> list[str]:
    """The keys of `others` that have another value in `some`."""
    return [key for key, value in others.items() if some.get(key) != value]


def as_read(options: dict) -> dict:
    """Options as config.json gives them back: tuples as lists, paths as text."""
    return json.loads(json.dumps(options, default=str))
