"""Export a trained network: as a SavedModel, for LiteRT (phones, small computers), or as ONNX.

It is written in float32 into the run's folder, below `export/`, once its probabilities are those of
Keras, within 0.00001, for every test image. Raw pixels, uint8 (n, 28, 28), go in, and probabilities
(n, 10) come out, for any number n. Of several seeds, the first one's network is exported.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import timeit
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

if not __package__:  # started as a file: python tools/export.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import softmax

from common.console import say
from common.errors import UserError, one_line_errors
from experiment.backend.device import quiet_stderr
from experiment.runs.folder import lock
from experiment.runs.saved import SavedRun
from experiment.values import one_of
from tools.command_line import RUN_HELP, ToolParser
from tools.saved import find_network, load_dataset, load_model

FILES = {"saved_model": "saved_model", "litert": "model.tflite", "onnx": "model.onnx"}
ONNX_PACKAGES = ("onnx", "tf2onnx", "onnxruntime")
TOLERANCE = 1e-5  # of a probability
BATCH_SIZE = 1000

Network = Callable[[np.ndarray], np.ndarray]  # images to probabilities or logits


def main(argv: Sequence[str] = ()) -> None:
    """Export as the options in `argv` say."""
    parser = ToolParser("export", __doc__)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--format",
        type=one_of("format", FILES),
        default="saved_model",
        metavar="NAME",
        help=f"{', '.join(FILES)} (%(default)s)",
    )
    parser.add_argument(
        "--logits", action="store_true", help="export without the softmax: logits come out"
    )
    args = parser.parse_args(argv)
    if "keras" not in sys.modules:  # only on TensorFlow can Keras export every format
        os.environ["KERAS_BACKEND"] = "tensorflow"
    with one_line_errors(args.debug):
        missing = [name for name in ONNX_PACKAGES if not find_spec(name)]
        if args.format == "onnx" and missing:
            raise UserError(f"ONNX needs further packages: pip install {' '.join(missing)}")
        run = find_network(args.run, args.results_dir).trainings[0]
        export(run, args.format, args.logits)


def export(run: SavedRun, format: str, logits: bool = False) -> None:
    """Write the network of `run`, test it, and only then put it in its place.

    It gives probabilities, or `logits`.

    Raises UserError where it is not one of Keras's, or where its probabilities differ from those.
    """
    if run.custom_engine:
        raise UserError(f"{run.name} has a custom engine: only Keras's networks can be exported")
    dataset, model = load_dataset(run), in_float32(load_model(run))
    images, labels = dataset.test_images, dataset.test_labels
    path = run.folder / "export" / FILES[format]
    path.parent.mkdir(exist_ok=True)
    expected = softmax(model.predict(images, batch_size=BATCH_SIZE, verbose=0), axis=1)
    with scratch_folder(path.parent) as scratch:
        partial = scratch / path.name
        write(model if logits else with_softmax(model), partial, format)
        network = load(partial, format)
        starts = range(0, len(images), BATCH_SIZE)
        outputs = np.concatenate([network(images[i : i + BATCH_SIZE]) for i in starts])
        probabilities = softmax(outputs, axis=1) if logits else outputs
        difference = np.abs(probabilities - expected).max()
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported network is not the same: probabilities differ by {difference:.2g}"
            )
        one, many = latency(network, images[:1], 200), latency(network, images[:1000], 20)
        if path.is_dir():  # which no other folder can replace: out of the way, whole
            path.replace(scratch / "old")
        partial.replace(path)
    accuracy = (outputs.argmax(axis=1) == labels).mean()
    flipped = ", averaged with flipped images" if run.config.get("test_flip") else ""
    size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
    say(
        f"test accuracy {accuracy:.2%} (the run's: {run.metrics['test_accuracy']:.2%} in "
        f"{run.config.get('precision', 'float32')}{flipped}); probabilities differ from Keras's "
        f"by at most {difference:.1g}",
        f"{size / 1e6:.2f} MB; {one:.2f} ms for one image, {many:.1f} ms for 1,000 (median)",
        f"exported to {path}, which gives {'logits' if logits else 'probabilities'}",
    )


@contextlib.contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A hidden folder in `place` for the block; those that killed processes have left are removed.

    Raises UserError while another process exports there.
    """
    with lock(place):
        for left in place.glob(".*/"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=place) as scratch:
            yield Path(scratch)


def with_softmax(model):
    """The same network, giving probabilities instead of logits."""
    import keras

    softmax_layer = keras.layers.Softmax(dtype="float32")
    longer = keras.Model(model.inputs[0], softmax_layer(model.outputs[0]))
    longer(np.zeros((1, 28, 28), np.uint8))  # ONNX's exporter wants a model that was called
    return longer


def in_float32(model):
    """The same network, computing in float32 whatever it was trained in, from raw pixels."""
    import keras

    def copy(layer):
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    twin = keras.models.clone_model(model, clone_function=copy)
    twin.set_weights(model.get_weights())
    for layer in twin.layers:
        if hasattr(layer, "finalize_state"):  # else a Normalization keeps the statistics of none
            layer.finalize_state()
    images = keras.Input((28, 28), dtype="uint8")
    if (twin.input_shape, twin.inputs[0].dtype) == (images.shape, images.dtype):
        return twin
    # Keras itself takes pixels for float32, and adds a channel; other programs do not.
    pixels = keras.layers.Reshape(twin.input_shape[1:])(keras.layers.Rescaling(1.0)(images))
    return keras.Model(images, twin(pixels))


def write(model, path: Path, format: str) -> None:
    """Write `model` in one of the formats, without the converters' messages.

    Raises UserError where this version of Keras cannot.
    """
    name = {"saved_model": "tf_saved_model"}.get(format, format)
    with quiet_stderr(), warnings.catch_warnings(action="ignore"):
        try:
            model.export(path, format=name, verbose=False)
        except ValueError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"Keras {version('keras')} cannot export this: {reason}") from error


def load(path: Path, format: str) -> Network:
    """The exported network, in the runtime that its users will have."""
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (pixels,) = session.get_inputs()
        return lambda images: session.run(None, {pixels.name: images})[0]
    import tensorflow as tf

    if format == "saved_model":
        loaded = tf.saved_model.load(path)
        return lambda images: loaded.serve(images).numpy()
    with quiet_stderr(), warnings.catch_warnings(action="ignore"):  # it will move to a package
        interpreter = tf.lite.Interpreter(str(path))
        interpreter.allocate_tensors()  # prints a line, which the runner would do later
        runner = interpreter.get_signature_runner()
    (pixels,), (answer,) = runner.get_input_details(), runner.get_output_details()
    return lambda images: runner(**{pixels: images})[answer]


def latency(network: Network, images: np.ndarray, times: int) -> float:
    """The median time of a call in milliseconds; the first three calls are left out."""
    seconds = timeit.repeat(lambda: network(images), number=1, repeat=times + 3)
    return 1000 * median(seconds[3:])


if __name__ == "__main__":
    main(sys.argv[1:])
