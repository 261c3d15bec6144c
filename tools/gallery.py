"""Refresh the gallery of runs by hand, after deleting or copying run folders.

Every run refreshes it at its end.
"""

import sys
from collections.abc import Sequence

from common.errors import UserError, one_line_errors
from experiment.gallery.page import refresh
from experiment.options import ToolParser


def main(argv: Sequence[str] = ()) -> None:
    """Write the page, and print where it is."""
    parser = ToolParser("gallery", __doc__)
    args = parser.parse_args(argv)
    with one_line_errors():
        if not args.results_dir.is_dir():
            raise UserError(f"there is no folder {args.results_dir}: name one with --results-dir")
        print(f"open {refresh(args.results_dir)} in a browser")


if __name__ == "__main__":
    main(sys.argv[1:])
