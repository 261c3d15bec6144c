"""How well a network reads pictures such as people make of their own digits.

Photographs, scans and drawings are made from MNIST's test digits, a dozen kinds of them, written to
real PNG, JPEG and WebP files in memory, and read as `python -m tools.predict` reads them. Beside
that stand the same digits in MNIST's own form, and the naive way: grey, resized to 28 x 28. Test
digits 0 to 4,999 served to develop the processing; only 5,000 to 9,999 are reported, and no digit
comes twice. Writes `own_digits.md` and `own_digits.png` into the results folder; trains nothing.

    python mnist_cnn.py --name digits
    python -m benchmarks.own_digits digits      # a few minutes on two cores
"""

import io
import time
from collections.abc import Iterator
from statistics import mean

import numpy as np
from PIL import Image

from benchmarks.digit_pictures import KINDS
from benchmarks.runs import BenchmarkParser
from common.errors import UserError
from experiment.values import whole_number
from tools.handwriting.form import SIDE, read_digits
from tools.handwriting.pictures import read_picture
from tools.saved import find_network, load_dataset, load_model

DEVELOPED_ON = 5_000  # so many of the test digits come first, and are not reported


def main() -> None:
    """Measure every kind, print the table and write it with the figure."""
    most = (10_000 - DEVELOPED_ON) // len(KINDS)
    parser = BenchmarkParser("own_digits", __doc__, continues=False)
    add = parser.add_argument
    add("run", nargs="?", default="latest", metavar="RUN", help="whose network reads (latest)")
    add("--pictures", type=whole_number(1, most), default=200, metavar="N", help="of each kind")
    add("--seed", type=whole_number(0), default=1, metavar="N", help="of the pictures (1)")
    examples: dict[str, list[np.ndarray]] = {}
    with parser.results(rows, lambda measured: draw(measured, examples)) as results:
        args = results.args
        run = find_network(args.run, args.results_dir)
        if run.config["dataset"] != "mnist" or run.config["synthetic"]:
            raise UserError(f"{args.run} was not trained on the real MNIST: train mnist_cnn.py")
        results.conditions = (
            f"{run.name}, {args.pictures} pictures of each kind made with seed {args.seed}; "
            f"{results.conditions}"
        )
        dataset, model = load_dataset(run), load_model(run.trainings[0])
        generator = np.random.default_rng(args.seed)
        order = DEVELOPED_ON + generator.permutation(len(dataset.test_labels) - DEVELOPED_ON)
        for place, (name, _) in enumerate(results.missing(KINDS, ["numbers"])):
            chosen = order[place * args.pictures :][: args.pictures]
            digits, labels = dataset.test_images[chosen], dataset.test_labels[chosen]
            files = [KINDS[name](digit, generator) for digit in digits]
            numbers, examples[name] = measure(model, files, digits, labels)
            print(f"{name}: {numbers['processed']:.1%} read right", flush=True)
            results.keep(name, "numbers", numbers)


def measure(
    model, files: list[bytes], digits: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, float], list[np.ndarray]]:
    """The fractions of the pictures in `files` that are read right in each way, and an example.

    `digits`, uint8 (n, 28, 28), are what the pictures were made of. `seconds` is the time that one
    picture takes from file to form. The example is a picture, and what either way makes of it.
    """
    began = time.perf_counter()
    processed = np.stack([process(file) for file in files])
    seconds = (time.perf_counter() - began) / len(files)
    resized = np.stack([resize(file) for file in files])
    ways = {"in MNIST's own form": digits, "grey and resized": resized, "processed": processed}
    numbers = {}
    for way, images in ways.items():
        right = model.predict(images, verbose=0).argmax(axis=1) == labels
        numbers[way] = float((right & images.any(axis=(1, 2))).mean())
    numbers |= {"one digit found": float(processed.any(axis=(1, 2)).mean()), "seconds": seconds}
    return numbers, [read_picture(io.BytesIO(files[0])), resized[0], processed[0]]


def resize(file: bytes) -> np.ndarray:
    """What people try first: grey, resized to 28 x 28, uint8."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("L").resize((SIDE, SIDE)))


def process(file: bytes) -> np.ndarray:
    """The one digit that is found, as the network gets it: uint8 (28, 28).

    Where there is none, or where there are several, an empty image: counted as misread.
    """
    try:
        found = read_digits(read_picture(io.BytesIO(file))).found
    except UserError:
        found = ()
    return found[0].form if len(found) == 1 else np.zeros((SIDE, SIDE), np.uint8)


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each kind of picture, and one for the mean of all."""
    kinds = {kind: value["numbers"] for kind, value in measured.items()}
    names = next(iter(kinds.values()))
    kinds["**all**"] = {name: mean(kind[name] for kind in kinds.values()) for name in names}
    for kind, numbers in kinds.items():
        row = {"pictures": kind} | {name: f"{numbers[name]:.1%}" for name in names}
        yield row | {"seconds a picture": f"{numbers['seconds']:.3f}"}


def draw(measured: dict[str, dict], examples: dict[str, list[np.ndarray]]):
    """For each kind an example, what either way makes of it, and how often that is read right."""
    from matplotlib.figure import Figure

    rows = -(-len(measured) // 2)
    figure = Figure(figsize=(11, 1.55 * rows + 0.6), layout="constrained")
    figure.suptitle("Pictures made from MNIST's test digits, and how many are read right")
    grid = figure.subplots(rows, 6, squeeze=False, width_ratios=[1.6, 1, 1] * 2)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (name, value) in enumerate(measured.items()):
        row, column = place % rows, 3 * (place // rows)
        resized, processed = (value["numbers"][way] for way in ("grey and resized", "processed"))
        titles = name, f"resized: {resized:.0%}", f"processed: {processed:.1%}"
        for offset, (image, title) in enumerate(zip(examples[name], titles, strict=True)):
            axes = grid[row, column + offset]
            axes.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])
            axes.set_title(title, fontsize=10)
    return figure


if __name__ == "__main__":
    main()
