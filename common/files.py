"""Files and folders of runs: whole or absent, written by one process, read without trust."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from common.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]


def whole_path(text: str | Path) -> Path:
    """`~/results` or `results` as a path from the root."""
    with contextlib.suppress(RuntimeError):  # "~nobody" is then a name like any other
        text = Path(text).expanduser()
    return Path(text).resolve()


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the place and rename, so that the file is whole or absent."""
    with beside(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path to write to, that takes the place of `path` when the block ends well.

    Raises UserError in one line when that fails: disk full, no permission, folder gone.
    """
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz file, whole or not at all."""
    with beside(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that `write_arrays` wrote. Nothing in it is run.

    Raises UserError where it is missing or damaged, or declares more than it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            whole = sum(member.file_size for member in members) < path.stat().st_size
            if not whole or any(member.compress_type for member in members):
                raise ValueError("it was not written by this program")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # whatever a damaged file makes zipfile and NumPy raise
        raise UserError(f"{path} is missing or damaged: {error}") from error


def read_json(path: Path) -> dict:
    """A JSON file's content. Raises UserError where it is missing, damaged, or not an object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is missing or damaged: {error}") from error
    return content


def create_folder(parent: Path, name: str, numbered: bool = False) -> Path:
    """Create `parent/name`; where it exists, take `name-2`, `name-3` ... if `numbered`.

    Raises UserError when the name is taken or the folder cannot be written.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count(1):
            folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                if not numbered:
                    break
    except OSError as error:
        raise UserError(
            f"cannot create a folder in {parent}: {error.strerror}; "
            "name one that you may write to with --results-dir"
        ) from error
    raise UserError(f"{folder} exists already: choose another --name, or delete it first")


def remove_partial_files(folder: Path) -> None:
    """Remove what a process that was killed while writing has left in a folder."""
    for path in folder.glob(".*-*"):
        if re.match(r"\.[0-9]+-", path.name):
            with contextlib.suppress(OSError):
                path.unlink()


class Lock:
    """A folder as one process's own, until it releases it or ends, however it ends."""

    def __init__(self, file: IO) -> None:
        self.file = file

    def release(self) -> None:
        """Leave the folder to others."""
        self.file.close()
        with contextlib.suppress(OSError):
            Path(self.file.name).unlink()


def lock(folder: Path) -> Lock:
    """Take a folder as this process's own. Raises UserError while another process has it."""
    try:
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise UserError(f"{folder} belongs to a run that is still under way") from error
    except OSError:
        pass  # a network's file system may know no locks
    return Lock(file)
