"""Stand-in digits and garments, drawn and warped from a seed: a lesson without network or files.

Digits come from the fonts that Matplotlib ships, garments from polygons. Each class has a few dozen
prototypes at twice the final resolution; every image is one prototype under a random affine map and
an elastic deformation (Simard, Steinkraus and Platt, "Best practices for convolutional neural
networks applied to visual document analysis", 2003). Accuracies on these images say nothing about
MNIST or Fashion-MNIST; they only show that a model learns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

TRAIN_IMAGES = 12_000
TEST_IMAGES = 2_000
CLASSES = 10
SIDE = 28
OVERSAMPLING = 2
PROTOTYPE_SIDE = OVERSAMPLING * SIDE
DIGIT_HEIGHT = 20  # MNIST's digits are scaled to fit a box of 20 x 20 pixels.
GARMENT_PROTOTYPES = 60
ELASTIC_SIGMA = 4.0  # The smoothness that Simard et al. found best on MNIST, in pixels.
ANTIALIAS_SIGMA = 0.4 * OVERSAMPLING  # Removes what the final pixels could not show.
BATCH = 1_000  # Bounds the memory of a warp to some tens of megabytes.

# Dilation thickens fonts with hairlines, erosion thins heavy ones; the reverse would break or clog.
FONTS_TO_THICKEN = (
    "DejaVuSans DejaVuSans-Oblique DejaVuSansMono DejaVuSansMono-Oblique DejaVuSerif"
    " DejaVuSerif-Italic STIXGeneral STIXGeneralItalic STIXGeneralBol STIXGeneralBolIta"
    " cmr10 cmb10 cmss10 cmtt10"
).split()
FONTS_TO_THIN = (
    "DejaVuSans-Bold DejaVuSans-BoldOblique DejaVuSansMono-Bold DejaVuSansMono-BoldOblique"
).split()
STROKE_CHANGES = (1, 2, 3)  # Sides of the square that dilates or erodes; 1 changes nothing.

# A garment is painted part by part: the corners (x, y) of a polygon, and its brightness. The image
# spans -1 to 1 both ways, y points down, and brightness 0 cuts a hole.
Polygon = list[tuple[float, float]]
Part = tuple[Polygon, float]


@dataclass(frozen=True)
class Variation:
    """How far the images of one set differ: standard deviations, lengths in pixels."""

    rotation: float  # radians
    slant: float  # columns per row
    scale: float  # natural logarithm
    shift: float
    elastic: float


DIGIT_VARIATION = Variation(rotation=0.10, slant=0.15, scale=0.08, shift=0.7, elastic=0.9)
GARMENT_VARIATION = Variation(rotation=0.06, slant=0.06, scale=0.08, shift=1.0, elastic=0.7)


def render(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images, train labels, test images and test labels of a stand-in set.

    `name` is "mnist" (digits 0 to 9) or "fashion_mnist" (garments in Fashion-MNIST's class order);
    any other raises ValueError. Images: uint8 (12000, 28, 28) and (2000, 28, 28), from 0 for the
    background to 255. Labels: uint8 (12000,) and (2000,), 0 to 9, shuffled, every class equally
    often. A seed gives the same bytes again under the same library versions (Matplotlib's drawing
    of glyphs varies a little); NumPy's global random state is neither read nor set.
    """
    if name not in ("mnist", "fashion_mnist"):
        raise ValueError(f"name must be 'mnist' or 'fashion_mnist', not {name!r}")
    rng = np.random.default_rng(seed)
    if name == "mnist":
        prototypes, variation, finish = _digit_prototypes(), DIGIT_VARIATION, _as_ink
    else:
        prototypes, variation, finish = _garment_prototypes(rng), GARMENT_VARIATION, _as_cloth
    prototypes = ndimage.gaussian_filter(prototypes, (0, 0, ANTIALIAS_SIGMA, ANTIALIAS_SIGMA))
    sets = []
    for count in (TRAIN_IMAGES, TEST_IMAGES):
        labels = rng.permutation(np.arange(count) % CLASSES)
        images = np.empty((count, SIDE, SIDE), np.uint8)
        for start in range(0, count, BATCH):
            batch = slice(start, start + BATCH)
            drawn = finish(_warp(prototypes, labels[batch], variation, rng), rng)
            images[batch] = np.rint(255 * np.clip(drawn, 0, 1))
        sets += [images, labels.astype(np.uint8)]
    return tuple(sets)


