"""Finds or downloads a dataset, or falls back on synthetic images."""

import hashlib
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from common.console import say, warn
from common.data import download
from common.data.dataset import Dataset
from common.data.originals import ORIGINALS, KnownFile, Original, idx_bytes, read_idx, read_npz
from common.errors import UserError
from common.files import REPOSITORY, absolute_path

DATASETS_FOLDER = REPOSITORY / "datasets"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
Found = tuple[tuple[np.ndarray, ...], str]  # these arrays, and the folder or file they came from

# Goes to stderr, where no --quiet hides it.
WARNING = """
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
!! THIS IS NOT {title}. The run goes on with synthetic images.
!! No accuracy it prints says anything about {title}.
!! Why: {reason}
!! To stop here instead of going on: --data real
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
"""


def load(
    name: str, data: str = "auto", data_dir: str | Path | None = None, quiet: bool = False
) -> Dataset:
    """The dataset `name`, "mnist" or "fashion_mnist", with no validation images yet.

    Looked for in `data_dir`, or else the folder that MNIST_DATA_DIR names, or else `datasets/`
    beside the scripts and Keras's caches; else downloaded. Every file is verified by its SHA-256
    before use; UserError for one that is damaged or missing where the user said it is.
    data: "auto" falls back on synthetic images, with a warning on stderr; "real" raises UserError
    instead; "synthetic" touches neither files nor network.
    """
    if name not in ORIGINALS or data not in ("auto", "real", "synthetic"):
        raise ValueError(f"{name!r} must be a dataset, and {data!r} auto, real or synthetic")
    began, original, found = time.perf_counter(), ORIGINALS[name], None
    if data != "synthetic":
        try:
            found = _find(original, data_dir) or _download(original, quiet)
        except download.DownloadError as error:
            if data == "real":
                raise
            text = WARNING.format(title=original.title.upper(), reason=error)
            say(*text.split("\n"), stderr=True)
    sha256s = [known.sha256 for known in original.files]  # verified when they were read
    if synthetic := found is None:
        from common.data.synthetic import synthesise  # imports SciPy and Matplotlib

        found = synthesise(name, seed=0), "common/data/synthetic.py, seed 0"
        sha256s = [hashlib.sha256(idx_bytes(array)).hexdigest() for array in found[0]]
    arrays, source = found
    return Dataset(
        name=name,
        title=f"{original.title} (synthetic)" if synthetic else original.title,
        class_names=original.class_names,
        **dict(zip(ARRAYS, arrays, strict=True)),
        source=source,
        fingerprint=hashlib.sha256("".join(sha256s).encode()).hexdigest(),
        synthetic=synthetic,
        seconds=time.perf_counter() - began,
    )


def _find(original: Original, data_dir: str | Path | None) -> Found | None:
    """The real dataset from the first folder that has it; UserError as `load` says."""
    if given := data_dir or os.environ.get("MNIST_DATA_DIR"):
        folder = absolute_path(given)
        if found := _read_folder(folder, original):
            return found
        option = "--data-dir" if data_dir else "MNIST_DATA_DIR"
        readable = os.access(folder, os.R_OK | os.X_OK)
        state = f"holds no {original.title}" if readable else "is not a folder that can be read"
        raise UserError(f"{folder}, from {option}, {state}; expected {original.wanted} in it")
    found = _read_folder(DATASETS_FOLDER, original)
    for cache in download.keras_caches():
        found = found or _read_folder(cache, original, is_cache=True)
    return found


def _read_folder(folder: Path, original: Original, is_cache: bool = False) -> Found | None:
    """The dataset in `folder` or in its own folder below; None if not one file of it is there.

    Raises UserError for damaged or missing files, but not in a cache: a download replaces them.
    """
    incomplete = None
    for place in (*(folder / name for name in original.folders), folder):
        paths = [_first_file(place, known.spellings) for known in original.files]
        try:
            if None not in paths:
                return tuple(map(read_idx, paths, original.files)), str(place)
            if npz := original.npz and _first_file(place, (original.npz,)):
                return read_npz(npz, original), str(npz)
        except UserError as error:
            if not is_cache:
                raise UserError(f"{error}; replace or remove the file") from error
            warn(f"not used: {error}")
        missing = [k.name for k, path in zip(original.files, paths, strict=True) if path is None]
        if not incomplete and len(missing) < len(paths):
            incomplete = f"{place} lacks {', '.join(missing)} (plain or .gz); add them"
    if incomplete and not is_cache:
        raise UserError(incomplete)
    return None


def _first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these files that is there."""
    for name in names:
        with suppress(OSError):  # a folder that may not be entered
            if (folder / name).is_file():
                return folder / name
    return None


def _download(original: Original, quiet: bool) -> Found:
    """The dataset from the first source that has it, now in a Keras cache; DownloadError."""
    cache, problems = download.writable_cache(), []
    for source in original.sources:
        try:
            if source.endswith("/"):
                folder = cache / original.folders[0]
                arrays = [_download_idx(source, folder, known, quiet) for known in original.files]
                return tuple(arrays), str(folder)
            place, size = cache / original.npz, sum(known.size for known in original.files)
            check = partial(read_npz, original=original)
            return download.fetch(source, place, size, check, quiet), str(place)
        except UserError as error:
            problems.append(f"{urlsplit(source).netloc}: {getattr(error, 'problem', error)}")
    raise download.DownloadError(
        f"{original.title} is neither in {DATASETS_FOLDER} nor in the Keras cache, and the "
        f"download failed ({'; '.join(problems)}); put {original.wanted} into "
        f"{DATASETS_FOLDER / original.folders[0]} or name their folder with --data-dir"
    )


def _download_idx(source: str, folder: Path, known: KnownFile, quiet: bool) -> np.ndarray:
    """The array of one file, which may be there from an earlier, interrupted download."""
    place = folder / f"{known.name}.gz"
    try:
        return read_idx(place, known)
    except UserError:
        check = partial(read_idx, known=known)
        return download.fetch(source + place.name, place, known.size, check, quiet)
