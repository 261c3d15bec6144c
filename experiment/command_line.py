"""From a recipe and a command line to the options of a run."""

import argparse
import itertools
import os
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from common.errors import leave, suggestion
from common.files import REPOSITORY
from experiment.options import COMMON, GROUPS, LEARNING_RATES, OPTIONS, SETTINGS, SYNONYMS, Option
from experiment.values import as_list, as_typed, one_of

Catalogue = dict[str, Option]
Choices = dict[str, dict[str, dict[str, str]]]  # option: choice: its options: their values, or ""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage above it."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)")

    def exit(self, status: int = 0, message: str | None = None) -> None:
        leave((message or "").strip(), status)


def as_words(argv: str | Sequence[str]) -> Sequence[str]:
    """A command line as a list, where it is typed as one string."""
    return shlex.split(argv, posix=os.name != "nt") if isinstance(argv, str) else argv


def parse(
    script: str,
    description: str,
    recipes: dict[str, dict],
    options: dict[str, str | dict[str, str]],
    argv: Sequence[str] = (),
) -> argparse.Namespace:
    """The options of one script: those given in `argv`, the rest from the chosen recipe.

    A recipe is a dictionary of option values, or of lists of them, and `about`, its line for
    --help. What it leaves out is as in the recipe `default`, or else as in the catalogue.
    `options` names the script's own options, in groups. A group that is a dictionary is an option,
    too: each of its keys is a choice, and names the options that it has; `activation=relu,tanh`
    limits their values. A wrong option is one line and exit status 2.

    In the result, several values are a list, `combinations` holds a dictionary for each way to
    combine them (or only {}), `seeds` repeat each, and `given` lists the options of `argv`.
    """
    choices, catalogue = own_options(options, recipes)
    prog = Path(script).name
    first = OneLineParser(prog, add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", type=catalogue["recipe"].type, default="default")
    recipe = first.parse_known_args(argv)[0].recipe
    settings = {name: option.default for name, option in catalogue.items()}
    settings |= recipes["default"] | recipes[recipe] | {"recipe": recipe}
    del settings["about"]
    parser = build_parser(prog, description, catalogue, settings, recipes)
    given = given_options(parser, settings, catalogue, argv)
    args = argparse.Namespace(**settings | given, given=sorted(given))
    try:
        combine(args, catalogue)
    except argparse.ArgumentTypeError as error:  # what was typed has been checked by the parser
        parser.error(f"the recipe {recipe}: {error}")
    choose_learning_rates(args, settings, recipes[recipe])
    if problem := conflict(args) or without_effect(args, choices, catalogue):
        parser.error(problem)
    args.seed, args.repeats = args.seeds[0], len(args.seeds)
    args.script, args.started = Path(script).stem, datetime.now().astimezone()
    args.command_line = [prog, *argv]
    return args


def given_options(
    parser: OneLineParser, settings: dict, catalogue: Catalogue, argv: Sequence[str]
) -> dict:
    """The options that `argv` gives; an unknown one, there or in a recipe, is an error."""
    for name in settings.keys() - catalogue.keys():
        hint = suggestion(name, list(catalogue))
        parser.error(f"the recipe sets {name!r}, which is not an option{hint}")
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0].strip("-").replace("-", "_")
        hint = suggestion(flag(SYNONYMS.get(name, name)), ["--help", *map(flag, catalogue)])
        if name in OPTIONS.keys() - catalogue.keys():
            above = rf"(?ms)^RECIPES.*\b{name}\b.*^def build_model"  # where a script lists its own
            files = sorted(REPOSITORY.glob("*.py"))
            having = [file.name for file in files if re.search(above, file.read_text("utf-8"))]
            hint = f"; it belongs to {' and '.join(having)}" if having else hint
        parser.error(f"no option {unknown[0]}{hint}")
    return vars(given)


def own_options(options: dict, recipes: dict) -> tuple[Choices, Catalogue]:
    """What each choice of a script has, and all of the script's options."""
    names, choices = set(COMMON), {}
    for name, group in options.items():
        if isinstance(group, str):
            names.update(group.split())
            continue
        choices[name] = {}
        for choice, text in group.items():
            words = [word.partition("=") for word in text.split()]
            choices[name][choice] = {own: values for own, _, values in words}
        names.update([name], *choices[name].values())
    catalogue = {name: option for name, option in OPTIONS.items() if name in names}
    for name, known in choices.items():
        help = f"{', '.join(known)}{OPTIONS[name].help}"
        catalogue[name] = Option(next(iter(known)), help, one_of(name, known), "NAME")
    catalogue["recipe"] = replace(OPTIONS["recipe"], type=one_of("recipe", recipes))
    return choices, catalogue


