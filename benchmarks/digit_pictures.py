"""Pictures such as people make of their own digits, made from MNIST's: the bytes of their files."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from tools.handwriting.form import SIDE

Generator = np.random.Generator
WHITE, BLACK = np.ones(3), np.zeros(3)
CUBIC = Image.Resampling.BICUBIC


def drawn(digit: np.ndarray, side: int) -> np.ndarray:
    """A digit, uint8 (28, 28), drawn large with clean edges: float32 (side, side), 0 to 1."""
    grey = np.asarray(Image.fromarray(digit).resize((side, side), CUBIC), np.float32)
    return np.clip((grey / 255 - 0.4) * side / SIDE / 2 + 0.5, 0, 1)


def drawn_finely(digit: np.ndarray, side: int, fineness: float = 60) -> np.ndarray:
    """The same with a pen whose radius is the side divided by `fineness`."""
    line = skeleton(drawn(digit, 4 * SIDE) > 0.5)
    distance = ndimage.distance_transform_edt(~line).astype(np.float32)
    image = Image.fromarray(distance).resize((side, side), CUBIC)
    return np.clip(side / fineness - np.asarray(image) * side / (4 * SIDE) + 0.5, 0, 1)


def skeleton(shape: np.ndarray) -> np.ndarray:
    """The middle lines of a shape, bool (h, w), one pixel wide and unbroken.

    T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns", 1984.
    """
    shape = np.pad(shape, 1)
    # The eight neighbours in a circle: p2 above, p4 right, p6 below, p8 left.
    circle = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    before = -1
    while before != (before := int(shape.sum())):
        for first in (True, False):
            around = np.stack([np.roll(shape, (-y, -x), (0, 1)) for y, x in circle])
            count = around.sum(axis=0)
            edges = (~around & np.roll(around, -1, axis=0)).sum(axis=0)
            p2, p4, p6, p8 = around[::2]
            corner = p4 & p6 & (p2 | p8) if first else p2 & p8 & (p4 | p6)
            shape = shape & ~((count >= 2) & (count <= 6) & (edges == 1) & ~corner)
    return shape[1:-1, 1:-1]


def placed(ink: np.ndarray, height: int, width: int, generator: Generator) -> np.ndarray:
    """A drawing (h, w) anywhere on an empty sheet: float32 (height, width)."""
    sheet = np.zeros((height, width), np.float32)
    top = generator.integers(0, height - ink.shape[0] + 1)
    left = generator.integers(0, width - ink.shape[1] + 1)
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return sheet


def painted(ink: np.ndarray, colour: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Ink (h, w) of a colour (3,) on paper (3,) or (h, w, 3): float32 (h, w, 3), 0 to 1."""
    paper = np.asarray(paper, np.float32)
    return paper + ink[..., None] * (np.asarray(colour, np.float32) - paper)


def shadow(height: int, width: int, generator: Generator) -> np.ndarray:
    """Lighting (height, width, 1): from 1 down to 0.35, curved and in any direction."""
    y, x = np.mgrid[: 1 : height * 1j, : 1 : width * 1j]
    angle = generator.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    along = (along - along.min()) / np.ptp(along)
    curve = generator.uniform(0.7, 2)
    return (1 - 0.65 * along.astype(np.float32) ** np.float32(curve))[..., None]


def encoded(picture: np.ndarray, format: str = "PNG", **settings) -> bytes:
    """The file of a picture (h, w), (h, w, 3) or (h, w, 4), 0 to 1."""
    file = io.BytesIO()
    values = np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
    Image.fromarray(values).save(file, format, **settings)
    return file.getvalue()


def light_on_dark(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(100, 600))
    chalk, board = generator.uniform(0.7, 1, 3), generator.uniform(0, 0.25, 3)
    return encoded(painted(ink, chalk, board) + generator.normal(0, 0.02, (*ink.shape, 3)), "WEBP")


def coloured(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(60, 500))
    colour = paper = BLACK
    while np.abs(colour - paper).max() <= 0.5:  # too much alike
        colour, paper = generator.random((2, 3))
    return encoded(painted(ink, colour, paper), "JPEG", quality=90)


def in_shadow(digit: np.ndarray, generator: Generator) -> bytes:
    height, width = generator.integers(400, 900, 2)
    ink = placed(drawn(digit, generator.integers(150, 400)), height, width, generator)
    paper = generator.uniform(0.75, 1, 3)
    picture = painted(ink, generator.uniform(0, 0.3, 3), paper)
    return encoded(picture * shadow(height, width, generator), "JPEG", quality=85)


