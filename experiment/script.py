"""The script of a run: a copy stays in the run's folder."""

import contextlib
import struct
import sys
from pathlib import Path

from common.files import write_atomically
from experiment.runs.saved import SCRIPT


def keep_script(script: str, folder: Path, resumed: bool) -> None:
    """Copy the script that runs into a new run's folder; warn where the file is not what runs.

    A resumed run keeps the copy of its start.
    """
    path, copy = Path(script), folder / SCRIPT
    if edited_since_import(path):
        print(
            f"warning: {path.name} was edited after it was imported, and what was imported runs, "
            "without a copy in its folder: restart the kernel, or use %run",
            file=sys.stderr,
        )
    elif not resumed:
        write_atomically(copy, path.read_bytes())
    elif copy.exists() and copy.read_bytes() != path.read_bytes():
        print(f"warning: {path.name} is not what the run was started with", file=sys.stderr)


def edited_since_import(path: Path) -> bool:
    """Whether an imported script was edited since; one that was started has just been read."""
    module = sys.modules.get(path.stem)
    started = getattr(sys.modules["__main__"], "__file__", None) == str(path)
    if started or getattr(module, "__file__", None) != str(path) or sys.dont_write_bytecode:
        return False
    # Importing leaves bytecode that begins with the time and size of its source: PEP 552.
    with contextlib.suppress(OSError, TypeError, struct.error):
        flags, *imported = struct.unpack("<4x3I", Path(module.__spec__.cached).read_bytes()[:16])
        now = path.stat()
        return not flags and imported != [int(now.st_mtime) % 2**32, now.st_size % 2**32]
    return False
