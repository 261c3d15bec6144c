"""What is printed never ends a run, and never writes more than text on a terminal."""

import io
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from common.console import Stream, printable, say, standard_streams, warn

PROGRAM = """
import os
from common.console import say
from common.errors import one_line_errors
with one_line_errors():
    assert os.open(os.devnull, os.O_WRONLY) > 2  # what C libraries print goes into no file
    for number in range(1000):
        say(f"line {number}")
    print("by another library", flush=True)
    with open("result", "w") as file:
        file.write("whole")
"""


def test_lines_are_escaped_and_a_warning_is_one_line(capsys):
    say("a\x1b[31m\nforged", "Zürich · 99 %")
    warn("two\n  lines\x07")
    printed = capsys.readouterr()
    assert printed.out == "a\\x1b[31m\\nforged\nZürich · 99 %\n"
    assert printed.err == "warning: two lines\\x07\n"
    assert printable("caf\udce9\x9b2J\u202e") == "caf\\udce9\\x9b2J\\u202e"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "| head -1"])
@pytest.mark.skipif(sys.platform != "linux", reason="needs a shell and /dev/full")
def test_streams_that_are_closed_full_or_not_read_stop_nothing(redirection, tmp_path):
    command = f'set -o pipefail; "{sys.executable}" -c "$PROGRAM" {redirection}'
    environment = {"PYTHONPATH": str(REPOSITORY), "PROGRAM": PROGRAM}
    shell = ["bash", "-c", command]
    ended = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "result").read_text() == "whole"
    lines = ended.stderr.splitlines()
    lost = redirection in (">/dev/full", "| head -1")
    assert len(lines) == lost and all("standard output is lost" in line for line in lines)


def test_a_letter_that_the_console_does_not_have_is_escaped(monkeypatch):
    ascii_console = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr("sys.stdout", ascii_console)
    with standard_streams():
        say("Zürich")
    assert ascii_console.buffer.getvalue() == b"Z\\xfcrich\n"


def test_a_stream_that_python_has_closed_drops_what_is_printed():
    closed = io.StringIO()
    closed.close()
    stream = Stream(closed)
    print("nothing", file=stream, flush=True)
    assert stream.lost
