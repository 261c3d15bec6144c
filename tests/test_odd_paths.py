"""Paths of any bytes, loops of links, pipes, names that are too long, a folder that is gone."""

import os
import sys

import pytest
from conftest import QUICK
from PIL import Image
from saved_runs import save_run

import mnist_dense
from common.errors import UserError
from common.files import absolute_path, read_arrays, read_json, read_text
from experiment.gallery.page import refresh
from experiment.runs.folder import MARKER, read_config
from experiment.runs.history import read_history
from tools import gallery, predict, report

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these paths are those of POSIX")


def refused(capsys, main, *argv, lines=1):
    """What a call says that ends with status 1 and so many lines on stderr."""
    with pytest.raises(SystemExit) as leaving:
        main(list(map(str, argv)))
    error = capsys.readouterr().err
    assert leaving.value.code == 1 and error.count("\n") == lines, error
    return error


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_a_results_folder_may_have_any_bytes_in_its_name(tiny_data, tmp_path, capsys):
    results = tmp_path / os.fsdecode(b"caf\xe9")
    options = ["--results-dir", str(results)]
    run = mnist_dense.main([*QUICK, *options, "--name", "first"])
    assert read_config(run.folder)["results_dir"] == results
    mnist_dense.main(["--resume", "first", "--epochs", "3", "--figures", "none", *options])
    gallery.main(options)
    assert "caf\\udce9" in capsys.readouterr().out
    assert (results / "index.html").stat().st_size


def test_a_loop_of_links_is_one_line(tiny_data, tmp_path, capsys):
    (loop := tmp_path / "loop").symlink_to(loop)
    assert absolute_path(loop) == loop
    assert "Too many levels" in refused(capsys, mnist_dense.main, *QUICK, "--results-dir", loop)
    assert "no folder" in refused(capsys, gallery.main, "--results-dir", loop)


def test_a_working_directory_that_is_gone_is_one_line(tiny_data, tmp_path, capsys, monkeypatch):
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "No such file" in refused(capsys, mnist_dense.main, *QUICK, "--results-dir", "results")
    mnist_dense.main([*QUICK, "--results-dir", str(tmp_path), "--name", "mine"])
    assert (tmp_path / "mnist_dense" / "mine" / "metrics.json").exists()


def test_a_name_that_is_too_long_is_one_line(tiny_data, tmp_path, capsys):
    long = tmp_path / ("a" * 300)
    assert "too long" in refused(capsys, mnist_dense.main, *QUICK, "--results-dir", long)
    assert "too long" in refused(capsys, report.main, "a" * 300, "--results-dir", tmp_path)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path, capsys):
    """Reading one without a writer would never end."""
    folder = save_run(tmp_path / "mnist_cnn" / "mine")
    os.mkfifo(pipe := tmp_path / "index.html")
    with pytest.raises(UserError, match="not a gallery"):
        refresh(tmp_path)
    assert "not a file" in refused(capsys, predict.main, "mine", pipe, "--results-dir", tmp_path)
    for read in (read_json, read_arrays):
        with pytest.raises(UserError, match="is not a file"):
            read(pipe)
    with pytest.raises(OSError, match="is not a file"):
        read_text(pipe)
    for name in ("config.json", "metrics.json", "history.csv", MARKER, "script.py", "network.md"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    with pytest.raises(UserError, match="is not a file"):
        read_history(folder)
    pipe.unlink()
    assert "is not a file" in refresh(tmp_path).read_text()


def test_the_name_of_a_picture_cannot_write_on_the_terminal(tmp_path, capsys):
    save_run(tmp_path / "mnist_cnn" / "mine")
    Image.new("L", (9, 9), 255).save(picture := tmp_path / "a\x1b[31m\nforged: 9.png")
    error = refused(capsys, predict.main, "mine", picture, "--results-dir", tmp_path)
    assert "a\\x1b[31m\\nforged: 9.png: " in error
