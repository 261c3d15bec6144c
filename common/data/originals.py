"""The datasets' files: what is known of the originals, and readers that verify every byte.

MNIST (LeCun, Cortes and Burges) and Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747)
have the same form: 60,000 training and 10,000 test images of 28 x 28 grey pixels, ten classes,
in four files of the IDX format (http://yann.lecun.com/exdb/mnist/, at the end of the page).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from common.errors import UserError

CHUNK_BYTES = 1 << 20
CONTAINER_BYTES = 1 << 16  # what gzip, zip and npy headers may add to the bytes they hold

# What the third byte of an IDX file says of its elements.
IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NPZ_MEMBERS = ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy")

# All that reading damaged gzip and zip files was seen or is documented to raise.
READ_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class DataFileError(UserError):
    """A file that is damaged, truncated, of another shape or another dataset's; named in one line.

    problem: what is wrong, without the file's name.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path, self.problem = path, problem


@dataclass(frozen=True)
class KnownFile:
    """One of the four original files: uint8 of `shape`, identified by its uncompressed bytes."""

    dataset: str
    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        return idx_header(self.shape)

    @property
    def size(self) -> int:
        return len(self.header) + math.prod(self.shape)

    @property
    def spellings(self) -> tuple[str, ...]:
        """The names it goes by. The .gz comes first: that is what a download mends."""
        dotted = self.name.replace("-idx", ".idx")
        return f"{self.name}.gz", self.name, f"{dotted}.gz", dotted


@dataclass(frozen=True)
class Original:
    """What is known of a dataset before any file is read."""

    title: str
    class_names: tuple[str, ...]
    folders: tuple[str, ...]
    npz: str | None
    files: tuple[KnownFile, ...]  # training images and labels, test images and labels


def _original(
    title: str,
    class_names: tuple[str, ...],
    folders: tuple[str, ...],
    npz: str | None,
    fingerprints: tuple[str, str, str, str],
) -> Original:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    files = tuple(
        KnownFile(title, f"{name}-ubyte", shape, fingerprint)
        for name, shape, fingerprint in zip(names, shapes, fingerprints, strict=True)
    )
    return Original(title, class_names, folders, npz, files)


ORIGINALS = {
    "mnist": _original(
        title="MNIST",
        class_names=tuple("0123456789"),
        folders=("mnist",),
        npz="mnist.npz",
        fingerprints=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": _original(
        title="Fashion-MNIST",
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        folders=("fashion-mnist", "fashion_mnist"),
        npz=None,
        fingerprints=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def parse_idx(content: bytes | bytearray, path: str | Path = "IDX data") -> np.ndarray:
    """The array in an uncompressed IDX file's bytes, in this machine's byte order.

    The format: two zero bytes, one for the type, one for the number of dimensions, each dimension
    as a big-endian uint32, then the elements, last dimension fastest.
    path: what to call it in errors.
    Raises DataFileError for all other bytes.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_DTYPES:
        start = bytes(content[:4]).hex(" ") or "nothing"
        raise DataFileError(path, f"is not an IDX file: it starts with {start}")
    dtype, dimensions = np.dtype(IDX_DTYPES[content[2]]), content[3]
    offset = 4 + 4 * dimensions
    if len(content) < offset:
        raise DataFileError(path, "is truncated within its header")
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    size = offset + math.prod(shape) * dtype.itemsize
    if len(content) != size:
        wrong = "truncated" if len(content) < size else "too long"
        raise DataFileError(path, f"is {wrong}: {len(content):,} bytes; expected {size:,}")
    try:
        array = np.frombuffer(content, dtype, offset=offset).reshape(shape)
    except ValueError as error:
        raise DataFileError(path, f"has a shape that NumPy refuses: {error}") from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of the IDX file of a uint8 array of this shape."""
    return struct.pack(f">HBB{len(shape)}I", 0, 0x08, len(shape), *shape)


def _read_bytes(path: str | Path, limit: int) -> bytearray:
    """The first limit + 1 bytes of a file, uncompressed if it is gzip; DataFileError."""
    try:
        with Path(path).open("rb") as file:
            # By content, not by name: browsers unpack a .gz and leave the name, or the reverse.
            compressed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            return _read_stream(gzip.GzipFile(fileobj=file) if compressed else file, limit)
    except READ_ERRORS as error:
        raise DataFileError(path, f"cannot be read, or is damaged: {error}") from error


def _read_stream(stream: IO[bytes], limit: int) -> bytearray:
    """The first limit + 1 bytes of `stream`, in small steps: memory for what is there, no more."""
    content = bytearray()
    while chunk := stream.read(min(CHUNK_BYTES, limit + 1 - len(content))):
        content += chunk
    return content


def read_known(path: Path, known: KnownFile) -> np.ndarray:
    """The array in the IDX file at `path`, which is `known` to the byte; DataFileError if not."""
    return _verify(_read_bytes(path, known.size), known, path)


def read_npz(path: Path, original: Original) -> tuple[np.ndarray, ...]:
    """The four arrays in Keras's mnist.npz, the originals to the byte; DataFileError if not.

    NumPy's own reader is not asked: the fingerprint tells right bytes from wrong ones, so neither
    the header of a member nor a pickle in it needs to be understood.
    """
    arrays = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member, known in zip(NPZ_MEMBERS, original.files, strict=True):
                content = _read_member(archive, member, known, path)
                arrays.append(_verify(content, known, f"{path} ({member})"))
    except READ_ERRORS as error:
        raise DataFileError(path, f"cannot be read, or is damaged: {error}") from error
    return tuple(arrays)


def _read_member(archive: zipfile.ZipFile, member: str, known: KnownFile, path: Path) -> bytearray:
    """An .npy member as if it came from an IDX file: the `known` header, then the elements."""
    if member not in archive.namelist():
        raise DataFileError(path, f"lacks {member}")
    info = archive.getinfo(member)
    size = math.prod(known.shape)
    if not size < info.file_size <= size + CONTAINER_BYTES:
        expected = f"expected uint8 {known.shape}, {size:,} and a header"
        raise DataFileError(path, f"{member} has {info.file_size:,} bytes; {expected}")
    # bz2 and lzma members would be unpacked in steps of unlimited size.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataFileError(path, f"{member} is compressed in a way that NumPy never does")
    with archive.open(info) as stream:
        content = _read_stream(stream, size + CONTAINER_BYTES)
    content[:-size] = known.header
    return content


def _verify(content: bytes | bytearray, known: KnownFile, path: Path | str) -> np.ndarray:
    """The array in the bytes of an IDX file that must be `known`; DataFileError says why not."""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 == known.sha256:
        return parse_idx(content, path)
    expected = f"expected {known.dataset}'s {known.name}, {known.size:,} bytes"
    for original in ORIGINALS.values():
        for other in original.files:
            if sha256 == other.sha256:
                raise DataFileError(path, f"is {other.dataset}'s {other.name}; {expected}")
    if len(content) > known.size:
        raise DataFileError(path, f"is too long; {expected}")
    array = parse_idx(content, path)
    if (array.dtype, array.shape) != (np.uint8, known.shape):
        raise DataFileError(path, f"holds {array.dtype} {array.shape}; {expected}")
    raise DataFileError(path, f"is damaged: SHA-256 {sha256[:8]}..., not {known.sha256[:8]}...")
