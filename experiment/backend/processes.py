"""Several processes that train one network together, on one machine or on many, through JAX.

Each reads the same data and takes its share of every batch. The first one keeps the results.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from common.errors import UserError

PATIENCE = 120  # seconds that a process waits for the others at the start
SILENCE = 10  # seconds without a sign of life, after which a process is taken for dead

# Where a process finds the others; the names are Keras's.
ADDRESS = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"
PROCESS = "KERAS_DISTRIBUTION_PROCESS_ID"


def join(backend: str) -> tuple[int, int]:
    """Make this process one of several: which one, counted from 0, and how many there are.

    Raises UserError where Keras's backend cannot, where it is not said where the others are, where
    they do not come in time, or where they have more or fewer devices.
    """
    if backend != "jax":
        raise UserError(
            "--distributed needs Keras on JAX: pip install jax, and set KERAS_BACKEND=jax", status=2
        )
    import jax

    if not hasattr(jax.config, "jax_enable_recoverability"):
        raise UserError(
            f"--distributed needs a newer JAX than {jax.__version__}, and so Python 3.11: "
            "pip install --upgrade jax"
        )
    if not jax.distributed.is_initialized():
        # So that the others live on when one is gone, and `watched` can say which.
        jax.config.update("jax_enable_recoverability", True)
        address = os.environ.get(ADDRESS, "").partition(",")[0] or None
        said = [os.environ.get(name) for name in (PROCESSES, PROCESS)]
        first = f": is the first one at {address}?" if address else ""
        late = f"error: not all processes have come within {PATIENCE} s{first}"
        patience = threading.Timer(PATIENCE, end, (late, 1))  # JAX would say it in many lines
        patience.daemon = True
        patience.start()
        try:
            numbers = [None if text is None else int(text) for text in said]
            jax.distributed.initialize(
                address,
                *numbers,
                initialization_timeout=2 * PATIENCE,
                heartbeat_timeout_seconds=SILENCE,
            )
        except (ValueError, IndexError) as error:
            raise UserError(
                f"--distributed does not know the other processes: set {ADDRESS} to the first "
                f"one's host:port, {PROCESSES}, and {PROCESS} from 0, or start all by srun",
                status=2,
            ) from error
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"this process cannot join the others: {reason}") from error
        finally:
            patience.cancel()
    if jax.device_count() != jax.process_count() * jax.local_device_count():
        refuse(
            "each process needs as many devices as the others: give all the same --devices, or "
            "GPUs by CUDA_VISIBLE_DEVICES"
        )
    return jax.process_index(), jax.process_count()


def check_alike(settings: dict) -> None:
    """Raise UserError where another process was started with other settings than the first."""
    from jax.experimental import multihost_utils

    text = json.dumps(settings, sort_keys=True, default=str)
    own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    everyones = multihost_utils.process_allgather(own)
    others = [number for number, one in enumerate(everyones) if (one != everyones[0]).any()]
    if others:
        refuse(
            f"process {others[0]} has other options or images than process 0: "
            "start all of them alike"
        )


def refuse(why: str) -> NoReturn:
    """Raise UserError, which every process does at this moment."""
    import jax

    if jax.process_index() == 0:
        time.sleep(3)  # when the first process ends, JAX ends the others, who have to say so
    raise UserError(why, status=2)


def send_to_all(content: bytes) -> bytes:
    """The content that the first process has, for every process."""
    from jax.experimental import multihost_utils

    length = int(multihost_utils.broadcast_one_to_all(np.array(len(content))))
    sent = np.frombuffer(content.ljust(length, b"\0")[:length], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes()


@contextlib.contextmanager
def watched(process: int, processes: int) -> Iterator[None]:
    """End this process with one line when another of those that train together is gone.

    What the last checkpoint holds is safe then, and from there --resume goes on. When the first
    process is gone, through which the others know of each other, JAX ends them itself, in more
    lines.
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
            # Comes back when each of the others has called it, too, or is taken for dead.
            alive = client.get_live_nodes(everyone)
            if gone := ", ".join(str(number) for number in everyone if number not in alive):
                line = f"error: process {gone} of {processes} is gone: "
                end(f"{line}start all of them again, the first one with --resume", 1)
            # All have said it before any comes here, so that all leave in the same turn.
            if all(said == "True" for _, said in client.key_value_dir_get(f"over/{turn}/")):
                return
            time.sleep(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    except KeyboardInterrupt:
        end("stopped at once; --resume goes on after the last whole epoch", 130)
    except Exception:
        watcher.join(3 * SILENCE)  # the engine may notice sooner that one is gone, but not which
        raise
    over.set()
    watcher.join()


def end(line: str, status: int) -> None:
    """Print a line and end this process at once, because it cannot wait for the others any more."""
    print(line, file=sys.stderr, flush=True)
    os._exit(status)
