"""Read your own pictures with a trained network: photographs, scans, drawings.

The table around the sheet, paper and shadow are removed from a digit, and it is cropped, scaled and
centred as MNIST's digits are, whatever the colours; the network reads it in two sizes, and the
answer is the mean. A garment on a plain background becomes like Fashion-MNIST's. What makes an
answer doubtful is said beside it. A figure of each step, to see why an answer is wrong, is saved in
the run's folder, below `predictions/`; it replaces that of an earlier picture of the same name. Of
several seeds the first network is used.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

if not __package__:  # started as a file: python tools/predict.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from common.augment import predict
from common.console import say, warn
from common.data.originals import ORIGINALS
from common.errors import UserError, one_line_errors
from common.files import atomic_path
from experiment.runs.saved import SavedRun
from tools.command_line import RUN_HELP, ToolParser
from tools.handwriting.form import Reading, read_digits, read_garment
from tools.handwriting.pictures import read_picture
from tools.saved import find_network, load_model

CLASSES_SHOWN = 3  # of a picture, the most probable ones
LEAST_SURE = 0.7  # probability of an answer that is given without a warning
LONGEST_NAME = 80  # of a figure's file


def main(argv: Sequence[str] = ()) -> None:
    """Print a line for each picture that `argv` names, and save its figure."""
    args = parse(argv)
    with one_line_errors(args.debug):
        run = find_network(args.run, args.results_dir)
        if run.config["synthetic"]:
            warn("this network was trained on synthetic images")
        names = ORIGINALS[run.config["dataset"]].class_names
        digits = run.config["dataset"] == "mnist"
        if args.split and not digits:
            raise UserError(f"--split is for digits, and {run.name} knows garments", status=2)
        readings, printed = [], 0
        for path in args.images:
            with report_errors(path):
                picture = read_picture(path)
                readings.append((path, read_digits(picture) if digits else read_garment(picture)))
        answered = ask(run, [reading for _, reading in readings])
        answers = []
        for (path, reading), (probabilities, warnings) in zip(readings, answered, strict=True):
            answers.append((path, reading, probabilities))
            with report_errors(path):
                answer = in_words(reading, probabilities, names, args.split)
                say("; ".join([f"{path}: {answer}", *warnings]))
                printed += 1
        if answers:
            draw_all(answers, run.folder / "predictions", names)
    if printed < len(args.images):
        sys.exit(1)


@contextlib.contextmanager
def report_errors(path: Path) -> Iterator[None]:
    """Say on stderr what is wrong with one picture, and go on."""
    try:
        yield
    except UserError as error:
        say(f"error: {path}: {' '.join(f'{error}'.split())}", stderr=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; exits with status 2 and one line when one is wrong."""
    parser = ToolParser("predict", __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help=RUN_HELP)
    add("images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG, BMP, GIF or WebP")
    add("--split", action="store_true", help="read several digits from left to right as a number")
    return parser.parse_args(argv)


def ask(run: SavedRun, readings: Sequence[Reading]) -> list[tuple[np.ndarray, list[str]]]:
    """The probabilities (found, 10) for each picture, and what makes them doubtful.

    Without pictures, no network is loaded.
    """
    if not readings:
        return []
    training = run.trainings[0]
    forms = np.concatenate([found.forms for reading in readings for found in reading.found])
    logits = predict(load_model(training), forms, training.config.get("test_flip", False))
    remaining, answers = iter(softmax(logits.astype(float), axis=1)), []
    for reading in readings:
        sizes = [[next(remaining) for _ in found.forms] for found in reading.found]
        probabilities = np.array([np.mean(own, axis=0) for own in sizes])
        sure = all(own.max() > LEAST_SURE for own in probabilities)
        agreed = all(len({p.argmax() for p in own}) == 1 for own in sizes)
        warnings = [] if sure and agreed else ["not sure"]
        if any(found.at_the_edge for found in reading.found):
            warnings.append("it touches the edge: is all of it in the picture?")
        answers.append((probabilities, warnings))
    return answers


