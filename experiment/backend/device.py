"""Which device trains and why, seeds and determinism, and a quiet start of the engine."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from experiment.backend.processes import join
from experiment.backend.replicas import divide_processor


@dataclass(frozen=True)
class Device:
    """The device that a run trains on."""

    name: str  # "CPU, 2 cores" or "GPU NVIDIA H200"
    reason: str  # why this one, for people
    backend: str  # Keras's: "tensorflow", "jax" or "torch"
    precision: str = "float32"  # of the arithmetic, or "bfloat16"; weights are always float32
    count: int = 1  # devices that share each batch, in all processes together
    process: int = 0  # which of the processes that train together this one is
    processes: int = 1

    @property
    def repeats_exactly(self) -> bool:
        """Whether the same seed gives the same bits on this machine, as far as has been tested."""
        return self.name.startswith("CPU")


NUMPY_DEVICE = Device(f"CPU, {os.cpu_count()} cores", "NumPy knows no other", "numpy")


def prepare(
    engine: str | Sequence[str] = "keras",
    precision: str = "auto",
    devices: int | None = None,
    distributed: bool = False,
    batch_size: int | str | list = "all",
) -> Device:
    """Import the engine, choose the GPUs if there are any, and make arithmetic repeatable.

    engine: "keras", "tensorflow" or "numpy", or several of them. Keras runs on the backend that
    KERAS_BACKEND or its own settings name. Raises UserError where one is not installed.
    precision: what Keras computes in, "float32" or "bfloat16"; "auto" takes the faster one.
    devices: how many share each batch, None for as many GPUs as can share `batch_size` images
    evenly; without a GPU, into how many the processor is divided. distributed: whether other
    processes take part.
    """
    engines = {engine} if isinstance(engine, str) else set(engine)
    if (devices or distributed) and engines != {"keras"}:
        raise UserError("--devices and --distributed are for --engine keras alone", status=2)
    if engines == {"numpy"}:
        return NUMPY_DEVICE
    # Both must be set before the import: what TensorFlow logs later, and that JAX takes GPU memory
    # as it needs it, as TensorFlow is told below.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        with quiet_stderr():
            backend = keras_backend() if "keras" in engines else "tensorflow"
            if devices and devices > 1:  # has an effect only where there is no GPU
                divide_processor(backend, devices)
        process, processes = join(backend) if distributed else (0, 1)
        with quiet_stderr():
            names = GPU_FINDERS[backend]()
    except ModuleNotFoundError as error:
        missing = error.name if error.name in ("jax", "torch") else "-r requirements.txt"
        raise UserError(
            f"{error.name} is not installed for {sys.executable}: run 'pip install {missing}' there"
        ) from error
    if "keras" in engines:
        if precision == "auto":
            fast = backend == "tensorflow" and not names and has_bfloat16_units()
            precision = "bfloat16" if fast else "float32"
        policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
        importlib.import_module("keras").config.set_dtype_policy(policy)
    count = count_devices(names, devices, backend, batch_size) if "keras" in engines else 1
    name, reason = name_and_reason(names[:count], backend)
    if count > 1 and not names:
        name += f" as {count} devices"
    if distributed:
        name += f" in each of {processes} processes"
    precision = precision if "keras" in engines else "float32"
    return Device(name, reason, backend, precision, count * processes, process, processes)


def keras_backend() -> str:
    """Import Keras, and tell its backend. Raises UserError for one that does not train here."""
    known = f"it must be one of {', '.join(GPU_FINDERS)}"
    wanted = os.environ.get("KERAS_BACKEND")
    if wanted and wanted not in GPU_FINDERS:
        raise UserError(f"KERAS_BACKEND is {wanted!r}; {known}")
    backend = importlib.import_module("keras").backend.backend()
    if backend not in GPU_FINDERS:  # from ~/.keras/keras.json
        raise UserError(f"Keras's backend is {backend!r}; {known}: set KERAS_BACKEND")
    return backend


def count_devices(
    names: list[str], wanted: int | None, backend: str, batch_size: int | str | list = "all"
) -> int:
    """How many devices train, given the GPUs that `backend` found and the number asked for.

    By themselves as many as can share each batch evenly, whichever of several sizes it has.
    """
    if backend == "torch":  # there Keras's `fit` knows one device alone
        if wanted and wanted > 1:
            raise UserError(
                "Keras on torch trains on one device: set KERAS_BACKEND to tensorflow or jax "
                "for --devices",
                status=2,
            )
        return 1
    if names and wanted and wanted > len(names):
        raise UserError(f"--devices {wanted}: {backend} finds {len(names)} GPU", status=2)
    sizes = batch_size if isinstance(batch_size, list) else [batch_size]
    usable = [
        count
        for count in range(1, len(names) + 1)
        if all(size == "all" or size % count == 0 for size in sizes)
    ]
    return wanted or max(usable, default=1)


def name_and_reason(names: list[str], backend: str) -> tuple[str, str]:
    """What the device is called, given the GPUs `backend` is to use, and why it is this one."""
    if names:
        return f"GPU {', '.join(names)}", f"{backend} found it"
    name = f"CPU, {os.cpu_count()} cores"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return name, "CUDA_VISIBLE_DEVICES allows no GPU"
    if (card := nvidia_card()) is not None:
        advice = {
            "tensorflow": "pip install 'tensorflow[and-cuda]' (Linux, or WSL2 on Windows)",
            "jax": "pip install 'jax[cuda13]'",
            "torch": "pip install torch, as pytorch.org says for your CUDA",
        }[backend]
        return name, f"{backend} cannot use the {card}: {advice}"
    return name, f"{backend} found no GPU"


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 matrices several times as fast as float32 ones.

    Intel's since 2023 do (AMX); where Linux does not list it, the answer is no.
    """
    with contextlib.suppress(OSError):
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return False


