"""What a GPU reaches: seconds to 99 % on MNIST beside the record's network, precision, and `best`.

One command, under eight minutes on a large GPU. Writes `gpu.md` into the results folder. Keras runs
on JAX unless KERAS_BACKEND says otherwise; TensorFlow is not needed. The record's network needs
PyTorch, and is left out without.

    python -m benchmarks.gpu
"""

import os
import time
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.runs import BenchmarkParser, in_own_process, percent, run_script, timing
from benchmarks.time_to_accuracy import record, train_fast
from common.errors import UserError
from experiment.backend.device import prepare

BUDGET = 7 * 60  # seconds, after which no further measurement begins
ONCE = {
    "best": "mnist_cnn.py --recipe best",
    # On a GPU, where arithmetic costs little, this network may be larger.
    "Fashion, best, 256 filters": "fashion_cnn_augment.py --recipe best --filters 256 --epochs 60",
}
PRECISIONS = {
    "default in float32": "mnist_cnn.py --precision float32",
    "default in bfloat16": "mnist_cnn.py --precision bfloat16",
}


def main() -> None:
    """Measure what the time allows, and write the table."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    began = time.perf_counter()
    with BenchmarkParser("gpu", __doc__, seeds=10).results(rows) as results:
        seeds = results.args.seeds
        device = in_own_process(prepare).name
        if not device.startswith("GPU"):
            raise UserError(f"Keras on {os.environ['KERAS_BACKEND']} finds no GPU here: {device}")
        programs = {"fast": fast}
        if find_spec("torch"):
            programs["the record's network, PyTorch"] = record_on_gpu
        for name, _ in results.missing(programs, [seeds]):
            for seed, measured in enumerate(in_own_process(programs[name], seeds), 1):
                results.keep(name, seed, measured)
        missing = [*results.missing(ONCE, [1])]
        missing += results.missing(PRECISIONS, range(1, 1 + min(seeds, 5)))
        for name, seed in missing:
            if time.perf_counter() - began > BUDGET:
                print(f"no time for {name}, seed {seed}", flush=True)
                continue
            (run,) = run_script(f"{(ONCE | PRECISIONS)[name]} --seed {seed} --figures none")
            seconds = run.metrics["seconds"]["training"]
            results.keep(name, seed, (seconds, run.metrics["test_accuracy"]))


def fast(seeds: int) -> list[tuple[float, float]]:
    """`mnist_cnn.py --recipe fast`: seconds of training after compilation, and test accuracy."""
    import keras

    clock, fit = [], keras.Model.fit

    def fit_twice(model, *batches, **settings):
        """To compile, and then from the same start again, to measure."""
        variables = [*model.variables, *model.optimizer.variables]
        start = [variable.numpy() for variable in variables]
        fit(model, *batches, **settings | {"callbacks": [], "verbose": 0})
        for variable, values in zip(variables, start, strict=True):
            variable.assign(values)
        began = time.perf_counter()
        fit(model, *batches, **settings)
        variables[0].numpy()  # which waits for the last step
        clock.append(time.perf_counter() - began)

    keras.Model.fit = fit_twice
    reached = [train_fast(seed) for seed in range(1, seeds + 1)]
    return list(zip(clock, reached, strict=True))


def record_on_gpu(seeds: int) -> list[tuple[float, float]]:
    """The record's network and schedule in PyTorch, on the GPU; the first run is left out."""
    return [record(seed)[-1] for seed in range(seeds + 1)][1:]


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each training."""
    for name, runs in measured.items():
        seconds, accuracies = zip(*runs.values(), strict=True)
        row = {"training": name} | timing(seconds)
        yield row | {"test accuracy": percent(accuracies), "seeds": str(len(runs))}


if __name__ == "__main__":
    main()
