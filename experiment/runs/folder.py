"""The folder of a run: `results/<script>/<name>/`, as `results/README.md` explains.

While a run is going on, or when it did not end well, its folder holds a file `UNFINISHED` that
says so.
"""

import contextlib
import inspect
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError
from common.files import read_json, write_atomically

MARKER, NETWORK, SCRIPT = "UNFINISHED", "network.md", "script.py"
STARTED = "started"  # how the reason begins while the run goes on, or after it was killed
_imported = {}  # of each script its module's specification, new with each import, and its text
OLD_NAMES = {"rendered": "synthetic", "repeats_exactly": "deterministic"}


def mark_unfinished(folder: Path, reason: str) -> None:
    """Mark a run's folder as unfinished, and say why."""
    write_atomically(folder / MARKER, f"{reason}\n".encode())


def mark_finished(folder: Path) -> None:
    """Take the mark away."""
    (folder / MARKER).unlink(missing_ok=True)


def read_config(folder: Path) -> dict:
    """What ran: config.json, under today's names."""
    return _renamed(read_json(folder / "config.json"))


def read_metrics(folder: Path) -> dict:
    """What the test gave. Raises UserError, with the reason, when there is no result."""
    path, marker = folder / "metrics.json", folder / MARKER
    if marker.exists() and not path.exists():
        reason = marker.read_text(encoding="utf-8", errors="replace").strip()
        raise UserError(f"{folder} holds no result: {reason}")
    metrics = _renamed(read_json(path))
    if not isinstance(metrics.get("test_accuracy"), float):
        raise UserError(f"{path} is damaged: it has no test accuracy")
    return metrics


def _renamed(content: dict) -> dict:
    """What an earlier version wrote, with the names of today."""
    if content.pop("augment", True) is False:
        content["augmenter"] = "none"
    return {OLD_NAMES.get(key, key): value for key, value in content.items()}


def metrics_of_finished(folder: Path, epochs: int) -> dict | None:
    """The metrics of a training with so many epochs that ended well, or None."""
    if (folder / MARKER).exists() or not (folder / "metrics.json").exists():
        return None
    metrics = read_json(folder / "metrics.json")
    whole = not metrics.get("stopped_early") and metrics.get("epochs", 0) >= epochs
    return metrics if whole else None


def create_folder(parent: Path, name: str, numbered: bool = False) -> Path:
    """Create `parent/name`; where it exists and `numbered`, take `name-2`, `name-3` ...

    Raises UserError when the name is taken or the folder cannot be written.
    """
    numbers = itertools.count(2) if numbered else ()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for each in itertools.chain([name], (f"{name}-{number}" for number in numbers)):
            with contextlib.suppress(FileExistsError):
                (parent / each).mkdir()
                return parent / each
    except OSError as error:
        raise UserError(
            f"cannot create a folder in {parent}: {error.strerror}; "
            "choose one that you may write to with --results-dir"
        ) from error
    raise UserError(f"{parent / name} exists already: choose another --name, or delete it first")


def remove_partial_files(folder: Path) -> None:
    """Remove what a process that was killed while writing has left: see `atomic_path`."""
    for path in folder.glob(".[0-9]*-*"):
        with contextlib.suppress(OSError):
            path.unlink()


def keep_script(script: str, folder: Path) -> None:
    """Copy the script into a new run's folder, as it was imported; warn if it was edited since."""
    path, copy = Path(script), folder / SCRIPT
    text = imported_text(path)
    if text != path.read_bytes():
        problem = "was edited after it was imported, and runs as it was: reload it, or use %run"
        print(f"warning: {path.name} {problem}", file=sys.stderr)
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
            raise UserError(f"{folder} belongs to a run that is still going on") from error
        except OSError:
            pass  # a network file system may have no locks
        yield
