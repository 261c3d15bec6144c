"""Read pictures of your own with a trained network: photographs, scans, drawings.

A digit's paper and shadow are taken away, and it is cropped, scaled and centred as MNIST's digits
are, whatever the colours; a garment before a plain background becomes like Fashion-MNIST's. A
figure shows each step, to see why when the answer is wrong: it is in the run's folder, below
`predictions/`, and replaced when a picture of that name is read again.

RUN is `latest`, a folder, a name, or script/name. Of several seeds the first one's network answers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from common.augment import predict
from common.data.originals import ORIGINALS
from common.errors import UserError, one_line_errors
from common.files import beside
from experiment.options import ToolParser
from experiment.runs.saved import SavedRun, find_network
from tools.handwriting.form import Reading, read_digits, read_garment
from tools.handwriting.pictures import read_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIKELIEST = 3  # classes told of a picture
LONGEST_NAME = 80  # of a figure's file


@dataclass(frozen=True, eq=False)
class Answer:
    """What the network said of a picture: probabilities float (found, 10)."""

    path: Path
    reading: Reading
    probabilities: np.ndarray


def main(argv: Sequence[str] = ()) -> None:
    """Print a line for each picture that `argv` names, and save its figure."""
    args = parse(argv)
    with one_line_errors():
        run = find_network(args.run, args.results_dir)
        if run.config["rendered"]:
            print("warning: this network has only seen rendered stand-ins", file=sys.stderr)
        name = run.config["dataset"]
        if args.split and name != "mnist":
            raise UserError(f"--split reads numbers, and {run.name} knows no digits", status=2)
        read = read_digits if name == "mnist" else read_garment
        readings, failed = read_all(args.images, read)
        answers = ask(run, readings)
        for answer in answers:
            try:
                print(in_words(answer, ORIGINALS[name].class_names, args.split), flush=True)
            except UserError as error:
                failed = True
                complain(error)
        if answers:
            draw_all(answers, run.folder / "predictions", ORIGINALS[name].class_names)
    if failed:
        sys.exit(1)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; leaves with status 2 and one line when one is wrong."""
    parser = ToolParser("predict", __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="which run's network is to read them")
    add("images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG, BMP, GIF or WebP")
    add("--split", action="store_true", help="read several digits from left to right as a number")
    return parser.parse_args(argv)


def read_all(paths: Sequence[Path], read) -> tuple[list[tuple[Path, Reading]], bool]:
    """What became of each picture, and whether one could not be read, which is told at once."""
    readings, failed = [], False
    for path in paths:
        try:
            picture = read_picture(path)
            try:
                readings.append((path, read(picture)))
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        except UserError as error:
            failed = True
            complain(error)
    return readings, failed


def complain(error: UserError) -> None:
    """Say on stderr what is wrong with one picture; the others go on."""
    print("error:", " ".join(str(error).split()), file=sys.stderr, flush=True)


def ask(run: SavedRun, readings: Sequence[tuple[Path, Reading]]) -> list[Answer]:
    """The network's answers. Nothing is loaded when there is nothing to ask."""
    if not readings:
        return []
    training = run.trainings[0]
    forms = np.stack([found.form for _, reading in readings for found in reading.found])
    logits = predict(training.model(), forms, training.config.get("test_flip", False))
    probabilities = softmax(logits.astype(float), axis=1)
    ends = np.cumsum([len(reading.found) for _, reading in readings])[:-1]
    parts = np.split(probabilities, ends)
    return [Answer(*reading, part) for reading, part in zip(readings, parts, strict=True)]


