"""How many seconds of training it takes to 99 % on MNIST: ours, Keras's example, the record's code.

Trains each program in turns, every time in a process of its own, so that a busy moment of the
machine meets all of them. All have the whole training set in memory before the clock starts; the
set-up and tracing of the network count. Writes `time_to_accuracy.json`, `.md` and `.png` into the
results folder. A run that has been measured is not run again: --fresh starts anew.

    python -m benchmarks.time_to_accuracy --seeds 10    # about half an hour on two cores

The others, written here from their published settings:

example     Keras's own (https://keras.io/examples/vision/mnist_convnet): 32 and 64 filters, dropout
            0.5, Adam, batches of 128, a tenth of the images kept for validation
record      the network and schedule of https://github.com/tuomaso/train_mnist_fast in PyTorch: one
            epoch, Adam at up to 0.01 in one cycle, batches of 256; left out without PyTorch
record_bf16 the same in bfloat16, as ours is on a processor that has units for it
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from common.data.load import Dataset, load, normalise
from common.errors import one_line_errors
from common.files import REPOSITORY, beside, write_atomically
from common.plotting.curves import accuracy_of_error_decades, error_decades
from experiment.options import OneLineParser, one_of, whole_number
from experiment.report import markdown_table

GOAL = 0.99
EXAMPLE_EPOCHS, EXAMPLE_SEEDS = 12, 3  # its runs take minutes


def ours(seed: int) -> list[tuple[float, float]]:
    """`mnist_cnn.py --recipe fast`, timed from the building of the network to its test."""
    import mnist_cnn

    clock = []

    def timed(function):
        def noted(*arguments):
            clock.append(time.perf_counter())
            return function(*arguments)

        return noted

    mnist_cnn.build_model = timed(mnist_cnn.build_model)
    mnist_cnn.report = timed(mnist_cnn.report)
    reached = train_fast(seed)
    return [(clock[1] - clock[0], reached)]


def train_fast(seed: int) -> float:
    """The test accuracy of `mnist_cnn.py --recipe fast`, run in this process."""
    import mnist_cnn

    with tempfile.TemporaryDirectory() as folder:
        options = f"--recipe fast --seed {seed} --data real --figures none --quiet --name run"
        with contextlib.redirect_stdout(io.StringIO()):
            mnist_cnn.main([*options.split(), "--results-dir", folder])
        path = Path(folder) / "mnist_cnn" / "run" / "metrics.json"
        return json.loads(path.read_text(encoding="utf-8"))["test_accuracy"]


def example(seed: int) -> list[tuple[float, float]]:
    """Keras's example, tested after every epoch, which the clock leaves out."""
    from experiment.backend.device import prepare, set_seed

    prepare(precision="float32")
    import keras
    from keras import layers

    set_seed(seed)
    dataset = load("mnist", "real", quiet=True)
    images = normalise(dataset.train_images)[..., None]
    labels = keras.utils.to_categorical(dataset.train_labels, 10)
    test_images = normalise(dataset.test_images)[..., None]
    began = time.perf_counter()
    model = keras.Sequential(
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
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    curve, testing = [], 0.0

    def test(epoch: int, logs: dict) -> None:
        nonlocal testing
        seconds = time.perf_counter() - began - testing
        outputs = model.predict(test_images, batch_size=1000, verbose=0)
        curve.append((seconds, share_right(outputs, dataset)))
        testing = time.perf_counter() - began - seconds

    watch = keras.callbacks.LambdaCallback(on_epoch_end=test)
    settings = {"batch_size": 128, "validation_split": 0.1, "verbose": 0, "callbacks": [watch]}
    model.fit(images, labels, epochs=EXAMPLE_EPOCHS, **settings)
    return curve


def record(seed: int, bfloat16: bool = False) -> list[tuple[float, float]]:
    """The record's network and schedule, on the GPU where PyTorch finds one."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    dataset = load("mnist", "real", quiet=True)
    pixels = normalise(dataset.train_images)
    middle, spread = float(pixels.mean()), float(pixels.std())
    place = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.from_numpy((pixels - middle) / spread)[:, None].to(place)
    labels = torch.from_numpy(dataset.train_labels.astype(np.int64)).to(place)
    test_images = torch.from_numpy((normalise(dataset.test_images) - middle) / spread)[:, None]
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
        return [(seconds, share_right(model(test_images.to(place)).cpu().numpy(), dataset))]


def share_right(outputs: np.ndarray, dataset: Dataset) -> float:
    """The test accuracy of logits or probabilities (n, 10)."""
    return float((outputs.argmax(axis=1) == dataset.test_labels).mean())


PROGRAMS = {
    "ours": ours,
    "example": example,
    "record": record,
    "record_bf16": partial(record, bfloat16=True),
}
NAMES = {
    "ours": "`mnist_cnn.py --recipe fast`",
    "example": "Keras's example",
    "record": "the record's network, PyTorch",
    "record_bf16": "the same in bfloat16",
}


def main() -> None:
    """Measure in turns, and write the table and the figure."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=whole_number(1, 100), default=10, metavar="N")
    parser.add_argument("--fresh", action="store_true", help="measure again what there is")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    parser.add_argument("--one", type=one_of("program", PROGRAMS), help=SUPPRESS)
    args = parser.parse_args()
    with one_line_errors():
        if args.one:  # a process of its own that `main` has started; `seeds` is which seed
            print(json.dumps(PROGRAMS[args.one](args.seeds)))
            return
        path = args.results_dir / "time_to_accuracy.json"
        curves = {}
        if path.exists() and not args.fresh:
            curves = json.loads(path.read_text(encoding="utf-8"))["curves"]
        programs = [name for name in PROGRAMS if "record" not in name or find_spec("torch")]
        for seed in range(1, args.seeds + 1):
            for name in programs:
                of_program = curves.setdefault(name, {})
                if str(seed) in of_program or (name == "example" and seed > EXAMPLE_SEEDS):
                    continue
                of_program[str(seed)] = curve = in_own_process(name, seed)
                print(
                    f"{name:12} seed {seed:2}: {curve[-1][0]:6.2f} s, {curve[-1][1]:.2%}",
                    flush=True,
                )
                write(args.results_dir, curves)
        print((args.results_dir / "time_to_accuracy.md").read_text(encoding="utf-8"))


def in_own_process(name: str, seed: int) -> list[tuple[float, float]]:
    """The seconds and test accuracies of one run of a program."""
    command = [sys.executable, "-m", "benchmarks.time_to_accuracy", "--one", name]
    command += ["--seeds", str(seed)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    if answer.returncode:
        sys.exit(answer.stderr)
    return json.loads(answer.stdout.splitlines()[-1])


def write(results: Path, curves: dict) -> None:
    """Write what there is: numbers, table, figure."""
    results.mkdir(parents=True, exist_ok=True)
    summaries = {name: summary(list(of_program.values())) for name, of_program in curves.items()}
    numbers = {"machine": machine(), "curves": curves, "summaries": summaries}
    write_atomically(results / "time_to_accuracy.json", json.dumps(numbers, indent=1).encode())
    table = markdown_table([table_line(name, summaries) for name in summaries])
    write_atomically(results / "time_to_accuracy.md", f"{table}\n{machine()}\n".encode())
    with beside(results / "time_to_accuracy.png") as partial:
        draw(curves).savefig(partial, dpi=100)


def summary(curves: list[list[tuple[float, float]]]) -> dict:
    """When a program's mean over seeds reaches the goal: its first such epoch, else its last."""
    points = list(zip(*curves, strict=True))  # a tuple of the seeds' (seconds, accuracy) each
    reached = next((p for p in points if mean(share for _, share in p) >= GOAL), points[-1])
    seconds, shares = zip(*reached, strict=True)
    return {
        "seeds": len(curves),
        "seconds": median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "accuracy": mean(shares),
        "deviation": stdev(shares) if len(shares) > 1 else 0.0,
    }


def table_line(name: str, summaries: dict) -> dict[str, str]:
    """A row of the table, in words."""
    of_program = summaries[name]
    ratio = summaries["ours"]["seconds"] / of_program["seconds"]
    return {
        "program": NAMES[name],
        "training, median": f"{of_program['seconds']:.2f} s",
        "range": f"{of_program['least']:.2f} to {of_program['most']:.2f} s",
        "test accuracy": f"{of_program['accuracy']:.2%} ± {of_program['deviation']:.2%}",
        "ours takes": f"{ratio:.2f} of it",
        "seeds": str(of_program["seeds"]),
    }


def machine() -> str:
    """Processor and versions, for people."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    versions = []
    for package in ("tensorflow", "keras", "jax", "torch"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    return f"{processor}, {os.cpu_count()} cores; {', '.join(versions)}"


def draw(curves: dict) -> Figure:
    """Every run's accuracy against its seconds."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = dict(zip(PROGRAMS, ("#0072b2", "#555555", "#d55e00", "#e69f00"), strict=True))
    for name, of_program in curves.items():
        for curve in of_program.values():
            seconds, shares = zip(*curve, strict=True)
            axes.plot(seconds, shares, "o-", ms=5, alpha=0.7, color=colours[name])
        axes.plot([], [], "o", color=colours[name], label=NAMES[name].strip("`"))
    axes.axhline(GOAL, color="black", lw=1, ls="--")
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training, set-up included")
    axes.set_ylabel("test accuracy")
    axes.set_yscale("function", functions=(error_decades, accuracy_of_error_decades))
    axes.set_ylim(0.97, 0.995)
    axes.set_yticks([0.97, 0.98, 0.985, 0.99, 0.995])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_xticks([2, 5, 10, 20, 50, 100, 200])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
