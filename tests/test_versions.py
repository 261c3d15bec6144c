"""What tells edited networks apart: the network in words, and the copy of the script."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import QUICK, finish
from saved_runs import save_run
from tiny import make_network, make_run, split_dataset

import mnist_dense
from experiment import network
from experiment.network import keep_network, keras_layers, scratch_layers
from experiment.runs.folder import imported_text, keep_script
from experiment.runs.saved import read_run
from experiment.train.fit import compile_options, fit
from tools.comparison.versions import (
    changed_lines,
    differing_layers,
    differing_scripts,
    script_of,
)

# ---- The network in words -------------------------------------------------------------------


def test_layers_of_a_keras_network_with_what_they_cost():
    import keras
    from keras import layers

    inner = keras.Sequential([layers.Conv2D(4, 3, strides=2, activation="relu")])
    model = keras.Sequential([keras.Input((28, 28)), layers.Reshape((28, 28, 1)), inner])
    model.add(layers.BatchNormalization())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.25))
    model.add(layers.Dense(10, use_bias=False, kernel_initializer="he_normal"))
    rows = keras_layers(model)
    assert [tuple(row.values()) for row in rows] == [
        ("Reshape target shape 28,28,1", "28x28x1", 0, 0),
        # 9 weights and a bias for each filter; 9 multiply-adds for each of 13 x 13 places
        ("Conv2D filters 4, kernel size 3, strides 2, activation relu", "13x13x4", 40, 6084),
        ("BatchNormalization", "13x13x4", 16, 0),
        ("Flatten", "676", 0, 0),
        ("Dropout rate 0.25", "676", 0, 0),
        ("Dense units 10, no use bias, kernel initializer HeNormal", "10", 6760, 6760),
    ]
    assert sum(row["parameters"] for row in rows) == model.count_params()


@pytest.mark.parametrize("engine", ["numpy", "tensorflow"])
def test_a_network_from_scratch_has_the_words_of_its_keras_twin(engine):
    args = SimpleNamespace(rescale=True, activation="relu", dropout=0.2)
    rows = scratch_layers(make_network(engine), SimpleNamespace(args=args))
    assert rows == keras_layers(make_network("keras"))
    assert sum(row["parameters"] for row in rows) == make_network(engine).count_params()


def test_training_keeps_the_network_from_its_start(tmp_path):
    run, data = make_run(tmp_path, engine="numpy", epochs=1), split_dataset()
    model = make_network("numpy")
    model.compile(**compile_options(data, run))
    fit(model, data, run)
    assert (run.folder / "network.md").read_text().splitlines() == [
        "| layer                           | output | parameters | multiply-adds |",
        "| ------------------------------- | ------ | ---------- | ------------- |",
        "| Rescaling scale 0.003922        | 28x28  | 0          | 0             |",
        "| Flatten                         | 784    | 0          | 0             |",
        "| Dense units 32, activation relu | 32     | 25,120     | 25,088        |",
        "| Dropout rate 0.2                | 32     | 0          | 0             |",
        "| Dense units 10                  | 10     | 330        | 320           |",
        "| Total                           |        | 25,450     | 25,408        |",
    ]


def test_a_network_is_printed_once_unless_it_differs(tiny_data, tmp_path, capsys):
    argv = [*QUICK, "--results-dir", str(tmp_path), "--repeats", "2", "--hidden", "8", "4"]
    mnist_dense.main([word for word in argv if word != "--quiet"])
    printed = capsys.readouterr().out
    assert printed.count("network: ") == 2
    assert printed.count(
        "network: 6,370 parameters, 6,352 multiply-adds per image\n"
        "  Rescaling 28x28 > Flatten 784 > Dense 8 > Dropout 8 > Dense 10\n"
    ) == 1  # fmt: skip
    assert len(list(tmp_path.rglob("network.md"))) == 4
    mnist_dense.main(argv)
    assert "network: " not in capsys.readouterr().out


def test_a_network_without_words_is_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(network, "keras_layers", lambda model: 1 / 0)
    run = make_run(tmp_path)
    keep_network(None, run)
    error = capsys.readouterr().err
    assert "network.md was not written" in error and error.count("\n") == 1
    assert not (run.folder / "network.md").exists()


# ---- The script -----------------------------------------------------------------------------


def test_a_copy_of_the_script_is_kept_once_for_all_runs_of_a_call(experiment, tmp_path):
    with experiment(tmp_path, "--hidden", 8, 4, "--repeats", 2) as runs:
        for run in runs:
            finish(run)
    (copy,) = tmp_path.rglob("script.py")
    assert copy.read_bytes() == Path(mnist_dense.__file__).read_bytes()
    for folder in (run.folder, run.folder.parent):
        assert script_of(read_run(folder)) == copy


SOURCE = b"EPOCHS = 2\n\n\ndef main():\n    return EPOCHS\n"


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """A script that was imported, as in a notebook."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # of which a reload would make use
    path = tmp_path / "imported_script.py"
    path.write_bytes(SOURCE)
    importlib.invalidate_caches()
    importlib.import_module("imported_script")
    yield path
    del sys.modules["imported_script"]


