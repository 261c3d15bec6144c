"""The readers of IDX and .npz files against bytes made by hand, and against damaged ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from test_data import FILES, NPZ_KEYS, tiny_arrays, tiny_files, tiny_npz, tiny_original
from test_data import tiny as tiny

from common.data.originals import DataFileError, KnownFile, Original, read_idx, read_npz

# Two images of 2 x 1 pixels.
BY_HAND = b"\x00\x00\x08\x03" + b"\x00\x00\x00\x02" * 2 + b"\x00\x00\x00\x01" + b"\x01\x02\x03\xff"
KNOWN = KnownFile("MNIST", "images", (2, 2, 1), hashlib.sha256(BY_HAND).hexdigest())
ORIGINAL = tiny_original("mnist")


def problem_of(path: Path, known: KnownFile | Original) -> str:
    """Why a file is refused, which must be said in one line that names it."""
    with pytest.raises(DataFileError) as caught:
        read_idx(path, known) if isinstance(known, KnownFile) else read_npz(path, known)
    assert str(caught.value) == f"{path}: {caught.value.problem}"
    assert "\n" not in str(caught.value)
    return caught.value.problem


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Fail where more memory is taken than the tiny files need."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20  # bytes


# IDX


@pytest.mark.parametrize("content", [BY_HAND, gzip.compress(BY_HAND)], ids=["plain", "gzip"])
def test_idx_of_bytes_made_by_hand(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    array = read_idx(tmp_path / "file", KNOWN)
    np.testing.assert_array_equal(array, np.array([[[1], [2]], [[3], [255]]], np.uint8))
    assert array.dtype == np.uint8
    assert array.flags.writeable  # PyTorch warns of arrays that are not


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not an IDX file"),
        (b"<html>", "is not an IDX file"),
        (BY_HAND.replace(b"\x08\x03", b"\x0d\x03"), "is not an IDX file"),  # float32
        (BY_HAND[:7], "is truncated"),
        (BY_HAND[:-1], "is truncated"),
        (BY_HAND + b"\x00", "is too long"),
        (BY_HAND[:-1] + b"\x00", "is damaged (SHA-256 "),
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + BY_HAND[-4:], "is damaged (SHA-256 "),
    ],
)
def test_other_bytes_are_refused_with_the_reason(tmp_path, content, problem):
    for form in (content, gzip.compress(content)):
        (tmp_path / "file").write_bytes(form)
        said = problem_of(tmp_path / "file", KNOWN)
        assert said.startswith(problem)
        assert said.endswith("; expected MNIST's images, 20 bytes")


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        assert problem_of(path, KNOWN).startswith("cannot be read, or is damaged: ")


def test_the_other_originals_are_recognised(tmp_path, tiny):
    path, known = tmp_path / "file", ORIGINAL.files[0]
    path.write_bytes(gzip.compress(tiny_files("fashion_mnist")[FILES[0]]))
    expected = f"expected MNIST's {FILES[0]}, 15,696 bytes"
    assert problem_of(path, known) == f"is Fashion-MNIST's {FILES[0]}; {expected}"
    path.write_bytes(tiny_files("mnist")[FILES[2]])
    assert problem_of(path, known) == f"is MNIST's {FILES[2]}; {expected}"


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """One damaged variant of an IDX file's content, as the file would lie on disk."""
    header, kind = 4 + 4 * content[3], generator.integers(9)
    changed = bytearray(content)
    if kind == 0:  # truncated before compression
        changed = changed[: generator.integers(len(content))]
    elif kind == 1:  # a wrong magic number
        changed[generator.integers(4)] ^= generator.integers(1, 256)
    elif kind == 2:  # wrong counts, huge ones among them
        place = 4 * generator.integers(1, header // 4)
        changed[place : place + 4] = generator.bytes(4)
    elif kind == 3:  # another pixel
        changed[generator.integers(header, len(content))] ^= 1 << generator.integers(8)
    elif kind == 4:  # more than belongs there
        changed += generator.bytes(generator.integers(1, 2000))
    compressed = bytearray(gzip.compress(bytes(changed), 1))
    if kind == 5:  # truncated after compression
        compressed = compressed[: generator.integers(len(compressed))]
    elif kind == 6:  # a flipped bit in the container
        compressed[generator.integers(len(compressed))] ^= 1 << generator.integers(8)
    elif kind == 7:  # not gzip, not IDX
        compressed = bytearray(generator.bytes(generator.integers(1, 500)))
    elif kind == 8:  # garbage after the end
        compressed += generator.bytes(generator.integers(1, 50))
    return bytes(changed if generator.random() < 0.3 and kind < 5 else compressed)


@pytest.mark.parametrize("tries", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_damaged_idx_files_are_named_or_read_exactly(tmp_path, tries):
    generator, path = np.random.default_rng(1), tmp_path / "file"
    refused = 0
    for _ in range(tries):
        index = generator.integers(4)
        path.write_bytes(damaged(tiny_files("mnist")[FILES[index]], generator))
        try:
            with bounded_memory():
                array = read_idx(path, ORIGINAL.files[index])
            np.testing.assert_array_equal(array, tiny_arrays("mnist")[index])
        except DataFileError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
    # A few flipped bits lie in gzip's time stamp and the like, and harm nothing.
    assert 0.9 * tries < refused < tries


@pytest.mark.parametrize("declared", ["honest", "four billion"])
def test_a_gzip_bomb_is_refused_before_it_fills_memory(tmp_path, declared):
    count = 20 if declared == "honest" else 2**32 - 1
    with gzip.open(tmp_path / "file", "wb", 1) as file:
        file.write(b"\x00\x00\x08\x03" + struct.pack(">3I", count, 28, 28))
        for _ in range(100):
            file.write(bytes(1 << 20))
    with bounded_memory():
        assert problem_of(tmp_path / "file", ORIGINAL.files[0]).startswith("is too long; expected ")


# mnist.npz


def npz_with(**replaced: np.ndarray | None) -> bytes:
    """The tiny mnist.npz with other arrays in some places, or none."""
    arrays = dict(zip(NPZ_KEYS, tiny_arrays("mnist"), strict=True))
    buffer = io.BytesIO()
    np.savez(buffer, **{k: v for k, v in (arrays | replaced).items() if v is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("replaced", "problem"),
    [
        ({"x_train": np.zeros((20, 28, 27), np.uint8)}, "is truncated; expected MNIST's train-im"),
        ({"x_train": np.zeros((21, 28, 28), np.uint8)}, "is too long; expected MNIST's train-im"),
        ({"x_train": np.zeros((20, 28, 28), np.float64)}, "x_train.npy unpacks to 125,568 bytes"),
        ({"y_train": np.zeros(20, np.float32)}, "is too long; expected MNIST's train-labels"),
        ({"y_train": np.zeros((20, 0, 2**33), np.uint8)}, "mnist.npz"),  # NumPy's versions differ
        ({"y_test": None}, "no item named 'y_test.npy'"),
        ({"x_test": np.zeros((10, 28, 28), np.uint8)}, "is damaged (SHA-256 "),
    ],
)
def test_an_npz_with_other_contents_is_refused(tmp_path, replaced, problem):
    (tmp_path / "mnist.npz").write_bytes(npz_with(**replaced))
    path = tmp_path / "mnist.npz"
    assert problem in f"{path}: {problem_of(path, ORIGINAL)}"


@pytest.mark.parametrize("tries", [100, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::UserWarning")  # NumPy's, of headers that Python 2 wrote
def test_damaged_npz_files_are_named_or_read_exactly(tmp_path, tries):
    generator, path, good = np.random.default_rng(2), tmp_path / "mnist.npz", tiny_npz()
    refused = 0
    for _ in range(tries):
        bad = bytearray(good)
        if generator.random() < 0.2:
            bad = bad[: generator.integers(len(bad))]
        else:
            # Half of the hits in the zip directory at the end, where the declarations are.
            start = generator.choice([0, len(bad) - 300])
            for place in generator.integers(start, len(bad), generator.integers(1, 4)):
                bad[place] = generator.integers(256)
        path.write_bytes(bad)
        try:
            for array, expected in zip(read_npz(path, ORIGINAL), tiny_arrays("mnist"), strict=True):
                np.testing.assert_array_equal(array, expected)
        except DataFileError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
    assert 0.6 * tries < refused < tries


@pytest.mark.parametrize("offset", [10**6, 2**32 - 2])
def test_an_npz_whose_directory_points_outside_the_file_is_refused(tmp_path, offset):
    content = bytearray(tiny_npz())
    entry = content.index(b"PK\x01\x02")
    content[entry + 42 : entry + 46] = struct.pack("<I", offset)
    (tmp_path / "mnist.npz").write_bytes(content)
    assert "or is damaged: " in problem_of(tmp_path / "mnist.npz", ORIGINAL)


class Trap:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("key", ["x_train", "y_train"])
def test_a_pickle_is_refused_and_not_unpickled(tmp_path, key):
    (tmp_path / "mnist.npz").write_bytes(npz_with(**{key: np.array([Trap(tmp_path / "sprung")])}))
    assert "Object arrays cannot be loaded" in problem_of(tmp_path / "mnist.npz", ORIGINAL)
    assert not (tmp_path / "sprung").exists()
    with np.load(tmp_path / "mnist.npz", allow_pickle=True) as trap:
        trap[key]
    assert (tmp_path / "sprung").exists(), "the trap does not work: this test proves nothing"


def npz_of_one(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x_train.npy", content)


@pytest.mark.parametrize("content", [b"no array", tiny_npz(), b""], ids=["text", "zip", "nothing"])
def test_a_member_that_is_no_array_is_refused(tmp_path, content):
    npz_of_one(tmp_path / "mnist.npz", content)
    assert "or is damaged: " in problem_of(tmp_path / "mnist.npz", ORIGINAL)


def test_a_zip_bomb_is_refused_before_it_fills_memory(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "mnist.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x_train.npy", "w") as member,
    ):
        for _ in range(100):
            member.write(bytes(1 << 20))
    with bounded_memory():
        assert "x_train.npy unpacks to 104,857,600 " in problem_of(tmp_path / "mnist.npz", ORIGINAL)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_unpacks_without_bounds_is_refused(tmp_path, method):
    npz_of_one(tmp_path / "mnist.npz", bytes(10_000), method)
    with bounded_memory():
        assert "compressed in a way" in problem_of(tmp_path / "mnist.npz", ORIGINAL)


def test_a_member_that_declares_more_than_it_holds_is_refused(tmp_path):
    header = io.BytesIO()
    declared = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 28, 28)}
    np.lib.format.write_array_header_1_0(header, declared)
    npz_of_one(tmp_path / "mnist.npz", header.getvalue() + bytes(15_680))
    assert "or is damaged: " in problem_of(tmp_path / "mnist.npz", ORIGINAL)