def _warp(
    prototypes: np.ndarray, labels: np.ndarray, variation: Variation, rng: np.random.Generator
) -> np.ndarray:
    """One randomly deformed prototype per label: float64 (n, 28, 28), 0 to 1.

    `prototypes` is float64 (10, k, 56, 56), 0 to 1, `labels` int (n,).
    """
    count = len(labels)
    angle = rng.normal(0, variation.rotation, count)
    slant = rng.normal(0, variation.slant, count)
    stretch = np.exp(rng.normal(0, variation.scale, (2, count)))
    offset = rng.normal(0, variation.shift, (2, count, 1, 1))

    centre = (SIDE - 1) / 2
    row, column = np.mgrid[:SIDE, :SIDE] - centre
    cosine, sine = (f(angle)[:, None, None] for f in (np.cos, np.sin))
    rows = (cosine * row + sine * column) * stretch[0, :, None, None]
    columns = (cosine * column - sine * row) * stretch[1, :, None, None]
    columns += slant[:, None, None] * rows
    rows += offset[0] + variation.elastic * _smooth_noise(count, ELASTIC_SIGMA, rng)
    columns += offset[1] + variation.elastic * _smooth_noise(count, ELASTIC_SIGMA, rng)

    # All prototypes stand in one tall sheet, so that a single two-dimensional look-up serves the
    # batch; the clip keeps a pixel from reading its neighbour's ink.
    middle, last = (PROTOTYPE_SIDE - 1) / 2, PROTOTYPE_SIDE - 1
    sheet = prototypes.reshape(-1, PROTOTYPE_SIDE)
    chosen = labels * prototypes.shape[1] + rng.integers(prototypes.shape[1], size=count)
    rows = np.clip(middle + OVERSAMPLING * rows, 0, last)
    rows += PROTOTYPE_SIDE * chosen[:, None, None]
    columns = middle + OVERSAMPLING * columns
    return ndimage.map_coordinates(sheet, (rows, columns), order=1)


