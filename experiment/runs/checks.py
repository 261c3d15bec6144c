"""What config.json and metrics.json may hold: each value's type and range, and what must agree."""

import math
from argparse import ArgumentTypeError
from pathlib import Path

from common.data.originals import ORIGINALS
from common.errors import UserError
from experiment.options import OPTIONS


def text(value) -> bool:
    return isinstance(value, str) and value.isprintable()


def flag(value) -> bool:
    return isinstance(value, bool)


def count(value) -> bool:
    return isinstance(value, int) and not flag(value) and 0 <= value < 2**60


def amount(value) -> bool:
    return count(value) or (isinstance(value, float) and 0 <= value < math.inf)


def fraction(value) -> bool:
    return amount(value) and value <= 1 + 1e-6  # a sum in float32 may be rounded up


def loss(value) -> bool:
    return count(value) or isinstance(value, float)  # which may be infinite or NaN


def or_none(form):
    return lambda value: value is None or form(value)


# The form of a list is that of its items, of a dictionary that of all its values.
CONFIG = {
    **dict.fromkeys("script recipe title fingerprint started".split(), text),
    "dataset": lambda value: value in list(ORIGINALS),
    "synthetic": flag,
    "seeds": [count],
    "combinations": [{"": lambda value: True}],
    "command_line": [lambda value: isinstance(value, str)],  # also with paths of any bytes
    "versions": {"": text},
    "resumed": [lambda value: matches(value, {"": lambda value: True})],
}
METRICS = {
    **dict.fromkeys("parameters epochs".split(), count),
    **dict.fromkeys("training_accuracy validation_accuracy".split(), or_none(fraction)),
    **dict.fromkeys("training_loss validation_loss test_loss_sd".split(), or_none(loss)),
    **dict.fromkeys("images_per_second peak_memory_bytes".split(), or_none(amount)),
    "test_accuracy": fraction,
    "test_accuracy_sd": or_none(amount),
    "test_accuracy_of_each": [fraction],
    "test_loss": loss,
    "test_loss_of_each": [loss],
    "kept_epoch": or_none(count),
    **dict.fromkeys(("stopped_early", "out_of_patience"), flag),
    "unconfirmed_mistakes": [count],
    "seconds": {"": amount},
    "training_seconds": amount,
    "seeds": [count],
    "per_class": {"": {"": fraction}},
    "confusion_matrix": [[count]],
}
IN_CONFIG = "script recipe dataset title synthetic fingerprint data_dir seed seeds combinations"
IN_METRICS = "test_accuracy test_loss parameters seconds stopped_early"
OF_SEVERAL_SEEDS = "test_accuracy test_loss seeds training_seconds"
MAY_BE_NULL = ("learning_rate", "patience", "data_dir", "name", "devices")  # of the options


def matches(value, form) -> bool:
    """Whether a value has a form, as in `CONFIG`."""
    if isinstance(form, list):
        return isinstance(value, list) and all(matches(each, *form) for each in value)
    if isinstance(form, dict):
        return isinstance(value, dict) and all(matches(v, form[""]) for v in value.values())
    return form(value)


def check(content: dict, forms: dict, needed: str) -> None:
    """Raise ValueError unless all that is needed is there, and has its form."""
    if missing := [key for key in needed.split() if key not in content]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for key in content.keys() & forms.keys():
        if not matches(content[key], forms[key]):
            raise ValueError(f"{key} cannot be {content[key]!r:.80}")


def checked_config(path: Path, config: dict) -> dict:
    """A config.json's content, its options as from the command line. Raises UserError."""
    try:
        check(config, CONFIG, IN_CONFIG)
        names, *others = [list(combination) for combination in config["combinations"]]
        if config["seeds"][0] != config["seed"] or any(other != names for other in others):
            raise ValueError("its seeds or combinations do not agree")
        options = {n: typed(n, config[n], n in names) for n in OPTIONS if n in config}
        combinations = [{n: typed(n, v) for n, v in c.items()} for c in config["combinations"]]
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return config | options | {"combinations": combinations}


def typed(name: str, value, several: bool = False):
    """The value of an option, or of a sweep the list of several, as from the command line."""
    if several and isinstance(value, list):
        return [typed(name, each) for each in value]
    option = OPTIONS[name]
    kind = object if option.type else bool if flag(option.default) else str
    if not isinstance(value, kind) or (value is None and name not in MAY_BE_NULL):
        raise ValueError(f"{name} cannot be {value!r:.80}")
    try:
        return option.checked(value)
    except ArgumentTypeError as error:
        raise ValueError(f"{name}: {error}") from error


def check_metrics(path: Path, metrics: dict) -> None:
    """Raise UserError where a metrics.json holds what no run has measured."""
    try:
        check(metrics, METRICS, OF_SEVERAL_SEEDS if "seeds" in metrics else IN_METRICS)
        if "training" not in metrics.get("seconds", ["training"]):
            raise ValueError("it lacks the seconds of training")
        rows = metrics.get("confusion_matrix", [])
        if rows and {len(row) for row in rows} != {len(rows), 10}:
            raise ValueError("its confusion matrix is not of 10 classes")
        right, images = sum(row[i] for i, row in enumerate(rows)), sum(map(sum, rows))
        if rows and abs(right - metrics["test_accuracy"] * images) > 1e-3:
            raise ValueError("its accuracy is not that of its confusion matrix")
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
