"""Damaged copies of every kind of file that is read here, for `python -m benchmarks.faults`."""

import contextlib
import hashlib
import io
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.originals import ORIGINALS, idx_bytes, read_idx, read_npz
from common.errors import UserError
from experiment.gallery.page import refresh
from experiment.runs.checkpoints import checkpoint_paths, read_checkpoint, save_checkpoint
from experiment.runs.history import History, read_history
from tools.handwriting.pictures import read_picture
from tools.saved import load_model, read_runs


def read_damaged(copies: int, run: Path) -> Iterator[tuple[str, str | None]]:
    """Give so many damaged copies of each kind of file to what reads it.

    `run` is the folder of a finished run, whose files are some of them. For each copy the kind, and
    what went wrong: None where it was read, or refused with a UserError of one line.
    """
    generator = random.Random(1)
    for kind, (path, read) in files(run).items():
        content = path.read_bytes()
        for _ in range(copies):
            path.write_bytes(damaged(content, generator))
            yield f"damaged: {kind}", failure(read, path)
        path.write_bytes(content)


def damaged(content: bytes, generator: random.Random) -> bytes:
    """A copy with bytes removed and inserted in up to four places, and perhaps cut off or doubled.

    What is inserted is random, or comes from elsewhere in the file. Sometimes all is random.
    """
    if generator.random() < 0.05:
        return generator.randbytes(generator.randrange(200))
    copy = content
    for _ in range(generator.choice([1, 1, 2, 4])):
        place, other = (generator.randrange(len(copy) + 1) for _ in range(2))
        removed, added = generator.choices([0, 1, 1, 4, 20], k=2)
        new = generator.choice([generator.randbytes(added), copy[other : other + added]])
        copy = copy[:place] + new + copy[place + removed :]
    if generator.random() < 0.2:
        copy = copy[: generator.randrange(len(copy) + 1)]
    return copy * generator.choice([1, 1, 1, 1, 2])


def failure(read: Callable[[Path], object], path: Path) -> str | None:
    """What was wrong with how `read` took a damaged file; None where it read or refused it."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            read(path)
    except UserError as error:
        return "more than one line" if "\n" in str(error).strip() else None
    except BaseException as error:
        return repr(error)[:300]
    return None


def files(run: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A whole file of each kind, and what reads it."""
    (folder := run / "others").mkdir()
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    (folder / "idx").write_bytes(idx_bytes(images))
    original = write_npz(folder / "mnist.npz", images)
    Image.fromarray(np.tile(images, (1, 5, 5))[0]).save(folder / "picture.png")
    save_checkpoint(folder, History([]), [images.astype(np.float32)])
    return {
        "IDX": (folder / "idx", lambda path: read_idx(path, original.files[0])),
        "mnist.npz": (folder / "mnist.npz", lambda path: read_npz(path, original)),
        "picture (PNG)": (folder / "picture.png", read_picture),
        "checkpoint": (checkpoint_paths(folder)[0], read_checkpoint),
        "history.csv": (run / "history.csv", lambda path: read_history(path.parent)),
        "model.npz": (run / "model.npz", lambda path: load_model(read_runs(path.parent)[0])),
        "metrics.json": (run / "metrics.json", read_all),
        "config.json": (run / "config.json", read_all),
    }


def read_all(path: Path) -> None:
    """Read the run that a file belongs to, as the gallery and the tools do."""
    refresh(path.parents[2])
    for run in read_runs(path.parent):
        run.predictions, run.history, run.name  # noqa: B018


def write_npz(path: Path, images: np.ndarray):
    """Write a few images as Keras's mnist.npz, and give the Original that describes the file."""
    labels = np.arange(len(images), dtype=np.uint8)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez_compressed(path, **arrays)
    known = [
        replace(known, shape=array.shape, sha256=hashlib.sha256(idx_bytes(array)).hexdigest())
        for known, array in zip(ORIGINALS["mnist"].files, arrays.values(), strict=True)
    ]
    return replace(ORIGINALS["mnist"], files=tuple(known))
