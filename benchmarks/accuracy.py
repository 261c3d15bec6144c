"""What each script's default, best and fast recipe reach over several seeds, beside their targets.

Writes `accuracy.md` into the results folder: mean ± standard deviation of the test accuracy, and
how long the whole process takes, figures included. The runs are kept in `accuracy/`, and their
numbers in `benchmarks/records/`.

    python -m benchmarks.accuracy --seeds 5             # over three hours on two cores
    python -m benchmarks.accuracy default               # the recipes named `default` alone
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

from benchmarks import records
from benchmarks.runs import BenchmarkParser, percent, run_recipe
from experiment.runs.saved import read_run
from experiment.values import one_of

RECIPES = ("default", "best", "fast")
TARGETS = {  # the mean test accuracy to reach, within so many seconds
    "mnist_dense.py --recipe default": (0.986, 60),
    "mnist_cnn.py --recipe default": (0.995, 90),
    "fashion_cnn_augment.py --recipe default": (0.925, 300),
    "mnist_dense.py --recipe best": (0.993, 720),
    "mnist_cnn.py --recipe best": (0.9965, 720),
    "fashion_cnn_augment.py --recipe best": (0.94, 1500),
    "mnist_cnn.py --recipe fast": (0.99, 30),
}


def main() -> None:
    """Measure what the command line names, and write the table."""
    parser = BenchmarkParser("accuracy", __doc__, seeds=5)
    kind, which = one_of("recipe", RECIPES), ", ".join(RECIPES)
    parser.add_argument("recipes", nargs="*", type=kind, metavar="RECIPE", help=which)
    with parser.results(rows) as results:
        args = results.args
        commands = [name for name in TARGETS if name.endswith(tuple(args.recipes or RECIPES))]
        for command, seed in results.missing(commands, range(1, args.seeds + 1)):
            folder = args.results_dir / "accuracy"
            (run,) = run_recipe(command, seed, folder)
            results.keep(command, seed, run)
            script, recipe = Path(command.split()[0]).stem, command.split()[-1]
            kept = read_run(folder / script / f"{recipe}-{seed}")
            records.add(f"{script}_{recipe}", records.rows_of(kept))


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each recipe."""
    for command, by_seed in measured.items():
        accuracy, seconds = TARGETS[command]
        seeds = list(by_seed.values())
        accuracies = [seed["test_accuracy"] for seed in seeds]
        processes = [seed["process_seconds"] for seed in seeds]
        met = mean(accuracies) >= accuracy and median(processes) <= seconds
        yield {
            "command": f"`python {command.removesuffix(' --recipe default')}`",
            "target": f"{accuracy:.2%} in {seconds} s",
            "test accuracy": percent(accuracies),
            "whole process": f"{median(processes):.0f} s (slowest {max(processes):.0f} s)",
            "training": f"{median(seed['training_seconds'] for seed in seeds):.0f} s",
            "parameters": f"{seeds[0]['parameters']:,}",
            "seeds": str(len(seeds)),
            "met": "yes" if met else "**no**",
        }


if __name__ == "__main__":
    main()
