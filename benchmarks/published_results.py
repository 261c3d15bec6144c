"""Every published result of the five projects this one grew out of, measured here.

Runs each system of the table with several seeds, and writes `published_results.md` and `.png` into
the results folder: what was reported, what is measured, with which command, and how long it takes.
The runs are kept in `published_results/`.

    python -m benchmarks.published_results              # everything: about three hours on two cores
    python -m benchmarks.published_results B1 D1        # these rows alone
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median

from benchmarks import classical
from benchmarks.runs import BenchmarkParser, empty_figure, percent, run_recipe
from common.files import read_json
from experiment.values import one_of


@dataclass(frozen=True)
class Row:
    """A published result, and the run here that stands beside it."""

    id: str
    system: str
    command: str
    reported: str = "-"  # in words
    goal: float | None = None  # the reported accuracy, which the measured one is to reach
    metric: str = "test_accuracy"
    member: str = ""  # which run of a sweep, or which of the classical methods
    success: bool = True  # False: a reported failure, which is not to be outdone


DENSE, CNN = "mnist_dense.py --recipe", "mnist_cnn.py --recipe"
VALIDATION = "validation_accuracy"
GENERATOR = "fashion_cnn_augment.py --recipe image_data_generator"
CLASSICAL = "-m benchmarks.classical"
ACTIVATIONS, DEPTH, BATCHES = f"{DENSE} activations", f"{CNN} depth", f"{DENSE} batch_sizes"
SIZES = f"{DENSE} from_scratch_sizes"
# What was reported of the systems in the rows of these names.
B1 = "92 % validation, 92.7 % training"
E1 = "12.63 % test, loss 2.3577"
E2 = "92.06 % test, loss 0.2843"
ROWS = (
    Row("A1", "dense, ReLU", ACTIVATIONS, member="activation-relu"),
    Row("A1", "dense, tanh", ACTIVATIONS, member="activation-tanh"),
    Row("A1", "dense, sigmoid", ACTIVATIONS, member="activation-sigmoid"),
    Row("A2", "CNN", f"{CNN} pooled", "above 99 %", 0.99),
    Row("A3", "Fashion CNN, ImageDataGenerator", GENERATOR, "above 90 %", 0.90),
    *(Row("A4", f"CNN, depth {n}", DEPTH, member=f"blocks-{n}") for n in (1, 2, 3, 4)),
    Row("A5", "CNN, default", f"{CNN} default", "CNN superior"),
    Row("A5", "RBF SVM (C 10)", CLASSICAL, member="RBF SVM (C 10)"),
    Row("A5", "PCA (50), k-nearest neighbours", CLASSICAL, member="PCA (50), k-nearest neighbours"),
    Row("A5", "k-nearest neighbours (k 3)", CLASSICAL, member="k-nearest neighbours (k 3)"),
    Row("A5", "linear SVM (C 0.1)", CLASSICAL, member="linear SVM (C 0.1)"),
    Row("B1", "NumPy, 256-128-64 hidden", f"{DENSE} from_scratch", B1, 0.92, VALIDATION),
    Row("B2", "NumPy, 32 hidden", SIZES, "83 % validation", 0.83, VALIDATION, "hidden-32"),
    Row(
        "B2", "NumPy, 128-32 hidden", SIZES, "90.3 % validation", 0.903, VALIDATION, "hidden-128,32"
    ),
    Row("B2", "NumPy, 128 hidden", SIZES, "90.7 % validation", 0.907, VALIDATION, "hidden-128"),
    Row("C1", "CNN, unscaled pixels", f"{CNN} unscaled", "98.15 % test, 99.51 % training", 0.9815),
    Row("D1", "low-level TensorFlow", f"{DENSE} low_level", "90.2 % test, 92.1 % training", 0.902),
    Row("E1", "dense, batch 128", BATCHES, E1, 0.1263, member="batch-size-128", success=False),
    Row("E2", "dense, batch 2048", BATCHES, E2, 0.9206, member="batch-size-2048"),
    Row("E3", "CNN", f"{CNN} pooled_three", "99.36 % test, loss 0.0219", 0.9936),
)


def main() -> None:
    """Measure what the command line names, and write table and figure."""
    known = list(dict.fromkeys(row.id for row in ROWS))
    parser = BenchmarkParser("published_results", __doc__, seeds=5)
    kind, which = one_of("row", known), f"which to measure: {', '.join(known)}"
    parser.add_argument("rows", nargs="*", type=kind, metavar="ROW", help=which)
    with parser.results(rows, draw) as results:
        args = results.args
        commands = dict.fromkeys(row.command for row in ROWS if row.id in (args.rows or known))
        for command, seed in results.missing(commands, range(1, args.seeds + 1)):
            if command != CLASSICAL:
                folder = args.results_dir / "published_results"
                results.keep(command, seed, run_recipe(command, seed, folder))
            elif seed == 1:  # these methods draw no random numbers, or hardly any
                results.keep(command, seed, measure_classical(args))


def measure_classical(args: Namespace) -> list[dict]:
    """What each classical method reaches on MNIST, as its `member`."""
    fresh = ["--fresh"] if args.fresh else []
    classical.main(["--results-dir", str(args.results_dir), *fresh])
    measured = read_json(args.results_dir / "classical.json")["measured"]["mnist"]
    return [{"member": method} | result for method, result in measured.items()]


def metrics_of(row: Row, measured: dict[str, dict]) -> list[dict]:
    """The numbers of each seed that has been measured."""
    seeds = measured.get(row.command, {}).values()
    return [run for seed in seeds for run in seed if row.member in ("", run["member"])]


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each published result, and what the seeds measured here."""
    names = "test_accuracy test_loss training_accuracy validation_accuracy".split()
    for row in ROWS:
        metrics = metrics_of(row, measured)
        values = {
            name: [run[name] for run in metrics if run.get(name) is not None]
            for name in (*names, "training_seconds", "fit_seconds")
        }
        losses, seconds = values["test_loss"], values["training_seconds"] + values["fit_seconds"]
        reached = "-"
        if row.goal is not None and row.success and metrics:
            reached = "yes" if mean(values[row.metric]) >= row.goal else "**no**"
        yield {
            "": row.id,
            "system": row.system,
            "reported": row.reported,
            "test": percent(values["test_accuracy"]),
            "loss": f"{mean(losses):.4f}" if losses else "-",
            "validation": percent(values[VALIDATION]),
            "training": percent(values["training_accuracy"]),
            "reached": reached,
            "seeds": str(len(metrics)),
            "training time": f"{median(seconds):.0f} s" if seconds else "-",
            "command": f"`python {row.command}`",
        }


