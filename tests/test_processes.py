"""Several processes that train one network, here both on this machine."""

import os
import socket
import time
from importlib.util import find_spec

import pytest
from conftest import assert_same_state, only_backend, run_script, start_script, wait_for

import mnist_dense
from common.errors import UserError
from experiment.backend.processes import ADDRESS, PROCESS, PROCESSES, join

needs_jax = pytest.mark.skipif(not find_spec("jax"), reason="jax is not installed")

SHORT = "--data synthetic --images 1600 --validation 0.2 --batch-size 64 --figures none".split()
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


@pytest.mark.slow
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
    again = ["--resume", "two-synthetic", *results]
    both = start_two(alone, "mnist_dense", again, [*options, "--results-dir", tmp_path / "none"])
    outcomes = [outcome(process) for process in both]
    assert [(status, errors) for status, _, errors in outcomes] == [(0, ""), (0, "")]
    assert "resuming after epoch" in outcomes[0][1]
    folders = [tmp_path / "mnist_dense" / f"{name}-synthetic" for name in ("one", "two")]
    assert {path.name for path in folders[0].iterdir()} == {p.name for p in folders[1].iterdir()}
    assert_same_state(*(folder / "checkpoint-5.npz" for folder in folders), within=1e-5)


@pytest.mark.slow
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
    ("options", "answer"),
    [
        (["--engine", "numpy"], "--distributed has no effect with --engine numpy"),
        (["--seed", "1", "2"], "--distributed trains one network"),
        (["--dropout", "0", "0.1"], "--distributed trains one network"),
        (["--resume", "none"], "only the first process needs --resume"),
    ],
)
def test_options_that_cannot_be_distributed_are_one_line(options, answer, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        mnist_dense.main([*options, "--distributed", "--results-dir", str(tmp_path)])
    line = capsys.readouterr().err
    assert stop.value.code in (1, 2) and line.count("\n") == 1 and answer in line


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_backend_that_cannot_be_distributed_is_one_line(backend):
    with pytest.raises(UserError, match="--distributed needs Keras on JAX") as error:
        join(backend)
    assert error.value.status == 2


@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize("address", ["", "no-port"])
def test_processes_that_are_not_to_be_found_are_one_line(address, tmp_path):
    environment = {"KERAS_BACKEND": "jax", ADDRESS: address, PROCESSES: "2", PROCESS: "0"}
    options = ["--data", "synthetic", "--distributed", "--results-dir", tmp_path]
    answer = run_script("mnist_dense", *options, env=os.environ | environment)
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1
    assert f"set {ADDRESS}" in answer.stderr
