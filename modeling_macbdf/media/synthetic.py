"""The project's own talking face: a portrait that moves, blinks and speaks with a synthesised voice.

It needs no download and puts words in nobody's mouth. A seed names a person, a voice and a text, so that small sets of
"people" can be rendered. The portrait ships with scikit-image (public domain, NASA).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from .outcomes import missing_extra
from .portrait import NECK, SIDE, Grid, Landmarks, Person, bell, make_person, region_grid, smoothstep
from .voice import Voice, synthesize_voice
from .write import WriteOptions, write_clip

try:
    from PIL import Image
    from scipy import ndimage
except ImportError as error:
    raise missing_extra("scipy or pillow", "synthetic") from error

_OVERSAMPLING = 1.25  # working pixels per pixel of the picture, so that sub-pixel motion does not change its sharpness
_MARGIN = 0.02  # of the side: room for the camera's own motion
_TEETH = 0.68  # of the sag: from the lower lip of the smiling portrait up to its upper lip, to close the mouth
_WIDE = 10.0  # region pixels that the lower lip sinks in a wide open mouth
_NOISE_SHIFTS = 64  # pixels: the sensor's noise is one field, seen at another of 64 x 64 places in each frame
_CAVITY = np.asarray([0.16, 0.05, 0.05], dtype=np.float32)
_TONGUE = np.asarray([0.55, 0.26, 0.25], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class TalkingFace:
    """A rendered clip: T frames, N samples.

    Attributes:
        frames (`np.ndarray` of shape `(T, H, W, 3)`, uint8): RGB.
        fps (`float`): Frames per second.
        waveform (`np.ndarray` of shape `(N,)`, float32): The voice, in [-1, 1].
        sampling_rate (`int`): In Hz.
        opening (`np.ndarray` of shape `(T,)`): How far the mouth is open, in [0, 1].
    """

    frames: NDArray[np.uint8]
    fps: float
    waveform: NDArray[np.float32]
    sampling_rate: int
    opening: NDArray[np.float64]


def make_talking_clip(
    path: str | os.PathLike[str],
    seed: int = 0,
    duration_s: float = 6.0,
    *,
    size: int = 320,
    fps: float = 25.0,
    options: WriteOptions | None = None,
) -> Path:
    """Render a talking face and encode it (H.264 and AAC by default).

    Args:
        path (`str` or `PathLike`): The file to write.
        seed (`int`, *optional*, defaults to 0): Names the person, the voice and the text; 0 is the portrait as it is.
        duration_s (`float`, *optional*, defaults to 6.0): Length in seconds.
        size (`int`, *optional*, defaults to 320): Side of the square picture in pixels.
        fps (`float`, *optional*, defaults to 25.0): Frames per second.
        options (`WriteOptions`, *optional*): How it is encoded.

    Returns:
        `Path`: The file.
    """
    face = render_talking_face(seed, duration_s, size=size, fps=fps)
    return write_clip(path, face.frames, face.fps, face.waveform, face.sampling_rate, options=options)


def render_talking_face(
    seed: int = 0, duration_s: float = 6.0, *, size: int = 320, fps: float = 25.0, sampling_rate: int = 16_000
) -> TalkingFace:
    """Render frames and voice without encoding; the same arguments give the same clip.

    Raises:
        ValueError: When a duration, size or rate is out of range.
    """
    if not 64 <= size <= 2048:
        raise ValueError(f"size must be in 64..2048 pixels, but got {size}.")
    if not 1 <= fps <= 120:
        raise ValueError(f"fps must be in 1..120 Hz, but got {fps}.")
    voice = synthesize_voice(seed, duration_s, sampling_rate)
    person = make_person(seed, round(size * _OVERSAMPLING))
    motion = _perform(np.random.default_rng([seed, 3]), voice, max(round(duration_s * fps), 1), fps)
    stage = _Stage(person, np.random.default_rng([seed, 4]), size)
    frames = np.stack([stage.render(motion, index) for index in range(len(motion.opening))])
    return TalkingFace(frames, fps, voice.waveform, sampling_rate, motion.opening)


@dataclass(frozen=True, slots=True)
class _Motion:
    """What the person and the camera do in each of T frames; turns in radians, shifts in region pixels."""

    opening: NDArray[np.float64]  # (T,) of the mouth, 0 to 1
    spread: NDArray[np.float64]  # (T,) of the lips, -1 to 1
    blink: NDArray[np.float64]  # (T,) 0 open, 1 shut
    brows: NDArray[np.float64]  # (T,) region pixels upwards
    gaze: NDArray[np.float64]  # (T, 2) shift of the pupils
    head: NDArray[np.float64]  # (T, 6) yaw, pitch, roll, shift x, shift y, growth
    camera: NDArray[np.float64]  # (T, 2) fractions of the side


def _perform(rng: np.random.Generator, voice: Voice, length: int, fps: float) -> _Motion:
    at = (np.arange(length) + 0.5) / fps * voice.control_hz
    opening, spread, stress = (
        np.interp(at, np.arange(len(track)), track) for track in (voice.opening, voice.spread, voice.stress)
    )
    amplitudes = np.asarray([0.16, 0.07, 0.05, 3.0, 2.0, 0.015]) * rng.uniform(0.6, 1.3)
    head = amplitudes * np.stack([_drift(rng, length, 0.5 * fps) for _ in range(6)], axis=1)
    head[:, 1] -= 0.15 * stress  # emphasis nods
    gaze = np.stack([_jumps(rng, length, fps, 1.1), _jumps(rng, length, fps, 0.5)], axis=1)
    camera = 0.004 * np.stack([_drift(rng, length, 0.25 * fps) for _ in range(2)], axis=1)
    return _Motion(opening, spread, _blinks(rng, length, fps), 6 * np.clip(stress, -0.1, 0.4), gaze, head, camera)


def _drift(rng: np.random.Generator, length: int, sigma: float) -> NDArray[np.float64]:
    """Slow unsteadiness of about unit size, in frames."""
    pad = int(4 * sigma) + 1
    slow = ndimage.gaussian_filter1d(rng.standard_normal(length + 2 * pad), sigma)[pad:-pad]
    return np.clip(slow * np.sqrt(2 * np.sqrt(np.pi) * sigma), -2, 2)


def _jumps(rng: np.random.Generator, length: int, fps: float, size: float) -> NDArray[np.float64]:
    """The eyes rest and jump."""
    places = np.cumsum(rng.uniform(0.4, 1.8, int(length / fps / 0.4) + 2)) * fps
    targets = np.append(0.0, rng.uniform(-size, size, len(places)))
    return targets[np.searchsorted(places, np.arange(length))]


def _blinks(rng: np.random.Generator, length: int, fps: float) -> NDArray[np.float64]:
    """Shut quickly, open more slowly, every few seconds."""
    shut = np.zeros(length)
    at = rng.uniform(0.5, 2.0)
    while at < length / fps:
        t = np.arange(length) / fps - at
        shut = np.maximum(shut, np.clip(np.minimum((t + 0.08) / 0.06, (0.16 - t) / 0.12), 0, 1))
        at += rng.uniform(1.5, 4.5)
    return shut


class _Stage:
    """Renders one person frame by frame. Fields over the picture that do not change are made once."""

    def __init__(self, person: Person, rng: np.random.Generator, size: int) -> None:
        self._person = person
        self._rng = rng
        self._size = size
        self._width = person.rgba.shape[1]
        self._background = np.ascontiguousarray(person.background.transpose(2, 0, 1))
        self._light = person.light.astype(np.float32)
        self._rgba = torch.from_numpy(person.rgba)[None]
        self._noise = _sensor_noise(rng, size + _NOISE_SHIFTS, rng.uniform(0.004, 0.012))
        self._x, self._y = region_grid(self._width)
        self._fields = _motion_fields(self._x, self._y)

    def render(self, motion: _Motion, index: int) -> NDArray[np.uint8]:
        """Return one `(S, S, 3)` uint8 frame."""
        x, y = self._head_moved(motion.head[index])
        face = self._person.landmarks
        x, y = _eyes(x, y, face, motion, index)
        x, y, cavity, depth = _mouth(x, y, face, float(motion.opening[index]), float(motion.spread[index]))
        seen = self._sample(x, y)
        for channel, colour in enumerate(seen[:3]):  # (W, W) each: contiguous, hence fast
            inside = (_CAVITY[channel] + (_TONGUE[channel] - _CAVITY[channel]) * depth) * self._light[channel]
            colour += cavity * (inside - colour)
            colour += (1 - seen[3]) * self._background[channel]
        return self._film(seen[:3], motion.camera[index])

    def _head_moved(self, head: NDArray[np.float64]) -> Grid:
        """Return where each pixel lies on the resting head."""
        yaw, pitch, roll, shift_x, shift_y, growth = (float(value) for value in head)
        depth, weight, around_x, around_y = self._fields
        x = self._x - 32 * yaw * depth - weight * (shift_x - roll * around_y + growth * around_x)
        y = self._y - 32 * pitch * depth - weight * (shift_y + roll * around_x + growth * around_y)
        return x, y

    def _sample(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look up colours and opacity `(4, W, W)` of the person at region pixels x, y `(W, W)`. Torch is fastest."""
        grid = np.empty((1, *x.shape, 2), dtype=np.float32)
        grid[0, ..., 0], grid[0, ..., 1] = x, y
        grid = (grid + np.float32(0.5)) * np.float32(2 / SIDE) - 1
        place = torch.from_numpy(grid)
        return F.grid_sample(self._rgba, place, mode="bilinear", padding_mode="border", align_corners=False)[0].numpy()

    def _film(self, picture: NDArray[np.float32], camera: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Shrink `(3, W, W)` colours to the final size with the camera's shake, and add the sensor's noise."""
        levels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        border = _MARGIN * self._width
        dx, dy = np.clip(camera, -_MARGIN, _MARGIN) * self._width
        box = (border + dx, border + dy, self._width - border + dx, self._width - border + dy)
        image = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
        small = np.asarray(image.resize((self._size, self._size), Image.Resampling.BICUBIC, box=box), dtype=np.float32)
        down, right = self._rng.integers(0, _NOISE_SHIFTS, 2)
        small = small + self._noise[down : down + self._size, right : right + self._size] * np.sqrt(0.2 + small / 255)
        frame = np.clip(small + 0.5, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(frame[:, ::-1]) if self._person.flip else frame


def _sensor_noise(rng: np.random.Generator, side: int, grain: float) -> NDArray[np.float32]:
    """Return `(side, side, 3)` grey levels of noise, larger than a frame: each frame shows another part of it."""
    noise = rng.standard_normal((side, side, 3), dtype=np.float32)
    noise += rng.standard_normal((side, side, 1), dtype=np.float32)  # part of it is grey
    return noise * np.float32(255 * grain)


def _motion_fields(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return the head's depth, how much a place moves with the head, and x and y around the neck's pivot."""
    middle = np.asarray([128.0, 110.0])
    sphere = np.sqrt(np.clip(1 - ((x - middle[0]) / 84) ** 2 - ((y - middle[1]) / 96) ** 2, 0, 1))
    nose = 0.3 * bell(x, y, np.asarray([128.0, 124.0]), 10, 12)
    body = 0.25 + 0.75 * (1 - smoothstep(y, 165, NECK + 8))
    depth = ndimage.gaussian_filter(sphere, 2.0) * (1 - smoothstep(y, 165, NECK)) + nose
    return tuple(f.astype(np.float32) for f in (depth, body, x - 128, y - 185))


def _eyes(x: NDArray[np.float32], y: NDArray[np.float32], face: Landmarks, motion: _Motion, index: int) -> Grid:
    """Lower the lids, raise the brows and move the pupils."""
    out_x, out_y = x.copy(), y.copy()
    shut, brows = float(motion.blink[index]), float(motion.brows[index])
    for eye in face.eyes:
        near = (np.abs(x - eye[0]) < 26) & (np.abs(y - eye[1]) < 26)
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        if not len(rows) or not len(columns):
            continue
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        u, v = x[part] - eye[0], y[part] - eye[1]
        out_y[part] += brows * bell(u, v, np.asarray([0.0, -12.0]), 10, 4.5)
        pupil = bell(u, v, np.zeros(2), 4.5, 3.0) * (1 - shut)
        out_x[part] -= pupil * motion.gaze[index, 0]
        out_y[part] -= pupil * motion.gaze[index, 1]
        out_y[part] = np.where(shut > 0, _lid(u, v, shut) + out_y[part] - v, out_y[part])
    return out_x, out_y


def _lid(u: NDArray[np.float32], v: NDArray[np.float32], shut: float) -> NDArray[np.float32]:
    """Return the v to look at: the skin above the upper lid is stretched down to where the lid is now."""
    arch = np.sqrt(np.clip(1 - (u / 11.5) ** 2, 0, 1))
    top, skin = -4.6 * arch, -4.6 * arch - 5.0
    lid = top + shut * 8.2 * arch
    stretched = skin + (v - skin) * (top - skin) / (lid - skin)
    return np.where((v > skin) & (v < lid), stretched, v)


def _mouth(
    x: NDArray[np.float32], y: NDArray[np.float32], face: Landmarks, opening: float, spread: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Move lower lip and jaw; return x and y to look at, how much of a pixel is mouth cavity, and how much tongue."""
    centre_x, centre_y = face.mouth
    near = bell(x, y, np.asarray([centre_x, centre_y + 5]), 24, 13)
    x = x - (0.11 * spread - 0.13 * opening) * near * (x - np.float32(centre_x))  # an open mouth is narrower
    u = (x - np.float32(centre_x)) / np.float32(face.mouth_half)
    arch = np.sqrt(np.clip(1 - u * u, 0, 1))
    teeth = _TEETH * face.sag
    drop = (teeth + _WIDE) * opening - teeth  # of the lower lip: below zero it rises over the teeth
    lip = np.float32(centre_y) + np.float32(face.sag) * arch
    below = y - lip - drop * arch
    jaw = 0.7 * drop * np.exp(-0.5 * (u / 1.1) ** 2) * (1 - smoothstep(y, face.chin, NECK))
    towards_chin = smoothstep(below, 4.0, 18.0)
    shift = drop * arch + towards_chin * (jaw - drop * arch)
    moved = np.where(below > 0, y - shift, y).astype(np.float32)
    cavity = np.clip(y - lip + 0.5, 0, 1) * np.clip(0.5 - below, 0, 1) * (arch > 0.05)
    tongue = 0.6 * smoothstep(below, -6.0, -1.0) * smoothstep(np.asarray(drop), 4.0, 9.0)
    return x, moved, cavity.astype(np.float32), tongue.astype(np.float32)
