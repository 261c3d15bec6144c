"""Where the time of `mnist_cnn.py --recipe fast` goes, beside the limit of the processor.

Trains in turns, in float32 and in bfloat16, with batches made as they are needed and with batches
made before, and multiplies two large matrices. Writes `time_spent.md` and `.png` into the results
folder. The parts:

set-up       from the building of the network to its first step
arithmetic   what the multiply-adds of all steps would take at the speed of the large matrices
small steps  the rest of the steps: memory, and operations too small to use the processor well
batches      what all steps take longer than with batches made before

    python -m benchmarks.time_spent        # about four minutes on two cores
"""

import math
import time
import timeit
from collections.abc import Iterator
from statistics import median

import numpy as np

import mnist_cnn
from benchmarks import runs
from benchmarks.time_to_accuracy import train_fast

PRECISIONS = ("float32", "bfloat16")
PARTS = ("set-up", "arithmetic", "small steps", "batches")
BATCH_SIZE, SIDE, PRODUCTS = 128, 2048, 10  # the images of a step; large matrices, how often


def main() -> None:
    """Measure in turns, and write the table and the figure."""
    parser = runs.BenchmarkParser("time_spent", __doc__, turns=5)
    with parser.results(rows, draw) as results:
        for precision, turn in results.missing(PRECISIONS, range(1, results.args.turns + 1)):
            rate = runs.in_own_process(multiply_adds_per_second, precision)
            set_up, steps, multiply_adds = runs.in_own_process(train, precision, False)
            _, without, _ = runs.in_own_process(train, precision, True)
            print(f"{precision}, turn {turn}: {set_up + steps:.2f} s", flush=True)
            results.keep(precision, turn, [set_up, multiply_adds / rate, without, steps])


def multiply_adds_per_second(precision: str) -> float:
    """What a product of two large matrices reaches."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((SIDE, SIDE)), precision)
    seconds = timeit.repeat(lambda: (matrix @ matrix).numpy(), number=1, repeat=PRODUCTS)
    return SIDE**3 / median(seconds)


def train(precision: str, made_before: bool) -> tuple[float, float, int]:
    """Seconds of the set-up and of all steps, and the multiply-adds of all steps."""
    import tensorflow as tf

    from experiment.train import keras_loop

    clock, make = [], keras_loop.train_function
    model, count = None, 0

    def train_function(trained, steps):
        nonlocal model, count
        model, count, function = trained, steps, make(trained, steps)

        def train(iterator):
            logs = function(iterator)
            clock.append(time.perf_counter())
            return logs

        return train

    def to_dataset(batches):
        *whole, last = (batches[number] for number in range(len(batches)))
        dataset = tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*whole, strict=True))))
        return dataset.concatenate(tf.data.Dataset.from_tensors(last))

    mnist_cnn.build_model = runs.noting(clock, mnist_cnn.build_model)
    mnist_cnn.report = runs.noting(clock, mnist_cnn.report)
    keras_loop.train_function = train_function
    if made_before:
        keras_loop.to_dataset = to_dataset
    train_fast(1, precision)
    began, first, *_, end = clock
    taken = model.steps_per_execution  # in the first call, which also makes the function
    steps = (end - first) * count / (count - taken)
    return end - began - steps, steps, count * BATCH_SIZE * multiply_adds_of(model)


def multiply_adds_of(model) -> int:
    """The multiply-adds for one image: output, and gradients by weights and by input."""
    total, trained = 0, False
    for layer in model.layers:
        if layer.weights:
            places = math.prod(layer.output.shape[1:-1])
            total += places * math.prod(layer.kernel.shape) * (1 + layer.trainable + trained)
            trained |= layer.trainable
    return total


def parts_of(turns: dict[str, list[float]]) -> list[float]:
    """The seconds of `PARTS`, each time the least of the turns: what disturbs a turn adds to it."""
    set_up, arithmetic, without, steps = map(min, zip(*turns.values(), strict=True))
    return [set_up, arithmetic, without - arithmetic, steps - without]


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each precision."""
    for precision, turns in measured.items():
        parts = dict(zip(PARTS, parts_of(turns), strict=True))
        parts["all"] = sum(parts.values())
        yield {"arithmetic in": precision} | {f"{k}, s": f"{v:.2f}" for k, v in parts.items()}


def draw(measured: dict[str, dict]):
    """A bar of the parts for each precision."""
    figure, (axes,), colours = runs.empty_figure(8, 2.2)
    for place, turns in enumerate(measured.values()):
        left = 0
        for part, width, colour in zip(PARTS, parts_of(turns), colours, strict=False):
            axes.barh(place, width, left=left, color=colour, label=None if place else part)
            axes.text(left + width / 2, place, f"{width:.2f}", ha="center", va="center")
            left += width
    axes.set_yticks(range(len(measured)), list(measured))
    axes.set_axisbelow(True)
    axes.invert_yaxis()
    axes.set_xlabel("seconds of training")
    figure.legend(loc="outside upper center", ncols=len(PARTS))
    return figure


if __name__ == "__main__":
    main()
