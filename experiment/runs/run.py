"""One training with one seed: its options, its folder, and what `config.json` says of it."""

import argparse
import contextlib
import os
import platform
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

from common.augment import Augmentation, choose_augmentation
from common.console import say, warn
from common.data.dataset import Dataset
from common.errors import UserError
from common.files import REPOSITORY
from experiment.backend.device import Device, usable_cores
from experiment.runs.history import History

# A sum in another number of threads may be another in its last digits.
THREADS = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS".split()
THREADS += "TF_NUM_INTRAOP_THREADS TF_NUM_INTEROP_THREADS".split()
PACKAGES = ("tensorflow", "keras", "jax", "torch", "numpy", "scipy", "matplotlib")


@dataclass
class Run:
    """One training: what a script's `main` works on, and gives back."""

    folder: Path  # with all that it has saved: see results/README.md
    args: argparse.Namespace  # its options
    dataset: Dataset  # before the split; `split()` gives training, validation and test images
    device: Device
    history: History = field(default_factory=History)  # `history.column("loss")` and others
    metrics: dict | None = None  # what metrics.json says; None before testing
    model: object = None  # the trained network; None before testing
    film: object = field(default=None, repr=False)  # see film.py; None before training
    printed_networks: set[str] = field(default_factory=set, repr=False)  # by this call

    def __repr__(self) -> str:
        tested = f"test accuracy {self.metrics['test_accuracy']:.2%}" if self.metrics else "no test"
        return f"<Run of {self.args.script}: {tested}, in {self.folder}>"

    @property
    def custom_engine(self) -> bool:
        """Whether the network is a `DenseNetwork`, and not one of Keras's."""
        return vars(self.args).get("engine", "keras") != "keras"

    @cached_property
    def augmentation(self) -> Augmentation | None:
        """What varies each batch of training images."""
        return choose_augmentation(vars(self.args))

    def split(self) -> Dataset:
        """The dataset with its training images split by the run's seed; see `Dataset.split`.

        Of synthetic images there may be fewer than a recipe for the real ones asks for.
        """
        images, total = self.args.images, len(self.dataset.train_labels)
        if self.dataset.synthetic and images != "all" and images > total:
            self.say(f"images: all {total:,} synthetic images, fewer than the {images:,} asked for")
            images = "all"
        return self.dataset.split(self.args.validation, self.args.seed, images)

    def say(self, *lines: str) -> None:
        """Print progress, unless --quiet."""
        if not self.args.quiet:
            say(*lines)


def configuration(args: argparse.Namespace, dataset: Dataset, device: Device) -> dict:
    """All that one needs to know what ran, and to run it again."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    options = {key: value for key, value in vars(args).items() if key not in ("resume", "given")}
    return {
        **options,
        "dataset": dataset.name,
        "title": dataset.title,
        "synthetic": dataset.synthetic,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "device": device.name,
        "precision": device.precision,
        "backend": device.backend,
        "deterministic": device.deterministic,
        "cores": usable_cores(),
        "threads": " ".join(f"{n}={os.environ[n]}" for n in THREADS if n in os.environ) or None,
        "platform": platform.platform(),
        "versions": versions,
        "started": args.started.isoformat(timespec="seconds"),
    }


def resumed_configuration(before: dict, now: dict, epochs_done: int) -> dict:
    """What config.json says of a resumed run: as at its start, and when it was resumed and how.

    Raises UserError where the images or Keras's backend differ. Another machine, or a schedule that
    changes in mid-run, is a warning.
    """
    if before.get("fingerprint") != now["fingerprint"]:
        advice = "use --data synthetic" if before.get("synthetic") else "set --data-dir"
        if before.get("synthetic") and now["synthetic"]:
            advice = "this version draws other synthetic ones, so start a new run"
        raise UserError(f"the run was started on other images than these: {advice}")
    if (backend := before.get("backend")) != now["backend"]:
        raise UserError(f"the run was started on {backend}: set KERAS_BACKEND={backend}", status=2)
    where = ("device", "precision", "cores", "threads", "platform", "versions", "git_commit")
    changed = {key: [before.get(key), now[key]] for key in where if before.get(key) != now[key]}
    if changed:
        words = f"not the machine and software of the start ({', '.join(changed)} changed)"
        warn(f"{words}: the result may differ in its last digits")
    resumed = {"started": now["started"], "epochs": before.get("epochs"), "changed": changed}
    if before.get("epochs") != now["epochs"] and epochs_done and now["schedule"] != "constant":
        resumed["schedule_changed_at"] = epochs_done
        warn(
            f"from epoch {epochs_done + 1} on the learning rate follows a schedule of "
            f"{now['epochs']} epochs: a new run of as many epochs would end elsewhere"
        )
    kept = {key: now[key] for key in ("epochs", "command_line", "data_dir")}
    return before | kept | {"resumed": [*before.get("resumed", []), resumed]}


def git_commit() -> str | None:
    """The commit that is checked out, with `-dirty` where code differs, or None outside git."""
    quiet = {"cwd": REPOSITORY, "stderr": subprocess.DEVNULL, "text": True, "timeout": 10}
    if (REPOSITORY / ".git").exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            commit = subprocess.check_output("git rev-parse --short HEAD".split(), **quiet).strip()
            changes = subprocess.check_output("git diff HEAD -- *.py".split(), **quiet)
            return f"{commit}-dirty" if changes else commit
    return None
