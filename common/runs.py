"""The run folder: created, written atomically, read back.

Layout: `results/<script>/<name>/`, as `results/README.md` explains. While a run is under way, or
when it did not end well, its folder holds a file `UNFINISHED` that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from common.data import Dataset
from common.device import Device
from common.options import REPOSITORY, Interrupted, UserError

MARKER = "UNFINISHED"
HISTORY_COLUMNS = (
    "epoch seconds learning_rate loss accuracy validation_loss validation_accuracy".split()
)


@dataclass
class History:
    """What training measured, a row per finished epoch.

    A row holds `epoch` (from 1), `seconds` (training, without validation), `learning_rate` (at the
    epoch's end), and loss (mean cross-entropy, in nats) and accuracy (a share) on both sets.
    Training's are running means over the epoch, as Keras measures them; validation's are `nan`
    without a validation set. `seconds` is the time that all of it took, validation and set-up of
    the network included. `stopped` is the number of the signal that ended training, or None.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0
    stopped: int | None = None

    def column(self, name: str) -> list[float]:
        """One measurement over the epochs."""
        return [row[name] for row in self.rows]


@dataclass
class Run:
    """One training with one seed, and the folder that it leaves."""

    folder: Path
    args: argparse.Namespace
    seed: int
    device: Device
    history: History | None = None  # after training
    metrics: dict | None = None  # after testing
    handicaps: list[str] = field(default_factory=list)  # what makes training look worse

    def write_json(self, name: str, content: dict) -> None:
        """Write a JSON file of the folder, whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        write_atomically(self.folder / name, text.encode() + b"\n")

    def write_history(self, history: History) -> None:
        """Write history.csv anew, so that it is whole at every moment."""
        text = io.StringIO()
        writer = csv.DictWriter(text, HISTORY_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history.rows)
        write_atomically(self.folder / "history.csv", text.getvalue().encode())

    def say(self, line: str) -> None:
        """Print progress, unless --quiet."""
        if not self.args.quiet:
            print(line, flush=True)


def read_history(folder: Path) -> History:
    """The History that a run's folder holds.

    Raises UserError when history.csv is missing or is not one.
    """
    path = folder / "history.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {key: float(row[key]) for key in HISTORY_COLUMNS} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is missing or damaged: {error}") from error
    return History(rows)


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


class Experiment:
    """One call of a script: a single run, or with --repeats a run for each seed.

    A context manager, so that the folder is marked unfinished from its creation until all is well.
    """

    def __init__(self, args: argparse.Namespace, dataset: Dataset, device: Device) -> None:
        """Create the folder `results/<script>/<name>`.

        Raises UserError when it exists or cannot be created.
        """
        self.args, self.dataset, self.device = args, dataset, device
        self.runs: list[Run] = []
        name = args.name or args.started.strftime("%Y-%m-%d_%H-%M-%S")
        if dataset.rendered:
            name += "-rendered"
        self.folder = create_folder(script_folder(args), name, numbered=args.name is None)
        self._mark(f"started {args.started.isoformat(' ', 'seconds')} by process {os.getpid()}")
        self.overview = Run(self.folder, args, args.seed, device)
        self.overview.write_json("config.json", self._config())
        self.overview.say(f"data: {dataset.title} from {dataset.source}")
        self.overview.say(f"device: {device.name} ({device.reason})")
        self.overview.say(f"recipe: {args.recipe} ({self._settings()})")

    def __iter__(self) -> Iterator[Run]:
        """The runs, one after the other."""
        for seed in range(self.args.seed, self.args.seed + self.args.repeats):
            run = self.overview
            if self.args.repeats > 1:
                run = Run(create_folder(self.folder, f"seed-{seed}"), self.args, seed, self.device)
                run.write_json("config.json", self._config() | {"seed": seed, "repeats": 1})
                run.say(f"seed {seed}")
            self.runs.append(run)
            yield run
            if run.history.stopped:
                return

    def __enter__(self) -> Experiment:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            (self.folder / MARKER).unlink(missing_ok=True)
        elif isinstance(error, Interrupted):
            self._mark("stopped before its last epoch; all that it had reached is here")
        else:
            self._mark(f"ended by {kind.__name__}: {error}")

    def _mark(self, text: str) -> None:
        write_atomically(self.folder / MARKER, f"{text}\n".encode())

    def _settings(self) -> str:
        untold = "recipe script started data data_dir name results_dir repeats show quiet debug"
        words = []
        for key, value in vars(self.args).items():
            key = key.replace("_", "-")
            if key.replace("-", "_") in untold.split() or value is True:
                continue
            if isinstance(value, tuple):
                value = ",".join(map(str, value))
            words.append(f"no {key}" if value is False else f"{key} {value}")
        return ", ".join(words)

    def _config(self) -> dict:
        """All that one needs to know what ran, and to run it again."""
        packages = ("tensorflow", "keras", "jax", "torch", "numpy", "scipy", "matplotlib")
        versions = {"python": platform.python_version()}
        for package in packages:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
        return {
            **vars(self.args),
            "dataset": self.dataset.name,
            "title": self.dataset.title,
            "rendered": self.dataset.rendered,
            "source": self.dataset.source,
            "fingerprint": self.dataset.fingerprint,
            "device": self.device.name,
            "backend": self.device.backend,
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "versions": versions,
            "started": self.args.started.isoformat(timespec="seconds"),
            "command_line": sys.argv,
            "git_commit": git_commit(),
        }


def script_folder(args: argparse.Namespace) -> Path:
    """Where all runs of a script are kept."""
    return args.results_dir.expanduser().resolve() / args.script


def check_results_folder(args: argparse.Namespace) -> None:
    """Raise UserError now, and not after minutes of loading, if no run can be kept there."""
    create_folder(script_folder(args), f".trial-{os.getpid()}").rmdir()


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


def git_commit() -> str | None:
    """The commit that is checked out, with `-dirty` after changes, or None outside git."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return answer.stdout.strip()
    return None
