"""Figures that show images: mistakes, filters, feature maps, attention, augmented copies.

Small pictures are put together into one array first, because matplotlib is slow with many axes.
The style is that of `plotting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from common.plotting.curves import RIGHT_COLOUR, WRONG_COLOUR, titled

MISTAKE_ROWS, MISTAKE_COLUMNS = 4, 5
FILTERS_SHOWN, FILTER_COLUMNS = 48, 8
MAPS_SHOWN = 10  # filters in the feature maps' figure, all layers together
EXAMPLES_SHOWN = 10  # columns of the feature maps and of attention
HEAT_COLOUR = "#E69F00"


def mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    chosen: np.ndarray,
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """The test images that a network was most confidently wrong about.

    `images`: uint8 (n, 28, 28); `labels`: (n,); `probabilities`: (n, classes); `chosen`: the
    indices of the mistakes, the surest first.
    """
    shown = chosen[: MISTAKE_ROWS * MISTAKE_COLUMNS]
    if not len(shown):
        return titled(title, f"No mistake in {len(labels):,} test images.", 1.2)
    caption = (
        f"{_first(len(shown), len(chosen), 'mistakes')} in {len(labels):,} test images, the most "
        "confident first: the class predicted and its probability, the true class and its "
        "probability, and the image's number in the test set, counted from 0."
    )
    rows = -(-len(shown) // MISTAKE_COLUMNS)
    figure = titled(title, caption, 1 + 2.15 * rows)
    for row, axes in enumerate(figure.subplots(rows, 1, squeeze=False)[:, 0]):
        these = shown[row * MISTAKE_COLUMNS : (row + 1) * MISTAKE_COLUMNS]
        _show(axes, images[None, these], MISTAKE_COLUMNS, vmin=0, vmax=255)
        for column, i in enumerate(these):
            predicted, true = probabilities[i].argmax(), labels[i]
            lines = (
                (15, WRONG_COLOUR, f"predicted {class_names[predicted]}: ", predicted),
                (3, RIGHT_COLOUR, f"no. {i} is {class_names[true]}: ", true),
            )
            for height, colour, text, label in lines:
                text += f"{probabilities[i, label]:.1%}"
                _write_above(axes, column, text, height, color=colour)
    return figure


def filters(name: str, weights: np.ndarray, title: str) -> Figure:
    """The first layer's weights (filters, height, width) as images."""
    shown = weights[:FILTERS_SHOWN]
    height, width = weights.shape[1:]
    kind = "filter" if height < 28 else "unit"  # a dense layer's units see the whole image
    caption = (
        f"{_first(len(shown), len(weights), f'{kind}s')} of {name}, {height} x {width} weights "
        f"each. Red: light there raises the {kind}'s answer; blue: it lowers it; white: it makes "
        "no difference."
    )
    rows = -(-len(shown) // FILTER_COLUMNS)
    grid = np.full((rows * FILTER_COLUMNS, height, width), np.nan)
    grid[: len(shown)] = shown
    # A few weights may be far larger than the rest, and would leave that pale.
    strongest = np.percentile(np.abs(np.nan_to_num(shown)), 99.5) or 1
    figure = titled(title, caption, 1 + 1.08 * rows)
    axes = figure.subplots()
    limits = {"vmin": -strongest, "vmax": strongest, "colours": "RdBu_r"}
    picture = _show(
        axes, grid.reshape(rows, FILTER_COLUMNS, height, width), FILTER_COLUMNS, **limits
    )
    figure.colorbar(picture, ax=axes, label="weight", aspect=30, pad=0.01, extend="both")
    return figure


def feature_maps(
    images: np.ndarray, maps: dict[str, np.ndarray], names: Sequence[str], title: str
) -> Figure:
    """What each convolution makes of an image of each class.

    `images`: uint8 (n, 28, 28); `maps`: of each layer (n, height, width, filters); `names`: of the
    images' classes.
    """
    rows = max(1, MAPS_SHOWN // len(maps))
    caption = (
        "A column is an example, a row what one filter makes of it: dark where it finds nothing, "
        "bright where it finds most. All maps of a row share a scale; a row that is dark "
        "throughout is a filter that answers to none of these images."
    )
    counts = [1, *(min(rows, values.shape[-1]) for values in maps.values())]
    figure = titled(title, caption, 1.3 + 0.97 * sum(counts) + 0.2 * len(maps))
    panels = figure.subplots(len(counts), 1, height_ratios=counts)
    _show(panels[0], images[None], EXAMPLES_SHOWN, vmin=0, vmax=255)
    for column, name in enumerate(names):
        _write_above(panels[0], column, name)
    for axes, count, (name, values) in zip(panels[1:], counts[1:], maps.items(), strict=True):
        _, height, width, filters = values.shape
        values = values[..., :count]
        lowest, highest = (limit(values, axis=(0, 1, 2)) for limit in (np.min, np.max))
        values = (values - lowest) / np.where(highest > lowest, highest - lowest, 1)
        _show(axes, values.transpose(3, 0, 1, 2), EXAMPLES_SHOWN, colours="viridis", vmin=0, vmax=1)
        shown = _first(count, filters, "filters")
        axes.set_title(f"{shown} of {name}: maps of {height} x {width}", loc="left", fontsize=9)
        axes.set_yticks(range(count), range(1, count + 1), fontsize=8)
    return figure


def attention(
    parts: Sequence[tuple[str, np.ndarray, dict[str, np.ndarray], dict[str, Sequence[str]]]],
    layer: str,
    title: str,
) -> Figure:
    """Grad-CAM: where the network sees evidence for a class (https://arxiv.org/abs/1610.02391).

    A part of the figure is its heading, images uint8 (n, 28, 28), heat (n, 28, 28) from 0 to 1 for
    each class that there is to explain, and lines to write above the images. `layer`: where the
    heat was computed.
    """
    caption = (
        f"Grad-CAM (Selvaraju and others, 2017, arXiv:1610.02391) at layer {layer}. Orange: what "
        "speaks for the class named on the left. Each picture's strongest place has the full "
        "colour; where there is no orange, the method finds nothing that does."
    )
    counts = [1 + len(heats) for _, _, heats, _ in parts]
    figure = titled(title, caption, 1 + 0.75 * len(parts) + 0.9 * sum(counts))
    panels = figure.subplots(len(parts), 1, height_ratios=counts, squeeze=False)[:, 0]
    for axes, (heading, images, heats, lines) in zip(panels, parts, strict=True):
        rows = [_heated(images, heat) for heat in heats.values()]
        _show(axes, np.stack([_coloured(images), *rows]), EXAMPLES_SHOWN)
        labels = ["image", *(f"for the\n{name}" for name in heats)]
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_title(heading, loc="left", fontsize=10, pad=12 * len(lines) + 6)
        for place, (name, texts) in enumerate(reversed(lines.items())):
            _write_above(axes, -0.55, name, 3 + 12 * place, ha="right", color="0.4")
            for column, text in enumerate(texts):
                _write_above(axes, column, text, 3 + 12 * place)
    return figure


def augmentation(
    originals: np.ndarray, varied: np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """The first training image of each class beside augmented copies of it.

    `originals`: uint8 (n, 28, 28); `varied`: uint8 (n, copies, 28, 28); `names`: of their classes.
    """
    caption = "Left, the training image; beside it, what the network sees in its place."
    rows, copies = varied.shape[:2]
    figure = titled(title, caption, 1 + 1.08 * rows)
    left, right = figure.subplots(1, 2, width_ratios=(1, copies))
    _show(left, originals[:, None], 1, vmin=0, vmax=255)
    _show(right, varied, copies, vmin=0, vmax=255)
    left.set_yticks(range(rows), names)
    left.set_title("original", fontsize=10)
    right.set_title("augmented", fontsize=10)
    return figure


def _first(shown: int, of: int, what: str) -> str:
    """`All 24 filters`, or `The first 48 of 512 filters`."""
    return f"All {of} {what}" if shown == of else f"The first {shown} of {of} {what}"


def _coloured(images: np.ndarray) -> np.ndarray:
    """Grey images, uint8 (n, height, width), as coloured ones: (n, height, width, 3), 0 to 1."""
    return np.repeat(images[..., None] / 255, 3, axis=3)


def _heated(images: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Darkened images with colour where there is heat: (n, height, width, 3), from 0 to 1."""
    share = 0.9 * heat[..., None]
    return (1 - share) * 0.6 * _coloured(images) + share * np.array(to_rgb(HEAT_COLOUR))


def _show(axes, pictures: np.ndarray, columns: int, colours: str = "gray", **limits):
    """Draw pictures (rows, n, height, width), or coloured ones, in a grid of so many columns.

    The middle of each is at (column, row). What is not filled stays empty.
    """
    rows, count = pictures.shape[:2]
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.tick_params(length=0)
    picture = axes.imshow(
        tiled(pictures),
        colormaps[colours].with_extremes(bad=(0, 0, 0, 0)),
        extent=(-0.5, count - 0.5, rows - 0.5, -0.5),
        interpolation="nearest",
        **limits,
    )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    return picture


def tiled(pictures: np.ndarray) -> np.ndarray:
    """Pictures (rows, columns, height, width) as one, a gap around each: nan, in colours white."""
    rows, columns, height, width, *colours = pictures.shape
    for axis, side in ((2, height), (3, width)):  # so that a gap of one pixel is a narrow one
        pictures = pictures.repeat(max(1, round(28 / side)), axis)
    gaps = [(0, 0), (0, 0), (1, 1), (1, 1), *[(0, 0) for _ in colours]]
    fill = 1.0 if colours else np.nan
    pictures = np.pad(pictures.astype(float), gaps, constant_values=fill)
    height, width = pictures.shape[2:4]
    return pictures.swapaxes(1, 2).reshape(rows * height, columns * width, *colours)


def _write_above(axes, x: float, text: str, height: float = 3, **style) -> None:
    """Write above the first row's picture in column `x`, so many points higher."""
    style = {"ha": "center", "va": "bottom", "fontsize": 8} | style
    offset = {"textcoords": "offset points", "annotation_clip": False}
    axes.annotate(text, (x, -0.48), (0, height), **offset, **style)
