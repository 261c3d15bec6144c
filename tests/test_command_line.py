"""From the command line to the options of a run: recipes, sweeps, errors, help."""

import argparse
import importlib
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY, SCRIPTS, parse

from common.errors import UserError
from experiment import command_line
from experiment.backend.device import NUMPY_DEVICE
from experiment.options import ACTIVATIONS, LEARNING_RATES, OPTIONS, SYNONYMS
from experiment.train.batches import schedule_of


def parse_recipe(recipe, *argv):
    """The options of mnist_dense when it also has this recipe, named Mine."""
    script = importlib.import_module("mnist_dense")
    recipes = script.RECIPES | {"Mine": {"about": "a test's own"} | recipe}
    argv = ("--recipe", "mine", *argv)
    return command_line.parse(script.__file__, "", recipes, script.OPTIONS, argv)


def refusal(capsys, script, *argv):
    """The one line on stderr with which a script refuses its options."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        parse(script, *argv)
    printed = capsys.readouterr()
    assert leaving.value.code == 2 and printed.out == ""
    assert printed.err.startswith(f"{script}.py: error: ") and printed.err.count("\n") == 1
    return printed.err


# ---- Recipes --------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_recipe_can_be_chosen_and_overridden(script):
    recipes = importlib.import_module(script).RECIPES
    assert {"default", "quick", "best"} < set(recipes)
    for name, recipe in recipes.items():
        args = parse(script, "--recipe", name)
        wanted = recipes["default"] | recipe
        assert args.recipe == name
        assert (args.epochs, args.learning_rate) == (wanted["epochs"], wanted["learning_rate"])
        swept = [value for value in recipe.values() if isinstance(value, list)]
        assert len(args.combinations) == math.prod(map(len, swept))
        assert parse(script, "--epochs", "77", "--recipe", name).epochs == 77


def test_a_recipe_is_chosen_whatever_its_capitals():
    assert parse_recipe({"epochs": 3}).recipe == "Mine"


def test_a_recipe_with_an_option_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_recipe({"epoch": 3})
    assert "'epoch', which is not an option; did you mean epochs?" in capsys.readouterr().err


def test_a_wrong_value_in_a_recipe_is_one_line(capsys):
    with pytest.raises(SystemExit):
        parse_recipe({"hidden": ["32", "64;32"]})
    assert "recipe mine: must be a whole number" in capsys.readouterr().err.lower()


def test_recipe_values_are_typed_like_those_of_the_command_line():
    assert parse("mnist_dense").hidden == (512, 512)
    assert parse("mnist_dense", "--hidden", "32").hidden == (32,)


def test_without_a_rate_an_optimizer_gets_its_usual_one():
    usual = LEARNING_RATES["sgd"]
    assert parse("mnist_dense", "--optimizer", "sgd").learning_rate == usual
    assert parse("mnist_dense", "--optimizer", "sgd", "--learning-rate", "3").learning_rate == 3
    assert parse_recipe({"optimizer": "sgd"}).learning_rate == usual
    assert parse_recipe({"optimizer": "sgd", "learning_rate": 7}).learning_rate == 7
    lion = parse_recipe({"optimizer": "sgd"}, "--optimizer", "lion")
    assert lion.learning_rate == LEARNING_RATES["lion"]


# ---- Several values -------------------------------------------------------------------------


def test_options_with_several_values_are_combined_in_every_way():
    args = parse("mnist_dense", "--hidden", "32", "64,32", "--batch-size", "128", "all", "128")
    assert args.hidden == [(32,), (64, 32)] and args.batch_size == [128, "all"]
    assert args.combinations == [
        {"hidden": (32,), "batch_size": 128},
        {"hidden": (32,), "batch_size": "all"},
        {"hidden": (64, 32), "batch_size": 128},
        {"hidden": (64, 32), "batch_size": "all"},
    ]
    assert parse("mnist_dense", "--epochs", "3").combinations == [{}]


def test_the_values_of_a_recipe_are_combined_like_those_of_the_command_line():
    args = parse_recipe({"hidden": ["32", "64,32"], "activation": "TANH"}, "--epochs", "1", "2")
    assert args.activation == "tanh"
    assert {tuple(those.items()) for those in args.combinations} == {
        (("hidden", units), ("epochs", epochs)) for units in ((32,), (64, 32)) for epochs in (1, 2)
    }
    assert parse_recipe({"hidden": ["32", "64,32"]}, "--hidden", "8").hidden == (8,)


def test_several_optimizers_without_a_rate_each_get_their_usual_one():
    own = importlib.import_module("mnist_cnn").RECIPES["default"]["learning_rate"]
    assert parse("mnist_cnn", "--optimizer", "adam", "sgd").combinations == [
        {"optimizer": "adam", "learning_rate": own},
        {"optimizer": "sgd", "learning_rate": LEARNING_RATES["sgd"]},
    ]


def test_several_seeds_are_repeats(capsys):
    args = parse("mnist_dense", "--seed", "5", "9")
    assert (args.seeds, args.seed, args.repeats) == ([5, 9], 5, 2)
    assert args.combinations == [{}]
    assert parse("mnist_dense", "--seed", "5", "--repeats", "3").seeds == [5, 6, 7]
    both = ("--seed", "5", "9", "--repeats", "3")
    assert "not both" in refusal(capsys, "mnist_dense", *both)


# ---- Data -----------------------------------------------------------------------------------


def test_the_folder_of_the_data_is_found_again_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse("mnist_cnn", "--data-dir=~/mnist").data_dir == Path.home().resolve() / "mnist"
    assert parse("mnist_cnn", "--data-dir", "mnist").data_dir == tmp_path.resolve() / "mnist"


def test_the_old_spelling_of_synthetic_is_accepted_and_not_told(capsys):
    assert parse("mnist_cnn", "--data", "rendered").data == "synthetic"
    assert "rendered" not in refusal(capsys, "mnist_cnn", "--data", "fake")
    assert "rendered" not in help_text(capsys, "mnist_cnn")


# ---- Errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("--epochs 1.5", "whole number from 0"),
        ("--epochs -3", "whole number from 0"),
        ("--epochs many", "'many'"),
        ("--batch-size 2.5", "whole number"),
        ("--learning-rate 0", "above 0"),
        ("--learning-rate nan", "above 0"),
        ("--learning-rate inf", "above 0"),
        ("--validation 1", "at least 0 and below 1"),
        ("--validation -0.1", "at least 0 and below 1"),
        ("--activation rellu", "did you mean relu?"),
        ("--optimizer adm", "did you mean adam?"),
        ("--recipe defualt", "did you mean default?"),
        ("--data fake", "auto, real, synthetic"),
        ("--hidden 128,,10", "whole number"),
        ("--dropout 1.0", "below 1"),
        ("--name ../escape", "letters"),
        ("--name NUL.txt", "reserved"),
        ("--epoch 3", "did you mean --epochs?"),
        ("--seed -1", "whole number from 0"),
        ("--repeats 0", "whole number from 1"),
        ("stray", "stray"),
        ("--flip", "no option --flip; it belongs to fashion_cnn_augment.py ("),
        ("--lr 3", "no option --lr; did you mean --learning-rate?"),
        ("--lr=3", "did you mean --learning-rate?"),
        ("--batch 3", "did you mean --batch-size?"),
        ("--gpus 2", "did you mean --devices?"),
        ("--lr-schedule cosine", "did you mean --schedule?"),
        ("--lr_schedule cosine", "did you mean --schedule?"),
        ("--val-split 0.1", "did you mean --validation?"),
        ("--augment", "did you mean --shift?"),
        ("--early-stopping", "did you mean --patience?"),
        ("epochs 3", "no option epochs; did you mean --epochs?"),
        ("--figures none --show", "nothing to --show"),
        ("--distributed --seed 1 2", "--distributed trains one network"),
        ("--distributed --hidden 8 16", "--distributed trains one network"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(options, wanted, capsys):
    assert wanted in refusal(capsys, "mnist_dense", *options.split())


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_option_of_other_scripts_is_told_to_be_theirs(script, capsys):
    have = {f"{name}.py": vars(parse(name)) for name in SCRIPTS}
    for name in OPTIONS.keys() - vars(parse(script)).keys():
        scripts = " and ".join(sorted(each for each, own in have.items() if name in own))
        line = refusal(capsys, script, command_line.flag(name))
        assert f"no option {command_line.flag(name)}; it belongs to {scripts} (--help" in line
    assert set(SYNONYMS.values()) <= OPTIONS.keys() and not SYNONYMS.keys() & OPTIONS.keys()


@pytest.mark.parametrize(
    ("script", "options", "wanted"),
    [
        ("mnist_cnn", "--network deep --blocks 1 2", "--blocks has no effect with --network deep"),
        ("mnist_cnn", "--network deep --blocks 1", "--blocks has no effect with --network deep"),
        ("mnist_cnn", "--recipe best --blocks 3", "--blocks has no effect with --network deep"),
        ("mnist_cnn", "--network strided deep --blocks 1 2", "--blocks has no effect"),
        ("mnist_cnn", "--recipe depth --network deep", "--blocks has no effect"),  # four times
        ("mnist_dense", "--engine numpy --devices 2", "--devices has no effect"),
        ("mnist_dense", "--engine tensorflow --distributed", "--distributed has no effect"),
        ("mnist_dense", "--engine numpy --activation gelu", "relu, sigmoid, tanh"),
        ("mnist_dense", "--engine keras tensorflow --optimizer lion", "sgd, momentum, adam"),
        (
            "mnist_dense",
            "--engine numpy --label-smoothing 0.1",
            "does not support --label-smoothing 0.1, only 0",
        ),
        ("mnist_dense", "--engine numpy --precision bfloat16", "auto, float32"),
        ("fashion_cnn_augment", "--no-augment --shift 2", "--shift has no effect"),
        ("fashion_cnn_augment", "--augmenter none --flip", "--flip has no effect"),
        ("fashion_cnn_augment", "--augmenter keras --erase 4", "does not support --erase 4"),
        ("fashion_cnn_augment", "--recipe best --augmenter keras", "not support --erase 8"),
        ("fashion_cnn_augment", "--augmenter keras numpy --elastic 1", "not support --elastic"),
    ],
)
def test_an_option_without_effect_is_refused(script, options, wanted, capsys):
    assert wanted in refusal(capsys, script, *options.split())


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("mnist_cnn", "--network deep two_convolutions --filters 4 8"),
        ("mnist_cnn", "--network deep pooled --blocks 3"),  # one value, for the one that has it
        ("mnist_dense", "--engine numpy --recipe default"),
        ("fashion_cnn_augment", "--no-augment"),  # where the default recipe flips
        ("fashion_cnn_augment", "--augmenter keras numpy none --shift 1"),
    ],
)
def test_what_only_the_recipe_sets_is_not_refused(script, options):
    assert parse(script, *options.split())


def test_the_old_switch_against_augmentation_is_the_augmenter_none():
    assert parse("fashion_cnn_augment", "--no-augment").augmenter == "none"


# ---- What is listed here because asking Keras takes seconds ----------------------------------


def test_tensorboard_is_refused_where_it_is_not_installed(monkeypatch, capsys):
    for missing in ("tensorboard", "tensorflow"):
        monkeypatch.setattr(command_line, "find_spec", lambda name, gone=missing: name != gone)
        line = refusal(capsys, "mnist_cnn", "--tensorboard")
        assert "--tensorboard needs TensorBoard beside TensorFlow: pip install tensorboard" in line
        assert not parse("mnist_cnn").tensorboard
    monkeypatch.setattr(command_line, "find_spec", lambda name: True)
    assert parse("mnist_cnn", "--tensorboard").tensorboard
    line = refusal(capsys, "mnist_dense", "--tensorboard", "--engine", "numpy")
    assert "--tensorboard has no effect with --engine numpy" in line


def test_the_activations_are_those_of_keras():
    import keras
    from keras.src.activations import ALL_OBJECTS_DICT

    for name in ACTIVATIONS:
        assert keras.activations.get(name) is not None
    # An older Keras may lack some, but none of Keras's may be missing here.
    assert set(ALL_OBJECTS_DICT) <= {*ACTIVATIONS, "glu", "threshold"}


def make_optimizer(name):
    """Keras's optimizer of this name, with the rate that it has here."""
    from experiment.train import keras_loop

    rate = LEARNING_RATES[name]
    args = argparse.Namespace(optimizer=name, learning_rate=rate, schedule="constant", epochs=1)
    several = replace(NUMPY_DEVICE, count=2)  # which have Keras's own Adam
    return keras_loop.make_optimizer(args, schedule_of(args, 100), several)


