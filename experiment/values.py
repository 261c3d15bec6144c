"""Values of options: checked when they are read, written as people type them."""

import argparse
import contextlib
import re
from collections.abc import Callable, Collection

from common.errors import suggestion

# By Windows, `latest` by --resume, and the names of files that lie beside run folders.
RESERVED = r"(con|prn|aux|nul|com\d|lpt\d|latest)(\..*)?|.*\.(json|csv|md|png|html|npz|keras|py)"


def one_of(kind: str, known: Collection[str], aliases: dict[str, str] | None = None) -> Callable:
    """A check that a word is known; `aliases` are old spellings, which no message tells of."""
    spellings = {word.lower(): word for word in known} | (aliases or {})

    def check(text: str) -> str:
        if text.lower() not in spellings:
            hint = suggestion(text, list(known)) or f"; choose from {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"no {kind} named {text!r}{hint}")
        return spellings[text.lower()]

    return check


def checked(kind: Callable, allowed: Callable, wanted: str) -> Callable:
    """A check that text is a number of a kind, such as int, and an allowed one."""

    def check(text: str):
        with contextlib.suppress(ValueError):
            if allowed(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")

    return check


def whole_number(least: int, most: int = 10**9) -> Callable[[str], int]:
    """A check that text is a whole number from `least` to `most`."""
    return checked(int, lambda n: least <= n <= most, f"a whole number from {least} to {most}")


def number(below: float) -> Callable[[str], float]:
    """A check that text is a number from 0 to less than `below`."""
    return checked(float, lambda x: 0 <= x < below, f"a number at least 0 and below {below:g}")


positive = checked(float, lambda x: 0 < x < float("inf"), "a number above 0")


def count_or_all(text: str) -> int | str:
    """A number of images, or `all`."""
    return text if text == "all" else whole_number(1)(text)


def layer_sizes(text: str) -> tuple[int, ...]:
    """`256,128` as (256, 128): the units of each layer."""
    return tuple(whole_number(1, 100_000)(part) for part in text.split(","))


def run_name(text: str) -> str:
    """A name that is safe as a folder on every system, and is not `latest`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text) or text.endswith("."):
        raise argparse.ArgumentTypeError(
            f"use up to 80 letters, digits, '-', '_' and '.', starting with a letter or digit, "
            f"not {text!r}"
        )
    if re.fullmatch(RESERVED, text, re.IGNORECASE):
        raise argparse.ArgumentTypeError(f"{text!r} is reserved, choose another name")
    return text


def as_list(value) -> list:
    """The values of an option: itself if it is a list of several, or its only one."""
    return value if isinstance(value, list) else [value]


def as_typed(value) -> str:
    """A value as one types it: (64, 32), or the list that JSON makes of it, as `64,32`."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else f"{value}"


def in_words(options: dict) -> str:
    """Options and their values as people read them: `hidden 64,32, batch size 128, no flip`."""
    words = []
    for key, value in options.items():
        word = key.replace("_", " ")
        if isinstance(value, bool):
            words.append(word if value else f"no {word}")
        else:
            words.append(f"{word} {' or '.join(map(as_typed, as_list(value)))}")
    return ", ".join(words)
