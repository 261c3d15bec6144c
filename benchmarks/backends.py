"""The default CNN on each of Keras's backends that is installed: accuracy and time.

Writes `backends.md` into the results folder. A seed that has been measured is not run again.

    python -m benchmarks.backends --seeds 5             # about an hour on two cores
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median, stdev

from benchmarks.repeated import measure, measured_folders, measurements
from common.errors import one_line_errors
from common.files import REPOSITORY, read_json, write_atomically
from experiment.options import OneLineParser, whole_number
from experiment.report import markdown_table

COMMAND = "mnist_cnn.py --recipe default"
BACKENDS = ("tensorflow", "jax", "torch")


def main() -> None:
    """Measure in turns, and write the table."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=whole_number(1, 100), default=5, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    installed = [name for name in BACKENDS if find_spec(name)]
    path = args.results_dir / "backends.md"
    with one_line_errors():
        for seed in range(1, args.seeds + 1):
            for name in installed:
                os.environ["KERAS_BACKEND"] = name
                measure(COMMAND, seed, args.results_dir / "backends" / name)
                lines = [table_line(one, args.results_dir / "backends" / one) for one in BACKENDS]
                table = markdown_table([line for line in lines if line])
                write_atomically(path, f"{table}\n".encode())
        print(path.read_text(encoding="utf-8"), end="")


def table_line(backend: str, results: Path) -> dict[str, str]:
    """A row of the table, in words; nothing for a backend that has not been measured."""
    metrics, processes = measurements(COMMAND, results)
    if not metrics:
        return {}
    config = read_json(measured_folders(COMMAND, results)[0] / "config.json")
    shares = [100 * of_seed["test_accuracy"] for of_seed in metrics]
    spread = f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""
    return {
        "KERAS_BACKEND": f"{backend} {config['versions'][backend]}",
        "arithmetic": config["precision"],
        "test accuracy": f"{mean(shares):.2f}{spread} %",
        "of each seed": ", ".join(f"{share:.2f}" for share in shares),
        "training": f"{median(one['seconds']['training'] for one in metrics):.0f} s",
        "whole process": f"{median(processes):.0f} s",
    }


if __name__ == "__main__":
    main()
