"""People's pictures of digits and garments, brought into the form that the networks have learnt.

MNIST: a digit fits a box of 20 x 20 pixels with its aspect kept, grey where the scaling smooths its
edges, and is moved so that its centre of mass is the centre of 28 x 28 pixels
(http://yann.lecun.com/exdb/mnist/).

Fashion-MNIST: the margin trimmed, the longer side resized to 28 pixels, the shorter one extended
with the garment in the middle, brightness negated (arXiv:1708.07747, section 2).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from tools.handwriting.ink import (
    EIGHT_NEIGHBOURS,
    Box,
    NothingFoundError,
    digits_of,
    frame,
    ink_of,
    smooth_surface,
    strong_ink,
)
from tools.handwriting.pictures import luminance, resized

SIDE, BOX = 28, 20  # pixels of an image, and of the box that a digit fits
CENTRE = 14  # the row and column where the centre of mass of MNIST's digits is
# A sheet on a table fills so much of the picture, and of its convex hull, less the digit on it.
SHEET_SHARE, SHEET_SOLIDITY = 0.15, 0.9
CROP_SIDE = 160  # of a digit while its strokes are measured and thickened
LEAST_STROKE, USUAL_STROKE = 1.7, 2.2  # widths in pixels of a 28 x 28 image


@dataclass(frozen=True, eq=False)
class Found:
    """A digit or garment: where it was, what it looked like alone, and what the network gets."""

    box: Box
    cut_out: np.ndarray  # float32 (h, w), 0 background to 1
    form: np.ndarray  # uint8 (28, 28), as in the data set


@dataclass(frozen=True, eq=False)
class Reading:
    """What a picture became, step by step."""

    picture: np.ndarray  # float32 (h, w, 3), 0 to 1
    steps: tuple[tuple[str, np.ndarray], ...]  # what was done, and the float32 (h, w) it gave
    found: tuple[Found, ...]  # from left to right


def read_digits(picture: np.ndarray) -> Reading:
    """The digits on a picture, float32 (h, w, 3) from 0 to 1, from left to right.

    Raises NothingFoundError for an empty picture.
    """
    if is_mnist_like(picture):
        return _as_it_is(picture)
    ink = ink_of(picture)
    strong = strong_ink(ink)
    digits = digits_of(strong)
    if len(digits) == 1 and _is_sheet(digits[0][1], strong.size):
        with contextlib.suppress(NothingFoundError):  # then it is a 1, or fat, after all
            return _inside(*digits[0], picture)
    steps = (("paper and shadow removed", np.clip(ink, 0, 1)), ("ink", strong))
    return Reading(picture, steps, tuple(_digit(box, own) for box, own in digits))


def solidity(ink: np.ndarray) -> float:
    """The share of its convex hull that a shape (h, w) fills: most of a sheet's, half of a 2's."""
    points = np.argwhere(resized(ink, 64) > 0.3)
    if np.ptp(points, axis=0).min(initial=64) < 3:
        return 1.0
    return len(points) / ConvexHull(points).volume


def _is_sheet(ink: np.ndarray, picture_size: int) -> bool:
    """Whether a shape (h, w) is not a digit but a sheet, in a picture of so many pixels."""
    large = np.count_nonzero(ink > 0.3) > SHEET_SHARE * picture_size  # a 1 is solid, too
    return large and solidity(ink) > SHEET_SOLIDITY


def _inside(box: Box, ink: np.ndarray, picture: np.ndarray) -> Reading:
    """The digits on a sheet, which is the ink (h, w) in the box; its rim is left out."""
    rim = 0.02 * max(ink.shape)
    depth = ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(ink > 0.3), 1))
    sheet = depth[1:-1, 1:-1] > rim
    around = smooth_surface(picture[box], sheet)
    reading = read_digits(np.where(sheet[..., None], picture[box], around).astype(np.float32))

    def moved(inner: Box) -> Box:
        return tuple(
            slice(side.start + outer.start, side.stop + outer.start)
            for side, outer in zip(inner, box, strict=True)
        )

    found = tuple(replace(digit, box=moved(digit.box)) for digit in reading.found)
    return replace(reading, picture=picture, found=found)


def is_mnist_like(picture: np.ndarray) -> bool:
    """Whether a picture is 28 x 28, grey, and a digit centred as in MNIST on black."""
    if picture.shape[:2] != (SIDE, SIDE) or np.ptp(picture, axis=2).max() > 0.02:
        return False
    grey = picture[..., 0]
    rows, columns = np.nonzero(grey > 0.1)
    if not len(rows) or np.median(frame(grey)) > 0.02:
        return False
    centre = np.array(ndimage.center_of_mass(grey))
    fits = max(np.ptp(rows), np.ptp(columns)) < BOX + 1
    return bool(fits and np.abs(centre - CENTRE).max() < 1.5)


def _as_it_is(picture: np.ndarray) -> Reading:
    grey = picture[..., 0]
    form = np.rint(255 * grey).astype(np.uint8)
    found = Found((slice(0, SIDE), slice(0, SIDE)), grey, form)
    return Reading(picture, (), (found,))


def _digit(box: Box, ink: np.ndarray) -> Found:
    """A digit's own ink (h, w) in its box, as MNIST would have it."""
    drawn = thickened(resized(ink, min(CROP_SIDE, max(ink.shape))))
    scaled = resized(drawn, BOX, Image.Resampling.BICUBIC)
    scaled = np.clip(scaled / max(np.percentile(scaled[scaled > 0.1], 90), 0.5), 0, 1)
    form = np.zeros((SIDE, SIDE), np.float32)
    top, left = (
        int(np.clip(round(CENTRE - centre), 0, SIDE - size))
        for centre, size in zip(ndimage.center_of_mass(scaled), scaled.shape, strict=True)
    )
    form[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return Found(box, drawn, np.rint(255 * form).astype(np.uint8))


def thickened(ink: np.ndarray) -> np.ndarray:
    """The ink (h, w) of a digit with strokes as wide as MNIST's pens drew, where they are finer."""
    scale = max(ink.shape) / BOX
    missing = (USUAL_STROKE * scale - stroke_width(ink)) / 2
    if stroke_width(ink) >= LEAST_STROKE * scale or missing < 0.5:
        return ink
    radius = round(missing)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = x * x + y * y <= radius * radius + radius  # rounder than without the last term
    return ndimage.grey_dilation(np.pad(ink, radius), footprint=disk)


def stroke_width(ink: np.ndarray) -> float:
    """The mean width of strokes (h, w), in pixels; 0 without any.

    Across a stroke of width w the distance to its edge rises from 0 to w / 2: w / 4 in the mean.
    """
    distance = ndimage.distance_transform_edt(np.pad(ink > 0.5, 1))
    inside = distance[distance > 0]
    # From the middle of a pixel it is half a pixel less to the edge than to the next pixel.
    return float(max(4 * (inside.mean() - 0.5), 1)) if inside.size else 0.0


def read_garment(picture: np.ndarray) -> Reading:
    """The garment on a picture, float32 (h, w, 3) from 0 to 1, before a plain background.

    Raises NothingFoundError where there is only background.
    """
    grey = luminance(picture)
    corners = grey[[0, 0, -1, -1], [0, -1, 0, -1]]
    if grey.shape == (SIDE, SIDE) and np.median(corners) < 0.03:
        return _as_it_is(np.stack([grey] * 3, axis=-1))
    edge = np.zeros(grey.shape, bool)
    edge[:] = True
    margin = max(1, round(0.04 * max(grey.shape)))
    edge[margin:-margin, margin:-margin] = False
    background = smooth_surface(picture, edge)
    difference = np.abs(picture - background).max(axis=-1)
    noise = 1.4826 * np.median(difference[edge])
    # As in Fashion-MNIST, where background is what is within 5 % of the corners' colour.
    mask = difference > max(0.05, 4 * noise)
    mask = ndimage.binary_opening(mask, iterations=max(1, round(max(grey.shape) / 400)))
    pieces, count = ndimage.label(mask, EIGHT_NEIGHBOURS)
    if not count:
        raise NothingFoundError("there is nothing on it but background")
    sizes = np.bincount(pieces.ravel())[1:]
    large = np.flatnonzero(sizes > 0.1 * sizes.max()) + 1
    mask = ndimage.binary_fill_holes(np.isin(pieces, large))
    level = luminance(background.astype(np.float32))
    values = np.abs(grey - level) / np.maximum(level, 1 - level)
    values = np.where(mask, np.clip(values, 0, 1), 0).astype(np.float32)
    (box,) = ndimage.find_objects(mask.astype(int))
    cut_out = values[box]
    scaled = np.clip(resized(cut_out, SIDE, Image.Resampling.LANCZOS), 0, 1)
    form = np.zeros((SIDE, SIDE), np.float32)
    top, left = ((SIDE - size) // 2 for size in scaled.shape)
    form[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    found = Found(box, cut_out, np.rint(255 * form).astype(np.uint8))
    return Reading(picture, (("background removed", values),), (found,))
