"""Training, whatever the engine: batches, schedule, history, and what ends it early."""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.augment import Augmentation
from common.data.load import Dataset
from common.errors import UserError
from experiment.backend.device import NUMPY_DEVICE, Device
from experiment.runs.checkpoints import check_fits, load_checkpoint, save_checkpoint
from experiment.runs.folder import History, Run, stop_requests

# Streams of random numbers, so that no two uses of a run's seed see the same ones. Stream 0 is the
# seed alone, which splits the data.
SHUFFLING, AUGMENTATION, DROPOUT = 1, 2, 3


def train(model, dataset: Dataset, run: Run, augmentation: Augmentation | None = None) -> History:
    """Train `model`, whose outputs are logits (n, 10), as the run's options say.

    A Keras model, or a `DenseNetwork` written by hand. `augmentation` varies each batch of
    training images. The run's history.csv grows by a row an epoch, and a checkpoint is kept; where
    the run's folder holds one already, training goes on from there. After Ctrl-C or SIGTERM the
    batch under way is finished, and what there is comes back. So it does, with a `failure` that
    says why, when memory does not suffice, or when the loss is no longer a finite number; then with
    the weights of the epoch before.
    """
    if run.by_hand:
        fit = fit_by_hand
    else:
        from experiment.train.keras_loop import fit  # not at the top: it takes seconds
    batches = Batches(
        dataset.train_images,
        dataset.train_labels,
        run.args.batch_size,
        run.seed,
        augmentation,
        run.device,
    )
    recorder = Recorder(run)
    # Of several processes none can end its training alone: Ctrl-C ends them at once.
    alone = run.device.processes == 1
    stopping = stop_requests(run.history) if alone else contextlib.nullcontext()
    with stopping, advice_on_memory(run):
        fit(model, batches, dataset, recorder)
    run.history.seconds = recorder.seconds
    return run.history