def ruled_and_grainy(digit: np.ndarray, generator: Generator) -> bytes:
    side = generator.integers(300, 700)
    ink = placed(drawn(digit, generator.integers(150, 300)), side, side, generator)
    paper = np.broadcast_to(generator.uniform(0.85, 1, 3), (side, side, 3)).copy()
    step = generator.integers(side // 12, side // 6)
    for row in range(generator.integers(0, step), side - 1, step):
        paper[row : row + max(1, side // 300)] *= (0.7, 0.82, 0.95)
    picture = painted(ink, generator.uniform(0, 0.3, 3), paper)
    return encoded(picture + generator.normal(0, 0.04, picture.shape), "JPEG", quality=90)


def small_on_a_sheet(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn(digit, generator.integers(56, 140))
    sheet = placed(ink, *generator.integers(800, 1300, 2), generator)
    paper = generator.uniform(0.8, 1, 3)
    return encoded(painted(sheet, generator.uniform(0, 0.4, 3), paper), "JPEG", quality=85)


def crude_jpeg(digit: np.ndarray, generator: Generator) -> bytes:
    ink = placed(drawn(digit, generator.integers(60, 250)), 280, 280, generator)
    return encoded(painted(ink, BLACK + 0.1, WHITE - 0.05), "JPEG", quality=20)


def transparent(digit: np.ndarray, generator: Generator) -> bytes:
    ink = placed(drawn(digit, generator.integers(60, 300)), 320, 320, generator)
    colour = generator.choice([0.0, 1.0]) * 0.7 + generator.uniform(0, 0.3, 3)
    return encoded(np.dstack([np.broadcast_to(colour, (*ink.shape, 3)), ink]))


def thin_pen(digit: np.ndarray, generator: Generator) -> bytes:
    ink = drawn_finely(digit, generator.integers(250, 500))
    sheet = placed(ink, 600, 800, generator)
    return encoded(painted(sheet, np.array([0.1, 0.15, 0.5]), WHITE - 0.06), "JPEG", quality=85)


def rotated_by_exif(digit: np.ndarray, generator: Generator) -> bytes:
    ink = placed(drawn(digit, generator.integers(100, 300)), 480, 360, generator)
    quarter_turns = {3: 2, 6: 1, 8: 3}  # of each orientation
    orientation = int(generator.choice(list(quarter_turns)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.rot90(1 - ink, quarter_turns[orientation])
    return encoded(stored, "JPEG", quality=80, exif=exif)


def photograph(digit: np.ndarray, generator: Generator) -> bytes:
    """2,000 pixels wide: shadow, grain, coloured paper, any polarity, a blur, JPEG artefacts."""
    height, width = 1500, 2000
    ink = ndimage.gaussian_filter(drawn(digit, generator.integers(300, 1200)), 1.5)
    ink = placed(ink, height, width, generator)
    dark, light = generator.uniform(0, 0.25, 3), generator.uniform(0.7, 1, 3)
    colours = (dark, light) if generator.random() < 0.7 else (light, dark)
    picture = painted(ink, *colours) * shadow(height, width, generator)
    grain = 0.03 * generator.standard_normal((height // 2, width // 2, 1), np.float32)
    return encoded(picture + grain.repeat(2, 0).repeat(2, 1), "JPEG", quality=60)


KINDS: dict[str, Callable[[np.ndarray, Generator], bytes]] = {
    "28 x 28, as it is": lambda digit, _: encoded(digit / 255),
    "28 x 28, dark on light": lambda digit, _: encoded(1 - digit / 255),
    "large, black on white": lambda digit, generator: encoded(
        painted(drawn(digit, generator.integers(200, 800)), BLACK, WHITE)
    ),
    "light on dark, grain": light_on_dark,
    "coloured ink and paper": coloured,
    "thin pen": thin_pen,
    "shadow over the paper": in_shadow,
    "ruled, grainy paper": ruled_and_grainy,
    "small on a large sheet": small_on_a_sheet,
    "JPEG of quality 20": crude_jpeg,
    "transparent background": transparent,
    "rotated by EXIF": rotated_by_exif,
    "photograph, 2,000 pixels": photograph,
}
