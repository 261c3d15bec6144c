"""What happens to runs when things go wrong: processes killed, files damaged, disks full.

Writes `faults.md` into the results folder: how often each fault was tried, and how often something
was lost. That must be never; else the exit status is 1, and each loss is printed. A killed run must
resume from its last checkpoint and end as one that was never killed; a damaged file must be read,
or refused in one line (whether what is read is still right is not checked).

    python -m benchmarks.faults                   # under an hour on two cores
    python -m benchmarks.faults wrong streams     # some of: kill, operations, cores, streams, fuzz,
                                                  # wrong, concurrent, disk
"""

import contextlib
import itertools
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.damaged_files import read_damaged
from benchmarks.kill_points import change_cores, difference, kill_at_operations, lose_streams
from benchmarks.runs import BenchmarkParser, start_script
from benchmarks.wrong_files import Tries, read_wrong
from common.errors import UserError
from common.files import read_arrays, read_json
from experiment.runs.checkpoints import checkpoint_paths, read_checkpoint
from experiment.runs.folder import MARKER
from experiment.runs.history import read_history
from experiment.values import one_of, whole_number

SHORT = "--data real --figures none --images 4000 --epochs 6"
NUMPY = f"mnist_dense.py --engine numpy {SHORT}"
# The kills are divided evenly. The engines differ in what must be saved, the last two in form.
COMMANDS = {
    "CNN": f"mnist_cnn.py {SHORT}",
    "Fashion CNN, augmented": f"fashion_cnn_augment.py {SHORT}",
    "dense, Keras": f"mnist_dense.py {SHORT}",
    "dense, low-level TensorFlow": f"mnist_dense.py --engine tensorflow {SHORT}",
    "dense, NumPy": f"{NUMPY} --images 12000",
    "sweep and seeds, NumPy": f"{NUMPY} --hidden 64 32 --repeats 2",
}


def main() -> None:
    """Try what the command line names, and write the table."""
    faults = {
        "kill": kill,
        "operations": lambda _, folder: kill_at_operations(folder),
        "cores": lambda _, folder: change_cores(folder),
        "streams": lambda _, folder: lose_streams(folder),
        "fuzz": fuzz,
        "wrong": read_wrong,
        "concurrent": run_at_once,
        "disk": fill_disk,
    }
    usual = {"kill": 60, "fuzz": 10_000, "wrong": 500, "concurrent": 200, "disk": 40}
    parser = BenchmarkParser("faults", __doc__, continues=False)
    parser.add_argument("faults", nargs="*", type=one_of("fault", faults), metavar="FAULT")
    parser.add_argument("--times", type=whole_number(1), metavar="N", help=f"instead of {usual}")
    with parser.results(rows) as results:
        args = results.args
        for name, _ in results.missing(args.faults or faults, ["counts"]):
            with tempfile.TemporaryDirectory() as folder:
                counts = count(faults[name](args.times or usual.get(name), Path(folder)))
            if counts:  # a single core cannot become fewer
                results.keep(name, "counts", counts)
    sys.exit(any(row["lost"] != "0" for row in rows(results.measured)))


