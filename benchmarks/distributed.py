"""How much faster two processes train than one, and what slower networks would leave of that.

Trains with one process on one core, and with two processes on a core each that talk through this
machine's loopback, in turns. From these times and the size of the weights it computes the speed-up
over real networks. Writes `distributed.md` and `distributed.png` into the results folder. Linux
only, because it chooses the core of each process.

    python -m benchmarks.distributed        # about ten minutes
"""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.runs import BenchmarkParser, empty_figure, epoch_seconds, start_script
from common.errors import UserError
from experiment.backend.processes import ADDRESS, PROCESS, PROCESSES
from tools.saved import read_runs

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
MODEL_NOTE = (
    "Dots: measured. Dashed lines: computed from the two dots, the size of the weights and the "
    "speed of a network; on more than two processes nothing was measured."
)


def main() -> None:
    """Measure in turns, and write the table and the figure."""
    with BenchmarkParser("distributed", __doc__, turns=3).results(rows, draw) as results:
        if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
            raise UserError("this needs Linux and two cores")
        for case, turn in results.missing(CASES, range(1, results.args.turns + 1)):
            one, weights = train(*CASES[case], processes=1)
            two, _ = train(*CASES[case], processes=2)
            print(f"{case}: {1000 * one:.1f} and {1000 * two:.1f} ms a step", flush=True)
            results.keep(case, turn, (one, two, weights))


def train(options: str, batch_size: int, processes: int) -> tuple[float, int]:
    """The seconds of a step with so many processes, on a core each, and the number of weights."""
    command = (
        f"mnist_cnn.py {options} --epochs 3 --batch-size {batch_size} --validation 0 "
        f"--images {STEPS * batch_size} --figures none --data real --name run"
    )
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    if processes > 1:
        command += " --distributed"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        environment |= {ADDRESS: address, PROCESSES: str(processes)}
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        started = [
            start_script(
                command,
                Path(folder),
                env=environment | {PROCESS: str(number)},
                preexec_fn=lambda core=cores[number]: os.sched_setaffinity(0, {core}),
            )
            for number in range(processes)
        ]
        statuses = [process.wait() for process in started]
        if any(statuses):
            sys.exit(1)  # they have said why
        (run,) = read_runs(Path(folder) / "mnist_cnn" / "run")
        return epoch_seconds(run) / STEPS, run.metrics["parameters"]


def speed_up(one: float, two: float, weights: int, machines: int, network: str) -> float:
    """How much faster so many machines are than one.

    `one` and `two` are the measured seconds of a step with one process and with two. Each machine
    computes its part of the batch. What the machines do not divide (the exchange itself, the
    augmentation, the optimizer) costs what it does with two processes: their time minus half of
    that of one. Then the gradients, float32, go round a ring, where every machine sends and
    receives 2 (n - 1) / n of them, in 2 (n - 1) messages.
    """
    if machines == 1:
        return 1.0
    bandwidth, delay = NETWORKS[network]
    exchange = 2 * (machines - 1) * (4 * weights / machines / bandwidth + delay)
    return one / (one / machines + max(two - one / 2, 0) + exchange)


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each case."""
    for case, turns in measured.items():
        one, two, weights = map(median, zip(*turns.values(), strict=True))
        row = {
            "training": case,
            "weights": f"{weights:,.0f}",
            "one core": f"{1000 * one:.1f} ms a step",
            "two processes, a core each": f"{1000 * two:.1f} ms",
            "speed-up": f"{one / two:.2f}",
        }
        for network in NETWORKS:
            gains = [f"{speed_up(one, two, weights, n, network):.1f}" for n in (2, 8)]
            row[f"2 and 8 machines, {network}"] = " and ".join(gains)
        yield row


def draw(measured: dict[str, dict]):
    """The speed-up over the number of processes: measured up to two, beyond them a model's."""
    figure, panels, colours = empty_figure(12, 4.3, len(measured))
    figure.supxlabel(MODEL_NOTE, fontsize=9, style="italic")
    counts = [1, 2, 4, 8, 16]
    for axes, (case, turns) in zip(panels, measured.items(), strict=True):
        one, two, weights = map(median, zip(*turns.values(), strict=True))
        axes.plot(counts, counts, ":", color="#999999", label="as many times as fast")
        for colour, network in zip(colours, NETWORKS, strict=False):
            gains = [speed_up(one, two, weights, n, network) for n in counts]
            axes.plot(counts, gains, "--", color=colour, label=f"model: {network}")
        axes.plot([1, 2], [1, one / two], "ko", label="measured: loopback")
        axes.axvspan(2, counts[-1] * 1.2, color="0.94", zorder=0)
        axes.text(5.7, 0.3, "model, nothing measured", ha="center", fontsize=9, color="0.3")
        axes.set_xscale("log", base=2)
        axes.set_xlim(0.85, counts[-1] * 1.2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(counts, map(str, counts))
        axes.set_yticks([0.5, *counts], ["0.5", *map(str, counts)])
        axes.set_ylim(0.25, 20)
        axes.set_title(f"{case}: {1000 * one:.0f} ms a step", fontsize=10)
        axes.set_xlabel("processes, a core each")
    panels[0].set_ylabel("speed-up over one process")
    panels[0].legend(fontsize=8, loc="upper left")
    return figure


if __name__ == "__main__":
    main()
