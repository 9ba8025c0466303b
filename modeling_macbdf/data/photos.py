"""Photographs in a dataset: clips of a single step, for self-blending and its like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..media.container import DecodeLimits
from ..media.decode import Frame
from ..media.outcomes import MediaError, Status, check_file
from .cache import CacheSettings

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def is_photo(path: str) -> bool:
    """Whether the file's name is that of a picture."""
    return Path(path).suffix.lower() in PHOTO_SUFFIXES


def _open(path: str) -> Image.Image:
    check_file(path, DecodeLimits().max_bytes)
    try:
        return Image.open(path)
    except (OSError, Image.DecompressionBombError) as error:
        raise MediaError(Status.undecodable, f"opening the picture failed: {error}", path) from error


def photo_codec(path: str) -> str:
    """Codec and size that the file declares, such as "jpeg 640x480".

    Raises:
        MediaError: it is missing, unreadable or no picture.
    """
    with _open(path) as image:
        return f"{str(image.format).lower()} {image.width}x{image.height}"


def photo_frames(path: str, settings: CacheSettings) -> Iterator[Frame]:
    """The picture, turned upright as its EXIF data tell, as the frame of the first step.

    Raises:
        MediaError: it is missing, unreadable or no picture.
    """
    with _open(path) as image:
        try:
            rgb = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, SyntaxError) as error:  # the latter: EXIF data that are none
            raise MediaError(Status.undecodable, f"decoding the picture failed: {error}", path) from error
    yield Frame(settings.middle, 0.5 / settings.frame_rate_hz, rgb, 0.0)
