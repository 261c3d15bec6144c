"""What a network predicts: the confusion matrix, its calibration, its mistakes."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy import special

from common.plotting import style

MISTAKE_ROWS, MISTAKE_COLUMNS = 4, 5
WRONG_FRACTIONS = 0.001, 1  # of the images of a class, from the lightest orange to the darkest


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, float64 (n, classes). Raises ValueError when a logit is not finite."""
    if not np.isfinite(logits).all():
        raise ValueError("some of the network's outputs are not finite numbers")
    return special.softmax(logits.astype(np.float64), axis=1)


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of the wrong predictions, the most confident first."""
    (wrong,) = np.nonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def recognised_examples(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of an image of each class: the first that is predicted right, else the first."""
    wrong = probabilities.argmax(axis=1) != labels
    order = np.argsort(wrong, kind="stable")
    _, firsts = np.unique(labels[order], return_index=True)
    return order[firsts]


class Calibration(NamedTuple):
    """Confidence, the probability of the predicted class, and accuracy, in bins of confidence."""

    counts: np.ndarray  # images in each bin: int (bins,)
    confidence: np.ndarray  # their mean, nan in an empty bin
    accuracy: np.ndarray  # nan in an empty bin
    interval: np.ndarray  # the 95 % interval of accuracy (Wilson's): (2, bins)
    error: float  # the expected calibration error


