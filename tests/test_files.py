"""The IDX reader against bytes made by hand, and against damaged ones."""

import struct

import numpy as np
import pytest
from test_data import idx_bytes

from common.data import originals as files


def test_idx_of_bytes_made_by_hand():
    labels = b"\x00\x00\x08\x01" + b"\x00\x00\x00\x03" + b"\x05\x00\xff"
    np.testing.assert_array_equal(files.parse_idx(labels), np.array([5, 0, 255], np.uint8))
    images = (
        b"\x00\x00\x08\x03" + b"\x00\x00\x00\x02" * 2 + b"\x00\x00\x00\x01" + b"\x01\x02\x03\x04"
    )
    expected = np.array([[[1], [2]], [[3], [4]]], np.uint8)
    assert files.parse_idx(images).dtype == np.uint8
    np.testing.assert_array_equal(files.parse_idx(images), expected)


@pytest.mark.parametrize(
    ("code", "form", "value"),
    [(0x09, "b", -3), (0x0B, "h", -300), (0x0C, "i", 70_000), (0x0D, "f", 1.5), (0x0E, "d", -2.5)],
)
def test_idx_of_the_other_types_is_big_endian(code, form, value):
    content = bytes([0, 0, code, 1, 0, 0, 0, 1]) + struct.pack(f">{form}", value)
    array = files.parse_idx(content)
    assert array.tolist() == [value]
    assert array.dtype.isnative


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "starts with nothing"),
        (b"<html>", "starts with 3c 68 74 6d"),
        (b"\x00\x00\x07\x01" + bytes(4), "not an IDX file"),
        (b"\x00\x00\x08\x03" + bytes(8), "truncated within its header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03ab", "truncated: 10 bytes; expected 11"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03abcd", "too long: 12 bytes; expected 11"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12 + b"pixels", "truncated"),
        (b"\x00\x00\x08\xff" + b"\x00\x00\x00\x01" * 255 + b"a", "NumPy refuses"),
    ],
)
def test_other_bytes_are_refused_with_the_reason(content, problem):
    with pytest.raises(files.DataFileError, match=problem):
        files.parse_idx(content)


def test_any_bytes_give_an_array_or_the_named_error():
    generator = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(2000):
        shape = generator.integers(0, 4, generator.integers(0, 4)).tolist()
        content = bytearray(idx_bytes(np.zeros(shape, np.uint8)))
        for place in generator.integers(0, len(content), generator.integers(0, 3)):
            content[place] = generator.integers(0, 256)
        content = content[: generator.integers(1, 2 * len(content))]
        try:
            array = files.parse_idx(content)
        except files.DataFileError:
            outcomes[False] += 1
            continue
        outcomes[True] += 1
        assert content[3] == array.ndim
        assert (
            array.astype(array.dtype.newbyteorder(">")).tobytes() == content[4 + 4 * array.ndim :]
        )
    assert min(outcomes.values()) > 500