def in_words(answer: Answer, class_names: Sequence[str], split: bool) -> str:
    """`photo.jpg: 7 (99.1 %), 1 (0.4 %), 9 (0.2 %)`, or of several digits `photo.jpg: 40 (...)`.

    Raises UserError for several digits, unless they are to be split and stand in one row.
    """
    boxes = [found.box for found in answer.reading.found]
    if len(boxes) == 1:
        (shares,) = answer.probabilities
        best = np.argsort(-shares, kind="stable")[:LIKELIEST]
        return f"{answer.path}: " + ", ".join(
            f"{class_names[i]} ({percent(shares[i])})" for i in best
        )
    if not split:
        raise UserError(
            f"{answer.path}: there are {len(boxes)} digits on it: crop it to one, "
            "or read them from left to right with --split"
        )
    if any(max(a.start, b.start) >= min(a.stop, b.stop) for (a, _), (b, _) in pairwise(boxes)):
        raise UserError(f"{answer.path}: the digits do not stand in one row: crop it to a row")
    digits = [(class_names[shares.argmax()], shares.max()) for shares in answer.probabilities]
    each = ", ".join(f"{digit} {percent(share)}" for digit, share in digits)
    return f"{answer.path}: {''.join(digit for digit, _ in digits)} ({each})"


def percent(share: float) -> str:
    """A share for people."""
    return f"{share:.1%}".replace("%", " %")


def draw_all(answers: Sequence[Answer], folder: Path, class_names: Sequence[str]) -> None:
    """Save a figure for each picture, and say where. What cannot be drawn is a warning."""
    used: set[str] = set()
    try:
        folder.mkdir(exist_ok=True)
        for answer in answers:
            with beside(folder / figure_name(answer.path, used)) as partial:
                draw(answer, class_names).savefig(partial, dpi=100)
    except Exception as error:  # the answers are out; a full disk is not to hide them
        print(f"warning: a figure could not be saved: {error}", file=sys.stderr)
    else:
        several = "s" if len(answers) > 1 else ""
        last = folder if several else partial.with_name(next(iter(used)))
        print(f"figure{several} of every step in {last}", file=sys.stderr)


def figure_name(path: Path, used: set[str]) -> str:
    """The picture's name, ending in .png; numbered where another one of this call has it."""
    stem = path.stem[:LONGEST_NAME]
    names = [f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, len(used) + 2))]
    taken = {name.lower() for name in used}  # some systems tell no large letters from small
    name = next(name for name in names if name.lower() not in taken)
    used.add(name)
    return name


def draw(answer: Answer, class_names: Sequence[str]) -> Figure:
    """The picture, what each step made of it, and how likely the network takes each class to be."""
    from matplotlib.figure import Figure  # not at the top: --help need not wait for matplotlib
    from matplotlib.patches import Rectangle

    from common.plotting.curves import COLOURS

    reading = answer.reading
    count = 1 + len(reading.steps) + 3 * len(reading.found)
    columns = min(count, 6)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 0.3 + 2.8 * rows), layout="constrained")
    panels = (figure.add_subplot(rows, columns, place + 1) for place in range(count))
    axes = next(panels)
    _show(axes, reading.picture, "picture")
    for found in reading.found:
        top, left = (side.start - 0.5 for side in found.box)
        height, width = (side.stop - side.start for side in found.box)
        axes.add_patch(Rectangle((left, top), width, height, fill=False, ec=COLOURS[1], lw=2))
    for title, image in reading.steps:
        _show(next(panels), image, title)
    for found, shares in zip(reading.found, answer.probabilities, strict=True):
        _show(next(panels), found.cut_out, "cut out")
        _show(next(panels), found.form, "what the network sees")
        axes = next(panels)
        colours = [COLOURS[0] if share == shares.max() else "#999999" for share in shares]
        axes.barh(range(len(shares)), 100 * shares, color=colours)
        axes.set_yticks(range(len(shares)), class_names, fontsize=9)
        axes.set(xlim=(0, 100), ylim=(len(shares) - 0.5, -0.5), xlabel="probability, %")
        axes.set_title(f"{class_names[shares.argmax()]}: {percent(shares.max())}", fontsize=11)
    return figure


def _show(axes, image: np.ndarray, title: str) -> None:
    most = 255 if image.dtype == np.uint8 else 1
    axes.imshow(image, cmap="gray", vmin=0, vmax=most)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=11)


if __name__ == "__main__":
    main(sys.argv[1:])
