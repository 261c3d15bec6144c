"""What the default, best and fast recipe of each script reach: a record each, and README's table.

Trains the seeds that `benchmarks/records/` lacks, adds them there as they come, and writes README's
table of what is there. The runs are kept in the results folder, in `accuracy/`.

    python -m benchmarks.accuracy --seeds 5             # over three hours on two cores
    python -m benchmarks.accuracy default               # the recipes named `default` alone
    python -m benchmarks.accuracy --write               # the table alone
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks import records
from benchmarks.runs import BenchmarkParser, percent, run_script
from common.errors import one_line_errors
from common.files import REPOSITORY, write_atomically
from experiment.values import one_of

PAGE = REPOSITORY / "README.md"
NETWORKS = {  # of each recipe, in README's words
    "mnist_dense.py --recipe default": "two hidden layers of 512",
    "mnist_cnn.py --recipe default": "two convolutions",
    "mnist_cnn.py --recipe fast": "two convolutions, the first one fixed",
    "fashion_cnn_augment.py --recipe default": "six convolutions",
    "mnist_dense.py --recipe best": "three hidden layers of 1,024",
    "mnist_cnn.py --recipe best": "five convolutions",
    "fashion_cnn_augment.py --recipe best": "six convolutions",
}


def main() -> None:
    """Measure what the command line names and the records lack, and write the table."""
    names = list(dict.fromkeys(command.split()[-1] for command in NETWORKS))
    parser = BenchmarkParser("accuracy", __doc__, seeds=5)
    kind, which = one_of("recipe", names), ", ".join(names)
    parser.add_argument("recipes", nargs="*", type=kind, metavar="RECIPE", help=which)
    parser.add_argument("--write", action="store_true", help="measure nothing")
    args = parser.parse_args()
    with one_line_errors(args.debug):
        for command, seed in () if args.write else missing(args):
            (script, recipe), folder = parts(command), args.results_dir / "accuracy"
            name = f"{recipe}-{seed}"
            (run,) = run_script(command, "--seed", seed, results=folder, name=name)
            accuracy, seconds = run.metrics["test_accuracy"], run.metrics["seconds"]["process"]
            print(f"{command}, seed {seed}: {accuracy:.2%}, {seconds:.0f} s in all", flush=True)
            records.add(f"{script}_{recipe}", records.rows_of(run))
            write_atomically(PAGE, page().encode())
        write_atomically(PAGE, page().encode())
        print(f"the table in {PAGE} shows what is measured")


def parts(command: str) -> tuple[str, str]:
    """The names of script and recipe."""
    return Path(command.split()[0]).stem, command.split()[-1]


def missing(args: Namespace) -> Iterator[tuple[str, int]]:
    """The commands and seeds to measure, in turns: a busy moment of the machine meets all."""
    commands = [one for one in NETWORKS if not args.recipes or parts(one)[1] in args.recipes]
    for seed in range(1, args.seeds + 1):
        for command in commands:
            known = [row["seed"] for row in records.read("_".join(parts(command)))]
            if args.fresh or seed not in known:
                yield command, seed


def page() -> str:
    """README with the table of what the records hold."""
    return records.fill(PAGE.read_text(encoding="utf-8"), "results", rows())


def rows() -> Iterator[dict[str, str]]:
    """A row of README's table for each recipe that has a record."""
    for command, network in NETWORKS.items():
        if found := records.read("_".join(parts(command))):
            seconds = [row["seconds"] for row in found if row["seconds"]]
            where = dict.fromkeys(f"{row['processor']}, {row['precision']}" for row in found)
            yield {
                "command": f"`python {command.removesuffix(' --recipe default')}`",
                "network": network,
                "test accuracy": percent([row["test_accuracy"] for row in found]),
                "seeds": str(len(found)),
                "training": f"{median(seconds):.0f} s" if seconds else "-",
                "processor": " and ".join(where),
            }


if __name__ == "__main__":
    main()