def test_the_optimizers_are_those_of_keras():
    import keras

    base, combined = keras.optimizers.Optimizer, {"optimizer", "lossscaleoptimizer"}
    combined |= {"multioptimizer", "optimizermap"}  # made of other optimizers
    kinds = [kind for kind in vars(keras.optimizers).values() if isinstance(kind, type)]
    names = {kind.__name__.lower() for kind in kinds if issubclass(kind, base)} - combined
    # An older Keras may lack some, but none of Keras's may be missing here.
    assert len(names) > 10 and names <= LEARNING_RATES.keys()
    for name in names:
        optimizer = make_optimizer(name)
        assert type(optimizer).__name__.lower() == name
        assert float(optimizer.learning_rate) == pytest.approx(LEARNING_RATES[name])


@pytest.mark.parametrize("name", ["lamb", "muon", "schedulefreeadamw", "rmsprop"])
def test_an_optimizer_without_a_tuned_rate_has_keras_s_own(name):
    import keras

    own = {kind.lower(): kind for kind in vars(keras.optimizers)}
    if name not in own:
        pytest.skip("this Keras is older")
    default = getattr(keras.optimizers, own[name])()
    assert float(default.learning_rate) == pytest.approx(LEARNING_RATES[name])
    assert parse("mnist_cnn", "--optimizer", own[name]).optimizer == name


