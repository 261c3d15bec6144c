"""Stand-in digits and garments, drawn from a seed: a lesson without network or files.

Every image is an augmented prototype: digits from Matplotlib's fonts, garments from polygons.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw
from scipy import ndimage

from common.augment import augment, smooth_noise

TRAINING_IMAGES, TEST_IMAGES = 12_000, 2_000
SIDE = 28
SCALE = 2  # prototypes are drawn at twice their size, so that their edges are smooth
DIGIT_HEIGHT = 20  # MNIST's digits fit a box of 20 x 20 pixels
GARMENT_PROTOTYPES = 60
VARIATION = {"shift": 1, "rotation": 10, "zoom": 0.12, "elastic": 0.9}

# Dilation thickens fonts with hairlines, erosion thins heavy ones; the reverse would break or clog.
FONTS = {
    ndimage.grey_dilation: "DejaVuSans DejaVuSans-Oblique DejaVuSansMono DejaVuSansMono-Oblique "
    "DejaVuSerif DejaVuSerif-Italic STIXGeneral STIXGeneralItalic STIXGeneralBol "
    "STIXGeneralBolIta cmr10 cmb10 cmss10 cmtt10",
    ndimage.grey_erosion: "DejaVuSans-Bold DejaVuSans-BoldOblique DejaVuSansMono-Bold "
    "DejaVuSansMono-BoldOblique",
}

# Garments, a polygon a line: label and name, designs that have it (1, 2 or both), brightness (0
# cuts a hole), and corners x y in pixels, x from the middle, y from the top. Of all but the shoes,
# which are seen from the side, these are the right half's, downwards; the left half mirrors it.
GARMENTS = """
0 t-shirt  12 0.9   0 4  3 2  6 3  13 9  10 12  7 10  7 26
1 trouser  12 0.9   4 1  6 11  6 27  2 27  0 10
2 pullover 12 0.9   0 4  3 2  6 3  9 8  13 21  10 22  7 12  7 26
3 dress    1  0.9   0 5  2 1  4 3  4 9  3 13  8 27
3 dress    2  0.9   0 5  2 1  5 2  9 8  7 10  4 8  3 13  5 27
4 coat     12 0.9   0 4  3 2  6 3  9 8  13 21  10 22  7 12  7 26
4 coat     12 0.1   3 1  0.5 10  0.5 27
5 sandal   1  0.9   -13 20  -4 19  12 12  13 20  11 20  10 16  -3 21  -13 21
5 sandal   2  0.9   -13 20  -13 19  13 18  13 21  -13 21
5 sandal   12 0.8   -10 20  -8 15  -3 12  -1 13  -6 16  -7 20
5 sandal   1  0.7   4 17  8 7  11 7  8 16
5 sandal   2  0.7   3 19  0 13  11 11  13 19  11 19  10 13  3 14  5 19
6 shirt    1  0.9   0 4  3 2  6 3  9 8  13 21  10 22  7 12  7 26
6 shirt    2  0.9   0 4  3 2  6 3  13 9  10 12  7 10  7 26
6 shirt    12 1.0   3 2  4 4  0 8
6 shirt    12 0.3   1 9  1 11
6 shirt    12 0.3   1 16  1 18
7 sneaker  12 0.8   -13 20  -13 16  -7 14  1 10  5 9  8 11  12 9  13 20
7 sneaker  1  0.4   -2 17  1 11  4 11  0 17
7 sneaker  12 1.0   -13 19  13 19  13 21  -13 21
8 bag      12 0.7   0 2  4 3  6 8  6 12
8 bag      12 0.0   0 4  3 5  5 8  5 12
8 bag      12 0.9   9 10  12 17  11 25
9 boot     12 0.9   -13 25  -13 21  -7 18  0 14  1 4  11 3  12 26  7 26  6 24
"""
SHOES = (5, 7, 9)


def synthesise(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Stand-ins for "mnist" or "fashion_mnist": training images and labels, test images and labels.

    Images: uint8 (12000, 28, 28) and (2000, 28, 28), 0 black to 255. Labels: uint8, 0 to 9, every
    class equally often. A seed gives the same bytes again under the same library versions.
    """
    rng = np.random.default_rng(seed)
    drawn = _digits() if name == "mnist" else _garments(rng)
    prototypes = drawn.reshape(10, -1, SIDE, SCALE, SIDE, SCALE).mean((3, 5)).astype(np.uint8)
    arrays = []
    for count in (TRAINING_IMAGES, TEST_IMAGES):
        labels = rng.permutation(np.arange(count) % 10)
        chosen = rng.integers(prototypes.shape[1], size=count)
        images = augment(prototypes[labels, chosen], rng, **VARIATION)
        brightness = rng.uniform(*((1, 1.4) if name == "mnist" else (0.3, 1.1)), (count, 1, 1))
        if name != "mnist":  # folded and woven
            brightness = brightness * (1 + 0.2 * smooth_noise(rng, images.shape))
            brightness *= 1 + 0.1 * rng.standard_normal(images.shape)
        arrays += [np.clip(images * brightness, 0, 255).astype(np.uint8), labels.astype(np.uint8)]
    return tuple(arrays)


