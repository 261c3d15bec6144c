"""The run folder: created, written atomically, read back.

Layout: `results/<script>/<name>/`, as `results/README.md` explains. While a run is under way, or
when it did not end well, its folder holds a file `UNFINISHED` that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from common.data.load import Dataset
from common.errors import Interrupted, UserError
from common.files import (
    REPOSITORY,
    create_folder,
    lock,
    read_json,
    remove_partial_files,
    whole_path,
    write_atomically,
)
from experiment.backend.device import NUMPY_DEVICE, Device
from experiment.backend.processes import check_alike
from experiment.options import in_words

MARKER = "UNFINISHED"
# What the line at the start of a run leaves out: it is no setting, or other lines tell it.
UNTOLD = """recipe script started command_line precision devices distributed data data_dir name
    resume results_dir repeats figures show quiet debug seeds combinations resumed
    repeats_exactly""".split()
NOT_COMPARED = {*UNTOLD} - {"precision"}  # where two runs are compared, that is told, too
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

    def differing_columns(self, other: History) -> list[str]:
        """The columns in which another training was not the same; its times may be others."""
        return [
            name
            for name in HISTORY_COLUMNS
            if name != "seconds"
            and not np.array_equal(self.column(name), other.column(name), equal_nan=True)
        ]


@dataclass
class Run:
    """One training with one seed, and the folder that it leaves."""

    folder: Path
    args: argparse.Namespace
    seed: int
    device: Device
    history: History | None = None  # after training
    metrics: dict | None = None  # after testing

    @property
    def by_hand(self) -> bool:
        """Whether the network is a `DenseNetwork`, and not one of Keras's."""
        return vars(self.args).get("engine", "keras") != "keras"

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
        """Create the folder `results/<script>/<name>`, or go on in the one that is resumed.

        Raises UserError when it exists or cannot be created; and when the run to resume is
        finished, under way, or of other images.
        """
        if device.processes > 1:
            alike = {key: vars(args)[key] for key in vars(args) if key not in UNTOLD}
            alike |= {"images": dataset.fingerprint, "in": device.precision, "on": device.count}
            check_alike(alike)
        if device.process:  # all have the same results: the first process keeps them
            self.elsewhere = tempfile.TemporaryDirectory()
            args = argparse.Namespace(**vars(args))
            args.results_dir, args.resume, args.quiet = Path(self.elsewhere.name), None, True
        self.args, self.dataset, self.device = args, dataset, device
        self.groups: list[Group] = []
        name = args.name or args.started.strftime("%Y-%m-%d_%H-%M-%S")
        if dataset.rendered:
            name += "-rendered"
        self.folder = args.resume
        if args.resume is None:
            self.folder = create_folder(script_folder(args), name, numbered=args.name is None)
        self.lock = lock(self.folder)
        try:
            self.overview = self._begin(self.folder, args)
            if self.overview.metrics:
                raise UserError(f"{self.folder} is finished: more --epochs would train it further")
        except UserError:
            self.lock.release()
            raise
        self.overview.say(f"data: {dataset.title} from {dataset.source}")
        self.overview.say(f"device: {device.name} ({device.reason}), {device.precision}")
        settings = {key: value for key, value in vars(args).items() if key not in UNTOLD}
        if vars(args).get("learning_rate") is None:  # each of several optimizers has its own
            settings.pop("learning_rate", None)
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
                group.overview = self._begin(self._member(self.folder, name), args)
            for seed in self.args.seeds:
                run = group.overview
                if self.args.repeats > 1:
                    args = vars(run.args) | {"seed": seed, "seeds": [seed], "repeats": 1}
                    folder = self._member(run.folder, f"seed-{seed}")
                    run = self._begin(folder, argparse.Namespace(**args))
                group.runs.append(run)
                words = in_words(combination | ({"seed": seed} if self.args.repeats > 1 else {}))
                if run.metrics:
                    run.say(f"--- {words}: finished before")
                    continue
                if several:
                    run.say(f"--- {words}")
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
        else:
            text = "stopped on request; all that it had reached is here"
            if not isinstance(error, Interrupted):
                text = f"ended by {kind.__name__}: {error}"
            # On a full disk the first mark stays, and the error that is under way is to be told.
            with contextlib.suppress(UserError):
                self.overview.mark(text)
        self.lock.release()
        if self.device.process:
            self.elsewhere.cleanup()

    def _member(self, parent: Path, name: str) -> Path:
        """The folder of one run of several, which a run that is resumed may have already."""
        if self.args.resume and (parent / name).is_dir():
            return parent / name
        return create_folder(parent, name)

    def _begin(self, folder: Path, args: argparse.Namespace) -> Run:
        """The run in a folder: new, to go on with, or, with its metrics, finished before."""
        device = self.device
        if vars(args).get("engine") == "numpy":  # also where other runs use a GPU
            device = NUMPY_DEVICE
        elif vars(args).get("engine") == "tensorflow":  # also where Keras computes in bfloat16
            device = replace(device, precision="float32", count=1)
        run = Run(folder, args, args.seed, device)
        started = (folder / "config.json").exists()
        if started and (metrics := metrics_of_finished(folder, args.epochs)):
            run.history, run.metrics = read_history(folder), metrics
            run.history.seconds = metrics["seconds"]["training"]
            return run
        from experiment.runs.checkpoints import (
            load_checkpoint,  # not at the top: it imports this module
        )

        # After Ctrl-C in the first epoch there is a result, but no checkpoint, and nothing to lose.
        tested = (folder / "test_predictions.npz").exists()
        epochs = read_json(folder / "metrics.json").get("epochs") if tested else 0
        if epochs and not load_checkpoint(folder):
            raise UserError(
                f"{folder} cannot be trained further, because its checkpoint is gone: start a new "
                "run; what this one has reached is left as it is"
            )
        config = configuration(args, self.dataset, device)
        if started:
            config = resumed_configuration(read_json(folder / "config.json"), config)
            remove_partial_files(folder)
        run.mark(f"started {args.started.isoformat(' ', 'seconds')} by process {os.getpid()}")
        run.write_json("config.json", config)
        return run


