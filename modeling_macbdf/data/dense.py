"""Face tracks at several times the model's rate, with the model's own steps untouched.

The tracker runs on the model's steps only, as at inference; the crops between two steps take the box halfway. Training
then has more instants to choose from. Faces are looked for in every step here, and in every second to fourth in
`macbdf detect`: the crops differ by about a hundredth of a face (docs/experiments.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..media.crops import crop_square, square_of
from ..media.decode import Frame
from ..media.faces import FaceDetector
from ..media.tracks import FaceTrack, FaceTracker, TrackedCrop, TrackOptions, stack_track


def middle_of(stride: int) -> int:
    """Which of `stride` cached instants within a step is its centre.

    Raises:
        ValueError: `stride` is even, so that no instant is the centre.
    """
    if stride < 1 or stride % 2 == 0:
        raise ValueError(f"stride must be odd, so that a cached instant is the step's centre, but got {stride}")
    return (stride - 1) // 2


class _DenseTracker:
    """Feeds every stride-th frame to a `FaceTracker` and fills in the instants between its crops."""

    def __init__(self, detector: FaceDetector, options: TrackOptions, stride: int) -> None:
        self._detector, self._options, self._stride = detector, options, stride
        self._middle = middle_of(stride)
        self._tracker = FaceTracker(options)
        self._frames: deque[Frame] = deque(maxlen=(options.lag + 2) * stride)
        self._last: dict[int, TrackedCrop] = {}

    def push(self, frame: Frame) -> Iterator[TrackedCrop]:
        self._frames.append(frame)
        step, rest = divmod(frame.step - self._middle, self._stride)
        if rest:
            return
        own = replace(frame, step=step)
        faces = self._detector.detect(own.rgb) if self._tracker.wants_faces(own) else None
        for crop in self._tracker.push(own, faces):
            yield from self._fill(crop)

    def flush(self) -> Iterator[TrackedCrop]:
        for crop in self._tracker.flush():
            yield from self._fill(crop)

    def _fill(self, crop: TrackedCrop) -> Iterator[TrackedCrop]:
        """The instants since the track's last crop, then the crop itself, on the cache's count of steps."""
        before = self._last.get(crop.track_id)
        self._last[crop.track_id] = crop
        here = crop.step * self._stride + self._middle
        if before is not None:
            for frame in self._frames:
                part = (frame.step - here) / self._stride + 1
                if 0 < part < 1:
                    yield self._between(before, crop, frame, part)
        yield replace(crop, step=here)

    def _between(self, before: TrackedCrop, after: TrackedCrop, frame: Frame, part: float) -> TrackedCrop:
        box = (1 - part) * before.box + part * after.box
        landmarks = ((1 - part) * before.landmarks + part * after.landmarks).astype(np.float32)
        square = square_of(box, self._options.crop_scale)
        pixels = crop_square(frame.rgb, square, self._options.crop_size)
        return replace(
            after, step=frame.step, time_s=frame.time_s, box=box, landmarks=landmarks, crop=pixels, detected=False
        )


def dense_tracks(
    frames: Iterable[Frame], detector: FaceDetector, options: TrackOptions, stride: int, min_steps: int = 1
) -> list[FaceTrack]:
    """Face tracks of frames that come `stride` times as often as the model's steps.

    Args:
        frames: from `iter_frames(path, stride * frame_rate_hz)`.
        detector: finds faces on every stride-th frame.
        options: as at inference, in the model's steps.
        stride: odd; cached step j*stride + (stride-1)/2 is the model's step j, bit for bit.
        min_steps: shortest track to return, in the model's steps.
    """
    tracker = _DenseTracker(detector, options, stride)
    crops: dict[int, list[TrackedCrop]] = {}
    for frame in frames:
        for crop in tracker.push(frame):
            crops.setdefault(crop.track_id, []).append(crop)
    for crop in tracker.flush():
        crops.setdefault(crop.track_id, []).append(crop)
    shortest = (min_steps - 1) * stride + 1
    return [stack_track(crops[key]) for key in sorted(crops) if len(crops[key]) >= shortest]
