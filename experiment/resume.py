"""`--resume`: the options of a run that was stopped or killed, or that is to train further."""

from argparse import Namespace
from pathlib import Path

from common.errors import UserError, suggestion
from experiment.options import FREE_ON_RESUME, OPTIONS
from experiment.runs.folder import MARKER, read_config, started
from experiment.values import in_words


def resumed_options(asked: Namespace) -> Namespace:
    """The options to continue the run that `asked.resume` names: those it was started with.

    --epochs may grow, and what changes nothing in the result may be given anew. Raises UserError
    where there is no such run, where its config.json is damaged, and for any other new option.
    """
    folder = find_folder(asked)
    config = read_config(folder)
    saved = {name: config.get(name, OPTIONS[name].default) for name in OPTIONS if name in asked}
    saved |= {name: config[name] for name in ("combinations", "seeds", "command_line")}
    saved["data"] = "synthetic" if config["synthetic"] else "real"
    # Several seeds are compared as such: of them, `seed` is the first.
    now, then = vars(asked) | {"seed": asked.seeds}, saved | {"seed": saved["seeds"]}
    fixed = [name for name in asked.given if name not in FREE_ON_RESUME]
    changed = {name: then[name] for name in fixed if now[name] != then[name]}
    one_each = isinstance(asked.epochs, int) and isinstance(saved["epochs"], int)
    if "epochs" in changed and one_each and asked.epochs > saved["epochs"]:
        del changed["epochs"]
        saved["command_line"] += ["--epochs", str(asked.epochs)]
    if changed:
        raise UserError(
            f"{folder.name} was started with {in_words(changed)}: leave the option out (only "
            "--epochs may grow), or start a new run",
            status=2,
        )
    given = {name: getattr(asked, name) for name in (*asked.given, "results_dir")}
    return Namespace(**vars(asked) | saved | given | {"resume": folder})


def find_folder(asked: Namespace) -> Path:
    """The folder of the run that `asked.resume` names; `latest` is the last unfinished one."""
    parent = asked.results_dir / asked.script
    paths = sorted(parent.glob("*/config.json"), key=lambda path: -path.stat().st_mtime)
    folders = {path.parent.name: path.parent for path in paths}
    if asked.resume == "latest":
        unfinished = [folder for folder in folders.values() if (folder / MARKER).exists()]
        if not unfinished:
            raise UserError(f"{parent} holds no unfinished run: name one, with more --epochs")
        return max(unfinished, key=started)
    if asked.resume not in folders:
        newest = f"; the newest: {', '.join([*folders][:5]) or 'none'}"
        hint = suggestion(asked.resume, list(folders)) or newest
        if asked.distributed:
            hint += " (only the first process needs --resume: start the others as at first)"
        raise UserError(f"there is no run {asked.resume!r} in {parent}{hint}")
    return folders[asked.resume]
