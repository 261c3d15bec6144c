"""Errors for people: one clear line and an exit status, without a traceback."""

import builtins
import contextlib
import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from common.console import say, standard_streams


class UserError(Exception):
    """What is wrong and what to do, in one line; exit status 2 for wrong options, else 1."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Interrupted(Exception):
    """A run was stopped, all of it saved; exit status 128 + the signal's number, as in shells."""

    def __init__(self, status: int) -> None:
        super().__init__(f"stopped, exit status {status}")
        self.status = status


@contextlib.contextmanager
def one_line_errors(debug: bool = False) -> Iterator[None]:
    """Turn UserError, OSError and exhausted memory into one line and a status, unless `debug`."""
    with standard_streams():
        try:
            yield
        except Interrupted as stop:
            leave("", stop.status)
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else 2  # SIGINT
            leave("stopped at once; unsaved work is lost", 128 + number, at_once=True)
        except Exception as error:
            known = isinstance(error, UserError | OSError)
            if debug or not (known or out_of_memory(error)):
                raise
            text = error if known else "out of memory: a smaller network or batch needs less"
            leave(f"error: {' '.join(str(text).split())}", getattr(error, "status", 1))


def out_of_memory(error: Exception) -> bool:
    """Whether it is what NumPy, TensorFlow, JAX or PyTorch raises where memory runs out."""
    words = "MemoryError|out of memory|RESOURCE_EXHAUSTED|OOM when|ResourceExhausted"
    return bool(re.search(words, f"{type(error).__name__} {error}"))


def leave(line: str, status: int, at_once: bool = False) -> NoReturn:
    """End with a line on stderr, or none, and an exit status; in IPython, only with the line."""
    if hasattr(builtins, "__IPYTHON__"):  # which would tell how to leave IPython
        error = UserError(line, status)
        error._render_traceback_ = lambda: [line or " "]
        raise error from None
    with standard_streams():
        if line:
            say(line, stderr=True)
    (os._exit if at_once else sys.exit)(status)  # threads of TensorFlow may never end


def suggestion(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
