"""A dataset as arrays: its split into training and validation images, and its normalised pixels."""

from dataclasses import dataclass, field, replace

import numpy as np

from common.errors import UserError

# Of the 10,000 test images of MNIST, those whose label a majority of five people did not confirm
# (Northcutt, Athalye and Mueller, 2021, arXiv:2103.14749; data: github.com/cleanlab/label-errors).
UNCONFIRMED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937)
UNCONFIRMED += (6651, 6783, 8527, 9679, 9729)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Images uint8 (n, 28, 28), 0 black to 255 white, and labels uint8 (n,), 0 to 9."""

    name: str  # "mnist" or "fashion_mnist"
    title: str  # "MNIST", "Fashion-MNIST"; ends in "(synthetic)" for stand-ins
    class_names: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray = field(default_factory=lambda: np.zeros((0, 28, 28), np.uint8))
    validation_labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str  # the folder or file it was read from, for people
    fingerprint: str  # SHA-256 of the four IDX files' SHA-256: the same whatever the container
    synthetic: bool
    seconds: float = 0  # that loading took

    @property
    def unconfirmed(self) -> tuple[int, ...]:
        """The numbers, from 0, of the test images whose label people did not confirm."""
        return UNCONFIRMED if self.name == "mnist" and not self.synthetic else ()

    def split(self, validation: float, seed: int, images: int | str = "all") -> "Dataset":
        """This dataset with the fraction `validation` of its training images held out.

        Only so many `images` are used, validation included. Both parts are stratified by class and
        keep their order; a seed gives the same images again. Raises ValueError for a fraction
        outside [0, 1), UserError if no image is left to train on or `images` are too many.
        """
        if not 0 <= validation < 1:
            raise ValueError(f"validation is {validation}; it must be at least 0 and below 1")
        if images == "all" and not validation:
            return self  # the images once in memory, not twice
        labels, used = self.train_labels, np.arange(len(self.train_labels))
        if images != "all":
            if images > len(labels):
                raise UserError(f"--images {images} is more than the {len(labels)} there are")
            used = _stratified_indices(labels, images / len(labels), seed)
        held_out = _stratified_indices(labels[used], validation, seed)
        if len(held_out) == len(used):
            raise UserError(f"--validation {validation} leaves no image to train on: lower it")
        training, held_out = np.delete(used, held_out), used[held_out]
        return replace(
            self,
            train_images=self.train_images[training],
            train_labels=labels[training],
            validation_images=self.train_images[held_out],
            validation_labels=labels[held_out],
        )


def _stratified_indices(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """round(fraction * n) sorted indices, stratified by class by the largest remainder method."""
    classes, counts = np.unique(labels, return_counts=True)
    exact = fraction * counts
    takes = np.floor(exact).astype(np.int64)
    left_over = round(fraction * len(labels)) - takes.sum()
    takes[np.argsort(takes - exact, kind="stable")[:left_over]] += 1
    generator = np.random.default_rng(seed)
    shuffled = [generator.permutation(np.flatnonzero(labels == label)) for label in classes]
    return np.sort(np.concatenate([s[:take] for s, take in zip(shuffled, takes, strict=True)]))


def normalise(images: np.ndarray) -> np.ndarray:
    """uint8 pixels as float32 from 0 to 1, as Keras's Rescaling; ValueError for other pixels."""
    if images.dtype != np.uint8:  # so that nobody normalises twice
        raise ValueError(f"pixels are {images.dtype}; only uint8 pixels are to be normalised")
    return images.astype(np.float32) * np.float32(1 / 255)
