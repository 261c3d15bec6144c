"""Checkpoints: all that training changes, kept after each whole epoch, to go on from.

A run's folder holds `checkpoint-<epochs>.npz` of the last two epochs, and at its end of the last:
arrays `state_0`, `state_1` ... (weights, and what optimizer and dropout remember), and `history`,
JSON in UTF-8. Training goes on from the last one there is; `--resume` brings it to such a folder.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import read_arrays, write_arrays, write_atomically
from experiment.backend.processes import send_to_all
from experiment.runs.folder import HISTORY_COLUMNS, History, Run

KEPT = 2


@dataclass
class Checkpoint:
    """What training had reached after a whole epoch."""

    history: History
    state: list[np.ndarray]


def save_checkpoint(folder: Path, history: History, state: Sequence[np.ndarray]) -> None:
    """Write a checkpoint, and only then remove the one before the last.

    Raises UserError when it cannot be written; then those before it are still there.
    """
    said = json.dumps({"rows": history.rows, "seconds": history.seconds}).encode()
    arrays = {f"state_{number}": values for number, values in enumerate(state)}
    arrays["history"] = np.frombuffer(said, np.uint8)
    write_arrays(folder / f"checkpoint-{len(history.rows)}.npz", **arrays)
    remove_checkpoints(folder, KEPT)


def remove_checkpoints(folder: Path, kept: int) -> None:
    """Remove all but the last checkpoints; what cannot be removed stays."""
    for path in checkpoint_paths(folder)[kept:]:
        with contextlib.suppress(OSError):
            path.unlink()


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, the last one first."""
    numbered = [
        (int(match[1]), path)
        for path in folder.glob("checkpoint-*.npz")
        if (match := re.fullmatch(r"checkpoint-([0-9]{1,9})", path.stem))
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The last whole checkpoint in a run's folder; damaged ones after it are warned of and removed.

    None where there is none, as in a new run.
    """
    for path in checkpoint_paths(folder):
        try:
            return read_checkpoint(path)
        except UserError as error:
            print(f"warning: {error}; looking for the checkpoint before it", file=sys.stderr)
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint's content. Raises UserError where it is damaged, or is none."""
    arrays = read_arrays(path)
    try:
        said = json.loads(arrays.pop("history").tobytes())
        rows = [{key: row[key] for key in HISTORY_COLUMNS} for row in said["rows"]]
        numbers = [value for row in rows for value in row.values()] + [said["seconds"]]
        whole = all(isinstance(value, int | float) for value in numbers)
        if not whole or [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError("its history is none")
        state = [arrays[f"state_{number}"] for number in range(len(arrays))]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error
    return Checkpoint(History(rows, said["seconds"]), state)


def share_checkpoint(run: Run) -> None:
    """Of processes that train together, give the first one's last checkpoint to the others."""
    path = None
    if run.device.process == 0 and load_checkpoint(run.folder):  # which removes damaged ones
        path = checkpoint_paths(run.folder)[0]
    name = send_to_all(path.name.encode() if path else b"").decode()
    content = send_to_all(path.read_bytes() if path else b"")
    if name and not path:
        write_atomically(run.folder / name, content)


def check_fits(state: Sequence[np.ndarray], current: Sequence[np.ndarray]) -> None:
    """Raise UserError where a checkpoint's arrays are not shaped as those of what is trained."""
    if [values.shape for values in state] != [values.shape for values in current]:
        raise UserError(
            "the checkpoint is of another network or optimizer: the script has changed since the "
            "run was started; start a new one"
        )
