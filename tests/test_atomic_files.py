"""Files are whole or absent, also after a crash or a power cut, and readers trust nothing."""

import json
import os
import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, only_run

import mnist_dense
from common.errors import UserError
from common.files import (
    absolute_path,
    atomic_path,
    read_arrays,
    read_json,
    write_arrays,
    write_atomically,
    write_json,
)


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "config.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text, where bytes belong")
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_bytes(b"half of what was to be wri")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_vanished_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        write_atomically(tmp_path / "gone" / "metrics.json", b"{}")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(call, tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_atomically(path, b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(UserError, match=r"cannot write .*metrics\.json: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_all_that_a_result_stands_on_is_on_the_disk_before_it_gets_its_name(
    tiny_data, tmp_path, monkeypatch
):
    """A file's contents are flushed, the file renamed, and then its folder flushed."""
    on_disk, renamed, folders = {}, {}, []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        fsync(descriptor)
        status = os.fstat(descriptor)
        on_disk[status.st_ino] = status.st_size
        folders.append(status.st_ino)

    def watched_replace(partial, path):
        status = Path(partial).stat()
        assert on_disk.pop(status.st_ino, None) == status.st_size, f"{path} is not on the disk"
        replace(partial, path)
        renamed[Path(path)] = len(folders)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    mnist_dense.main([*QUICK, "--results-dir", str(tmp_path)])
    folder = only_run(tmp_path, "mnist_dense")
    names = {path.name for path in renamed if path.parent == folder}
    needed = "config.json history.csv metrics.json test_predictions.npz model.npz"
    assert names >= {*needed.split(), "checkpoint-1.npz", "checkpoint-2.npz"}
    if os.name != "nt":  # which has no call for it
        number = folder.stat().st_ino
        assert all(folders[renamed[path]] == number for path in renamed if path.parent == folder)


def test_json_is_read_back_and_what_it_does_not_know_becomes_text(tmp_path):
    write_json(tmp_path / "a.json", {"sizes": (64, 32), "day": date(2026, 11, 24), "é": None})
    assert read_json(tmp_path / "a.json") == {"sizes": [64, 32], "day": "2026-11-24", "é": None}


@pytest.mark.parametrize("content", [None, "", "{", "[]", "7", "\udcff", "[" * 100_000])
def test_other_than_a_json_object_is_one_line(content, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"a\.json is missing or damaged"):
        read_json(path)


def test_arrays_are_read_back(tmp_path):
    write_arrays(tmp_path / "a.npz", x=np.arange(3), y=np.float32(2))
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays["x"].tolist() == [0, 1, 2] and arrays["y"].dtype == np.float32


@pytest.mark.parametrize("damage", ["missing", "short", "empty", "pickle", "compressed", "folder"])
def test_damaged_arrays_are_one_line_and_nothing_in_them_is_executed(damage, tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, x=np.arange(1000))
    content = path.read_bytes()
    path.unlink()
    if damage == "short":
        path.write_bytes(content[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "pickle":
        np.savez(path, x=np.array([json.loads], object))
    elif damage == "compressed":  # a hundred megabytes in a small file
        np.savez_compressed(path, zeros=np.zeros(100_000_000, np.uint8))
        assert path.stat().st_size < 200_000
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(UserError, match=r"a\.npz is missing or damaged"):
        read_arrays(path)


def test_an_archive_that_declares_more_than_it_holds_is_refused(tmp_path):
    """The sizes in its table of contents, without the contents."""
    path = tmp_path / "bomb.npz"
    write_arrays(path, x=np.arange(10))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = (2**31 - 1).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size > 10**9
    with pytest.raises(UserError, match="not written by this program"):
        read_arrays(path)


def test_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_path("a/../b") == tmp_path.resolve() / "b"
    assert absolute_path("~/b") == Path.home().resolve() / "b"
    assert absolute_path("~nobody-of-that-name") == tmp_path.resolve() / "~nobody-of-that-name"
