"""Downloads a file whole or not at all; knows nothing of what the files hold."""

import http.client
import os
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from common.console import say
from common.errors import UserError
from common.files import atomic_path

ANSWER_SECONDS = 5.0  # for name look-up, connection and first answer together
STALL_SECONDS = 10.0  # of silence in the middle of a file
CONTAINER_BYTES = 1 << 16  # what gzip or zip may add to what they hold


class DownloadError(UserError):
    """A file or a dataset could not be downloaded; the text says why in one line."""


def fetch(url: str, place: Path, size: int, check: Callable, quiet: bool = False) -> Any:
    """Download `url` to `place`, a container for `size` bytes; gives what `check(path)` returns.

    What lay at `place` stays until its successor is checked. Raises DownloadError (network, disk,
    size) or what `check` raises; no partial file is left.
    """
    if not quiet:
        say(f"downloading {url}")
    try:
        with closing(_open(url)) as response:
            content = _read(response, size + CONTAINER_BYTES)
        place.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(error).split()).removeprefix("<urlopen error ").removesuffix(">")
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += "; on macOS run 'Install Certificates.command' in Python's folder"
        raise DownloadError(reason or type(error).__name__) from error
    with atomic_path(place) as part:
        part.write_bytes(content)
        return check(part)


def keras_caches() -> list[Path]:
    """Where Keras keeps datasets, its fallback for homes that cannot be written being the last."""
    fallback = Path(tempfile.gettempdir()) / ".keras" / "datasets"
    try:
        home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
        return [home / "datasets", fallback]
    except RuntimeError:  # an account without a home, as in many containers
        return [fallback]


def writable_cache() -> Path:
    """The first of `keras_caches()` in which a file can be written, or the last."""
    *usual, fallback = keras_caches()
    for folder in usual:
        # Trying is the only sure test: permission bits do not show a read-only disk.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return fallback


def _open(url: str) -> http.client.HTTPResponse:
    """The response to GET `url`, headers read; TimeoutError after ANSWER_SECONDS without one.

    urllib's timeout does not cover the name look-up: a thread asks, and is left behind if late.
    """
    answer: Future[http.client.HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(ANSWER_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from None


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    """The body of `response`; OSError if it is too large, cut short or stalled."""
    declared, content = response.length, bytearray()
    # read1 returns what has come; read would wait for a full chunk, however slowly it drips in.
    while chunk := response.read1(1 << 16):
        content += chunk
        if len(content) > limit:
            raise OSError(f"more than the expected {limit:,} bytes")
        if declared and sys.stderr.isatty():
            end = "\n" if len(content) == declared else ""
            progress = f"\r{len(content) / declared:6.1%} of {declared / 1e6:.1f} MB"
            print(progress, end=end, file=sys.stderr, flush=True)
    if declared is not None and len(content) < declared:
        raise OSError(f"cut short: {len(content):,} of {declared:,} bytes")
    return bytes(content)
