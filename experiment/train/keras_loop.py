"""Training a Keras model, on any of Keras's backends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from common.data.load import Dataset
from experiment.backend.processes import watched
from experiment.backend.replicas import Replicas, normalise_together
from experiment.runs.checkpoints import share_checkpoint
from experiment.train.training import DROPOUT, Batches, Recorder, Schedule

STEPS_AT_ONCE = 16
BATCHES_AHEAD = 8


def fit(model: keras.Model, batches: Batches, dataset: Dataset, recorder: Recorder) -> None:
    """Train `model`, whose outputs are logits (n, 10), with Keras's own `fit`.

    Where several devices share each batch, they train a copy, and `model` gets its weights.
    """
    args, device = recorder.run.args, recorder.run.device
    several_devices = device.count > 1
    replicas = Replicas(device)
    with replicas.creating():
        trained = model
        if several_devices:
            trained = copy_of(model)
            normalise_together(trained)
        optimizer = make_optimizer(args, steps=args.epochs * len(batches))
        # With its variables there from the start, TensorFlow traces the network once, not twice.
        optimizer.build(trained.trainable_variables)
        # Several steps for each return to Python, which is slow; not so many that Ctrl-C has to
        # wait. Keras cannot do it on PyTorch, nor with TensorFlow on several devices.
        single = several_devices or keras.backend.backend() == "torch"
        compile_for(args, trained, optimizer, 1 if single else min(STEPS_AT_ONCE, len(batches)))
    variables = [*trained.variables, *optimizer.variables]  # also the state of dropout

    def read() -> list[np.ndarray]:
        return [variable.numpy() for variable in variables]

    def write(state: Sequence[np.ndarray]) -> None:
        for variable, values in zip(variables, state, strict=True):
            variable.assign(values)

    def evaluate() -> dict[str, float]:
        """On one device, because images that are to be tested cannot always be shared evenly."""
        model.set_weights(trained.get_weights())
        with replicas.leaving():
            return model.evaluate(*validation, batch_size=1000, verbose=0, return_dict=True)

    validation = None
    if len(dataset.validation_images):
        validation = (dataset.validation_images, dataset.validation_labels)
    if several_devices:
        compile_for(args, model)
    watch = Watch(batches, recorder, evaluate if validation and several_devices else None)

    # Keras's progress bar redraws its line, which only a terminal can show.
    recorder.bar = sys.stdout.isatty() and not args.quiet
    with replicas.training(), watched(device.process, device.processes):
        if device.processes > 1:
            share_checkpoint(recorder.run)
        trained.fit(
            feed(batches),
            initial_epoch=recorder.go_on(read, write),
            epochs=args.epochs,
            shuffle=False,  # Batches does, from its own seed; Keras would from the global state
            validation_data=None if several_devices else validation,
            validation_batch_size=1000,
            verbose=1 if recorder.bar else 0,
            callbacks=[watch],
        )
    if several_devices:
        model.set_weights(trained.get_weights())


def compile_for(args, model: keras.Model, optimizer=None, steps_at_once: int = 1) -> None:
    """Give `model` the loss that the options name, and what is to be measured."""
    loss, metrics = make_loss(args), [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    if args.label_smoothing or loss.reduction == "sum":
        # History holds the mean cross-entropy all the same, so that runs can be compared.
        metrics.append(keras.metrics.SparseCategoricalCrossentropy(name="mean", from_logits=True))
    model.compile(
        optimizer=optimizer, loss=loss, metrics=metrics, steps_per_execution=steps_at_once
    )


def copy_of(model: keras.Model) -> keras.Model:
    """A network like `model` with the same weights, and the same dropout to come."""
    copy = type(model).from_config(model.get_config())
    for own, original in zip(copy.variables, model.variables, strict=True):
        own.assign(original.numpy())
    return copy


def save_network(model: keras.Model, path: Path) -> None:
    """Write a network without its optimizer and loss: a third of the size, and no code of ours.

    So whoever has the file needs nothing but Keras to load it.
    """
    copy_of(model).save(path)


def make_loss(args) -> keras.losses.Loss:
    """The loss that the options name, of labels (n,) and logits (n, 10)."""
    reduction = {"mean": "sum_over_batch_size", "sum": "sum"}[vars(args).get("loss", "mean")]
    if args.label_smoothing:
        return SmoothedCrossEntropy(args.label_smoothing, reduction)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)


class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy with labels that are not quite sure (https://arxiv.org/abs/1512.00567).

    A share `smoothing` of the certainty goes to all classes alike. Keras has it for one-hot labels.
    """

    def __init__(self, smoothing: float, reduction: str) -> None:
        super().__init__(reduction=reduction)
        self.smoothing = smoothing

    def call(self, labels, logits):
        """The loss of each image."""
        of_label = keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        of_all = keras.ops.logsumexp(logits, axis=-1) - keras.ops.mean(logits, axis=-1)
        return (1 - self.smoothing) * of_label + self.smoothing * of_all


