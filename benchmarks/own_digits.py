"""How well a network reads pictures such as people make of their own digits.

Photographs, scans and drawings are made from MNIST's test digits, a dozen kinds of them, written to
real PNG, JPEG and WebP files in memory, and read as `python -m tools.predict` reads them. Beside
that stand the same digits in MNIST's own form, and the naive way: grey, resized to 28 x 28. Test
digits 0 to 4,999 served to develop the processing; only 5,000 to 9,999 are reported, and no digit
comes twice. Writes `own_digits.md` and `own_digits.png` into the results folder; trains nothing.

    python mnist_cnn.py --name digits
    python -m benchmarks.own_digits digits      # a few minutes on two cores
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage

from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, beside, whole_path, write_atomically
from experiment.options import OneLineParser, whole_number
from experiment.report import markdown_table
from experiment.runs.saved import SavedRun, find_run, read_run
from tools.handwriting.form import SIDE, read_digits
from tools.handwriting.pictures import read_picture

DEVELOPED_ON = 5_000  # so many of the test digits come first, and are not reported
Generator = np.random.Generator
WHITE, BLACK = np.ones(3), np.zeros(3)


def drawn(digit: np.ndarray, side: int) -> np.ndarray:
    """A digit, uint8 (28, 28), drawn large with clean edges: float32 (side, side), 0 to 1."""
    grey = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    return np.clip((grey.astype(np.float32) / 255 - 0.4) * side / SIDE / 2 + 0.5, 0, 1)


def drawn_finely(digit: np.ndarray, side: int) -> np.ndarray:
    """The same with a pen that is as fine as a thirtieth of the side."""
    line = skeleton(drawn(digit, 4 * SIDE) > 0.5)
    distance = ndimage.distance_transform_edt(~line).astype(np.float32)
    image = Image.fromarray(distance).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(side / 60 - np.asarray(image) * side / (4 * SIDE) + 0.5, 0, 1)


def skeleton(shape: np.ndarray) -> np.ndarray:
    """The middle lines of a shape, bool (h, w), one pixel wide and unbroken.

    T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns", 1984.
    """
    shape = np.pad(shape, 1)
    # The eight neighbours in a circle: p2 above, p4 right, p6 below, p8 left.
    circle = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    before = -1
    while before != (before := int(shape.sum())):
        for first in (True, False):
            around = np.stack([np.roll(shape, (-y, -x), (0, 1)) for y, x in circle])
            count = around.sum(axis=0)
            edges = (~around & np.roll(around, -1, axis=0)).sum(axis=0)
            p2, p4, p6, p8 = around[::2]
            open_sides = (
                ~(p2 & p4 & p6) & ~(p4 & p6 & p8) if first else ~(p2 & p4 & p8) & ~(p2 & p6 & p8)
            )
            shape = shape & ~((count >= 2) & (count <= 6) & (edges == 1) & open_sides)
    return shape[1:-1, 1:-1]


def placed(ink: np.ndarray, height: int, width: int, generator: Generator) -> np.ndarray:
    """A drawing (h, w) anywhere on an empty sheet: float32 (height, width)."""
    sheet = np.zeros((height, width), np.float32)
    top = generator.integers(0, height - ink.shape[0] + 1)
    left = generator.integers(0, width - ink.shape[1] + 1)
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return sheet


def painted(ink: np.ndarray, ink_colour: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Ink (h, w) of a colour (3,) on paper (3,) or (h, w, 3): float32 (h, w, 3), 0 to 1."""
    paper = np.asarray(paper, np.float32)
    return paper + ink[..., None] * (np.asarray(ink_colour, np.float32) - paper)


def shadow(height: int, width: int, generator: Generator, darkest: float = 0.35) -> np.ndarray:
    """Lighting (height, width, 1): from 1 down to `darkest`, bent and in any direction."""
    y, x = np.mgrid[: 1 : height * 1j, : 1 : width * 1j]
    angle = generator.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    along = (along - along.min()) / np.ptp(along)
    bend = generator.uniform(0.7, 2)
    return (1 - (1 - darkest) * along.astype(np.float32) ** np.float32(bend))[..., None]