def set_seed(seed: int) -> None:
    """Start from scratch: forget earlier models, and seed Python, NumPy and the Keras backend."""
    import keras

    precision = keras.config.dtype_policy()
    keras.utils.clear_session()  # which would forget that, too
    keras.config.set_dtype_policy(precision)
    with quiet_stderr():  # it imports TensorFlow where that is installed, whatever the backend
        keras.utils.set_random_seed(seed)


def _tensorflow_gpus() -> list[str]:
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.get_logger().setLevel("ERROR")  # a sweep traces a network for each of its runs
    gpus = tensorflow.config.list_physical_devices("GPU")
    for gpu in gpus:
        # In a notebook an earlier run may have started the GPU: then this is settled already.
        with contextlib.suppress(RuntimeError):
            tensorflow.config.experimental.set_memory_growth(gpu, True)
    tensorflow.config.experimental.enable_op_determinism()
    details = tensorflow.config.experimental.get_device_details
    return [details(gpu).get("device_name", gpu.name) for gpu in gpus]


def _jax_gpus() -> list[str]:
    jax = importlib.import_module("jax")
    return [device.device_kind for device in jax.local_devices() if device.platform != "cpu"]


def _torch_gpus() -> list[str]:
    torch = importlib.import_module("torch")
    if torch.backends.mps.is_available():
        return ["Apple Metal"]
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


GPU_FINDERS = {"tensorflow": _tensorflow_gpus, "jax": _jax_gpus, "torch": _torch_gpus}


def nvidia_card() -> str | None:
    """The name of the first NVIDIA GPU that the driver reports, or None."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return answer.stdout.strip().partition("\n")[0] or None
    return None


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, and show it only if the block fails.

    TensorFlow's C++ libraries write to the descriptor itself, past `sys.stderr` and past
    TF_CPP_MIN_LOG_LEVEL.
    """
    try:
        saved = os.dup(2)
    except OSError:  # there is no such descriptor under pythonw on Windows
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except UserError:  # which says all there is to say
            raise
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
