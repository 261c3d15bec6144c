"""Ink told from paper, and the digits that it forms."""

import numpy as np
from scipy import ndimage

from common.errors import UserError
from tools.handwriting.pictures import fit, luminance, resize, rim

COARSE_SIDE = 256  # of the small copy on which the paper is told from the ink
SMOOTH_SIDE = 64  # of the copy on which the paper below the ink is estimated
LEAST_CONTRAST = 0.05  # between ink and paper, as a fraction of the way from black to white
PLAIN = 0.04  # paper whose colour differs less from place to place needs no estimate
LEAST_SIZE = 6  # pixels; less is grain
MOST_PIECES = 50  # more are a texture or a page of text
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


class NothingFoundError(UserError):
    """There is nothing to read in a picture."""


def ink_of(picture: np.ndarray, is_sheet: bool = False) -> np.ndarray:
    """How much ink each pixel has: float32 (h, w), about 0 on paper and 1 in a stroke.

    Which colour is the paper's is found from the picture; it may change slowly, as under a lamp or
    in a shadow, and suddenly where it is known to be a sheet, brighter than the ink. Raises
    NothingFoundError where all is paper.
    """
    longest = max(picture.shape[:2])
    coarse = fit(picture, min(COARSE_SIDE, longest))
    found = _shaded_sheet(coarse) if is_sheet else _plain_paper(coarse)
    coarse_paper, inked = found or _uneven_paper(coarse)
    paper = resize(coarse_paper, *picture.shape[:2])
    # Lighting scales paper and ink alike; what is nearly black is not amplified without bound.
    brightness = luminance(paper)
    usual = max(np.median(brightness), 0.05)
    gain = usual / np.maximum(brightness, max(0.3 * usual, 0.05))
    coarse_gain = resize(gain.astype(np.float32), *coarse.shape[:2])
    coarse_difference = (coarse - coarse_paper) * coarse_gain[..., None]
    direction = coarse_difference[inked].mean(axis=0) if inked.any() else np.zeros(3)
    length = np.linalg.norm(direction)
    if length < LEAST_CONTRAST / 4:
        raise NothingFoundError("nothing is written on it")
    contrast = ((picture - paper) * gain[..., None]) @ (direction / length).astype(np.float32)
    if longest > 200:
        contrast = ndimage.gaussian_filter(contrast, longest / 1500)  # grain is finer than strokes
    return contrast.round(4)  # a last binary digit decides nothing: both polarities are alike


