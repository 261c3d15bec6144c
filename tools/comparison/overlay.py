"""Figures that compare saved runs: their curves together, and the images that two disagree on."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from common.data.dataset import Dataset
from common.plotting.curves import columns, draw_mean
from common.plotting.style import COLOURS, DRAWABLE, MARKERS, set_quantity, titled
from experiment.figures import histories
from experiment.runs.saved import SavedRun

LINES = ("-", "--", ":", "-.")
CLOCKS = {"epoch": "epoch", "seconds": "seconds of training, without validation"}


def overlay(runs: Sequence[SavedRun], labels: Sequence[str], title: str) -> Figure:
    """Validation accuracy and loss by epoch and by seconds; test accuracy by training time.

    Of several seeds a curve is the mean, with a band from lowest to highest, and a dot the mean,
    with a bar of one standard deviation to each side. The axes fit the data.
    """
    legend_columns = 3 if max(map(len, labels)) <= 45 else 2
    height = 7.2 + 0.22 * math.ceil(len(runs) / legend_columns)
    figure = titled(title, "", height, width=13)
    panels = figure.subplot_mosaic(
        [[f"{quantity} by {clock}" for clock in CLOCKS] + ["test"] for quantity in DRAWABLE]
    )
    looks = [look(place) for place in range(len(runs))]
    for run, run_look in zip(runs, looks, strict=True):
        draw_run(panels, run, run_look)
    for quantity in DRAWABLE:
        for clock, xlabel in CLOCKS.items():
            axes = panels[f"{quantity} by {clock}"]
            axes.set(xlabel=xlabel, ylabel=f"validation {quantity}")
            set_quantity(axes, quantity)
        panels[f"{quantity} by epoch"].xaxis.set_major_locator(MaxNLocator(integer=True))
    set_quantity(panels["test"], "accuracy")
    panels["test"].set(xlabel="seconds of training, with validation", ylabel="test accuracy")
    for axes in panels.values():
        axes.set_xlim(left=0)
    handles = [Line2D([], [], label=label, **look) for label, look in zip(labels, looks)]  # noqa: B905
    figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns, handlelength=4)
    return figure


def look(place: int) -> dict[str, str]:
    """Colour, marker and line style of one run of many; no two of the first 49 look the same."""
    lap, step = divmod(place, len(COLOURS))
    return {
        "color": COLOURS[step],
        "marker": MARKERS[(step + lap) % len(MARKERS)],
        "linestyle": LINES[lap % len(LINES)],
    }


def draw_run(panels: dict, run: SavedRun, look: dict[str, str]) -> None:
    """Draw the validation curves of a run, and its test accuracy against its training time."""
    seeds = histories(run)
    seconds = np.cumsum(columns(seeds, "seconds"), axis=1).mean(axis=0)
    # A marker at every point of a long curve would hide it.
    style = look | {"ms": 4, "lw": 1.5, "markevery": math.ceil(len(seconds) / 30), "band": 0.15}
    for quantity in DRAWABLE:
        for clock, times in (("epoch", None), ("seconds", seconds)):
            axes = panels[f"{quantity} by {clock}"]
            draw_mean(axes, seeds, f"validation_{quantity}", times=times, **style)
    accuracies = run.test_accuracies
    times = [training.metrics["seconds"]["training"] for training in run.trainings]
    deviation = np.std(accuracies, ddof=1) if len(accuracies) > 1 else None
    accuracy = np.clip(np.mean(accuracies), *DRAWABLE["accuracy"])
    dot = look | {"linestyle": "", "ms": 8, "capsize": 5}
    panels["test"].errorbar(np.mean(times), accuracy, deviation, **dot)


def disagreements(
    dataset: Dataset,
    chosen: Sequence[int],
    probabilities: Sequence[np.ndarray],
    labels: Sequence[str],
    total: int,
) -> Figure:
    """Test images, each with its true class and the predictions of two networks, A and B.

    `chosen`: indices of the images, at least one, of `total` on which the networks disagree;
    `probabilities`: (test images, classes) of each network; `labels`: what to call the networks.
    """
    grid_columns, names = 6, dataset.class_names
    rows = math.ceil(len(chosen) / grid_columns)
    count = (
        f"the {len(chosen)} most confident of {total:,}" if total > len(chosen) else f"{total:,}"
    )
    title = f"{dataset.title} · test images with different predictions: {count}"
    figure = titled(title, "", 0.9 + 2.6 * rows, width=11)
    handles = [
        Line2D([], [], linestyle="", label=f"{letter}: {label}")
        for letter, label in zip("AB", labels, strict=True)
    ]
    style = {"ncols": 2, "labelcolor": COLOURS[:2], "handlelength": 0, "frameon": False}
    figure.legend(handles=handles, loc="outside lower center", **style)
    grid = figure.subplots(rows, grid_columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, index in zip(grid.flat, chosen, strict=False):
        true = dataset.test_labels[index]
        axes.imshow(dataset.test_images[index], cmap="gray", vmin=0, vmax=255)
        axes.set_ylim(37, -5)  # room for words above and below the image, 28 high
        axes.text(13.5, -1.5, f"true: {names[true]}", ha="center")
        for place, (letter, network) in enumerate(zip("AB", probabilities, strict=True)):
            predicted = network[index].argmax()
            mark = "✓" if predicted == true else "✗"
            text = f"{letter} {mark} {names[predicted]}, {network[index][predicted]:.0%}"
            axes.text(13.5, 31 + 4 * place, text, color=COLOURS[place], fontsize=9, ha="center")
    return figure