def make_optimizer(args, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer that the options name, with its learning-rate schedule over `steps` steps."""
    rate = args.learning_rate
    if args.schedule == "cosine":
        schedule = Schedule("cosine", rate, steps)
        rate = keras.optimizers.schedules.CosineDecay(
            schedule.start,
            steps - schedule.warm_up,
            warmup_target=rate,
            warmup_steps=schedule.warm_up,
        )
    if args.optimizer == "momentum":
        return keras.optimizers.SGD(rate, momentum=0.9)
    if args.optimizer == "adam_short":  # about 5 and 20 steps, where Adam takes 10 and 1,000
        return keras.optimizers.Adam(rate, beta_1=0.8, beta_2=0.95)
    return keras.optimizers.get({"class_name": args.optimizer, "config": {"learning_rate": rate}})


def feed(batches: Batches):
    """Batches as `fit` takes them."""
    if keras.backend.backend() != "tensorflow":
        return Feed(batches)
    import tensorflow as tf

    dataset = tf.data.Dataset.from_generator(
        lambda: (batches[number] for number in range(len(batches))),
        output_signature=(
            tf.TensorSpec((None, *batches.images.shape[1:]), batches.images.dtype),
            tf.TensorSpec((None,), batches.labels.dtype),
        ),
    )
    # Keras would do the same, but leave it to TensorFlow to tune: a thread that takes time from
    # the training, and at the end of it may be waited for, for seconds.
    options = tf.data.Options()
    options.autotune.enabled = False
    counted = tf.data.experimental.assert_cardinality(len(batches))
    return dataset.apply(counted).prefetch(BATCHES_AHEAD).with_options(options)


class Feed(keras.utils.PyDataset):
    """Batches as `fit` takes them on the other backends."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        return self.batches[batch]


class Watch(keras.callbacks.Callback):
    """Starts each epoch's batches, records what Keras measured, and ends training when it must."""

    def __init__(
        self, batches: Batches, recorder: Recorder, evaluate: Callable[[], dict] | None = None
    ) -> None:
        """`evaluate` measures on the validation images, where `fit` does not."""
        super().__init__()
        self.batches, self.recorder, self.evaluate = batches, recorder, evaluate

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # Not in PyDataset's own `on_epoch_end`, because Keras calls that once too often.
        self.batches.start_epoch(epoch)
        if keras.backend.backend() == "torch":
            # Its dropout draws from a state of PyTorch's own; so any epoch can be made again.
            import torch

            seeds = np.random.SeedSequence((self.batches.seed, DROPOUT, epoch))
            torch.manual_seed(seeds.generate_state(1)[0])
        self.began, self.seconds = time.perf_counter(), None

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.recorder.must_stop:
            self.model.stop_training = True

    def on_test_begin(self, logs: dict | None = None) -> None:
        self.seconds = time.perf_counter() - self.began

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.model.stop_training:
            return  # the epoch was cut short, so its numbers stand for nothing
        seconds = self.seconds or time.perf_counter() - self.began
        if self.evaluate:
            logs |= {f"val_{name}": value for name, value in self.evaluate().items()}
        loss = "mean" if "mean" in logs else "loss"
        measured = [(logs[loss], logs["accuracy"])]
        if "val_accuracy" in logs:
            measured.append((logs[f"val_{loss}"], logs["val_accuracy"]))
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self.recorder.record(seconds, float(rate), *measured)
        if self.recorder.must_stop:
            self.model.stop_training = True
