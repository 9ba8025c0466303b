"""Pseudo-fakes by blending: what face swaps and lip-sync leave behind.

Self-blending follows Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022): two
differently treated copies of one picture are blended through a soft mask, so that only the statistics differ, not
the person. Differs in: the treatment and the outline are constant over the clip with a slow drift, and five
landmarks with random outlines replace the 81-point hull.
"""

from __future__ import annotations

import numpy as np

from .clips import Clip
from .pictures import (
    Rng,
    blend,
    change_inside,
    jitter_colour,
    mask_box,
    random_down_up,
    sharpen,
    smooth_noise,
    usable_landmarks,
)
from .regions import face_frames, region_mask
from .warps import affine_warp, elastic_grid, mesh_warp, similarity, small_affine

BLEND_REGIONS = ("face", "inner", "lower", "mouth", "eyes", "nose", "left", "right")
BLEND_WEIGHTS = (0.34, 0.22, 0.14, 0.08, 0.06, 0.04, 0.06, 0.06)
MOST_TURN = 0.12  # between a transplanted face and its new head, in distances of the eyes
ALPHAS = (0.5, 0.75, 1.0, 1.0, 1.0)
Result = tuple[np.ndarray, np.ndarray]


def pick_region(rng: Rng) -> str:
    """A part of the face, whole faces more often than small parts."""
    return str(rng.choice(BLEND_REGIONS, p=BLEND_WEIGHTS))


