"""Ink told from paper, and the digits that it forms."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import numpy as np
from scipy import ndimage

from common.errors import UserError
from tools.handwriting.pictures import luminance, resized, stretched

COARSE_SIDE = 256  # of the small copy on which the paper is told from the ink
SMOOTH_SIDE = 64  # of the copy on which paper is carried on below the ink
LEAST_CONTRAST = 0.05  # between ink and paper, of the way from black to white
LEAST_SIZE = 6  # pixels; less is grain
MOST_PIECES = 50  # more are a texture or a page of text
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
Box = tuple[slice, slice]  # rows and columns of a picture


class NothingFoundError(UserError):
    """There is nothing to read in a picture."""


def ink_of(picture: np.ndarray) -> np.ndarray:
    """How much ink each pixel has: float32 (h, w), about 0 on paper and 1 in a stroke.

    Finds by itself which colour is the paper's: it may change slowly over the picture, as under a
    lamp or in a shadow. Raises NothingFoundError where all is paper.
    """
    longest = max(picture.shape[:2])
    coarse = resized(picture, min(COARSE_SIDE, longest))
    coarse_paper, inked = _paper(coarse)
    paper = stretched(coarse_paper, *picture.shape[:2])
    # Lighting scales paper and ink alike; what is nearly black is not to be blown up.
    brightness = luminance(paper)
    usual = max(np.median(brightness), 0.05)
    gain = usual / np.maximum(brightness, max(0.3 * usual, 0.05))
    coarse_gain = stretched(gain.astype(np.float32), *coarse.shape[:2])
    coarse_difference = (coarse - coarse_paper) * coarse_gain[..., None]
    direction = coarse_difference[inked].mean(axis=0) if inked.any() else np.zeros(3)
    length = np.linalg.norm(direction)
    if length < LEAST_CONTRAST / 4:
        raise NothingFoundError("nothing is written on it")
    contrast = ((picture - paper) * gain[..., None]) @ (direction / length).astype(np.float32)
    # Grain is finer than any stroke.
    return ndimage.gaussian_filter(contrast, longest / 1500) if longest > 200 else contrast


def _paper(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper alone (h, w, 3), and where there is ink on it (h, w), of a small picture."""
    contrast = _contrast(picture)
    # Strokes are narrower than half the picture, shadows and tables are not.
    window = max(5, min(contrast.shape) // 2)
    grain = np.median(np.abs(np.diff(contrast, axis=1))) / 0.954  # a standard deviation
    contrast = ndimage.gaussian_filter(contrast, max(contrast.shape) / COARSE_SIDE)
    narrow = contrast - ndimage.grey_opening(contrast, (window, window))
    inked = narrow > max(otsu(narrow), 2.5 * grain)
    covered = ndimage.binary_dilation(inked, EIGHT_NEIGHBOURS, iterations=2 if window > 14 else 1)
    if covered.mean() > 0.9:
        raise NothingFoundError("no paper is to be seen around the ink")
    # Paper below the ink is what it is around it: near by, or where there is none, farther away.
    # So smooth a thing needs few pixels.
    bare = (~covered)[..., None].astype(np.float32)
    longest = min(SMOOTH_SIDE, max(covered.shape))
    paper = resized(smooth_surface(picture, ~covered), longest)
    known = resized(np.concatenate([picture * bare, bare], axis=-1), longest)
    for share in (8, 16):
        sigma = min(paper.shape[:2]) / share
        blurred = ndimage.gaussian_filter(known, (sigma, sigma, 0), truncate=2)
        paper = (blurred[..., :3] + 0.02 * paper) / (blurred[..., 3:] + 0.02)
    return stretched(paper, *covered.shape), inked


def _contrast(picture: np.ndarray) -> np.ndarray:
    """The one mixture of the colours (h, w) in which ink differs most from paper; ink is higher."""
    smooth = smooth_surface(picture)
    difference = picture - smooth
    strength = np.linalg.norm(difference, axis=-1, keepdims=True)
    weighted = (difference * strength).reshape(-1, 3)
    direction = np.linalg.eigh(weighted.T @ weighted)[1][:, -1]
    contrast = difference @ direction
    high = contrast > otsu(contrast)
    # Paper is most of the picture, and most of its edge.
    return -contrast if high.mean() + frame(high).mean() > 1 else contrast


def smooth_surface(picture: np.ndarray, used: np.ndarray | None = None) -> np.ndarray:
    """The quadratic surface of each colour that most pixels lie on: float (h, w, 3).

    Least squares, repeated with less weight for what lies far off, so that ink does not pull it.
    used: bool (h, w), which pixels to fit it to.
    """
    height, width = picture.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    step = max(1, max(height, width) // 64)  # six factors need no more pixels
    known = np.ones((height, width), bool) if used is None else used
    known = known[::step, ::step]
    inputs, outputs = terms[::step, ::step][known], picture[::step, ::step][known].astype(float)
    surface = np.broadcast_to(np.median(outputs, axis=0), outputs.shape)
    for _ in range(8):
        distance = np.linalg.norm(outputs - surface, axis=1)
        # A floor, so that a clean picture's paper does not outweigh all else without bound.
        scale = max(np.median(distance), 0.02)
        weight = 1 / (1 + (distance / scale) ** 2)
        weighted = inputs.T * weight
        factors = np.linalg.pinv(weighted @ inputs) @ (weighted @ outputs)
        surface = inputs @ factors
    return terms @ factors


def otsu(values: np.ndarray) -> float:
    """The threshold that splits values into the two groups that differ most.

    N. Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    if np.ptp(values) < 1e-6:  # there is but one group
        return float(values.max())
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    means_below = sums[:-1] / np.maximum(below, 1)
    means_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (means_above - means_below) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))  # equal over an empty range
    return float(edges[1:-1][best].mean())


def strong_ink(ink: np.ndarray) -> np.ndarray:
    """The ink (h, w) from 0 to 1, without what is fainter: grain, ruled lines, print from behind.

    Raises NothingFoundError where no ink stands out.
    """
    noise = 1.4826 * np.median(np.abs(ink - np.median(ink)))
    candidates = ink[ink > max(6 * noise, LEAST_CONTRAST)]
    if not candidates.size:
        raise NothingFoundError("nothing is written on it")
    threshold = otsu(candidates)
    full = np.median(candidates[candidates >= threshold])
    threshold = min(threshold, 0.5 * full)
    faintest = max(0.6 * threshold, 6 * noise)
    strong = ink > threshold
    mask = ink > faintest
    places, _ = ndimage.label(mask, EIGHT_NEIGHBOURS)
    mask &= np.isin(places, np.unique(places[strong]))
    for place, box in enumerate(ndimage.find_objects(places), start=1):
        # Faint ink belongs to the strong that it touches, but not where both hang on ruled lines.
        if any(_length(side) == size for side, size in zip(box, ink.shape, strict=True)):
            mask[box] &= strong[box] | (places[box] != place)
    edge = max(1, round(max(ink.shape) / 400))
    near = ndimage.binary_dilation(mask, EIGHT_NEIGHBOURS, iterations=edge)
    lowest = 2.5 * noise
    return np.where(near, np.clip((ink - lowest) / (full - lowest), 0, 1), 0).astype(np.float32)


def frame(values: np.ndarray, share: float = 0.02) -> np.ndarray:
    """The pixels along the four edges of (h, w) or (h, w, 3): (n,) or (n, 3)."""
    inner = np.ones(values.shape[:2], bool)
    edge = max(1, round(share * max(values.shape[:2])))
    inner[edge:-edge, edge:-edge] = False
    return values[inner]


def digits_of(ink: np.ndarray) -> list[tuple[Box, np.ndarray]]:
    """Each digit's box and its own ink (h, w) in that box, from left to right.

    Ink (h, w), 0 to 1, falls into pieces; a digit may be several of them: see `_belong`. Specks,
    lines, and what runs over the picture's edge are left out. Raises NothingFoundError where
    nothing remains, or too much.
    """
    pieces, _ = ndimage.label(ink > 0, EIGHT_NEIGHBOURS)
    boxes = dict(enumerate(ndimage.find_objects(np.where(ink > 0.3, pieces, 0)), start=1))
    boxes = {piece: box for piece, box in boxes.items() if box and _longest(box) >= LEAST_SIZE}
    boxes = {piece: box for piece, box in boxes.items() if not _is_line(box, ink.shape)}
    inner = {piece: box for piece, box in boxes.items() if not _at_edge(box, ink.shape)}
    # A digit may be cut off at the edge, but a table's or a shadow's edge is no digit.
    boxes = inner if _largest(inner.values()) > 0.15 * _largest(boxes.values()) else boxes
    if not boxes:
        raise NothingFoundError("nothing is written on it")
    size = _largest(boxes.values())
    groups = {(piece,): box for piece, box in boxes.items() if _longest(box) > 0.08 * size}
    if len(groups) > MOST_PIECES:
        raise NothingFoundError(f"{len(groups)} separate marks are on it: crop it to the digits")
    groups = _joined(groups, size)
    groups = {group: box for group, box in groups.items() if _longest(box) > 0.4 * size}
    return [
        (box, np.where(np.isin(pieces[box], group), ink[box], 0))
        for group, box in sorted(groups.items(), key=lambda item: item[1][1].start)
    ]


def _joined(groups: dict[tuple, Box], size: int) -> dict[tuple, Box]:
    """The groups of pieces, with those that belong together joined, the nearest ones first."""
    pairs = [pair for pair in combinations(groups, 2) if _belong(*map(groups.get, pair), size)]
    if not pairs:
        return groups
    first, second = min(pairs, key=lambda pair: _distance(*map(groups.get, pair)))
    joined = groups | {first + second: _around(groups[first], groups[second])}
    return _joined({key: box for key, box in joined.items() if key not in (first, second)}, size)


def _belong(first: Box, second: Box, size: int) -> bool:
    """Whether two pieces are parts of one digit; `size` is the largest piece's longer side.

    They do where they stand above each other, as the bar of a 5 above its belly, and where one is
    much lower than a digit and the other one near.
    """
    (rows, columns), (other_rows, other_columns) = first, second
    narrower = min(_length(columns), _length(other_columns))
    if -_gap(columns, other_columns) > 0.5 * narrower:
        return _gap(rows, other_rows) < 0.25 * size
    lower = min(_length(rows), _length(other_rows))
    return lower < 0.5 * size and _distance(first, second) < 0.25 * size


def _distance(first: Box, second: Box) -> int:
    """Pixels between two boxes; 0 where they touch or overlap."""
    return max(0, *(_gap(one, other) for one, other in zip(first, second, strict=True)))


def _gap(first: slice, second: slice) -> int:
    """Pixels between two ranges; negative: by how many they overlap."""
    return max(first.start, second.start) - min(first.stop, second.stop)


def _length(pixels: slice) -> int:
    return pixels.stop - pixels.start


def _longest(box: Box) -> int:
    return max(map(_length, box))


def _largest(boxes: Iterable[Box]) -> int:
    return max(map(_longest, boxes), default=0)


def _around(first: Box, second: Box) -> Box:
    """The box around two boxes."""
    return tuple(
        slice(min(one.start, other.start), max(one.stop, other.stop))
        for one, other in zip(first, second, strict=True)
    )


def _at_edge(box: Box, shape: tuple[int, int]) -> bool:
    return any(side.start == 0 or side.stop == size for side, size in zip(box, shape, strict=True))


def _is_line(box: Box, shape: tuple[int, int]) -> bool:
    """Whether a piece runs through most of the picture and is next to nothing across."""
    rows, columns = map(_length, box)
    return (columns > 0.7 * shape[1] and rows < 0.05 * columns) or (
        rows > 0.7 * shape[0] and columns < 0.05 * rows
    )