def calibrate(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Calibration:
    """Compare confidence with accuracy. `probabilities`: (n, classes); `labels`: (n,).

    The expected calibration error is the mean of their differences, weighted by the images in
    each bin (https://arxiv.org/abs/1706.04599, equations 2 and 3).
    """
    from scipy.stats import binned_statistic, binomtest

    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    counts, _ = np.histogram(confidence, bins, (0, 1))
    hits, _ = np.histogram(confidence[right], bins, (0, 1))
    interval = np.full((2, bins), np.nan)
    for place in np.flatnonzero(counts):
        interval[:, place] = binomtest(hits[place], counts[place]).proportion_ci(method="wilson")
    both = [confidence, right]
    (confidence, accuracy), *_ = binned_statistic(confidence, both, "mean", bins, (0, 1))
    error = np.nansum(counts * np.abs(accuracy - confidence)) / len(labels)
    return Calibration(counts, confidence, accuracy, interval, float(error))


def calibration(
    probabilities: np.ndarray, labels: np.ndarray, title: str, label_smoothing: float = 0
) -> Figure:
    """A reliability diagram: accuracy by confidence, and below it the number of images."""
    measured = calibrate(probabilities, labels)
    bins = len(measured.counts)
    caption = (
        "A dot: the accuracy of a bar's images, at their mean confidence. Expected calibration "
        f"error {measured.error:.2%}: the dots' mean distance from the diagonal, weighted by "
        "images. Above the diagonal the network is right more often than it says"
    )
    if label_smoothing:
        target = 1 - label_smoothing * (1 - 1 / probabilities.shape[1])
        caption += f": label smoothing of {label_smoothing:g} aims at {style.percent(target)}"
    figure = style.titled(title, f"{caption}.", 7)
    axes, count_axes = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
    left, bar = np.arange(bins) / bins, {"width": 1 / bins, "align": "edge"}
    blue = {"color": style.RIGHT_COLOUR, "edgecolor": style.RIGHT_COLOUR, "alpha": 0.35}
    axes.bar(left, measured.accuracy, **bar, **blue, label="accuracy")
    spread = np.abs(measured.interval - measured.accuracy)
    dots = {"fmt": "o", "ms": 5, "capsize": 3, "color": style.WRONG_COLOUR}
    axes.errorbar(measured.confidence, measured.accuracy, spread, **dots, label="its 95 % interval")
    axes.plot([0, 1], [0, 1], "--", color="0.3", lw=1.2, label="perfect calibration")
    axes.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1.005), axisbelow=True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
    bars = count_axes.bar(left, measured.counts, **bar, color="0.7", edgecolor="0.4")
    labels = [f"{count:,}" if count else "" for count in measured.counts]
    count_axes.bar_label(bars, labels, padding=2, fontsize=8)
    count_axes.set(xlabel="confidence: the predicted class's probability", ylabel="test images")
    count_axes.set(yscale="log", ylim=(0.7, 12 * max(measured.counts.max(), 10)), axisbelow=True)
    for each in (axes, count_axes):
        each.grid(alpha=0.3)
    axes.yaxis.set_major_formatter(style.percent)
    axes.xaxis.set_major_formatter(style.percent)
    return figure


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Counts, int (true class, predicted class), coloured by their fraction of the row."""
    caption = (
        "A row shows how the test images of one class were predicted. Blue: right; orange: wrong. "
        "The darker, the greater the fraction of the row. The scales are the same in all figures."
    )
    figure = style.titled(title, caption, 9)
    axes = figure.subplots()
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)
    wrong = np.ma.masked_where(diagonal | (counts == 0), fractions)
    # Two scales: on one, the mistakes of a network with 1 % errors would be invisible. Both stop
    # at a shade on which black numbers are legible.
    axes.imshow(np.ma.masked_where(~diagonal, fractions), cmap="Blues", vmin=0, vmax=1.6)
    oranges = ListedColormap(colormaps["Oranges"](np.linspace(0.05, 0.7, 256)))
    shown = axes.imshow(wrong, oranges, norm=LogNorm(*WRONG_FRACTIONS, clip=True))
    bar = figure.colorbar(shown, ax=axes, shrink=0.6, label="wrong: fraction of the row")
    bar.ax.yaxis.set_major_formatter(style.percent)
    for true, predicted in np.argwhere(counts):
        axes.text(predicted, true, counts[true, predicted], ha="center", va="center")
    slanted = {"rotation": 45, "ha": "right"} if max(map(len, class_names)) > 2 else {}
    axes.set_xticks(range(len(class_names)), class_names, **slanted)
    axes.set_yticks(range(len(class_names)), class_names)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def mistakes(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    title: str,
    unconfirmed: Collection[int] = (),
) -> Figure:
    """The most confident mistakes. `images`: uint8 (n, 28, 28); `probabilities`: (n, classes).

    Framed are those that are `unconfirmed`: people did not confirm their labels.
    """
    wrong = confident_mistakes(probabilities, labels)
    if not len(wrong):
        return style.titled(title, f"No mistake in {len(labels):,} test images.", 1.2)
    shown = wrong[: MISTAKE_ROWS * MISTAKE_COLUMNS]
    caption = (
        f"{style.first_of(len(shown), len(wrong), 'mistakes')} in {len(labels):,} test images, "
        "the most confident first. Orange: the predicted class and its probability. Blue: the "
        "image's number in the test set (from 0), its true class and that class's probability."
    )
    if unconfirmed:
        doubtful = len({*wrong.tolist()} & {*unconfirmed})
        caption += f"\nFramed: {doubtful} of all {len(wrong):,}, whose label a majority of five "
        caption += "people did not confirm (arXiv:2103.14749). There, the network may be right."
    rows = np.split(shown, range(MISTAKE_COLUMNS, len(shown), MISTAKE_COLUMNS))
    figure = style.titled(title, caption, 1 + 2.15 * len(rows))
    for axes, row in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
        style.show_grid(axes, [images[row]], MISTAKE_COLUMNS, vmin=0, vmax=255)
        for column, index in enumerate(row.tolist()):
            if index in unconfirmed:
                corner, look = (column - 0.47, -0.47), {"fill": False, "lw": 4, "zorder": 3}
                axes.add_patch(Rectangle(corner, 0.94, 0.94, ec=style.COLOURS[2], **look))
            predicted, true = probabilities[index].argmax(), labels[index]
            text = f"predicted {names[predicted]}: {probabilities[index, predicted]:.1%}"
            style.write_above(axes, column, text, 15, color=style.WRONG_COLOUR)
            text = f"no. {index} is {names[true]}: {probabilities[index, true]:.1%}"
            style.write_above(axes, column, text, color=style.RIGHT_COLOUR)
    return figure
