"""Files that are whole or absent, even after a crash; and readers that trust nothing."""

import contextlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[1]


def absolute_path(text: str | Path) -> Path:
    """`~/results` or `results` as an absolute path; what is wrong with it shows when it is used."""
    with contextlib.suppress(RuntimeError):  # "~nobody" is a name like any other
        text = Path(text).expanduser()
    with contextlib.suppress(OSError):  # the working directory was deleted
        text = os.path.realpath(text)  # unlike Path.resolve, it takes links that form a loop
    return Path(text)


def regular(path: Path) -> Path:
    """The path of a file, which can be read without waiting for its writer. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path.name} is not a file")
    return path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path, whose file replaces `path` after the block; UserError if that fails."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # whole after a power cut, too
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of files to the disk; Windows has no call for it."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write text and a line feed, whole or not at all; a path in it may be of any bytes."""
    write_atomically(path, f"{text}\n".encode(errors="backslashreplace"))  # as JSON escapes them


def read_text(path: Path) -> str:
    """A file's text, with a sign for what is not UTF-8. Raises OSError where it is no file."""
    return regular(path).read_text(encoding="utf-8", errors="replace")


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all; what JSON does not know becomes text."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str))


def read_json(path: Path) -> dict:
    """A JSON file's content. Raises UserError where it is missing, damaged, or not an object."""
    try:
        content = json.loads(regular(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is missing or damaged: {error}") from error
    return content


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz file, whole or not at all."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `write_arrays` wrote; UserError for any other file, or none."""
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            members = archive.infolist()
            whole = sum(member.file_size for member in members) < path.stat().st_size
            if not whole or any(member.compress_type for member in members):
                raise ValueError("it was not written by this program")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # whatever a damaged file makes zipfile and NumPy raise
        raise UserError(f"{path} is missing or damaged: {error}") from error
