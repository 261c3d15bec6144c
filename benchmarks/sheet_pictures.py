"""Photographs of a sheet of paper on a table with a digit on it: the bytes of their files."""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.digit_pictures import (
    BLACK,
    Generator,
    drawn,
    drawn_finely,
    encoded,
    painted,
    placed,
    shadow,
)

PENS = ((0.05, 0.05, 0.07), (0.1, 0.15, 0.5), (0.65, 0.1, 0.1), (0.1, 0.35, 0.15), (0.4, 0.4, 0.4))
PLAIN = {  # the colours (lowest, highest) of tables without a pattern
    "brown": ((0.3, 0.17, 0.08), (0.55, 0.38, 0.25)),
    "light": ((0.5, 0.48, 0.42), (0.78, 0.74, 0.68)),
    "dark": ((0.02, 0.02, 0.02), (0.2, 0.2, 0.2)),
}


def with_a_pen(digit: np.ndarray, side: int, generator: Generator) -> np.ndarray:
    """A digit, uint8 (28, 28), as written, or with a pen of a fiftieth to a twelfth of the side."""
    if generator.random() < 0.4:
        return drawn(digit, side)
    return drawn_finely(digit, side, generator.uniform(24, 100))


def clouds(height: int, width: int, cells: int, generator: Generator) -> np.ndarray:
    """Smooth random values (height, width), about -1 to 1, with so many hills from side to side."""
    coarse = generator.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def plain(table: str) -> Callable[[int, int, Generator], np.ndarray]:
    def make(height: int, width: int, generator: Generator) -> np.ndarray:
        colour = generator.uniform(*PLAIN[table]).astype(np.float32)
        return colour * (1 + 0.06 * clouds(height, width, 5, generator)[..., None])

    return make


