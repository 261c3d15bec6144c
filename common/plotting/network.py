"""What a network has learned: its filters, feature maps and attention; augmented images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from common.plotting.style import first_of, show_grid, titled, write_above

FILTERS_SHOWN, FILTER_COLUMNS = 48, 8
MAPS_SHOWN, EXAMPLES_SHOWN = 12, 10  # rows of the feature maps; columns there and in attention
HEAT_COLOUR = "#E69F00"


def filters(name: str, weights: np.ndarray, title: str) -> Figure:
    """The weights of the first layer, float (filters, height, width), as images."""
    shown = weights[:FILTERS_SHOWN]
    height, width = weights.shape[1:]
    noun = "filter" if height < 28 else "unit"  # a unit of a dense layer sees the whole image
    caption = (
        f"{first_of(len(shown), len(weights), f'{noun}s')} of {name}, {height} x {width} weights "
        f"each. Red: a bright pixel there raises the {noun}'s output. Blue: it lowers it."
    )
    # A few weights may be far larger than the rest, which would then be pale.
    strongest = np.percentile(np.abs(np.nan_to_num(shown)), 99.5) or 1
    rows = np.split(shown, range(FILTER_COLUMNS, len(shown), FILTER_COLUMNS))
    figure = titled(title, caption, 1 + 1.08 * len(rows))
    axes = figure.subplots()
    picture = show_grid(axes, rows, FILTER_COLUMNS, cmap="RdBu_r", vmin=-strongest, vmax=strongest)
    figure.colorbar(picture, ax=axes, label="weight", aspect=30, pad=0.01, extend="both")
    return figure


def feature_maps(images: np.ndarray, maps: dict, names: Sequence[str], title: str) -> Figure:
    """The output `maps` of each convolution, as `grad_cam.feature_maps` gives it, for `images`."""
    caption = (
        "Each column is an image, each row the output of one filter: bright where it responds "
        "most. A row has one scale; if it is dark, the filter responds to none of these images."
    )
    most = max(1, MAPS_SHOWN // len(maps))
    counts = [1, *(min(most, values.shape[-1]) for values in maps.values())]
    figure = titled(title, caption, 1.3 + 0.97 * sum(counts) + 0.2 * len(maps))
    panels = figure.subplots(len(counts), height_ratios=counts)
    show_grid(panels[0], [images], EXAMPLES_SHOWN, vmin=0, vmax=255)
    for column, name in enumerate(names):
        write_above(panels[0], column, name)
    for axes, count, (name, values) in zip(panels[1:], counts[1:], maps.items(), strict=True):
        _, height, width, filters = values.shape
        rows = np.moveaxis(values, -1, 0)[:count]
        rows = rows - rows.min(axis=(1, 2, 3), keepdims=True)
        rows /= np.maximum(rows.max(axis=(1, 2, 3), keepdims=True), np.finfo(np.float32).tiny)
        show_grid(axes, rows, EXAMPLES_SHOWN, cmap="viridis", vmin=0, vmax=1)
        heading = f"{first_of(count, filters, 'filters')} of {name}: maps of {height} x {width}"
        axes.set_title(heading, loc="left", fontsize=9)
        axes.set_yticks(range(count), range(1, count + 1), fontsize=8)
    return figure


def attention(parts: Sequence[tuple], layer: str, title: str) -> Figure:
    """Grad-CAM: where the network sees evidence for a class, computed at `layer`.

    A part is a heading; images, uint8 (n, 28, 28); their heat, as `grad_cam` gives it, by the
    kind of class; true class, predicted class and probability of each image.
    """
    caption = (
        f"Grad-CAM (arXiv:1610.02391) at layer {layer}. Orange: evidence for the class named on "
        "the left, relative to its maximum in the image; no orange: the method finds none."
    )
    counts = [1 + len(heats) for _, _, heats, _ in parts]
    figure = titled(title, caption, 1 + 0.75 * len(parts) + 0.9 * sum(counts))
    panels = figure.subplots(len(parts), height_ratios=counts, squeeze=False)[:, 0]
    for axes, (heading, images, heats, answers) in zip(panels, parts, strict=True):
        grey = np.repeat(images[..., None] / 255, 3, axis=3)
        rows = [grey]
        for heat in heats.values():
            opacity = 0.9 * heat[..., None]
            rows.append((1 - opacity) * 0.6 * grey + opacity * np.array(to_rgb(HEAT_COLOUR)))
        show_grid(axes, rows, EXAMPLES_SHOWN)
        labels = ["image", *(f"for the\n{name}" for name in heats)]
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_title(heading, loc="left", fontsize=10, pad=38)
        write_above(axes, -0.55, "true class\npredicted\nprobability", ha="right", color="0.4")
        for column, answer in enumerate(answers):
            write_above(axes, column, "\n".join(answer))
    return figure


def augmentation(examples: dict, class_names: Sequence[str], title: str) -> Figure:
    """Training images beside augmented copies: what `augmentation_examples` gives."""
    caption = "Left: training images. Right: augmented copies, which the network is trained on."
    rows, copies = examples["varied"].shape[:2]
    figure = titled(title, caption, 1 + 1.08 * rows)
    left, right = figure.subplots(1, 2, width_ratios=(1, copies))
    show_grid(left, examples["originals"][:, None], 1, vmin=0, vmax=255)
    show_grid(right, examples["varied"], copies, vmin=0, vmax=255)
    names = [class_names[label] for label in examples["labels"]]
    left.set(yticks=range(rows), yticklabels=names, title="original")
    right.set_title("augmented")
    return figure
