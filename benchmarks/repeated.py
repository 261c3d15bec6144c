"""Runs of the scripts with several seeds, kept so that a long measurement can be continued."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common.files import write_atomically
from experiment.runs.folder import MARKER

REPOSITORY = Path(__file__).resolve().parent.parent


def run_folder(command: str, seed: int, results: Path) -> Path:
    """Where the run of `script.py --recipe NAME` with a seed is kept, below `results`."""
    script, _, recipe = command.split()
    return results / Path(script).stem / f"{recipe}-{seed}"


def measured(command: str, seed: int, results: Path) -> bool:
    """Whether the run is there, whole."""
    folder = run_folder(command, seed, results)
    return (folder / "process_seconds").exists() and not (folder / MARKER).exists()


def measured_folders(command: str, results: Path) -> list[Path]:
    """The folders of a command's whole runs, by seed."""
    seeds = (seed for seed in range(1, 101) if measured(command, seed, results))
    return [run_folder(command, seed, results) for seed in seeds]


def measurements(command: str, results: Path) -> tuple[list[dict], list[float]]:
    """The metrics of a command's whole runs, and the seconds of their processes, by seed."""
    folders = measured_folders(command, results)
    metrics = [json.loads((folder / "metrics.json").read_text("utf-8")) for folder in folders]
    seconds = [float((folder / "process_seconds").read_text("utf-8")) for folder in folders]
    return metrics, seconds


def measure(command: str, seed: int, results: Path) -> None:
    """Run a command with a seed to its end, unless it has been already.

    `process_seconds` in the run's folder holds how long the whole process took.
    """
    if measured(command, seed, results):
        return
    folder = run_folder(command, seed, results)
    if folder.exists():
        shutil.rmtree(folder)
    print(f"{command} --seed {seed}", flush=True)
    options = ["--seed", str(seed), "--data", "real", "--quiet", "--name", folder.name]
    began = time.perf_counter()
    run([*command.split(), *options, "--results-dir", results])
    seconds = time.perf_counter() - began
    write_atomically(folder / "process_seconds", f"{seconds:.1f}\n".encode())


def run(command: list) -> None:
    """Run a script of this repository; where it fails, it has said why."""
    script, *options = map(str, command)
    answer = subprocess.run([sys.executable, REPOSITORY / script, *options], check=False)
    if answer.returncode:
        sys.exit(answer.returncode)