@contextlib.contextmanager
def advice_on_memory(run: Run) -> Iterator[None]:
    """Make of an engine's error that memory does not suffice a failure which names a way out."""
    try:
        yield
    except Exception as error:
        # TensorFlow, JAX, PyTorch and NumPy each have an error of their own, with these words.
        known = isinstance(error, MemoryError) or re.search(
            "out of memory|RESOURCE_EXHAUSTED|OOM when|ResourceExhausted",
            f"{type(error).__name__} {error}",
        )
        if not known:
            raise
        batch_size = run.args.batch_size
        smaller = 1000 if batch_size == "all" else max(batch_size // 2, 1)
        run.history.failure = (
            f"memory does not suffice for batches of {batch_size} images: "
            f"try --batch-size {smaller}"
        )


class Batches:
    """The training images in batches, shuffled anew every epoch and augmented.

    All randomness comes from (seed, epoch, batch), so that there is no state to lose: any epoch
    can be made again without those before it.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int | str,
        seed: int,
        augmentation: Augmentation | None = None,
        device: Device = NUMPY_DEVICE,
    ) -> None:
        """`images`: uint8 (n, 28, 28); `labels`: (n,); `batch_size`: a number or "all".

        Where several devices share each batch, an epoch leaves out the few images at its end that
        they cannot share evenly. Raises UserError where they cannot share a whole batch.
        """
        self.images, self.labels = images, labels
        self.count = len(images) // device.count * device.count
        self.batch_size = self.count if batch_size == "all" else batch_size
        if self.batch_size % device.count or not self.count:
            fitting = max(self.batch_size // device.count, 1) * device.count
            raise UserError(
                f"{device.count} devices cannot share {batch_size} images evenly: "
                f"try --batch-size {fitting}, or other --devices",
                status=2,
            )
        self.seed, self.augmentation, self.device = seed, augmentation, device
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch, counted from 0."""
        self.epoch = epoch
        generator = np.random.default_rng((self.seed, SHUFFLING, epoch))
        self.order = generator.permutation(len(self.images))[: self.count]

    def __len__(self) -> int:
        return math.ceil(self.count / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch's images and labels; of several processes, this one's share of them."""
        chosen = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        images = self.images[chosen]
        if self.augmentation:
            generator = np.random.default_rng((self.seed, AUGMENTATION, self.epoch, batch))
            images = self.augmentation(images, generator)
        share = len(chosen) // self.device.processes
        own = slice(self.device.process * share, (self.device.process + 1) * share)
        return images[own], self.labels[chosen[own]]


@dataclass
class Schedule:
    """The learning rate at every step: constant, or cosine.

    `cosine` rises linearly for a fifth of the steps and falls to zero along half a cosine
    (https://arxiv.org/abs/1608.03983), about as the one-cycle policy does
    (https://arxiv.org/abs/1708.07120).
    """

    name: str
    highest: float
    steps: int

    @property
    def start(self) -> float:
        """The rate that the cosine schedule rises from."""
        return self.highest / 20

    @property
    def warm_up(self) -> int:
        """For how many steps it rises."""
        return self.steps // 5

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if self.name == "constant":
            return self.highest
        if step < self.warm_up:
            return self.start + (self.highest - self.start) * step / self.warm_up
        falling = (step - self.warm_up) / (self.steps - self.warm_up)
        return self.highest * (1 + math.cos(math.pi * falling)) / 2


class Recorder:
    """Keeps a row of history and a checkpoint an epoch, and knows when training must end."""

    def __init__(self, run: Run) -> None:
        self.run, self.bar = run, False  # or True: a progress bar shows the epochs already
        run.history = self.history = History()
        self.began, self.warned = time.perf_counter(), False

    def go_on(
        self,
        read: Callable[[], list[np.ndarray]],
        write: Callable[[Sequence[np.ndarray]], None],
    ) -> int:
        """Go on from the checkpoint in the run's folder: the number of epochs that are done.

        `read` gives all that training changes, and `write` puts it back: weights, and what the
        optimizer and dropout remember.
        """
        self.read, self.write = read, write
        if checkpoint := load_checkpoint(self.run.folder):
            check_fits(checkpoint.state, read())
            write(checkpoint.state)
            self.history.rows = checkpoint.history.rows
            self.began -= checkpoint.history.seconds
            self.run.say(f"going on after epoch {len(self.history.rows)}")
        self.run.write_history(self.history)
        return len(self.history.rows)

    @property
    def seconds(self) -> float:
        """How long training has taken, with that before it was resumed."""
        return time.perf_counter() - self.began

    @property
    def must_stop(self) -> bool:
        """Whether training is to end now."""
        return bool(self.history.stopped or self.history.failure)

    def record(
        self,
        seconds: float,
        rate: float,
        training: tuple[float, float],
        validation: tuple[float, float] = (math.nan, math.nan),
    ) -> None:
        """Keep an epoch's measurements; `training` and `validation` are (loss, accuracy).

        A loss or a weight that is no finite number is a failure instead: it ends training, with the
        weights of the epoch before.
        """
        epoch, state = len(self.history.rows) + 1, self.read()
        losses = [training[0], validation[0] if validation[1] >= 0 else 0]
        wrong = next((loss for loss in losses if not math.isfinite(loss)), None)
        if wrong is None and not all(np.isfinite(values).all() for values in state):
            wrong = "a number too large for its weights"
        if wrong is not None:
            self.fail(f"the loss became {wrong} in epoch {epoch}")
            return
        row = {"epoch": epoch, "seconds": round(seconds, 3), "learning_rate": float(rate)}
        row |= {"loss": float(training[0]), "accuracy": float(training[1])}
        row |= {
            "validation_loss": float(validation[0]),
            "validation_accuracy": float(validation[1]),
        }
        self.history.rows.append(row)
        self.history.seconds = self.seconds
        try:
            self.run.write_history(self.history)
            save_checkpoint(self.run.folder, self.history, state)
        except UserError as error:  # worth a warning, not the training: it is written again later
            if not self.warned:
                print(f"warning: {error}; training goes on", file=sys.stderr)
            self.warned = True
        if not self.bar:
            self.run.say(epoch_line(row, self.run.args.epochs))

    def fail(self, what: str) -> None:
        """End training, with the weights of the last good epoch where there is one."""
        advice = f"lower --learning-rate (it was {self.run.args.learning_rate:g})"
        kept = "there was no good epoch before it"
        if checkpoint := load_checkpoint(self.run.folder):
            self.write(checkpoint.state)
            last = len(checkpoint.history.rows)
            kept = f"the weights of epoch {last} are in {self.run.folder}"
        self.history.failure = f"{what}: {advice}; {kept}"


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


def fit_by_hand(network, batches: Batches, dataset: Dataset, recorder: Recorder) -> None:
    """Train a `DenseNetwork`: what Keras's `fit` does, spelled out."""
    run, args = recorder.run, recorder.run.args
    schedule = Schedule(args.schedule, args.learning_rate, args.epochs * len(batches))
    for epoch in range(recorder.go_on(network.state, network.restore), args.epochs):
        began = time.perf_counter()
        batches.start_epoch(epoch)
        sums = np.zeros(2)  # of the images' cross-entropies, and of those taken for what they are
        for number in range(len(batches)):
            images, labels = batches[number]
            rate = schedule(epoch * len(batches) + number)
            seed = (run.seed, DROPOUT, epoch, number)
            with np.errstate(over="ignore", invalid="ignore"):  # the recorder tells it better
                sums += len(labels) * np.array(network.train_step(images, labels, rate, seed))
            if recorder.must_stop and number + 1 < len(batches):
                return  # the epoch was cut short, so its numbers stand for nothing
        seconds = time.perf_counter() - began
        measured = [sums / len(dataset.train_labels)]
        if len(dataset.validation_labels):
            measured.append(network.evaluate(dataset.validation_images, dataset.validation_labels))
        recorder.record(seconds, schedule((epoch + 1) * len(batches)), *measured)
        if recorder.must_stop:
            return
