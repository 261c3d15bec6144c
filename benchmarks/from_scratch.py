"""The curve and the digits of project B's network: two small tables beside the records."""

import csv

import numpy as np

from benchmarks import records
from experiment.runs.saved import SavedRun
from tools.saved import load_dataset, load_model

CURVE, DIGITS = "details/from_scratch_curve.csv", "details/from_scratch_digits.csv"


def keep_details(run: SavedRun) -> None:
    """Add a seed's validation accuracy after each step, and of each digit at the end."""
    curve = run.history.column("validation_accuracy")
    add_column(CURVE, "step", dict(enumerate(curve, 1)), run.config["seed"])
    add_column(DIGITS, "digit", digit_accuracies(run), run.config["seed"])


def digit_accuracies(run: SavedRun) -> dict[int, float]:
    """The fraction of each digit's validation images that the run's network recognises."""
    config = run.config
    data = load_dataset(run).split(config["validation"], config["seed"], config["images"])
    guesses = load_model(run).predict(data.validation_images).argmax(axis=1)
    right = guesses == data.validation_labels
    digits = np.unique(data.validation_labels).tolist()
    return {digit: float(right[data.validation_labels == digit].mean()) for digit in digits}


def read(file: str) -> dict[int, list[float]]:
    """By step or digit, the value of each seed; nothing where nothing is measured."""
    if not (records.FOLDER / file).exists():
        return {}
    with (records.FOLDER / file).open(encoding="utf-8", newline="") as opened:
        _, *lines = csv.reader(opened)
    return {int(key): list(map(float, cells)) for key, *cells in lines}


def add_column(file: str, key: str, values: dict[int, float], seed: int) -> None:
    """Add a seed's column, or put it in place of an earlier one."""
    rows = {place: {key: place} for place in values}
    if (records.FOLDER / file).exists():
        with (records.FOLDER / file).open(encoding="utf-8", newline="") as opened:
            rows = {int(row[key]): row for row in csv.DictReader(opened)}
    for place, value in values.items():
        rows[place][f"seed {seed}"] = round(value, 4)
    records.write_table(file, list(next(iter(rows.values()))), list(rows.values()))
