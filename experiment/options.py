"""The command line that every script shares: recipes, checks of values, the one-line error."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from common.errors import UserError, suggestion
from common.files import REPOSITORY, whole_path

# Listed here, and compared with Keras by a test, because asking Keras takes seconds.
# Of Keras's own, `glu` (halves the layer) and `threshold` (needs two numbers) do not fit.
ACTIVATIONS = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear "
    "log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus "
    "softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink swish hard_swish"
).split()

# The learning rate that an optimizer gets when it is chosen without one. `sgd` is gradient descent,
# `momentum` the same with a momentum of 0.9, and `adam_short` Adam that averages over fewer steps,
# for runs of a few hundred; the others are Keras's own.
OPTIMIZERS = {
    "adadelta": 1.0,
    "adafactor": 0.01,
    "adagrad": 0.05,
    "adam": 0.002,
    "adam_short": 0.01,
    "adamax": 0.005,
    "adamw": 0.002,
    "ftrl": 0.1,
    "lion": 0.0003,
    "momentum": 0.02,
    "nadam": 0.002,
    "rmsprop": 0.001,
    "sgd": 0.2,
}

# The options that take one value only; the others take several.
SINGLE = "recipe repeats precision devices data data_dir name results_dir figures".split()

# What --figures may be.
FIGURES = ("all", "curves", "none")

WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in range(10)
}


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage above it."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)\n")


class ToolParser(OneLineParser):
    """The command line of `python -m tools.<name>`, which `--results-dir` belongs to."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(
            prog=f"python -m tools.{name}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument(
            "--results-dir",
            type=whole_path,
            default=REPOSITORY / "results",
            metavar="FOLDER",
            help="where the run folders are (results/ beside the scripts)",
        )


def parse(
    script: str,
    description: str,
    recipes: dict[str, dict],
    add_network_options: Callable[[Callable], None],
    argv: Sequence[str] = (),
) -> argparse.Namespace:
    """The options of one script: those given in `argv`, the rest from the chosen recipe.

    A recipe is a dictionary of option values, written as on the command line, or lists of them
    where an option is to take several; and `about`, its line for --help. What it leaves out is as
    in the recipe `default`. `script` is the script's `__file__`. Leaves with status 2 and one line
    when an option is wrong.

    In the result an option with several values is a list, and `combinations` holds a dictionary
    for each way to combine them: just an empty one, when there are no such options. Several seeds
    are not combined with the rest: each combination is repeated with all of `seeds`.

    With --resume they are those that the run was started with, and `resume` is its folder.
    """

    def parse_line(argv: Sequence[str]) -> argparse.Namespace:
        return parse_options(script, description, recipes, add_network_options, argv)

    args = parse_line(argv)
    if args.resume is None:
        return args
    from experiment.resume import resumed  # not at the top: it imports this module

    try:
        return resumed(args, argv, parse_line)
    except UserError as error:
        sys.stderr.write(f"{Path(script).name}: error: {error}\n")
        sys.exit(error.status)


