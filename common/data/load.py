"""The datasets as arrays: found or downloaded, split and normalised."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from common.data import download
from common.data.originals import (
    CONTAINER_BYTES,
    ORIGINALS,
    DataFileError,
    Original,
    idx_header,
    read_known,
    read_npz,
)
from common.errors import UserError

DATASETS_FOLDER = Path(__file__).resolve().parents[2] / "datasets"


class _NotFoundError(UserError):
    """No files of the dataset where nobody promised any, and none could be downloaded."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Images uint8 (n, 28, 28), 0 black to 255 white, and labels uint8 (n,), 0 to 9."""

    name: str  # "mnist" or "fashion_mnist"
    title: str  # "MNIST", "Fashion-MNIST"; ends in "(rendered)" for stand-ins
    class_names: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray = field(default_factory=lambda: np.zeros((0, 28, 28), np.uint8))
    validation_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str  # the folder or file it was read from, for people
    fingerprint: str  # SHA-256 of the four IDX files' SHA-256: the same whatever the container
    rendered: bool
    seconds: float = 0  # that loading took

    def split(self, validation: float, seed: int, images: int | str = "all") -> Dataset:
        """This dataset, as loaded, with the share `validation` of its training set held out.

        With a number of `images`, only so many of the training set are used for both parts. Each
        class gives its share, to within one image; the same seed always gives the same images.
        Both parts keep their order. Raises ValueError for a share outside [0, 1), and UserError
        for one that leaves no image to train on, or for more images than there are.
        """
        if not 0 <= validation < 1:
            raise ValueError(f"validation is {validation}; it must be at least 0 and below 1")
        if images == "all" and not validation:
            return self  # the images once in memory, not twice
        labels, used = self.train_labels, np.arange(len(self.train_labels))
        if images != "all":
            if images > len(labels):
                raise UserError(f"--images {images} is more than the {len(labels)} there are")
            used = _stratified_indices(labels, images / len(labels), seed)
        held_out = _stratified_indices(labels[used], validation, seed)
        if len(held_out) == len(used):
            raise UserError(f"--validation {validation} leaves no image to train on: lower it")
        training, held_out = np.delete(used, held_out), used[held_out]
        return replace(
            self,
            train_images=self.train_images[training],
            train_labels=labels[training],
            validation_images=self.train_images[held_out],
            validation_labels=labels[held_out],
        )


def _stratified_indices(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Indices of `share` of the labels, ascending, each class in proportion: int64 (n,).

    The total is round(share * n); the images that rounding each class down leaves over go to the
    classes that lost the most by it (the largest remainder method).
    """
    classes, counts = np.unique(labels, return_counts=True)
    exact = share * counts
    takes = np.floor(exact).astype(np.int64)
    left_over = round(share * len(labels)) - takes.sum()
    takes[np.argsort(takes - exact, kind="stable")[:left_over]] += 1
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:take]
        for label, take in zip(classes, takes, strict=True)
    ]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def normalise(images: np.ndarray) -> np.ndarray:
    """Pixels between 0 and 1: float32 of the same shape as `images`, uint8 (n, 28, 28).

    The very numbers of `keras.layers.Rescaling(1 / 255)`, which multiplies where others divide.
    Raises ValueError for pixels that are not uint8, so that nobody normalises twice.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"pixels are {images.dtype}; only uint8 pixels are to be normalised")
    return images.astype(np.float32) * np.float32(1 / 255)


def load(
    name: str,
    data: str = "auto",
    data_dir: str | Path | None = None,
    quiet: bool = False,
) -> Dataset:
    """The dataset `name` ("mnist" or "fashion_mnist") with an empty validation part.

    Looked for in `data_dir`, or else the folder MNIST_DATA_DIR names, or else `datasets/` beside
    the scripts, then the Keras cache; then downloaded into the Keras cache. Every file is
    verified by its SHA-256 before a byte of it is used.

    data: "auto" falls back on rendered stand-ins, with a warning on stderr; "real" raises
    UserError instead; "rendered" touches neither files nor network.
    quiet: do not print which files are downloaded.
    Raises UserError, in one line, for files that are damaged or missing where the user said they
    are: those are never skipped, never deleted.
    """
    if name not in ORIGINALS:
        raise ValueError(f"name is {name!r}; it must be one of {', '.join(ORIGINALS)}")
    if data not in ("auto", "real", "rendered"):
        raise ValueError(f'data is {data!r}; it must be "auto", "real" or "rendered"')
    began = time.perf_counter()
    say = (lambda line: None) if quiet else print
    try:
        dataset = _render(name) if data == "rendered" else _real(name, data_dir, say)
    except _NotFoundError as error:
        if data == "real":
            raise
        _warn_of_rendered(name, error)
        dataset = _render(name)
    return replace(dataset, seconds=time.perf_counter() - began)


