"""Random variations of training images, a whole batch at a time.

NumPy on raw pixels: the same on every Keras backend, repeatable from a generator's seed, and
cheap enough to hide behind the training step.
"""

from __future__ import annotations

from argparse import BooleanOptionalAction, Namespace
from collections.abc import Callable
from functools import partial

import numpy as np

from common.errors import UserError
from experiment.options import number, whole_number

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# The options that say how `augment` varies images.
OPTIONS = {
    "flip": {
        "action": BooleanOptionalAction,
        "help": "mirror half of the images left to right (%(default)s)",
    },
    "shift": {
        "type": whole_number(0, 14),
        "metavar": "PIXELS",
        "help": "move training images by up to so many pixels (%(default)s)",
    },
    "rotation": {
        "type": number(0, below=181),
        "metavar": "DEGREES",
        "help": "turn by up to so many degrees (%(default)s)",
    },
    "zoom": {
        "type": number(0, below=1),
        "metavar": "SHARE",
        "help": "enlarge or shrink by up to this share (%(default)s)",
    },
    "elastic": {
        "type": number(0, below=14),
        "metavar": "PIXELS",
        "help": "bend, so that pixels move by about so many pixels (%(default)s)",
    },
    "erase": {
        "type": whole_number(0, 28),
        "metavar": "PIXELS",
        "help": "black out a square of this side in half of the images (%(default)s)",
    },
}


def add_augmentation_options(add: Callable, *names: str) -> None:
    """Add the options of these variations; the recipes hold their defaults."""
    for name in names:
        add(f"--{name}", **OPTIONS[name])


def strengths(args: Namespace) -> dict:
    """How strong each variation is that the options ask for."""
    return {name: vars(args)[name] for name in OPTIONS if vars(args).get(name)}


def choose_augmentation(args: Namespace) -> Augmentation | None:
    """What varies each batch of training images as the options say, or None."""
    chosen = strengths(args)
    return partial(augment, **chosen) if chosen else None


def augment(
    images: np.ndarray,
    generator: np.random.Generator,
    *,
    flip: bool = False,
    shift: int = 0,
    rotation: float = 0,
    zoom: float = 0,
    elastic: float = 0,
    erase: int = 0,
) -> np.ndarray:
    """A varied copy of `images`, uint8 (n, height, width); every image gets its own variation.

    flip: mirror half of the images left to right
    shift: move by up to so many whole pixels, vertically and horizontally
    rotation: turn by up to so many degrees
    zoom: enlarge or shrink by up to this share, 0.1 for 10 %
    elastic: bend, by moving every pixel a little differently from its neighbours: in each direction
        by so many pixels as standard deviation (https://doi.org/10.1109/ICDAR.2003.1227801)
    erase: black out a square of so many pixels in half of the images (random erasing, or cutout:
        https://arxiv.org/abs/1708.04552)

    What moves in from outside is black.
    """
    images = images.copy()
    count, height, width = images.shape
    if flip:
        chosen = generator.random(count) < 0.5
        images[chosen] = images[chosen, :, ::-1]
    if rotation or zoom or elastic:
        images = warp(images, generator, rotation, zoom, elastic)
    if shift:
        padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift)))
        rows = generator.integers(0, 2 * shift + 1, (count, 1, 1)) + np.arange(height)[:, None]
        columns = generator.integers(0, 2 * shift + 1, (count, 1, 1)) + np.arange(width)
        images = padded[np.arange(count)[:, None, None], rows, columns]
    if erase:
        top = generator.integers(1 - erase, height, (count, 1, 1))
        left = generator.integers(1 - erase, width, (count, 1, 1))
        rows, columns = np.arange(height)[:, None], np.arange(width)
        square = (rows >= top) & (rows < top + erase) & (columns >= left) & (columns < left + erase)
        images[square & (generator.random((count, 1, 1)) < 0.5)] = 0
    return images