def _plain_paper(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """As `_uneven_paper`, where all of the paper has one colour; else None."""
    margin = rim(picture.shape[:2])
    colour = np.median(picture[margin], axis=0)
    difference = np.abs(picture - colour).max(axis=-1)
    plain = difference < PLAIN
    if plain[margin].mean() < 0.5 or plain.mean() < 0.25:
        return None
    return np.broadcast_to(colour, picture.shape), difference > otsu(difference)


def _uneven_paper(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper alone (h, w, 3), and where there is ink on it (h, w), of a small picture."""
    contrast = _contrast(picture)
    # Strokes are narrower than half the picture, shadows and tables are not.
    window = max(5, min(contrast.shape) // 2)
    grain = np.median(np.abs(np.diff(contrast, axis=1))) / 0.954  # a standard deviation
    contrast = ndimage.gaussian_filter(contrast, max(contrast.shape) / COARSE_SIDE)
    narrow = ndimage.white_tophat(contrast, (window, window))
    inked = narrow > max(otsu(narrow), 2.5 * grain)
    covered = ndimage.binary_dilation(inked, EIGHT_NEIGHBOURS, iterations=2 if window > 14 else 1)
    if covered.mean() > 0.9:
        raise NothingFoundError("no paper can be seen around the ink")
    # Below the ink, take the paper near by, or where there is none, farther away.
    bare = (~covered)[..., None].astype(np.float32)
    longest = min(SMOOTH_SIDE, max(covered.shape))  # paper is so smooth that few pixels will do
    paper = fit(smooth_surface(picture, ~covered), longest)
    known = fit(np.concatenate([picture * bare, bare], axis=-1), longest)
    for parts in (8, 16):
        sigma = min(paper.shape[:2]) / parts
        blurred = ndimage.gaussian_filter(known, (sigma, sigma, 0), truncate=2)
        paper = (blurred[..., :3] + 0.02 * paper) / (blurred[..., 3:] + 0.02)
    return resize(paper, *covered.shape), inked


def _shaded_sheet(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_uneven_paper`, of a sheet: the dark that is narrow is ink, a shadow is wide."""
    smooth = ndimage.gaussian_filter(picture, (1, 1, 0))
    window = max(5, min(picture.shape[:2]) // 6)  # wider than a stroke
    paper = ndimage.grey_closing(smooth, (window, window, 1))
    difference = (paper - picture).max(axis=-1)
    return paper - np.median(paper - picture, axis=(0, 1)), difference > otsu(difference)


def _contrast(picture: np.ndarray) -> np.ndarray:
    """The one mixture of the colours (h, w) in which ink differs most from paper; ink is higher."""
    difference = picture - smooth_surface(picture)
    strength = np.linalg.norm(difference, axis=-1, keepdims=True)
    weighted = (difference * strength).reshape(-1, 3)
    direction = np.linalg.eigh(weighted.T @ weighted)[1][:, -1]
    contrast = difference @ direction
    high = contrast > otsu(contrast)
    # Paper is most of the picture, and most of its edge.
    paper_is_higher = high.mean() + high[rim(high.shape)].mean() > 1
    return -contrast if paper_is_higher else contrast


def smooth_surface(picture: np.ndarray, used: np.ndarray | bool = True) -> np.ndarray:
    """The quadratic surface of each colour that most pixels lie on: float (h, w, 3).

    Least squares, repeated with less weight for outliers, so that ink does not pull it.
    used: bool (h, w), which pixels to fit it to.
    """
    height, width = picture.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    step = max(1, max(height, width) // 64)  # six coefficients need no more pixels
    known = np.broadcast_to(used, (height, width))[::step, ::step]
    inputs, outputs = terms[::step, ::step][known], picture[::step, ::step][known].astype(float)
    surface = np.broadcast_to(np.median(outputs, axis=0), outputs.shape)
    for _ in range(8):
        distance = np.linalg.norm(outputs - surface, axis=1)
        # A least distance, so that a clean picture's paper does not get all the weight.
        weight = 1 / (1 + (distance / max(np.median(distance), 0.02)) ** 2)
        weighted = inputs.T * weight
        coefficients = np.linalg.pinv(weighted @ inputs) @ (weighted @ outputs)
        surface = inputs @ coefficients
    return terms @ coefficients


def otsu(values: np.ndarray) -> float:
    """The threshold that splits values into the two groups that differ most.

    N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    if np.ptp(values) < 1e-6:  # there is only one group
        return float(values.max())
    counts, edges = np.histogram(values, 256)
    below = np.cumsum(counts / counts.sum())  # which fraction, and its part in the mean
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / (2 * counts.sum()))
    below, sums, mean = below[:-1], sums[:-1], sums[-1]
    between = (mean * below - sums) ** 2 / (below * (1 - below))
    best = between >= between.max() * (1 - 1e-9)  # equal over an empty range
    return float(edges[1:-1][best].mean())


def strong_ink(ink: np.ndarray) -> np.ndarray:
    """The ink (h, w) from 0 to 1, without what is fainter: grain, ruled lines, print from behind.

    Raises NothingFoundError where no ink stands out.
    """
    # A fifth of a picture is paper even where the digit fills it; of noise, 3 standard deviations.
    noise = 3 * np.percentile(np.abs(ink), 20)
    candidates = ink[ink > max(6 * noise, LEAST_CONTRAST)]
    if not candidates.size:
        raise NothingFoundError("nothing is written on it")
    threshold = otsu(candidates)
    full = np.median(candidates[candidates >= threshold])
    threshold = min(threshold, 0.5 * full)
    strong = ink > threshold
    mask = ink > max(0.6 * threshold, 6 * noise)
    places, _ = ndimage.label(mask, EIGHT_NEIGHBOURS)
    mask &= np.isin(places, np.unique(places[strong]))
    for place, box in enumerate(ndimage.find_objects(places), start=1):
        # Faint ink belongs to the strong that it touches, but not where both hang on ruled lines.
        if any(s.stop - s.start == size for s, size in zip(box, ink.shape, strict=True)):
            mask[box] &= strong[box] | (places[box] != place)
    softness = max(1, round(max(ink.shape) / 400))
    near = ndimage.binary_dilation(mask, EIGHT_NEIGHBOURS, iterations=softness)
    lowest = 2.5 * noise
    return np.where(near, np.clip((ink - lowest) / (full - lowest), 0, 1), 0).astype(np.float32)


def digits_of(ink: np.ndarray) -> list[tuple]:
    """Each digit's rows and columns, as slices, and its own ink (h, w) in them, from left to right.

    The ink (h, w), 0 to 1, falls into pieces; a digit may be several of them. Specks, lines, and
    what runs over the picture's edge are left out. Raises NothingFoundError where nothing remains,
    or too much.
    """
    pieces, _ = ndimage.label(ink > 0, EIGHT_NEIGHBOURS)
    found = ndimage.find_objects(np.where(ink > 0.3, pieces, 0))
    numbers = np.array([number for number, box in enumerate(found, start=1) if box])
    boxes = np.array([[(side.start, side.stop) for side in box] for box in found if box])
    boxes = boxes.reshape(-1, 2, 2)
    sides, longest = np.ptp(boxes, axis=2), np.ptp(boxes, axis=2).max(axis=1)
    lines = (sides > 0.7 * np.array(ink.shape)) & (sides[:, ::-1] < 0.05 * sides)
    used = (longest >= LEAST_SIZE) & ~lines.any(axis=1)
    inner = used & (boxes[..., 0] > 0).all(axis=1) & (boxes[..., 1] < ink.shape).all(axis=1)
    # A digit may be cut off at the edge, but the edge of a table or a shadow is no digit.
    if longest[inner].max(initial=0) > 0.15 * longest[used].max(initial=0):
        used = inner
    if not used.any():
        raise NothingFoundError("nothing is written on it")
    size = longest[used].max()
    used &= longest > 0.08 * size
    if used.sum() > MOST_PIECES:
        raise NothingFoundError(f"{used.sum()} separate marks are on it: crop it to the digits")
    boxes, groups = joined(boxes[used], [[number] for number in numbers[used]], size)
    digits = []
    for (rows, columns), group in zip(boxes, groups, strict=True):
        box = slice(*rows), slice(*columns)
        if max(np.ptp(rows), np.ptp(columns)) > 0.4 * size:
            digits.append((box, np.where(np.isin(pieces[box], group), ink[box], 0)))
    return sorted(digits, key=lambda digit: digit[0][1].start)


def joined(boxes: np.ndarray, groups: list[list[int]], size: int) -> tuple[np.ndarray, list]:
    """The pieces that are parts of one digit joined, the nearest ones first.

    They are where they stand above each other, as the bar of a 5 above its belly, and where one is
    much lower than a digit and the other one near. boxes: int (n, 2, 2), first and last row and
    column of each; groups: which pieces each holds; size: the largest piece's longer side.
    """
    while True:
        starts, stops = boxes[..., 0], boxes[..., 1]
        # Each with each: pixels between them, negative where they overlap, and the smaller sides.
        gaps = np.maximum(starts[:, None], starts) - np.minimum(stops[:, None], stops)
        smaller = np.minimum((stops - starts)[:, None], stops - starts)
        above = -gaps[..., 1] > 0.5 * smaller[..., 1]
        near = (smaller[..., 0] < 0.5 * size) & (gaps.max(axis=2) < 0.25 * size)
        belong = np.triu(np.where(above, gaps[..., 0] < 0.25 * size, near), 1)
        if not belong.any():
            return boxes, groups
        distance = np.where(belong, gaps.max(axis=2).clip(0), np.inf)
        pair = list(np.unravel_index(distance.argmin(), distance.shape))
        around = np.stack([starts[pair].min(axis=0), stops[pair].max(axis=0)], axis=1)
        boxes = np.concatenate([np.delete(boxes, pair, axis=0), around[None]])
        both = groups[pair[0]] + groups[pair[1]]
        groups = [group for place, group in enumerate(groups) if place not in pair] + [both]