def in_words(reading: Reading, probabilities: np.ndarray, names: Sequence[str], split: bool) -> str:
    """`7 (99.1%), 1 (0.4%), 9 (0.2%)`, or of several digits `40 (4 99.1%, 0 98.2%)`.

    Raises UserError for several digits, unless they are to be split and stand in one row.
    """
    boxes = [found.box for found in reading.found]
    if len(boxes) == 1:
        best = np.argsort(-probabilities[0], kind="stable")[:CLASSES_SHOWN]
        return ", ".join(f"{names[i]} ({probabilities[0, i]:.1%})" for i in best)
    if not split:
        raise UserError(
            f"there are {len(boxes)} digits on it: crop it to one, or read them from left to right "
            "with --split"
        )
    if any(max(a.start, b.start) >= min(a.stop, b.stop) for (a, _), (b, _) in pairwise(boxes)):
        raise UserError("the digits do not stand in one row: crop it to a row")
    digits = [names[i] for i in probabilities.argmax(axis=1)]
    each = zip(digits, probabilities.max(axis=1), strict=True)
    return f"{''.join(digits)} ({', '.join(f'{digit} {p:.1%}' for digit, p in each)})"


def draw_all(answers: Sequence[tuple], folder: Path, class_names: Sequence[str]) -> None:
    """Save a figure for each picture, and say where. What cannot be drawn is a warning."""
    names: list[str] = []
    try:
        folder.mkdir(exist_ok=True)
        for path, *answer in answers:
            names.append(figure_name(path, names))
            with atomic_path(folder / names[-1]) as partial:
                draw(*answer, class_names).savefig(partial, dpi=100)
        place = folder / names[0] if len(names) == 1 else folder
        say(f"each step is shown in {place}", stderr=True)
    except Exception as error:  # the answers are printed; a full disk must not hide them
        warn(f"a figure could not be saved: {error}")


def figure_name(path: Path, taken: Sequence[str]) -> str:
    """The picture's name, ending in .png; numbered where it is taken, as by a picture elsewhere."""
    taken = {name.lower() for name in taken}  # some file systems ignore case
    stem = path.stem[:LONGEST_NAME]
    names = [f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name.lower() not in taken)


def draw(reading: Reading, probabilities: np.ndarray, class_names: Sequence[str]):
    """The picture, what each step made of it, and the probability of each class."""
    from matplotlib.figure import Figure  # not at the top: --help need not wait for matplotlib
    from matplotlib.patches import Rectangle

    from common.plotting.style import COLOURS

    count = 1 + len(reading.steps) + 3 * len(reading.found)
    columns = count if count < 8 else 6  # one digit in a row, or two with three panels each
    rows = -(-count // columns)
    figure = Figure(figsize=(2.6 * columns, 0.3 + 2.8 * rows), layout="constrained")
    panels = (figure.add_subplot(rows, columns, place + 1) for place in range(count))

    def show(title: str, image: np.ndarray):
        axes = next(panels)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=11)
        return axes

    axes = show("picture", reading.picture)
    for found in reading.found:
        top, left = (side.start - 0.5 for side in found.box)
        height, width = (side.stop - side.start for side in found.box)
        axes.add_patch(Rectangle((left, top), width, height, fill=False, ec=COLOURS[1], lw=2))
    for title, image in reading.steps:
        show(title, image)
    for found, bars in zip(reading.found, probabilities, strict=True):
        show("cut out", found.cut_out)
        show("what the network sees", np.hstack(found.forms))
        best, axes = bars.argmax(), next(panels)
        colours = [COLOURS[0] if i == best else "#999999" for i in range(len(bars))]
        axes.barh(range(len(bars)), 100 * bars, color=colours)
        axes.set_yticks(range(len(bars)), class_names, fontsize=9)
        axes.set(xlim=(0, 100), ylim=(len(bars) - 0.5, -0.5), xlabel="probability, %")
        axes.set_title(f"{class_names[best]}: {bars[best]:.1%}", fontsize=11)
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
