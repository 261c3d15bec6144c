"""How many seconds of training it takes to 99 % on MNIST: ours, Keras's example, the record's code.

Trains each program in turns, every time in a process of its own. All have the whole training set in
memory before the clock starts; the set-up and tracing of the network count. A run during which
other processes kept a tenth of a core busy is not kept: the next call measures it again. Writes
`time_to_accuracy.md` and `.png` into the results folder.

    python -m benchmarks.time_to_accuracy --seeds 10    # about half an hour on two cores
    python -m benchmarks.time_to_accuracy --record      # its record, and the table in docs
    ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.time_to_accuracy --results-dir avx2

The last one limits what TensorFlow's and PyTorch's oneDNN use of the processor; below
AVX512_CORE_BF16, only its rows in float32 count. The others, written here from their published
settings:

example    Keras's own (https://keras.io/examples/vision/mnist_convnet): 32 and 64 filters, dropout
           0.5, Adam, batches of 128, a tenth of the images kept for validation
record     the network and schedule of https://github.com/tuomaso/train_mnist_fast in PyTorch: one
           epoch, Adam at up to 0.01 in one cycle, batches of 256; left out without PyTorch. And
           the same in bfloat16, as ours is on a processor that has units for it
"""

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from statistics import mean, median

import numpy as np

import mnist_cnn
from benchmarks import records, runs
from common.data.dataset import Dataset, normalise
from common.data.load import load
from common.files import REPOSITORY, write_atomically

GOAL = 0.99
RECORD, PAGE = "time_to_accuracy", REPOSITORY / "docs" / "performance.md"
MOST_LOAD = 0.1  # cores that other processes may keep busy: PyTorch is slowed down first, and most
EXAMPLE_EPOCHS, EXAMPLE_SEEDS = 12, 3  # its runs take minutes


def ours(seed: int, precision: str = "auto") -> list[tuple[float, float]]:
    """`mnist_cnn.py --recipe fast`, timed from the building of the network to its test."""
    clock = []
    mnist_cnn.build_model = runs.noting(clock, mnist_cnn.build_model)
    mnist_cnn.report = runs.noting(clock, mnist_cnn.report)
    reached = train_fast(seed, precision)
    return [(clock[1] - clock[0], reached)]


def train_fast(seed: int, precision: str = "auto") -> float:
    """The test accuracy of `mnist_cnn.py --recipe fast`, run in this process."""
    options = f"--recipe fast --seed {seed} --figures none --precision {precision}"
    run = runs.call_main(mnist_cnn.main, options)
    return run.metrics["test_accuracy"]


def example(seed: int) -> list[tuple[float, float]]:
    """Keras's example, tested after every epoch, which the clock leaves out."""
    from experiment.backend.device import prepare, set_seed

    prepare(precision="float32")
    import keras

    set_seed(seed)
    dataset = load("mnist", "real", quiet=True)
    images = normalise(dataset.train_images)[..., None]
    labels = keras.utils.to_categorical(dataset.train_labels, 10)
    test_images = normalise(dataset.test_images)[..., None]
    began = time.perf_counter()
    model = example_network()
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    curve, testing = [], 0.0

    def test(epoch: int, logs: dict) -> None:
        nonlocal testing
        seconds = time.perf_counter() - began - testing
        outputs = model.predict(test_images, batch_size=1000, verbose=0)
        curve.append((seconds, accuracy(outputs, dataset)))
        testing = time.perf_counter() - began - seconds

    callback = keras.callbacks.LambdaCallback(on_epoch_end=test)
    settings = {"batch_size": 128, "validation_split": 0.1, "verbose": 0, "callbacks": [callback]}
    model.fit(images, labels, epochs=EXAMPLE_EPOCHS, **settings)
    return curve


