"""The folder of a run: `results/<script>/<name>/`, as `results/README.md` explains.

While a run is going on, or when it did not end well, its folder holds a file `UNFINISHED` that
says so.
"""

import contextlib
import inspect
import itertools
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from common.console import warn
from common.errors import UserError
from common.files import read_json, read_text, write_atomically, write_text
from experiment.runs.checks import check_metrics, checked_config

MARKER, NETWORK, SCRIPT = "UNFINISHED", "network.md", "script.py"
STARTED = "started"  # how the reason begins while the run goes on, or after it was killed
_imported = {}  # of each script its module's specification, new with each import, and its text
OLD_NAMES = {"rendered": "synthetic", "repeats_exactly": "deterministic"}


def mark_unfinished(folder: Path, reason: str) -> None:
    """Mark a run's folder as unfinished, and say why."""
    write_text(folder / MARKER, reason)


def why_unfinished(folder: Path) -> str:
    """What the mark says of an unfinished run; empty where there is no mark."""
    path = folder / MARKER
    return read_text(path).strip() or "no reason given" if path.exists() else ""


def mark_finished(folder: Path) -> None:
    """Take the mark away."""
    (folder / MARKER).unlink(missing_ok=True)


def read_config(folder: Path) -> dict:
    """What ran: config.json, with today's names, and options as from the command line.

    Raises UserError where it is missing, or a value in it cannot be.
    """
    path = folder / "config.json"
    return checked_config(path, _renamed(read_json(path)))


def read_metrics(folder: Path) -> dict:
    """What the test gave. Raises UserError, with the reason, where there is no result."""
    path = folder / "metrics.json"
    if not path.exists() and (reason := why_unfinished(folder)):
        raise UserError(f"{folder} holds no result: {reason}")
    metrics = _renamed(read_json(path))
    check_metrics(path, metrics)
    return metrics


def started(folder: Path) -> float:
    """When a run was started, in seconds since 1970; 0 where its config.json does not say."""
    try:
        return datetime.fromisoformat(read_config(folder)["started"]).timestamp()
    except (UserError, KeyError, ValueError, OverflowError):
        return 0


def _renamed(content: dict) -> dict:
    """What an earlier version wrote, with the names of today."""
    if content.pop("augment", True) is False:
        content["augmenter"] = "none"
    return {OLD_NAMES.get(key, key): value for key, value in content.items()}


def metrics_of_finished(folder: Path, epochs: int) -> dict | None:
    """The metrics of a training with so many epochs that ended well, or None."""
    if (folder / MARKER).exists() or not (folder / "metrics.json").exists():
        return None
    metrics = read_metrics(folder)
    ended = metrics.get("out_of_patience") or metrics.get("epochs", 0) >= epochs
    whole = ended and not metrics.get("stopped_early")
    return metrics if whole else None


def writable_folder(folder: Path) -> Path:
    """The folder, created if need be. Raises UserError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        advice = "choose one that you may write to with --results-dir"
        raise UserError(f"cannot write into {folder}: {error.strerror}; {advice}") from error


def create_folder(parent: Path, name: str, numbered: bool = False) -> Path:
    """Create `parent/name`; where it exists and `numbered`, take `name-2`, `name-3` ...

    Otherwise the name may be that of a folder left empty by a process that was killed at its start.
    Raises UserError when the name is taken or the folder cannot be written.
    """
    folder = writable_folder(parent) / name
    if not numbered and folder.is_dir() and {p.name for p in folder.glob("[!.]*")} <= {MARKER}:
        return folder
    numbers = itertools.count(2) if numbered else ()
    for each in itertools.chain([name], (f"{name}-{number}" for number in numbers)):
        with contextlib.suppress(FileExistsError):
            (parent / each).mkdir()
            return parent / each
    raise UserError(f"{folder} exists already: choose another --name, or delete it first")


def remove_partial_files(folder: Path) -> None:
    """Remove what a process that was killed while writing has left: see `atomic_path`."""
    for path in folder.rglob(".[0-9]*-*"):
        with contextlib.suppress(OSError):
            path.unlink()


def keep_script(script: str, folder: Path) -> None:
    """Copy the script into a new run's folder, as it was imported; warn if it was edited since."""
    path, copy = Path(script), folder / SCRIPT
    text = imported_text(path)
    if text != path.read_bytes():
        warn(f"{path.name} was edited since it was imported; the old version runs: reload it")
    if text is not None and not copy.exists():  # a resumed run keeps that of its start
        write_atomically(copy, text)


def imported_text(path: Path) -> bytes | None:
    """The text of a script as it was imported; None where it was edited before its first run."""
    text, module = path.read_bytes(), sys.modules.get(path.stem)
    started = getattr(sys.modules["__main__"], "__file__", None) == str(path)
    if started or getattr(module, "__file__", None) != str(path):
        return text  # it was read just now
    spec, known = _imported.get(path, (None, None))
    if spec is not module.__spec__:  # imported for the first time, or again
        known = None
        functions = [value for value in vars(module).values() if inspect.isfunction(value)]
        own = [each.__code__ for each in functions if each.__module__ == module.__name__]
        with contextlib.suppress(SyntaxError):
            if all(code in compile(text, path, "exec").co_consts for code in own):
                known = text
        _imported[path] = module.__spec__, known
    return known


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder as this process's own, until the block or the process ends.

    Raises UserError while another process holds it. The lock file stays: removing it would let
    one process lock a file that another one can no longer see.
    """
    try:
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    with file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise UserError(f"another process is still working in {folder}") from error
        except OSError:
            pass  # a network file system may have no locks
        yield
