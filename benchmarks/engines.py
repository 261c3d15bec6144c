"""How long the three engines of `mnist_dense.py` take for an epoch of the same network.

Runs the script with each engine in turns, so that a busy moment of the machine meets all of them,
and writes `engines.md` into the results folder: the seconds of an epoch (median and range) and
their ratio to those of Keras. The first epoch of each run is left out: it holds the set-up of the
network.

    python -m benchmarks.engines        # about two minutes on two cores
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from common.errors import one_line_errors
from common.files import REPOSITORY, write_atomically
from experiment.options import OneLineParser, whole_number
from experiment.report import markdown_table
from experiment.runs.folder import read_history

ENGINES = ("keras", "tensorflow", "numpy")
OPTIONS = (
    "--hidden 256,128,64 --batch-size 256 --dropout 0 --shift 0 --precision float32 "
    "--data real --figures none --quiet"
)


def main() -> None:
    """Measure in turns, and write the table."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=whole_number(1, 100), default=5, metavar="N")
    parser.add_argument("--epochs", type=whole_number(2, 100), default=6, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    with one_line_errors():
        seconds = {engine: [] for engine in ENGINES}
        for turn in range(1, args.turns + 1):
            for engine in ENGINES:
                seconds[engine].append(seconds_per_epoch(engine, args.epochs))
            latest = (f"{engine} {seconds[engine][-1]:.3f} s" for engine in ENGINES)
            print(f"turn {turn}: {', '.join(latest)}", flush=True)
        rows = [
            {
                "engine": engine,
                "seconds an epoch": f"{median(of_engine):.3f}",
                "from": f"{min(of_engine):.3f}",
                "to": f"{max(of_engine):.3f}",
                "ratio to Keras": f"{median(of_engine) / median(seconds['keras']):.2f}",
            }
            for engine, of_engine in seconds.items()
        ]
        table = markdown_table(rows)
        args.results_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(args.results_dir / "engines.md", f"{table}\n".encode())
        print(table)


def seconds_per_epoch(engine: str, epochs: int) -> float:
    """The median epoch of one run, in seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        options = [*OPTIONS.split(), "--engine", engine, "--epochs", str(epochs)]
        options += ["--name", "run", "--results-dir", folder]
        command = [sys.executable, str(REPOSITORY / "mnist_dense.py"), *options]
        answer = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        if answer.returncode:  # the script has said why
            sys.exit(answer.returncode)
        history = read_history(Path(folder) / "mnist_dense" / "run")
    return median(history.column("seconds")[1:])


if __name__ == "__main__":
    main()
