"""Training a Keras model on a dataset: schedule, shuffling, progress, and what stops it early."""

from __future__ import annotations

import math
import sys
import time

import keras
import numpy as np

from common.augment import Augmentation
from common.data import Dataset
from common.options import UserError
from common.runs import History, Run, stop_requests

# Streams of random numbers, so that no two uses of a run's seed see the same ones. Stream 0 is the
# seed alone, which splits the data.
SHUFFLING, AUGMENTATION = 1, 2


def train(
    model: keras.Model, dataset: Dataset, run: Run, augmentation: Augmentation | None = None
) -> History:
    """Train `model`, whose outputs are logits (n, 10), as the run's options say.

    `augmentation` varies each batch of training images. The run's history.csv grows by a row an
    epoch. After Ctrl-C or SIGTERM the batch under way is finished, and what there is comes back.
    Raises UserError when the loss is no longer a finite number.
    """
    args = run.args
    batches = Batches(
        dataset.train_images, dataset.train_labels, args.batch_size, run.seed, augmentation
    )
    model.compile(
        optimizer=make_optimizer(args, steps=args.epochs * len(batches)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    validation = None
    if len(dataset.validation_images):
        validation = (dataset.validation_images, dataset.validation_labels)

    # Keras's progress bar redraws its line, which only a terminal can show.
    bar = sys.stdout.isatty() and not args.quiet
    run.history = history = History()
    run.write_history(history)
    began = time.perf_counter()
    with stop_requests(history):
        model.fit(
            batches,
            epochs=args.epochs,
            shuffle=False,  # Batches does, from its own seed; Keras would from the global state
            validation_data=validation,
            validation_batch_size=1000,
            verbose=1 if bar else 0,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_begin=batches.start_epoch),
                Recorder(run, history, show=not bar),
            ],
        )
    history.seconds = time.perf_counter() - began
    return history


def make_optimizer(args, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer that the options name, with its learning-rate schedule over `steps` steps.

    `cosine` rises linearly for a fifth of the steps and falls to zero along half a cosine
    (https://arxiv.org/abs/1608.03983), about as the one-cycle policy does
    (https://arxiv.org/abs/1708.07120).
    """
    rate = args.learning_rate
    if args.schedule == "cosine":
        warm_up = steps // 5
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 20, steps - warm_up, warmup_target=rate, warmup_steps=warm_up
        )
    return keras.optimizers.get({"class_name": args.optimizer, "config": {"learning_rate": rate}})


class Batches(keras.utils.PyDataset):
    """The training images in batches, shuffled anew every epoch and augmented.

    All randomness comes from (seed, epoch, batch), so that there is no state to lose: any epoch
    can be made again without those before it.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        """`images`: uint8 (n, 28, 28); `labels`: (n,)."""
        super().__init__()
        self.images, self.labels = images, labels
        self.batch_size, self.seed, self.augmentation = batch_size, seed, augmentation
        self.start_epoch(0)

    def start_epoch(self, epoch: int, logs: dict | None = None) -> None:
        """Shuffle for an epoch, counted from 0. Called by `fit`, as a callback.

        Not PyDataset's own `on_epoch_end`, because Keras calls that once too often.
        """
        self.epoch = epoch
        generator = np.random.default_rng((self.seed, SHUFFLING, epoch))
        self.order = generator.permutation(len(self.images))

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        images = self.images[chosen]
        if self.augmentation:
            generator = np.random.default_rng((self.seed, AUGMENTATION, self.epoch, batch))
            images = self.augmentation(images, generator)
        return images, self.labels[chosen]


class Recorder(keras.callbacks.Callback):
    """Writes a row of history an epoch, prints it, and ends training when it must end."""

    def __init__(self, run: Run, history: History, show: bool) -> None:
        super().__init__()
        self.run, self.history, self.show = run, history, show

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began, self.seconds = time.perf_counter(), None

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.history.stopped:
            self.model.stop_training = True

    def on_test_begin(self, logs: dict | None = None) -> None:
        self.seconds = time.perf_counter() - self.began

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.model.stop_training:
            return  # the epoch was cut short, so its numbers stand for nothing
        for loss in (logs["loss"], logs.get("val_loss", 0)):
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {loss} in epoch {epoch + 1}: lower --learning-rate (it was "
                    f"{self.run.args.learning_rate:g}); earlier epochs are in {self.run.folder}"
                )
        row = {
            "epoch": epoch + 1,
            "seconds": round(self.seconds or time.perf_counter() - self.began, 3),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "loss": float(logs["loss"]),
            "accuracy": float(logs["accuracy"]),
            "validation_loss": float(logs.get("val_loss", math.nan)),
            "validation_accuracy": float(logs.get("val_accuracy", math.nan)),
        }
        self.history.rows.append(row)
        try:
            self.run.write_history(self.history)
        except UserError as error:  # worth a warning, not the training: it is written again later
            print(f"warning: {error}", file=sys.stderr)
        if self.show:
            self.run.say(epoch_line(row, self.params["epochs"]))
        if self.history.stopped:
            self.model.stop_training = True


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """One epoch's row in words."""
    line = (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  {row['seconds']:5.1f} s   "
        f"training: loss {row['loss']:.4f}, accuracy {row['accuracy']:.2%}"
    )
    if math.isfinite(row["validation_loss"]):
        line += (
            f"   validation: loss {row['validation_loss']:.4f}, "
            f"accuracy {row['validation_accuracy']:.2%}"
        )
    return line
