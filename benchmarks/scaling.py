"""What augmentation, starting up and more data cost, in seconds and in memory.

Writes `scaling.md` into the results folder. Whatever is compared runs in turns, so that a busy
moment of the machine meets all.

    python -m benchmarks.scaling        # about 15 minutes on two cores
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from common.data.load import load
from common.errors import one_line_errors
from common.files import REPOSITORY, write_atomically
from experiment.options import OneLineParser, whole_number
from experiment.report import markdown_table, peak_memory
from experiment.runs.folder import read_history

PLAIN = "fashion_cnn_augment.py --no-augment"
AUGMENTED = "fashion_cnn_augment.py"
SAME = "fashion_cnn_augment.py --flip --shift 1 --rotation 5 --zoom 0.05"
GENERATOR = f"{SAME} --augmenter keras"
TIMES = (1, 2, 4, 8)
IMPORT = """
import time
began = time.perf_counter()
import keras
seconds = time.perf_counter() - began
from experiment.report import peak_memory
print(seconds, peak_memory())
"""
WHOLE_RUN = """
import sys, mnist_cnn
from experiment.report import peak_memory
mnist_cnn.main(["--epochs", "2", "--data", "real", "--quiet", "--results-dir", sys.argv[1]])
print(peak_memory())
"""


def main() -> None:
    """Measure everything, and write the tables."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=whole_number(1, 100), default=3, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    parser.add_argument("--tiled", type=int, help=SUPPRESS)
    args = parser.parse_args()
    with one_line_errors():
        if args.tiled:  # a process of its own that `growing_data` has started
            print(json.dumps(train_tiled(args.tiled)))
            return
        tables = []
        for measurement in (augmentation, starting_up, growing_data):
            title = measurement.__doc__.partition("\n")[0]
            tables.append(f"{title}\n\n{markdown_table(measurement(args.turns))}\n")
            print(tables[-1], flush=True)
            args.results_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(args.results_dir / "scaling.md", "\n".join(tables).encode())


def augmentation(turns: int) -> list[dict[str, str]]:
    """An epoch of Fashion-MNIST with and without augmentation."""
    seconds = {command: [] for command in (PLAIN, AUGMENTED, SAME, GENERATOR)}
    for _ in range(turns):
        for command, of_command in seconds.items():
            # The first epoch is left out: it holds the set-up of the network.
            of_command.append(median(run(command, epochs=3)[1].column("seconds")[1:]))
    plain = median(seconds[PLAIN])
    return [
        {
            "command": f"`python {command}`",
            "seconds an epoch": f"{median(of_command):.2f}",
            "from": f"{min(of_command):.2f}",
            "to": f"{max(of_command):.2f}",
            "to no augmentation": f"{median(of_command) / plain:.2f}",
        }
        for command, of_command in seconds.items()
    ]


def starting_up(turns: int) -> list[dict[str, str]]:
    """What the default CNN's process costs beside training, evaluation and figures."""
    bare, ours, memory = [], [], []
    for _ in range(turns):
        answer = python("-c", IMPORT).split()
        bare.append((float(answer[0]), int(answer[1])))
        began = time.perf_counter()
        metrics, _ = run("mnist_cnn.py", epochs=1)
        seconds = time.perf_counter() - began
        ours.append(seconds - metrics["seconds"]["training"] - metrics["seconds"]["evaluation"])
        with tempfile.TemporaryDirectory() as folder:
            memory.append(int(python("-c", WHOLE_RUN, folder)))
    of_import, of_rest = median(s for s, _ in bare), median(ours)
    of_bare, of_run = median(m for _, m in bare), median(memory)
    return [
        {
            "": "seconds",
            "bare `import keras`": f"{of_import:.1f}",
            "`python mnist_cnn.py`": f"{of_rest:.1f}",
            "ratio": f"{of_rest / of_import:.2f}",
        },
        {
            "": "peak memory, GB",
            "bare `import keras`": f"{of_bare / 1e9:.2f}",
            "`python mnist_cnn.py`": f"{of_run / 1e9:.2f}",
            "ratio": f"{of_run / of_bare:.2f}",
        },
    ]


def growing_data(turns: int) -> list[dict[str, str]]:
    """An epoch of the default CNN as MNIST is tiled."""
    measured = {times: [] for times in TIMES}
    for _ in range(turns):
        for times in TIMES:
            measured[times].append(
                json.loads(python("-m", "benchmarks.scaling", "--tiled", str(times)))
            )
    first, least = (median(values) for values in zip(*measured[1], strict=True))
    rows = []
    for times, of_times in measured.items():
        seconds, memory = (median(values) for values in zip(*of_times, strict=True))
        pixels = 60_000 * (times - 1) * 28 * 28
        rows.append(
            {
                "images": f"{60_000 * times:,}",
                "seconds an epoch": f"{seconds:.1f}",
                "to 1x": f"{seconds / first:.2f}",
                "peak memory, GB": f"{memory / 1e9:.2f}",
                "more than 1x, GB": f"{(memory - least) / 1e9:.2f}",
                "its pixels, GB": f"{pixels / 1e9:.2f}",
            }
        )
    return rows


def train_tiled(times: int) -> tuple[float, int]:
    """The seconds of the second epoch over so many copies of MNIST, and the peak of memory."""
    import mnist_cnn

    def tiled(*arguments):
        dataset = load(*arguments)
        images = np.tile(dataset.train_images, (times, 1, 1))
        return replace(
            dataset, train_images=images, train_labels=np.tile(dataset.train_labels, times)
        )

    mnist_cnn.load = tiled
    with tempfile.TemporaryDirectory() as folder:
        options = "--epochs 2 --validation 0 --data real --figures none --quiet --name run"
        with contextlib.redirect_stdout(io.StringIO()):
            mnist_cnn.main([*options.split(), "--results-dir", folder])
        history = read_history(Path(folder) / "mnist_cnn" / "run")
    return history.rows[-1]["seconds"], peak_memory()


def run(command: str, epochs: int) -> tuple[dict, object]:
    """The metrics and history of a run."""
    script, *options = command.split()
    with tempfile.TemporaryDirectory() as folder:
        options += ["--epochs", str(epochs), "--data", "real", "--quiet", "--figures", "none"]
        python(REPOSITORY / script, *options, "--name", "run", "--results-dir", folder)
        place = Path(folder) / Path(script).stem / "run"
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        return metrics, read_history(place)


def python(*arguments: object) -> str:
    """What a process of its own prints; where it fails, it has said why."""
    command = [sys.executable, *map(str, arguments)]
    answer = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    if answer.returncode:
        sys.exit(answer.returncode)
    return answer.stdout.splitlines()[-1] if answer.stdout else ""


if __name__ == "__main__":
    main()