def example_network():
    """Keras's own network: float images (n, 28, 28, 1) in, probabilities (n, 10) out."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def record(seed: int, bfloat16: bool = False) -> list[tuple[float, float]]:
    """The record's network and schedule, on the GPU where PyTorch finds one."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    dataset = load("mnist", "real", quiet=True)
    pixels = normalise(dataset.train_images)
    centre, deviation = float(pixels.mean()), float(pixels.std())
    place = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.from_numpy((pixels - centre) / deviation)[:, None].to(place)
    labels = torch.from_numpy(dataset.train_labels.astype(np.int64)).to(place)
    test_images = torch.from_numpy((normalise(dataset.test_images) - centre) / deviation)[:, None]
    batch_size, steps = 256, math.ceil(len(images) / 256)

    began = time.perf_counter()
    model = nn.Sequential(
        *(nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 5 * 5, 256), nn.ReLU(), nn.Linear(256, 10)),
    ).to(place)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.7, 0.9))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=steps, cycle_momentum=False
    )
    # The record takes the images in the order of the file.
    for batch, right in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        with torch.autocast(place, torch.bfloat16, enabled=bfloat16):
            logits = model(batch)
        loss = nn.functional.cross_entropy(logits.float(), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    loss.item()  # which waits for a GPU
    seconds = time.perf_counter() - began
    with torch.no_grad():
        return [(seconds, accuracy(model(test_images.to(place)).cpu().numpy(), dataset))]


def accuracy(outputs: np.ndarray, dataset: Dataset) -> float:
    """The test accuracy of logits or probabilities (n, 10)."""
    return float((outputs.argmax(axis=1) == dataset.test_labels).mean())


PROGRAMS = {
    "`mnist_cnn.py --recipe fast`": ours,
    "the same in float32": partial(ours, precision="float32"),
    "Keras's example": example,
    "the record's network, PyTorch": record,
    "the same in bfloat16, PyTorch": partial(record, bfloat16=True),
}


def main() -> None:
    """Measure in turns, and write the table and the figure."""
    programs = [name for name in PROGRAMS if "PyTorch" not in name or find_spec("torch")]
    parser = runs.BenchmarkParser("time_to_accuracy", __doc__, seeds=10)
    parser.add_argument("--record", action="store_true", help="also record it, and write the docs")
    with parser.results(rows, draw) as results:
        for name, seed in results.missing(programs, range(1, results.args.seeds + 1)):
            if PROGRAMS[name] is example and seed > EXAMPLE_SEEDS:
                continue
            curve, load = runs.in_own_process(runs.with_load, PROGRAMS[name], seed)
            seconds, reached = curve[-1]
            disturbed = f"; not kept, others had {load:.2f} cores" if load > MOST_LOAD else ""
            print(f"{name}, seed {seed}: {seconds:.2f} s, {reached:.2%}{disturbed}", flush=True)
            if not disturbed:
                results.keep(name, seed, curve)
        if results.args.record:
            for name, curves in results.measured.items():
                records.add(RECORD, recorded(name, curves))
            write_atomically(PAGE, page().encode())


def recorded(name: str, curves: dict[str, list]) -> Iterator[dict]:
    """A row of the record for each seed of a program."""
    where = records.here()
    for seed, (seconds, reached) in zip(curves, at_goal(list(curves.values())), strict=True):
        measured = {"test_accuracy": reached, "seconds": seconds}
        yield where | {"member": name, "seed": int(seed)} | measured


def page() -> str:
    """docs/performance.md with the table of what the record holds."""
    measured = {}
    for row in records.read(RECORD):
        curve = [(row["seconds"], row["test_accuracy"])]
        measured.setdefault(row["member"], {})[row["seed"]] = curve
    in_order = {name: measured[name] for name in PROGRAMS if name in measured}
    return records.fill(PAGE.read_text(encoding="utf-8"), "time", rows(in_order))


def at_goal(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Each seed's seconds and accuracy when their mean first reaches the goal, else at the end."""
    epochs = list(zip(*curves, strict=True))
    reached = (epoch for epoch in epochs if mean(accuracy for _, accuracy in epoch) >= GOAL)
    return list(next(reached, epochs[-1]))


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each program."""
    ours = []
    for name, curves in measured.items():
        seconds, accuracies = zip(*at_goal(list(curves.values())), strict=True)
        ours = ours or seconds
        yield (
            {"program": name}
            | runs.timing(seconds)
            | {
                "test accuracy": runs.percent(accuracies),
                "ours / theirs": f"{median(ours) / median(seconds):.2f}",
                "seeds": str(len(curves)),
            }
        )


def draw(measured: dict[str, dict]):
    """Every run's accuracy against its seconds."""
    figure, (axes,), colours = runs.empty_figure(8, 4.5)
    colours = dict(zip(PROGRAMS, colours, strict=False))
    for name, curves in measured.items():
        for curve in curves.values():
            axes.plot(*zip(*curve, strict=True), "o-", ms=5, alpha=0.7, color=colours[name])
        axes.plot([], [], "o", color=colours[name], label=name.strip("`"))
    axes.axhline(GOAL, color="black", lw=1, ls="--")
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training, set-up included")
    axes.set_ylabel("test accuracy")
    axes.set_yscale("accuracy")
    axes.set_ylim(0.97, 0.995)
    axes.set_yticks([0.97, 0.98, 0.985, 0.99, 0.995])
    ticks = [2, 5, 10, 20, 50, 100, 200]
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
