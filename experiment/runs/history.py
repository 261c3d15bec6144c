"""What training measured, epoch by epoch: `history.csv`."""

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import regular, write_atomically

COLUMNS = "epoch seconds learning_rate loss accuracy validation_loss validation_accuracy".split()


@dataclass
class History:
    """A row for each completed epoch.

    A row holds `epoch` (from 1), `seconds` (training, without validation), `learning_rate` (at the
    epoch's end), and loss (mean cross-entropy, in nats) and accuracy (a fraction) on both sets.
    Training's are running means over the epoch, as Keras measures them; validation's are `nan`
    without a validation set.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0  # of all training, with validation and the set-up of the network
    stopped: int | None = None  # the number of the signal that ended training
    failure: str | None = None  # why training could not continue, in one line
    kept: int | None = None  # with --patience, the epoch whose weights are kept
    out_of_patience: bool = False  # training ended because that epoch was long ago

    def column(self, name: str) -> list[float]:
        """One measurement over the epochs."""
        return [row[name] for row in self.rows]


def write_history(folder: Path, history: History) -> None:
    """Write history.csv anew, so that it is whole at every moment."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history.rows)
    write_atomically(folder / "history.csv", text.getvalue().encode())


def read_history(folder: Path) -> History:
    """The History in a run's folder. Raises UserError when it is missing or damaged."""
    path = folder / "history.csv"
    try:
        with regular(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [{key: float(row[key]) for key in COLUMNS} for row in reader]
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise ValueError("it lacks columns")
        check_rows(rows)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is missing or damaged: {error}") from error
    return History(rows)


def check_rows(rows: list[dict[str, float]]) -> None:
    """Raise ValueError, or TypeError, unless they are what an epoch each has measured."""
    for epoch, row in enumerate(rows, 1):
        validated = not math.isnan(row["validation_loss"])
        numbers = [row[key] for key in (COLUMNS if validated else COLUMNS[:-2])]
        whole = row["epoch"] == epoch and all(0 <= number < math.inf for number in numbers)
        if not whole or max(row["accuracy"], row["validation_accuracy"]) > 1 + 1e-6:
            raise ValueError(f"row {epoch} is not one of epoch {epoch}")