def _real(name: str, data_dir: str | Path | None, say: Callable[[str], object]) -> Dataset:
    """The real dataset; UserError as `load` says."""
    arrays, source = _find(name, data_dir, say)
    original = ORIGINALS[name]
    # The files' own fingerprints have just been verified: no need to hash 55 MB again.
    fingerprint = _fingerprint(known.sha256 for known in original.files)
    return _dataset(name, original.title, arrays, source, fingerprint)


def _dataset(
    name: str, title: str, arrays: tuple[np.ndarray, ...], source: str, fingerprint: str
) -> Dataset:
    """The dataset of the four `arrays`, in the order of `Original.files`."""
    train_images, train_labels, test_images, test_labels = arrays
    original = ORIGINALS[name]
    return Dataset(
        name=name,
        title=title,
        class_names=original.class_names,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source=source,
        fingerprint=fingerprint,
        rendered=title != original.title,
    )


def _fingerprint(sha256s: Iterable[str]) -> str:
    """SHA-256 over the hexadecimal SHA-256 of the four uncompressed IDX files, in fixed order."""
    return hashlib.sha256("".join(sha256s).encode()).hexdigest()


def _render(name: str) -> Dataset:
    """Stand-ins for the dataset, fingerprinted as if they lay in IDX files."""
    from common.data.synthetic import render  # draws with matplotlib, which takes long to import

    arrays = render(name, seed=0)
    sha256s = [hashlib.sha256(idx_header(a.shape) + a.tobytes()).hexdigest() for a in arrays]
    title = f"{ORIGINALS[name].title} (rendered)"
    return _dataset(name, title, arrays, "common/rendered.py, seed 0", _fingerprint(sha256s))


def _warn_of_rendered(name: str, error: Exception) -> None:
    """Say on stderr, where no --quiet hides it, that the numbers will not be the dataset's."""
    frame = "!" * 78
    title = ORIGINALS[name].title
    lines = [
        f"THIS IS NOT {title.upper()}. The run goes on with images that this program draws.",
        f"No accuracy it prints says anything about {title}.",
        f"Why: {error}",
        "To stop here instead of going on: --data real",
    ]
    text = "\n".join(f"!! {line}" for line in lines)
    print(f"\n{frame}\n{text}\n{frame}\n", file=sys.stderr, flush=True)


# Where the files are

Found = tuple[tuple[np.ndarray, ...], str]  # the arrays, as in Original.files, and their source


def _find(name: str, data_dir: str | Path | None, say: Callable[[str], object]) -> Found:
    """The four verified arrays and where they came from; UserError as `load` says."""
    original = ORIGINALS[name]
    if data_dir is not None:
        return _read_given(Path(data_dir), "--data-dir", original)
    if folder := os.environ.get("MNIST_DATA_DIR"):
        return _read_given(Path(folder), "MNIST_DATA_DIR", original)
    if found := _read_folder(DATASETS_FOLDER, original) or _read_caches(original):
        return found
    try:
        return _download(name, say)
    except download.DownloadError as error:
        raise _NotFoundError(
            f"{original.title} is neither in {DATASETS_FOLDER} nor in the Keras cache, and the "
            f"download failed ({error}); put {_wanted(original)} into "
            f"{DATASETS_FOLDER / original.folders[0]} or name their folder with --data-dir"
        ) from error


def _read_given(folder: Path, origin: str, original: Original) -> Found:
    """The dataset in the folder that the user named, by way of `origin`; UserError without it."""
    with suppress(RuntimeError):  # "~nobody": no such folder then, as it stands
        folder = folder.expanduser()
    if found := _read_folder(folder, original):
        return found
    readable = os.access(folder, os.R_OK | os.X_OK)
    state = f"holds no {original.title}" if readable else "is not a folder that can be read"
    raise UserError(f"{folder}, from {origin}, {state}; expected {_wanted(original)} in it")


