"""What a GPU reaches: seconds to 99 % on MNIST beside the record's network, precision, and `best`.

One command, under eight minutes on a large GPU; what there is is written after every step, into
`gpu.json` and `gpu.md` in the results folder. Keras runs on JAX unless KERAS_BACKEND says
otherwise; TensorFlow is not needed. The record's network needs PyTorch, and is left out without.

    python -m benchmarks.gpu
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from argparse import SUPPRESS
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median, stdev

os.environ.setdefault("KERAS_BACKEND", "jax")

from benchmarks.scaling import python
from benchmarks.time_to_accuracy import machine, record, train_fast
from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, write_atomically
from experiment.options import OneLineParser, one_of, whole_number
from experiment.report import markdown_table

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


def fast(seeds: int) -> list[tuple[float, float]]:
    """`mnist_cnn.py --recipe fast`: seconds of training after compilation, and test accuracy."""
    import keras

    clock, fit = [], keras.Model.fit

    def fit_twice(model, batches, **settings):
        """To compile, and then from the same start again, to measure."""
        variables = [*model.variables, *model.optimizer.variables]
        start = [variable.numpy() for variable in variables]
        fit(model, batches, **settings | {"callbacks": [], "verbose": 0})
        for variable, values in zip(variables, start, strict=True):
            variable.assign(values)
        began = time.perf_counter()
        fit(model, batches, **settings)
        variables[0].numpy()  # which waits for the last step
        clock.append(time.perf_counter() - began)

    keras.Model.fit = fit_twice
    reached = [train_fast(seed) for seed in range(1, seeds + 1)]
    return list(zip(clock, reached, strict=True))


def of_record(seeds: int) -> list[tuple[float, float]]:
    """The record's network and schedule in PyTorch, on the GPU; the first run is left out."""
    return [record(seed)[-1] for seed in range(seeds + 1)][1:]


IN_ONE_PROCESS = {"fast": fast, "the record's network, PyTorch": of_record}


def whole_run(command: str, seed: int) -> tuple[float, float]:
    """The seconds of training, compilation included, and the test accuracy of a run."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--seed", str(seed), "--data", "real", "--figures", "none", "--quiet"]
        script, *rest = command.split()
        options += ["--name", "run", "--results-dir", folder]
        python(REPOSITORY / script, *rest, *options)
        (path,) = Path(folder).glob("*/run/metrics.json")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        return metrics["seconds"]["training"], metrics["test_accuracy"]


def main() -> None:
    """Measure what the time allows, and write the table."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=whole_number(1, 100), default=10, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    parser.add_argument("--one", type=one_of("program", IN_ONE_PROCESS), help=SUPPRESS)
    args = parser.parse_args()
    with one_line_errors():
        if args.one:  # a process of its own that the lines below have started
            print(json.dumps(IN_ONE_PROCESS[args.one](args.seeds)))
            return
        device = python(
            "-c", "from experiment.backend.device import prepare; print(prepare().name)"
        )
        if not device.startswith("GPU"):
            raise UserError(f"Keras on {os.environ['KERAS_BACKEND']} finds no GPU here: {device}")
        where = f"{device}; {machine()}; {date.today()}"
        began, measured = time.perf_counter(), {}
        for name in IN_ONE_PROCESS:
            if name == "fast" or find_spec("torch"):
                answer = python("-m", "benchmarks.gpu", "--one", name, "--seeds", str(args.seeds))
                measured[name] = json.loads(answer)
                write(args.results_dir, measured, where)
        runs = [(*run, 1) for run in ONCE.items()]
        for seed in range(1, 1 + min(args.seeds, 5)):  # both precisions in turns
            runs += [(*run, seed) for run in PRECISIONS.items()]
        for name, command, seed in runs:
            if time.perf_counter() - began > BUDGET:
                print(f"no time for {name}, seed {seed}", flush=True)
                continue
            measured.setdefault(name, []).append(whole_run(command, seed))
            write(args.results_dir, measured, where)
        print((args.results_dir / "gpu.md").read_text(encoding="utf-8"), end="")


def write(results: Path, measured: dict, where: str) -> None:
    """Write what there is: numbers and table, and on which machine."""
    results.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": where} | measured, indent=1)
    write_atomically(results / "gpu.json", text.encode())
    rows = []
    for name, runs in measured.items():
        seconds, shares = zip(*runs, strict=True)
        spread = f" ± {stdev(shares):.2%}" if len(shares) > 1 else ""
        rows.append(
            {
                "training": name,
                "seconds, median": f"{median(seconds):.2f}",
                "from": f"{min(seconds):.2f}",
                "to": f"{max(seconds):.2f}",
                "test accuracy": f"{mean(shares):.2%}{spread}",
                "seeds": str(len(runs)),
            }
        )
    write_atomically(results / "gpu.md", f"{markdown_table(rows)}\n{where}\n".encode())


if __name__ == "__main__":
    main()
