"""The film of a training: first weights, hidden outputs in the plane, accuracy so far."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from PIL import Image

from common.files import atomic_path
from common.plotting import style
from common.plotting.curves import RANGES

HEIGHT = 5.6  # inches, which the gallery's templates know, too
SECONDS, LAST = 8, 3  # that the film takes, and then its last frame
CLASS_COLOURS = [colour for colour in style.COLOURS if colour != style.WRONG_COLOUR][:5]
MAP = "RdBu_r"
CAPTION = (
    "Left: weights of the first layer; red raises an output, blue lowers it. Right: {} validation "
    "images, where the last hidden layer puts them (principal components of the last epoch)."
)


def frames(
    film: dict, accuracies: Sequence[float], dataset: str, names: Sequence[str], title: str
) -> Iterator[np.ndarray]:
    """A picture, uint8 (560, 1000, 3), of each frame of `film`, which is what film.npz holds.

    `accuracies`: on all validation images after each epoch; frames of later epochs are left out.
    """
    known = film["epochs"] <= len(accuracies)
    film = {name: part if name == "labels" else part[known] for name, part in film.items()}
    labels, points, weights = film["labels"], plane(film["hidden"]), film["weights"].astype(float)
    figure = style.titled(title, CAPTION.format(len(labels)), HEIGHT)
    canvas = FigureCanvasAgg(figure)
    places = {"width_ratios": (2, 3), "height_ratios": (3, 2)}
    panels = figure.subplot_mosaic([["weights", "plane"], ["accuracy", "plane"]], **places)
    line = draw_accuracy(panels["accuracy"], accuracies, RANGES[dataset]["accuracy"])
    *classes, rings, heading = draw_plane(panels["plane"], names)
    pictures = draw_weights(panels["weights"], weights[-1])
    moving = [*pictures, line, *classes, rings, heading]
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()  # what stays; the rest then takes milliseconds
    background = canvas.copy_from_bbox(figure.bbox)
    for frame, epoch in enumerate(film["epochs"].tolist()):
        wrong = film["predicted"][frame] != labels
        for label, artist in enumerate(classes):
            artist.set_offsets(points[frame][labels == label])
        rings.set_offsets(points[frame][wrong])
        line.set_data(range(1, epoch + 1), accuracies[:epoch])
        reached = f"epoch {epoch}: validation accuracy {accuracies[epoch - 1]:.2%}"
        heading.set_text(f"{reached}; {wrong.sum()} of these {len(labels)} wrong")
        for picture, values in zip(pictures, weights[frame], strict=True):
            picture.set_data(values)
        canvas.restore_region(background)
        for artist in moving:
            artist.axes.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def plane(hidden: np.ndarray) -> np.ndarray:
    """Hidden outputs (frames, n, values) in the plane of the last frame: (frames, n, 2), 0 to 1."""
    centred = hidden.astype(np.float64) - hidden[-1].mean(axis=0, dtype=np.float64)
    components = np.linalg.svd(centred[-1], full_matrices=False)[2][:2]
    points = centred @ np.pad(components.T, ((0, 0), (0, 2 - len(components))))  # one value: a line
    lowest, highest = points[-1].min(axis=0), points[-1].max(axis=0)
    return np.clip((points - lowest) / np.maximum(highest - lowest, 1e-9), 0, 1)


def draw_weights(axes, weights: np.ndarray) -> list:
    """The pictures of the weights (filters, height, width), on one scale."""
    columns, strongest = 6 if len(weights) > 12 else 4, np.percentile(np.abs(weights), 99.5) or 1
    rows = np.split(weights, range(columns, len(weights), columns))
    style.show_grid(axes, rows, columns, cmap=MAP, vmin=-strongest, vmax=strongest)
    return axes.images


def draw_plane(axes, names: Sequence[str]) -> list:
    """Empty artists: the points of each class, rings around mistakes, and the heading."""
    artists = []
    for label, name in enumerate(names):
        look = {"color": CLASS_COLOURS[label % 5], "marker": "o^"[label // 5 % 2]}
        artists.append(axes.scatter([], [], 24, linewidths=0, label=name, **look))
    ring = {"facecolors": "none", "edgecolors": style.WRONG_COLOUR, "linewidths": 1.4}
    artists.append(axes.scatter([], [], 80, label="wrong", **ring))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xticks=[], yticks=[], title=" ")
    at = {"transform": axes.transAxes, "ha": "center", "fontsize": 11}
    return [*artists, axes.text(0.5, 1.02, "", **at)]


def draw_accuracy(axes, accuracies: Sequence[float], limits: tuple[float, float]):
    """The curve of validation accuracy, with a dot at its end."""
    (line,) = axes.plot(accuracies, "-o", color=style.VALIDATION_COLOUR, markevery=[-1])
    style.set_quantity(axes, "accuracy")
    axes.set(ylim=limits, xlim=(0, len(accuracies) + 0.5), xlabel="epoch", ylabel="accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=8)
    return line


def save(pictures: Sequence[np.ndarray], gif: Path, strip: Path) -> None:
    """Write the film as a GIF, and its frames below each other as a PNG."""
    palette = Image.new("P", (1, 1))
    faded = [1 - a * (1 - np.array(to_rgb(c))) for c in style.COLOURS for a in (1, 0.7, 0.4, 0.2)]
    colours = [np.ones(3), *faded, *colormaps[MAP](np.linspace(0, 1, 32))[:, :3]]
    palette.putpalette(np.uint8(255 * np.array(colours)).ravel().tolist())
    film = Image.fromarray(np.concatenate(pictures)).quantize(palette=palette, dither=0)
    height, width, _ = pictures[0].shape
    tops = range(0, film.height, height)
    first, *others = (film.crop((0, top, width, top + height)) for top in tops)
    times = [min(1000 * SECONDS // len(pictures), 800)] * len(others) + [1000 * LAST]
    with atomic_path(gif) as path:
        first.save(path, "GIF", save_all=True, append_images=others, duration=times, loop=0)
    with atomic_path(strip) as path:
        film.save(path, "PNG")