def test_an_optimizer_that_this_keras_lacks_is_one_line(monkeypatch):
    import keras

    monkeypatch.delattr(keras.optimizers, "Lamb")
    with pytest.raises(UserError, match=r"Keras 3[.\d]+ has no optimizer lamb: choose another"):
        make_optimizer("lamb")


# ---- Help -----------------------------------------------------------------------------------


def help_text(capsys, script, *argv):
    """What --help prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        parse(script, *argv, "--help")
    assert leaving.value.code == 0
    return capsys.readouterr().out


def help_on(name, text):
    """What a help text says of one option, in one line."""
    (lines,) = re.findall(rf"^  --{name} (.*?)(?=^  -|^$)", text, re.MULTILINE | re.DOTALL)
    return " ".join(lines.split())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_recipes_and_shows_the_values_of_the_chosen_one(script, capsys):
    recipes = importlib.import_module(script).RECIPES
    for recipe, settings in recipes.items():
        text = help_text(capsys, script, "--recipe", recipe)
        words = " ".join(text.split())
        assert all(f" {name} {own['about']}" in words for name, own in recipes.items())
        for name in ("filters", "hidden", "epochs", "rotation", "network", "validation"):
            if name in settings:
                values = settings[name]
                shown = " ".join(map(str, values if isinstance(values, list) else [values]))
                assert help_on(name, text).endswith(f"({shown})"), recipe
    assert help_text(capsys, script, "--recipe=BEST") != help_text(capsys, script)


def test_help_and_errors_answer_within_a_second_of_cpu_time():
    """All three scripts in one process: imported without a word, and without an engine."""
    code = f"""
import contextlib, io, sys, time
import {", ".join(SCRIPTS)}
for script in ({", ".join(SCRIPTS)}):
    for option, status, prefix in (("--help", 0, "usage: "), ("--epochs=x", 2, script.__name__)):
        with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.redirect_stderr(text):
            try:
                script.main([option])
            except SystemExit as leaving:
                assert leaving.code == status, leaving.code
        assert text.getvalue().startswith(prefix), text.getvalue()
loaded = {{"keras", "tensorflow", "jax", "torch", "matplotlib"}} & set(sys.modules)
assert not loaded, loaded
assert time.process_time() < 1, time.process_time()
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (answer.stdout, answer.stderr) == ("", "")
