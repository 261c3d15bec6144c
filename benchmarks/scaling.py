"""What augmentation, starting up and more data cost, in seconds and in memory.

Measures everything in turns, and writes `scaling.md` into the results folder.

    python -m benchmarks.scaling        # about 15 minutes on two cores
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import numpy as np

import experiment.run
import mnist_cnn
from benchmarks import runs
from common.files import REPOSITORY
from experiment.report import peak_memory

AUGMENTED = "fashion_cnn_augment.py"
SAME = f"{AUGMENTED} --flip --shift 1 --rotation 5 --zoom 0.05"
IMPORT, REST = "import keras", "mnist_cnn.py without training and testing"
TILED = {f"{n * 60_000:,} images, {n * 60_000 * 784 / 1e9:.2f} GB": n for n in (1, 2, 4, 8)}
# What is compared: the ratios are to the first line of a group.
GROUPS = {
    "An epoch of Fashion-MNIST without and with augmentation, by NumPy and by Keras.": (
        *(f"{AUGMENTED} --no-augment", AUGMENTED, SAME, f"{SAME} --augmenter keras"),
    ),
    "Starting up; the memory of mnist_cnn.py is that of a whole run.": (IMPORT, REST),
    "An epoch of mnist_cnn.py on copies of MNIST.": tuple(TILED),
}
# In a bare process, where nothing has been imported before.
IMPORT_KERAS = """
import time
began = time.perf_counter()
import keras
seconds = time.perf_counter() - began
from experiment.report import peak_memory
print(seconds, peak_memory())
"""


def main() -> None:
    """Measure everything, and write the table."""
    names = [name for names in GROUPS.values() for name in names]
    with runs.BenchmarkParser("scaling", __doc__, turns=3).results(rows) as results:
        for name, turn in results.missing(names, range(1, results.args.turns + 1)):
            seconds, memory = measure(name)
            print(f"turn {turn}, {name}: {seconds:.2f} s, {memory / 1e9:.2f} GB", flush=True)
            results.keep(name, turn, (seconds, memory))


def measure(name: str) -> tuple[float, int]:
    """The seconds that one line of the table is about, and the process's peak memory in bytes."""
    if name == IMPORT:
        command = [sys.executable, "-c", IMPORT_KERAS]
        answer = subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)
        seconds, memory = answer.stdout.split()
        return float(seconds), int(memory)
    if name == REST:
        (run,) = runs.run_script("mnist_cnn.py --epochs 1 --figures none")
        seconds = run.metrics["seconds"]
        rest = seconds["process"] - seconds["training"] - seconds["evaluation"]
        return rest, runs.in_own_process(memory_of_a_run)
    if name in TILED:
        return runs.in_own_process(tiled_epoch, TILED[name])
    (run,) = runs.run_script(f"{name} --epochs 3 --figures none")
    return runs.epoch_seconds(run), run.metrics["peak_memory_bytes"]


def memory_of_a_run() -> int:
    """The peak memory of this process in bytes, after two epochs and all figures."""
    runs.call_main(mnist_cnn.main, "--epochs 2")
    return peak_memory()


def tiled_epoch(times: int) -> tuple[float, int]:
    """The seconds of the second epoch over so many copies of MNIST, and the peak memory."""
    load = experiment.run.load

    def load_tiled(*arguments, **settings):
        dataset = load(*arguments, **settings)
        images = np.tile(dataset.train_images, (times, 1, 1))
        labels = np.tile(dataset.train_labels, times)
        return replace(dataset, train_images=images, train_labels=labels)

    experiment.run.load = load_tiled
    run = runs.call_main(mnist_cnn.main, "--epochs 2 --validation 0 --figures none")
    return run.history.rows[-1]["seconds"], peak_memory()


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """The rows of the table: groups with a title, as far as they have been measured."""
    for title, names in GROUPS.items():
        yield {"": f"**{title}**"}
        for name in (name for name in names if name in measured):
            seconds, memory = zip(*measured[name].values(), strict=True)
            first, least = zip(*measured[names[0]].values(), strict=True)
            gigabytes, more = median(memory) / 1e9, (median(memory) - median(least)) / 1e9
            row = {"": name} | runs.timing(seconds, first)
            yield row | {"peak memory, GB": f"{gigabytes:.2f}", "more, GB": f"{more:.2f}"}


if __name__ == "__main__":
    main()