def parse_options(
    script: str,
    description: str,
    recipes: dict[str, dict],
    add_network_options: Callable[[Callable], None],
    argv: Sequence[str],
) -> argparse.Namespace:
    """The options of a command line, as `parse` says, with `resume` as it was given."""
    parser = OneLineParser(
        prog=Path(script).name,
        description=description,
        epilog=recipe_lines(recipes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_network_options(parser.add_argument_group("network").add_argument)
    add_common_options(parser, recipes)
    several = [action for action in parser._actions if action.type and action.dest not in SINGLE]
    for action in several:
        action.nargs = "+"

    # A recipe's values become the parser's defaults, so that explicit options override them.
    parser.set_defaults(**{**recipes["default"], "learning_rate": None})
    chosen = recipes[parser.parse_known_args(argv)[0].recipe]
    options = [action.dest for action in parser._actions]
    for key in chosen.keys() - {"about", *options}:
        parser.error(f"the recipe sets {key!r}, which is no option{suggestion(key, options)}")
    recipe = recipes["default"] | chosen
    if "optimizer" in chosen:  # then the default's rate is for another one
        recipe["learning_rate"] = chosen.get("learning_rate")
    parser.set_defaults(**{**recipe, "learning_rate": None})
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [name for action in parser._actions for name in action.option_strings]
        parser.error(f"no option {unknown[0]}{suggestion(unknown[0].split('=')[0], known)}")

    if args.show and args.figures == "none":
        parser.error("--figures none leaves nothing to --show")

    try:
        values = {action.dest: distinct_values(args, action) for action in several}
    except argparse.ArgumentTypeError as error:
        parser.error(f"the recipe {args.recipe}: {error}")
    for key, those in values.items():
        setattr(args, key, those[0] if len(those) == 1 else those)
    args.seeds = values.pop("seed")
    if len(args.seeds) > 1 and args.repeats > 1:
        parser.error("give several seeds or --repeats, not both")
    args.seed, args.repeats = args.seeds[0], max(args.repeats, len(args.seeds))
    if len(args.seeds) == 1:
        args.seeds = list(range(args.seed, args.seed + args.repeats))
    args.combinations = combine({key: those for key, those in values.items() if len(those) > 1})
    if args.distributed and len(args.combinations) * args.repeats > 1:
        parser.error("--distributed trains one network: give each option one value, and one seed")
    choose_rates(args, recipe)
    del args.about
    args.script = Path(script).stem
    args.command_line = [Path(script).name, *argv]
    args.started = datetime.now().astimezone()
    return args


def recipe_lines(recipes: dict[str, dict]) -> str:
    """The recipes for --help."""
    width = max(map(len, recipes)) + 4
    lines = ["options shown with [...] take several values: each combination is a run of its own"]
    lines += ["", "recipes:"]
    for name, recipe in recipes.items():
        about = textwrap.wrap(recipe["about"], 98 - width)
        lines += [f"  {name:<{width - 2}}{about[0]}", *(" " * width + line for line in about[1:])]
    return "\n".join(lines)


def distinct_values(args: argparse.Namespace, action: argparse.Action) -> list:
    """The values of one option, each once, whether given or from the recipe."""
    values = getattr(args, action.dest)
    values = values if isinstance(values, list) else [values]
    return list(dict.fromkeys(action.type(v) if isinstance(v, str) else v for v in values))


def combine(swept: dict[str, list]) -> list[dict]:
    """Every way to choose one value for each option."""
    return [dict(zip(swept, those, strict=True)) for those in itertools.product(*swept.values())]


def choose_rates(args: argparse.Namespace, recipe: dict) -> None:
    """Fill in the learning rate that was not given: the recipe's, or the optimizer's usual one."""
    if args.learning_rate is not None:
        return

    def rate(optimizer: str) -> float:
        own = recipe["learning_rate"] if optimizer == recipe["optimizer"] else None
        return own or OPTIMIZERS[optimizer]

    if isinstance(args.optimizer, str):
        args.learning_rate = rate(args.optimizer)
        return
    for combination in args.combinations:
        combination["learning_rate"] = rate(combination["optimizer"])


def in_words(options: dict) -> str:
    """Options and their values as people read them: `hidden 64,32, batch size 128, no flip`."""
    words = []
    for key, value in options.items():
        word = key.replace("_", " ")
        if isinstance(value, bool):
            words.append(word if value else f"no {word}")
        else:
            several = value if isinstance(value, list) else [value]
            words.append(f"{word} {' or '.join(map(as_typed, several))}")
    return ", ".join(words)


def as_typed(value) -> str:
    """An option's value as one types it: (64, 32), or the list that JSON has for it, as `64,32`."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else f"{value}"


def add_common_options(parser: argparse.ArgumentParser, recipes: dict[str, dict]) -> None:
    """Add the options that are the same in every script."""
    add = parser.add_argument_group("training").add_argument
    add(
        "--recipe",
        type=one_of("recipe", recipes),
        default="default",
        metavar="NAME",
        help="named settings, listed below; explicit options override them",
    )
    add(
        "--epochs",
        type=whole_number(1),
        metavar="N",
        help="passes over the training images (%(default)s)",
    )
    add(
        "--batch-size",
        type=count_or_all,
        metavar="N",
        help="images per step, or all for one step an epoch (%(default)s)",
    )
    add(
        "--optimizer",
        type=one_of("optimizer", OPTIMIZERS),
        metavar="NAME",
        help=f"{', '.join(OPTIMIZERS)} (%(default)s)",
    )
    add(
        "--learning-rate",
        type=number(above=0),
        metavar="RATE",
        help="the schedule's highest; without it the recipe's, or what suits the optimizer",
    )
    add(
        "--schedule",
        type=one_of("schedule", ("constant", "cosine")),
        metavar="NAME",
        help="constant, or cosine: a short linear warm-up, then down to zero (%(default)s)",
    )
    add(
        "--label-smoothing",
        type=number(0, below=1),
        default=0.0,
        metavar="SHARE",
        help="share of a label's certainty that goes to all classes alike (%(default)s)",
    )
    add(
        "--validation",
        type=number(0, below=1),
        default=0.1,
        metavar="SHARE",
        help="share of the training images kept for validation (%(default)s)",
    )
    add(
        "--images",
        type=count_or_all,
        default="all",
        metavar="N",
        help="use only so many of the training images, validation included (%(default)s)",
    )
    add(
        "--seed",
        type=whole_number(0, 2**31),
        default=1,
        metavar="N",
        help="of weights, shuffling, split and augmentation (%(default)s)",
    )
    add(
        "--precision",
        type=one_of("precision", ("auto", "float32", "bfloat16")),
        default="auto",
        metavar="NAME",
        help="of Keras's arithmetic: float32, bfloat16, or auto, the faster one (%(default)s)",
    )
    add(
        "--repeats",
        type=whole_number(1, 1000),
        default=1,
        metavar="N",
        help="train with N seeds, and report mean and standard deviation (%(default)s)",
    )

    add = parser.add_argument_group("devices").add_argument
    add(
        "--devices",
        type=whole_number(1, 1024),
        metavar="N",
        help="share each batch among N GPUs, or N parts of the processor (all GPUs there are)",
    )
    add(
        "--distributed",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="train together with other processes, one for each machine: see the README",
    )

    add = parser.add_argument_group("data").add_argument
    add(
        "--data",
        type=one_of("kind of data", ("auto", "real", "rendered")),
        default="auto",
        metavar="KIND",
        help="auto: real, or rendered stand-ins when the real images cannot be had; "
        "real: or stop; rendered: never look (%(default)s)",
    )
    add("--data-dir", type=whole_path, metavar="FOLDER", help="where the dataset's files are")

    add = parser.add_argument_group("results").add_argument
    add("--name", type=run_name, metavar="NAME", help="of the run's folder (date and time)")
    add(
        "--resume",
        metavar="NAME",
        help="go on with a run that was stopped or killed, or with more --epochs; or latest",
    )
    add(
        "--results-dir",
        type=Path,
        default=REPOSITORY / "results",
        metavar="FOLDER",
        help="where run folders go (results/ beside the scripts)",
    )
    add(
        "--figures",
        type=one_of("choice of figures", FIGURES),
        default="all",
        metavar="WHICH",
        help="all, curves or none; python -m tools.report draws them later (%(default)s)",
    )
    add("--show", action="store_true", help="open the curves at the end")
    add("--quiet", action="store_true", help="print nothing but warnings and the result")
    add("--debug", action="store_true", help="show the traceback of an error")


def one_of(kind: str, known: Sequence[str]) -> Callable[[str], str]:
    """A check that a word is known, which suggests the nearest one when it is not."""

    spellings = {word.lower(): word for word in known}

    def check(text: str) -> str:
        if text.lower() not in spellings:
            hint = suggestion(text, list(known)) or f"; there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(f"no {kind} named {text!r}{hint}")
        return spellings[text.lower()]

    return check


def whole_number(least: int, most: int = 10**9) -> Callable[[str], int]:
    """A check that text is a whole number from `least` to `most`."""

    def check(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= int(text) <= most:
                return int(text)
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {least} to {most}, not {text!r}"
        )

    return check


def number(
    least: float | None = None, above: float | None = None, below: float | None = None
) -> Callable[[str], float]:
    """A check that text is a finite number in a range."""
    bounds = [("at least", least), ("above", above), ("below", below)]
    wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def check(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = float(text)
            if (
                (least is None or value >= least)
                and (above is None or value > above)
                and (below is None or value < below)
                and abs(value) < float("inf")
            ):
                return value
        raise argparse.ArgumentTypeError(f"must be a number {wanted}, not {text!r}")

    return check


def count_or_all(text: str) -> int | str:
    """A number of images, or `all`."""
    return text if text == "all" else whole_number(1)(text)


def layer_sizes(text: str) -> tuple[int, ...]:
    """`256,128` as (256, 128): the units of each layer."""
    return tuple(whole_number(1, 100_000)(part) for part in text.split(","))


def run_name(text: str) -> str:
    """A name that is safe as a folder on every system, and not `latest`, which tools understand."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text) or text.endswith("."):
        raise argparse.ArgumentTypeError(
            f"use up to 80 letters, digits, '-', '_' and '.', starting with a letter or digit, "
            f"not {text!r}"
        )
    if text.split(".")[0].lower() in WINDOWS_DEVICES | {"latest"}:
        raise argparse.ArgumentTypeError(f"{text!r} is reserved, choose another name")
    return text
