import shutil
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from conftest import only_run, run_script

from common.data.load import load
from tools import export

OPTIONS = "--data rendered --epochs 1 --images 1000 --figures none --filters 4 --name a".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A results folder with a network that was trained in bfloat16."""
    results = tmp_path_factory.mktemp("results")
    answer = run_script("mnist_cnn", *OPTIONS, "--precision", "bfloat16", "--results-dir", results)
    assert answer.returncode == 0, answer.stderr
    return results


def test_an_exported_network_answers_as_the_one_that_was_trained(finished, tmp_path, capfd):
    results = shutil.copytree(finished, tmp_path / "results")
    folder = only_run(results, "mnist_cnn")
    images = load("mnist", "rendered", quiet=True).test_images[:7]
    trained = keras.saving.load_model(folder / "model.keras")
    logits = trained.predict(images, verbose=0)  # in bfloat16, which has three digits
    for form, name in export.FILES.items():
        if form == "onnx" and not all(map(find_spec, export.FOR_ONNX)):
            pytest.skip("the packages for ONNX are not installed")
        if form == "litert" and sys.version_info < (3, 11):
            continue  # Keras for Python 3.10 cannot
        path = folder / "export" / name
        path.mkdir(parents=True)  # what is there is replaced
        export.main(["latest", "--format", form, "--results-dir", str(results)])
        told = capfd.readouterr().out.splitlines()
        assert told[-1] == f"exported to {path}"
        assert "ms for one image" in told[-2] and "in bfloat16" in told[-3]
        np.testing.assert_allclose(export.load(path, form)(images), logits, rtol=0.05, atol=0.05)
    made = {one.name for one in path.parent.iterdir()}
    assert made <= {*export.FILES.values()} and len(made) >= 2  # nothing half-written


def test_a_network_that_answers_otherwise_is_not_handed_over(finished, monkeypatch, capsys):
    monkeypatch.setattr(
        export, "load", lambda path, form: lambda images: np.eye(10)[images[:, 0, 0]]
    )
    with pytest.raises(SystemExit) as stop:
        export.main(["latest", "--results-dir", str(finished)])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "not the same: probabilities differ by" in error and error.count("\n") == 1
    assert not list((only_run(finished, "mnist_cnn") / "export").iterdir())


def test_missing_packages_are_named(finished, monkeypatch, capsys):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "tf2onnx" else name)
    with pytest.raises(SystemExit):
        export.main(["latest", "--format", "onnx", "--results-dir", str(finished)])
    assert capsys.readouterr().err == "error: ONNX needs further packages: pip install tf2onnx\n"


@pytest.mark.parametrize(
    ("options", "answer"), [([], "was written by hand"), (["--hidden", "8", "4"], "is a sweep")]
)
def test_networks_that_cannot_be_exported_are_one_line(options, answer, tmp_path, capsys):
    short = ("--data", "rendered", "--engine", "numpy", "--epochs", 1, "--images", 200)
    place = ("--figures", "none", "--results-dir", tmp_path)
    assert run_script("mnist_dense", *short, "--hidden", 8, *options, *place).returncode == 0
    with pytest.raises(SystemExit):
        export.main(["latest", "--results-dir", str(tmp_path)])
    error = capsys.readouterr().err
    assert answer in error and error.count("\n") == 1
