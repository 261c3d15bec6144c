"""The style of all figures, and those that show numbers: curves, sweep, confusions, calibration.

Each function gives a matplotlib Figure. pyplot stays out of it, so nothing needs a screen.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from common.plotting.calibration import Calibration
from experiment.runs.folder import History
from experiment.train.training import Schedule

WIDTH, DPI = 10, 100  # inches and dots per inch: figures are 1,000 pixels wide

# Okabe and Ito's colours, which colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/).
TRAINING_COLOUR, VALIDATION_COLOUR = "#E69F00", "#0072B2"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX"
RIGHT_COLOUR, WRONG_COLOUR = "#0072B2", "#D55E00"
RIGHT_COLOURS, WRONG_COLOURS = "Blues", "Oranges"

# The same axes in the curves of every run on a dataset, so that two pictures can be laid side by
# side. A sweep's axes fit what it shows, with finer ticks where these are too few.
ACCURACY_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
PERCENTS = (*range(0, 90, 5), *range(90, 98), 98, 98.5, 99, 99.2, 99.4, 99.6, 99.8, 99.9)
FINE_ACCURACY_TICKS = [percent / 100 for percent in PERCENTS]
HIGHEST_ACCURACY = {"mnist": 0.9998, "fashion_mnist": 0.998}
LOSS_RANGE = {"mnist": (0.001, 5), "fashion_mnist": (0.01, 5)}
RATE_RANGE = (1e-5, 1)
SCHEDULE_STEPS = 100  # an epoch, where the learning rate is drawn


def titled(title: str, caption: str, height: float) -> Figure:
    """An empty figure, `height` inches high: a title above, what it shows in words below."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title)
    figure.supxlabel(textwrap.fill(caption, 140), fontsize=9, style="italic")
    return figure


def curves(
    histories: Sequence[History],
    dataset_name: str,
    title: str,
    handicaps: Sequence[str] = (),
    schedule: Schedule | None = None,
) -> Figure:
    """Accuracy, loss and learning rate over the epochs, training dashed and validation solid.

    Several histories, one for each seed, become their mean and a band from lowest to highest. A
    star marks the best epoch on validation. Accuracy and loss are logarithmic, accuracy in the
    share of errors, so that 99.0 % and 99.5 % are as far apart as 80 % and 90 %. `handicaps` are
    what training is measured under and validation is not, such as dropout: a note below says so.
    `schedule` has SCHEDULE_STEPS steps an epoch. Raises ValueError when no epoch was finished.
    """
    epochs = max(len(history.rows) for history in histories)
    if not epochs:
        raise ValueError("no epoch was finished")
    figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # room for the note, also without one
    figure.suptitle(title)
    panels, strips = figure.subplots(2, 2, sharex=True, height_ratios=(6, 1))
    accuracy_axes, loss_axes = panels
    _lines(accuracy_axes, histories, "accuracy", (0, HIGHEST_ACCURACY[dataset_name]))
    _lines(loss_axes, histories, "loss", LOSS_RANGE[dataset_name])
    _scale(accuracy_axes, loss_axes, (0, HIGHEST_ACCURACY[dataset_name]), LOSS_RANGE[dataset_name])
    accuracy_axes.set(ylabel="accuracy")
    loss_axes.set(ylabel="loss (cross-entropy)", xlim=(0, epochs + 0.5))
    # The corners that a curve stays away from, whether it learns or not.
    accuracy_axes.legend(loc="upper left")
    loss_axes.legend(loc="lower left")
    for axes in strips:
        _rates(axes, histories[0], schedule)
    strips[0].set_ylabel("learning\nrate", fontsize=9)
    if handicaps:
        note = (
            f"Training is measured during the epoch and with {' and '.join(handicaps)}, validation "
            "after it and without: training looks worse than it is."
        )
        figure.text(0.5, 0.013, note, ha="center", fontsize=9, style="italic")
    return figure


