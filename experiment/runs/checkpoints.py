"""Checkpoints: all that training changes, saved after each completed epoch, to resume from.

A run's folder holds `checkpoint-<epochs>.npz` of the last two epochs, and at its end of the last;
with --patience also of the best. Arrays `state_0`, `state_1` ... (weights, and the state of
optimizer and dropout), and `history`, JSON in UTF-8.
"""

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.console import warn
from common.errors import UserError
from common.files import read_arrays, write_arrays, write_atomically
from experiment.backend.processes import send_to_all
from experiment.options import SETTINGS
from experiment.runs.folder import read_config
from experiment.runs.history import COLUMNS, History, check_rows


@dataclass
class Checkpoint:
    """What training had reached after a completed epoch."""

    history: History
    state: list[np.ndarray]
    run: dict  # which run it is of, see `identity`


def save_checkpoint(folder: Path, history: History, state: Sequence[np.ndarray]) -> None:
    """Write a checkpoint, and only then remove the one before the last.

    Raises UserError when it cannot be written; then the earlier ones stay.
    """
    said = {"rows": history.rows, "seconds": history.seconds, "run": identity(folder)}
    arrays = {f"state_{number}": values for number, values in enumerate(state)}
    arrays["history"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    write_arrays(folder / f"checkpoint-{len(history.rows)}.npz", **arrays)
    remove_checkpoints(folder, kept=2, best=history.kept)


def remove_checkpoints(folder: Path, kept: int, best: int | None = None) -> None:
    """Remove all but the last checkpoints and that of the epoch `best`; some may stay."""
    for path in checkpoint_paths(folder)[kept:]:
        if path.stem != f"checkpoint-{best}":
            with contextlib.suppress(OSError):
                path.unlink()


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, the last one first."""
    found = {path.stem.partition("-")[2]: path for path in folder.glob("checkpoint-*.npz")}
    return [found[epochs] for epochs in sorted(filter(str.isdecimal, found), key=int, reverse=True)]


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The last whole checkpoint in a run's folder, or None; damaged ones are removed.

    Raises UserError where it is another run's.
    """
    for path in checkpoint_paths(folder):
        try:
            checkpoint = read_checkpoint(path)
        except UserError as error:
            warn(f"{error}; trying the checkpoint before it")
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            check_run(checkpoint, path)
            return checkpoint
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint's content. Raises UserError where it is damaged."""
    arrays = read_arrays(path)
    try:
        said = json.loads(arrays.pop("history").tobytes())
        rows = [{key: row[key] for key in COLUMNS} for row in said["rows"]]
        check_rows(rows)
        state = [arrays[f"state_{number}"] for number in range(len(arrays))]
        finite = all(values.dtype.kind in "biuf" and np.isfinite(values).all() for values in state)
        if not (finite and 0 <= said["seconds"] < np.inf):
            raise ValueError("it holds other than finite numbers")
        run = dict(said.get("run", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    return Checkpoint(History(rows, said["seconds"]), state, run)


def identity(folder: Path) -> dict:
    """What tells the run in a folder from others: images and settings; empty without config.json.

    Of two runs in which they are the same, the checkpoints are the same.
    """
    if not (folder / "config.json").exists():
        return {}
    config = read_config(folder)
    names = [name for name in ("script", "fingerprint", *SETTINGS) if name in config]
    return json.loads(json.dumps({name: config[name] for name in names}))


def check_run(checkpoint: Checkpoint, path: Path) -> None:
    """Raise UserError where a checkpoint was copied from the folder of another run."""
    own, said, done = identity(path.parent), checkpoint.run, len(checkpoint.history.rows)
    other = [name for name in own.keys() & said.keys() - {"epochs"} if said[name] != own[name]]
    if max(done, said.get("epochs", 0)) > own.get("epochs", math.inf):  # they may have grown
        other.append("epochs")
    if other or path.stem != f"checkpoint-{done}":
        words = ", ".join(sorted(other)) or "epochs"
        raise UserError(f"{path} is of another run, with other {words}: remove it")


def read_best(folder: Path, epoch: int) -> list[np.ndarray]:
    """The state after the best epoch, for a run with --patience. Raises UserError if it is lost."""
    try:
        return read_checkpoint(folder / f"checkpoint-{epoch}.npz").state
    except UserError as error:
        raise UserError(f"{error}; it held the best weights, so start a new run") from error


def share_checkpoint(folder: Path, process: int) -> None:
    """Of processes that train together, give the first one's last checkpoint to the others."""
    whole = process == 0 and load_checkpoint(folder)  # which removes damaged ones
    path = checkpoint_paths(folder)[0] if whole else None
    name = send_to_all(path.name.encode() if path else b"").decode()
    content = send_to_all(path.read_bytes() if path else b"")
    if name and not path:
        write_atomically(folder / name, content)


def check_fits(state: Sequence[np.ndarray], current: Sequence[np.ndarray]) -> None:
    """Raise UserError unless a checkpoint's arrays have the form of what is trained."""
    if [(v.shape, v.dtype.kind) for v in state] != [(v.shape, v.dtype.kind) for v in current]:
        raise UserError(
            "the checkpoint is of another network or optimizer: the script has changed since the "
            "run was started; start a new one"
        )
