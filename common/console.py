"""Printing that never fails: standard output and standard error, made safe."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO


def say(*lines: str, stderr: bool = False) -> None:
    """Print lines at once; control characters in them, such as those of a file's name, escaped."""
    print(*map(printable, lines), sep="\n", file=sys.stderr if stderr else sys.stdout, flush=True)


def warn(problem: str) -> None:
    """Print a warning on standard error, in one line."""
    say(f"warning: {' '.join(problem.split())}", stderr=True)


def printable(text: str) -> str:
    r"""Text in one line that a terminal shows as it is: a line feed becomes the two letters \n."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Stream:
    """A standard stream that never raises: closed, full or without a reader, it drops the text."""

    def __init__(self, stream: TextIO | None) -> None:
        """`stream` is None where it was closed before Python started."""
        self.stream, self.lost = stream or Path(os.devnull).open("w"), False  # noqa: SIM115
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for letters that it cannot encode

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self._attempt(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self.stream.flush)

    def _attempt(self, action: Callable, *arguments: str) -> None:
        try:
            action(*arguments)
        except (OSError, ValueError) as error:  # ValueError where Python has closed it
            known, self.lost = self.lost, True
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as nothing:
                os.dup2(nothing.fileno(), self.stream.fileno())  # takes what is in the buffer
            if not known and sys.stdout is self:
                warn(f"standard output is lost, and the work goes on: {error}")


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Make both standard streams a `Stream` until the block ends."""
    # The number of a closed one would go to the next file, and C libraries would write into it.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it has no home
    streams = Stream(sys.stdout), Stream(sys.stderr)
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            yield
        finally:
            for stream in streams:
                stream.flush()
