"""Digits that are not MNIST's, and pictures of them: the bytes of their files."""

from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.digit_pictures import WHITE, Generator, encoded, painted, placed
from tools.handwriting.form import BOX, CENTRE, SIDE

DEVELOPED_ON = 900  # so many of scikit-learn's digits come first, and are not reported
Resampling = Image.Resampling


def other_hands() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's `load_digits`: uint8 (1797, 8, 8), 0 to 255, and what they are.

    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998. Each digit
    was stretched to 32 x 32 pixels, of which every 4 x 4 became one: it touches the edges.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.rint(digits.images * 255 / 16).astype(np.uint8), digits.target


def enlarged(
    digit: np.ndarray, generator: Generator, times: int, how: Resampling, light: bool, margin: float
) -> bytes:
    """A small image `times` as large, ink light or dark; the margin is a fraction of its side."""
    side = times * len(digit)
    ink = np.asarray(Image.fromarray(digit).resize((side, side), how), np.float32) / 255
    ink = np.pad(ink, round(margin * side))
    return encoded(ink if light else 1 - ink)


def centred(digit: np.ndarray) -> np.ndarray:
    """A small image as a box of 20 x 20 pixels, its centre of mass in the middle of 28 x 28."""
    box = np.asarray(Image.fromarray(digit).resize((BOX, BOX), Resampling.BICUBIC))
    corner = [round(CENTRE - 0.5 - centre) for centre in ndimage.center_of_mass(box)]
    top, left = np.clip(corner, 0, SIDE - BOX)
    form = np.zeros((SIDE, SIDE), np.uint8)
    form[top : top + BOX, left : left + BOX] = box
    return form


def thick_one_with_a_flag(_: np.ndarray, generator: Generator) -> bytes:
    """A 1 of a thick pen with its upstroke, as in much of Europe; not made from a digit."""
    size, scale = generator.integers(150, 400), 4
    slant, length, steepness = generator.uniform((-0.1, 0.15, 0.7), (0.25, 0.4, 1.3))
    points = np.array([(-length, steepness * length), (0, 0), (-slant, 1)]) * size * scale
    pen = generator.uniform(0.1, 0.22) * size * scale
    points += pen - points.min(axis=0)
    image = Image.new("L", tuple(np.ceil(np.ptp(points, axis=0) + 2 * pen).astype(int)))
    draw = ImageDraw.Draw(image)
    draw.line([tuple(point) for point in points], fill=255, width=round(pen), joint="curve")
    for x, y in points:
        draw.circle((x, y), pen / 2, fill=255)
    ink = np.asarray(image.reduce(scale), np.float32) / 255
    sheet = placed(ink, 600, 800, generator)
    return encoded(painted(sheet, generator.uniform(0, 0.4, 3), WHITE - 0.06), "JPEG", quality=85)


KINDS: dict[str, Callable[[np.ndarray, Generator], bytes]] = {
    f"8 x 8, {name}, {'light on dark' if light else 'dark on light'}": partial(
        enlarged, times=times, how=how, light=light, margin=margin
    )
    for name, times, how, margin in (
        ("10x", 10, Resampling.BICUBIC, 0),
        ("20x", 20, Resampling.BILINEAR, 0),
        ("30x", 30, Resampling.LANCZOS, 0),
        ("margin", 20, Resampling.BICUBIC, 0.4),
    )
    for light in (False, True)
}