def wood(height: int, width: int, generator: Generator) -> np.ndarray:
    """Bent grain of two browns, now and then with gaps between boards."""
    side = max(height, width)
    bent = np.arange(side)[:, None] / side + 0.08 * clouds(side, side, 3, generator)
    rings = np.sin(2 * np.pi * generator.uniform(6, 25) * bent)
    fine = ndimage.gaussian_filter(generator.standard_normal((side, 1), np.float32), (1.5, 0))
    grain = np.clip(0.5 + 0.3 * rings + 0.4 * fine, 0, 1)[..., None]
    dark, light = np.sort(generator.uniform(*PLAIN["brown"], (2, 3)), axis=0)
    board = dark + grain * np.maximum(light - dark, 0.1)
    if generator.random() < 0.5:
        for row in range(generator.integers(0, side // 4), side, side // 4):
            board[row : row + 4] *= 0.4
    return (board if generator.random() < 0.5 else board.swapaxes(0, 1))[:height, :width]


def cloth(height: int, width: int, generator: Generator) -> np.ndarray:
    """A check, stripes or dots of two colours."""
    y, x = np.mgrid[:height, :width] * np.pi / generator.uniform(0.02, 0.08) / max(height, width)
    pattern = (np.sin(y) > 0) * 0.5 + (np.sin(x) > 0) * 0.5
    kind = generator.integers(3)
    if kind:
        pattern = np.sin(x) > 0 if kind == 1 else np.sin(x) * np.sin(y) > 0.6
    weave = 1 + 0.05 * generator.standard_normal((height, width, 1), np.float32)
    return painted(pattern.astype(np.float32), *generator.uniform(0.05, 0.75, (2, 3))) * weave


def outline(height: int, width: int, generator: Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """The corners (4, 2) as row and column of a sheet in a picture, and the picture's shape.

    It is rotated by up to 10 degrees, in a little perspective, with a margin of 2 to 15 % on each
    side; one side, or two next to each other, may lie outside the picture.
    """
    corners = np.array([(0, 0), (0, width), (height, width), (height, 0)], float)
    corners += generator.uniform(-0.04, 0.04, (4, 2)) * min(height, width)
    angle = np.deg2rad(generator.uniform(-10, 10))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (corners - corners.mean(axis=0)) @ turn
    before, after = generator.uniform(0.02, 0.15, (2, 2))  # of the picture's height and width
    for axis in generator.permutation(2)[: generator.choice(3, p=(0.7, 0.2, 0.1))]:
        (before if generator.random() < 0.5 else after)[axis] = generator.uniform(-0.05, 0)
    shape = np.ptp(corners, axis=0) / (1 - before - after)
    return corners - corners.min(axis=0) + before * shape, tuple(np.rint(shape).astype(int))


def laid(sheet: np.ndarray, corners: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The sheet (h, w, 3) seen with its corners there on the table (height, width, 3)."""
    height, width = sheet.shape[:2]
    source = np.array([(0, 0), (0, width), (height, width), (height, 0)], float)
    # Eight equations for the perspective from the picture, as x and y, to the sheet.
    equations = []
    for (y, x), (row, column) in zip(corners, source, strict=True):
        equations.append([x, y, 1, 0, 0, 0, -column * x, -column * y])
        equations.append([0, 0, 0, x, y, 1, -row * x, -row * y])
    coefficients = np.linalg.solve(equations, source[:, ::-1].ravel())
    size = table.shape[1::-1]

    def seen(values: np.ndarray) -> np.ndarray:
        how = (size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
        return np.asarray(Image.fromarray(values).transform(*how), np.float32) / 255

    covers = seen(np.full((height, width), 255, np.uint8))[..., None]
    below = np.clip(np.roll(ndimage.gaussian_filter(covers, (6, 6, 0)), (4, 4), (0, 1)), 0, 1)
    return table * (1 - 0.4 * below) * (1 - covers) + seen(np.rint(255 * sheet).astype(np.uint8))


def light(height: int, width: int, generator: Generator) -> np.ndarray:
    """Even light, a lamp from one side, or the shadow of a hand or phone across: (h, w, 3)."""
    colour = (1 + generator.uniform(-0.06, 0.06, 3)).astype(np.float32)
    kind = generator.integers(3)
    if kind == 0:
        return np.broadcast_to(generator.uniform(0.8, 1) * colour, (height, width, 3))
    if kind == 1:
        return shadow(height, width, generator) * colour
    y, x = np.mgrid[: 1 : height * 1j, : 1 : width * 1j]
    angle = generator.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) - generator.uniform(-0.3, 0.3)
    shade = 1 / (1 + np.exp(-along / generator.uniform(0.005, 0.06)))
    return (1 - generator.uniform(0.25, 0.55) * shade[..., None]).astype(np.float32) * colour


def sheet_on(table: Callable[[int, int, Generator], np.ndarray]) -> Callable:
    """What makes a photograph of a sheet on such a table from a digit and a generator."""

    def make(digit: np.ndarray, generator: Generator) -> bytes:
        height, width = generator.integers(600, 1200, 2)
        side = round(min(height, width) * generator.uniform(0.3, 0.75))
        ink = with_a_pen(digit, side, generator)
        free = [round(0.86 * size) for size in (height, width)]  # nobody writes over the edge
        ink = placed(ink, *free, generator)
        borders = [(size - inner) // 2 for size, inner in zip((height, width), free, strict=True)]
        ink = np.pad(ink, [(border, border) for border in borders])
        pen = PENS[generator.integers(len(PENS))]
        paper = generator.uniform(0.82, 1) - np.array([0, 0.01, 0.06]) * generator.random()
        corners, shape = outline(*ink.shape, generator)
        sheet = painted(ink, np.asarray(pen) + BLACK, paper)
        picture = laid(sheet, corners, table(*shape, generator)) * light(*shape, generator)
        picture = ndimage.gaussian_filter(picture, (*[generator.uniform(0.3, 1.5)] * 2, 0))
        grain = generator.normal(0, generator.uniform(0.005, 0.03), picture.shape)
        return encoded(picture + grain, "JPEG", quality=int(generator.integers(50, 92)))

    return make


KINDS = {f"sheet on a {table} table": sheet_on(plain(table)) for table in PLAIN}
KINDS |= {"sheet on wood": sheet_on(wood), "sheet on a cloth": sheet_on(cloth)}
