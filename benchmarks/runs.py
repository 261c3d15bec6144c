"""What the benchmarks share: command line, scripts run as processes, results kept as they come."""

import argparse
import contextlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median, stdev

from common import files
from common.errors import UserError, one_line_errors
from common.tables import markdown_table
from experiment.backend.device import CPU, nvidia_card
from experiment.runs.saved import SavedRun
from experiment.values import whole_number
from tools.command_line import ToolParser
from tools.saved import read_runs


class BenchmarkParser(ToolParser):
    """The command line of `python -m benchmarks.<name>`, and what it measures.

    `times`: seeds=5 or turns=3 is the default of such an option; `continues`: what an earlier call
    measured is kept, unless --fresh.
    """

    def __init__(self, name: str, description: str, continues: bool = True, **times: int) -> None:
        super().__init__(name, description, "benchmarks")
        self.name, add = name, self.add_argument
        for word, default in times.items():
            count, meaning = whole_number(1, 100), f"number of {word} (%(default)s)"
            add(f"--{word}", type=count, default=default, metavar="N", help=meaning)
        self.set_defaults(fresh=not continues)
        if continues:
            add("--fresh", action="store_true", help="measure again what is kept of earlier calls")

    @contextlib.contextmanager
    def results(self, rows: Callable, draw=None, argv: Sequence[str] | None = None) -> Iterator:
        """The Results, whose `args` are the options in `argv`; errors become one line.

        `rows` makes those of a table of what has been measured, `draw` a matplotlib Figure. The
        table is printed at the end.
        """
        args = self.parse_args(argv)
        with one_line_errors(args.debug):
            args.results_dir.mkdir(parents=True, exist_ok=True)
            results = Results(args.results_dir / self.name, args, rows, draw)
            yield results
            print(results.path.with_suffix(".md").read_text(encoding="utf-8"), end="")


class Results:
    """What a benchmark has measured so far, in NAME.json; NAME.md and NAME.png show it.

    `measured[name][number]` is one measurement, for example of a program with a seed. All files
    are written after each, so that a long benchmark can be stopped and continued.
    """

    def __init__(self, path: Path, args: argparse.Namespace, rows, draw) -> None:
        """Raises UserError where another machine or other versions measured, unless --fresh."""
        self.path, self.args, self.rows, self.draw = path.with_suffix(".json"), args, rows, draw
        self.conditions, self.measured, saved = machine(), {}, {}
        with contextlib.suppress(UserError, LookupError, TypeError):
            kept = files.read_json(self.path)
            list(rows(kept["measured"]))  # fails where an earlier version measured other things
            saved = kept
        if saved.get("conditions") == self.conditions:
            self.measured = saved["measured"]
            if not args.fresh:
                print(f"continuing {self.path}; --fresh measures again", flush=True)
        elif self.path.exists() and not args.fresh:
            text = f"{self.path} is of another machine or other versions: --fresh measures again"
            raise UserError(text)

    def missing(self, names: Iterable[str], numbers: Iterable) -> Iterator[tuple]:
        """Each name and number to measure, in turns: a busy moment of the machine meets all."""
        names = list(names)
        for name in names if self.args.fresh else ():
            self.measured.pop(name, None)
        for number in numbers:
            for name in names:
                if str(number) not in self.measured.get(name, {}):
                    yield name, number

    def keep(self, name: str, number: object, measurement: object) -> None:
        """Add a measurement, of what JSON can hold, and write all files."""
        self.measured.setdefault(name, {})[str(number)] = measurement
        files.write_json(self.path, {"conditions": self.conditions, "measured": self.measured})
        table = markdown_table(list(self.rows(self.measured)))
        text = f"{table}\n\n{self.conditions}; {date.today()}\n"
        files.write_atomically(self.path.with_suffix(".md"), text.encode())
        if self.draw:
            with files.atomic_path(self.path.with_suffix(".png")) as partial:
                self.draw(self.measured).savefig(partial, dpi=100)


def start_script(command: str, results: Path, *options, **settings) -> subprocess.Popen:
    """Start `script.py --option ...` without its output; `settings` are those of Popen."""
    script, *words = command.split()
    line = [sys.executable, files.REPOSITORY / script, *words, *options]
    line += ["--quiet", "--results-dir", results]
    return subprocess.Popen(list(map(str, line)), stdout=subprocess.DEVNULL, **settings)


