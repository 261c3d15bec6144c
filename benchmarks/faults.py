"""What happens to runs when things go wrong: processes killed, files damaged, disks full.

Prints and writes `faults.md`: how often each fault was tried, how often all was well afterwards,
and how often anything was lost. Lost must be 0; else the exit status is 1, and each loss is told.
A killed run must go on after its last checkpoint and end as one that was never killed; a damaged
file must be read, or refused in one line (whether what is read is still right is not looked at).

    python -m benchmarks.faults                   # under an hour on two cores
    python -m benchmarks.faults fuzz disk         # some of: kill, fuzz, concurrent, disk
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from common.data.originals import NPZ_MEMBERS, KnownFile, Original, parse_idx, read_npz
from common.errors import UserError, one_line_errors
from common.files import REPOSITORY, read_arrays, read_json, write_atomically
from experiment.gallery.page import row_of
from experiment.options import OneLineParser, one_of, whole_number
from experiment.report import markdown_table
from experiment.runs.checkpoints import checkpoint_paths, read_checkpoint, save_checkpoint
from experiment.runs.folder import MARKER, History, read_history
from experiment.runs.saved import read_run
from tools.handwriting.pictures import read_picture

SHORT = "--data real --figures none --images 4000 --epochs 6"
# Kills are shared out evenly. The engines differ in what must be remembered, the last two in form.
COMMANDS = {
    "CNN": f"mnist_cnn.py {SHORT}",
    "Fashion CNN, augmented": f"fashion_cnn_augment.py {SHORT}",
    "dense, Keras": f"mnist_dense.py {SHORT}",
    "dense, low-level TensorFlow": f"mnist_dense.py --engine tensorflow {SHORT}",
    "dense, NumPy": f"mnist_dense.py --engine numpy {SHORT} --images 12000",
    "sweep and seeds, NumPy": f"mnist_dense.py --engine numpy {SHORT} --hidden 64 32 --repeats 2",
}


class Tally:
    """How often something was tried, and what was lost."""

    def __init__(self, fault: str) -> None:
        self.fault, self.tried, self.losses = fault, 0, []

    def check(self, error: str | None) -> None:
        """Count one more; `error` says what was lost, if anything was."""
        self.tried += 1
        if error:
            self.losses.append(error)
            print(f"LOST, {self.fault}: {error}", flush=True)

    def row(self) -> dict[str, str]:
        """Its line of the table."""
        lost = len(self.losses)
        counts = {"tried": self.tried, "survived": self.tried - lost, "lost": lost}
        return {"fault": self.fault} | {key: f"{count:,}" for key, count in counts.items()}


def killed(kills: int, folder: Path) -> Iterator[Tally]:
    """Runs killed with SIGKILL at random moments, up to three times, and resumed."""
    generator = random.Random(1)
    for title, command in COMMANDS.items():
        tally = Tally(f"killed and resumed: {title}")
        began = time.perf_counter()
        start(command, "whole", folder).wait()
        seconds = time.perf_counter() - began
        whole = folder / Path(command.split()[0]).stem / "whole"
        for number in itertools.count(1):
            if tally.tried >= kills / len(COMMANDS):
                break
            name = f"killed-{number}"
            place, done, kept = whole.with_name(name), 0, []
            process = start(command, name, folder)
            for _ in range(3):
                # Most of the time goes by before training; so a moment is a whole number of
                # epochs, from none to all, and then up to a tenth of the whole.
                epochs = generator.randrange(epochs_done(whole) + 1)
                while process.poll() is None and epochs_done(place) < epochs:
                    time.sleep(0.01)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(generator.uniform(0, seconds / 10))
                    break
                process.kill()
                process.wait()
                done += 1
                kept.append(last_epochs(place))
                begun = (place / "config.json").exists()
                if not begun:
                    shutil.rmtree(place, ignore_errors=True)
                process = start(command, name, folder, resume=begun)
            told = process.communicate()[1]  # killed after all was written, it is finished
            error = told if process.returncode and "is finished" not in told else None
            error = error or unlike(whole, place) or trained_again(kept, last_epochs(place))
            for _ in range(done):
                tally.check(error)
            print(f"{title}: {tally.tried} kills, {len(tally.losses)} lost", flush=True)
        shutil.rmtree(whole.parent)
        yield tally


def epochs_done(folder: Path) -> int:
    """How many epochs the runs in a folder have written checkpoints of."""
    last: dict[Path, int] = {}
    for path in folder.rglob("checkpoint-*.npz"):
        epoch = int(path.stem.removeprefix("checkpoint-"))
        last[path.parent] = max(epoch, last.get(path.parent, 0))
    return sum(last.values())


def last_epochs(folder: Path) -> dict[Path, list[dict]]:
    """The history, with its times, in the last checkpoint of each run in a folder."""
    last = {
        path.parent: checkpoint_paths(path.parent)[0] for path in folder.rglob("checkpoint-*.npz")
    }
    return {run: read_checkpoint(path).history.rows for run, path in last.items()}


def trained_again(kept: list[dict[Path, list[dict]]], now: dict[Path, list[dict]]) -> str | None:
    """Which run has trained an epoch again that it had a checkpoint of; None where none has."""
    for run, rows in itertools.chain.from_iterable(before.items() for before in kept):
        if now[run][: len(rows)] != rows:
            return f"{run}: trained again, not gone on after epoch {len(rows)}"
    return None


def start(command: str, name: str, results: Path, resume: bool = False) -> subprocess.Popen:
    """Start a script, or go on with a run."""
    script, *options = command.split()
    options = ["--resume", name] if resume else [*options, "--name", name]
    line = [sys.executable, REPOSITORY / script, *options, "--quiet", "--results-dir", results]
    return subprocess.Popen(
        list(map(str, line)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def unlike(whole: Path, other: Path) -> str | None:
    """In what two folders of the same training differ; None where they are the same."""
    files = [
        # Killed at the very end, a finished run still has its lock, which holds nobody up.
        {path.relative_to(folder) for path in folder.rglob("*") if path.name != ".lock"}
        for folder in (whole, other)
    ]
    if files[0] != files[1]:
        return f"{other.name}: files {sorted(map(str, files[0] ^ files[1]))}"
    for path in sorted(files[0]):
        one, two = whole / path, other / path
        if path.suffix == ".npz":
            arrays, others = read_arrays(one), read_arrays(two)
            arrays.pop("history", None)  # it holds times; history.csv is compared below
            if any(not np.array_equal(values, others[key]) for key, values in arrays.items()):
                return f"{other.name}: {path} differs"
        elif path.name == "history.csv":
            if columns := read_history(one.parent).differing_columns(read_history(two.parent)):
                return f"{other.name}: {path}, {columns} differ"
        elif path.name == "metrics.json":
            counts = [read_json(place).get("confusion_matrix") for place in (one, two)]
            if counts[0] != counts[1]:
                return f"{other.name}: {path} differs"
    return None


def fuzzed(examples: int, folder: Path) -> Iterator[Tally]:
    """Files with bytes changed, cut off, put in and doubled, given to everything that reads."""
    for title, content, read in readers(folder):
        tally = Tally(f"damaged: {title}")
        while tally.tried < examples:  # Hypothesis ends early where it finds nothing new
            try_damage(content, read, examples - tally.tried, tally)
        print(f"{title}: {tally.tried} files, {len(tally.losses)} lost", flush=True)
        yield tally


def try_damage(
    content: bytes, read: Callable[[bytes], object], examples: int, tally: Tally
) -> None:
    """Give damaged copies of `content` to `read`, which may refuse them in one line."""

    @seed(tally.tried)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(damage(content))
    def try_one(damaged: bytes) -> None:
        error = None
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                read(damaged)
        except UserError as answer:
            error = "more than one line" if "\n" in str(answer).strip() else None
        except BaseException as other:
            error = repr(other)[:300]
        tally.check(error)

    try_one()


def damage(content: bytes) -> st.SearchStrategy[bytes]:
    """Damaged copies of a file."""
    place = st.integers(0, len(content))
    change = st.tuples(place, st.integers(0, 20), st.binary(max_size=20))

    def apply(changes: list[tuple[int, int, bytes]], end: int, times: int) -> bytes:
        damaged = content
        for where, removed, put in changes:
            damaged = damaged[:where] + put + damaged[where + removed :]
        return damaged[: len(content) + 1000 if end % 3 else end] * times

    changes = st.lists(change, min_size=1, max_size=4)
    return st.builds(apply, changes, place, st.sampled_from([1, 1, 1, 2])) | st.binary(max_size=200)


def readers(folder: Path) -> Iterator[tuple[str, bytes, Callable[[bytes], object]]]:
    """Each kind of file: its name, the bytes of a whole one, and what reads it."""
    place = folder / "mnist_dense" / "fuzzed"
    start(f"mnist_dense.py --engine numpy {SHORT} --hidden 8", "fuzzed", folder).wait()
    images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    labels = np.array([1, 2], np.uint8)

    def idx(array: np.ndarray) -> bytes:
        return (
            b"\0\0\x08"
            + bytes([array.ndim])
            + np.array(array.shape, ">u4").tobytes()
            + bytes(array)
        )

    arrays = (images, labels, images, labels)
    known = tuple(
        KnownFile("tiny", f"{n}", array.shape, hashlib.sha256(idx(array)).hexdigest())
        for n, array in enumerate(arrays)
    )
    tiny = Original("tiny", tuple("0123456789"), ("tiny",), "tiny.npz", known)
    packed = io.BytesIO()
    names = (name.removesuffix(".npy") for name in NPZ_MEMBERS)
    np.savez_compressed(packed, **dict(zip(names, arrays, strict=True)))
    picture = io.BytesIO()
    Image.fromarray(np.tile(images, (1, 5, 5))[0]).save(picture, "PNG")
    save_checkpoint(folder, History([]), [images.astype(np.float32)])
    (checkpoint,) = checkpoint_paths(folder)

    def through(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def write_and_read(content: bytes) -> None:
            path.write_bytes(content)
            read(path)

        return write_and_read

    def config(path: Path) -> None:
        row_of(path.parent, folder, None)
        for run in read_run(path.parent):
            run.predictions, run.history, run.name  # noqa: B018

    def model(path: Path) -> None:
        for run in read_run(path.parent):
            run.model()

    yield "IDX", idx(images), parse_idx
    yield "mnist.npz", packed.getvalue(), through(folder / "tiny.npz", lambda p: read_npz(p, tiny))
    yield "picture (PNG)", picture.getvalue(), lambda content: read_picture(io.BytesIO(content))
    yield (
        "history.csv",
        (place / "history.csv").read_bytes(),
        through(folder / "history.csv", lambda path: read_history(path.parent)),
    )
    yield "checkpoint", checkpoint.read_bytes(), through(checkpoint, read_checkpoint)
    for name, read in (("model.npz", model), ("metrics.json", config), ("config.json", config)):
        content = (place / name).read_bytes()
        yield name, content, through(place / name, read)
        (place / name).write_bytes(content)
    shutil.rmtree(place)


def at_once(runs: int, folder: Path) -> Iterator[Tally]:
    """Many runs in one results folder, and pairs that want the same name."""
    command = "mnist_dense.py --engine numpy --data real --figures none --epochs 1 --images 300"
    tally, waiting, names = Tally("runs at once, 40 at a time"), [], list(range(runs))
    while names or waiting:
        while names and len(waiting) < 40:
            waiting.append(start(command, f"many-{names.pop()}", folder))
        waiting[0].wait()
        process = waiting.pop(0)
        tally.check(process.stderr.read() or (process.returncode and "no success") or None)
    for number in range(runs):
        place = folder / "mnist_dense" / f"many-{number}"
        if error := broken(place) or ("is unfinished" if (place / MARKER).exists() else None):
            tally.losses.append(f"{place.name} {error}")
    page = (folder / "index.html").read_text(encoding="utf-8")
    if not page.rstrip().endswith("</html>"):
        tally.losses.append("index.html is not whole")
    yield tally
    tally = Tally("pairs with one name")
    for number in range(runs // 10):
        pair = [start(command, f"pair-{number}", folder) for _ in range(2)]
        ends = sorted((process.wait(), process.stderr.read().count("\n")) for process in pair)
        error = broken(folder / "mnist_dense" / f"pair-{number}")
        tally.check(error or (None if ends == [(0, 0), (1, 1)] else f"ended with {ends}"))
    yield tally


def full_disk(tries: int, folder: Path) -> Iterator[Tally]:
    """Runs on disks with too little room, and then with enough."""
    command = f"mnist_dense.py --engine numpy {SHORT} --hidden 64"
    start(command, "whole", folder).wait()
    whole = folder / "mnist_dense" / "whole"
    sizes = sorted(path.stat().st_size for path in whole.iterdir())
    room = sum(sizes) + sizes[-1]  # two checkpoints at a time
    tally = Tally("full disk, then resumed with room")
    small = folder / "small"
    small.mkdir()
    for number in range(tries):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={4096 + room * number // tries}", "tmpfs"]
        answer = subprocess.run([*mount, small], check=False, capture_output=True)
        if answer.returncode:
            print("no disk of its own could be mounted: only root can", flush=True)
            break
        process = start(command, "full", small)
        status, lines = process.wait(), process.stderr.read().splitlines()
        place = small / "mnist_dense" / "full"
        error = "Traceback" if any("Traceback" in line for line in lines) else broken(place)
        if status not in (0, 1) or (status == 1 and not any("error: " in s for s in lines)):
            error = f"exit status {status}, {lines}"
        subprocess.run(["mount", "-o", "remount,size=1g", small], check=True)
        if not error and status and (place / "config.json").exists():
            process = start(command, "full", small, resume=True)
            error = f"not resumed: {process.stderr.read()}" if process.wait() else None
            error = error or unlike(whole, place)
        subprocess.run(["umount", small], check=True)
        tally.check(error and f"with {number}/{tries} of the room: {error}")
    yield tally
    shutil.rmtree(whole)


def broken(folder: Path) -> str | None:
    """What is not whole in a run's folder, if anything is."""
    for path in folder.rglob("*") if folder.exists() else ():
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


