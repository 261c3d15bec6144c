"""Checkpoints: all that training changes, saved after each completed epoch, to resume from.

A run's folder holds `checkpoint-<epochs>.npz` of the last two epochs, and at its end of the last;
with --patience also of the best. Arrays `state_0`, `state_1` ... (weights, and the state of
optimizer and dropout), and `history`, JSON in UTF-8.
"""

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import read_arrays, write_arrays, write_atomically
from experiment.backend.processes import send_to_all
from experiment.runs.history import COLUMNS, History


@dataclass
class Checkpoint:
    """What training had reached after a completed epoch."""

    history: History
    state: list[np.ndarray]


def save_checkpoint(folder: Path, history: History, state: Sequence[np.ndarray]) -> None:
    """Write a checkpoint, and only then remove the one before the last.

    Raises UserError when it cannot be written; then the earlier ones stay.
    """
    text = json.dumps({"rows": history.rows, "seconds": history.seconds}).encode()
    arrays = {f"state_{number}": values for number, values in enumerate(state)}
    arrays["history"] = np.frombuffer(text, np.uint8)
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
    """The last whole checkpoint in a run's folder, or None; damaged ones are removed."""
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path)
        except UserError as error:
            print(f"warning: {error}; trying the checkpoint before it", file=sys.stderr)
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint's content. Raises UserError where it is damaged."""
    arrays = read_arrays(path)
    try:
        said = json.loads(arrays.pop("history").tobytes())
        rows = [{key: row[key] for key in COLUMNS} for row in said["rows"]]
        numbers = [value for row in rows for value in row.values()] + [said["seconds"]]
        whole = all(isinstance(value, int | float) for value in numbers)
        if not whole or [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError("its history is not one")
        state = [arrays[f"state_{number}"] for number in range(len(arrays))]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    return Checkpoint(History(rows, said["seconds"]), state)


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
    """Raise UserError unless a checkpoint's arrays have the shapes of what is trained."""
    if [values.shape for values in state] != [values.shape for values in current]:
        raise UserError(
            "the checkpoint is of another network or optimizer: the script has changed since the "
            "run was started; start a new one"
        )