def draw(measured: dict[str, dict]):
    """Reported accuracies as open diamonds beside those of the measured seeds."""
    lines = [(row, metrics) for row in ROWS if (metrics := metrics_of(row, measured))]
    figure, (axes,), colours = empty_figure(10, 1.6 + 0.33 * len(lines))
    ours = {"color": colours[0], "ls": ""}
    theirs = {"marker": "D", "mfc": "none", "mec": colours[4], "mew": 2, "ms": 9, "ls": ""}
    for place, (row, metrics) in enumerate(lines):
        values = [seed[row.metric] for seed in metrics]
        axes.plot(values, [place] * len(values), marker="o", alpha=0.5, ms=5, **ours)
        axes.plot(mean(values), place, marker="|", ms=16, mew=2, **ours)
        if row.goal is not None:
            axes.plot(row.goal, place, **theirs)
    axes.plot([], [], marker="o", alpha=0.5, label="measured, each seed", **ours)
    axes.plot([], [], marker="|", ms=14, mew=2, label="mean of the seeds", **ours)
    axes.plot([], [], label="reported", **theirs)
    axes.legend(loc="upper left")
    axes.set_yticks(range(len(lines)), [f"{row.system}   {row.id}" for row, _ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xscale("accuracy")
    axes.set_xlim(0, 0.9975)
    axes.set_xticks([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995])
    axes.set_xlabel("accuracy: validation for B1 and B2, test for the others")
    return figure


if __name__ == "__main__":
    main()