def _treat(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """A copy with other statistics: colour, and softer or harsher detail."""
    treated = jitter_colour(frames, rng, strength=rng.uniform(0.4, 1.2))
    if rng.random() < 0.6:
        return random_down_up(treated, rng, 0.35, 0.9)
    return sharpen(treated, rng.uniform(0.4, 1.6), rng.uniform(0.6, 2.0))


def _warp(frames: np.ndarray, rng: Rng) -> np.ndarray:
    """A copy moved by a pixel or two, sometimes bent."""
    steps, height, width = frames.shape[:3]
    if rng.random() < 0.5:
        return affine_warp(frames, small_affine(rng, steps, height, width))
    bend = elastic_grid(rng, cells=4, scale=0.015 * width)
    drift = 1 + smooth_noise(rng, steps, 1, 0.3)
    return mesh_warp(frames, bend * drift[:, :, None, None])


def self_blend(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """The clip's own face, treated and moved a little, blended back over itself."""
    del donor
    mask = region_mask(clip.landmarks, clip.frames.shape[1], rng, pick_region(rng), float(rng.choice(ALPHAS)))
    if rng.random() < 0.8:
        return change_inside(clip.frames, mask, lambda part: _warp(_treat(part, rng), rng)), clip.video_mask.copy()
    rows, columns = mask_box(mask)
    frames = _treat(clip.frames, rng)  # the surroundings are treated, the face only moves
    inside, outside = _warp(clip.frames[:, rows, columns], rng), frames[:, rows, columns]
    frames[:, rows, columns] = blend(inside, outside, mask[:, rows, columns])
    return frames, clip.video_mask.copy()


def _aligned(source: Clip, order: np.ndarray, target: Clip, mask: np.ndarray) -> np.ndarray:
    """Frames `order` of `source`, moved so that their landmarks meet those of `target`: the mask's box of them."""
    size = target.frames.shape[1]
    points = usable_landmarks(source.landmarks, size)[order]
    wanted = usable_landmarks(target.landmarks, size)
    rows, columns = mask_box(mask)
    width, height = columns.stop - columns.start, rows.stop - rows.start
    matrices = np.stack([similarity(w, p) for w, p in zip(wanted, points, strict=True)])
    matrices[:, :, 2] += matrices[:, :, :2] @ (columns.start, rows.start)  # box coordinates in, crop coordinates out
    return affine_warp(source.frames[order], matrices, (width, height))


def _paste(frames: np.ndarray, part: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`part`, which covers the mask's box, blended over the frames."""
    return change_inside(frames, mask, lambda _: part)


def _nearby(rng: Rng, valid: np.ndarray) -> np.ndarray:
    """(T,) for each step a step with a crop that is one to three steps away."""
    steps = np.flatnonzero(valid)
    place = np.arange(len(steps))
    offset = rng.integers(1, 4) * (1 if rng.random() < 0.5 else -1)
    moved = place + offset if rng.random() < 0.5 else place + rng.integers(1, 4, len(place)) * rng.choice([-1, 1])
    moved = np.abs(moved)  # mirrored at both ends: no frame is its own source more often there
    moved = np.where(moved >= len(steps), 2 * (len(steps) - 1) - moved, moved).clip(0, len(steps) - 1)
    order = np.arange(len(valid))
    order[steps] = steps[moved]
    return order


def lower_face_reuse(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """The mouth of another moment, aligned and blended in, often softened: what lip-sync generators leave."""
    del donor
    order = _nearby(rng, clip.video_mask)
    region = "lower" if rng.random() < 0.7 else "mouth"
    mask = region_mask(clip.landmarks, clip.frames.shape[1], rng, region)
    mouth = _aligned(clip, order, clip, mask)
    if rng.random() < 0.7:
        mouth = random_down_up(mouth, rng, 0.3, 0.8)
    if rng.random() < 0.5:
        mouth = jitter_colour(mouth, rng, 0.4)
    forged = clip.video_mask & (order != np.arange(clip.steps))
    pasted = _paste(clip.frames, mouth, mask)
    return np.where(forged[:, None, None, None], pasted, clip.frames), forged


def _match_colour(source: np.ndarray, target: np.ndarray, strength: float) -> np.ndarray:
    """Source with the target's mean and spread of each channel, measured over their middles."""
    size = source.shape[1]
    middle = slice(size // 4, 3 * size // 4)
    s, t = (x[:, middle, middle] for x in (source, target))
    levels = np.arange(256)
    out = np.empty_like(source)
    for c in range(3):
        gain = float(np.clip((t[..., c].std() + 1) / (s[..., c].std() + 1), 0.5, 2))
        moved = (levels - s[..., c].mean()) * gain + t[..., c].mean()
        table = (levels + strength * (moved - levels)).clip(0, 255).astype(np.uint8)
        out[..., c] = table[source[..., c]]
    return out


def _turn(clip: Clip) -> float:
    """How far the head is turned: the nose's place beside the middle line, in distances of the eyes."""
    points = usable_landmarks(clip.landmarks, clip.frames.shape[1])[clip.video_mask]
    origin, side, _ = face_frames(points)
    return float((((points[:, 2] - origin) * side).sum(axis=1) / (side**2).sum(axis=1)).mean())


def can_give_face(clip: Clip, donor: Clip | None) -> bool:
    """Whether the donor shows a face that looks where the clip's does: hair and background would come along else."""
    return donor is not None and donor.has_video and abs(_turn(donor) - _turn(clip)) <= MOST_TURN


def face_transplant(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """Another clip's face, aligned by landmarks, colour-matched and blended in: a crude face swap.

    Raises:
        ValueError: there is no donor.
    """
    if donor is None:
        raise ValueError("donor must be a clip that can_give_face, but got None")
    steps = np.flatnonzero(donor.video_mask)
    order = steps[np.arange(clip.steps) % len(steps)]
    # The inner face only: beyond it a turned donor would bring its own background along.
    mask = region_mask(clip.landmarks, clip.frames.shape[1], rng, "inner")
    rows, columns = mask_box(mask)
    face = _match_colour(_aligned(donor, order, clip, mask), clip.frames[:, rows, columns], rng.uniform(0.7, 1.0))
    if rng.random() < 0.6:
        face = random_down_up(face, rng, 0.4, 0.9)
    return _paste(clip.frames, face, mask), clip.video_mask.copy()
