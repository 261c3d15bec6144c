"""What is known of the two datasets' files, and readers that verify every byte.

MNIST (LeCun, Cortes and Burges) and Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747)
have the same form: four files of the IDX format (http://yann.lecun.com/exdb/mnist/, at the end).
"""

import gzip
import hashlib
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError

KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"  # where Keras downloads
NPZ_MEMBERS = ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy")


class DataFileError(UserError):
    """A file that is not the original; `problem` says why, without the file's name."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.problem = problem


@dataclass(frozen=True)
class KnownFile:
    """One of the four original files: uint8 of `shape`, identified by its uncompressed bytes."""

    dataset: str
    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the uncompressed file."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)

    @property
    def spellings(self) -> tuple[str, ...]:
        """The names it goes by. The .gz comes first: that is what a download replaces."""
        dotted = self.name.replace("-idx", ".idx")
        return f"{self.name}.gz", self.name, f"{dotted}.gz", dotted


@dataclass(frozen=True)
class Original:
    """What is known of a dataset before any file is read."""

    title: str
    class_names: tuple[str, ...]
    folders: tuple[str, ...]  # where its files may lie; a download uses the first
    npz: str | None  # Keras's name for all four arrays in one file
    # A source that ends in "/" holds the four files, gzip-compressed; any other is the .npz file.
    # Plain http is safe: a file counts only after its SHA-256 is found to be the original's.
    sources: tuple[str, ...]
    files: tuple[KnownFile, ...]  # training images and labels, test images and labels

    @property
    def wanted(self) -> str:
        """The files that a folder must hold, for messages."""
        npz = f" or {self.npz}" if self.npz else ""
        return f"the four files {', '.join(f.name for f in self.files)} (plain or .gz){npz}"


def _files(dataset: str, *sha256s: str) -> tuple[KnownFile, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    return tuple(
        KnownFile(dataset, f"{name}-ubyte", shape, sha256)
        for name, shape, sha256 in zip(names, shapes, sha256s, strict=True)
    )


ORIGINALS = {
    "mnist": Original(
        title="MNIST",
        class_names=tuple("0123456789"),
        folders=("mnist",),
        npz="mnist.npz",
        sources=(f"{KERAS}mnist.npz", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
        files=_files(
            "MNIST",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": Original(
        title="Fashion-MNIST",
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        folders=("fashion-mnist", "fashion_mnist"),
        npz=None,
        sources=(KERAS, "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
        files=_files(
            "Fashion-MNIST",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def idx_bytes(array: np.ndarray) -> bytes:
    """The uncompressed IDX file of a uint8 array."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def read_idx(path: Path, known: KnownFile) -> np.ndarray:
    """The array in the IDX file at `path`, gzip or not; DataFileError if it is not `known`."""
    try:
        with path.open("rb") as file:
            # By content, not by name: browsers unpack a .gz and leave the name, or the reverse.
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            content = (gzip.GzipFile(fileobj=file) if compressed else file).read(known.size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFileError(path, f"cannot be read, or is damaged: {error}") from error
    return _verified(content, known, path)


def read_npz(path: Path, original: Original) -> tuple[np.ndarray, ...]:
    """The four arrays in Keras's mnist.npz; DataFileError if they are not the original's."""
    contents = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member, known in zip(NPZ_MEMBERS, original.files, strict=True):
                info = archive.getinfo(member)
                if info.file_size > known.size + 10_000:  # NumPy's own limit for the header
                    raise ValueError(f"{member} unpacks to {info.file_size:,} bytes")
                # zipfile unpacks bz2 and lzma in steps of unlimited size.
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{member} is compressed in a way that NumPy never uses")
                with archive.open(info) as stream:
                    contents.append(idx_bytes(np.load(stream, allow_pickle=False)))
    except Exception as error:  # whatever a damaged file makes zipfile and NumPy raise
        raise DataFileError(path, f"cannot be read, or is damaged: {error}") from error
    return tuple(_verified(*pair, path) for pair in zip(contents, original.files, strict=True))


def _verified(content: bytes, known: KnownFile, path: Path) -> np.ndarray:
    """The array in the bytes of an IDX file that must be `known`; DataFileError says why not."""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 == known.sha256:
        array = np.frombuffer(content, np.uint8)[-math.prod(known.shape) :]
        return array.reshape(known.shape).copy()  # writable, as PyTorch wants it
    known_files = {file.sha256: file for original in ORIGINALS.values() for file in original.files}
    if other := known_files.get(sha256):
        problem = f"is {other.dataset}'s {other.name}"
    elif not content.startswith(b"\0\0\x08"):
        problem = "is not an IDX file"
    elif len(content) != known.size:
        problem = "is too long" if len(content) > known.size else "is truncated"
    else:
        problem = f"is damaged (SHA-256 {sha256[:8]}..., not {known.sha256[:8]}...)"
    expected = f"expected {known.dataset}'s {known.name}, {known.size:,} bytes"
    raise DataFileError(path, f"{problem}; {expected}")