def run_script(
    command: str, *options, results: Path | None = None, name: str = "run", **environment: str
) -> list[SavedRun]:
    """The run that `script.py --option ...` makes of the real data; of a sweep, each combination's.

    Their metrics' seconds also hold those of the whole `process`. The run `name` is kept where
    `results` is given. Where the script fails, it has said why, and this process ends, too.
    """
    with tempfile.TemporaryDirectory() as temporary:
        results = results or Path(temporary)
        folder = results / Path(command.split()[0]).stem / name
        shutil.rmtree(folder, ignore_errors=True)  # one that was not finished
        options = (*options, "--data", "real", "--name", name)
        began = time.perf_counter()
        process = start_script(command, results, *options, env=os.environ | environment)
        status, seconds = process.wait(), time.perf_counter() - began
        if status:
            sys.exit(status)
        runs = read_runs(folder)
        for run in runs:
            run.metrics.setdefault("seconds", {})["process"] = seconds  # several seeds have none
            for training in run.trainings:
                training.history  # noqa: B018 - read now, while the folder is there
    return runs


def epoch_seconds(run: SavedRun) -> float:
    """The median epoch of a run, without the first, which holds the set-up of the network."""
    return median(run.history.column("seconds")[1:])


def call_main(main: Callable, options: str):
    """The run or runs that a script's `main` gives in this process, on the real data."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return main([*options.split(), "--data", "real", "--quiet", "--results-dir", folder])


def in_own_process(function: Callable, *arguments):
    """What a function gives in a new process; what it raises there is raised here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def noting(clock: list[float], function: Callable) -> Callable:
    """The same function, which first adds the time to `clock`."""

    def noted(*arguments):
        clock.append(time.perf_counter())
        return function(*arguments)

    return noted


def with_load(function: Callable, *arguments) -> tuple:
    """What a function gives, and how many cores other processes kept busy meanwhile.

    The second is 0 where the system is not Linux, which alone tells.
    """
    busy, own, began = busy_seconds(), time.process_time(), time.perf_counter()
    given = function(*arguments)
    own, elapsed = time.process_time() - own, time.perf_counter() - began
    return given, max(0.0, (busy_seconds() - busy - own) / elapsed) if busy else 0.0


def busy_seconds() -> float:
    """The seconds that all processes have kept the cores busy since the start; 0 if not Linux."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split()
        return sum(map(int, fields[1:4])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def percent(fractions: Sequence[float]) -> str:
    """Mean and standard deviation as `99.50 ± 0.06 %`; `-` of nothing."""
    if not fractions:
        return "-"
    deviation = f" ± {100 * stdev(fractions):.2f}" if len(fractions) > 1 else ""
    return f"{100 * mean(fractions):.2f}{deviation} %"


def timing(seconds: Sequence[float], first: Sequence[float] | None = None) -> dict[str, str]:
    """Cells of a table: the median, the range, and the ratio to the median of `first`."""
    cells = {"seconds, median": median(seconds), "from": min(seconds), "to": max(seconds)}
    if first:
        cells["ratio to the first line"] = median(seconds) / median(first)
    return {name: f"{value:.2f}" for name, value in cells.items()}


def empty_figure(width: float, height: float, columns: int = 1) -> tuple:
    """A matplotlib Figure, its axes from left to right, and the colours that all figures have."""
    from matplotlib.figure import Figure  # not at the top: --help need not wait for it

    from common.plotting import style  # which knows the scale named "accuracy"

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure, panels, style.COLOURS


def machine() -> str:
    """GPU, processor and versions, for people."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    versions = []
    for package in ("tensorflow", "keras", "jax", "torch"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    if backend := os.environ.get("KERAS_BACKEND"):
        versions.append(f"Keras on {backend}")
    if limit := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        versions.append(f"oneDNN limited to {limit}")
    processor += CPU.removeprefix("CPU")  # ", 2 cores"
    parts = [nvidia_card(), processor, ", ".join(versions)]
    return "; ".join(filter(None, parts))
