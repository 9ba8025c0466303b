"""Fast operations on a stack of face crops: PIL, numpy and torch, on one core.

Frames are (T, S, S, 3) uint8. Many operations view the stack as one tall picture of T*S rows: one call of PIL
instead of T. A filter then mixes a few rows at the seam of two frames; callers that blur or resize use `per_frame`
where that would show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .clips import CANONICAL_LANDMARKS

MASK_SHRINK = 4  # masks are drawn and blurred at a quarter of the size: they are smooth
# How a picture is resized: torch's mode, and whether a smaller copy is smoothed first (many programs do not).
Way = tuple[str, bool]
BILINEAR, BICUBIC, ALIASED, SHARP = ("bilinear", True), ("bicubic", True), ("bilinear", False), ("bicubic", False)
DOWN_WAYS: tuple[Way, ...] = (BILINEAR, BICUBIC, ALIASED)
UP_WAYS: tuple[Way, ...] = (BILINEAR, BICUBIC, SHARP)
NEAREST = ("nearest-exact", False)
Rng = np.random.Generator


def tall(frames: np.ndarray) -> Image.Image:
    """(T, S, S, 3) as one picture of T*S rows."""
    return Image.fromarray(np.ascontiguousarray(frames).reshape(-1, *frames.shape[2:]))


def untall(image: Image.Image, like: np.ndarray) -> np.ndarray:
    """The picture of `tall` back as frames shaped like `like`."""
    return np.array(image).reshape(like.shape)


def per_frame(frames: np.ndarray, change: Callable[[int, Image.Image], Image.Image]) -> np.ndarray:
    """Frames changed one by one."""
    return np.stack([np.asarray(change(t, Image.fromarray(frame))) for t, frame in enumerate(frames)])


def usable_landmarks(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(T, 5, 2) px; steps where a point is unknown or far outside take the canonical face of the crop."""
    bad = ~np.isfinite(landmarks).all(axis=(1, 2))
    bad |= (np.abs(np.nan_to_num(landmarks) - size / 2) > size).any(axis=(1, 2))
    flat = np.abs(np.nan_to_num(landmarks[:, 3:].mean(axis=1) - landmarks[:, :2].mean(axis=1))).max(axis=1) < size / 16
    return np.where((bad | flat)[:, None, None], CANONICAL_LANDMARKS * size, landmarks).astype(np.float32)


def smooth_noise(rng: Rng, steps: int, width: int, scale: float, memory: float = 0.8) -> np.ndarray:
    """(steps, width) drift of standard deviation `scale`: a first-order autoregression."""
    noise = rng.standard_normal((steps, width)) * scale
    for t in range(1, steps):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return noise


def jitter_colour(frames: np.ndarray, rng: Rng, strength: float = 1.0) -> np.ndarray:
    """Brightness, contrast, gamma, white balance and saturation, the same for the whole stack."""
    levels = np.linspace(0, 1, 256)
    gain, lift = 1 + strength * rng.uniform(-0.15, 0.15), strength * rng.uniform(-0.06, 0.06)
    curve = (levels ** np.exp(strength * rng.uniform(-0.15, 0.15)) - 0.5) * gain + 0.5 + lift
    tables = [(curve + strength * shift).clip(0, 1) * 255 for shift in rng.uniform(-0.04, 0.04, 3)]
    image = tall(frames).point(np.concatenate(tables).round().astype(np.uint8).tolist())
    if rng.random() < 0.5:
        grey = image.convert("L").convert("RGB")
        image = Image.blend(grey, image, 1 + strength * rng.uniform(-0.3, 0.3))
    return untall(image, frames)


