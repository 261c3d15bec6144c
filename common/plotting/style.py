"""The style of all figures: sizes, colours, the scales of accuracy and loss, grids of pictures."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.scale import FuncScale, register_scale
from matplotlib.ticker import Locator, MaxNLocator, NullLocator

WIDTH, DPI = 10, 100  # inches and dots per inch: figures are 1,000 pixels wide

# Okabe and Ito's colours, which colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX"
VALIDATION_COLOUR, TRAINING_COLOUR = "#0072B2", "#E69F00"
RIGHT_COLOUR, WRONG_COLOUR = "#0072B2", "#D55E00"

# An axis has the ticks of the first row of which it shows at least four.
ACCURACY_TICKS = (
    (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995),
    (*np.arange(0, 90, 5) / 100, *np.arange(90, 99) / 100, 0.985, 0.99, 0.992, 0.994, 0.996, 0.998),
)
LOSS_TICKS = [
    np.outer(10.0 ** np.arange(-5, 4), digits).ravel()
    for digits in ([1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7])
]
# What the logarithmic axes can show. Values outside are drawn on the edge.
DRAWABLE = {"accuracy": (0, 0.9998), "loss": (1e-4, 1e3)}


def titled(title: str, caption: str, height: float, width: float = WIDTH) -> Figure:
    """An empty figure with a title above and a caption below; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    lines = [textwrap.fill(line, 140) for line in caption.split("\n")]
    figure.supxlabel("\n".join(lines), fontsize=9, style="italic")
    return figure


def percent(fraction: float, _: object = None) -> str:
    """A tick label: 0.985 is "98.5 %"."""
    return f"{100 * fraction:.5g} %"


class RoundLocator(Locator):
    """Ticks at round numbers, as many as an axis needs: `rows` of candidates, few to many."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self):
        lowest, highest = sorted(self.axis.get_view_interval())
        for row in (*self.rows, MaxNLocator(5).tick_values(lowest, highest)):
            ticks = [tick for tick in row if lowest <= tick <= highest]
            if len(ticks) > 3:
                break
        return ticks


class AccuracyScale(FuncScale):
    """Logarithmic in the fraction of errors: 99 % and 99.5 % are as far apart as 80 % and 90 %."""

    name = "accuracy"

    def __init__(self, *_):  # matplotlib before 3.11 passes the axis
        super().__init__(None, (lambda x: -np.log10(np.maximum(1 - x, 1e-9)), lambda y: 1 - 10**-y))

    def set_default_locators_and_formatters(self, axis):
        axis.set_major_locator(RoundLocator(ACCURACY_TICKS))
        axis.set_major_formatter(percent)
        axis.set_minor_locator(NullLocator())

    def limit_range_for_scale(self, vmin, vmax, minpos):
        return max(vmin, 0), min(vmax, 0.9999)


register_scale(AccuracyScale)


def set_quantity(axes, quantity: str) -> None:
    """Make y the "accuracy" or the "loss" of the curves in `axes`, on a logarithmic scale."""
    axes.grid(alpha=0.3)
    axes.set_yscale("log" if quantity == "loss" else "accuracy")
    if quantity == "loss":
        axes.yaxis.set_major_locator(RoundLocator(LOSS_TICKS))
        axes.yaxis.set_major_formatter(lambda loss, _: f"{loss:.3g}")
        axes.yaxis.set_minor_locator(NullLocator())
    if not axes.lines:
        axes.text(0.5, 0.5, "no validation images", ha="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])


def show_grid(axes, rows: Sequence[Sequence[np.ndarray]], columns: int, **style):
    """Draw rows of pictures, grey or RGB, the middle of each at (column, row); return the last."""
    for row, pictures in enumerate(rows):  # in one `axes`, because matplotlib is slow with many
        for column, picture in enumerate(pictures):
            extent = (column - 0.47, column + 0.47, row + 0.47, row - 0.47)
            shown = axes.imshow(picture, **{"cmap": "gray", "extent": extent, **style})
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set(xticks=[], yticks=[], frame_on=False)
    axes.tick_params(length=0)
    return shown


def write_above(axes, x: float, text: str, points: float = 3, **style) -> None:
    """Write above the picture in the first row and column `x`, so many points higher."""
    style = {"ha": "center", "va": "bottom", "fontsize": 8, "annotation_clip": False} | style
    axes.annotate(text, (x, -0.48), (0, points), textcoords="offset points", **style)


def first_of(shown: int, total: int, noun: str) -> str:
    """`All 24 filters`, or `The first 48 of 512 filters`."""
    return f"All {total} {noun}" if shown == total else f"The first {shown} of {total:,} {noun}"