# What each measurement is called, and how often it is tried.
FAULTS = {
    "kill": (killed, 60),
    "fuzz": (fuzzed, 10_000),
    "concurrent": (at_once, 200),
    "disk": (full_disk, 40),
}


def main() -> None:
    """Try what the command line names, and write the table."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faults", nargs="*", type=one_of("fault", FAULTS), metavar="FAULT")
    parser.add_argument("--times", type=whole_number(1), metavar="N", help="instead of the usual")
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    # The table of each fault is kept, so that they can be tried one after the other.
    path = args.results_dir / "faults.json"
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        rows = read_json(path) if path.exists() else {}
        args.results_dir.mkdir(parents=True, exist_ok=True)
        for fault in args.faults or FAULTS:
            measure, times = FAULTS[fault]
            (place := Path(folder) / fault).mkdir()
            tallies = list(measure(args.times or times, place))
            rows[fault] = [tally.row() for tally in tallies]
            write_atomically(path, json.dumps(rows, indent=1).encode())
            table = markdown_table([row for fault in rows for row in rows[fault]])
            write_atomically(
                args.results_dir / "faults.md", f"{table}\n{os.cpu_count()} cores\n".encode()
            )
        print(table)
    sys.exit(any(row["lost"] != "0" for fault in rows for row in rows[fault]))


if __name__ == "__main__":
    main()
