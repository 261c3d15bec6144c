"""Which device is chosen and why, precision, and the engine's noise."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from common.errors import UserError
from experiment.backend.device import (
    GPU_FINDERS,
    choose_precision,
    count_devices,
    has_bfloat16_units,
    keras_backend,
    nvidia_card,
    prepare,
    quiet_stderr,
    set_seed,
    usable_cores,
)

posix_only = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | environment,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("limit", "cores"), [(None, 3), ("max 100000", 3), ("150000 100000", 2), ("900000 100000", 3)]
)
def test_the_cores_are_those_that_the_process_may_use(limit, cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5}, raising=False)

    def read_text(path):
        if limit is None:
            raise FileNotFoundError
        return limit

    monkeypatch.setattr("experiment.backend.device.Path.read_text", read_text)
    assert usable_cores() == cores


def test_a_wrong_settings_file_of_keras_is_one_line(monkeypatch):
    def import_module(name):
        raise ValueError("Unable to import backend : nope")

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", "/home/me/.keras")
    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(UserError, match=r"nope\): correct or delete /home/me/.keras/keras.json"):
        keras_backend()


def test_noise_on_the_descriptor_is_held_back():
    code = (
        "import os; from experiment.backend.device import quiet_stderr\n"
        "with quiet_stderr(): os.write(2, b'noise')\n"
        "os.write(2, b'news')"
    )
    assert run_python(code).stderr == "news"


def test_noise_is_shown_when_the_block_fails():
    code = (
        "import os; from experiment.backend.device import quiet_stderr\n"
        "with quiet_stderr():\n    os.write(2, b'the reason'); import no_such_module"
    )
    answer = run_python(code)
    assert answer.returncode == 1
    assert answer.stderr.startswith("the reason")
    assert "No module named 'no_such_module'" in answer.stderr


def test_errors_pass_through():
    with pytest.raises(ZeroDivisionError), quiet_stderr():
        _ = 1 / 0


@posix_only
def test_an_nvidia_card_that_the_engine_cannot_use_is_named(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'NVIDIA H200'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("experiment.backend.device.GPU_FINDERS", dict.fromkeys(GPU_FINDERS, list))
    device = prepare()
    assert device.name.startswith("CPU, ")
    assert "cannot use the NVIDIA H200: pip install" in device.reason


def test_a_gpu_that_the_engine_finds_is_named(monkeypatch):
    monkeypatch.setattr(
        "experiment.backend.device.GPU_FINDERS", dict.fromkeys(GPU_FINDERS, lambda: ["NVIDIA H200"])
    )
    monkeypatch.setattr("experiment.backend.device.has_bfloat16_units", lambda: True)
    device = prepare()
    assert device.name == "GPU NVIDIA H200" and not device.deterministic
    assert device.precision == "float32"  # the processor's units are not in use


@posix_only
def test_a_failing_driver_program_is_no_card(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'no devices were found'; exit 6\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_card() is None


def test_a_missing_engine_is_one_line(tmp_path):
    # A module of the engine's name that fails as a missing one does.
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError(name='tensorflow')")
    code = (
        "from common.errors import one_line_errors\nfrom experiment.backend.device import prepare\n"
        "with one_line_errors(): prepare()"
    )
    answer = run_python(code, PYTHONPATH=str(tmp_path), KERAS_BACKEND="tensorflow")
    assert answer.returncode == 1
    assert "error: tensorflow is not installed" in answer.stderr
    assert "requirements.txt" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_precision_is_the_processors_unless_one_is_asked_for(monkeypatch):
    keras = importlib.import_module("keras")
    monkeypatch.setattr("experiment.backend.device.GPU_FINDERS", dict.fromkeys(GPU_FINDERS, list))
    automatic = "bfloat16" if keras.backend.backend() == "tensorflow" else "float32"
    for units, wanted, got in (
        (True, "auto", automatic),
        (False, "auto", "float32"),
        (True, "float32", "float32"),
        (False, "bfloat16", "bfloat16"),
    ):
        monkeypatch.setattr(
            "experiment.backend.device.has_bfloat16_units", lambda units=units: units
        )
        assert prepare(precision=wanted).precision == got
        set_seed(1)
        assert keras.config.dtype_policy().compute_dtype == got
        assert keras.config.dtype_policy().variable_dtype == "float32"


@pytest.mark.parametrize(
    ("flags", "units"),
    [("sse2 amx_bf16", True), ("avx512f avx512_bf16", True), ("avx2 avx512f", False)],
)
def test_linux_lists_a_processor_s_units_for_bfloat16(flags, units, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"flags : fpu {flags} fma\n")
    assert has_bfloat16_units() == units


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_only_tensorflow_gains_from_the_processor_s_bfloat16(backend, monkeypatch):
    monkeypatch.setattr("experiment.backend.device.has_bfloat16_units", lambda: True)
    assert choose_precision("auto", backend, []) == "float32"


def test_engines_from_scratch_compute_in_float32():
    assert prepare("tensorflow", "bfloat16").precision == "float32"
    assert prepare("numpy", "bfloat16").precision == "float32"


def test_devices_are_counted():
    assert count_devices([], None, "tensorflow") == 1
    assert count_devices(["a", "b", "c"], None, "jax") == 3
    assert count_devices(["a", "b", "c"], 2, "jax") == 2
    assert count_devices(["a", "b", "c"], None, "jax", 128) == 2
    assert count_devices(["a", "b", "c"], None, "jax", [96, 120, "all"]) == 3
    assert count_devices(["a", "b", "c"], None, "jax", [96, 128]) == 2
    assert count_devices([], None, "jax", 128) == 1
    assert count_devices(["a", "b"], None, "torch") == 1
    with pytest.raises(UserError, match="finds 2 GPU"):
        count_devices(["a", "b"], 3, "tensorflow")
    with pytest.raises(UserError, match="KERAS_BACKEND"):
        count_devices(["a", "b"], 2, "torch")


@pytest.mark.parametrize("backend", ["theano", "openvino"])
def test_a_backend_that_cannot_train_is_one_line(backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UserError, match=f"{backend}.*one of tensorflow, jax, torch"):
        prepare()
