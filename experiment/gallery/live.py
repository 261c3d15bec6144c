"""The gallery while a run is under way: written anew every few seconds, and opened by `--show`."""

import contextlib
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from common.console import warn
from experiment.gallery.page import refresh
from experiment.runs.folder import MARKER

INTERVAL, LONGEST = 2, 60  # seconds from page to page; gallery.html expects one within 150
FRACTION = 0.01  # of a processor, which writing the page may take


@contextlib.contextmanager
def kept_live(folder: Path, opened: bool) -> Iterator[None]:
    """Let a thread keep the gallery up to date with the run in `folder`; show the page if asked."""
    if opened:
        open_page(folder.parent.parent)
    over = threading.Event()
    thread = threading.Thread(target=keep_writing, args=(folder, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def keep_writing(folder: Path, over: threading.Event) -> None:
    """Write the gallery again and again, until it is `over`."""
    pause = 0
    while not over.wait(pause):
        began = time.thread_time()
        with contextlib.suppress(Exception):  # the page at the run's end warns
            for mark in folder.rglob(MARKER):
                os.utime(mark)  # a sign of life, which a killed run no longer gives
            refresh(folder.parent.parent, reports=False)
        pause = min(max(INTERVAL, (time.thread_time() - began) / FRACTION), LONGEST)


def open_page(results: Path) -> None:
    """Show the gallery: below the cell of a notebook, or in a browser if there is a screen."""
    try:
        page = refresh(results, reports=False)
        if "ipykernel" in sys.modules:
            from IPython.display import IFrame, display

            display(IFrame(os.path.relpath(page), "100%", 600))
        elif not open_in_browser(page):
            raise RuntimeError("there is no screen, or no browser")
    except Exception as error:
        warn(f"cannot show the runs under way: {error}")


def open_in_browser(page: Path) -> bool:
    """Open a page if there is a screen (a browser of the terminal may block); True if it opened."""
    screen = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}
    return bool(screen) and webbrowser.open(page.as_uri())
