"""The command line of the tools, and of the benchmarks."""

import argparse

from common.files import absolute_path
from experiment.command_line import OneLineParser
from experiment.options import RESULTS

RUN_HELP = "latest, or a run's name, script/name or folder"


class ToolParser(OneLineParser):
    """The command line of `python -m tools.<name>`, with the options that every tool has."""

    def __init__(self, name: str, description: str, package: str = "tools") -> None:
        super().__init__(
            prog=f"python -m {package}.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument(
            "--results-dir",
            type=absolute_path,
            default=RESULTS,
            metavar="FOLDER",
            help="where the run folders are (results/ beside the scripts)",
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")
