"""Several processes that train one network together, on one machine or on many, through JAX.

Each reads the same data and takes its part of every batch. The first one keeps the results.
"""

import contextlib
import hashlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from common.console import say
from common.errors import UserError

START_TIMEOUT = 120  # seconds that a process waits for the others at the start
HEARTBEAT_TIMEOUT = 10  # seconds of silence, after which a process is taken for dead

# Where a process finds the others; the names are Keras's.
ADDRESS = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"


def join(backend: str) -> tuple[int, int]:
    """Make this process one of several: its number, counted from 0, and how many there are.

    Raises UserError where Keras is not on JAX, or the others are not found or have other devices.
    """
    if backend != "jax":
        advice = "pip install jax, and set KERAS_BACKEND=jax"
        raise UserError(f"--distributed needs Keras on JAX: {advice}", status=2)
    import jax

    if not hasattr(jax.config, "jax_enable_recoverability"):
        newer = f"a newer JAX than {jax.__version__}: pip install --upgrade jax"
        raise UserError(f"--distributed needs {newer}")
    if not jax.distributed.is_initialized():
        initialize()
    if jax.device_count() != jax.process_count() * jax.local_device_count():
        advice = "start all with the same --devices, or give each the same number of GPUs by"
        refuse(f"each process needs as many devices as the others: {advice} CUDA_VISIBLE_DEVICES")
    return jax.process_index(), jax.process_count()


def initialize() -> None:
    """Find the other processes, through JAX. Raises UserError where that fails."""
    import jax

    # When one process is gone, the others stay alive, and `peer_watchdog` can say which it was.
    jax.config.update("jax_enable_recoverability", True)
    address = os.environ.get(ADDRESS, "").partition(",")[0] or None
    first = f": is the first one at {address}?" if address else ""
    late = f"error: not all processes have come within {START_TIMEOUT} s{first}"
    timer = threading.Timer(START_TIMEOUT, end, (late, 1))  # JAX would use many lines
    timer.start()
    try:
        said = [os.environ.get(name) for name in (PROCESSES, PROCESS)]
        numbers = [None if text is None else int(text) for text in said]
        timeouts = {"heartbeat_timeout_seconds": HEARTBEAT_TIMEOUT}
        timeouts["initialization_timeout"] = 2 * START_TIMEOUT  # so that the timer comes first
        jax.distributed.initialize(address, *numbers, **timeouts)
    except (ValueError, IndexError) as error:
        advice = f"set {ADDRESS} to the first one's host:port, {PROCESSES}, and {PROCESS} from 0"
        unknown = "--distributed does not know the other processes"
        raise UserError(f"{unknown}: {advice}, or start all by srun", status=2) from error
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"this process cannot join the others: {reason}") from error
    finally:
        timer.cancel()


def check_alike(settings: list) -> None:
    """Raise UserError where another process was started with other settings than the first."""
    from jax.experimental import multihost_utils

    text = json.dumps(settings, sort_keys=True, default=str)
    own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    everyones = multihost_utils.process_allgather(own)
    others = np.flatnonzero((everyones != everyones[0]).any(axis=1))
    if len(others):
        differing = f"process {others[0]} has other options or images than process 0"
        refuse(f"{differing}: start all of them alike")


def refuse(why: str) -> NoReturn:
    """Raise UserError; every process does so at this moment."""
    import jax

    if jax.process_index() == 0:
        time.sleep(3)  # when the first process ends, JAX ends the others: let them say why first
    raise UserError(why, status=2)


def send_to_all(content: bytes) -> bytes:
    """The content that the first process has, for every process."""
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.array(len(content))))
    sent = np.frombuffer(content.ljust(length, b"\0")[:length], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes()


@contextlib.contextmanager
def peer_watchdog(process: int, processes: int) -> Iterator[None]:
    """End this process with one line when another is gone; --resume continues from the checkpoint.

    When the first process is gone, which connects the others, JAX ends them, in more lines.
    """
    if processes == 1:
        yield
        return
    from jax._src import distributed  # JAX has no other way to ask who is alive

    client, everyone = distributed.global_state.client, list(range(processes))
    over = threading.Event()

    def watch() -> None:
        for turn in itertools.count():
            client.key_value_set(f"over/{turn}/{process}", str(over.is_set()))
            # Returns when each of the others has called it, too, or is taken for dead.
            alive = client.get_live_nodes(everyone)
            if gone := ", ".join(str(number) for number in everyone if number not in alive):
                line = f"error: process {gone} of {processes} is gone: "
                end(f"{line}start all of them again, the first one with --resume", 1)
            # All have set it before any gets here, so that all leave in the same turn.
            if all(said == "True" for _, said in client.key_value_dir_get(f"over/{turn}/")):
                return
            time.sleep(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        end("stopped at once; --resume continues after the last completed epoch", 130)
    except Exception:
        watcher.join(3 * HEARTBEAT_TIMEOUT)  # the engine may notice sooner, but not say which
        raise
    over.set()
    watcher.join()


def end(line: str, status: int) -> None:
    """Print a line and end this process at once, without waiting for the others."""
    say(line, stderr=True)
    os._exit(status)
