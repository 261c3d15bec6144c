from importlib.util import find_spec
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import REPOSITORY, only_run, run_script
from saved_runs import save_run
from scipy.special import softmax

from common.data.load import load
from common.errors import UserError
from tools import export

OPTIONS = "--data synthetic --epochs 1 --images 1000 --figures none --filters 4 --name a".split()


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    """Restore the backend after the test; the tool sets it."""
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")


def logits_of(images):
    """A network that goes by the first pixel."""
    return 5.0 * np.eye(10)[images[:, 0, 0] % 10]


def probabilities_of(images):
    """The same network with a softmax at its end."""
    return softmax(logits_of(images), axis=1)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose network goes by the first pixel, exported as a file that holds nothing."""
    images = np.arange(1500, dtype=np.uint16)[:, None, None].astype(np.uint8).repeat(28, 1)
    dataset = SimpleNamespace(test_images=images.repeat(28, 2), test_labels=images[:, 0, 0] % 10)
    model = SimpleNamespace(predict=lambda images, **_: logits_of(images))
    monkeypatch.setattr(export, "load_dataset", lambda run: dataset)
    monkeypatch.setattr(export, "load_model", lambda run: model)
    monkeypatch.setattr(export, "in_float32", lambda model: model)
    monkeypatch.setattr(export, "with_softmax", lambda model: model)
    monkeypatch.setattr(export, "write", lambda model, path, format: path.write_bytes(b"new"))
    return SimpleNamespace(
        name="mnist_cnn/a", folder=tmp_path, custom_engine=False, config={"precision": "bfloat16"},
        metrics={"test_accuracy": 0.9876},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("logits", "network", "what"),
    [(False, probabilities_of, "probabilities"), (True, logits_of, "logits")],
)
def test_a_network_with_the_same_answers_is_kept(run, monkeypatch, capsys, logits, network, what):
    place = run.folder / "export" / "model.tflite"
    place.mkdir(parents=True)  # what is there is replaced
    monkeypatch.setattr(export, "load", lambda path, format: network)
    export.export(run, "litert", logits)
    assert place.read_bytes() == b"new" and list(place.parent.glob("[!.]*")) == [place]
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("test accuracy 100.00% (the run's: 98.76% in bfloat16)")
    assert "ms for one image" in told[1] and told[2] == f"exported to {place}, which gives {what}"


def test_an_export_killed_on_the_way_leaves_the_old_one_or_none(run, monkeypatch):
    """An old SavedModel, which is a folder, is moved out of the way as a whole."""
    place = run.folder / "export" / "saved_model"
    place.mkdir(parents=True)
    (place / "saved_model.pb").touch()
    (left := place.parent / ".left-by-another").mkdir()
    monkeypatch.setattr(export, "load", lambda path, format: probabilities_of)
    monkeypatch.setattr(export.shutil, "rmtree", Mock(side_effect=export.shutil.rmtree))
    export.export(run, "saved_model")
    assert place.is_file()  # which is what the stand-in for Keras writes
    assert not any(call.args[0] == place for call in export.shutil.rmtree.call_args_list)
    assert not left.exists()
    assert [path.name for path in place.parent.iterdir() if path != place] == [".lock"]


@pytest.mark.parametrize(
    ("logits", "other"),
    [
        (True, lambda images: logits_of(images) + 0.01 * np.arange(10)),
        (True, lambda images: logits_of(images) * np.nan),
        (False, lambda images: probabilities_of(images) + 2e-5),
        (False, logits_of),  # the softmax is missing
        (True, probabilities_of),  # there is one that should not be
    ],
)
def test_a_network_with_other_answers_is_not_kept(run, monkeypatch, logits, other):
    place = run.folder / "export" / "model.tflite"
    place.parent.mkdir()
    place.write_bytes(b"old")
    monkeypatch.setattr(export, "load", lambda path, format: other)
    with pytest.raises(UserError, match="not the same: probabilities differ by"):
        export.export(run, "litert", logits)
    assert place.read_bytes() == b"old" and list(place.parent.glob("[!.]*")) == [place]


def test_missing_packages_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "tf2onnx" else name)
    with pytest.raises(SystemExit):
        export.main(["latest", "--format", "onnx", "--results-dir", str(tmp_path)])
    assert capsys.readouterr().err == "error: ONNX needs further packages: pip install tf2onnx\n"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"engine": "numpy"}, "only Keras's networks can be exported"),
        ({"combinations": [{"blocks": 1}, {"blocks": 2}]}, "is a sweep"),
    ],
)
def test_networks_that_cannot_be_exported_are_one_line(tmp_path, changes, answer, capsys):
    folder = save_run(tmp_path / "mnist_dense" / "a", **changes)
    save_run(folder / "blocks-1", script="mnist_dense")
    with pytest.raises(SystemExit):
        export.main(["latest", "--results-dir", str(tmp_path)])
    error = capsys.readouterr().err
    assert answer in error and error.count("\n") == 1


def test_what_is_exported_takes_raw_pixels_whatever_the_network_began_with():
    """Keras itself takes pixels as float32 and adds the channel; ONNX Runtime would refuse them."""
    import keras

    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    hidden = [keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((28, 28, 1)), *hidden])
    twin = export.in_float32(model)
    assert (twin.input_shape, twin.inputs[0].dtype) == ((None, 28, 28), "uint8")
    expected = model.predict(images, verbose=0)
    assert twin.predict(images, verbose=0) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def as_documented(folder, name):
    """The network loaded by the lines that docs/predict-and-export.md shows for this file."""
    page = (REPOSITORY / "docs" / "predict-and-export.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    (code,) = [block for block in blocks if f"export/{name}" in block]
    code = code.replace("results/mnist_cnn/my-run", folder.as_posix())

    def network(images):
        exec(code, names := {"images": images})
        return names["probabilities"]

    return network


@pytest.mark.slow
def test_an_exported_network_answers_as_the_one_that_was_trained(tmp_path, capfd):
    import keras

    options = [*OPTIONS, "--precision", "bfloat16", "--results-dir", tmp_path]
    answer = run_script("mnist_cnn", *options)
    assert answer.returncode == 0, answer.stderr
    folder = only_run(tmp_path, "mnist_cnn")
    images = load("mnist", "synthetic", quiet=True).test_images[:7]
    trained = keras.saving.load_model(folder / "model.keras")
    logits = trained.predict(images, verbose=0)  # in bfloat16, which has three digits
    wanted = {"probabilities": softmax(logits, axis=1), "logits": logits}
    for form, name in export.FILES.items():
        if form == "onnx" and not all(map(find_spec, export.ONNX_PACKAGES)):
            pytest.skip("the packages for ONNX are not installed")
        path = folder / "export" / name
        path.mkdir(parents=True)  # what is there is replaced
        for what, option in (("logits", ["--logits"]), ("probabilities", [])):
            options = ["--format", form, "--results-dir", str(tmp_path), *option]
            export.main(["latest", *options])
            told, errors = capfd.readouterr()
            assert told.splitlines()[-1] == f"exported to {path}, which gives {what}"
            assert "XNNPACK" not in errors
            network = export.load(path, form)
            for count in (7, 2):
                given = network(images[:count])
                np.testing.assert_allclose(given, wanted[what][:count], rtol=0.05, atol=0.05)
        code = as_documented(folder, name)
        np.testing.assert_allclose(code(images), wanted["probabilities"], rtol=0.05, atol=0.05)
    made = {one.name for one in path.parent.iterdir()} - {".lock"}
    assert made <= {*export.FILES.values()} and len(made) >= 2  # nothing half-written


def test_the_copy_in_float32_keeps_what_a_normalization_adapted_to():
    from keras import Input, Sequential, layers

    images = np.random.default_rng(1).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    normalization = layers.Normalization(axis=None)
    normalization.adapt(images)
    pixels = Input((28, 28), dtype="uint8")
    model = Sequential([pixels, normalization, layers.Flatten(), layers.Dense(10)])
    twin = export.in_float32(model)
    np.testing.assert_allclose(twin(images), model(images), rtol=1e-5, atol=1e-5)
