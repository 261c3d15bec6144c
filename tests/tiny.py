"""Trainings of a second: a run, a network of each engine, and what main() does with them."""

import signal
import tempfile
from pathlib import Path

from conftest import DEVICE, dataset, options

from common.networks.dense_numpy import DenseNetwork
from common.networks.initializers import initial_parameters
from experiment.backend.device import set_seed
from experiment.runs.run import Run
from experiment.train.fit import compile_options, fit
from experiment.train.recorder import Recorder

ENGINES = ("keras", "tensorflow", "numpy")


def split_dataset():
    """Noise with bright rows, learned in a few steps: 300 training and 100 validation images."""
    return dataset(400, 100).split(0.25, seed=3)


def make_run(folder, **changes):
    """A run in a new folder, which holds no checkpoint."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    changes = {"epochs": 3, "batch_size": 64, "learning_rate": 0.003} | changes
    return Run(folder, options(folder, **changes), dataset(), DEVICE)


def make_network(engine):
    """A network of one hidden layer with dropout, the same each time."""
    if engine == "keras":
        import keras

        set_seed(3)
        return keras.Sequential(
            [
                keras.Input((28, 28), dtype="uint8"),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.Dropout(0.2),
                keras.layers.Dense(10),
            ]
        )
    network = DenseNetwork
    if engine == "tensorflow":
        from common.networks.dense_tensorflow import DenseNetwork as network
    return network(initial_parameters([784, 32, 10], "glorot_uniform", 3), "relu", 0.2)


def train(model, data, run, augmentation=None):
    """What a script's main() does between its network and the report: the history of it."""
    run.augmentation = augmentation
    model.compile(**compile_options(data, run))
    fit(model, data, run)
    return run.history


def press_ctrl_c(monkeypatch, epoch, batch):
    """Raise SIGINT at the end of a batch, once so many epochs are recorded; both from 0."""
    original = Recorder.on_train_batch_end

    def interrupted(recorder, number, logs=None):
        if (len(recorder.history.rows), number) == (epoch, batch):
            signal.raise_signal(signal.SIGINT)
        original(recorder, number, logs)

    monkeypatch.setattr(Recorder, "on_train_batch_end", interrupted)
