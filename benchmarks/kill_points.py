"""Runs killed at each change of a file, on other cores, and without standard streams.

For `python -m benchmarks.faults`. A killed process is a fork of this one, so that it starts at
once; only Linux and macOS have that.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

import mnist_dense
from benchmarks.wrong_files import QUICK, Tries, tiny_data
from common.files import REPOSITORY, read_arrays, read_json
from experiment.runs.folder import MARKER
from experiment.runs.history import read_history
from tools.rerun import differing_columns

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
KILLED = 137
STREAMS = ("", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>&1", "| true")


def kill_at_operations(results: Path) -> Tries:
    """One run, and a sweep with seeds, killed before each operation in turn, and resumed."""
    sweep = ["--epochs", "1", "--hidden", "8", "4", "--repeats", "2"]
    scripts = results / "mnist_dense"
    with tiny_data():
        for title, options in (("a run", ["--epochs", "2"]), ("a sweep with seeds", sweep)):
            start(scripts / "whole", options)
            number = 1
            while start(scripts / "killed", options, killed_at=number) == KILLED:
                status = start(scripts / "killed", options)
                loss = f"exit status {status}" if status else None
                loss = loss or difference(scripts / "whole", scripts / "killed")
                yield f"killed at an operation: {title}", loss and f"{number}: {loss}"
                shutil.rmtree(scripts / "killed", ignore_errors=True)
                number += 1
            shutil.rmtree(scripts)


def start(folder: Path, options: list[str], killed_at: int = 0, cores: Iterable = ()) -> int:
    """The exit status of a fork that begins the run in a folder, or resumes it where it has begun.

    It is killed before its operation of that number, and uses these cores.
    """
    begun = (folder / "config.json").exists()
    argv = ["--resume", folder.name] if begun else ["--name", folder.name, *QUICK, *options]
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status = 1
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        if cores:
            os.sched_setaffinity(0, cores)
            argv += ["--epochs", "3"]
        if killed_at:
            sys.addaudithook(killer(str(folder.parents[1]), killed_at))
        mnist_dense.main([*argv, "--results-dir", str(folder.parents[1])])
        status = 0
    except SystemExit as end:
        # Killed after all was written, a run is finished, and refuses to be resumed.
        status = end.code if not begun or (folder / MARKER).exists() else 0
    finally:
        os._exit(status)


def killer(place: str, number: int) -> Callable:
    """An audit hook that ends the process before the operation of that number below a folder."""
    count = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event in OPERATIONS and str(arguments[0]).startswith(place):
            count += event != "open" or bool(arguments[2] & WRITING)
            if count == number:
                os._exit(KILLED)

    return hook


def change_cores(results: Path) -> Tries:
    """A run that is resumed on one core of several: config.json must say what has changed."""
    cores, folder = sorted(os.sched_getaffinity(0)), results / "mnist_dense" / "fewer"
    if len(cores) == 1:
        print("there is one core, which cannot become fewer", flush=True)
        return
    with tiny_data():
        start(folder, ["--epochs", "1"])
        start(folder, [], cores=cores[:1])
    resumed = read_json(folder / "config.json").get("resumed", [{}])
    said = resumed[-1].get("changed", {}).get("cores") == [len(cores), 1]
    yield "resumed on fewer cores", None if said else "it is not said"


def lose_streams(results: Path) -> Tries:
    """Runs whose standard streams are closed, full or not read: they end as others do."""
    script, scripts = REPOSITORY / "mnist_dense.py", results / "mnist_dense"
    options = f"{' '.join(QUICK[:-1])} --epochs 1 --images 300 --data synthetic"
    for number, redirection in enumerate(STREAMS):
        line = f"'{sys.executable}' '{script}' {options} --results-dir '{results}' --name {number}"
        command = ["bash", "-c", f"set -o pipefail; {line} {redirection}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        loss = f"exit status {ended.returncode}, {ended.stderr}" if ended.returncode else None
        folders = [scripts / f"{name}-synthetic" for name in (0, number)]
        loss = loss or difference(*folders)
        yield "standard streams closed, full or not read", loss and f"{redirection}: {loss}"


def difference(whole: Path, other: Path) -> str | None:
    """In what two folders of the same training differ; None where they are the same."""
    files, others = (
        # Killed at the very end, a finished run still has its lock, which blocks nobody.
        {path.relative_to(folder) for path in folder.rglob("*") if path.name != ".lock"}
        for folder in (whole, other)
    )
    if files != others:
        return f"{other.name}: files {sorted(map(str, files ^ others))}"
    for path in sorted(files):
        if path.suffix == ".npz":
            arrays, again = read_arrays(whole / path), read_arrays(other / path)
            arrays.pop("history", None)  # it holds times; history.csv is compared, too
            if not all(np.array_equal(values, again[key]) for key, values in arrays.items()):
                return f"{other.name}: {path} differs"
        elif path.name == "history.csv":
            histories = [read_history((folder / path).parent) for folder in (whole, other)]
            if columns := differing_columns(*histories):
                return f"{other.name}: {path}, {columns} differ"
    return None
