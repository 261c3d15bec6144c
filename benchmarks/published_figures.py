"""The figures of docs/published-results.md, drawn from the records that its tables show."""

from collections.abc import Iterable
from statistics import mean

import numpy as np

from benchmarks import from_scratch, records
from benchmarks.published_rows import LOSS, SIZES, Row
from benchmarks.runs import empty_figure
from common.files import REPOSITORY, atomic_path

DOCS = REPOSITORY / "docs"
DIGEST = "Records"  # a PNG's text: the digest of the records that it shows


def write(claims: Iterable[Row]) -> None:
    """Draw both figures into docs/."""
    figures = {"published_results.png": reported(claims), "published_insights.png": insights()}
    for name, figure in figures.items():
        with atomic_path(DOCS / name) as partial:
            figure.savefig(partial, dpi=100, metadata={DIGEST: records.digest()})


def reported(claims: Iterable[Row]):
    """Reported accuracies as open diamonds beside those of the measured seeds."""
    lines = [
        (row, measure, records.values(row.record, measure, row.member))
        for row in claims
        for measure in row.reported
        if measure != LOSS
    ]
    figure, (axes,), colours = empty_figure(10, 1.6 + 0.33 * len(lines))
    ours = {"color": colours[0], "ls": ""}
    theirs = {"marker": "D", "mfc": "none", "mec": colours[4], "mew": 2, "ms": 9, "ls": ""}
    for place, (row, measure, values) in enumerate(lines):
        if values:
            axes.plot(values, [place] * len(values), marker="o", alpha=0.5, ms=5, **ours)
            axes.plot(mean(values), place, marker="|", ms=16, mew=2, **ours)
        look = theirs | ({"marker": ">"} if row.above else {})
        axes.plot(row.reported[measure], place, **look)
    axes.plot([], [], marker="o", alpha=0.5, label="measured, each seed", **ours)
    axes.plot([], [], marker="|", ms=14, mew=2, label="mean of the seeds", **ours)
    axes.plot([], [], label="reported", **theirs)
    axes.plot([], [], label="reported: above this", **theirs | {"marker": ">"})
    axes.legend(loc="upper left")
    labels = [f"{row.id} {row.system}, {measure.split('_')[0]}" for row, measure, _ in lines]
    axes.set_yticks(range(len(lines)), labels)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xscale("accuracy")
    axes.set_xlim(0, 0.9985)
    axes.set_xticks([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998])
    axes.set_xlabel("accuracy")
    return figure


def insights():
    """Batch sizes, project B's curve and digits, and what depth does with few images."""
    figure, _, colours = empty_figure(12, 9)
    figure.clear()
    panels = figure.subplots(2, 2)
    draws = (draw_batch_sizes, draw_curve, draw_digits, draw_depth)
    for axes, draw in zip(panels.flat, draws, strict=True):
        axes.grid(alpha=0.3)
        draw(axes, colours)
    return figure


def draw_band(axes, places, seeds: list[list[float]], **look) -> None:
    """The mean of the seeds at each place, and a band from the lowest to the highest."""
    known = [(place, values) for place, values in zip(places, seeds, strict=True) if values]
    if known:
        places, seeds = zip(*known, strict=True)
        axes.plot(places, list(map(mean, seeds)), **look)
        lowest, highest = list(map(min, seeds)), list(map(max, seeds))
        axes.fill_between(places, lowest, highest, color=look["color"], alpha=0.2, linewidth=0)


def draw_batch_sizes(axes, colours) -> None:
    """Test accuracy after five epochs against the batch size, for both learning rates."""
    rates = {"batch_size_sweep": "0.001", "batch_size_scaled": "0.001 √(batch / 128)"}
    for (record, rate), colour in zip(rates.items(), colours, strict=False):
        seeds = [records.values(record, "test_accuracy", f"batch-size-{n}") for n in SIZES]
        draw_band(axes, SIZES, seeds, color=colour, marker="o", label=f"learning rate {rate}")
    axes.set(title="Batch size: test accuracy after five epochs", xscale="log")
    axes.set(xlabel="images per batch", ylabel="test accuracy")
    axes.set_xticks(SIZES, SIZES)
    axes.set_xticks([], minor=True)
    axes.set_yscale("accuracy")
    if axes.lines:
        axes.legend()


def draw_curve(axes, colours) -> None:
    """Validation accuracy after each step of project B's network."""
    curve = from_scratch.read(from_scratch.CURVE)
    if curve:
        seeds = np.array(list(curve.values()))
        axes.plot(list(curve), seeds, color=colours[0], alpha=0.3, lw=1)
        axes.plot(
            list(curve), seeds.mean(axis=1), color=colours[0], lw=2, label="mean of the seeds"
        )
    for step in (50, 80):
        axes.axvline(step, color=colours[4], ls="--")
    axes.plot([], [], color=colours[4], ls="--", label="reported: plateau, slight rise")
    axes.set(title="B1: full-batch gradient descent", xlabel="step", ylabel="validation accuracy")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend()


def draw_digits(axes, colours) -> None:
    """Validation accuracy of each digit, by project B's network."""
    digits = from_scratch.read(from_scratch.DIGITS)
    for digit, values in digits.items():
        axes.plot([digit] * len(values), values, "o", color=colours[0], alpha=0.5, ms=5)
        axes.plot(digit, mean(values), "_", color=colours[0], ms=22, mew=2)
    axes.axhline(0.92, color=colours[4], ls="--", label="reported: all digits with 92 %")
    axes.set(title="B1: each digit after 150 steps", xlabel="digit", ylabel="validation accuracy")
    axes.set(ylim=(0.6, 1), xticks=range(10))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="lower left")


def draw_depth(axes, colours) -> None:
    """How far validation lies below training against the depth, with all images and with 1,000."""
    depths, data = (1, 2, 3, 4), {"54,000 images": "depth", "1,000 images": "depth_few_images"}
    for (images, record), colour in zip(data.items(), colours, strict=False):
        seeds = [
            [
                100 * (row["training_accuracy"] - row["validation_accuracy"])
                for row in records.read(record)
                if row["member"] == f"blocks-{depth}"
            ]
            for depth in depths
        ]
        draw_band(axes, depths, seeds, color=colour, marker="o", label=images)
    axes.set(title="A4: overfitting without dropout", xlabel="convolutions", xticks=depths)
    axes.set(ylabel="training minus validation accuracy, points", ylim=(0, 13))
    if axes.lines:
        axes.legend()