def _wanted(original: Original) -> str:
    """The files to look for, for messages."""
    names = ", ".join(known.name for known in original.files)
    npz = f" or {original.npz}" if original.npz else ""
    return f"the four files {names} (plain or .gz){npz}"


def _places(folder: Path, original: Original) -> Iterator[tuple[Path, list[Path | None]]]:
    """Where in `folder` the dataset may lie, each with its four IDX files (None: missing)."""
    for place in (*(folder / name for name in original.folders), folder):
        paths = ([place / name for name in known.spellings] for known in original.files)
        yield place, [next(filter(_is_file, spellings), None) for spellings in paths]


def _is_file(path: Path) -> bool:
    """Whether there is such a file; False also in a folder that may not be entered."""
    try:
        return path.is_file()
    except OSError:
        return False


def _copies(folder: Path, original: Original) -> Iterator[list[Path]]:
    """Each complete copy of the dataset in `folder`: four IDX files, or one .npz."""
    for place, paths in _places(folder, original):
        if None not in paths:
            yield paths
        elif original.npz and _is_file(place / original.npz):
            yield [place / original.npz]


def _read_copy(paths: list[Path], original: Original) -> Found:
    """The four arrays in `paths`, a copy from `_copies`, and their source; DataFileError."""
    if len(paths) == 1:
        return read_npz(paths[0], original), str(paths[0])
    arrays = tuple(read_known(*pair) for pair in zip(paths, original.files, strict=True))
    return arrays, str(paths[0].parent)


def _read_folder(folder: Path, original: Original) -> Found | None:
    """The dataset in a folder that the user filled; None if not one file of it is there.

    Raises UserError naming what is damaged or missing: a person put the files there to be used.
    """
    for paths in _copies(folder, original):
        try:
            return _read_copy(paths, original)
        except DataFileError as error:
            what_to_do = "replace the file or take it away"
            raise DataFileError(error.path, f"{error.problem}; {what_to_do}") from error
    for place, paths in _places(folder, original):
        missing = [k.name for k, path in zip(original.files, paths, strict=True) if path is None]
        if len(missing) < len(paths):
            raise UserError(f"{place} lacks {', '.join(missing)} (plain or .gz); add them")
    return None


def _read_caches(original: Original) -> Found | None:
    """The first good copy in Keras's caches; warns of damaged ones, which a download replaces."""
    for folder in download.keras_caches():
        for paths in _copies(folder, original):
            try:
                return _read_copy(paths, original)
            except DataFileError as error:
                print(f"warning: not used: {error}", file=sys.stderr, flush=True)
    return None


def _download(name: str, say: Callable[[str], object]) -> Found:
    """The dataset from the first source that has it, now in the Keras cache; DownloadError."""
    cache = download.writable_cache()
    problems = []
    for source in download.SOURCES[name]:
        try:
            return _download_from(source, cache, ORIGINALS[name], say)
        # One failure is enough to leave a source: a dead host must not be waited for four times.
        except (download.DownloadError, DataFileError) as error:
            problem = error.problem if isinstance(error, DataFileError) else error
            problems.append(f"{urlsplit(source).netloc}: {problem}")
    raise download.DownloadError("; ".join(problems))


def _download_from(
    source: str, cache: Path, original: Original, say: Callable[[str], object]
) -> Found:
    """The four arrays from one of `download.SOURCES`; DownloadError, or DataFileError if wrong."""
    if not source.endswith("/"):
        place = cache / original.npz
        limit = sum(known.size for known in original.files) + CONTAINER_BYTES
        check = partial(read_npz, original=original)
        return download.fetch(source, place, limit, check, say), str(place)
    arrays = []
    for known in original.files:
        place = cache / original.folders[0] / f"{known.name}.gz"
        try:
            arrays.append(read_known(place, known))  # kept from an earlier, interrupted download
        except DataFileError:
            check = partial(read_known, known=known)
            limit = known.size + CONTAINER_BYTES
            arrays.append(download.fetch(source + place.name, place, limit, check, say))
    return tuple(arrays), str(cache / original.folders[0])
