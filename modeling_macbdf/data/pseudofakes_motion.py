"""Pseudo-fakes by motion: frozen or spliced frames, one picture made to talk, motion without the jitter of life."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .clips import Clip
from .pictures import Rng, change_inside, mask_box, smooth_noise, usable_landmarks
from .pseudofakes_resynthesis import repaint, smooth_skin
from .regions import face_frames, region_mask
from .warps import affine_warp, mesh_corners, mesh_warp, move_corners, similarity, similarity_matrices

CELLS = 8  # of the mesh that moves a still face
Result = tuple[np.ndarray, np.ndarray]


def _segment(rng: Rng, valid: np.ndarray, shortest: int = 3) -> np.ndarray:
    """Indices of a random run of valid steps."""
    steps = np.flatnonzero(valid)
    length = min(len(steps), int(rng.integers(shortest, max(shortest + 1, len(steps)))))
    start = int(rng.integers(0, len(steps) - length + 1))
    return steps[start : start + length]


def freeze_or_splice(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """A run of frames frozen, played backwards, or taken from another moment of the clip."""
    del donor
    run = _segment(rng, clip.video_mask)
    frames, forged = clip.frames.copy(), np.zeros(clip.steps, bool)
    way = int(rng.integers(3))
    steps = np.flatnonzero(clip.video_mask)
    place = np.searchsorted(steps, run)
    if way == 0:
        source = np.full(len(run), run[0])
    elif way == 1:
        source = run[::-1]
    else:
        shift = int(rng.integers(2, max(3, len(steps) - 1)))
        source = steps[(place + min(shift, len(steps) - 1)) % len(steps)]  # two steps change places
    frames[run] = clip.frames[source]
    forged[run] = source != run
    return frames, forged


def _envelope(clip: Clip, rng: Rng) -> np.ndarray:
    """(T,) how far the mouth opens in [0, 1]: by the voice, or at random where there is none."""
    if clip.has_voice and rng.random() < 0.8:
        loud = np.sqrt((clip.audio.reshape(clip.steps, -1) ** 2).mean(axis=1))
        return np.clip(loud / max(float(np.quantile(loud, 0.9)), 1e-4), 0, 1)
    return np.abs(smooth_noise(rng, clip.steps, 1, 0.6, memory=0.4))[:, 0].clip(0, 1)


def _bump(grid: np.ndarray, centre: np.ndarray, width: float, height: float) -> np.ndarray:
    """A soft hill (G, G) on the mesh's corners around `centre` (px)."""
    offset = (grid - centre) / (width, height)
    return np.exp(-0.5 * (offset**2).sum(axis=-1))


def _mouth_moves(grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Displacements (G, G, 2) that open the mouth by one px: chin down, upper lip a little up."""
    origin, side, down = (part[0] for part in face_frames(points[None]))
    length, width = float(np.linalg.norm(down)), float(np.linalg.norm(side))
    unit = down / max(length, 1e-3)
    below = _bump(grid, origin + 1.30 * down, 0.50 * width, 0.30 * length)
    above = _bump(grid, origin + 0.85 * down, 0.40 * width, 0.18 * length)
    return (0.25 * above - below)[..., None] * unit


def _head_path(clip: Clip, rng: Rng, points: np.ndarray, still: int) -> np.ndarray:
    """(T, 2, 3) smooth head motion: the filmed one smoothed, or an invented sway."""
    size = clip.frames.shape[1]
    if rng.random() < 0.5:
        wanted = gaussian_filter1d(points.astype(np.float64), rng.uniform(1, 3), axis=0)
        return np.stack([similarity(w, points[still]) for w in wanted])
    sway = gaussian_filter1d(smooth_noise(rng, clip.steps, 4, 1.0), 1.5, axis=0)
    angle, scale, *shift = (sway * rng.uniform(0.3, 1.5) * (0.04, 0.02, 0.02 * size, 0.02 * size)).T
    return similarity_matrices(angle, 1 + scale, np.stack(shift, axis=1), np.full(2, size / 2))


def _hold_border(moves: np.ndarray) -> np.ndarray:
    """Displacements that never reach outside the picture: none across a border, free along it."""
    held = moves.copy()
    held[..., :, (0, -1), 0] = 0
    held[..., (0, -1), :, 1] = 0
    return held


def still_animation(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """One frame made to nod and talk by warping: what audio-driven talking heads look like."""
    del donor
    size = clip.frames.shape[1]
    points = usable_landmarks(clip.landmarks, size)
    still = int(rng.choice(np.flatnonzero(clip.video_mask)))
    path = _head_path(clip, rng, points, still)
    envelope = _envelope(clip, rng)
    opening = (envelope - envelope[still] * rng.random()) * rng.uniform(0.03, 0.09) * size  # < 0: it closes
    grid = mesh_corners(size, size, CELLS)
    head = _bump(grid, points[still].mean(axis=0), 0.38 * size, 0.45 * size)[..., None] ** rng.choice((0.2, 0.6, 1.0))
    nod = move_corners(grid, path) - grid
    talk = opening[:, None, None, None] * _mouth_moves(grid, points[still])
    frames = np.repeat(clip.frames[still : still + 1], clip.steps, axis=0)
    frames = mesh_warp(frames, _hold_border(nod * head + talk))
    if rng.random() < 0.6:
        frames = repaint(frames, rng)
    return frames, clip.video_mask.copy()


def smooth_motion(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """The face moved onto a smoothed path, without micro-motion and without sensor noise."""
    del donor
    size = clip.frames.shape[1]
    points = usable_landmarks(clip.landmarks, size).astype(np.float64)
    path = gaussian_filter1d(points, rng.uniform(1.0, 3.0), axis=0)
    mask = region_mask(path.astype(np.float32), size, rng, "face")
    matrices = np.stack([similarity(w, p) for w, p in zip(path, points, strict=True)])
    rows, columns = mask_box(mask)
    matrices[:, :, 2] += matrices[:, :, :2] @ (columns.start, rows.start)
    box = (columns.stop - columns.start, rows.stop - rows.start)
    steady = smooth_skin(affine_warp(clip.frames, matrices, box), rng)
    return change_inside(clip.frames, mask, lambda _: steady), clip.video_mask.copy()
