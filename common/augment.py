"""Random variations of training images, a whole batch at a time, in NumPy on raw pixels.

The same on every Keras backend, repeatable from a seed, and faster than the training step.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from common.errors import UserError

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

VARIATIONS = ("flip", "shift", "rotation", "zoom", "elastic", "erase")


def choose_augmentation(options: dict) -> Augmentation | None:
    """What the options ask for: strengths of `VARIATIONS`, `augmenter` numpy, keras or none."""
    strengths = {name: options[name] for name in VARIATIONS if options.get(name)}
    augmenter = options.get("augmenter", "numpy")
    if not strengths or augmenter == "none":
        return None
    return keras_generator(**strengths) if augmenter == "keras" else partial(augment, **strengths)


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
    """A randomly varied copy of `images`, uint8 (n, height, width), each in its own way.

    Half of the images are flipped left to right; each is shifted by up to so many whole pixels,
    rotated by up to so many degrees and zoomed by up to a fraction. elastic: standard deviation in
    pixels of an elastic distortion (https://doi.org/10.1109/ICDAR.2003.1227801). erase: side of a
    black square in half of the images (https://arxiv.org/abs/1708.04552). Outside, all is black.
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


def keras_generator(*, flip=False, shift=0, rotation=0.0, zoom=0.0) -> Augmentation:
    """Variations by Keras's `ImageDataGenerator`, one image at a time; its zoom also stretches.

    Deprecated and slow, but in most tutorials. UserError without TensorFlow.
    """
    try:
        from tensorflow.keras.preprocessing.image import ImageDataGenerator
    except ImportError as error:
        raise UserError(f"--augmenter keras needs TensorFlow: {error}") from error
    pixels = list(range(-shift, shift + 1))  # from a list, the generator draws whole pixels
    generator = ImageDataGenerator(
        horizontal_flip=flip,
        height_shift_range=pixels,
        width_shift_range=pixels,
        rotation_range=rotation,
        zoom_range=zoom,
        fill_mode="constant",
    )

    def vary(images: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
        seeds = numbers.integers(0, 2**31, len(images)).tolist()
        varied = list(map(generator.random_transform, images[..., None], seeds))
        return np.rint(varied)[..., 0].astype(np.uint8)

    return vary


def predict(model, images: np.ndarray, test_flip: bool = False) -> np.ndarray:
    """Logits (n, 10) of images, uint8 (n, 28, 28).

    `test_flip`: averaged with those of the mirror images (https://arxiv.org/abs/1409.1556, 3.2).
    """
    logits = model.predict(images, batch_size=1000, verbose=0)
    if test_flip:
        mirrored = np.ascontiguousarray(images[:, :, ::-1])  # PyTorch takes no negative strides
        logits = (logits + model.predict(mirrored, batch_size=1000, verbose=0)) / 2
    return logits


def augmentation_examples(
    images: np.ndarray, labels: np.ndarray, augmentation: Augmentation, seed: int
) -> dict[str, np.ndarray]:
    """The first image of each class, and augmented copies of it, under these names:

    originals, uint8 (n, 28, 28); varied, uint8 (n, 7, 28, 28); labels, (n,).
    """
    classes, firsts = np.unique(labels, return_index=True)
    originals = images[firsts]
    generator = np.random.default_rng(seed)
    varied = [augmentation(originals, generator) for _ in range(7)]
    return {"originals": originals, "varied": np.stack(varied, axis=1), "labels": classes}


def warp(images, generator, rotation=0.0, zoom=0.0, elastic=0.0) -> np.ndarray:
    """Rotation, zoom and elastic distortion, as in `augment`, in one bilinear interpolation."""
    count, height, width = images.shape
    angle = np.deg2rad(generator.uniform(-rotation, rotation, (count, 1, 1)))
    scale = 1 / generator.uniform(1 - zoom, 1 + zoom, (count, 1, 1))
    cosine, sine = np.float32(scale * np.cos(angle)), np.float32(scale * np.sin(angle))

    # For each output pixel, the position in the original that it is taken from ...
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    source_y = cosine * y - sine * x + (height - 1) / 2
    source_x = sine * y + cosine * x + (width - 1) / 2
    if elastic:
        source_y += elastic * smooth_noise(generator, images.shape)
        source_x += elastic * smooth_noise(generator, images.shape)

    # ... between four pixels. A black frame of two pixels stands for all outside.
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    source_y = np.clip(source_y + 2, 0, height + 2)
    source_x = np.clip(source_x + 2, 0, width + 2)
    top, left = source_y.astype(np.int32), source_x.astype(np.int32)
    down, right = source_y - top, source_x - left
    frame = width + 4
    image = np.arange(count, dtype=np.int32)[:, None, None] * ((height + 4) * frame)
    corner = image + top * frame + left

    def across(corner: np.ndarray) -> np.ndarray:
        """Interpolate between the pixels at `corner` and to the right of it."""
        here = padded.take(corner).astype(np.float32)
        return here + right * (padded.take(corner + 1) - here)

    above = across(corner)
    return np.rint(above + down * (across(corner + frame) - above)).astype(np.uint8)


def smooth_noise(generator: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth noise of mean 0 and variance 1: float32 of `shape` (n, height, width).

    Normal numbers on a grid of 4 pixels, interpolated: cheaper than blurring one number a pixel.
    """
    (count, *sides), width = shape, 4
    bases = []
    for side in sides:
        centres = np.arange(-width, side + 2 * width, width)
        weights = np.exp(-(((np.arange(side)[:, None] - centres) / width) ** 2) / 2)
        bases.append(np.float32(weights / np.linalg.norm(weights, axis=1, keepdims=True)))
    rows, columns = bases
    coarse = generator.standard_normal((count, rows.shape[1], columns.shape[1]), np.float32)
    return rows @ (coarse @ columns.T)