def build_parser(
    prog: str, description: str, catalogue: Catalogue, settings: dict, recipes: dict
) -> OneLineParser:
    """A parser that gives only the options that are typed; its help shows the recipe's values."""
    parser = OneLineParser(
        prog,
        description=description,
        epilog=recipe_lines(recipes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    for heading, group in GROUPS.items():
        add = parser.add_argument_group(heading).add_argument
        for name in [name for name in group if name in catalogue]:
            option, value = catalogue[name], settings[name]
            help = option.help
            if value is not None and (option.type or heading != "results"):
                help += f" ({' '.join(map(as_typed, as_list(value)))})"
            if option.type:
                several = {"nargs": "+"} if name in SETTINGS else {}
                add(flag(name), help=help, type=option.type, metavar=option.metavar, **several)
            else:
                on_or_off = heading != "results"
                action = argparse.BooleanOptionalAction if on_or_off else "store_true"
                add(flag(name), help=help, action=action)
    if "augmenter" in catalogue:  # its old spelling
        old = {"action": "store_const", "const": ["none"], "help": argparse.SUPPRESS}
        parser.add_argument("--no-augment", dest="augmenter", **old)
    return parser


def recipe_lines(recipes: dict[str, dict]) -> str:
    """The recipes for --help."""
    width = max(map(len, recipes)) + 4
    lines = ["options shown as N [N ...] take several values: one run for each combination"]
    lines += ["", "recipes:"]
    for name, recipe in recipes.items():
        about = textwrap.wrap(recipe["about"], 98 - width)
        lines += [f"  {name:<{width - 2}}{about[0]}", *(" " * width + line for line in about[1:])]
    return "\n".join(lines)


def flag(name: str) -> str:
    """An option as it is typed: `--batch-size`."""
    return f"--{name.replace('_', '-')}"


def combine(args: argparse.Namespace, catalogue: Catalogue) -> None:
    """Set `combinations` and `seeds`; a setting with one value is a list no longer."""
    swept = {}
    for name, option in catalogue.items():
        if option.type and name in SETTINGS:
            values = list(dict.fromkeys(map(option.checked, as_list(getattr(args, name)))))
            setattr(args, name, values if len(values) > 1 else values[0])
            swept |= {name: values} if len(values) > 1 else {}
    seeds = swept.pop("seed", None)
    args.seeds = seeds or [args.seed + number for number in range(args.repeats)]
    products = itertools.product(*swept.values())
    args.combinations = [dict(zip(swept, values, strict=True)) for values in products]


def choose_learning_rates(args: argparse.Namespace, settings: dict, chosen: dict) -> None:
    """Fill in a learning rate that was not given: the recipe's, or the optimizer's usual one."""
    if "learning_rate" in args.given:
        return
    # A recipe with an optimizer of its own does not take the default's rate.
    of_recipe = chosen.get("learning_rate") if "optimizer" in chosen else args.learning_rate

    def rate(optimizer: str) -> float:
        own = of_recipe if optimizer == settings["optimizer"] else None
        return own or LEARNING_RATES[optimizer]

    if isinstance(args.optimizer, str):
        args.learning_rate = rate(args.optimizer)
        return
    args.learning_rate = None
    for combination in args.combinations:
        combination["learning_rate"] = rate(combination["optimizer"])


def conflict(args: argparse.Namespace) -> str | None:
    """Why some options do not go together."""
    if args.tensorboard and not (find_spec("tensorboard") and find_spec("tensorflow")):
        return "--tensorboard needs TensorBoard beside TensorFlow: pip install tensorboard"
    if args.show and args.figures == "none":
        return "--figures none leaves nothing to --show"
    if isinstance(args.seed, list) and args.repeats > 1:
        return "give several seeds or --repeats, not both"
    if args.distributed and len(args.combinations) * len(args.seeds) > 1:
        return "--distributed trains one network: give each option one value, and one seed"
    if any(as_list(args.patience)) and not all(as_list(args.validation)):
        return "--patience needs validation images, and --validation 0 leaves none"
    if any(as_list(args.patience)) and args.distributed:
        return "--patience does not go with --distributed: each process would decide alone"
    return None


def without_effect(args: argparse.Namespace, choices: Choices, catalogue: Catalogue) -> str | None:
    """Which given option does nothing, or has a value that a choice does not support."""
    for chooser, own in choices.items():
        chosen = as_list(getattr(args, chooser))
        for name in sorted(set().union(*own.values())):
            values = as_list(getattr(args, name))
            lacking = [choice for choice in chosen if name not in own[choice]]
            several = len(values) > 1  # which would be the same runs again
            if (lacking and several) or (lacking == chosen and name in args.given):
                return f"{flag(name)} has no effect with {flag(chooser)} {lacking[0]}"
            for choice, value in itertools.product(chosen, values):
                known = own[choice].get(name)
                if known and value not in map(catalogue[name].type, known.split(",")):
                    problem = f"{flag(chooser)} {choice} does not support {flag(name)} {value}"
                    return f"{problem}, only {known.replace(',', ', ')}"
    return None