def _rates(axes, history: History, schedule: Schedule | None) -> None:
    """The learning rate at each epoch's end, and the schedule that it comes from."""
    if schedule:
        steps = range(schedule.steps + 1)
        rates = np.clip([schedule(step) for step in steps], *RATE_RANGE)
        axes.plot(np.array(steps) / SCHEDULE_STEPS, rates, color="0.3", lw=1.2)
    rates = np.clip(history.column("learning_rate"), *RATE_RANGE)
    axes.plot(history.column("epoch"), rates, "o", color="0.3", ms=3)
    axes.set(xlabel="epoch", yscale="log", ylim=(RATE_RANGE[0] / 1.5, RATE_RANGE[1] * 1.5))
    axes.yaxis.set_major_locator(FixedLocator([1e-4, 1e-2, 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def _scale(
    accuracy_axes, loss_axes, accuracies: tuple[float, float], losses: tuple[float, float]
) -> None:
    lowest, highest = accuracies
    accuracy_axes.set_yscale("function", functions=(error_decades, accuracy_of_error_decades))
    accuracy_axes.set_ylim(lowest, highest)
    for ticks in (ACCURACY_TICKS, FINE_ACCURACY_TICKS):
        ticks = [tick for tick in ticks if lowest <= tick < highest]
        if len(ticks) > 3:
            break
    accuracy_axes.yaxis.set_major_locator(FixedLocator(ticks))
    accuracy_axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    loss_axes.set_yscale("log")
    loss_axes.set_ylim(*losses)
    if losses[1] / losses[0] < 100:  # too little for a tick at each power of ten
        ticks = [digit * 10**power for power in range(-4, 3) for digit in (1, 1.5, 2, 3, 5, 7)]
        loss_axes.yaxis.set_major_locator(FixedLocator(ticks))
    loss_axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:.3g}"))
    for axes in (accuracy_axes, loss_axes):
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)


def _lines(axes, histories: Sequence[History], quantity: str, limits: tuple[float, float]) -> None:
    styles = (
        ("training", quantity, TRAINING_COLOUR, "--"),
        ("validation", f"validation_{quantity}", VALIDATION_COLOUR, "-"),
    )
    for label, column, colour, line in styles:
        length = min(len(history.rows) for history in histories)
        values = np.array([history.column(column)[:length] for history in histories])
        if np.isnan(values).all():
            continue
        centre = values.mean(axis=0)
        # What lies outside the axes is drawn on their edge rather than not at all.
        shown = np.clip(values, *limits)
        epochs = np.arange(1, length + 1)
        axes.plot(epochs, shown.mean(axis=0), line, color=colour, label=label, marker="o", ms=3)
        if len(histories) > 1:
            lowest, highest = shown.min(axis=0), shown.max(axis=0)
            axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.2, linewidth=0)
        if label == "validation":
            best = int(np.nanargmax(centre) if quantity == "accuracy" else np.nanargmin(centre))
            value = f"{centre[best]:.2%}" if quantity == "accuracy" else f"{centre[best]:.4f}"
            label = f"best validation: {value} after epoch {best + 1}"
            place = shown.mean(axis=0)[best]
            axes.plot(best + 1, place, "*", color=WRONG_COLOUR, ms=11, label=label, zorder=3)


