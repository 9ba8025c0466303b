"""Pseudo-fakes by re-synthesis: the texture that a generator gives to a face it paints anew.

Every treatment is constant over the clip. It covers the face, its lower half or the whole crop (whole-head
generators repaint the background as well).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from .clips import Clip
from .pictures import (
    BICUBIC,
    BILINEAR,
    NEAREST,
    Rng,
    change_inside,
    down_up,
    luma,
    random_down_up,
    resize,
    sharpen,
    tall,
    untall,
    with_luma,
)
from .regions import region_mask

PATCH = 8  # px, side of the patches that the principal components describe
Result = tuple[np.ndarray, np.ndarray]


def smooth_skin(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """Fine texture and sensor noise go, contours stay: detail below a threshold is cored."""
    old = tall(frames).convert("L")
    smooth = old.filter(ImageFilter.BoxBlur(rng.uniform(0.8, 2.5)))
    detail = (np.asarray(old, np.int16) - np.asarray(smooth, np.int16)).reshape(frames.shape[:3])
    levels = np.arange(-255, 256, dtype=np.float32)
    kept = np.rint(levels**3 / (levels**2 + rng.uniform(4, 14) ** 2)).astype(np.int16)
    change = kept[detail + 255] - detail
    return np.clip(frames + change[..., None], 0, 255).astype(np.uint8)


def project_patches(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """Luma patches replaced by their leading principal components: detail of a low-dimensional model."""
    old = luma(frames)
    steps, rows, columns = len(old), old.shape[1] // PATCH, old.shape[2] // PATCH
    inside = (slice(None), slice(0, rows * PATCH), slice(0, columns * PATCH))
    view = old[inside].astype(np.float32)
    patches = view.reshape(steps, rows, PATCH, columns, PATCH).transpose(0, 1, 3, 2, 4).reshape(-1, PATCH * PATCH)
    mean = patches.mean(axis=0)
    sample = patches[rng.integers(0, len(patches), 1500)] - mean
    _, basis = np.linalg.eigh(sample.T @ sample)
    basis = basis[:, -int(rng.integers(8, 28)) :].astype(np.float32)
    flat = (patches - mean) @ basis @ basis.T + mean
    flat = flat.reshape(steps, rows, columns, PATCH, PATCH).transpose(0, 1, 3, 2, 4).reshape(view.shape)
    out = frames.copy()
    out[inside] = with_luma(frames[inside], old[inside], flat)
    return out


def upsampling_grid(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """The lattice of transposed convolutions: a periodic gain on a generator's own grid, resampled to the crop."""
    height, width = frames.shape[1:3]
    period = int(rng.choice((2, 2, 4, 8)))
    grid = rng.uniform(0.6, 1.4)  # generator's px for each px of the crop
    small = (round(width * grid), round(height * grid))
    cell = rng.normal(0, 1, (period, period))
    tiles = (small[1] // period + 1, small[0] // period + 1)
    pattern = np.tile(cell - cell.mean(), tiles)[: small[1], : small[0]].astype(np.float32)
    pattern = np.asarray(Image.fromarray(pattern).resize((width, height), Image.Resampling.BICUBIC))
    soft = down_up(frames, min(1.0, grid) / 2, BILINEAR, NEAREST)  # nearest: the blocks of a doubling
    mixed = untall(Image.blend(tall(frames), tall(soft), rng.uniform(0.1, 0.5)), frames)
    gain = np.rint(rng.uniform(0.01, 0.035) * 256 * pattern).astype(np.int16)
    change = (luma(mixed).astype(np.int32) * gain) // 256
    return np.clip(mixed + change[..., None], 0, 255).astype(np.uint8)


def soften(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """A generator of lower resolution: down, up, sometimes sharpened afterwards as restoration networks do."""
    soft = random_down_up(frames, rng, 0.3, 0.75)
    if rng.random() < 0.5:
        return sharpen(soft, rng.uniform(0.6, 2.0), rng.uniform(1, 2.5))
    return soft


def quantize_tones(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """Coarse tones on a shrunk copy: the flat patches of vector-quantised generators."""
    levels = int(rng.integers(10, 28))
    table = (np.round(np.arange(256) / 255 * levels) * 255 / levels).round().astype(np.uint8)
    height, width = frames.shape[1:3]
    factor = rng.uniform(0.35, 0.7)
    small = resize(frames, round(height * factor), round(width * factor), BILINEAR)
    painted = resize(np.take(table, small), height, width, BICUBIC)
    return untall(Image.blend(tall(frames), tall(painted), rng.uniform(0.4, 0.8)), frames)


def stick_texture(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """Fine detail of one moment glued to the screen while the face moves beneath it: generators' sticking texture."""
    radius = rng.uniform(1.0, 2.5)
    smooth = untall(tall(frames).filter(ImageFilter.BoxBlur(radius)), frames)
    chosen = int(rng.integers(len(frames)))
    detail = (frames[chosen].astype(np.int16) - smooth[chosen]) * rng.uniform(0.6, 1.0)
    return (smooth + detail[None]).clip(0, 255).astype(np.uint8)


TREATMENTS: dict[str, Callable[[np.ndarray, Rng], np.ndarray]] = {
    "smooth_skin": smooth_skin,
    "project_patches": project_patches,
    "upsampling_grid": upsampling_grid,
    "soften": soften,
    "quantize_tones": quantize_tones,
    "stick_texture": stick_texture,
}


def repaint(frames: np.ndarray, rng: Rng, treatment: str | None = None) -> np.ndarray:
    """Frames after one treatment, chosen at random unless named."""
    names = tuple(TREATMENTS)
    return TREATMENTS[treatment or names[rng.integers(len(names))]](frames, rng)


def resynthesis(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """A face, or the whole crop, painted anew by one or two treatments."""
    del donor
    region = str(rng.choice(("crop", "face", "inner", "lower"), p=(0.45, 0.30, 0.15, 0.10)))
    twice = rng.random() < 0.25

    def paint(frames: np.ndarray) -> np.ndarray:
        painted = repaint(frames, rng)
        return repaint(painted, rng) if twice else painted

    if region == "crop":
        return paint(clip.frames), clip.video_mask.copy()
    mask = region_mask(clip.landmarks, clip.frames.shape[1], rng, region)
    return change_inside(clip.frames, mask, paint), clip.video_mask.copy()