def count(tries: Tries) -> dict[str, tuple[int, int]]:
    """How often each fault was tried, and how often something was lost, which is printed."""
    counts: dict[str, tuple[int, int]] = {}
    for title, loss in tries:
        tried, lost = counts.get(title, (0, 0))
        counts[title] = tried + 1, lost + bool(loss)
        if loss or not tried:
            print(f"LOST, {title}: {loss}" if loss else title, flush=True)
    return counts


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each fault."""
    for fault in measured.values():
        for title, (tried, lost) in fault["counts"].items():
            counts = {"tried": tried, "survived": tried - lost, "lost": lost}
            yield {"fault": title} | {key: f"{value:,}" for key, value in counts.items()}


def start(command: str, name: str, results: Path) -> subprocess.Popen:
    """Start a run of that name, or resume it where it has begun."""
    script = command.split()[0]
    begun = (results / Path(script).stem / name / "config.json").exists()
    line = f"{script} --resume {name}" if begun else f"{command} --name {name}"
    return start_script(line, results, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """The exit status of a run, and what it wrote to stderr."""
    answer = process.communicate()[1]
    return process.returncode, answer


def kill(kills: int, folder: Path) -> Tries:
    """Runs killed with SIGKILL at random moments, up to three times, and resumed."""
    generator = random.Random(1)
    for title, command in COMMANDS.items():
        began, killed = time.perf_counter(), 0
        start(command, "whole", folder).wait()
        longest_wait = (time.perf_counter() - began) / 10
        whole = folder / Path(command.split()[0]).stem / "whole"
        while killed < kills / len(COMMANDS):
            losses = kill_one(command, whole, longest_wait, generator)
            killed += len(losses)
            yield from ((f"killed and resumed: {title}", loss) for loss in losses)
        shutil.rmtree(whole.parent)


def kill_one(command: str, whole: Path, longest_wait: float, generator) -> list[str | None]:
    """Kill a run up to three times, resume it, compare it with `whole`: the loss, once per kill."""
    results, folder = whole.parents[1], whole.with_name("killed")
    process, kept = start(command, "killed", results), []
    for _ in range(3):
        # Most of the time passes before training; so a moment is a whole number of epochs, from
        # none to all, and then up to a tenth of the whole time.
        epochs = generator.randrange(epochs_done(whole) + 1)
        while process.poll() is None and epochs_done(folder) < epochs:
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(generator.uniform(0, longest_wait))
            break
        process.kill()
        process.wait()
        kept.append(last_epochs(folder))
        if not (folder / "config.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
        elif not (folder / MARKER).exists():
            break  # killed after all was written, it is finished
        process = start(command, "killed", results)
    status, answer = finish(process)
    loss = f"exit status {status}, {answer}" if status > 0 else difference(whole, folder)
    loss = loss or trained_again(kept, last_epochs(folder))
    shutil.rmtree(folder)
    return [loss] * len(kept)


def last_checkpoints(folder: Path) -> dict[Path, Path]:
    """The last checkpoint of each run in a folder."""
    runs = {path.parent for path in folder.rglob("checkpoint-*.npz")}
    return {run: checkpoint_paths(run)[0] for run in runs}


def epochs_done(folder: Path) -> int:
    """How many epochs the runs in a folder have written checkpoints of."""
    last = last_checkpoints(folder).values()
    return sum(int(path.stem.removeprefix("checkpoint-")) for path in last)


def last_epochs(folder: Path) -> dict[Path, list[dict]]:
    """The history, with its times, in the last checkpoint of each run in a folder."""
    checkpoints = last_checkpoints(folder).items()
    return {run: read_checkpoint(path).history.rows for run, path in checkpoints}


def trained_again(kept: list[dict[Path, list[dict]]], now: dict[Path, list[dict]]) -> str | None:
    """Which run has trained an epoch again that it had a checkpoint of; None where none has."""
    for run, epochs in itertools.chain.from_iterable(before.items() for before in kept):
        if now[run][: len(epochs)] != epochs:
            return f"{run}: did not resume after epoch {len(epochs)}"
    return None


def fuzz(copies: int, folder: Path) -> Tries:
    """Damaged copies of the files of a run, and of others, given to all that reads them."""
    start(f"{NUMPY} --hidden 8", "fuzzed", folder).wait()
    return read_damaged(copies, folder / "mnist_dense" / "fuzzed")


def run_at_once(runs: int, folder: Path) -> Tries:
    """Many runs in one results folder, and pairs that want the same name."""
    command = f"{NUMPY} --epochs 1 --images 300"

    names = [f"many-{number}" for number in range(runs)]
    with ThreadPoolExecutor(40) as pool:
        ends = list(pool.map(lambda name: finish(start(command, name, folder)), names))
    for name, (status, answer) in zip(names, ends, strict=True):
        place = folder / "mnist_dense" / name
        loss = answer or broken(place) or (status and f"exit status {status}")
        unfinished = (place / MARKER).exists() and f"{name} is unfinished"
        yield "runs at once, 40 at a time", loss or unfinished or None
    whole = (folder / "index.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    yield "the gallery of all these", None if whole else "index.html is cut off"
    for number in range(runs // 10):
        pair = [start(command, f"pair-{number}", folder) for _ in range(2)]
        ends = sorted((status, answer.count("\n")) for status, answer in map(finish, pair))
        loss = None if ends == [(0, 0), (1, 1)] else f"status and lines of each: {ends}"
        yield "pairs with one name", broken(folder / "mnist_dense" / f"pair-{number}") or loss


def fill_disk(tries: int, folder: Path) -> Tries:
    """Runs on disks with too little room, resumed with enough."""
    command = f"{NUMPY} --hidden 64"
    start(command, "whole", folder).wait()
    whole, small = folder / "mnist_dense" / "whole", folder / "small"
    sizes = sorted(path.stat().st_size for path in whole.iterdir())
    room = sum(sizes) + sizes[-1]  # two checkpoints at a time
    small.mkdir()
    for number in range(tries):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={4096 + room * number // tries}", "tmpfs"]
        if subprocess.run([*mount, small], check=False, capture_output=True).returncode:
            print("no disk of its own could be mounted: only root can", flush=True)
            return
        loss = fill_one(command, whole, small)
        subprocess.run(["umount", small], check=True)
        loss = loss and f"with {number}/{tries} of the room: {loss}"
        yield "full disk, then resumed with room", loss


def fill_one(command: str, whole: Path, small: Path) -> str | None:
    """What a run lost on the disk mounted at `small`, which then grows."""
    place, (status, answer) = small / "mnist_dense" / "full", finish(start(command, "full", small))
    loss = "Traceback" if "Traceback" in answer else broken(place)
    if status not in (0, 1) or (status == 1 and "error: " not in answer):
        loss = f"exit status {status}, {answer}"
    subprocess.run(["mount", "-o", "remount,size=1g", small], check=True)
    if loss or not status or not (place / "config.json").exists():
        return loss
    status, answer = finish(start(command, "full", small))  # which resumes it
    return f"not resumed: {answer}" if status else difference(whole, place)


def broken(folder: Path) -> str | None:
    """Which file of a run's folder is damaged or left over; None where none is."""
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".npz":
                read_arrays(path)
            elif path.name == "history.csv":
                read_history(path.parent)
            elif path.name.startswith(".") and path.name != ".lock":
                return f"{path.name} is left over"
        except UserError as error:
            return str(error)
    return None


if __name__ == "__main__":
    main()
