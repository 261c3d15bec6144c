"""Every published result of the five projects this one grew out of, measured here.

Runs each system of the table with several seeds, and writes `published_results.md` and `.png` into
the results folder: what was reported, what is measured, with which command, and how long it takes.
A seed that has been measured is not run again, so that the whole can be stopped and continued.

    python -m benchmarks.published_results              # everything: about three hours on two cores
    python -m benchmarks.published_results B1 D1        # these rows alone
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.repeated import measure, measured_folders, run
from common.errors import one_line_errors
from common.files import REPOSITORY, beside, write_atomically
from common.plotting.curves import (
    ACCURACY_TICKS,
    TRAINING_COLOUR,
    VALIDATION_COLOUR,
    accuracy_of_error_decades,
    error_decades,
)
from experiment.options import OneLineParser, whole_number
from experiment.report import markdown_table


@dataclass(frozen=True)
class Row:
    """A published result, and the run here that stands beside it."""

    id: str
    system: str
    command: str
    reported: str = "-"  # in words
    share: float | None = None  # the reported accuracy that the measured one is held against
    measure: str = "test_accuracy"
    member: str = ""  # which run of a sweep, or which of the classical methods
    success: bool = True  # False: a reported failure, which is not to be outdone


DENSE, CNN, FASHION = "mnist_dense.py", "mnist_cnn.py", "fashion_cnn_augment.py"
CLASSICAL = "benchmarks/classical.py"
VALIDATION = "validation_accuracy"
ROWS = (
    Row("A1", "dense, ReLU", f"{DENSE} --recipe activations", member="activation-relu"),
    Row("A1", "dense, tanh", f"{DENSE} --recipe activations", member="activation-tanh"),
    Row("A1", "dense, sigmoid", f"{DENSE} --recipe activations", member="activation-sigmoid"),
    Row("A2", "CNN", f"{CNN} --recipe pooled", "above 99 %", 0.99),
    Row(
        "A3",
        "Fashion CNN, ImageDataGenerator",
        f"{FASHION} --recipe image_data_generator",
        "above 90 %",
        0.90,
    ),
    Row("A4", "CNN, 1 convolution", f"{CNN} --recipe depth", member="blocks-1"),
    Row("A4", "CNN, 2 convolutions", f"{CNN} --recipe depth", member="blocks-2"),
    Row("A4", "CNN, 3 convolutions", f"{CNN} --recipe depth", member="blocks-3"),
    Row("A4", "CNN, 4 convolutions", f"{CNN} --recipe depth", member="blocks-4"),
    Row("A5", "CNN, default", f"{CNN} --recipe default", "CNN superior"),
    *(
        Row("A5", method.replace(" and", ","), CLASSICAL, member=method)
        for method in (
            "RBF SVM (C 10)",
            "PCA (50) and k-nearest neighbours",
            "k-nearest neighbours (k 3)",
            "linear SVM (C 0.1)",
        )
    ),
    Row(
        "B1",
        "NumPy, 256-128-64 hidden",
        f"{DENSE} --recipe from_scratch",
        "92 % validation, 92.7 % training",
        0.92,
        VALIDATION,
    ),
    Row(
        "B2",
        "NumPy, 32 hidden",
        f"{DENSE} --recipe from_scratch_sizes",
        "83 % validation",
        0.83,
        VALIDATION,
        "hidden-32",
    ),
    Row(
        "B2",
        "NumPy, 128-32 hidden",
        f"{DENSE} --recipe from_scratch_sizes",
        "90.3 % validation",
        0.903,
        VALIDATION,
        "hidden-128,32",
    ),
    Row(
        "B2",
        "NumPy, 128 hidden",
        f"{DENSE} --recipe from_scratch_sizes",
        "90.7 % validation",
        0.907,
        VALIDATION,
        "hidden-128",
    ),
    Row(
        "C1",
        "CNN, pixels not scaled",
        f"{CNN} --recipe unscaled",
        "98.15 % test, 99.51 % training",
        0.9815,
    ),
    Row(
        "D1",
        "low-level TensorFlow",
        f"{DENSE} --recipe low_level",
        "90.2 % test, 92.1 % training",
        0.902,
    ),
    Row(
        "E1",
        "dense, batch 128",
        f"{DENSE} --recipe batch_sizes",
        "12.63 % test, loss 2.3577",
        0.1263,
        member="batch-size-128",
        success=False,
    ),
    Row(
        "E2",
        "dense, batch 2048",
        f"{DENSE} --recipe batch_sizes",
        "92.06 % test, loss 0.2843",
        0.9206,
        member="batch-size-2048",
    ),
    Row("E3", "CNN", f"{CNN} --recipe pooled_three", "99.36 % test, loss 0.0219", 0.9936),
)


def main() -> None:
    """Measure what the command line names, and write table and figure."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    known = list(dict.fromkeys(row.id for row in ROWS))
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which to run: {', '.join(known)}")
    parser.add_argument("--seeds", type=whole_number(1, 100), default=5, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    if unknown := set(args.rows) - set(known):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    with one_line_errors():
        commands = dict.fromkeys(row.command for row in ROWS if row.id in (args.rows or known))
        # Seed by seed, so that the whole table is there early and gets firmer with time.
        for seed in range(1, args.seeds + 1):
            for command in commands:
                if command != CLASSICAL:
                    measure(command, seed, args.results_dir / "published_results")
                elif seed == 1:  # these methods draw no random numbers, or hardly any
                    run([CLASSICAL, "--results-dir", args.results_dir])
                write_table(args.results_dir)
        print((args.results_dir / "published_results.md").read_text(encoding="utf-8"))


def metrics_of(row: Row, results: Path) -> list[dict]:
    """The metrics of each seed that is there."""
    if row.command == CLASSICAL:
        return measured_classical(row.member, results)
    return [
        json.loads((folder / row.member / "metrics.json").read_text(encoding="utf-8"))
        for folder in measured_folders(row.command, results / "published_results")
    ]


def measured_classical(method: str, results: Path) -> list[dict]:
    """The metrics of one of the classical methods on MNIST, if it has been measured."""
    path = results / "classical.json"
    lines = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    absent = dict.fromkeys(("test_loss", "training_accuracy", VALIDATION))
    return [
        {"test_accuracy": line["test_accuracy"], "seconds": {"training": line["fit_seconds"]}}
        | absent
        for line in lines
        if line["dataset"] == "MNIST" and line["method"] == method
    ]


def write_table(results: Path) -> None:
    """Write published_results.md and .png from the runs that are there."""
    lines = [(row, metrics_of(row, results)) for row in ROWS]
    table = markdown_table([table_line(row, metrics) for row, metrics in lines])
    write_atomically(results / "published_results.md", f"{table}\n".encode())
    with beside(results / "published_results.png") as partial:
        draw([(row, metrics) for row, metrics in lines if metrics]).savefig(partial, dpi=100)


def table_line(row: Row, metrics: list[dict]) -> dict[str, str]:
    """A row of the table, in words."""

    def share(name: str) -> str:
        values = [100 * of_seed[name] for of_seed in metrics if of_seed[name] is not None]
        if not values:
            return "-"
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        return f"{mean(values):.2f}{spread} %"

    reached = "-"
    if row.share is not None and row.success and metrics:
        reached = "yes" if mean(m[row.measure] for m in metrics) >= row.share else "**no**"
    seconds = [of_seed["seconds"]["training"] for of_seed in metrics]
    losses = [m["test_loss"] for m in metrics if m["test_loss"] is not None]
    return {
        "": row.id,
        "system": row.system,
        "reported": row.reported,
        "test": share("test_accuracy"),
        "loss": f"{mean(losses):.4f}" if losses else "-",
        "validation": share("validation_accuracy"),
        "training": share("training_accuracy"),
        "reached": reached,
        "seeds": str(len(metrics)),
        "training time": f"{median(seconds):.0f} s" if seconds else "-",
        "command": f"`python {row.command}`",
    }


def draw(lines: list[tuple[Row, list[dict]]]) -> Figure:
    """Reported accuracies as open diamonds beside those of the measured seeds."""
    figure = Figure(figsize=(10, 1.6 + 0.33 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for place, (row, metrics) in enumerate(lines):
        values = [of_seed[row.measure] for of_seed in metrics]
        axes.plot(values, [place] * len(values), "o", color=VALIDATION_COLOUR, alpha=0.5, ms=5)
        axes.plot(mean(values), place, "|", color=VALIDATION_COLOUR, ms=16, mew=2)
        if row.share is not None:
            axes.plot(row.share, place, "D", mfc="none", mec=TRAINING_COLOUR, mew=2, ms=9)
    axes.plot([], [], "o", color=VALIDATION_COLOUR, alpha=0.5, label="measured, each seed")
    axes.plot([], [], "|", color=VALIDATION_COLOUR, ms=14, mew=2, ls="", label="their mean")
    axes.plot([], [], "D", mfc="none", mec=TRAINING_COLOUR, mew=2, ls="", label="reported")
    axes.legend(loc="upper left")
    axes.set_yticks(range(len(lines)), [f"{row.system}   {row.id}" for row, _ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xscale("function", functions=(error_decades, accuracy_of_error_decades))
    axes.set_xlim(0, 0.9975)
    axes.set_xticks([tick for tick in ACCURACY_TICKS if tick < 0.9975])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_xlabel("accuracy: validation for B1 and B2, test for the others")
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    main()
