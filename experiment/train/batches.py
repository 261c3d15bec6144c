"""Batches of training images and the learning rate, both functions of seed and step alone."""

import math
from argparse import Namespace
from dataclasses import dataclass

import numpy as np

from common.augment import Augmentation
from common.data.dataset import Dataset
from common.errors import UserError
from experiment.backend.device import NUMPY_DEVICE, Device

# Streams of random numbers of a run's seed; the seed alone, stream 0, splits the data.
SHUFFLING, AUGMENTATION, DROPOUT = 1, 2, 3


@dataclass
class Batches:
    """The training images in batches, shuffled anew every epoch and augmented.

    All randomness comes from (seed, stream, epoch, batch): there is no state to lose. Several
    devices share each batch evenly; an epoch leaves out the few images at its end that they cannot
    share. Raises UserError where they cannot share a whole batch.
    """

    data: Dataset
    batch_size: int | str  # a number of images, or "all"
    seed: int
    augmentation: Augmentation | None = None
    device: Device = NUMPY_DEVICE

    def __post_init__(self) -> None:
        """Begin with the first epoch."""
        self.images, self.labels = self.data.train_images, self.data.train_labels
        devices, wanted = self.device.count, self.batch_size
        self.images_per_epoch = len(self.images) // devices * devices
        self.batch_size = self.images_per_epoch if wanted == "all" else wanted
        if self.batch_size % devices or not self.images_per_epoch:
            advice = f"try --batch-size {max(self.batch_size // devices, 1) * devices}"
            problem = f"{devices} devices cannot share {wanted} images evenly"
            raise UserError(f"{problem}: {advice}, or other --devices", status=2)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch, counted from 0."""
        self.epoch = epoch
        generator = np.random.default_rng((self.seed, SHUFFLING, epoch))
        self.order = generator.permutation(len(self.images))[: self.images_per_epoch]

    def __len__(self) -> int:
        return math.ceil(self.images_per_epoch / self.batch_size)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch's images and labels; of several processes, this one's part of them."""
        chosen = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        images = self.images[chosen]
        if self.augmentation:
            generator = np.random.default_rng((self.seed, AUGMENTATION, self.epoch, batch))
            images = self.augmentation(images, generator)
        size = len(chosen) // self.device.processes
        part = slice(self.device.process * size, (self.device.process + 1) * size)
        return images[part], self.labels[chosen[part]]

    def dropout_seed(self, batch: int) -> tuple[int, ...]:
        """What a network from scratch draws a batch's dropout from."""
        return (self.seed, DROPOUT, self.epoch, batch)


@dataclass
class Schedule:
    """The learning rate at every step.

    "cosine" rises linearly for a fifth of the steps and falls to zero along half a cosine
    (https://arxiv.org/abs/1608.03983, and about as in https://arxiv.org/abs/1708.07120). "linear"
    rises for a tenth, and falls along a line.
    """

    name: str  # "constant", "linear" or "cosine"
    highest: float
    steps: int

    def __call__(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if self.name == "constant":
            return self.highest
        warm_up = self.steps // (10 if self.name == "linear" else 5)
        if step < warm_up:
            return self.highest * (0.05 + 0.95 * step / warm_up)
        falling = (step - warm_up) / (self.steps - warm_up)
        if self.name == "linear":
            return self.highest * (1 - falling)
        return self.highest * (1 + math.cos(math.pi * falling)) / 2


def schedule_of(args: Namespace, steps_per_epoch: int) -> Schedule:
    """The schedule that the options name."""
    steps = max(1, args.epochs * steps_per_epoch)  # an untrained network has a schedule, too
    return Schedule(args.schedule, args.learning_rate, steps)
