"""Figures that lay saved runs over each other, and show the images that two networks disagree on.

Each function gives a matplotlib Figure. pyplot stays out of it, so nothing needs a screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from common.data.load import Dataset
from common.plotting.curves import (
    ACCURACY_TICKS,
    COLOURS,
    FINE_ACCURACY_TICKS,
    MARKERS,
    accuracy_of_error_decades,
    error_decades,
)
from experiment.runs.saved import SavedRun

LINES = ("-", "--", ":", "-.")
QUANTITIES = {"accuracy": "validation accuracy", "loss": "validation loss (cross-entropy)"}
CLOCKS = {"epoch": "epoch", "seconds": "seconds of training, validation not counted"}


def overlay(runs: Sequence[SavedRun], labels: Sequence[str], title: str) -> Figure:
    """Validation accuracy and loss by epoch and by seconds; test accuracy by training time.

    Of several seeds the curves are the mean, with a band from lowest to highest; a dot is the mean,
    with a bar of one standard deviation to each side. The accuracy axes are logarithmic in the
    share of errors, as in `plotting.curves`, but fit what is shown.
    """
    columns = 3 if max(map(len, labels)) <= 45 else 2
    figure = Figure(figsize=(13, 7.2 + 0.22 * math.ceil(len(runs) / columns)), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplot_mosaic(
        [[f"{quantity} by {clock}" for clock in CLOCKS] + ["test"] for quantity in QUANTITIES]
    )
    looks = [look(place) for place in range(len(runs))]
    for run, run_look in zip(runs, looks, strict=True):
        for quantity in QUANTITIES:
            for clock in CLOCKS:
                draw_curve(panels[f"{quantity} by {clock}"], run, clock, quantity, run_look)
        draw_dot(panels["test"], run, run_look)
    for quantity, ylabel in QUANTITIES.items():
        for clock, xlabel in CLOCKS.items():
            axes = panels[f"{quantity} by {clock}"]
            axes.set(xlabel=xlabel, ylabel=ylabel)
            if clock == "epoch":
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            fit_axis(axes, quantity)
    panels["test"].set(xlabel="seconds of training, validation counted", ylabel="test accuracy")
    fit_axis(panels["test"], "accuracy")
    for name in ("accuracy by seconds", "loss by seconds", "test"):
        if panels[name].lines:
            panels[name].set_xlim(0, 1.06 * panels[name].dataLim.x1 or 1)
    handles = [Line2D([], [], label=label, **look) for label, look in zip(labels, looks)]  # noqa: B905
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=4)
    return figure


def look(place: int) -> dict[str, str]:
    """Colour, marker and line style of one run of many; no two of the first 49 look the same."""
    lap, step = divmod(place, len(COLOURS))
    return {
        "color": COLOURS[step],
        "marker": MARKERS[(step + lap) % len(MARKERS)],
        "linestyle": LINES[lap % len(LINES)],
    }


def draw_curve(axes, run: SavedRun, clock: str, quantity: str, look: dict[str, str]) -> None:
    """Draw how validation went, as the mean over the seeds; nothing where there was none."""
    histories = [training.history for training in run.trainings]
    length = min(len(history.rows) for history in histories)
    values = [history.column(f"validation_{quantity}")[:length] for history in histories]
    if not np.isfinite(values).any():
        return
    # No logarithm can show a network without errors, nor a loss of zero.
    values = np.clip(values, *((0, 0.9999) if quantity == "accuracy" else (1e-4, 1e3)))
    times = np.arange(1, length + 1)
    if clock == "seconds":
        seconds = [history.column("seconds")[:length] for history in histories]
        times = np.cumsum(seconds, axis=1).mean(axis=0)
    step = math.ceil(length / 30)  # markers on every point of a long curve would hide it
    axes.plot(times, values.mean(axis=0), ms=4, lw=1.5, markevery=step, **look)
    if len(histories) > 1:
        lowest, highest = values.min(axis=0), values.max(axis=0)
        axes.fill_between(times, lowest, highest, color=look["color"], alpha=0.15, linewidth=0)


def draw_dot(axes, run: SavedRun, look: dict[str, str]) -> None:
    """Draw test accuracy against training time, as the mean over the seeds."""
    accuracies = [training.metrics["test_accuracy"] for training in run.trainings]
    seconds = [training.metrics["seconds"]["training"] for training in run.trainings]
    deviation = np.std(accuracies, ddof=1) if len(accuracies) > 1 else None
    look = look | {"linestyle": "", "ms": 8, "capsize": 5}
    axes.errorbar(np.mean(seconds), min(np.mean(accuracies), 0.9999), deviation, **look)


def fit_axis(axes, quantity: str) -> None:
    """Make an axis of accuracies or losses logarithmic, with limits and ticks for what it shows."""
    axes.grid(alpha=0.3)
    if not axes.lines:
        axes.text(0.5, 0.5, "no validation images", ha="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    lowest, highest = axes.dataLim.intervaly
    if quantity == "loss":
        axes.set_yscale("log")
        axes.set_ylim(lowest / 1.1, highest * 1.1)
        ratio = highest / lowest  # the powers of ten are too few ticks for a small one
        subdivisions = {2: np.arange(1, 10, 0.5), 6: (1, 1.5, 2, 3, 4, 5, 7), 40: (1, 2, 3, 5)}
        digits = next((digits for most, digits in subdivisions.items() if ratio < most), (1, 3))
        axes.yaxis.set_major_locator(LogLocator(subs=digits))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:.3g}"))
    else:
        axes.set_yscale("function", functions=(error_decades, accuracy_of_error_decades))
        lowest, highest = error_decades(np.clip([lowest, highest], 0, 0.9999))
        edge = 0.06 * (highest - lowest) + 0.01
        limits = accuracy_of_error_decades([max(lowest - edge, 0), highest + edge])
        axes.set_ylim(*limits)
        for ticks in (ACCURACY_TICKS, FINE_ACCURACY_TICKS, MaxNLocator(5).tick_values(*limits)):
            ticks = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
            if len(ticks) > 3:
                break
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.5g} %"))
    axes.yaxis.set_minor_locator(NullLocator())


def disagreements(
    dataset: Dataset,
    chosen: Sequence[int],
    probabilities: Sequence[np.ndarray],
    labels: Sequence[str],
    total: int,
) -> Figure:
    """Test images, each with its class and what two networks, A and B, take it for.

    chosen: indices of the images to show, at least one; probabilities: of either network,
    (test images, classes); labels: what to call the networks; total: of how many these are some.
    """
    columns, names = 6, dataset.class_names
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(11, 0.9 + 2.6 * rows), layout="constrained")
    shown = (
        f"the {len(chosen)} most confident of {total:,}" if total > len(chosen) else f"{total:,}"
    )
    figure.suptitle(f"{dataset.title} · test images with two answers: {shown}")
    legend = [f"{letter}: {label}" for letter, label in zip("AB", labels, strict=True)]
    handles = [Line2D([], [], linestyle="", label=text) for text in legend]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, labelcolor=COLOURS[:2],
                  handlelength=0, frameon=False)  # fmt: skip
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, index in zip(grid.flat, chosen, strict=False):
        true = dataset.test_labels[index]
        axes.imshow(dataset.test_images[index], cmap="gray", vmin=0, vmax=255)
        axes.set_ylim(37, -5)  # room for words above and below the image, 28 high
        axes.text(13.5, -1.5, f"true: {names[true]}", ha="center")
        for place, (letter, shares) in enumerate(zip("AB", probabilities, strict=True)):
            answer = shares[index].argmax()
            mark = "✓" if answer == true else "✗"
            text = f"{letter} {mark} {names[answer]}, {shares[index][answer]:.0%}"
            axes.text(13.5, 31 + 4 * place, text, color=COLOURS[place], fontsize=9, ha="center")
    return figure
