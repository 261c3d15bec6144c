"""What several processes gain, and what the network between machines takes away again.

Trains with one process on one core, and with two processes on a core each that talk through this
machine's loopback, in turns. From these times and the size of the weights it computes what real
networks would leave of the gain. Writes `distributed.md` and `distributed.png` into the results
folder. Linux only, because it says on which core a process runs.

    python -m benchmarks.distributed        # about ten minutes
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, beside, write_atomically
from experiment.backend.processes import ADDRESS, PROCESS, PROCESSES
from experiment.options import OneLineParser, whole_number
from experiment.report import markdown_table
from experiment.runs.folder import read_history

STEPS = 20  # an epoch
CASES = {  # options, and images in a batch
    "default CNN, batches of 128": ("--recipe default", 128),
    "default CNN, batches of 1,024": ("--recipe default", 1024),
    "best CNN, batches of 128": ("--recipe best", 128),
}
# Bytes a second of one direction, and seconds until a message arrives.
NETWORKS = {
    "1 Gbit/s Ethernet": (1e9 / 8, 100e-6),
    "10 Gbit/s Ethernet": (10e9 / 8, 50e-6),
    "100 Gbit/s InfiniBand": (100e9 / 8, 5e-6),
}
COLOURS = ("#d55e00", "#e69f00", "#0072b2")


def main() -> None:
    """Measure in turns, and write the table and the figure."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=whole_number(1, 100), default=3, metavar="N")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    with one_line_errors():
        if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
            raise UserError("this needs Linux and two cores")
        seconds = {(case, count): [] for case in CASES for count in (1, 2)}
        weights = {}
        for _ in range(args.turns):
            for case, count in seconds:
                of_step, weights[case] = train(*CASES[case], count)
                seconds[case, count].append(of_step)
                print(f"{case}, {count}: {1000 * of_step:.1f} ms a step", flush=True)
        steps = {key: median(values) for key, values in seconds.items()}
        lines = [table_line(case, steps, weights[case]) for case in CASES]
        args.results_dir.mkdir(parents=True, exist_ok=True)
        table = markdown_table(lines)
        write_atomically(args.results_dir / "distributed.md", f"{table}\n".encode())
        with beside(args.results_dir / "distributed.png") as partial:
            draw(steps, weights).savefig(partial, dpi=100)
        print(table)


def train(options: str, batch_size: int, count: int) -> tuple[float, int]:
    """The seconds of a step with so many processes, on a core each, and the number of weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, REPOSITORY / "mnist_cnn.py", *options.split(), "--epochs", "3"]
        command += ["--batch-size", str(batch_size), "--images", str(STEPS * batch_size)]
        command += ["--validation", "0", "--figures", "none", "--quiet", "--data", "real"]
        command += ["--name", "run", "--results-dir", folder]
        environment = os.environ | {"KERAS_BACKEND": "jax"}
        if count > 1:
            command.append("--distributed")
            environment |= {ADDRESS: address, PROCESSES: str(count)}
        cores = sorted(os.sched_getaffinity(0))
        processes = [
            subprocess.Popen(
                list(map(str, command)),
                env=environment | {PROCESS: str(number)},
                stdout=subprocess.DEVNULL,
                preexec_fn=lambda core=cores[number]: os.sched_setaffinity(0, {core}),
            )
            for number in range(count)
        ]
        statuses = [process.wait() for process in processes]
        if any(statuses):
            sys.exit(1)  # they have said why
        place = Path(folder) / "mnist_cnn" / "run"
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        # The first epoch is left out: it holds the set-up of the network.
        epoch = median(read_history(place).column("seconds")[1:])
        return epoch / STEPS, metrics["parameters"]


def speed_up(one: float, two: float, weights: int, machines: int, network: str) -> float:
    """How much faster so many machines are than one.

    `one` and `two` are the measured seconds of a step with one process and with two. Each machine
    computes its share of the batch. What the machines do not share (the exchange itself, the
    augmentation, the optimizer) costs what it does with two processes: what is missing to half of
    the time. Then the gradients, float32, go round a ring, where every machine sends and receives
    2 (n - 1) / n of them, in 2 (n - 1) messages.
    """
    if machines == 1:
        return 1.0
    bandwidth, delay = NETWORKS[network]
    exchange = 2 * (machines - 1) * (4 * weights / machines / bandwidth + delay)
    return one / (one / machines + max(two - one / 2, 0) + exchange)


def table_line(case: str, steps: dict, weights: int) -> dict[str, str]:
    """A row of the table, in words."""
    one, two = steps[case, 1], steps[case, 2]
    line = {
        "training": case,
        "weights": f"{weights:,}",
        "one core": f"{1000 * one:.1f} ms a step",
        "two processes, a core each": f"{1000 * two:.1f} ms",
        "speed-up": f"{one / two:.2f}",
    }
    for network in NETWORKS:
        gains = [f"{speed_up(one, two, weights, n, network):.1f}" for n in (2, 8)]
        line[f"2 and 8 machines, {network}"] = " and ".join(gains)
    return line


def draw(steps: dict, weights: dict) -> Figure:
    """The speed-up over the number of processes: measured, and as networks allow it."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    counts = [1, 2, 4, 8, 16]
    for axes, case in zip(figure.subplots(1, len(CASES), sharey=True), CASES, strict=True):
        axes.plot(counts, counts, ":", color="#999999", label="as many times as fast")
        for colour, network in zip(COLOURS, NETWORKS, strict=True):
            measured = steps[case, 1], steps[case, 2]
            gains = [speed_up(*measured, weights[case], n, network) for n in counts]
            axes.plot(counts, gains, "-", color=colour, label=f"model: {network}")
        axes.plot([1, 2], [1, steps[case, 1] / steps[case, 2]], "ko", label="measured: loopback")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(counts, map(str, counts))
        axes.set_yticks([0.5, *counts], ["0.5", *map(str, counts)])
        axes.set_ylim(0.25, 20)
        axes.set_title(f"{case}: {1000 * steps[case, 1]:.0f} ms a step", fontsize=10)
        axes.set_xlabel("processes, a core each")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("times as fast as one")
    figure.axes[0].legend(fontsize=8, loc="upper left")
    return figure


if __name__ == "__main__":
    main()
