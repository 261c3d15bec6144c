"""Write a drawing pad for a trained network: a page on which you draw a digit and see the answer.

`draw.html` in the run's folder is one file with the network inside, which needs only a browser: no
server, no internet, no Python. It shows what the network sees, the probability of each class, and
what the layers make of the image; test images and your own pictures can be put on the pad. The
page computes in float32. Of several seeds, the first one's network is used.
"""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: python tools/draw.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from common.augment import predict
from common.console import say
from common.data.dataset import Dataset
from common.errors import UserError, one_line_errors
from common.networks.dense_numpy import DenseNetwork
from experiment.gallery import page
from experiment.gallery.live import open_in_browser
from experiment.network import layers_of
from experiment.options import ACTIVATIONS
from experiment.runs.saved import SavedRun
from tools.command_line import RUN_HELP, ToolParser
from tools.saved import find_network, load_dataset, load_model

MISTAKES = 20  # test images shown beside a right one of each class
# How far float16 may move a probability, measured on so many test images: half of the 0.001 that a
# page may differ from Keras, because other images may move farther.
TOLERANCE, MEASURED = 0.0005, 1000

# Layers that, beside their activation, change nothing once a network is trained, or only a shape.
NOTHING = "Activation Flatten Reshape Dropout SpatialDropout2D GaussianDropout GaussianNoise "
NOTHING += "RandomFlip RandomRotation RandomTranslation RandomZoom RandomContrast RandomErasing"
# The values of options with which the page computes.
ONLY = {"dilation_rate": [(1, 1)], "groups": [1], "data_format": ["channels_last"]}
ONLY |= {"axis": [-1, (-1,), ()], "invert": [False], "activation": ["linear", *ACTIVATIONS]}
ONLY |= {"max_value": [None], "negative_slope": [0], "threshold": [0]}  # of a ReLU


def main(argv: Sequence[str] = ()) -> None:
    """Write the page as the options in `argv` say, and open it where there is a screen."""
    parser = ToolParser("draw", __doc__)
    parser.add_argument("run", nargs="?", default="latest", metavar="RUN", help=RUN_HELP)
    args = parser.parse_args(argv)
    with one_line_errors(args.debug):
        path = write_page(find_network(args.run, args.results_dir))
        say(f"{path}" if open_in_browser(path) else f"open {path} in a browser")


def write_page(run: SavedRun) -> Path:
    """Write `draw.html` into the run's folder, and give its path.

    Raises UserError where the model or the data is missing, where the page cannot compute the
    network, and where the page cannot be written.
    """
    training = run.trainings[0]
    model, dataset = load_model(training), load_dataset(training)
    mirrored, images = training.config.get("test_flip", False), dataset.test_images[:MEASURED]
    if not run.custom_engine:
        model = one_chain(model, images)
    steps = scratch_steps(model, training.config) if run.custom_engine else keras_steps(model)
    half = float16_suffices(model, images, mirrored)
    content = {
        "name": run.name,
        "about": describe(training, half, mirrored),
        "class_names": dataset.class_names,
        "digits": dataset.name == "mnist",
        "synthetic": dataset.synthetic,
        "mirrored": mirrored,
        "half": half,
        "steps": [encoded(step, half) for step in steps],
        "tests": chosen_tests(training, dataset),
    }
    path = run.folder / "draw.html"
    page.write_page(path, Path(__file__).with_suffix(".html"), content)
    return path


# ---- The network, step by step --------------------------------------------------------------


