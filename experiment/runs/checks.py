"""What config.json and metrics.json may hold: each value's type and range, and what must agree."""

from argparse import ArgumentTypeError
from pathlib import Path

from common.data.originals import ORIGINALS
from common.errors import UserError
from experiment.options import OPTIONS

COUNT, AMOUNT, FRACTION = range(10**15), (0, 1e15), (0, 1 + 1e-6)
# A form is a type, `object` for any; a range of whole numbers, or as a pair of any numbers; or a
# list or dictionary of these.
CONFIG = {
    **dict.fromkeys("script recipe dataset title fingerprint started".split(), str),
    "synthetic": bool,
    "seeds": [COUNT],
    "combinations": [{"": object}],
    "command_line": [object],
    "versions": {"": str},
    "resumed": [{"": object}],
}
METRICS = {
    **dict.fromkeys("parameters epochs kept_epoch peak_memory_bytes".split(), COUNT),
    **dict.fromkeys("test_accuracy training_accuracy validation_accuracy".split(), FRACTION),
    **dict.fromkeys("test_loss training_loss validation_loss".split(), float),
    **dict.fromkeys("test_accuracy_sd training_seconds".split(), AMOUNT),
    "test_loss_sd": float,
    "test_accuracy_of_each": [FRACTION],
    "stopped_early": bool,
    "out_of_patience": bool,
    "unconfirmed_mistakes": [COUNT],
    "seconds": {"": AMOUNT},
    "seeds": [COUNT],
    "per_class": {"": {"": FRACTION}},
    "confusion_matrix": [[COUNT]],
}
IN_CONFIG = "script recipe dataset title synthetic fingerprint data_dir seed seeds combinations"
IN_METRICS = "test_accuracy test_loss parameters seconds stopped_early"
OF_SEVERAL_SEEDS = "test_accuracy test_loss seeds training_seconds"
MAY_BE_NULL = "learning_rate patience data_dir name devices peak_memory_bytes".split()
MAY_BE_NULL += "test_accuracy_sd test_loss_sd training_accuracy training_loss".split()
MAY_BE_NULL += "validation_accuracy validation_loss kept_epoch".split()


def matches(value, form) -> bool:
    """Whether a value has a form, as in `CONFIG`."""
    kind = type(value)
    if isinstance(form, tuple):
        return kind in (int, float) and form[0] <= value <= form[1]
    if isinstance(form, range):
        return kind is int and value in form
    if isinstance(form, list):
        return kind is list and all(matches(each, *form) for each in value)
    if isinstance(form, dict):
        return kind is dict and all(matches(each, form[""]) for each in value.values())
    return form is object or (kind is form and (kind is not str or value.isprintable()))


def check(content: dict, forms: dict, needed: str) -> None:
    """Raise ValueError unless all that is needed is there, and has its form."""
    if missing := [key for key in needed.split() if key not in content]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for key in content.keys() & forms.keys():
        known = content[key] is None and key in MAY_BE_NULL
        if not (known or matches(content[key], forms[key])):
            raise ValueError(f"{key} cannot be {content[key]!r:.80}")


def checked_config(path: Path, config: dict) -> dict:
    """A config.json's content, its options as from the command line. Raises UserError."""
    try:
        check(config, CONFIG, IN_CONFIG)
        if config["dataset"] not in ORIGINALS:
            raise ValueError(f"there is no dataset {config['dataset']}")
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
    kind = object if option.type else bool if option.default in (True, False) else str
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
