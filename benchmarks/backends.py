"""The default CNN on each of Keras's backends that is installed: accuracy and time.

Writes `backends.md` into the results folder.

    python -m benchmarks.backends --seeds 5             # about an hour on two cores
"""

from collections.abc import Iterator
from importlib.util import find_spec
from statistics import median

from benchmarks.runs import BenchmarkParser, percent, run_script

BACKENDS = ("tensorflow", "jax", "torch")


def main() -> None:
    """Measure in turns, and write the table."""
    installed = [name for name in BACKENDS if find_spec(name)]
    with BenchmarkParser("backends", __doc__, seeds=5).results(rows) as results:
        for name, seed in results.missing(installed, range(1, results.args.seeds + 1)):
            (run,) = run_script("mnist_cnn.py", "--seed", seed, KERAS_BACKEND=name)
            measured = {key: run.metrics[key] for key in ("test_accuracy", "seconds")}
            measured |= {key: run.config[key] for key in ("versions", "precision")}
            print(f"{name}, seed {seed}: {measured['test_accuracy']:.2%}", flush=True)
            results.keep(name, seed, measured)


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each backend."""
    for backend, by_seed in measured.items():
        seeds = list(by_seed.values())
        accuracies = [seed["test_accuracy"] for seed in seeds]
        yield {
            "KERAS_BACKEND": f"{backend} {seeds[0]['versions'][backend]}",
            "arithmetic": seeds[0]["precision"],
            "test accuracy": percent(accuracies),
            "of each seed": ", ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies),
            "training": f"{median(seed['seconds']['training'] for seed in seeds):.0f} s",
            "whole process": f"{median(seed['seconds']['process'] for seed in seeds):.0f} s",
        }


if __name__ == "__main__":
    main()
