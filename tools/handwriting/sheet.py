"""A sheet of paper found in a photograph that shows the table, too."""

import warnings

import numpy as np
from scipy import ndimage

from tools.handwriting.pictures import fit, resize

COARSE_SIDE = 256  # of the copy on which the edges of the sheet are looked for
LEAST_SIDE = 20  # of a picture; smaller ones are no photographs of a table
FARTHEST = 0.4  # from the picture's side to the middle of an edge, as a fraction of the picture
SLOPES = np.linspace(-0.4, 0.4, 41)  # of an edge; 22 degrees
STEP = 0.1  # in the logarithm of brightness: by which paper is brighter than the table, at least
LEAST_BRIGHT = 0.2  # of paper, in its darkest colour
LEAST_SCORE = 0.5  # of an edge: 1 where every pixel of it is such a step


def sheet_of(picture: np.ndarray) -> np.ndarray | None:
    """Which pixels of a picture (h, w, 3) are of the sheet, bool (h, w); None without a table.

    In the same light, paper is brighter than the table, and each edge of the sheet is a straight
    and sudden step. A shadow's edge is soft; beyond a stroke the paper comes again.
    """
    if min(picture.shape[:2]) < LEAST_SIDE:
        return None
    coarse = fit(picture, min(COARSE_SIDE, max(picture.shape[:2])))
    bright = coarse.min(axis=-1).clip(0)  # colours lack red, green or blue; paper does not
    light = np.log(bright + 0.1)
    sheet = np.ones(light.shape, bool)
    for turns in range(4):
        rotated = np.rot90(sheet, turns)  # a view
        rotated &= _right_of_edge(np.rot90(bright, turns), np.rot90(light, turns))
    blurred = max(1, round(max(sheet.shape) / 80))  # nothing of the edge itself
    sheet = ndimage.binary_erosion(sheet, iterations=blurred, border_value=1)
    if sheet.all() or not sheet.any():
        return None
    if np.median(bright[sheet]) < max(np.median(bright[~sheet]), LEAST_BRIGHT):
        return None
    return resize(sheet.astype(np.float32), *picture.shape[:2]) > 0.5


def _right_of_edge(bright: np.ndarray, light: np.ndarray) -> np.ndarray:
    """What lies right of the sheet's left edge, bool (h, w); all of it without such an edge."""
    height, width = light.shape
    padded = np.pad(bright, ((0, 0), (4, 4)), "edge")
    narrow, wide = padded[:, 5:-3] - padded[:, 3:-5], padded[:, 8:] - padded[:, :-8]
    sudden = np.where(narrow > 0.6 * wide, np.clip(narrow / (bright + 0.1) / STEP, -1, 1), 0)
    nearly = ndimage.maximum_filter1d(sudden, 3, axis=1)  # no edge is quite straight
    columns, middle = np.arange(width), slice(round(0.3 * height), round(0.7 * height))
    shifts = np.rint(SLOPES[:, None] * (np.arange(height) - height / 2)).astype(int)
    places = columns[1 : round(FARTHEST * width)] + shifts[:, middle, None]
    rows = np.arange(height)[middle, None]
    scores = sudden[rows, np.clip(places, 0, width - 1)].mean(axis=1)  # (slopes, columns)
    edges = np.argwhere(scores >= LEAST_SCORE)
    while len(edges):
        near = edges[:, 1] > edges[:, 1].max() - 6  # the innermost
        slope, column = edges[near][scores[*edges[near].T].argmax()]
        distance = columns - column - 1 - shifts[slope][:, None]
        along = nearly[np.arange(height), np.clip(column + 1 + shifts[slope], 0, width - 1)]
        if _is_table(light, distance, along):
            return distance >= 0
        edges = edges[~near]
    return np.ones(light.shape, bool)


def _is_table(light: np.ndarray, distance: np.ndarray, along: np.ndarray) -> bool:
    """Whether what lies left of an edge is darker than what lies right of it, and just there.

    distance: pixels from the edge (h, w), negative on the left; along: the step in each row.
    """
    inside = (distance > 0) & (distance < light.shape[1] / 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows where the edge lies outside the picture
        paper = np.nanpercentile(np.where(inside, light, np.nan), 30, axis=1)  # between strokes
        table = np.nanpercentile(np.where(distance < 0, light, np.nan), 75, axis=1)
    darker = table + STEP < paper
    # Under a lamp that is so in every row; a stroke is a step in few of them.
    return darker.mean() > 0.3 and along[darker].mean() > 0.7
