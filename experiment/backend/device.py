"""Which device trains and why, seeds and determinism, and a quiet start of the engine."""

import contextlib
import importlib
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from experiment.backend.processes import join
from experiment.backend.replicas import make_virtual_cpus


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
    def deterministic(self) -> bool:
        """Whether the same seed gives the same bits on this machine, as far as tested."""
        return self.name.startswith("CPU")


def usable_cores() -> int:
    """The cores that this process may use: fewer than there are in a container, or by taskset."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # not Linux, or the limit is "max"
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        cores = min(cores, math.ceil(quota / period))
    return cores


CPU = f"CPU, {usable_cores()} cores".replace(", 1 cores", ", 1 core")
NUMPY_DEVICE = Device(CPU, "NumPy runs on the CPU only", "numpy")


def prepare(
    engine: str | Sequence[str] = "keras",
    precision: str = "auto",
    devices: int | None = None,
    distributed: bool = False,
    batch_size: int | str | list = "all",
) -> Device:
    """Import the engine, choose the GPUs if there are any, and make arithmetic repeatable.

    engine: "keras", "tensorflow" or "numpy", or several of them
    precision: what Keras computes in, "float32" or "bfloat16"; "auto" takes the faster one
    devices: how many share each batch; None for as many GPUs as can share `batch_size` evenly

    Raises UserError where the engine is not installed, or cannot do what is asked of it.
    """
    engines = {engine} if isinstance(engine, str) else set(engine)
    if engines == {"numpy"}:
        return NUMPY_DEVICE
    # What TensorFlow logs, and that JAX takes GPU memory as it needs it: set before the import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with advice_on_missing_packages():
        with quiet_stderr():
            backend = keras_backend() if "keras" in engines else "tensorflow"
            if devices and devices > 1:  # has an effect only where there is no GPU
                make_virtual_cpus(backend, devices)
        process, processes = join(backend) if distributed else (0, 1)
        with quiet_stderr():
            gpus = GPU_FINDERS[backend]()
    if "keras" not in engines:
        return Device(*name_and_reason(gpus[:1], backend), backend)
    precision = choose_precision(precision, backend, gpus)
    count = count_devices(gpus, devices, backend, batch_size)
    name, reason = name_and_reason(gpus[:count], backend)
    if count > 1 and not gpus:
        name += f" as {count} devices"
    if distributed:
        name += f" in each of {processes} processes"
    return Device(name, reason, backend, precision, count * processes, process, processes)


@contextlib.contextmanager
def advice_on_missing_packages() -> Iterator[None]:
    """Turn a missing package into a UserError that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name if error.name in ("jax", "torch") else "-r requirements.txt"
        advice = f"run 'pip install {missing}' there"
        raise UserError(f"{error.name} is not installed for {sys.executable}: {advice}") from error


def choose_precision(wanted: str, backend: str, gpus: list[str]) -> str:
    """Set Keras's precision, and return it; `auto` is the faster one."""
    if wanted == "auto":
        fast = backend == "tensorflow" and not gpus and has_bfloat16_units()
        wanted = "bfloat16" if fast else "float32"
    policy = "mixed_bfloat16" if wanted == "bfloat16" else "float32"
    importlib.import_module("keras").config.set_dtype_policy(policy)
    return wanted


def keras_backend() -> str:
    """Import Keras, and give its backend. Raises UserError for one that cannot train here."""
    backend = os.environ.get("KERAS_BACKEND")
    if not backend or backend in GPU_FINDERS:
        try:
            backend = importlib.import_module("keras").backend.backend()
        except (ValueError, AttributeError, TypeError, KeyError) as error:  # by a wrong keras.json
            place = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "keras.json"
            raise UserError(f"Keras cannot start ({error}): correct or delete {place}") from error
    if backend not in GPU_FINDERS:  # perhaps from ~/.keras/keras.json
        known = f"it must be one of {', '.join(GPU_FINDERS)}: set KERAS_BACKEND"
        raise UserError(f"Keras's backend is {backend!r}; {known}")
    return backend


def count_devices(gpus: list[str], wanted: int | None, backend: str, batch_size="all") -> int:
    """How many devices train: `wanted`, or else as many GPUs as can share each batch evenly.

    batch_size: a number of images, "all", or a list of several such sizes
    """
    if backend == "torch" and wanted and wanted > 1:
        advice = "set KERAS_BACKEND to tensorflow or jax for --devices"
        raise UserError(f"Keras on torch trains on one device: {advice}", status=2)
    if gpus and wanted and wanted > len(gpus):
        raise UserError(f"--devices {wanted}: {backend} finds {len(gpus)} GPU", status=2)
    sizes = batch_size if isinstance(batch_size, list) else [batch_size]
    divisor = math.gcd(*(size for size in sizes if size != "all"))
    most = 1 if backend == "torch" else len(gpus)
    return wanted or max((n for n in range(1, most + 1) if divisor % n == 0), default=1)


def name_and_reason(gpus: list[str], backend: str) -> tuple[str, str]:
    """What the device is called, given the names of its GPUs, and why it was chosen."""
    if gpus:
        return f"GPU {', '.join(gpus)}", f"{backend} found it"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return CPU, "CUDA_VISIBLE_DEVICES allows no GPU"
    if card := nvidia_card():
        return CPU, f"{backend} cannot use the {card}: pip install {CUDA_PACKAGES[backend]}"
    return CPU, f"{backend} found no GPU"


CUDA_PACKAGES = {
    "tensorflow": "'tensorflow[and-cuda]' (Linux, or WSL2 on Windows)",
    "jax": "'jax[cuda13]'",
    "torch": "torch, as pytorch.org says for your CUDA",
}


def has_bfloat16_units() -> bool:
    """Whether Linux lists units for bfloat16: AMX (Intel since 2023), or AVX-512's (AMD Zen 4)."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        return not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags)
    return False


def set_seed(seed: int) -> None:
    """Forget earlier models, and seed Python, NumPy and the Keras backend."""
    import keras

    precision = keras.config.dtype_policy()
    keras.utils.clear_session()  # forgets the precision, too
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
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return answer.stdout.strip().partition("\n")[0] or None
    return None


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ libraries write to stderr's descriptor; show it if the block fails."""
    saved = os.dup(2)  # `standard_streams` has seen to it that there is one
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, UserError):  # which says all there is to say
                held.seek(0)
                os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
