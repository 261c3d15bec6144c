"""The catalogue of options: each is declared here once, and a script names those that it has.

The groups `network`, `augmentation` and `training` are the settings of an experiment. Except for
switches, they take several values on the command line, and each combination is a run of its own. A
resumed run may have other options of `devices`, `data` and `results`, but not other images.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.files import REPOSITORY, absolute_path
from common.networks.initializers import VARIANCES
from experiment.values import (
    as_typed,
    count_or_all,
    layer_sizes,
    number,
    one_of,
    positive,
    run_name,
    whole_number,
)

# Listed here, and compared with Keras by a test, because asking Keras takes seconds.
# Of Keras's own, `glu` (halves the layer) and `threshold` (needs two numbers) do not fit.
ACTIVATIONS = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear "
    "log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus "
    "softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink swish hard_swish"
).split()

# Every optimizer, and the learning rate of one that is chosen without: a tuned one, or at the end
# Keras's own. `sgd` is gradient descent, `momentum` the same with a momentum of 0.9, and
# `adam_short` Adam with shorter averages, for runs of a few hundred steps.
LEARNING_RATES = {
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
    "lamb": 0.001,
    "muon": 0.001,
    "schedulefreeadamw": 0.0025,
}
SCHEDULES = ("constant", "linear", "cosine")  # the last two with a warm-up
PRECISIONS = ("auto", "float32", "bfloat16")
DATA, OLD_DATA = ("auto", "real", "synthetic"), {"rendered": "synthetic"}
FIGURES = ("all", "curves", "none")
RESULTS = REPOSITORY / "results"


@dataclass(frozen=True)
class Option:
    """An option of the command line and of recipes; a switch where it has no type."""

    default: object
    help: str
    type: Callable | None = None  # from text to a value
    metavar: str = "N"

    def checked(self, value):
        """A value as if it were typed: 64 becomes (64,) for `hidden`, or ArgumentTypeError."""
        typed = self.type(as_typed(value)) if self.type and value is not None else value
        return value if value == typed else typed  # 0 stays 0, although 0 typed is 0.0


def _named(default: str | None, help: str, known, aliases=None) -> Option:
    """An option whose values are names."""
    return Option(default, help, one_of("value", known, aliases), "NAME")


def _fraction(default: float, help: str) -> Option:
    return Option(default, help, number(below=1), "FRACTION")


GROUPS = {
    # `engine`, `network` and `augmenter` have the choices of a script; help lists them first.
    "network": {
        "engine": Option(None, "; tensorflow and numpy do without Keras"),
        "network": Option(None, ": the default's is in build_model, others in common/networks"),
        "blocks": Option(2, "convolutional blocks, 1 to 4", whole_number(1, 4)),
        "filters": Option(None, "filters; some layers have a multiple", whole_number(1, 1024)),
        "hidden": Option(None, "units of each hidden layer", layer_sizes, "UNITS,..."),
        "activation": _named("relu", "any of Keras's, such as relu, tanh, sigmoid", ACTIVATIONS),
        "dropout": _fraction(0, "fraction of the activations dropped in training"),
        "initializer": _named("glorot_uniform", ", ".join(VARIANCES), VARIANCES),
        "rescale": Option(True, "scale pixels from 0..255 to 0..1"),
        "test_flip": Option(False, "average the test logits of each image and its mirror image"),
        "loss": _named("mean", "cross-entropy of a batch: mean or sum", ("mean", "sum")),
    },
    "augmentation": {
        "augmenter": Option(None, "; numpy: common/augment.py, keras: ImageDataGenerator"),
        "flip": Option(False, "mirror half of the images left to right"),
        "shift": Option(0, "shift by up to this many pixels", whole_number(0, 14), "PIXELS"),
        "rotation": Option(0, "rotate by up to this angle", number(below=181), "DEGREES"),
        "zoom": _fraction(0, "zoom in or out by up to this fraction"),
        "elastic": Option(0, "elastic distortion, standard deviation", number(below=14), "PIXELS"),
        "erase": Option(
            0, "erase a square of this side in half of them", whole_number(0, 28), "PIXELS"
        ),
    },
    "training": {
        "epochs": Option(None, "passes over the training images; 0: untrained", whole_number(0)),
        "patience": Option(None, "stop N epochs after the best one, and keep it", whole_number(1)),
        "batch_size": Option(128, "images per training step, or all of them", count_or_all),
        "optimizer": _named("adam", ", ".join(LEARNING_RATES), LEARNING_RATES),
        "learning_rate": Option(None, "peak; default: recipe's or optimizer's", positive, "RATE"),
        "schedule": _named("cosine", ", ".join(SCHEDULES), SCHEDULES),
        "label_smoothing": _fraction(0, "fraction of each label spread over all classes"),
        "validation": _fraction(0.1, "fraction of the training images kept for validation"),
        "images": Option("all", "training images to use, validation included", count_or_all),
        "seed": Option(1, "random seed", whole_number(0, 2**31)),
    },
    "run": {
        "recipe": Option("default", "settings, listed below; options override them", None, "NAME"),
        "repeats": Option(1, "number of seeds; prints their mean", whole_number(1, 1000)),
        "precision": _named("auto", "float32, bfloat16, or auto: the faster here", PRECISIONS),
    },
    "devices": {
        "devices": Option(
            None, "GPUs (or virtual CPUs) to share each batch", whole_number(1, 1024)
        ),
        "distributed": Option(False, "train together with other processes: see docs/scale.md"),
    },
    "data": {
        "data": _named("auto", "real, synthetic, or auto: real if possible", DATA, OLD_DATA),
        "data_dir": Option(None, "folder with the dataset's files", absolute_path, "FOLDER"),
    },
    "results": {
        "name": Option(None, "of the run's folder; default: date and time", run_name, "NAME"),
        "resume": Option(None, "continue this run, or latest; --epochs may grow", str, "NAME"),
        "results_dir": Option(RESULTS, "where run folders go", absolute_path, "FOLDER"),
        "figures": _named("all", "all, curves or none; tools.report draws later", FIGURES),
        "show": Option(False, "open the gallery; in a notebook, show the curves at the end, too"),
        "tensorboard": Option(False, "also write logs for TensorBoard, where it is installed"),
        "quiet": Option(False, "print only warnings and the result"),
        "debug": Option(False, "show the traceback of an error"),
    },
}
OPTIONS = {name: option for group in GROUPS.values() for name, option in group.items()}
SYNONYMS = {"lr": "learning_rate", "batch": "batch_size", "gpus": "devices", "augment": "shift"}
SYNONYMS |= {"lr_schedule": "schedule", "val_split": "validation", "validation_split": "validation"}
SYNONYMS["early_stopping"] = "patience"
SETTINGS = [*GROUPS["network"], *GROUPS["augmentation"], *GROUPS["training"]]
FREE_ON_RESUME = [*GROUPS["devices"], *GROUPS["data"], *GROUPS["results"]]
COMMON = [name for name in OPTIONS if name not in (*GROUPS["network"], *GROUPS["augmentation"])]
# What a config.json holds that makes no difference to a result, or is shown in another way.
NOT_COMPARED = FREE_ON_RESUME + (
    "recipe repeats script started command_line combinations seeds resumed deterministic".split()
)
