"""Hand a trained network over: as a SavedModel, for LiteRT (phones, small computers), or as ONNX.

RUN is `latest`, a folder, a name, or script/name; of several seeds the first one's network is
taken. It is written in float32 into the run's folder, below `export/`, once it has given the same
probabilities as in Keras, within 0.00001, for every test image. Raw pixels, uint8 (n, 28, 28), go
in, and logits (n, 10) come out, for any number n.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from common.errors import UserError, one_line_errors
from common.plotting.calibration import softmax
from experiment.backend.device import quiet_stderr
from experiment.options import ToolParser, one_of
from experiment.runs.saved import SavedRun, find_network

FILES = {"saved_model": "saved_model", "litert": "model.tflite", "onnx": "model.onnx"}
FOR_ONNX = ("onnx", "tf2onnx", "onnxruntime")
TOLERANCE = 1e-5  # of a probability
AT_ONCE = 1000

Network = Callable[[np.ndarray], np.ndarray]  # images to logits


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options in `argv`."""
    parser = ToolParser("export", __doc__)
    parser.add_argument("run", metavar="RUN", help="whose network")
    parser.add_argument(
        "--format",
        type=one_of("format", FILES),
        default="saved_model",
        metavar="NAME",
        help=f"{', '.join(FILES)} (%(default)s)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def in_float32(model):
    """The same network, computing in float32 whatever it was trained in."""
    import keras

    def copy(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    twin = keras.models.clone_model(model, clone_function=copy)
    twin.set_weights(model.get_weights())
    return twin


def write(model, path: Path, form: str) -> None:
    """Write `model` in one of the formats, without the converters' chatter.

    Raises UserError where this version of Keras cannot.
    """
    name = {"saved_model": "tf_saved_model"}.get(form, form)
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.export(path, format=name, verbose=False)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"Keras {version('keras')} cannot export this: {reason}") from error


def load(path: Path, form: str) -> Network:
    """The exported network, run by what those who are given it would run it with."""
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (wanted,) = session.get_inputs()
        return lambda images: session.run(None, {wanted.name: images})[0]
    import tensorflow as tf

    if form == "saved_model":
        loaded = tf.saved_model.load(path)
        return lambda images: loaded.serve(images).numpy()
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it will move to a package of its own
        interpreter = tf.lite.Interpreter(str(path))
        interpreter.allocate_tensors()
    (wanted,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: np.ndarray) -> np.ndarray:
        if (interpreter.get_input_details()[0]["shape"] != images.shape).any():
            with quiet_stderr():
                interpreter.resize_tensor_input(wanted["index"], images.shape)
                interpreter.allocate_tensors()
        interpreter.set_tensor(wanted["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return run


def largest_difference(network: Network, model, images: np.ndarray, labels: np.ndarray):
    """How far the probabilities are from Keras's at most, and the share of right answers."""
    batches = range(0, len(images), AT_ONCE)
    logits = np.concatenate([network(images[start : start + AT_ONCE]) for start in batches])
    wanted = model.predict(images, batch_size=AT_ONCE, verbose=0)
    difference = np.abs(softmax(logits) - softmax(wanted)).max()
    return float(difference), float((logits.argmax(axis=1) == labels).mean())


def latency(network: Network, images: np.ndarray, times: int) -> float:
    """The median of so many calls, in milliseconds; the first ones are left out."""
    measured = []
    for _ in range(times + 3):
        began = time.perf_counter()
        network(images)
        measured.append(1000 * (time.perf_counter() - began))
    return median(measured[3:])


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    return sum(one.stat().st_size for one in [path, *path.rglob("*")] if one.is_file())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def export(run: SavedRun, form: str) -> None:
    """Write the network of `run`, test it, and only then put it in its place; say how it is.

    Raises UserError where it is none of Keras's, or does not answer as there.
    """
    if run.by_hand:
        raise UserError(f"{run.name} was written by hand: only Keras's networks can be exported")
    dataset, model = run.dataset(), in_float32(run.model())
    model(dataset.test_images[:1])  # Keras exports to ONNX only what has been used
    path = run.folder / "export" / FILES[form]
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(model, partial, form)
        network = load(partial, form)
        difference, accuracy = largest_difference(
            network, model, dataset.test_images, dataset.test_labels
        )
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported network is not the same: probabilities differ by {difference:.2g}"
            )
        one = latency(network, dataset.test_images[:1], 200)
        many = latency(network, dataset.test_images[:1000], 20)
        remove(path)
        partial.rename(path)
    finally:
        remove(partial)
    print(
        f"test accuracy {accuracy:.2%} (the run's was {run.metrics['test_accuracy']:.2%}, in "
        f"{run.config.get('precision', 'float32')}"
        f"{', with mirror images' if run.config.get('test_flip') else ''}); probabilities differ "
        f"from Keras's by at most {difference:.1g}\n"
        f"{size(path) / 1e6:.2f} MB; {one:.2f} ms for one image, {many:.1f} ms for 1,000 (median)\n"
        f"exported to {path}"
    )


def main(argv: Sequence[str] = ()) -> None:
    """Export as the options in `argv` say."""
    args = parse(argv)
    if "keras" not in sys.modules:  # a network trained on any backend is converted by TensorFlow's
        os.environ["KERAS_BACKEND"] = "tensorflow"
    with one_line_errors(args.debug):
        missing = [name for name in FOR_ONNX if not find_spec(name)]
        if args.format == "onnx" and missing:
            raise UserError(f"ONNX needs further packages: pip install {' '.join(missing)}")
        export(find_network(args.run, args.results_dir).trainings[0], args.format)


if __name__ == "__main__":
    main(sys.argv[1:])
