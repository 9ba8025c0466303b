"""Photographs in a dataset: clips of a single step, for self-blending and its like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

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


def photo_info(path: str) -> str:
    """What the file declares, as JSON, like a clip's.

    Raises:
        MediaError: it is missing, unreadable or no picture.
    """
    with _open(path) as image:
        video = {"codec": str(image.format).lower(), "width": image.width, "height": image.height}
    size = Path(path).stat().st_size
    return json.dumps({"container": "image", "size_bytes": size, "duration_s": None, "video": video, "audio": None})


def photo_frames(path: str, settings: CacheSettings) -> Iterator[Frame]:
    """The picture as the frame of the first step.

    Raises:
        MediaError: it is missing, unreadable or no picture.
    """
    with _open(path) as image:
        try:
            rgb = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise MediaError(Status.undecodable, f"decoding the picture failed: {error}", path) from error
    yield Frame(settings.middle, 0.5 / settings.frame_rate_hz, rgb, 0.0)
