"""Draw the figures of a finished run again, from its saved numbers and its saved model.

RUN is `latest`, a folder, a name, or script/name. Of a sweep, and of several seeds, every run's
figures are drawn, and those that compare them.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError, one_line_errors
from common.files import read_json
from experiment.options import FIGURES, ToolParser, one_of
from experiment.runs.saved import SavedRun, find_run, read_run


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options in `argv`."""
    parser = ToolParser("report", __doc__)
    parser.add_argument("run", metavar="RUN", help="which run")
    parser.add_argument(
        "--figures",
        type=one_of("choice of figures", FIGURES[:-1]),
        default="all",
        metavar="WHICH",
        help="all, or curves: no data and no model is needed then (%(default)s)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def redraw(folder: Path, which: str) -> None:
    """Draw the figures of the run, the seeds or the sweep in `folder`: "all" or "curves".

    Raises UserError where there is no finished run. Without the images or the model the figures
    that need them are left out, with a warning.
    """
    from experiment import figures  # not at the top: --help need not wait for matplotlib

    runs = read_run(folder)
    dataset = None
    if which == "all":
        with contextlib.suppress(UserError):  # for each run the reason is told below
            dataset = runs[0].trainings[0].dataset()  # one call of a script has one dataset
    for run in runs:
        for training in run.trainings:
            say(training)
            figures.draw_run(training, which, dataset=dataset)
        if run.members:
            say(run)
            figures.draw_run(run, which)
    if len(read_json(folder / "config.json")["combinations"]) > 1:
        figures.draw_sweep(folder, runs)
    print(f"figures in {folder}", flush=True)


def say(run: SavedRun) -> None:
    """Print which run is under way."""
    print(f"drawing {run.name}", flush=True)


def main(argv: Sequence[str] = ()) -> None:
    """Draw as the options in `argv` say."""
    args = parse(argv)
    with one_line_errors(args.debug):
        redraw(find_run(args.run, args.results_dir), args.figures)


if __name__ == "__main__":
    main(sys.argv[1:])