def keras_generator(
    *,
    flip: bool = False,
    shift: int = 0,
    rotation: float = 0,
    zoom: float = 0,
    **unknown: float,
) -> Augmentation:
    """The same variations, but for two, by Keras's `ImageDataGenerator`, an image at a time.

    Deprecated and slow, but what most tutorials use; only Keras's TensorFlow backend has it.
    Raises UserError where it is missing, and for `erase` and `elastic`.
    """
    for name in unknown:
        raise UserError(f"ImageDataGenerator cannot do --{name}: use --augmenter numpy")
    try:
        from tensorflow.keras.preprocessing.image import ImageDataGenerator
    except ImportError as error:
        raise UserError(f"--augmenter keras needs TensorFlow: {error}") from error
    generator = ImageDataGenerator(
        horizontal_flip=flip,
        # A whole number of pixels is the range that the generator draws whole numbers from.
        height_shift_range=list(range(-shift, shift + 1)),
        width_shift_range=list(range(-shift, shift + 1)),
        rotation_range=rotation,
        zoom_range=zoom,
        fill_mode="constant",
    )

    def vary(images: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        seeds = numbers.integers(0, 2**31, len(images))
        varied = [
            generator.random_transform(image[..., None], int(seed))[..., 0]
            for image, seed in zip(images, seeds, strict=True)
        ]
        return np.rint(varied).astype(np.uint8)

    return vary


def predict(model, images: np.ndarray, test_flip: bool = False) -> np.ndarray:
    """The logits (n, 10) that a model gives images uint8 (n, 28, 28).

    With `test_flip`, the mean of those of each image and of its mirror image: augmentation at test
    time (https://arxiv.org/abs/1409.1556, section 3.2).
    """
    logits = model.predict(images, batch_size=1000, verbose=0)
    if test_flip:
        mirrored = np.ascontiguousarray(images[:, :, ::-1])  # PyTorch reads none backwards
        logits = (logits + model.predict(mirrored, batch_size=1000, verbose=0)) / 2
    return logits


def augmentation_examples(
    images: np.ndarray, labels: np.ndarray, augmentation: Augmentation, seed: int, copies: int = 7
) -> dict[str, np.ndarray]:
    """The first image of each class that there is, and varied copies of it.

    `originals` is uint8 (classes, height, width), `varied` uint8 (classes, copies, height, width),
    and `labels` says of which classes.
    """
    classes, firsts = np.unique(labels, return_index=True)
    originals = images[firsts]
    generator = np.random.default_rng(seed)
    varied = [augmentation(originals, generator) for _ in range(copies)]
    return {"originals": originals, "varied": np.stack(varied, axis=1), "labels": classes}


def warp(
    images: np.ndarray,
    generator: np.random.Generator,
    rotation: float = 0,
    zoom: float = 0,
    elastic: float = 0,
) -> np.ndarray:
    """`images`, uint8 (n, height, width), turned and scaled about their centres, and bent.

    `rotation`, `zoom` and `elastic` are those of `augment`. Interpolation is bilinear.
    """
    count, height, width = images.shape
    angle = np.deg2rad(generator.uniform(-rotation, rotation, (count, 1, 1)))
    scale = 1 / generator.uniform(1 - zoom, 1 + zoom, (count, 1, 1))
    cosine, sine = np.float32(scale * np.cos(angle)), np.float32(scale * np.sin(angle))

    # For every pixel of the result, the place in the original that it is taken from ...
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    source_y = cosine * y - sine * x + (height - 1) / 2
    source_x = sine * y + cosine * x + (width - 1) / 2
    if elastic:
        source_y += elastic * smooth_noise(generator, images.shape)
        source_x += elastic * smooth_noise(generator, images.shape)

    # ... which lies between four pixels. A black frame of two serves all that lie outside.
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    source_y = np.clip(source_y + 2, 0, height + 2)
    source_x = np.clip(source_x + 2, 0, width + 2)
    top, left = source_y.astype(np.int32), source_x.astype(np.int32)
    down, right = source_y - top, source_x - left
    frame = width + 4
    image = np.arange(count, dtype=np.int32)[:, None, None] * ((height + 4) * frame)
    corner = image + top * frame + left

    def across(corner: np.ndarray) -> np.ndarray:
        """Between the pixels at `corner` and to its right."""
        here = padded.take(corner).astype(np.float32)
        return here + right * (padded.take(corner + 1) - here)

    above = across(corner)
    return np.rint(above + down * (across(corner + frame) - above)).astype(np.uint8)


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int, int], width: float = 4
) -> np.ndarray:
    """Noise, float32 of `shape`, of mean 0 and variance 1, that differs little over `width` pixels.

    Every value is a sum over normal numbers `width` pixels apart, weighted by a Gaussian of that
    standard deviation, which is nearly the same as blurring a number for each pixel, and cheaper.
    """
    count, *sides = shape
    bases = []
    for side in sides:
        centres = np.arange(-width, side + 2 * width, width)
        weights = np.exp(-(((np.arange(side)[:, None] - centres) / width) ** 2) / 2)
        bases.append(np.float32(weights / np.linalg.norm(weights, axis=1, keepdims=True)))
    rows, columns = bases
    coarse = generator.standard_normal((count, rows.shape[1], columns.shape[1]), np.float32)
    return rows @ (coarse @ columns.T)
