"""Soft masks of parts of a face, steady over a clip with a slow drift."""

from __future__ import annotations

import numpy as np

from .pictures import Rng, outline_masks, smooth_noise, usable_landmarks

# Outlines in face units: origin between the eyes, y = 1 at the mouth, x = 1 the same length sideways.
OUTLINE_POINTS = 24
REGIONS = {  # centre x, centre y, half width, half height
    "face": (0.0, 0.45, 0.94, 1.35),
    "inner": (0.0, 0.50, 0.80, 0.85),
    "lower": (0.0, 0.95, 0.85, 0.70),
    "mouth": (0.0, 1.00, 0.55, 0.38),
    "eyes": (0.0, 0.00, 0.95, 0.36),
    "nose": (0.0, 0.50, 0.42, 0.52),
    "left": (-0.45, 0.45, 0.60, 1.15),
    "right": (0.45, 0.45, 0.60, 1.15),
}


def face_frames(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origin (T, 2), x axis (T, 2) and y axis (T, 2) of the face in px, from five points (T, 5, 2)."""
    eyes, mouth = landmarks[:, :2].mean(axis=1), landmarks[:, 3:].mean(axis=1)
    down = mouth - eyes
    # A turned head keeps its height: the width follows the distance of the eyes, within limits.
    length = np.linalg.norm(down, axis=1, keepdims=True)
    across = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=1, keepdims=True)
    side = np.stack([down[:, 1], -down[:, 0]], axis=1) / np.maximum(length, 1e-3)
    return eyes, side * np.clip(across, 0.6 * length, 1.1 * length), down


def random_outline(rng: Rng, region: str, roughness: float = 0.1) -> np.ndarray:
    """(K, 2) outline in face units: a superellipse with smooth random bumps."""
    x, y, half_width, half_height = REGIONS[region]
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    power = rng.uniform(0.7, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    radius = 1 + sum(
        rng.normal(0, roughness / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3, 4)
    )
    points_x = x + radius * half_width * np.sign(cos) * np.abs(cos) ** power
    points_y = y + radius * half_height * np.sign(sin) * np.abs(sin) ** power
    return np.stack([points_x, points_y], axis=1)


def region_mask(
    landmarks: np.ndarray, size: int, rng: Rng, region: str, alpha: float = 1.0, drift: float = 0.02
) -> np.ndarray:
    """Soft masks (T, size, size) uint8 of a part of the face.

    The outline is drawn once for the clip; it follows the landmarks and drifts by about `drift` of the face's height.
    """
    points = usable_landmarks(landmarks, size)
    origin, side, down = face_frames(points)
    outline = random_outline(rng, region)
    shift = smooth_noise(rng, len(points), 2, drift)
    placed = outline[None] + shift[:, None]
    outlines = origin[:, None] + placed[..., :1] * side[:, None] + placed[..., 1:] * down[:, None]
    blur = rng.uniform(0.01, 0.06) * size
    return outline_masks(list(outlines), size, blur, alpha)
