"""One clear line and an exit status, without a traceback."""

import builtins
import os
import sys

import pytest

from common.errors import Interrupted, UserError, one_line_errors, suggestion

OUT_OF_MEMORY = "error: out of memory: a smaller network or batch needs less\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no luck:\n  try again"), 1, "error: no luck: try again\n"),
        (UserError("not both", status=2), 2, "error: not both\n"),
        (PermissionError(13, "Permission denied"), 1, "error: [Errno 13] Permission denied\n"),
        (Interrupted(130), 130, ""),  # which has been told already
        (KeyboardInterrupt(), 130, "stopped at once; unsaved work is lost\n"),
        (KeyboardInterrupt(15), 143, "stopped at once; unsaved work is lost\n"),  # by SIGTERM
        (MemoryError("Unable to allocate 75 GiB"), 1, OUT_OF_MEMORY),
        (RuntimeError("RESOURCE_EXHAUSTED: 75 GiB\nat 0x7"), 1, OUT_OF_MEMORY),
    ],
)
def test_an_error_is_one_line_and_a_status(error, status, line, capsys, monkeypatch):
    if isinstance(error, KeyboardInterrupt):  # which waits for nothing
        monkeypatch.setattr(os, "_exit", sys.exit)
        monkeypatch.setattr(sys, "exit", None)
    with pytest.raises(SystemExit) as leaving, one_line_errors():
        raise error
    printed = capsys.readouterr()
    assert leaving.value.code == status
    assert (printed.out, printed.err) == ("", line)


def test_in_a_notebook_it_is_the_line_alone(monkeypatch, capsys):
    """IPython would add two lines to SystemExit, and a traceback to others."""
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    for error, line in (
        (UserError("no luck"), "error: no luck"),
        (PermissionError(13, "Permission denied"), "error: [Errno 13] Permission denied"),
        (KeyboardInterrupt(), "stopped at once; unsaved work is lost"),
        (Interrupted(130), " "),
    ):
        with pytest.raises(UserError) as told, one_line_errors():
            raise error
        assert told.value._render_traceback_() == [line]
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError) as told, one_line_errors(debug=True):
        raise UserError("no luck")
    assert not hasattr(told.value, "_render_traceback_")


def test_debug_and_bugs_keep_their_traceback():
    with pytest.raises(UserError), one_line_errors(debug=True):
        raise UserError("no luck")
    with pytest.raises(ZeroDivisionError), one_line_errors():
        1 / 0  # noqa: B018


def test_a_suggestion_is_near_or_none():
    assert suggestion("rellu", ["relu", "tanh"]) == "; did you mean relu?"
    assert suggestion("xyz", ["relu", "tanh"]) == ""
