"""People's pictures of digits and garments, made like the images that the networks have learned.

MNIST: a digit fits a box of 20 x 20 pixels with its aspect kept, grey where the scaling smooths its
edges, and is shifted so that its centre of mass is the centre of 28 x 28 pixels
(http://yann.lecun.com/exdb/mnist/).

Fashion-MNIST: the margin trimmed, the longer side resized to 28 pixels, the shorter one extended
with the garment in the middle, brightness negated (arXiv:1708.07747, section 2).
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from tools.handwriting.ink import NothingFoundError, digits_of, ink_of, smooth_surface, strong_ink
from tools.handwriting.pictures import fit, luminance, rim
from tools.handwriting.sheet import sheet_of

SIDE, BOX = 28, 20  # pixels of an image, and of the box that a digit fits
SMALLER = 17  # pixels of a second box; other hands are wider, or write a 1 with an upstroke
CENTRE = 14  # the row and column where the centre of mass of MNIST's digits is
CROP_SIDE = 160  # of a digit while its strokes are measured and thickened
LEAST_STROKE, USUAL_STROKE = 1.7, 2.2  # widths in pixels of a 28 x 28 image


@dataclass(frozen=True, eq=False)
class Found:
    """A digit or garment: where it was, what it looked like alone, and what the network gets."""

    box: tuple[slice, slice]
    cut_out: np.ndarray  # float32 (h, w), 0 background to 1
    forms: np.ndarray  # uint8 (n, 28, 28), as large as in the data set; digits also smaller
    at_the_edge: bool = False  # whether it touches the edge of the picture or the sheet


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
    for either in (picture, 1 - picture):
        if is_mnist_like(either):
            return _unchanged(picture, either[..., 0])
    sheet = sheet_of(picture)
    if sheet is not None:
        with contextlib.suppress(NothingFoundError):  # it was no sheet
            return _on_paper(picture, sheet)
    return _on_paper(picture, np.ones(picture.shape[:2], bool))


def _on_paper(picture: np.ndarray, sheet: np.ndarray) -> Reading:
    """The digits on the sheet, which pixels of it bool (h, w) tells."""
    (place,) = ndimage.find_objects(sheet.astype(int))
    # Beyond the sheet, its paper goes on.
    nearest = ndimage.distance_transform_edt(~sheet, return_distances=False, return_indices=True)
    paper = picture[tuple(nearest)][place]
    ink = ink_of(paper, is_sheet=not sheet.all())
    strong = strong_ink(ink)
    steps = () if sheet.all() else (("the sheet", np.where(sheet, luminance(picture), 0)),)
    steps += (("paper and shadow removed", np.clip(ink, 0, 1)), ("ink", strong))
    inner = ndimage.binary_erosion(sheet)[place]
    found = []
    for box, own in digits_of(strong):
        at_the_edge = bool((own[~inner[box]] > 0.3).any())
        sides = zip(box, place, strict=True)
        box = tuple(slice(s.start + outer.start, s.stop + outer.start) for s, outer in sides)
        drawn = thickened(fit(own, min(CROP_SIDE, max(own.shape))))
        forms = np.stack([_form(drawn, size) for size in (BOX, SMALLER)])
        found.append(Found(box, drawn, forms, at_the_edge))
    return Reading(picture, steps, tuple(found))


def is_mnist_like(picture: np.ndarray) -> bool:
    """Whether a picture is 28 x 28, grey, and a digit centred as in MNIST on black."""
    if picture.shape[:2] != (SIDE, SIDE) or np.ptp(picture, axis=2).max() > 0.02:
        return False
    grey = picture[..., 0]
    rows, columns = np.nonzero(grey > 0.1)
    if not len(rows) or np.median(grey[rim(grey.shape)]) > 0.02:
        return False
    off_centre = np.abs(np.array(ndimage.center_of_mass(grey)) - CENTRE).max()
    return bool(max(np.ptp(rows), np.ptp(columns)) <= BOX and off_centre < 1.5)


def _unchanged(picture: np.ndarray, grey: np.ndarray) -> Reading:
    """A picture that has the data set's form already."""
    form = np.rint(255 * grey).astype(np.uint8)
    return Reading(picture, (), (Found((slice(0, SIDE), slice(0, SIDE)), grey, form[None]),))


def _form(drawn: np.ndarray, size: int) -> np.ndarray:
    """A digit's own ink (h, w) as in MNIST, in a box of `size` pixels: uint8 (28, 28)."""
    scaled = fit(drawn, size, Image.Resampling.BICUBIC)
    scaled = np.clip(scaled / max(np.percentile(scaled[scaled > 0.1], 90), 0.5), 0, 1)
    return _placed(scaled, [CENTRE - centre for centre in ndimage.center_of_mass(scaled)])


def _placed(scaled: np.ndarray, corner: Sequence[float]) -> np.ndarray:
    """An image, 0 to 1, with its upper left corner there on black: uint8 (28, 28)."""
    form = np.zeros((SIDE, SIDE), np.uint8)
    height, width = scaled.shape
    top, left = np.clip(np.rint(corner).astype(int), 0, (SIDE - height, SIDE - width))
    form[top : top + height, left : left + width] = np.rint(255 * scaled)
    return form


def thickened(ink: np.ndarray) -> np.ndarray:
    """The ink (h, w) of a digit with strokes as wide as MNIST's, where they are finer."""
    scale, width = max(ink.shape) / BOX, stroke_width(ink)
    missing = (USUAL_STROKE * scale - width) / 2
    if width >= LEAST_STROKE * scale or missing < 0.5:
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
    if grey.shape == (SIDE, SIDE) and np.median(grey[:: SIDE - 1, :: SIDE - 1]) < 0.03:
        return _unchanged(picture, grey)
    margin = rim(grey.shape, 0.04)
    background = smooth_surface(picture, margin)
    difference = np.abs(picture - background).max(axis=-1)
    noise = 1.4826 * np.median(difference[margin])
    # As in Fashion-MNIST, where background is what is within 5 % of the corners' colour.
    mask = difference > max(0.05, 4 * noise)
    mask = ndimage.binary_opening(mask, iterations=max(1, round(max(grey.shape) / 400)))
    if not mask.any():
        raise NothingFoundError("there is nothing on it but background")
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # the background
    mask = ndimage.binary_fill_holes((sizes > 0.1 * sizes.max())[pieces])
    level = luminance(background.astype(np.float32))
    values = np.abs(grey - level) / np.maximum(level, 1 - level)
    values = np.where(mask, np.clip(values, 0, 1), 0).astype(np.float32)
    (box,) = ndimage.find_objects(mask.astype(int))
    scaled = np.clip(fit(values[box], SIDE, Image.Resampling.LANCZOS), 0, 1)
    form = _placed(scaled, [(SIDE - size) // 2 for size in scaled.shape])
    found = Found(box, values[box], form[None])
    return Reading(picture, (("background removed", values),), (found,))