def one_chain(model, images: np.ndarray):
    """A Keras model as a Sequential of copies in float32, with models inside it taken apart.

    Raises UserError where that is not the same network, because its layers form no chain.
    """
    import keras

    layers = list(layers_of(model))
    for layer in layers:
        refuse_unknown(layer)
    changes = {"dtype": "float32", "name": None}
    copies = [type(layer).from_config(layer.get_config() | changes) for layer in layers]
    pixels = keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)
    chain = keras.Sequential([pixels, *copies])
    for layer, copy in zip(layers, copies, strict=True):
        copy.set_weights(layer.get_weights())
        if hasattr(copy, "finalize_state"):  # of a Normalization
            copy.finalize_state()
    both = [softmax(predict(one, images).astype(float), axis=1) for one in (model, chain)]
    if not np.abs(both[0] - both[1]).mean() < 0.01:  # as much as bfloat16 can make of it
        raise UserError("the layers do not form a chain: the page cannot compute the network")
    return chain


def refuse_unknown(layer) -> None:
    """Raise UserError for a Keras layer that the page cannot compute."""
    kind, config = type(layer).__name__, layer.get_config()
    if kind not in STEPS and kind not in NOTHING.split():
        raise UserError(f"the page cannot compute a {kind} layer, only {', '.join(STEPS)}")
    for key, known in ONLY.items():
        if (value := config.get(key, known[0])) not in known:
            raise UserError(f"the page cannot compute a {kind} layer with {key} {value!r}")


def keras_steps(chain) -> list[dict]:
    """What the page computes: a function's name, the shapes it goes from and to, and its arrays.

    Shapes are rows, columns and channels.
    """
    steps, shape = [], chain.input_shape[1:]
    for layer in chain.layers:
        before, shape = in_3d(shape), layer.compute_output_shape((None, *shape))[1:]
        after, name = in_3d(shape), layer.get_config().get("activation", "linear")
        if step := STEPS.get(type(layer).__name__):
            steps.append({"from": before, "to": after} | step(layer, before, after))
        if name != "linear":
            steps.append({"kind": "activate", "activation": name, "to": after})
    return steps


def scratch_steps(network: DenseNetwork, config: dict) -> list[dict]:
    """The same for a network from scratch."""
    units, steps = 784, [scaling(1 / 255 if config["rescale"] else 1)]
    for kernel, bias in zip(network.parameters[::2], network.parameters[1::2], strict=True):
        if len(steps) > 1:
            name = config["activation"]
            steps.append({"kind": "activate", "activation": name, "to": in_3d([units])})
        before, units = units, len(bias)
        steps.append({"from": in_3d([before]), "to": in_3d([units])} | dense(kernel, bias))
    return steps


