"""Which detections of two steps show the same face, where a scene ends, and how boxes are smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .faces import Face, iou

_THUMB = 24  # side of the grid of samples that scene cuts are found with
_FLAT = 2.0  # grey levels: a thumbnail with less contrast (a flash, a fade to black) says nothing about the scene


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """How faces are linked and cropped. Lengths of time are in steps.

    Attributes:
        crop_size (`int`): Side S of a crop in pixels.
        crop_scale (`float`): Side of the crop over the longer side of the face box.
        detect_every (`int`): Steps from one detection to the next; boxes between are interpolated.
        steady_every (`int`): The same after two detections that found the same faces in the same places.
        steady_iou (`float`): Boxes that overlap at least this much are in the same place.
        max_misses (`int`): Detections in a row that may miss a face before its track ends.
        smooth_centre, smooth_size (`int`): Radius of the centred triangular window over box centres and box sizes.
        min_iou (`float`): Two boxes overlapping at least this much may be the same face.
        max_shift (`float`): Or two boxes whose centres are at most this far apart, in box sides.
        max_growth (`float`): And whose sizes differ at most by this factor.
        cut_correlation (`float`): A scene cut is where the thumbnails of two steps correlate less than this.
        min_face_px (`float`): Faces with a shorter box height are left out, in pixels.
        max_faces (`int`): The largest faces of a frame that are followed.
    """

    crop_size: int = 160
    crop_scale: float = 1.4
    detect_every: int = 1
    steady_every: int = 1
    steady_iou: float = 0.9
    max_misses: int = 3
    smooth_centre: int = 2
    smooth_size: int = 4
    min_iou: float = 0.2
    max_shift: float = 0.5
    max_growth: float = 1.8
    cut_correlation: float = 0.4
    min_face_px: float = 24.0
    max_faces: int = 8

    def __post_init__(self) -> None:
        for name in ("crop_size", "detect_every", "steady_every", "max_faces"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}.")
        for name in ("max_misses", "smooth_centre", "smooth_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but got {getattr(self, name)}.")
        if not self.crop_scale > 0:
            raise ValueError(f"crop_scale must be positive, but got {self.crop_scale}.")

    @property
    def reach(self) -> int:
        """Radius of the widest smoothing window, in steps."""
        return max(self.smooth_centre, self.smooth_size)

    @property
    def max_age(self) -> int:
        """Steps from the last detection of a face to the end of its track: one gap, and a short one for each miss."""
        return max(self.detect_every, self.steady_every) + self.max_misses * self.detect_every

    @property
    def lag(self) -> int:
        """Steps from a frame going in to its crops coming out, at most."""
        return self.reach + self.max_age


@dataclass(slots=True)
class Track:
    """A face being followed: one row per step, from which the oldest are dropped once they are no longer needed."""

    track_id: int
    first: int  # its first step
    reach: int  # radius of the widest smoothing window, in steps
    given: int = 0  # steps whose crops were given out
    ended: bool = False
    _rows: list[NDArray[np.float64]] = field(default_factory=list)  # centre x y, width, height, 10 landmarks, score
    _detected: list[bool] = field(default_factory=list)
    _dropped: int = 0

    @property
    def last_step(self) -> int:
        """The last step whose place is known."""
        return self.first + self._dropped + len(self._rows) - 1

    @property
    def last_row(self) -> NDArray[np.float64]:
        """Its last detection."""
        return self._rows[-1]

    @property
    def done(self) -> bool:
        """Whether it ended and gave out everything."""
        return self.ended and self.first + self.given > self.last_step

    def add(self, step: int, row: NDArray[np.float64]) -> None:
        """Append a detection, and interpolate the steps since the last one."""
        missing = step - self.last_step - 1 if self._rows else 0
        before = self._rows[-1] if self._rows else row
        for i in range(1, missing + 1):
            part = i / (missing + 1)
            self._rows.append((1 - part) * before + part * row)
            self._detected.append(False)
        self._rows.append(row)
        self._detected.append(True)

    def hold(self, step: int) -> None:
        """Let the face stay where it was last seen until `step`: nobody has looked since."""
        while self.last_step < step:
            self._rows.append(self._rows[-1])
            self._detected.append(False)

    def ready(self) -> range:
        """Return the steps not yet given out whose smoothing windows are complete."""
        final = self.last_step if self.ended else self.last_step - self.reach
        return range(self.first + self.given, final + 1)

    def at(self, step: int) -> tuple[NDArray[np.float64], bool]:
        """Return the row of a step, and whether it was detected."""
        index = step - self.first - self._dropped
        return self._rows[index], self._detected[index]

    def smoothed(self, step: int, radius: int) -> NDArray[np.float64]:
        """Return the triangular mean of the rows around a step.

        At the ends of a track the window shrinks on both sides alike: a one-sided window would pull the first and last
        crops of a moving face towards the middle.
        """
        radius = min(radius, step - self.first, self.last_step - step)
        middle = step - self.first - self._dropped
        weights = radius + 1.0 - np.abs(np.arange(-radius, radius + 1))
        return np.average(np.stack(self._rows[middle - radius : middle + radius + 1]), axis=0, weights=weights)

    def gave(self) -> None:
        """Count one more step as given out, and drop the rows that no window needs any more."""
        self.given += 1
        surplus = self.given - max(self.reach, 1) - self._dropped
        if surplus > 0:
            del self._rows[:surplus], self._detected[:surplus]
            self._dropped += surplus


class SceneCuts:
    """Tells for each step whether it begins a new scene: its thumbnail does not correlate with the one before."""

    def __init__(self, min_correlation: float) -> None:
        self._min_correlation = min_correlation
        self._before: NDArray[np.float64] | None = None
        self._shape: tuple[int, ...] | None = None

    def is_cut(self, rgb: NDArray[np.uint8]) -> bool:
        """Take the next `(H, W, 3)` frame. Frames without contrast (flashes, black) are passed over."""
        thumb = thumbnail(rgb)
        if thumb is None:
            return False
        before, shape = self._before, self._shape
        self._before, self._shape = thumb, rgb.shape
        if before is None:
            return False
        return shape != rgb.shape or float((before * thumb).mean()) < self._min_correlation


def face_row(face: Face) -> NDArray[np.float64]:
    """Lay a face out as one row: centre x and y, width, height, landmarks, score."""
    box = np.asarray(face.box, dtype=np.float64)
    low, high = box[:2], box[2:]
    return np.concatenate([(low + high) / 2, high - low, np.ravel(face.landmarks), [face.score]])


def _boxes(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    table = np.stack(rows)
    return np.concatenate([table[:, :2] - table[:, 2:4] / 2, table[:, :2] + table[:, 2:4] / 2], axis=1)


def all_steady(
    old: Sequence[NDArray[np.float64]],
    new: Sequence[NDArray[np.float64]],
    pairs: Sequence[tuple[int, int]],
    min_iou: float,
) -> bool:
    """Return whether there are faces, and the new rows are the old ones, each in its place: `pairs` are of `match`."""
    if not pairs or not len(old) == len(new) == len(pairs):
        return False
    overlap = iou(_boxes(old), _boxes(new))
    return bool(min(overlap[pair] for pair in pairs) >= min_iou)


def match(
    old: Sequence[NDArray[np.float64]], new: Sequence[NDArray[np.float64]], options: TrackOptions
) -> list[tuple[int, int]]:
    """Return pairs (old, new) of rows that show the same face, the best pair first, each row at most once.

    Two faces may be the same when they overlap or their centres are near, and their sizes agree.
    """
    if not old or not new:
        return []
    overlap = iou(_boxes(old), _boxes(new))
    centres = [np.stack(rows)[:, :2] for rows in (old, new)]
    sides = [np.stack(rows)[:, 2:4].max(axis=1) for rows in (old, new)]
    distance = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=2) / np.maximum(*np.meshgrid(*sides)).T
    growth = np.maximum(sides[0][:, None] / sides[1][None], sides[1][None] / sides[0][:, None])
    allowed = ((overlap >= options.min_iou) | (distance <= options.max_shift)) & (growth <= options.max_growth)
    likeness = np.where(allowed, overlap - distance, -np.inf)
    pairs: list[tuple[int, int]] = []
    while np.isfinite(likeness.max()):
        i, j = divmod(int(likeness.argmax()), len(new))
        pairs.append((i, j))
        likeness[i, :] = likeness[:, j] = -np.inf
    return pairs


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Return a grid of grey samples with mean 0 and variance 1, or None for a frame without contrast."""
    height, width = rgb.shape[:2]
    rows, columns = (np.linspace(0, side - 1, _THUMB).round().astype(int) for side in (height, width))
    grey = rgb[rows[:, None], columns].mean(axis=2)
    deviation = grey.std()
    return None if deviation < _FLAT else (grey - grey.mean()) / deviation
