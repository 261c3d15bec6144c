"""Downloads that end soon, one way or the other: a checked file in its place, or an error.

Nothing here knows what the files hold: the caller's `check` decides whether one is right.
"""

from __future__ import annotations

import http.client
import os
import queue
import ssl
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

# A source that ends in "/" holds the four IDX files, gzip-compressed; any other is one .npz file.
# Plain http is safe here: a file counts only after its SHA-256 is found to be the original's.
SOURCES = {
    "mnist": (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "fashion_mnist": (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
}

ANSWER_SECONDS = 5.0  # for name look-up, connection and first answer together
STALL_SECONDS = 10.0  # of silence in the middle of a file
GRACE_SECONDS = 10.0  # before the average speed is judged
MINIMUM_SPEED = 20_000  # bytes a second: 22 minutes for the largest file
STALE_SECONDS = 3600.0  # since a partial file was last written: its process is gone
CHUNK_BYTES = 1 << 16

Checked = TypeVar("Checked")


class DownloadError(Exception):
    """A file could not be had from its source; the text says why in one line."""


def fetch(
    url: str,
    place: Path,
    limit: int,
    check: Callable[[Path], Checked],
    say: Callable[[str], object] = print,
) -> Checked:
    """What `check` returns for the file at `url`, which then lies at `place`.

    The bytes go to `<place>.<process id>.part` first, which takes the place's name only after
    `check(part)` has returned: no reader ever sees half a file or a wrong one, and what lay at
    `place` stays until its successor is known to be good.

    url: http or https; certificates are verified.
    limit: the most bytes the file may have.
    Raises DownloadError (network, disk, size) or what `check` raises; no partial file is left.
    """
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    say(f"downloading {url}")
    try:
        with closing(_answer(url)) as response:
            place.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale_parts(place)
            with part.open("wb") as file:
                for chunk in _chunks(response, limit):
                    file.write(chunk)
        checked = check(part)
        part.replace(place)
        return checked
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(_reason(error)) from error
    finally:
        with suppress(OSError):
            part.unlink()


def keras_caches() -> list[Path]:
    """The folders where Keras keeps datasets: the usual one first, then Keras's fallback.

    `$KERAS_HOME/datasets` or `~/.keras/datasets`, then `.keras/datasets` in the folder for
    temporary files, which serves accounts without a home or with one that cannot be written.
    """
    fallback = Path(tempfile.gettempdir()) / ".keras" / "datasets"
    try:
        home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
        return [home / "datasets", fallback]
    except RuntimeError:  # an account without a home, as in many containers
        return [fallback]


def writable_cache() -> Path:
    """The first of `keras_caches()` that takes a new file, created if need be.

    Raises DownloadError when none does.
    """
    for folder in keras_caches():
        # Trying is the only sure test: permission bits do not show a read-only disk.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
    folders = " or ".join(str(folder) for folder in keras_caches())
    raise DownloadError(f"no file can be written in {folders}")


def _answer(url: str) -> http.client.HTTPResponse:
    """The response to GET `url`, headers read; TimeoutError after ANSWER_SECONDS without one.

    urllib's own timeout starts anew for each address of a host and does not cover the name
    look-up, which a firewall can hold for a minute. So a thread asks, and is left behind if late.
    """
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _chunks(response: http.client.HTTPResponse, limit: int) -> Iterator[bytes]:
    """The body of `response` piece by piece; OSError if too large, cut short, stalled or slow."""
    declared = response.length
    if declared is not None and declared > limit:
        raise OSError(f"{declared:,} bytes announced where at most {limit:,} are expected")
    received, start = 0, time.monotonic()
    # read1 returns what has come; read would wait for a full chunk, however slowly it drips in.
    while chunk := response.read1(CHUNK_BYTES):
        received += len(chunk)
        if received > limit:
            raise OSError(f"more than the expected {limit:,} bytes")
        seconds = time.monotonic() - start
        if seconds > GRACE_SECONDS and received < MINIMUM_SPEED * seconds:
            raise TimeoutError(f"too slow: {received:,} bytes in {seconds:.0f} s")
        _show_progress(received, declared)
        yield chunk
    if declared is not None and received < declared:
        raise OSError(f"cut short: {received:,} of {declared:,} bytes")


def _show_progress(received: int, declared: int | None) -> None:
    """The share received so far, rewritten in place; silent unless stderr is a terminal."""
    if declared and sys.stderr.isatty():
        end = "\n" if received == declared else ""
        share = received / declared
        print(f"\r{share:6.1%} of {declared / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)


def _remove_stale_parts(place: Path) -> None:
    """Delete partial files for `place` left by processes that were killed."""
    for part in place.parent.glob(f"{place.name}.*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()


def _reason(error: Exception) -> str:
    """One line for `error`, without urllib's wrapping."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error}; on macOS run 'Install Certificates.command' in Python's folder"
    return " ".join(str(error).split()) or type(error).__name__
