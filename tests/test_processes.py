"""Several processes that train one network, here both on this machine."""

import os
import socket
import sys
import time
from importlib.util import find_spec

import pytest
from conftest import assert_same_state, only_backend, run_script, start_script, wait_for

from experiment.backend.processes import ADDRESS, PROCESS, PROCESSES

needs_jax = pytest.mark.skipif(
    not find_spec("jax") or sys.version_info < (3, 11),
    reason="jax is not installed, or is that of Python 3.10",
)

SHORT = "--data rendered --images 1600 --validation 0.2 --batch-size 64 --figures none".split()
# A hundred steps. Adam would make a difference of rounding, where a gradient is next to nothing, as
# large as a step.
STEPS = [*SHORT, "--optimizer", "momentum", "--learning-rate", "0.02", "--epochs", "5"]


@pytest.fixture
def alone(tmp_path_factory):
    """The environment of a process on JAX that trains alone."""
    return only_backend("jax", tmp_path_factory.mktemp("hidden"))


def start_two(environment, script, options, of_second=None):
    """Start both processes, the second one with options of its own, if it is to have any."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = environment | {ADDRESS: address, PROCESSES: "2"}
    return [
        start_script(script, *own, "--distributed", env=both | {PROCESS: str(number)})
        for number, own in enumerate((options, of_second or options))
    ]


def outcome(process):
    """What a process has said, once it has ended."""
    output, errors = process.communicate(timeout=200)
    return process.returncode, output, errors


@needs_jax
def test_two_processes_take_the_steps_of_one_also_after_one_was_killed(alone, tmp_path):
    results = ("--results-dir", tmp_path)
    one = run_script("mnist_dense", *STEPS, "--name", "one", *results, env=alone)
    assert one.returncode == 0, one.stderr

    options = [*STEPS, "--name", "two"]
    both = start_two(alone, "mnist_dense", [*options, *results])
    wait_for(both[0], tmp_path / "mnist_dense", "two*/checkpoint-2.npz")
    both[1].kill()
    began = time.monotonic()
    status, output, errors = outcome(both[0])
    assert time.monotonic() - began < 30
    line = "process 1 of 2 is gone: start all of them again, the first one with --resume\n"
    assert (status, errors) == (1, f"error: {line}")
    assert "in each of 2 processes" in output
    assert "epoch" not in outcome(both[1])[1]

    # The second one as on a machine of its own, where the results are not.
    again = ["--resume", "two-rendered", *results]
    both = start_two(alone, "mnist_dense", again, [*options, "--results-dir", tmp_path / "none"])
    outcomes = [outcome(process) for process in both]
    assert [(status, errors) for status, _, errors in outcomes] == [(0, ""), (0, "")]
    assert "going on after epoch" in outcomes[0][1]
    folders = [tmp_path / "mnist_dense" / f"{name}-rendered" for name in ("one", "two")]
    assert {path.name for path in folders[0].iterdir()} == {p.name for p in folders[1].iterdir()}
    assert_same_state(*(folder / "checkpoint-5.npz" for folder in folders), within=1e-5)


@needs_jax
def test_processes_with_other_options_are_refused(alone, tmp_path):
    options = [*SHORT, "--epochs", 1, "--results-dir", tmp_path]
    for other, answer in (
        (["--batch-size", 32], "process 1 has other options"),
        (["--devices", 2], "each process needs as many devices as the others"),
    ):
        both = start_two(alone, "mnist_dense", options, [*options, *other])
        for status, _, errors in map(outcome, both):
            assert status == 2 and answer in errors
    assert not list(tmp_path.glob("mnist_dense/*"))


@pytest.mark.parametrize(
    ("options", "backend", "address", "answer"),
    [
        ([], "tensorflow", "", "--distributed needs Keras on JAX"),
        (["--engine", "numpy"], "tensorflow", "", "for --engine keras alone"),
        (["--seed", "1", "2"], "jax", "", "--distributed trains one network"),
        (["--resume", "none"], "jax", "", "only the first process needs --resume"),
        pytest.param([], "jax", "", f"set {ADDRESS}", marks=needs_jax),
        pytest.param([], "jax", "no-port", f"set {ADDRESS}", marks=needs_jax),
    ],
)
def test_what_cannot_be_distributed_is_one_line(options, backend, address, answer, tmp_path):
    answered = run_script(
        "mnist_dense", "--data", "rendered", "--distributed", *options, "--results-dir", tmp_path,
        env=os.environ | {"KERAS_BACKEND": backend, ADDRESS: address, PROCESSES: "2", PROCESS: "0"},
    )  # fmt: skip
    assert answered.returncode in (1, 2) and answered.stderr.count("\n") == 1
    assert answer in answered.stderr