def two_colours(generator: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Colours (3,) of ink and paper, at least a third of the way apart in one channel."""
    while True:
        ink, paper = generator.random((2, 3))
        if np.abs(ink - paper).max() > 0.5:
            return ink, paper


def encoded(picture: np.ndarray, format: str = "PNG", **settings) -> bytes:
    """The file of a picture (h, w), (h, w, 3) or (h, w, 4), 0 to 1."""
    file = io.BytesIO()
    values = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    Image.fromarray(values).save(file, format, **settings)
    return file.getvalue()


def as_it_is(digit: np.ndarray, generator: Generator) -> bytes:
    return encoded(digit / 255)


def small_dark_on_light(digit: np.ndarray, generator: Generator) -> bytes:
    return encoded(1 - digit / 255)


def large_dark_on_white(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(200, 800))
    return encoded(painted(ink, BLACK, WHITE))


def light_on_dark(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(100, 600))
    chalk, board = generator.uniform(0.7, 1, 3), generator.uniform(0, 0.25, 3)
    return encoded(painted(ink, chalk, board) + generator.normal(0, 0.02, (*ink.shape, 3)), "WEBP")


def coloured(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(60, 500))
    return encoded(painted(ink, *two_colours(generator)), "JPEG", quality=90)


def in_shadow(digit: np.ndarray, generator: Generator) -> bytes:
    height, width = generator.integers(400, 900, 2)
    ink = placed(drawn(digit, generator.integers(150, 400)), height, width, generator)
    paper = generator.uniform(0.75, 1, 3)
    picture = painted(ink, generator.uniform(0, 0.3, 3), paper)
    return encoded(picture * shadow(height, width, generator), "JPEG", quality=85)


def ruled_and_grainy(digit: np.ndarray, generator: Generator) -> bytes:
    side = generator.integers(300, 700)
    ink = placed(drawn(digit, generator.integers(150, 300)), side, side, generator)
    paper = np.broadcast_to(generator.uniform(0.85, 1, 3), (side, side, 3)).copy()
    step = generator.integers(side // 12, side // 6)
    for row in range(generator.integers(0, step), side - 1, step):
        paper[row : row + max(1, side // 300)] *= (0.7, 0.82, 0.95)
    picture = painted(ink, generator.uniform(0, 0.3, 3), paper)
    return encoded(picture + generator.normal(0, 0.04, picture.shape), "JPEG", quality=90)


def small_on_a_sheet(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(56, 140))
    sheet = placed(ink, *generator.integers(800, 1300, 2), generator)
    paper = generator.uniform(0.8, 1, 3)
    return encoded(painted(sheet, generator.uniform(0, 0.4, 3), paper), "JPEG", quality=85)


def crude_jpeg(digit: np.ndarray, generator: Generator) -> bytes:
    ink = placed(drawn(digit, generator.integers(60, 250)), 280, 280, generator)
    return encoded(painted(ink, BLACK + 0.1, WHITE - 0.05), "JPEG", quality=20)


def transparent(digit: np.ndarray, generator: Generator) -> bytes:
    ink = placed(drawn(digit, generator.integers(60, 300)), 320, 320, generator)
    colour = generator.choice([0.0, 1.0]) * 0.7 + generator.uniform(0, 0.3, 3)
    picture = np.broadcast_to(colour, (*ink.shape, 3))
    return encoded(np.concatenate([picture, ink[..., None]], axis=-1))


def thin_pen(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn_finely(digit, generator.integers(250, 500))
    sheet = placed(ink, 600, 800, generator)
    return encoded(painted(sheet, np.array([0.1, 0.15, 0.5]), WHITE - 0.06), "JPEG", quality=85)


def turned_by_exif(digit: np.ndarray, generator: Generator) -> bytes:
    ink = placed(drawn(digit, generator.integers(100, 300)), 480, 360, generator)
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    turns[8] = Image.Transpose.ROTATE_270
    orientation = int(generator.choice(list(turns)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.rint(255 * (1 - ink)).astype(np.uint8)).transpose(
        turns[orientation]
    )
    return encoded(np.asarray(stored) / 255, "JPEG", quality=80, exif=exif)


def photograph(digit: np.ndarray, generator: Generator) -> bytes:
    """2,000 pixels wide: shadow, grain, coloured paper, any polarity, a blur, JPEG artefacts."""
    height, width = 1500, 2000
    ink = ndimage.gaussian_filter(drawn(digit, generator.integers(300, 1200)), 1.5)
    ink = placed(ink, height, width, generator)
    dark, light = generator.uniform(0, 0.25, 3), generator.uniform(0.7, 1, 3)
    colours = (dark, light) if generator.random() < 0.7 else (light, dark)
    picture = painted(ink, *colours) * shadow(height, width, generator)
    grain = 0.03 * generator.standard_normal((height // 2, width // 2, 1), np.float32)
    return encoded(picture + grain.repeat(2, 0).repeat(2, 1), "JPEG", quality=60)


KINDS: dict[str, Callable[[np.ndarray, Generator], bytes]] = {
    "28 x 28, as it is": as_it_is,
    "28 x 28, dark on light": small_dark_on_light,
    "large, black on white": large_dark_on_white,
    "light on dark, grain": light_on_dark,
    "coloured ink and paper": coloured,
    "thin pen": thin_pen,
    "shadow over the paper": in_shadow,
    "ruled, grainy paper": ruled_and_grainy,
    "small on a large sheet": small_on_a_sheet,
    "JPEG of quality 20": crude_jpeg,
    "transparent background": transparent,
    "turned by EXIF": turned_by_exif,
    "photograph, 2,000 pixels": photograph,
}


def naive(file: bytes) -> np.ndarray:
    """What people try first: grey, resized to 28 x 28, uint8."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("L").resize((SIDE, SIDE)))


def processed(file: bytes) -> np.ndarray:
    """The one digit that is found, as the network gets it: uint8 (28, 28).

    Where there is none, or where there are several, an empty image: counted as misread.
    """
    try:
        found = read_digits(read_picture(io.BytesIO(file))).found
    except UserError:
        found = ()
    return found[0].form if len(found) == 1 else np.zeros((SIDE, SIDE), np.uint8)


@dataclass(frozen=True, eq=False)
class Measured:
    """One kind of picture: how many digits are read right, each way, and an example."""

    name: str
    pictures: int
    accuracies: dict[str, float]
    picture: np.ndarray  # float32 (h, w, 3)
    forms: dict[str, np.ndarray]  # uint8 (28, 28)
    found_one: float  # share of the pictures on which just one digit was found
    seconds: float  # that one picture takes from file to form


def main() -> None:
    """Measure every kind, print the table and write it with the figure."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "run", nargs="?", default="latest", metavar="RUN", help="whose network reads (latest)"
    )
    most = (10_000 - DEVELOPED_ON) // len(KINDS)
    parser.add_argument(
        "--pictures", type=whole_number(1, most), default=200, metavar="N", help="of each kind"
    )
    parser.add_argument("--seed", type=whole_number(0), default=1, metavar="N")
    parser.add_argument("--results-dir", type=whole_path, default=REPOSITORY / "results")
    args = parser.parse_args()
    with one_line_errors():
        results = args.results_dir
        run = digit_run(args.run, results)
        dataset, model = run.dataset(), run.trainings[0].model()
        generator = np.random.default_rng(args.seed)
        order = DEVELOPED_ON + generator.permutation(len(dataset.test_labels) - DEVELOPED_ON)
        measured = []
        for place, name in enumerate(KINDS):
            chosen = order[place * args.pictures :][: args.pictures]
            digits, labels = dataset.test_images[chosen], dataset.test_labels[chosen]
            measured.append(measure(name, model, digits, labels, generator))
            share = measured[-1].accuracies["processed"]
            print(f"{name}: {share:.1%} of {args.pictures} read right", flush=True)
        text = (
            f"{table(measured)}\n\nRead by {run.name}: {args.pictures} pictures of each kind, made "
            f"with seed {args.seed} from the test digits of {dataset.title} from number "
            f"{DEVELOPED_ON:,} on.\n"
        )
        write_atomically(results / "own_digits.md", text.encode())
        with beside(results / "own_digits.png") as partial:
            draw(measured).savefig(partial, dpi=100)
        print(f"\n{text}\ntable and figure in {results}")


def digit_run(text: str, results: Path) -> SavedRun:
    """The run that `text` names. Raises UserError where it is no single network for MNIST."""
    runs = read_run(find_run(text, results))
    if len(runs) > 1 or runs[0].config["dataset"] != "mnist" or runs[0].config["rendered"]:
        raise UserError(f"{text} is no single network for the real MNIST: train mnist_cnn.py")
    return runs[0]


def measure(
    name: str, model, digits: np.ndarray, labels: np.ndarray, generator: Generator
) -> Measured:
    """Make a picture of each digit, uint8 (n, 28, 28), and let the network read it each way."""
    files = [KINDS[name](digit, generator) for digit in digits]
    began = time.perf_counter()
    ours = np.stack([processed(file) for file in files])
    seconds = (time.perf_counter() - began) / len(files)
    forms = {"own form": digits, "naive": np.stack([*map(naive, files)]), "processed": ours}
    accuracies = {}
    for way, images in forms.items():
        right = model.predict(images, verbose=0).argmax(axis=1) == labels
        accuracies[way] = float((right & images.any(axis=(1, 2))).mean())
    example = {way: images[0] for way, images in forms.items()}
    picture = read_picture(io.BytesIO(files[0]))
    found_one = float(ours.any(axis=(1, 2)).mean())
    return Measured(name, len(files), accuracies, picture, example, found_one, seconds)


def table(measured: list[Measured]) -> str:
    """Accuracies as a Markdown table, with those over all kinds below."""
    rows = [
        {
            "pictures": kind.name,
            "number": str(kind.pictures),
            "in MNIST's own form": f"{kind.accuracies['own form']:.1%}",
            "grey and resized": f"{kind.accuracies['naive']:.1%}",
            "processed": f"{kind.accuracies['processed']:.1%}",
            "one digit found": f"{kind.found_one:.1%}",
            "time for one": f"{1000 * kind.seconds:.0f} ms",
        }
        for kind in measured
    ]
    overall = {
        way: f"{mean(kind.accuracies[way] for kind in measured):.1%}"
        for way in measured[0].accuracies
    }
    rows.append(
        {
            "pictures": "**all**",
            "number": str(sum(kind.pictures for kind in measured)),
            "in MNIST's own form": overall["own form"],
            "grey and resized": overall["naive"],
            "processed": overall["processed"],
            "one digit found": f"{mean(kind.found_one for kind in measured):.1%}",
            "time for one": f"{1000 * mean(kind.seconds for kind in measured):.0f} ms",
        }
    )
    return markdown_table(rows)


def draw(measured: list[Measured]) -> Figure:
    """For each kind an example, what either way makes of it, and how often that is read right."""
    columns = 2
    rows = -(-len(measured) // columns)
    figure = Figure(figsize=(11, 1.55 * rows + 0.6), layout="constrained")
    figure.suptitle("Pictures made from MNIST's test digits, and how many are read right")
    grid = figure.subplots(rows, 3 * columns, squeeze=False, width_ratios=[1.6, 1, 1] * columns)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, kind in enumerate(measured):
        row, column = place % rows, 3 * (place // rows)
        panels = (
            (kind.picture, kind.name),
            (kind.forms["naive"], f"resized: {kind.accuracies['naive']:.0%}"),
            (kind.forms["processed"], f"processed: {kind.accuracies['processed']:.1%}"),
        )
        for axes, (image, title) in zip(grid[row, column : column + 3], panels, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])
            axes.set_title(title, fontsize=10)
    return figure


if __name__ == "__main__":
    main()