def _smooth_noise(count: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian-filtered white noise of unit variance: float64 (count, 28, 28)."""
    # The filter as a matrix: a product with it is far faster than filtering image by image.
    kernel = ndimage.gaussian_filter1d(np.eye(SIDE), sigma, axis=0)
    kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)
    return kernel @ rng.standard_normal((count, SIDE, SIDE)) @ kernel.T


def _as_ink(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pen strokes of varying sharpness, mostly saturated: float64 (n, 28, 28), ink at about 1."""
    shape = (len(images), 1, 1)
    softness = rng.uniform(0, 1, shape)
    pressure = rng.uniform(1, 1.4, shape)
    blurred = ndimage.gaussian_filter(images, (0, 0.8, 0.8))
    images = images + softness * (blurred - images)
    return pressure * images / images.max(axis=(1, 2), keepdims=True)


def _as_cloth(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dyed, shaded, sometimes striped fabric: float64 (n, 28, 28), white at about 1."""
    count = len(images)
    shape = (count, 1, 1)
    row, column = np.mgrid[:SIDE, :SIDE]
    dye = rng.uniform(0.3, 1.1, shape)
    contrast = np.where(rng.random(shape) < 0.3, rng.uniform(0.2, 0.6, shape), 0)
    direction, phase = rng.uniform(0, 2 * np.pi, (2, *shape))
    frequency = rng.uniform(0.8, 1.8, shape)  # radians per pixel
    across = np.cos(direction) * row + np.sin(direction) * column
    stripes = 1 - contrast * (0.5 + 0.5 * np.sin(frequency * across + phase))
    folds = 1 + 0.12 * _smooth_noise(count, 2.0, rng)
    weave = 1 + 0.05 * rng.standard_normal(images.shape)
    return images * dye * stripes * folds * weave


def _digit_prototypes() -> np.ndarray:
    """Digits in every font and stroke width: float64 (10, fonts x widths, 56, 56), 0 to 1."""
    changes = [(font, ndimage.grey_dilation) for font in FONTS_TO_THICKEN]
    changes += [(font, ndimage.grey_erosion) for font in FONTS_TO_THIN]
    prototypes = []
    for digit in "0123456789":
        glyphs = [(_draw_glyph(digit, font), change) for font, change in changes]
        prototypes.append([change(g, (w, w)) for g, change in glyphs for w in STROKE_CHANGES])
    return np.array(prototypes)


def _draw_glyph(digit: str, font: str) -> np.ndarray:
    """A digit with its centre of mass in the middle, as MNIST's are: float64 (56, 56), 0 to 1."""
    # Imported here, as below: only the rendered sets need Matplotlib before the figures do.
    import matplotlib
    from matplotlib.ft2font import FT2Font

    face = FT2Font(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")))
    size = PROTOTYPE_SIDE
    for _ in range(2):  # The first drawing measures the font, the second has the right height.
        face.set_size(size, 72)
        face.set_text(digit)
        face.draw_glyphs_to_bitmap()
        glyph = np.asarray(face.get_image()) / 255
        size *= OVERSAMPLING * DIGIT_HEIGHT / np.ptp(np.nonzero(glyph.any(axis=1)))
    canvas = np.zeros((PROTOTYPE_SIDE, PROTOTYPE_SIDE))
    canvas[: glyph.shape[0], : glyph.shape[1]] = glyph
    middle = (PROTOTYPE_SIDE - 1) / 2
    shift = middle - np.array(ndimage.center_of_mass(canvas))
    return np.clip(ndimage.shift(canvas, shift, order=1), 0, 1)


def _garment_prototypes(rng: np.random.Generator) -> np.ndarray:
    """Random cuts of every garment: float64 (10, GARMENT_PROTOTYPES, 56, 56), 0 to 1."""
    from matplotlib.path import Path as Outline

    ticks = (np.arange(PROTOTYPE_SIDE) + 0.5) / SIDE - 1
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    prototypes = np.zeros((CLASSES, GARMENT_PROTOTYPES, PROTOTYPE_SIDE, PROTOTYPE_SIDE))
    for label, cut in enumerate(GARMENTS):
        for canvas in prototypes[label]:
            for corners, brightness in cut(rng):
                inside = Outline(corners).contains_points(points.reshape(-1, 2))
                canvas[inside.reshape(canvas.shape)] = brightness
            # Fashion-MNIST centres the box that holds the garment.
            first, *_, last = np.flatnonzero(canvas.any(axis=1))
            canvas[:] = np.roll(canvas, (PROTOTYPE_SIDE - 1 - first - last) // 2, axis=0)
    return prototypes


def _flipped(corners: Polygon) -> Polygon:
    """The mirror image about the vertical axis."""
    return [(-x, y) for x, y in corners]


def _mirrored(corners: Polygon) -> Polygon:
    """A symmetric outline from its right half, listed from top to bottom."""
    return [*corners, *reversed(_flipped(corners))]


def _ellipse(x: float, y: float, width: float, height: float) -> Polygon:
    """An ellipse as a polygon; `width` and `height` are its half axes."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return [(x + width * np.cos(a), y + height * np.sin(a)) for a in angles]


def _strip(x: float, half_width: float, y_top: float, y_bottom: float) -> Polygon:
    """An upright rectangle about the column `x`."""
    left, right = x - half_width, x + half_width
    return [(left, y_top), (right, y_top), (right, y_bottom), (left, y_bottom)]


def _top(rng: np.random.Generator, sleeve: float) -> list[Part]:
    """Two sleeves of that length, a body and the hole of the neck."""
    chest, flare, length, tone = rng.uniform((0.42, 0.85, 0.75, 0.7), (0.55, 1.1, 0.95, 1.0))
    angle = rng.normal(0.92 - 0.45 * sleeve, 0.08)  # Long sleeves hang, short ones stand off.
    reach, fall = np.sin(angle), np.cos(angle)
    arm = [
        (chest - 0.15 + along * reach + across * fall, along * fall - across * reach - 0.6)
        for along, across in ((0, 0.18), (sleeve, 0.11), (sleeve, -0.11), (0, -0.18))
    ]
    arm_tone = tone * rng.uniform(0.7, 1.0)
    hem, neck = flare * chest, rng.uniform((0.14, 0.06), (0.24, 0.2))
    body = [(0.2, -0.9), (chest, -0.75), (chest, -0.35), (0.5 * (chest + hem), 0.1), (hem, length)]
    sleeves = [(arm, arm_tone), (_flipped(arm), arm_tone)]
    return [*sleeves, (_mirrored(body), tone), (_ellipse(0, -0.92, *neck), 0.0)]


def _t_shirt(rng: np.random.Generator) -> list[Part]:
    return _top(rng, sleeve=rng.uniform(0.3, 0.6))


def _trouser(rng: np.random.Generator) -> list[Part]:
    tone, waist, cuff = rng.uniform((0.7, 0.26, 0.1), (1.0, 0.36, 0.18))
    spread, crotch = rng.uniform((0.2, -0.5), (0.32, -0.2))
    legs = [(waist, -0.92), (waist + 0.06, crotch), (spread + cuff, 0.92)]
    legs += [(spread - cuff, 0.92), (0, crotch)]
    return [(_mirrored(legs), tone), (_strip(0, waist, -0.92, -0.82), 0.6)]


def _pullover(rng: np.random.Generator) -> list[Part]:
    return _top(rng, sleeve=rng.uniform(1.15, 1.5))


def _dress(rng: np.random.Generator) -> list[Part]:
    tone, bust, flare, strap = rng.uniform((0.7, 0.2, 1.0, 0.1), (1.0, 0.34, 2.2, 0.2))
    body = [(strap, -0.95), (bust, -0.8), (bust, -0.5), (0.85 * bust, -0.2), (flare * bust, 0.95)]
    cap = [(0.5 * bust, -0.9), (bust + 0.3, -0.45), (bust + 0.12, -0.35), (0.5 * bust, -0.6)]
    sleeves = [(cap, 0.9 * tone), (_flipped(cap), 0.9 * tone)] if rng.random() < 0.4 else []
    neck = _ellipse(0, -0.97, 0.8 * strap, rng.uniform(0.1, 0.3))
    return [*sleeves, (_mirrored(body), tone), (neck, 0.0)]


def _coat(rng: np.random.Generator) -> list[Part]:
    opening, lapel, lining = rng.uniform((0.02, -0.4, 0.0), (0.06, 0.0, 0.35))
    collar = _mirrored([(0.2, -0.95), (opening, lapel)])
    parts = _top(rng, sleeve=rng.uniform(1.2, 1.55))
    return [*parts, (collar, 0.35), (_strip(0, opening, -0.5, 0.75), lining)]


def _sandal(rng: np.random.Generator) -> list[Part]:
    tone, heel, sole, instep = rng.uniform((0.6, 0.0, 0.08, 0.4), (1.0, 0.4, 0.16, 0.65))
    floor = 0.5
    bed = floor - sole - heel
    xs, ys = (-0.9, -0.65, -0.3, 0.5, 0.88), (floor, 0.12, 0.0, bed - instep, bed - instep)
    parts = [([*zip(xs, ys, strict=True), (0.88, bed)], tone * rng.uniform(0.7, 1.0))]
    edges = np.linspace(-0.8, 0.85, rng.integers(3, 6))
    for left, right in zip(edges + 0.06, edges[1:] - 0.06, strict=False):
        rim = rng.choice([-0.2, 0.14])  # Open above, or closed by a strap.
        upper_left, upper_right = np.interp((left, right), xs, ys) + rim
        parts.append(([(left, upper_left), (right, upper_right), (right, 1), (left, 1)], 0.0))
    base = [(-0.9, floor), (-0.9, floor - sole), (-0.2, floor - sole - 0.2 * heel), (0.85, bed)]
    base += [(0.9, floor), (0.65, floor), (0.1, floor - 0.3 * heel)]
    return [*parts, (base, tone)]


def _shirt(rng: np.random.Generator) -> list[Part]:
    short, long = rng.uniform((0.35, 1.0), (0.6, 1.45))
    collar = [(0.22, -0.95), (0.28, -0.72), (0.1, -0.62), (0.02, -0.78)]
    buttons = [(_ellipse(0, y, 0.06, 0.06), 0.2) for y in np.arange(-0.5, 0.8, 0.28)]
    parts = _top(rng, sleeve=short if rng.random() < 0.35 else long)
    return [*parts, (collar, 1.0), (_flipped(collar), 1.0), *buttons]


def _sneaker(rng: np.random.Generator) -> list[Part]:
    tone, ankle, toe, sole = rng.uniform((0.6, -0.25, 0.1, 0.08), (1.0, -0.05, 0.22, 0.16))
    floor = 0.42
    upper = [(-0.92, floor), (-0.9, toe), (-0.55, toe - 0.08), (0.1, ankle), (0.3, ankle + 0.06)]
    upper += [(0.6, ankle + 0.04), (0.85, ankle - 0.05), (0.92, floor)]
    stripe = [(-0.1, 0.25), (0.05, 0.25), (0.2, 0.02), (0.05, 0.02)]
    rubber = _strip(0, 0.92, floor - sole, floor)
    return [(upper, tone), (stripe, rng.uniform(0.3, 1.0)), (rubber, rng.choice([0.4, 1.0]))]


def _bag(rng: np.random.Generator) -> list[Part]:
    tone, width, rim, height = rng.uniform((0.6, 0.6, 0.7, 0.7), (1.0, 0.92, 1.0, 1.1))
    upper, lower = 0.75 - height, 0.75
    body = [(rim * width, upper), (width, 0.5 * (upper + lower)), (0.95 * width, lower)]
    handle, rise = rng.uniform((0.25, 0.2), (0.6, 0.6))
    parts = [(_ellipse(0, upper, handle, rise), 0.8 * tone)]
    parts += [(_ellipse(0, upper, handle - 0.09, rise - 0.09), 0.0), (_mirrored(body), tone)]
    flap = _strip(0, rim * width, upper, upper + rng.uniform(0.1, 0.5))
    return [*parts, (flap, tone * rng.uniform(0.6, 1.0))]


def _ankle_boot(rng: np.random.Generator) -> list[Part]:
    tone, shaft, toe, heel = rng.uniform((0.6, -0.85, 0.2, 0.0), (1.0, -0.45, 0.4, 0.25))
    floor, back = 0.7, rng.uniform(0.75, 0.9)
    boot = [(-0.9, floor), (-0.88, floor - 0.25), (-0.5, toe - 0.05), (0.0, toe - 0.35)]
    boot += [(0.05, shaft), (back, shaft - 0.04), (back, floor + heel)]
    boot += [(back - 0.35, floor + heel), (0.3, floor)]
    return [(boot, tone), (_strip(-0.3, 0.6, floor - 0.08, floor), 0.5)]


GARMENTS: tuple[Callable[[np.random.Generator], list[Part]], ...] = (
    *(_t_shirt, _trouser, _pullover, _dress, _coat),
    *(_sandal, _shirt, _sneaker, _bag, _ankle_boot),
)
