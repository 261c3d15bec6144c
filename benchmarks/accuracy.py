"""What each script's default and best recipe reach, over several seeds, beside their targets.

Writes `accuracy.md` into the results folder: mean ± standard deviation of the test accuracy, and
how long the whole process takes, figures included. A seed that has been measured is not run again,
so that the whole can be stopped and continued.

    python -m benchmarks.accuracy --seeds 5             # about two hours on two cores
    python -m benchmarks.accuracy default               # the recipes named `default` alone
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

from benchmarks.repeated import measure, measurements
from common.errors import one_line_errors
from common.files import REPOSITORY, write_atomically
from experiment.options import OneLineParser, one_of, whole_number
from experiment.report import markdown_table

SEEDS_OF_BEST = 3  # each of these runs takes six minutes or more, Fashion-MNIST's twenty


@dataclass(frozen=True)
class Target:
    """What a recipe is to reach: a mean test accuracy, and that within so many seconds."""

    command: str
    accuracy: float
    seconds: float


TARGETS = (
    Target("mnist_dense.py --recipe default", 0.986, 60),
    Target("mnist_cnn.py --recipe default", 0.995, 90),
    Target("fashion_cnn_augment.py --recipe default", 0.925, 300),
    Target("mnist_dense.py --recipe best", 0.993, 720),
    Target("mnist_cnn.py --recipe best", 0.9965, 720),
    Target("fashion_cnn_augment.py --recipe best", 0.94, 1500),
)


def main() -> None:
    """Measure what the command line names, and write the table."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    recipe = one_of("recipe", ("default", "best"))
    parser.add_argument("recipes", nargs="*", type=recipe, metavar="RECIPE", help="default or best")
    parser.add_argument("--seeds", type=whole_number(1, 100), default=5, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    results = args.results_dir / "accuracy"
    with one_line_errors():
        # Seed by seed, so that the whole table is there early and gets firmer with time.
        for seed in range(1, args.seeds + 1):
            for target in TARGETS:
                if args.recipes and recipe_of(target) not in args.recipes:
                    continue
                if recipe_of(target) == "best" and seed > SEEDS_OF_BEST:
                    continue
                measure(target.command, seed, results)
                write_atomically(args.results_dir / "accuracy.md", table(results).encode())
        print((args.results_dir / "accuracy.md").read_text(encoding="utf-8"), end="")


def recipe_of(target: Target) -> str:
    """The last word of its command."""
    return target.command.split()[-1]


def table(results: Path) -> str:
    """The Markdown table of the runs that are there."""
    lines = [table_line(target, results) for target in TARGETS]
    return f"{markdown_table(lines)}\n{os.cpu_count()} cores\n"


def table_line(target: Target, results: Path) -> dict[str, str]:
    """A row of the table, in words."""
    metrics, processes = measurements(target.command, results)
    shares = [100 * of_seed["test_accuracy"] for of_seed in metrics]
    training = [of_seed["seconds"]["training"] for of_seed in metrics]
    line = {
        "command": f"`python {target.command.removesuffix(' --recipe default')}`",
        "target": f"{target.accuracy:.2%} in {target.seconds:.0f} s",
        "test accuracy": "-",
        "whole process": "-",
    }
    if metrics:
        spread = f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""
        line["test accuracy"] = f"{mean(shares):.2f}{spread} %"
        slowest = f" (slowest {max(processes):.0f} s)" if len(processes) > 1 else ""
        line["whole process"] = f"{median(processes):.0f} s{slowest}"
    reached = metrics and mean(shares) >= 100 * target.accuracy
    in_time = metrics and median(processes) <= target.seconds
    return line | {
        "training": f"{median(training):.0f} s" if metrics else "-",
        "parameters": f"{metrics[0]['parameters']:,}" if metrics else "-",
        "seeds": str(len(metrics)),
        "met": "yes" if reached and in_time else "**no**" if metrics else "-",
    }


if __name__ == "__main__":
    main()
