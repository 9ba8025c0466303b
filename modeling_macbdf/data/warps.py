"""Geometry of a stack of face crops: similarities, meshes, and the sampling that carries them out.

Frames are (T, H, W, 3) uint8. Coordinates are px (x, y) from the upper left corner; a pixel's centre lies at one half.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .pictures import Rng, smooth_noise

TOGETHER = 4  # frames sampled at once: what stays in a core's cache


def _tents(length: int, cells: int) -> np.ndarray:
    """(length, cells+1) share of each corner of a mesh in each pixel between its corners."""
    place = (np.arange(length) + 0.5) * cells / length
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells + 1))).astype(np.float32)


def _sample(frames: np.ndarray, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames resampled by a mesh, bilinear; beyond the border the last pixels of a frame go on.

    Args:
        frames: (T, H, W, 3) uint8.
        corners: (T, G+1, G+1, 2) px of the frame that the corners of the output's cells show.
        height, width: of the output in px.
    """
    scaled = corners * (2 / frames.shape[2], 2 / frames.shape[1]) - 1
    planes = _tents(height, corners.shape[1] - 1) @ scaled.astype(np.float32).transpose(0, 3, 1, 2)
    grid = torch.from_numpy(planes @ _tents(width, corners.shape[2] - 1).T).permute(0, 2, 3, 1)
    out = np.empty((len(frames), height, width, 3), np.uint8)
    for first in range(0, len(frames), TOGETHER):
        part = slice(first, first + TOGETHER)
        source = torch.from_numpy(np.ascontiguousarray(frames[part])).permute(0, 3, 1, 2).float()
        seen = F.grid_sample(source, grid[part], mode="bilinear", padding_mode="border", align_corners=False)
        torch.from_numpy(out[part]).copy_(seen.add_(0.5).permute(0, 2, 3, 1))
    return out


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) similarity that takes the points `source` (K, 2) to `target` (K, 2), least squares."""
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    s, t = (source - mean_s) @ (1, 1j), (target - mean_t) @ (1, 1j)
    turn = np.vdot(s, t) / max(float(np.vdot(s, s).real), 1e-6)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.concatenate([linear, (mean_t - linear @ mean_s)[:, None]], axis=1)


def similarity_matrices(angle: np.ndarray, scale: np.ndarray, shift: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(T, 2, 3) turns by `angle` (T,) rad and scalings by `scale` (T,) about `centre` (2,), then shifts (T, 2) px."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    return np.concatenate([linear, (centre - linear @ centre + shift)[..., None]], axis=-1)


def small_affine(rng: Rng, steps: int, height: int, width: int, strength: float = 1.0) -> np.ndarray:
    """(steps, 2, 3) turns, scalings and shifts about the centre that drift a little over time."""
    base = rng.normal(0, strength, 4) * (0.03, 0.02, 0.014 * width, 0.014 * height)
    angle, scale, *shift = (base + smooth_noise(rng, steps, 4, 0.2) * np.abs(base)).T
    return similarity_matrices(angle, 1 + scale, np.stack(shift, axis=1), np.array([width, height]) / 2)


def affine_warp(frames: np.ndarray, matrices: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Frame t resampled so that the place p shows what was at matrices[t] (2, 3) applied to p.

    Args:
        frames: (T, H, W, 3) uint8.
        matrices: (T, 2, 3), output px to input px.
        size: width and height of the output in px; default that of the input.
    """
    width, height = size or (frames.shape[2], frames.shape[1])
    return _sample(frames, move_corners(mesh_corners(height, width, 1), matrices), height, width)


def mesh_corners(height: int, width: int, cells: int) -> np.ndarray:
    """(cells+1, cells+1, 2) px at which the picture is cut into cells."""
    return np.stack(np.meshgrid(np.linspace(0, width, cells + 1), np.linspace(0, height, cells + 1)), axis=-1)


def move_corners(corners: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """(T, G+1, G+1, 2) corners (G+1, G+1, 2) through each of the matrices (T, 2, 3)."""
    return np.einsum("ijk,tlk->tijl", corners, matrices[:, :, :2]) + matrices[:, None, None, :, 2]


def mesh_warp(frames: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Frame t pulled by moves[t], a (G+1, G+1, 2) grid of displacements in px: the place p shows what was at p + move.

    Args:
        frames: (T, H, W, 3) uint8.
        moves: (T, G+1, G+1, 2).
    """
    height, width = frames.shape[1:3]
    return _sample(frames, mesh_corners(height, width, moves.shape[1] - 1) + moves, height, width)


def elastic_grid(rng: Rng, cells: int, scale: float) -> np.ndarray:
    """(cells+1, cells+1, 2) random displacements in px that are zero on the border."""
    moves = np.zeros((cells + 1, cells + 1, 2))
    moves[1:-1, 1:-1] = rng.normal(0, scale, (cells - 1, cells - 1, 2))
    return moves
