"""Pictures that people bring: read from a file, upright, in colour, of a size to work with."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from common.errors import UserError

# Few formats, because each is a decoder that strangers' files are fed to.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
LONGEST_SIDE = 1280  # pixels; a digit of a fortieth of it still fills MNIST's box of 20
BLACK, WHITE = 0.0, 1.0


def read_picture(path: Path | IO[bytes]) -> np.ndarray:
    """The first picture of a file or of its bytes, upright: float32 (h, w, 3), 0 to 1.

    Larger ones are scaled down to `LONGEST_SIDE`. What is transparent becomes white, or black where
    the rest is light. Raises UserError, in one line, for a file that is missing, damaged, no
    picture, or so large that it could be meant to fill the memory.
    """
    if isinstance(path, Path) and path.is_dir():
        raise UserError(f"{path} is a folder: name the pictures in it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                # JPEGs need not be decoded at their full size.
                image.draft(image.mode, (LONGEST_SIDE, LONGEST_SIDE))
                return _opaque(_scaled(ImageOps.exif_transpose(image)))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        most = Image.MAX_IMAGE_PIXELS / 1e6
        raise UserError(f"{path} has more than {most:.0f} million pixels: scale it down") from None
    except Image.UnidentifiedImageError:
        names = "PNG, JPEG, BMP, GIF or WebP"
        raise UserError(f"{path} is no picture that can be read: save it as {names}") from None
    except Exception as error:  # whatever a damaged file makes Pillow raise
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"{path} cannot be read: {reason}") from error


def luminance(picture: np.ndarray) -> np.ndarray:
    """How bright red, green and blue (..., 3) look, as ITU-R BT.601 weighs them: (...)."""
    return picture @ np.array([0.299, 0.587, 0.114], np.float32)


def resized(picture: np.ndarray, longest: int, filter=Image.Resampling.BOX) -> np.ndarray:
    """A float32 picture (h, w) or (h, w, 3) whose longer side has `longest` pixels."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    return stretched(picture, max(1, round(height * scale)), max(1, round(width * scale)), filter)


def stretched(
    picture: np.ndarray, height: int, width: int, filter=Image.Resampling.BILINEAR
) -> np.ndarray:
    """A float32 picture (h, w) or (h, w, 3) of another height and width."""
    if picture.ndim == 3:
        channels = np.moveaxis(picture, -1, 0)
        return np.stack([stretched(one, height, width, filter) for one in channels], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(image.resize((width, height), filter))


def _scaled(image: Image.Image) -> Image.Image:
    """Of at most `LONGEST_SIDE`, in mode F (0 to 1), RGB or RGBA."""
    if image.mode.startswith(("I", "F")):  # 16 bits and more: as bright as the brightest pixel
        values = np.asarray(image).astype(np.float32)
        image = Image.fromarray(values / max(values.max(), 1))
    else:
        transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BOX)
    return image


def _opaque(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.float32)
    if values.ndim == 2:
        return np.stack([values] * 3, axis=-1)
    values /= 255
    if values.shape[-1] == 3:
        return values
    picture, opacity = values[..., :3], values[..., 3:]
    brightness = (luminance(picture) * opacity[..., 0]).sum() / max(opacity.sum(), 1)
    return opacity * picture + (1 - opacity) * (BLACK if brightness > 0.5 else WHITE)
