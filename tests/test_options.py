import argparse
import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, SCRIPTS, run_script

from experiment.options import (
    ACTIVATIONS,
    OPTIMIZERS,
    in_words,
    layer_sizes,
    number,
    run_name,
    whole_number,
)


def parse(script, *argv):
    """A script's own options, as its main() would see them."""
    from experiment import options

    module = importlib.import_module(script)
    return options.parse(
        module.__file__, module.__doc__, module.RECIPES, module.add_network_options, argv
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_recipe_can_be_chosen_and_overridden(script):
    recipes = importlib.import_module(script).RECIPES
    assert len(recipes) > 1
    for name, recipe in recipes.items():
        args = parse(script, "--recipe", name)
        wanted = recipes["default"] | recipe
        assert args.recipe == name
        assert (args.epochs, args.learning_rate) == (wanted["epochs"], wanted["learning_rate"])
        swept = [value for value in recipe.values() if isinstance(value, list)]
        assert len(args.combinations) == math.prod(map(len, swept))
        assert parse(script, "--epochs", "77", "--recipe", name).epochs == 77


def parse_recipe(recipe, *argv):
    """The options of mnist_dense when it also has this recipe, named Mine."""
    from experiment import options

    module = importlib.import_module("mnist_dense")
    recipes = module.RECIPES | {"Mine": {"about": "a test's own"} | recipe}
    argv = ("--recipe", "mine", *argv)
    return options.parse(module.__file__, "", recipes, module.add_network_options, argv)


def test_a_recipe_is_chosen_whatever_its_capitals():
    assert parse_recipe({"epochs": 3}).recipe == "Mine"


def test_a_recipe_with_an_option_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse_recipe({"epoch": 3})
    assert "'epoch', which is no option; did you mean epochs?" in capsys.readouterr().err


def test_a_recipe_that_changes_the_optimizer_gets_its_usual_rate():
    assert parse_recipe({"optimizer": "sgd"}).learning_rate == OPTIMIZERS["sgd"]
    assert parse_recipe({"optimizer": "sgd", "learning_rate": 7}).learning_rate == 7
    rate = parse("mnist_dense").learning_rate
    assert parse_recipe({"optimizer": "sgd"}, "--optimizer", "lion").learning_rate != rate


def test_the_folder_of_the_data_is_found_again_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert parse("mnist_cnn", "--data-dir=~/mnist").data_dir == Path.home().resolve() / "mnist"
    assert parse("mnist_cnn", "--data-dir", "mnist").data_dir == tmp_path.resolve() / "mnist"


def test_digits_are_never_mirrored():
    assert "flip" in vars(parse("fashion_cnn_augment"))
    assert "flip" not in vars(parse("mnist_cnn"))


def test_an_optimizer_chosen_without_a_rate_gets_its_usual_one():
    assert parse("mnist_dense", "--optimizer", "sgd").learning_rate == OPTIMIZERS["sgd"]
    assert parse("mnist_dense", "--optimizer", "sgd", "--learning-rate", "3").learning_rate == 3


def test_recipe_values_are_typed_like_those_of_the_command_line():
    assert parse("mnist_dense").hidden == (512, 512)
    assert parse("mnist_dense", "--hidden", "32").hidden == (32,)


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


def test_a_wrong_value_in_a_recipe_is_one_line(capsys):
    with pytest.raises(SystemExit):
        parse_recipe({"hidden": ["32", "64;32"]})
    assert "recipe mine: must be a whole number" in capsys.readouterr().err.lower()


def test_several_optimizers_without_a_rate_each_get_their_usual_one():
    combinations = parse("mnist_cnn", "--optimizer", "adam", "sgd").combinations
    own = importlib.import_module("mnist_cnn").RECIPES["default"]["learning_rate"]
    assert combinations == [
        {"optimizer": "adam", "learning_rate": own},
        {"optimizer": "sgd", "learning_rate": OPTIMIZERS["sgd"]},
    ]


def test_several_seeds_are_repeats(capsys):
    args = parse("mnist_dense", "--seed", "5", "9")
    assert (args.seeds, args.seed, args.repeats) == ([5, 9], 5, 2)
    assert args.combinations == [{}]
    assert parse("mnist_dense", "--seed", "5", "--repeats", "3").seeds == [5, 6, 7]
    with pytest.raises(SystemExit):
        parse("mnist_dense", "--seed", "5", "9", "--repeats", "3")
    assert "not both" in capsys.readouterr().err


def test_options_in_words_read_as_they_are_typed():
    options = {"hidden": (64, 32), "batch_size": [128, "all"], "flip": False, "augment": True}
    assert in_words(options) == "hidden 64,32, batch size 128 or all, no flip, augment"


@pytest.mark.parametrize("option", ["--activation=gelu", "--optimizer=lion"])
@pytest.mark.parametrize("engine", ["numpy", "tensorflow"])
def test_what_an_engine_by_hand_does_not_know_is_one_line(engine, option, capsys):
    script = importlib.import_module("mnist_dense")
    with pytest.raises(SystemExit) as leaving:
        script.main(["--engine", "keras", engine, option])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--epochs", "0"], "whole number from 1"),
        (["--epochs", "-3"], "whole number from 1"),
        (["--epochs", "many"], "'many'"),
        (["--batch-size", "2.5"], "whole number"),
        (["--learning-rate", "0"], "above 0"),
        (["--learning-rate", "nan"], "above 0"),
        (["--learning-rate", "inf"], "above 0"),
        (["--validation", "1"], "at least 0 and below 1"),
        (["--validation", "-0.1"], "at least 0 and below 1"),
        (["--activation", "rellu"], "did you mean relu?"),
        (["--optimizer", "adm"], "did you mean adam?"),
        (["--recipe", "defualt"], "did you mean default?"),
        (["--data", "fake"], "auto, real, rendered"),
        (["--hidden", "128,,10"], "whole number"),
        (["--dropout", "1.0"], "below 1"),
        (["--name", "../escape"], "letters"),
        (["--name", "NUL.txt"], "reserved"),
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--seed", "-1"], "whole number from 0"),
        (["--repeats", "0"], "whole number from 1"),
        (["stray"], "stray"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(options, wanted, capsys):
    with pytest.raises(SystemExit) as leaving:
        parse("mnist_dense", *options)
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("mnist_dense.py: error: ")
    assert wanted in printed.err


@pytest.mark.parametrize(
    "text", ["a/b", "a\\b", "..", ".hidden", "x" * 81, "com1", "latest", "a.", "é", "a\n"]
)
def test_names_that_are_no_safe_folder_are_refused(text):
    with pytest.raises(Exception, match=r"use up to 80|reserved"):
        run_name(text)


@pytest.mark.parametrize("text", ["a", "2026-11-21_run.2", "X" * 80, "console"])
def test_safe_names_stay_as_they_are(text):
    assert run_name(text) == text


def test_checks_accept_their_bounds():
    assert whole_number(1, 4)("1") == 1 and whole_number(1, 4)("4") == 4
    assert number(0, below=1)("0") == 0 and number(0, below=1)("0.999") == 0.999
    assert layer_sizes("256,128") == (256, 128)


def test_the_activations_are_those_of_keras():
    import keras
    from keras.src.activations import ALL_OBJECTS_DICT

    for name in ACTIVATIONS:
        assert keras.activations.get(name) is not None
    # An older Keras may lack some, but none of Keras's may be missing here.
    assert set(ALL_OBJECTS_DICT) <= {*ACTIVATIONS, "glu", "threshold"}


def test_keras_has_every_optimizer():
    from experiment.train.keras_loop import make_optimizer

    for name, rate in OPTIMIZERS.items():
        args = argparse.Namespace(optimizer=name, learning_rate=rate, schedule="constant")
        assert float(make_optimizer(args, 100).learning_rate) == pytest.approx(rate)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(("option", "status"), [("--help", 0), ("--epochs=x", 2)])
def test_help_and_errors_answer_within_a_second_of_cpu_time(script, option, status):
    resource = pytest.importorskip("resource", reason="Windows cannot tell a child's CPU time")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = run_script(script, option)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert answer.returncode == status
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_help_lists_recipes_with_a_line_each():
    answer = run_script("mnist_cnn", "--help").stdout
    assert "recipes:\n  default " in answer and "\n  quick " in answer


@pytest.mark.parametrize("script", SCRIPTS)
def test_importing_a_script_prints_nothing_and_loads_no_engine(script):
    code = (
        f"import sys, {script}; print(*{{'keras', 'tensorflow', 'matplotlib'}} & set(sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert (answer.stdout.strip(), answer.stderr) == ("", "")
