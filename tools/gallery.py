"""Refresh the gallery, as every run does at its end, after folders were deleted or copied."""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python tools/gallery.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.console import say
from common.errors import UserError, one_line_errors
from experiment.gallery.page import refresh
from tools.command_line import ToolParser


def main(argv: Sequence[str] = ()) -> None:
    """Write the page, and print where it is."""
    args = ToolParser("gallery", __doc__).parse_args(argv)
    with one_line_errors(args.debug):
        if not args.results_dir.is_dir():
            raise UserError(f"there is no folder {args.results_dir}: name one with --results-dir")
        say(f"open {refresh(args.results_dir)} in a browser")


if __name__ == "__main__":
    main(sys.argv[1:])
