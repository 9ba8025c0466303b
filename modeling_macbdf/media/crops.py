"""Square face crops, cut from the original frame with one resampling.

Where a crop reaches past the frame, the frame's edge pixels are repeated. This is the same everywhere: in training, in
serving and in the cache.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .outcomes import missing_extra

try:
    from PIL import Image
except ImportError as error:
    raise missing_extra("pillow", "media") from error

# Antialiased when shrinking (the kernel widens with the factor), sharp when enlarging.
_FILTER = Image.Resampling.BICUBIC
_SUPPORT = 2.0  # pixels on each side of a bicubic kernel at factor 1


def square_of(box: NDArray[np.floating], scale: float) -> NDArray[np.float64]:
    """Return the square around a face box: same centre, side = scale x the box's longer side.

    Args:
        box (`np.ndarray` of shape `(4,)`): Left, top, right, bottom in pixels.
        scale (`float`): Side of the square over the box's longer side.
    """
    box = np.asarray(box, dtype=np.float64)
    centre = (box[:2] + box[2:]) / 2
    half = scale * max(box[2] - box[0], box[3] - box[1]) / 2
    return np.concatenate([centre - half, centre + half])


def crop_square(rgb: NDArray[np.uint8], square: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """Cut a square at sub-pixel precision and resample it once.

    Args:
        rgb (`np.ndarray` of shape `(H, W, 3)`, uint8): A frame.
        square (`np.ndarray` of shape `(4,)`): Left, top, right, bottom in pixels; may reach past the frame.
        size (`int`): Side of the result in pixels.

    Returns:
        `np.ndarray` of shape `(size, size, 3)`, uint8.
    """
    left, top, right, bottom = (float(v) for v in square)
    if not right - left > 0 or not bottom - top > 0:
        raise ValueError(f"square must have positive sides, but got {left, top, right, bottom}.")
    margin = math.ceil(_SUPPORT * max((right - left) / size, 1.0))
    x0, y0 = math.floor(left) - margin, math.floor(top) - margin
    region = _region(rgb, x0, y0, math.ceil(right) + margin, math.ceil(bottom) + margin)
    inside = (left - x0, top - y0, right - x0, bottom - y0)
    return np.asarray(Image.fromarray(region).resize((size, size), _FILTER, box=inside))


def _region(rgb: NDArray[np.uint8], x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    """Copy rows y0..y1 and columns x0..x1 of a frame, edge pixels repeated outside it."""
    height, width = rgb.shape[:2]
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return np.ascontiguousarray(rgb[y0:y1, x0:x1])
    rows = np.clip(np.arange(y0, y1), 0, height - 1)
    columns = np.clip(np.arange(x0, x1), 0, width - 1)
    return rgb[rows[:, None], columns]


def to_crop_pixels(points: NDArray[np.floating], square: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Map points `(N, 2)` from frame pixels to the pixels of a crop of the square."""
    square = np.asarray(square, dtype=np.float64)
    return ((points - square[:2]) * (size / (square[2:] - square[:2]))).astype(np.float32)
