"""Pictures that people bring: read from a file, upright, in colour, of a size to work with."""

import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps
from PIL.Image import Resampling

from common.errors import UserError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # few: each decoder reads strangers' files
LONGEST_SIDE = 1280  # pixels; a digit of a fortieth of it still fills MNIST's box of 20


def read_picture(path: Path | IO[bytes]) -> np.ndarray:
    """The first picture of a file or of its bytes, upright: float32 (h, w, 3), 0 to 1.

    Larger ones are scaled down to `LONGEST_SIDE`. What is transparent becomes white, or black where
    the rest is light. Raises UserError, without the path, for a file that is missing, damaged, not
    a picture, or so large that it may be meant to fill the memory.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():  # a pipe may never end
        kind = "a folder: name the pictures in it" if path.is_dir() else "not a file"
        raise UserError(f"it is {kind}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                image.draft(image.mode, (LONGEST_SIDE, LONGEST_SIDE))  # a JPEG is decoded smaller
                return _on_paper(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = Image.MAX_IMAGE_PIXELS / 1e6
        raise UserError(f"it has more than {most:.0f} million pixels: scale it down") from None
    except Image.UnidentifiedImageError:
        raise UserError("it is not a picture that can be read: save it as PNG or JPEG") from None
    except Exception as error:  # whatever a damaged file makes Pillow raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"it cannot be read: {reason}") from error


def _on_paper(image: Image.Image) -> np.ndarray:
    """A picture of any mode as `read_picture` gives it."""
    if image.mode.startswith(("I", "F")):  # 16 bits and more: the brightest pixel becomes white
        values = np.asarray(image).astype(np.float32)
        image = Image.fromarray(np.uint8(255 * values / max(values.max(), 1)))
    image = image.convert("RGBA")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Resampling.BOX)
    values = np.asarray(image).astype(np.float32) / 255
    picture, opacity = values[..., :3], values[..., 3:]
    brightness = (luminance(picture) * opacity[..., 0]).sum() / max(opacity.sum(), 1)
    return opacity * picture + (1 - opacity) * (brightness <= 0.5)


def luminance(picture: np.ndarray) -> np.ndarray:
    """How bright red, green and blue (..., 3) look, as ITU-R BT.601 weighs them: (...)."""
    return picture @ np.array([0.299, 0.587, 0.114], np.float32)


def fit(picture: np.ndarray, longest: int, filter=Resampling.BOX) -> np.ndarray:
    """A float32 picture (h, w) or (h, w, 3) whose longer side has `longest` pixels."""
    scale = longest / max(picture.shape[:2])
    return resize(picture, *(max(1, round(side * scale)) for side in picture.shape[:2]), filter)


def resize(picture: np.ndarray, height: int, width: int, filter=Resampling.BILINEAR) -> np.ndarray:
    """A float32 picture (h, w) or (h, w, 3) of another height and width."""
    if picture.ndim == 3:
        channels = np.moveaxis(picture, -1, 0)
        return np.stack([resize(one, height, width, filter) for one in channels], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(image.resize((width, height), filter))


def rim(shape: tuple[int, int], fraction: float = 0.02) -> np.ndarray:
    """Which pixels of a picture lie along its four edges: bool (h, w)."""
    width = max(1, round(fraction * max(shape)))
    mask = np.ones(shape, bool)
    mask[width:-width, width:-width] = False
    return mask