def resize(frames: np.ndarray, height: int, width: int, way: Way) -> np.ndarray:
    """Frames (T, height, width, 3) of another size. torch's kernels for 8 bits: a tenth of the time of PIL's."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)  # channels last in memory
    resized = F.interpolate(pictures, size=(height, width), mode=way[0], antialias=way[1])
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def down_up(frames: np.ndarray, factor: float, down: Way, up: Way) -> np.ndarray:
    """Frames shrunk to `factor` of their side and enlarged again."""
    height, width = frames.shape[1:3]
    small = resize(frames, max(8, round(height * factor)), max(8, round(width * factor)), down)
    return resize(small, height, width, up)


def random_down_up(frames: np.ndarray, rng: Rng, low: float, high: float) -> np.ndarray:
    """`down_up` with a random factor and in random ways."""
    down, up = DOWN_WAYS[rng.integers(len(DOWN_WAYS))], UP_WAYS[rng.integers(len(UP_WAYS))]
    return down_up(frames, rng.uniform(low, high), down, up)


def sharpen(frames: np.ndarray, amount: float, radius: float = 1.0) -> np.ndarray:
    """Detail finer than `radius` px raised by `amount` (0.5 = half as much again)."""
    image = tall(frames)
    return untall(Image.blend(image.filter(ImageFilter.BoxBlur(radius)), image, 1 + amount), frames)


def luma(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 brightness."""
    return np.array(tall(frames).convert("L")).reshape(frames.shape[:3])


def with_luma(frames: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Frames whose brightness goes from `old` to `new`; the colour differences stay."""
    change = np.rint(new - old.astype(np.float32)).astype(np.int16)
    return np.clip(frames + change[..., None], 0, 255).astype(np.uint8)


def outline_masks(outlines: Sequence[np.ndarray], size: int, blur_px: float, alpha: float = 1.0) -> np.ndarray:
    """(T, size, size) uint8 masks with one soft filled polygon a step, zero at the border of the crop.

    Args:
        outlines: T polygons (K, 2) in px of the crop.
        size: side of the crop in px.
        blur_px: width of the soft edge.
        alpha: weight inside, in (0, 1].
    """
    small = size // MASK_SHRINK
    window = border_window(small, margin=2)
    images = []
    for outline in outlines:
        mask = Image.new("L", (small, small), 0)
        points = [(float(x), float(y)) for x, y in outline / MASK_SHRINK]
        ImageDraw.Draw(mask).polygon(points, fill=round(255 * alpha))
        soft = ImageChops.multiply(mask.filter(ImageFilter.GaussianBlur(max(0.4, blur_px / MASK_SHRINK))), window)
        images.append(np.asarray(soft))
    masks = torch.from_numpy(np.stack(images))[:, None]
    return F.interpolate(masks, size=(size, size), mode="bilinear")[:, 0].numpy()


@lru_cache(maxsize=4)
def border_window(size: int, margin: int) -> Image.Image:
    """(size, size) grey picture, 255 inside, falling to 0 over `margin` px at the border: no edge becomes a cue."""
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]).clip(0, margin) / margin
    return Image.fromarray((np.minimum.outer(ramp, ramp) * 255).astype(np.uint8))


def blend(inside: np.ndarray, outside: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`inside` where the mask (T, H, W) uint8 is 255, `outside` where it is 0."""
    grey = Image.fromarray(np.ascontiguousarray(mask).reshape(-1, mask.shape[2]))
    return untall(Image.composite(tall(inside), tall(outside), grey), outside)


def mask_box(mask: np.ndarray, margin: int = 4) -> tuple[slice, slice]:
    """Rows and columns outside which the masks (T, S, S) are zero at every step, with a margin in px."""
    touched = mask.max(axis=0) > 0
    if not touched.any():
        return slice(0, len(touched)), slice(0, len(touched))
    parts = []
    for axis in (1, 0):
        hit = np.flatnonzero(touched.any(axis=axis))
        parts.append(slice(max(0, int(hit[0]) - margin), min(len(touched), int(hit[-1]) + 1 + margin)))
    return parts[0], parts[1]


def change_inside(frames: np.ndarray, mask: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Frames with `change` blended in by the mask; only the mask's box is computed."""
    rows, columns = mask_box(mask)
    part = frames[:, rows, columns]
    out = frames.copy()
    out[:, rows, columns] = blend(change(part), part, mask[:, rows, columns])
    return out