def metrics_of_finished(folder: Path, epochs: int) -> dict | None:
    """The metrics of a training with so many epochs that ended well, or None."""
    if (folder / MARKER).exists() or not (folder / "metrics.json").exists():
        return None
    metrics = read_json(folder / "metrics.json")
    whole = not metrics.get("stopped_early") and metrics.get("epochs", 0) >= epochs
    return metrics if whole else None


def resumed_configuration(before: dict, now: dict) -> dict:
    """What config.json says of a run that goes on: as at its start, and when and where it did.

    Raises UserError where the images or Keras's backend are others. Another machine is a warning.
    """
    if before.get("fingerprint") != now["fingerprint"]:
        advice = "with --data rendered" if before.get("rendered") else "name them by --data-dir"
        raise UserError(f"the run was started on other images than these: {advice}")
    if (backend := before.get("backend")) != now["backend"]:
        raise UserError(f"the run was started on {backend}: set KERAS_BACKEND={backend}", status=2)
    where = ("device", "precision", "cores", "platform", "versions")
    changed = {key: [before.get(key), now[key]] for key in where if before.get(key) != now[key]}
    if changed:
        print(
            f"warning: not the machine and versions it was started with ({', '.join(changed)}): "
            "the end may differ in the last digits",
            file=sys.stderr,
        )
    again = {"started": now["started"], "epochs": before.get("epochs"), "changed": changed}
    kept = {"epochs": now["epochs"], "command_line": now["command_line"]}
    return before | kept | {"resumed": [*before.get("resumed", []), again]}


def configuration(args: argparse.Namespace, dataset: Dataset, device: Device) -> dict:
    """All that one needs to know what ran, and to run it again."""
    packages = ("tensorflow", "keras", "jax", "torch", "numpy", "scipy", "matplotlib")
    versions = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    options = {key: value for key, value in vars(args).items() if key != "resume"}
    return {
        **options,
        "dataset": dataset.name,
        "title": dataset.title,
        "rendered": dataset.rendered,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "device": device.name,
        "precision": device.precision,
        "backend": device.backend,
        "repeats_exactly": device.repeats_exactly,
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
