"""Random variations of training images, a whole batch at a time.

NumPy on raw pixels: the same on every Keras backend, repeatable from a generator's seed, and
cheap enough to hide behind the training step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.options import UserError

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def augment(
    images: np.ndarray,
    generator: np.random.Generator,
    *,
    flip: bool = False,
    shift: int = 0,
    rotation: float = 0,
    zoom: float = 0,
    erase: int = 0,
) -> np.ndarray:
    """A varied copy of `images`, uint8 (n, height, width); every image gets its own variation.

    flip: mirror half of the images left to right
    shift: move by up to so many whole pixels, vertically and horizontally
    rotation: turn by up to so many degrees
    zoom: enlarge or shrink by up to this share, 0.1 for 10 %
    erase: black out a square of so many pixels in half of the images (random erasing, or cutout:
        https://arxiv.org/abs/1708.04552)

    What moves in from outside is black.
    """
    images = images.copy()
    count, height, width = images.shape
    if flip:
        chosen = generator.random(count) < 0.5
        images[chosen] = images[chosen, :, ::-1]
    if rotation or zoom:
        images = rotate_and_zoom(images, generator, rotation, zoom)
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
    *, flip: bool, shift: int, rotation: float, zoom: float, erase: int
) -> Augmentation:
    """The same variations, but for erasing, by Keras's `ImageDataGenerator`, an image at a time.

    Deprecated and slow, but what most tutorials use; only Keras's TensorFlow backend has it.
    Raises UserError where it is missing, and for `erase`.
    """
    if erase:
        raise UserError("ImageDataGenerator cannot erase: use --erase 0, or --augmenter numpy")
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


def rotate_and_zoom(
    images: np.ndarray, generator: np.random.Generator, rotation: float, zoom: float
) -> np.ndarray:
    """`images`, uint8 (n, height, width), turned and scaled about their centres, bilinearly."""
    count, height, width = images.shape
    angle = np.deg2rad(generator.uniform(-rotation, rotation, (count, 1, 1)))
    scale = 1 / generator.uniform(1 - zoom, 1 + zoom, (count, 1, 1))

    # For every pixel of the result, the place in the original that it is taken from ...
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    source_y = scale * (np.cos(angle) * y - np.sin(angle) * x) + (height - 1) / 2
    source_x = scale * (np.sin(angle) * y + np.cos(angle) * x) + (width - 1) / 2

    # ... which lies between four pixels. A black frame of two serves all that lie outside.
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.float32)
    source_y = np.clip(source_y + 2, 0, height + 2)
    source_x = np.clip(source_x + 2, 0, width + 2)
    top, left = source_y.astype(int), source_x.astype(int)
    down, right = source_y - top, source_x - left
    image = np.arange(count)[:, None, None]
    mixed = (
        padded[image, top, left] * (1 - down) * (1 - right)
        + padded[image, top, left + 1] * (1 - down) * right
        + padded[image, top + 1, left] * down * (1 - right)
        + padded[image, top + 1, left + 1] * down * right
    )
    return np.rint(mixed).astype(np.uint8)