def in_3d(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape as rows, columns and channels: units are the channels of a single pixel."""
    return (1,) * (3 - len(shape)) + tuple(shape)


def convolution(layer, before, after) -> dict:
    """The step of a Conv2D."""
    size = layer.kernel_size
    return dense(*layer.get_weights()) | window(size, layer.strides, before, after)


def dense(kernel: np.ndarray, bias: np.ndarray | None = None) -> dict:
    """The step of a dense layer: a convolution of single pixels."""
    arrays = {"kernel": np.array(kernel)} | ({} if bias is None else {"bias": bias})
    return {"kind": "convolve"} | arrays | window((1, 1), (1, 1), (1, 1), (1, 1))


def pooling(layer, before, after) -> dict:
    """The step of a layer that pools: windows, or the whole map."""
    kind, whole = type(layer).__name__, (before[:2], before[:2])
    moves = whole if kind.startswith("Global") else (layer.pool_size, layer.strides)
    return {"kind": "pool", "average": "Average" in kind} | window(*moves, before, after)


def window(size: Sequence, strides: Sequence, before: Sequence, after: Sequence) -> dict:
    """How a window moves over a map, with so much padding above and to the left."""
    sides = zip(size, strides, before, after, strict=False)  # rows and columns
    padding = [max((there - 1) * step + k - here, 0) // 2 for k, step, here, there in sides]
    return {"size": size, "strides": strides, "padding": padding}


def batch_normalization(layer, before, after) -> dict:
    """The step of a BatchNormalization, with its running mean and variance."""
    parts = layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance
    gamma, beta, mean, variance = (v if v is None else np.asarray(v, float) for v in parts)
    factor = (1 if gamma is None else gamma) / np.sqrt(variance + layer.epsilon)
    return scaling(factor, (0 if beta is None else beta) - factor * mean)


def normalization(layer, before, after) -> dict:
    """The step of a Normalization, by the mean and variance of its data."""
    mean, variance = np.asarray(layer.mean, float), np.asarray(layer.variance, float)
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)  # as Keras does
    return scaling(factor, -factor * mean)


def scaling(factor: np.ndarray | float, offset: np.ndarray | float = 0) -> dict:
    """The step that multiplies and adds: numbers for each channel, or one for all."""
    return {"kind": "scale", "factor": np.ravel(factor), "offset": np.ravel(offset)}


STEPS = {
    "Rescaling": lambda layer, *_: scaling(layer.scale, layer.offset),
    "Normalization": normalization,
    "BatchNormalization": batch_normalization,
    "Conv2D": convolution,
    "Dense": lambda layer, *_: dense(*layer.get_weights()),
    "ReLU": lambda *_: {"kind": "activate", "activation": "relu"},
    **dict.fromkeys(("MaxPooling2D", "AveragePooling2D"), pooling),
    **dict.fromkeys(("GlobalMaxPooling2D", "GlobalAveragePooling2D"), pooling),
}


# ---- Numbers in a page ----------------------------------------------------------------------


@np.errstate(over="ignore", invalid="ignore")  # what is too large for float16 shows in the answers
def float16_suffices(model, images: np.ndarray, mirrored: bool) -> bool:
    """Whether the probabilities hardly change with kernels in float16, which `model` then has."""

    def coarse(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float16).astype(values.dtype) if values.ndim > 1 else values

    before = softmax(predict(model, images, mirrored), axis=1)
    if isinstance(model, DenseNetwork):
        model.parameters = list(map(coarse, model.parameters))
    else:
        model.set_weights(list(map(coarse, model.get_weights())))
    after = softmax(predict(model, images, mirrored), axis=1)
    return bool(np.abs(after - before).max() <= TOLERANCE)


@np.errstate(over="ignore")
def encoded(step: dict, half: bool) -> dict:
    """The step as JSON holds it: arrays in base64, kernels in float16 if `half`, else float32."""

    def text(key: str, values: np.ndarray) -> str:
        kind = "<f2" if half and key == "kernel" else "<f4"
        return base64.b64encode(values.astype(kind).tobytes()).decode()

    return {k: text(k, v) if isinstance(v, np.ndarray) else v for k, v in step.items()}


def chosen_tests(run: SavedRun, dataset: Dataset) -> list[dict]:
    """Test images for the page: one of each class that the run read right, and its worst mistakes.

    Those are the wrong ones of which it was most confident.
    """
    logits, labels = run.predictions
    answers, confidence = logits.argmax(axis=1), softmax(logits, axis=1).max(axis=1)
    right, wrong = np.flatnonzero(answers == labels), np.flatnonzero(answers != labels)
    firsts = right[np.unique(labels[right], return_index=True)[1]]
    mistakes = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "pixels": base64.b64encode(dataset.test_images[index].tobytes()).decode(),
            "index": int(index),
            "label": int(labels[index]),
            "answer": int(answers[index]),
        }
        for index in (*firsts, *mistakes)
    ]


def describe(run: SavedRun, half: bool, mirrored: bool) -> str:
    """What the page says of the network."""
    sizes = "each digit is read in two sizes" if run.config["dataset"] == "mnist" else ""
    parts = [f"{run.metrics['test_accuracy']:.2%} of the test images read right", sizes]
    parts.append("each image is read with its mirror image, as in the test" * mirrored)
    parts.append("weights in float16" if half else "weights in float32")
    return ", ".join(filter(None, parts))


if __name__ == "__main__":
    main(sys.argv[1:])
