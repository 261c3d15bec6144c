"""Draw a dataset itself: examples of each class, their mean, how many there are, their pixels.

Below, the two training images of different classes that are nearest in pixels, and of MNIST the
fifteen test images whose label a majority of five people did not confirm; no other test image is
looked at. The figure is `explore/<dataset>.png` in the results folder.

    python -m tools.explore                     # MNIST
    python -m tools.explore fashion_mnist
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python tools/explore.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.console import say
from common.data.dataset import Dataset
from common.data.load import load
from common.data.originals import ORIGINALS
from common.errors import one_line_errors
from common.files import absolute_path, atomic_path
from experiment.values import one_of
from tools.command_line import ToolParser

EXAMPLES = 8  # of each class
COMPONENTS = 32  # in which distances are compared before they are in all pixels
ROWS = 1500  # images compared at a time with all of another class
ROUNDING = 100  # of a squared distance, of which there are millions


def main(argv: Sequence[str] = ()) -> None:
    """Draw the dataset that `argv` names."""
    parser = ToolParser("explore", __doc__)
    kind = one_of("dataset", ORIGINALS)
    parser.add_argument(
        "dataset", nargs="?", type=kind, default="mnist", help=" or ".join(ORIGINALS)
    )
    parser.add_argument("--data-dir", type=absolute_path, metavar="FOLDER", help="of its files")
    args = parser.parse_args(argv)
    with one_line_errors(args.debug):
        data = load(args.dataset, "auto", args.data_dir)
        path = args.results_dir / "explore" / f"{args.dataset}{'-synthetic' * data.synthetic}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            overview(data).savefig(partial, dpi=100)
        say(f"the data in a figure: {path}")


def class_statistics(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each class: how many images, int (n,), their mean and deviation, float (n, 28, 28).

    images: uint8 (count, 28, 28); labels: (count,).
    """
    groups = [images[labels == label] for label in np.unique(labels)]
    means = np.stack([group.mean(axis=0) for group in groups])
    deviations = np.stack([group.std(axis=0) for group in groups])
    return np.array(list(map(len, groups))), means, deviations


def nearest_pair(images: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """Which two images of different classes have the least sum of squared pixel differences.

    images: uint8 (n, 28, 28); labels: (n,). All pairs are compared.
    """
    pixels = images.reshape(len(images), -1).astype(np.float32)
    # No distance is longer in the principal components, so only pairs near in them are compared.
    axes = np.linalg.eigh(np.cov(pixels[:: max(1, len(pixels) // 6000)].T))[1][:, -COMPONENTS:]
    short = pixels @ axes.astype(np.float32)
    squares, ones = (short**2).sum(axis=1, keepdims=True), np.ones((len(short), 1), np.float32)
    left, right = np.hstack([-2 * short, squares, ones]), np.hstack([short, ones, squares])
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    best = (np.inf, 0, 0)
    for group, other in itertools.combinations(groups, 2):
        across = np.ascontiguousarray(right[other].T)
        for some in np.split(group, range(ROWS, len(group), ROWS)):
            bounds = left[some] @ across
            place = int(bounds.argmin())
            if bounds.flat[place] < best[0] + ROUNDING:
                first, second = divmod(place, len(other))
                best = min(best, nearest_of(pixels, some[[first]], other[[second]]))
                first, second = np.nonzero(bounds < best[0] + ROUNDING)
                best = min(best, nearest_of(pixels, some[first], other[second]))
    return int(best[1]), int(best[2])


def nearest_of(pixels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple:
    """Of pairs of images, the least squared distance, and the numbers of the two."""
    squares = ((pixels[first] - pixels[second]) ** 2).sum(axis=1)
    place = squares.argmin()
    return squares[place], first[place], second[place]


def overview(data: Dataset):
    """The matplotlib Figure of a dataset's training images."""
    from common.plotting import style  # not at the top: --help need not wait for matplotlib

    images, labels = data.train_images, data.train_labels
    counts, means, deviations = class_statistics(images, labels)
    rows = [
        [*images[labels == label][:EXAMPLES], mean, deviation]
        for label, mean, deviation in zip(np.unique(labels), means, deviations, strict=True)
    ]
    black = (images == 0).mean()
    caption = (
        f"The first {EXAMPLES} training images of each class; the mean and the standard deviation "
        f"of each pixel over the class. Over all {len(images):,} images, {black:.0%} of the pixels "
        f"are 0; their mean is {images.mean() / 255:.4f} of white, their standard deviation "
        f"{images.std() / 255:.4f}. Below, numbers from 0, and labels."
    )
    height, below = 7.6, 1.7
    figure = style.titled(f"{data.title}: the training images", caption, height + below, width=12)
    above, below = figure.subfigures(2, 1, height_ratios=(height, below))
    left, right = above.subfigures(1, 2, width_ratios=(3, 2))
    draw_examples(left.subplots(), rows, data.class_names, style)
    top, bottom = right.subplots(2, 1)
    draw_counts(top, counts, data.class_names, style)
    draw_pixels(bottom, images, style)
    draw_doubtful(below.subplots(1, 2, width_ratios=(2, 15)), data, style)
    return figure


def draw_doubtful(axes, data: Dataset, style) -> None:
    """The nearest pair of different classes, and the test images whose label is in doubt."""
    pair, doubtful = nearest_pair(data.train_images, data.train_labels), data.unconfirmed
    parts = [(axes[0], pair, data.train_images, data.train_labels, "nearest of\ndifferent classes")]
    if doubtful:
        heading = "test images whose label a majority of five people did not confirm"
        parts.append((axes[1], doubtful, data.test_images, data.test_labels, heading))
    else:
        axes[1].axis("off")
    for place, numbers, images, labels, heading in parts:
        style.show_grid(place, [images[list(numbers)]], len(numbers), vmin=0, vmax=255)
        place.set_xlabel(heading, fontsize=9)
        for column, number in enumerate(numbers):
            style.write_above(place, column, f"no. {number}\n{data.class_names[labels[number]]}")


def draw_examples(axes, rows: list[list[np.ndarray]], names: Sequence[str], style) -> None:
    """A row of pictures for each class: examples, mean, deviation."""
    style.show_grid(axes, rows, EXAMPLES + 2, vmin=0, vmax=255)
    for column, text in ((EXAMPLES, "mean"), (EXAMPLES + 1, "deviation")):
        style.write_above(axes, column, text)
    axes.set_yticks(range(len(rows)), names)


def draw_counts(axes, counts: np.ndarray, names: Sequence[str], style) -> None:
    """How many images each class has."""
    axes.barh(names, counts, color=style.COLOURS[5])
    for place, count in enumerate(counts):
        axes.text(0.98 * count, place, f"{count:,}", va="center", ha="right", fontsize=9)
    axes.set(xlabel="training images", ylim=(len(counts) - 0.5, -0.5))


def draw_pixels(axes, images: np.ndarray, style) -> None:
    """How often each brightness occurs."""
    frequencies = np.bincount(images.ravel(), minlength=256) / images.size
    axes.plot(frequencies, color=style.COLOURS[0], drawstyle="steps-mid")
    axes.set(xlabel="pixel, 0 black to 255 white", ylabel="fraction of all pixels", yscale="log")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main(sys.argv[1:])