@pytest.fixture
def kept(imported, tmp_path, capsys):
    """Gives what a new run keeps of the script, and what it warns of."""

    def kept():
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        folder.mkdir()
        keep_script(str(imported), folder)
        copy, error = folder / "script.py", capsys.readouterr().err
        assert error.count("\n") <= 1
        text = copy.read_bytes() if copy.exists() else None
        return text, "imported_script.py was edited" in error

    return kept


def test_the_script_that_is_kept_is_the_one_that_was_imported(imported, kept):
    """Until it is imported again: also where nothing but a constant was edited."""
    assert kept() == (SOURCE, False)
    edited = SOURCE.replace(b"2", b"3")
    imported.write_bytes(edited)
    assert kept() == (SOURCE, True)
    assert importlib.reload(sys.modules["imported_script"]).EPOCHS == 3
    assert kept() == (edited, False)
    imported.write_bytes(b"def main(:")
    assert kept() == (edited, True)
    imported.write_bytes(edited)
    assert kept() == (edited, False)


@pytest.mark.parametrize("edited", [SOURCE + b"\n    # more\n    x = 1", b"def main(:"])
def test_a_script_edited_between_import_and_run_is_not_kept(imported, kept, edited):
    imported.write_bytes(edited.replace(b"return", b"x = 1\n    return"))
    assert kept() == (None, True)
    imported.write_bytes(SOURCE)
    importlib.reload(sys.modules["imported_script"])
    assert kept() == (SOURCE, False)


def test_a_script_that_is_run_is_read_anew(imported, kept, monkeypatch):
    assert kept() == (SOURCE, False)
    imported.write_bytes(b"EPOCHS = 3")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(imported), raising=False)
    assert kept() == (b"EPOCHS = 3", False) and imported_text(imported) == b"EPOCHS = 3"


def test_a_resumed_run_keeps_the_script_of_its_start(tmp_path):
    script = tmp_path / "some_script.py"
    for text in ("first", "second"):
        script.write_text(text)
        keep_script(str(script), tmp_path)
    assert (tmp_path / "script.py").read_text() == "first"


# ---- Saved runs told apart ------------------------------------------------------------------


def save_network(folder, *layers, script="x = 1\n"):
    save_run(folder)
    lines = [f"| {layer} | 10 | 1,234 | 0 |" for layer in layers]
    (folder / "network.md").write_text("\n".join(["head", "---", *lines]))
    (folder / "script.py").write_text(script)
    return read_run(folder)


def test_layers_that_not_all_networks_have(tmp_path):
    one = save_network(tmp_path / "mnist_cnn" / "one", "Conv2D", "Dense", "Dense")
    two = save_network(tmp_path / "mnist_cnn" / "two", "Conv2D", "Dense", "Dense", "Dropout")
    old = read_run(save_run(tmp_path / "mnist_cnn" / "old"))
    assert differing_layers([one, two, old], ["one", "two", "old"]) == (
        "Layers that not all networks have:\n\n"
        "- one: no other\n- two:\n  - Dropout: output 10, parameters 1,234"
    )
    assert differing_layers([one, one, old], ["one", "again", "old"]) == ""
    turned = save_network(tmp_path / "mnist_cnn" / "turned", "Dense", "Conv2D", "Dense")
    assert "same layers in another order" in differing_layers([one, turned], ["one", "turned"])
    many = save_network(tmp_path / "mnist_cnn" / "many", *(f"Dense {n}" for n in range(20)))
    assert differing_layers([one, many], ["one", "many"]).endswith(
        "Dense 7: output 10, parameters 1,234\n  - and 12 more"
    )


def test_scripts_that_changed(tmp_path):
    one = save_network(tmp_path / "mnist_cnn" / "one")
    two = save_network(tmp_path / "mnist_cnn" / "two", script="x = 1\ny = 2\n")
    other = save_network(tmp_path / "mnist_dense" / "other", script="z")
    old = read_run(save_run(tmp_path / "mnist_cnn" / "old"))
    answer = differing_scripts([one, two, other, old])
    assert answer.startswith("mnist_cnn.py changed (lines added: 1, removed: 0): ")
    assert f"{script_of(one)} and {script_of(two)}" in answer and answer.count("\n") == 0
    assert differing_scripts([one, one, other]) == "" == changed_lines(b"a\n", b"a\n")
