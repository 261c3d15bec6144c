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
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from common.data import Dataset
from common.device import NUMPY_DEVICE, Device
from common.options import REPOSITORY, Interrupted, UserError, in_words, whole_path

MARKER = "UNFINISHED"
# What the line at the start of a run leaves out: it is no setting, or other lines tell it.
UNTOLD = """recipe script started command_line precision data data_dir name results_dir repeats
    figures show quiet debug seeds combinations""".split()
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
    the network included. `stopped` is the number of the signal that ended training, or None;
    `failure` is why training could not go on, in one line, or None.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0
    stopped: int | None = None
    failure: str | None = None

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

    def mark(self, text: str) -> None:
        """Mark the folder as unfinished, and say why."""
        write_atomically(self.folder / MARKER, f"{text}\n".encode())

    def unmark(self) -> None:
        """All is well with the folder."""
        (self.folder / MARKER).unlink(missing_ok=True)

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


@contextlib.contextmanager
def stop_requests(history: History) -> Iterator[None]:
    """Note the first Ctrl-C or SIGTERM in `history.stopped` instead of ending at once.

    A second one ends at once. Only a process's main thread can be asked this way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: object) -> None:
        if history.stopped:
            raise KeyboardInterrupt
        history.stopped = number
        print("\nstopping as soon as all is saved (again: at once)", file=sys.stderr, flush=True)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


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


@dataclass
class Group:
    """The runs with one combination of options: one, or with --repeats one for each seed."""

    overview: Run  # the folder that holds those of the seeds; the run itself when it is alone
    combination: dict  # the options in which it differs from the experiment's other groups
    runs: list[Run] = field(default_factory=list)


class Experiment:
    """One call of a script: a run for each combination of options and each seed, often just one.

    A context manager, so that the folder is marked unfinished from its creation until all is well.
    """

    def __init__(self, args: argparse.Namespace, dataset: Dataset, device: Device) -> None:
        """Create the folder `results/<script>/<name>`.

        Raises UserError when it exists or cannot be created.
        """
        self.args, self.dataset, self.device = args, dataset, device
        self.groups: list[Group] = []
        name = args.name or args.started.strftime("%Y-%m-%d_%H-%M-%S")
        if dataset.rendered:
            name += "-rendered"
        self.folder = create_folder(script_folder(args), name, numbered=args.name is None)
        self.overview = self._begin(self.folder, args)
        self.overview.say(f"data: {dataset.title} from {dataset.source}")
        self.overview.say(f"device: {device.name} ({device.reason}), {device.precision}")
        settings = {key: vars(args)[key] for key in vars(args) if key not in UNTOLD}
        self.overview.say(f"recipe: {args.recipe} ({in_words(settings)})")

    @property
    def runs(self) -> list[Run]:
        """All runs so far."""
        return [run for group in self.groups for run in group.runs]

    def __iter__(self) -> Iterator[Run]:
        """The runs, one after the other, until one is stopped.

        Raises UserError when training fails; but where there are several runs, that is a warning,
        and the others go on.
        """
        several = len(self.args.combinations) * len(self.args.seeds) > 1
        for combination in self.args.combinations:
            group = Group(self.overview, combination)
            self.groups.append(group)
            if combination:
                args = argparse.Namespace(**vars(self.args) | combination | {"combinations": [{}]})
                name = in_words(combination).replace(", ", "_").replace(" ", "-")
                group.overview = self._begin(create_folder(self.folder, name), args)
            for seed in self.args.seeds:
                run = group.overview
                if self.args.repeats > 1:
                    args = vars(run.args) | {"seed": seed, "seeds": [seed], "repeats": 1}
                    folder = create_folder(run.folder, f"seed-{seed}")
                    run = self._begin(folder, argparse.Namespace(**args))
                if several:
                    several_seeds = {"seed": seed} if self.args.repeats > 1 else {}
                    run.say(f"--- {in_words(combination | several_seeds)}")
                group.runs.append(run)
                yield run
                if run.history.stopped:
                    return
                if run.history.failure:
                    if not several:
                        raise UserError(run.history.failure)
                    run.mark(run.history.failure)
                    print(f"warning: {run.history.failure}", file=sys.stderr)
                elif run is not self.overview:
                    run.unmark()

    def __enter__(self) -> Experiment:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if kind is None:
            self.overview.unmark()
            return
        text = "stopped on request; all that it had reached is here"
        if not isinstance(error, Interrupted):
            text = f"ended by {kind.__name__}: {error}"
        # On a full disk the first mark stays, and the error that is under way is the one to tell.
        with contextlib.suppress(UserError):
            self.overview.mark(text)

    def _begin(self, folder: Path, args: argparse.Namespace) -> Run:
        device = self.device
        if vars(args).get("engine") == "numpy":  # also where other runs use a GPU
            device = NUMPY_DEVICE
        elif vars(args).get("engine") == "tensorflow":  # also where Keras computes in bfloat16
            device = replace(device, precision="float32")
        run = Run(folder, args, args.seed, device)
        run.mark(f"started {args.started.isoformat(' ', 'seconds')} by process {os.getpid()}")
        run.write_json("config.json", configuration(args, self.dataset, device))
        return run


def configuration(args: argparse.Namespace, dataset: Dataset, device: Device) -> dict:
    """All that one needs to know what ran, and to run it again."""
    packages = ("tensorflow", "keras", "jax", "torch", "numpy", "scipy", "matplotlib")
    versions = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        **vars(args),
        "dataset": dataset.name,
        "title": dataset.title,
        "rendered": dataset.rendered,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "device": device.name,
        "precision": device.precision,
        "backend": device.backend,
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "versions": versions,
        "started": args.started.isoformat(timespec="seconds"),
        "git_commit": git_commit(),
    }


def script_folder(args: argparse.Namespace) -> Path:
    """Where all runs of a script are kept."""
    return whole_path(args.results_dir) / args.script


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
    if not (REPOSITORY / ".git").exists():
        return None
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40"]
    command += ["--exclude", "*"]  # the commit itself, not the nearest tag
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return answer.stdout.strip()
    return None
