"""Draw the figures and the page of a finished run again, from its saved numbers and model.

Of a sweep, and of several seeds, every run's figures are drawn, and those that compare them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python tools/report.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.console import say, warn
from common.errors import UserError, one_line_errors
from experiment.gallery.page import write_report
from experiment.options import FIGURES
from experiment.runs.folder import read_config, writable_folder
from experiment.values import one_of
from tools.command_line import RUN_HELP, ToolParser
from tools.saved import find_run, load_dataset, load_model, read_runs


def main(argv: Sequence[str] = ()) -> None:
    """Draw as the options in `argv` say."""
    parser = ToolParser("report", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--figures",
        type=one_of("choice of figures", FIGURES[:-1]),
        default="all",
        metavar="WHICH",
        help="all, or curves, which need neither the data nor the model (%(default)s)",
    )
    args = parser.parse_args(argv)
    with one_line_errors(args.debug):
        redraw(find_run(args.run, args.results_dir), args.figures)


def redraw(folder: Path, which: str) -> None:
    """Draw the figures of the run, the seeds or the sweep in `folder`: "all" or "curves".

    Raises UserError where there is no finished run. Without the images or the model, the figures
    that need them are left out, with a warning.
    """
    from experiment import figures  # not at the top: --help need not wait for matplotlib

    runs, dataset = read_runs(writable_folder(folder)), None
    for run in runs:
        for one in (*run.members, run):  # of several seeds, each and all of them together
            say(f"drawing {one.name}")
            model = None
            if which == "all" and not one.members:
                try:
                    dataset = dataset or load_dataset(one)  # the runs of one folder share it
                    model = load_model(one)
                except UserError as error:
                    warn(f"no figures of the network of {one.name}: {error}")
            figures.draw_run(one, which, model, dataset)
    if len(read_config(folder)["combinations"]) > 1:
        figures.draw_sweep(folder, runs)
    for run in runs:
        write_report(run)
    say(f"figures in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