def sweep(
    groups: Sequence[tuple[str, Sequence[History], Sequence[float]]],
    option_names: str,
    title: str,
) -> Figure:
    """What several values of an option do: curves over the epochs, and test accuracies.

    A group is a label, the histories of its seeds, and their test accuracies. The curves are means
    over the seeds: validation solid, training's loss dashed. A dot is a seed's test accuracy, a
    bar the mean and one standard deviation to each side. The axes fit what is shown.
    """
    figure = Figure(figsize=(13, max(5.2, 1.8 + 0.42 * len(groups))), layout="constrained")
    figure.suptitle(title)
    accuracy_axes, loss_axes, test_axes = figure.subplots(1, 3)
    panels = (
        (accuracy_axes, "validation_accuracy", "-"),
        (loss_axes, "validation_loss", "-"),
        (loss_axes, "loss", "--"),
    )
    colours = _colours(len(groups))
    shown = {accuracy_axes: [], loss_axes: []}
    for place, ((_, histories, accuracies), colour) in enumerate(zip(groups, colours, strict=True)):
        length = min(len(history.rows) for history in histories)
        for axes, column, line in panels:
            values = np.mean([history.column(column)[:length] for history in histories], axis=0)
            if axes is accuracy_axes:  # no logarithm can show a network without errors
                values = np.minimum(values, 0.9999)
            marker = MARKERS[place % len(MARKERS)] if length <= 30 and line == "-" else ""
            epochs = np.arange(1, length + 1)
            axes.plot(epochs, values, line, color=colour, marker=marker, ms=4, lw=1.5)
            shown[axes].extend(values[np.isfinite(values)])
        test_axes.plot(accuracies, [place] * len(accuracies), "o", color=colour, ms=5, alpha=0.7)
        if len(accuracies) > 1:
            centre, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
            test_axes.errorbar(
                centre, place, xerr=deviation, color=colour, fmt="|", ms=18, capsize=5, lw=2
            )
    accuracies = np.array(shown[accuracy_axes] or [0, 0.99])
    lowest, highest = error_decades(accuracies.min()), error_decades(accuracies.max())
    edge = 0.06 * (highest - lowest) + 0.1
    limits = accuracy_of_error_decades(np.array([max(lowest - edge, 0), highest + edge]))
    losses = np.clip(shown[loss_axes] or 1, 1e-4, 1e3)
    _scale(accuracy_axes, loss_axes, tuple(limits), (losses.min() / 1.2, losses.max() * 1.2))

    accuracy_axes.set(xlabel="epoch", ylabel="validation accuracy")
    loss_axes.set(xlabel="epoch", ylabel="loss: validation solid, training dashed")
    test_axes.set(xlabel="test accuracy", ylabel=option_names, ylim=(len(groups) - 0.5, -0.5))
    for axes in (accuracy_axes, loss_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    test_axes.set_yticks(range(len(groups)), [label for label, *_ in groups], fontweight="bold")
    for label, colour in zip(test_axes.get_yticklabels(), colours, strict=True):
        label.set_color(colour)
    test_axes.xaxis.set_major_locator(MaxNLocator(4))
    test_axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    test_axes.grid(alpha=0.3)
    return figure


def _colours(count: int) -> list:
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return list(colormaps["viridis"](np.linspace(0, 0.92, count)))


def error_decades(accuracy: np.ndarray) -> np.ndarray:
    """The decimal logarithm of one over the share of errors: 0.9 is 1, 0.99 is 2, 0.999 is 3."""
    return -np.log10(np.clip(1 - np.asarray(accuracy, float), 1e-9, None))


def accuracy_of_error_decades(decades: np.ndarray) -> np.ndarray:
    """The accuracy that `error_decades` gives these decades for."""
    return 1 - 10 ** -np.asarray(decades, float)


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Counts (true class, predicted class), coloured by their share of the row.

    The diagonal and the mistakes have colours and scales of their own, because on one scale the
    mistakes of a network that is right 99 times in 100 could not be seen.
    """
    caption = (
        "A row is a class, its numbers what the network took its test images for. Blue: right; "
        "orange: wrong, darker the greater their share of the row, on a scale of its own."
    )
    figure = titled(title, caption, 9)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    mistakes = np.ma.masked_where(diagonal | (counts == 0), shares)
    worst = max(mistakes.max(), 1e-9) if mistakes.count() else 1
    axes.imshow(np.ma.masked_where(~diagonal, shares), cmap=RIGHT_COLOURS, vmin=0, vmax=1.6)
    axes.imshow(mistakes, cmap=WRONG_COLOURS, vmin=0, vmax=1.4 * worst)
    for true, predicted in zip(*np.nonzero(counts), strict=True):
        axes.text(predicted, true, counts[true, predicted], ha="center", va="center")
    places = range(len(class_names))
    longest = max(len(name) for name in class_names)
    axes.set_xticks(places, class_names, rotation=45 if longest > 2 else 0,
                    ha="right" if longest > 2 else "center")  # fmt: skip
    axes.set_yticks(places, class_names)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def calibration(measured: Calibration, title: str) -> Figure:
    """A reliability diagram: how often the network is right where it says it is so sure.

    Above, the share of right predictions in each bin of confidence, with its 95 % interval; below,
    the number of images in the bin. After Guo and others, https://arxiv.org/abs/1706.04599.
    """
    caption = (
        f"Expected calibration error {measured.error:.2%}: the mean distance of the bars from the "
        f"diagonal, weighted by their images ({len(measured.counts)} bins). Above the diagonal "
        "the network is more often right than it says, below less often. Lines: 95 % intervals."
    )
    figure = titled(title, caption, 7)
    axes, count_axes = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
    left, width = measured.edges[:-1], np.diff(measured.edges)
    filled = measured.counts > 0
    axes.bar(left, measured.accuracy, width, align="edge", color=RIGHT_COLOUR, alpha=0.35,
             edgecolor=RIGHT_COLOUR, label="right predictions")  # fmt: skip
    spread = np.abs(measured.interval - measured.accuracy)[:, filled]
    axes.errorbar(
        measured.confidence[filled], measured.accuracy[filled], spread, fmt="o", ms=5, capsize=3,
        color=WRONG_COLOUR, label="at the bin's mean confidence",
    )  # fmt: skip
    axes.plot([0, 1], [0, 1], "--", color="0.3", lw=1.2, label="perfect calibration")
    axes.set(ylabel="share of right predictions", ylim=(0, 1.02), xlim=(0, 1.005))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    count_axes.bar(left, measured.counts, width, align="edge", color="0.7", edgecolor="0.4")
    for place, count in zip(left + width / 2, measured.counts, strict=True):
        if count:
            text = f"{count:,}"
            count_axes.annotate(text, (place, count), (0, 2), textcoords="offset points",
                                ha="center", fontsize=8)  # fmt: skip
    count_axes.set(xlabel="confidence: the predicted class's probability", ylabel="test images")
    count_axes.set(yscale="log", ylim=(0.7, 12 * max(measured.counts.max(), 10)))
    for each in (axes, count_axes):
        each.grid(alpha=0.3)
        each.set_axisbelow(True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    return figure
