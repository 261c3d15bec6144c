"""How well a network reads pictures such as people make of their own digits.

Three groups, written to real files in memory and read as `python -m tools.predict` reads them:
photographs, scans and drawings of a dozen kinds, made from MNIST's test digits; photographs of a
sheet on a table, made from them, too; and digits that are not MNIST's, scikit-learn's of 8 x 8
pixels enlarged, and thick ones with a flag. Beside that stand the same digits in MNIST's own form,
and the naive way: grey, resized to 28 x 28.

Reported are MNIST's test digits 5,000 to 9,999, none twice, and scikit-learn's from 900 on; none
of them served to develop the processing. "Sure of it" are the wrong answers of more than 90 % that
come without a warning.
Writes `own_digits.md` into the results folder; trains nothing.

    python mnist_cnn.py --name digits
    python -m benchmarks.own_digits digits      # a quarter of an hour on two cores
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks import digit_pictures, other_digits, sheet_pictures
from benchmarks.runs import BenchmarkParser
from common.data.dataset import Dataset
from common.errors import UserError
from experiment.runs.saved import SavedRun
from experiment.values import whole_number
from tools.handwriting.form import SIDE, Reading, read_digits
from tools.handwriting.pictures import read_picture
from tools.predict import ask
from tools.saved import find_network, load_dataset, load_model

DEVELOPED_ON = 5_000  # so many of the test digits come first, and are not reported
SURE = 0.9
SHARES = ["in MNIST's own form", "grey and resized", "processed", "one digit found"]
SHARES += ["right but warned"]
FLAGGED = "thick ones with a flag"
GROUPS = {
    "MNIST's digits in disguise": list(digit_pictures.KINDS),
    "sheets on a table": list(sheet_pictures.KINDS),
    "other hands, enlarged": list(other_digits.KINDS),
    FLAGGED: [FLAGGED],
}
KINDS = digit_pictures.KINDS | sheet_pictures.KINDS | other_digits.KINDS
KINDS |= {FLAGGED: other_digits.thick_one_with_a_flag}


def main() -> None:
    """Measure every kind, and write the table."""
    parser = BenchmarkParser("own_digits", __doc__, continues=False)
    add = parser.add_argument
    add("run", nargs="?", default="latest", metavar="RUN", help="whose network reads (latest)")
    help = "of each kind made from MNIST's digits, half as many of sheets (%(default)s)"
    add("--pictures", type=whole_number(2, 300), default=200, metavar="N", help=help)
    with parser.results(rows) as results:
        args = results.args
        run = find_network(args.run, args.results_dir)
        if run.config["dataset"] != "mnist" or run.config["synthetic"]:
            raise UserError(f"{args.run} was not trained on the real MNIST: train mnist_cnn.py")
        results.conditions = (
            f"{run.name}, {args.pictures} pictures of each kind made from MNIST's digits, half as "
            f"many of sheets; {results.conditions}"
        )
        generator = np.random.default_rng(1)
        chosen = samples(load_dataset(run), args.pictures, generator)
        for name, _ in results.missing(KINDS, ["counts"]):
            digits, labels = chosen[name]
            files = [KINDS[name](digit, generator) for digit in digits]
            counts = measure(run, files, digits, labels)
            print(f"{name}: {counts['processed'] / counts['pictures']:.1%} read right", flush=True)
            results.keep(name, "counts", counts)


def samples(dataset: Dataset, pictures: int, generator: np.random.Generator) -> dict[str, tuple]:
    """The digits of which each kind of pictures is made, uint8 (n, h, w), and what they are."""
    order = DEVELOPED_ON + generator.permutation(len(dataset.test_labels) - DEVELOPED_ON)
    chosen, used = {}, 0
    for kinds, count in ((digit_pictures.KINDS, pictures), (sheet_pictures.KINDS, pictures // 2)):
        for name in kinds:
            own = order[used : used + count]
            chosen[name], used = (dataset.test_images[own], dataset.test_labels[own]), used + count
    digits, labels = (values[other_digits.DEVELOPED_ON :] for values in other_digits.other_hands())
    chosen |= dict.fromkeys(other_digits.KINDS, (digits, labels))
    ones = np.flatnonzero(dataset.test_labels == 1)[:pictures]
    return chosen | {FLAGGED: (dataset.test_images[ones], dataset.test_labels[ones])}


def measure(
    run: SavedRun, files: list[bytes], digits: np.ndarray, labels: np.ndarray
) -> dict[str, int]:
    """How many of the pictures in `files` are read right in each way.

    `digits`, uint8 (n, h, w), are what the pictures were made of.
    """
    readings = [read(file) for file in files]
    counts = {"pictures": len(files)}
    resized = np.stack([resize(file) for file in files])
    if digits.shape[1:] != (SIDE, SIDE):
        digits = np.stack([other_digits.centred(digit) for digit in digits])
    model = load_model(run.trainings[0])
    for way, images in {"in MNIST's own form": digits, "grey and resized": resized}.items():
        right = model.predict(images, verbose=0).argmax(axis=1) == labels
        counts[way] = int((right & images.any(axis=(1, 2))).sum())
    answers = ask(run, [reading for reading in readings if reading])
    true = [label for label, reading in zip(labels, readings, strict=True) if reading]
    counts |= {"one digit found": len(answers)}
    counts |= dict.fromkeys(("processed", "wrong", "wrong and sure", "right but warned"), 0)
    for (probabilities, warnings), label in zip(answers, true, strict=True):
        right = probabilities.argmax() == label
        counts["processed" if right else "wrong"] += 1
        counts["right but warned"] += int(right and bool(warnings))
        counts["wrong and sure"] += int(not right and not warnings and probabilities.max() > SURE)
    return counts


def resize(file: bytes) -> np.ndarray:
    """What people try first: grey, resized to 28 x 28, uint8."""
    return np.asarray(Image.open(io.BytesIO(file)).convert("L").resize((SIDE, SIDE)))


def read(file: bytes) -> Reading | None:
    """The reading with one digit; None, counted as misread, where there is none, or several."""
    try:
        reading = read_digits(read_picture(io.BytesIO(file)))
    except UserError:
        return None
    return reading if len(reading.found) == 1 else None


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each kind of picture, and one for each group."""
    kinds = {kind: value["counts"] for kind, value in measured.items()}
    for group, names in GROUPS.items():
        if len(names) > 1 and (members := [kinds[name] for name in names if name in kinds]):
            sums = {key: sum(counts[key] for counts in members) for key in members[0]}
            kinds[f"**{group}**"] = sums
    for kind, counts in kinds.items():
        pictures = counts["pictures"]
        row = {"pictures": kind, "number": f"{pictures:,}"}
        row |= {key: f"{counts[key] / pictures:.1%}" for key in SHARES}
        yield row | {"wrong": f"{counts['wrong']}", "sure of it": f"{counts['wrong and sure']}"}


if __name__ == "__main__":
    main()
