"""The film of a training, `film.npz`: what the network makes of some images after each epoch."""

from functools import partial

import numpy as np

from common.console import warn
from common.data.dataset import Dataset
from common.files import read_arrays, write_arrays
from common.networks.dense_numpy import DenseNetwork
from experiment.runs.run import Run

FILM = "film.npz"
PARTS = ("hidden", "weights", "predicted")  # of a frame
FRAMES, IMAGES, VALUES = 30, 50, 64  # at most: frames, images of a class, values of an image


class Film:
    """Frames by epoch, evenly thinned; none on several devices, or without validation images."""

    def __init__(self, model, data: Dataset, run: Run) -> None:
        """Choose the first validation images of each class."""
        labels = data.validation_labels
        first = [np.flatnonzero(labels == label)[:IMAGES] for label in range(10)]
        chosen = np.sort(np.concatenate(first))
        self.images, self.labels = data.validation_images[chosen], labels[chosen]
        self.view = partial(scratch_view if run.custom_engine else keras_view, model, run)
        self.path, self.frames = run.folder / FILM, None
        one_device = run.device.count == run.device.processes == 1
        self.wanted = len(chosen) and one_device and run.args.figures == "all"

    def add(self, epoch: int) -> None:
        """Keep a frame after so many epochs; where that fails, warn and keep no more of them."""
        try:
            if self.wanted:
                self.write(epoch, *self.view(self.images))
        except Exception as error:  # the run is worth more than its film
            self.wanted = False
            warn(f"the film of training ends before epoch {epoch}: {error}")

    def write(self, epoch: int, hidden: np.ndarray, logits: np.ndarray, weights: np.ndarray):
        """Write film.npz anew, with a frame that replaces those of this epoch and later ones."""
        if hidden.shape[1] > VALUES:  # a random projection, which nearly keeps distances
            matrix = np.random.default_rng(0).normal(0, VALUES**-0.5, (hidden.shape[1], VALUES))
            hidden = hidden @ matrix
        weights = weights[: 24 if weights.shape[1] < 28 else 12]
        hidden, weights = (a.clip(-6e4, 6e4).astype(np.float16) for a in (hidden, weights))
        predicted = logits.argmax(axis=1).astype(np.uint8)
        if self.frames is None:  # the first since the start, or since the run was resumed
            film = read_arrays(self.path) if self.path.exists() else {"epochs": ()}
            parts = zip(*(film.get(name, ()) for name in PARTS), strict=True)
            self.frames = dict(zip(film["epochs"], parts, strict=True))
        step = 1
        while epoch // step > FRAMES - 1:
            step *= 2
        self.frames = {e: f for e, f in self.frames.items() if e < epoch and e % step == 0}
        self.frames[epoch] = (hidden, weights, predicted)
        stacked = map(np.stack, zip(*self.frames.values(), strict=True))
        arrays = dict(zip(PARTS, stacked, strict=True))
        write_arrays(self.path, labels=self.labels, epochs=np.array([*self.frames]), **arrays)


def keras_view(model, _: Run, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last hidden outputs (n, units), logits (n, 10), and first weights as images."""
    import keras  # not at the top: it takes seconds

    from common.plotting.grad_cam import first_weights

    both = keras.Model(model.inputs, [model.layers[-1].input, model.outputs[0]])
    pixels = keras.ops.cast(images.reshape(-1, *model.input_shape[1:]), model.inputs[0].dtype)
    outputs = [keras.ops.cast(each, "float32") for each in both(pixels, training=False)]
    hidden, logits = map(keras.ops.convert_to_numpy, outputs)
    _, weights = first_weights(model) or ("", np.zeros((1, 1, 1)))  # grey
    return hidden.reshape(len(images), -1), logits, weights


def scratch_view(network, run: Run, images: np.ndarray) -> tuple:
    """The same of a `DenseNetwork`, in NumPy."""
    weights = [np.asarray(values) for values in network.parameters]
    copy = DenseNetwork(weights, run.args.activation, rescale=run.args.rescale)
    inputs, _, logits = copy.forward(images)
    return inputs[-1], logits, weights[0].T.reshape(-1, 28, 28)
