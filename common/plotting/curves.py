"""Training curves of one run, and of the values of an option side by side."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from common.plotting import style

History = Mapping[str, Sequence[float]]  # the columns of history.csv: a value for each epoch

# The same axes for all runs on a dataset, so that two figures can be laid side by side.
RANGES = {
    "mnist": {"accuracy": (0, 0.9998), "loss": (0.001, 5)},
    "fashion_mnist": {"accuracy": (0, 0.998), "loss": (0.01, 5)},
}
RATE_RANGE = (1e-5, 1)
LABELLED_EPOCHS = 3  # the curves of more say enough by themselves
GUESSING = {"accuracy": 0.1, "loss": np.log(10)}  # of ten classes, each as probable


def curves(
    histories: Sequence[History],
    dataset_name: str,
    title: str,
    regularizers: Sequence[str] = (),
    schedule: tuple[np.ndarray, np.ndarray] | None = None,
    kept: Sequence[int] = (),
) -> Figure:
    """Accuracy, loss and learning rate by epoch; of several seeds the mean and the range.

    `regularizers`: what is on in training and off in validation, such as dropout. `schedule`:
    epochs and the learning rate at each. `kept`: the epoch of each seed whose weights are kept, if
    that is not the last. Raises ValueError when no epoch was finished.
    """
    epochs = max(len(history["epoch"]) for history in histories)
    if not epochs:
        raise ValueError("no epoch was finished")
    note = "Training is measured during the epoch, validation after it"
    if regularizers:
        note += f" and without {' and '.join(regularizers)}: training looks worse than it is"
    used = f"epoch {' and '.join(map(str, kept))}, the best by validation loss (dotted)"
    used = used if kept else "the last epoch, not of the best one"
    note += f".\nThe test uses the weights of {used}."
    if epochs == 1:
        note += " A curve has a point for each epoch: here only one."
    figure = style.titled(title, note, 6.4)
    places = [["accuracy", "loss"], ["rate", "loss"]]
    panels = figure.subplot_mosaic(places, sharex=True, height_ratios=(6, 1))
    for quantity, limits in RANGES[dataset_name].items():
        _draw_quantity(panels[quantity], histories, quantity, limits)
    _draw_rates(panels["rate"], histories[0], schedule)
    for axes, epoch in itertools.product(panels.values(), kept):
        axes.axvline(epoch, color="0.3", lw=1, ls=":", zorder=0)
    panels["accuracy"].tick_params(labelbottom=False)
    panels["accuracy"].set(ylabel="accuracy", xlim=(0, epochs + 0.5))
    panels["loss"].set(ylabel="loss (cross-entropy)", xlabel="epoch")
    panels["rate"].set_ylabel("learning\nrate", fontsize=9)
    panels["accuracy"].legend(loc="upper left")  # in corners that curves stay away from
    panels["loss"].legend(loc="lower left")
    return figure


def _draw_quantity(axes, histories: Sequence[History], quantity: str, limits: tuple) -> None:
    """Draw training dashed, validation solid, and a star at validation's best epoch.

    The few points of a short run have their values beside them.
    """
    form = ".2%" if quantity == "accuracy" else ".4f"
    look = {"limits": limits, "band": 0.2, "marker": "o", "ms": 3}
    dashed = {"color": style.TRAINING_COLOUR, "ls": "--"}
    draw_mean(axes, histories, quantity, label="training", **dashed, **look)
    name, solid = f"validation_{quantity}", {"color": style.VALIDATION_COLOUR}
    draw_mean(axes, histories, name, label="validation", **solid, **look)
    mean = columns(histories, name).mean(axis=0)
    if len(mean) <= LABELLED_EPOCHS:
        above = quantity == "loss"  # where training usually lies above validation
        look = {"ha": "center", "va": "center", "fontsize": 9, "textcoords": "offset points"}
        for line, up in zip(axes.lines, (above, not above), strict=False):
            look |= {"xytext": (0, 12 if up else -12), "color": line.get_color()}
            for point in line.get_xydata():
                axes.annotate(f"{point[1]:{form}}", point, in_layout=False, **look)
    if np.isfinite(mean).any():
        best = (np.nanargmax if quantity == "accuracy" else np.nanargmin)(mean)
        star = {"color": style.WRONG_COLOUR, "ms": 11, "zorder": 3}
        label = f"best validation: {mean[best]:{form}} after epoch {best + 1}"
        axes.plot(best + 1, axes.lines[-1].get_ydata()[best], "*", label=label, **star)
    style.set_quantity(axes, quantity)
    axes.axhline(GUESSING[quantity], color="0.3", lw=1, ls=":", zorder=0)
    at = axes.get_yaxis_transform()
    axes.text(0.99, GUESSING[quantity], "guessing", transform=at, ha="right", va="bottom", size=8)
    axes.set_ylim(limits)


def _draw_rates(axes, history: History, schedule: tuple[np.ndarray, np.ndarray] | None) -> None:
    """Draw the learning rate at the end of each epoch, and the schedule as a line."""
    if schedule:
        axes.plot(schedule[0], np.clip(schedule[1], *RATE_RANGE), color="0.3", lw=1.2)
    axes.plot(history["epoch"], np.clip(history["learning_rate"], *RATE_RANGE), "o", c="0.3", ms=3)
    axes.set(xlabel="epoch", yscale="log", ylim=(RATE_RANGE[0] / 1.5, RATE_RANGE[1] * 1.5))
    axes.set_yticks([1e-4, 1e-2, 1], ["0.0001", "0.01", "1"])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)


def sweep(
    groups: Sequence[tuple[str, Sequence[History], Sequence[float]]], options: str, title: str
) -> Figure:
    """What the values of `options` do: mean curves by epoch, and the test accuracies.

    A group is a label, the histories of its seeds and their test accuracies: dots, mean and sd.
    """
    figure = style.titled(title, "", max(5.2, 1.8 + 0.42 * len(groups)), width=13)
    accuracy_axes, loss_axes, test_axes = figure.subplots(1, 3)
    colours = style.COLOURS[: len(groups)]
    if len(groups) > len(style.COLOURS):
        colours = colormaps["viridis"](np.linspace(0, 0.92, len(groups)))
    for place, ((_, histories, accuracies), colour) in enumerate(zip(groups, colours, strict=True)):
        look = {"color": colour, "lw": 1.5, "ms": 4}
        marker = style.MARKERS[place % 7] if len(histories[0]["epoch"]) <= 30 else ""
        draw_mean(accuracy_axes, histories, "validation_accuracy", marker=marker, **look)
        draw_mean(loss_axes, histories, "validation_loss", marker=marker, **look)
        draw_mean(loss_axes, histories, "loss", ls="--", marker=marker and "x", **look)
        test_axes.plot(accuracies, [place] * len(accuracies), "o", color=colour, ms=5, alpha=0.7)
        if len(accuracies) > 1:
            bar = {"color": colour, "fmt": "|", "ms": 18, "capsize": 5, "lw": 2}
            test_axes.errorbar(np.mean(accuracies), place, xerr=np.std(accuracies, ddof=1), **bar)
    accuracy_axes.set(xlabel="epoch", ylabel="validation accuracy")
    loss_axes.set(xlabel="epoch", ylabel="loss: validation solid, training dashed (x)")
    for axes, quantity in ((accuracy_axes, "accuracy"), (loss_axes, "loss")):
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.set_quantity(axes, quantity)
    test_axes.set(xlabel="test accuracy", ylabel=options, ylim=(len(groups) - 0.5, -0.5))
    test_axes.set_yticks(range(len(groups)), [label for label, *_ in groups], fontweight="bold")
    for label, colour in zip(test_axes.get_yticklabels(), colours, strict=True):
        label.set_color(colour)
    test_axes.xaxis.set_major_locator(MaxNLocator(4))
    test_axes.xaxis.set_major_formatter(style.percent)
    test_axes.grid(alpha=0.3)
    return figure


def columns(histories: Sequence[History], name: str) -> np.ndarray:
    """A column of each history: float (seeds, epochs), as many epochs as the shortest one has."""
    length = min(len(history[name]) for history in histories)
    return np.array([history[name][:length] for history in histories], float)


def draw_mean(axes, histories, name: str, limits=None, times=None, band: float = 0, **look) -> None:
    """Draw a column's mean over the seeds against `times` or the epochs, if it has values.

    `limits`: of what is drawn; `band`: opacity of a band from the lowest to the highest seed.
    """
    values = columns(histories, name)
    if not np.isfinite(values).any():
        return
    values = np.clip(values, *(limits or style.DRAWABLE[name.removeprefix("validation_")]))
    times = np.arange(1, values.shape[1] + 1) if times is None else times
    axes.plot(times, values.mean(axis=0), **look)
    if band and len(histories) > 1:
        lowest, highest = values.min(axis=0), values.max(axis=0)
        axes.fill_between(times, lowest, highest, color=look["color"], alpha=band, linewidth=0)