def _digits() -> np.ndarray:
    """Digits in every font and three stroke widths: float (10, k, 56, 56), 0 to 255."""
    fonts = [(font, change) for change, names in FONTS.items() for font in names.split()]
    prototypes = []
    for digit in "0123456789":
        drawn = [(_draw_digit(digit, font), change) for font, change in fonts]
        prototypes.append([change(d, (w, w)) for d, change in drawn for w in (1, 2, 3)])
    return np.array(prototypes)


def _draw_digit(digit: str, font: str) -> np.ndarray:
    """A digit with its centre of mass in the middle, as MNIST's are: float (56, 56), 0 to 255."""
    face = FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")))
    canvas = np.zeros((SCALE * SIDE, SCALE * SIDE))
    size = SCALE * SIDE
    for _ in range(2):  # the first drawing measures the font, the second has the right height
        face.set_size(size, 72)
        face.set_text(digit)
        face.draw_glyphs_to_bitmap()
        glyph = np.asarray(face.get_image())
        size *= SCALE * DIGIT_HEIGHT / np.ptp(np.nonzero(glyph.any(axis=1)))
    canvas[: glyph.shape[0], : glyph.shape[1]] = glyph
    shift = (len(canvas) - 1) / 2 - np.array(ndimage.center_of_mass(canvas))
    return np.clip(ndimage.shift(canvas, shift, order=1), 0, 255)


def _garments(rng: np.random.Generator) -> np.ndarray:
    """Random cuts of every garment: uint8 (10, k, 56, 56)."""
    side = SCALE * SIDE
    parts = [line.split() for line in GARMENTS.strip().splitlines()]
    prototypes = np.empty((10, GARMENT_PROTOTYPES, side, side), np.uint8)
    for label, number in np.ndindex(prototypes.shape[:2]):
        picture = Image.new("L", (side, side))
        size = SCALE * rng.uniform(0.8, 1.05, 2)
        for part_label, _, designs, brightness, *numbers in parts:
            if int(part_label) == label and str(1 + number % 2) in designs:
                corners = np.array(numbers, float).reshape(-1, 2)
                corners += rng.normal(0, 0.6, corners.shape)  # no two are cut alike
                if label not in SHOES:
                    corners = np.vstack([corners, corners[::-1] * (-1, 1)])
                polygon = [tuple(corner) for corner in size * corners + (side / 2, 0)]
                ImageDraw.Draw(picture).polygon(polygon, fill=round(255 * float(brightness)))
        # Fashion-MNIST centres the box that holds the garment.
        pixels = np.asarray(picture)
        first, *_, last = np.flatnonzero(pixels.any(axis=1))
        prototypes[label, number] = np.roll(pixels, (side - 1 - first - last) // 2, axis=0)
    return prototypes
