"""Errors for people: one clear line and an exit status, without a traceback."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterator, Sequence


class UserError(Exception):
    """Something a person can mend: its text is one line that says what is wrong and what to do.

    `status` is the exit status: 2 for options that do not go together, 1 for the rest.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Interrupted(Exception):
    """A person or the system asked the run to stop, and what there was has been saved.

    `status` is the exit status that shells expect: 128 + the signal's number (130 for Ctrl-C).
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"stopped, exit status {status}")
        self.status = status


@contextlib.contextmanager
def one_line_errors(debug: bool = False) -> Iterator[None]:
    """Turn the errors a person can mend into one line on stderr and an exit status.

    1 for errors (2 for wrong options), 130 for Ctrl-C, 143 for SIGTERM. With `debug` errors keep
    their traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show a letter of a path should show a '?', not stop the run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        yield
    except Interrupted as stop:
        sys.exit(stop.status)
    except KeyboardInterrupt:
        print("stopped at once; what was not saved by then is lost", file=sys.stderr)
        sys.exit(130)
    except (UserError, OSError) as error:
        if debug:
            raise
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(getattr(error, "status", 1))


def suggestion(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` for the nearest known word, or an empty string."""
    nearest = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
