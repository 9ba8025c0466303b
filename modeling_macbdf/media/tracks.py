"""Detections to face tracks: linked over steps, bridged over short gaps, smoothed, cut into steady square crops.

One class does it for files and for live feeds alike: `FaceTracker` keeps a few frames and gives each crop a few steps
late, so both see the same crops. A track ends at a scene cut, or when its face stays away too long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .crops import crop_square, square_of, to_crop_pixels
from .decode import Frame
from .faces import Face, FaceDetector
from .linking import SceneCuts, Track, TrackOptions, all_steady, face_row, match


@dataclass(frozen=True, slots=True)
class TrackedCrop:
    """One face in one step.

    Attributes:
        track_id (`int`): Number of the track, counted from 0 in order of appearance.
        step (`int`), time_s (`float`): When, as in `Frame`.
        box (`np.ndarray` of shape `(4,)`, float32): Smoothed face box in frame pixels.
        landmarks (`np.ndarray` of shape `(5, 2)`, float32): In crop pixels.
        crop (`np.ndarray` of shape `(S, S, 3)`, uint8): The square crop.
        detected (`bool`): False where the box was interpolated.
        score (`float`): The detector's confidence, interpolated like the box.
    """

    track_id: int
    step: int
    time_s: float
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    crop: NDArray[np.uint8]
    detected: bool
    score: float


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face over consecutive steps; N steps, crops of side S.

    Attributes:
        track_id (`int`): Number of the track, counted from 0 in order of appearance.
        steps (`np.ndarray` of shape `(N,)`, int64): Consecutive step numbers.
        times_s (`np.ndarray` of shape `(N,)`, float64): Their centres in seconds.
        boxes (`np.ndarray` of shape `(N, 4)`, float32): Smoothed face boxes in frame pixels.
        landmarks (`np.ndarray` of shape `(N, 5, 2)`, float32): In crop pixels.
        crops (`np.ndarray` of shape `(N, S, S, 3)`, uint8): Square crops.
        detected (`np.ndarray` of shape `(N,)`, bool): False where the box was interpolated.
        scores (`np.ndarray` of shape `(N,)`, float32): The detector's confidence.
    """

    track_id: int
    steps: NDArray[np.int64]
    times_s: NDArray[np.float64]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    crops: NDArray[np.uint8]
    detected: NDArray[np.bool_]
    scores: NDArray[np.float32]


class FaceTracker:
    """Links faces over steps and yields steady crops at most `options.lag` steps late.

    Memory is bounded: it holds the last `options.lag` frames and the boxes of the smoothing windows.

    ```python
    tracker = FaceTracker()
    for frame in iter_frames(path):
        faces = detector.detect(frame.rgb) if tracker.wants_faces(frame) else None
        for crop in tracker.push(frame, faces):
            ...
    for crop in tracker.flush():
        ...
    ```
    """

    def __init__(self, options: TrackOptions | None = None) -> None:
        self.options = options or TrackOptions()
        self._scenes = SceneCuts(self.options.cut_correlation)
        self._frames: deque[Frame] = deque()
        self._tracks: list[Track] = []
        self._next_id = 0
        self._looked_at: Frame | None = None
        self._is_cut = False
        self._last_detection: int | None = None  # step
        self._steady = False  # in the last two detections nothing moved

    def wants_faces(self, frame: Frame) -> bool:
        """Return whether the detector should run on this frame: its turn, or a new scene."""
        last = self._last_detection
        every = max(self.options.detect_every, self.options.steady_every if self._steady else 1)
        return self._begins_scene(frame) or last is None or frame.step - last >= every

    def push(self, frame: Frame, faces: Sequence[Face] | None) -> list[TrackedCrop]:
        """Take the next step's frame and its faces (None: not looked for), and return the crops that are ready.

        Raises:
            ValueError: When steps do not come in rising order.
        """
        before = self._frames[-1].step if self._frames else frame.step - 1
        if frame.step <= before:
            raise ValueError(f"step must rise, but {frame.step} came after {before}.")
        if self._begins_scene(frame) or frame.step > before + 1:
            self._end_scene()
        ready = list(self._ready())
        self._frames.append(frame)
        if faces is not None:
            self._last_detection = frame.step
            self._link(frame.step, self._usable(faces))
        self._end_tracks(frame.step, max_age=self.options.max_age)
        ready += self._ready()
        while self._frames[0].step <= frame.step - self.options.lag:
            self._frames.popleft()
        return ready

    def flush(self) -> list[TrackedCrop]:
        """End all tracks and return what is left."""
        self._end_scene()
        ready = list(self._ready())
        self._frames.clear()
        return ready

    def _begins_scene(self, frame: Frame) -> bool:
        """Compare each frame once with the one before, however often it is asked."""
        if self._looked_at is not frame:
            self._looked_at = frame
            self._is_cut = self._scenes.is_cut(frame.rgb)
        return self._is_cut

    def _usable(self, faces: Sequence[Face]) -> list[Face]:
        tall = [face for face in faces if face.box[3] - face.box[1] >= self.options.min_face_px]
        tall.sort(key=lambda face: float(face.box[3] - face.box[1]), reverse=True)
        return tall[: self.options.max_faces]

    def _link(self, step: int, faces: list[Face]) -> None:
        alive = [track for track in self._tracks if not track.ended]
        rows = [face_row(face) for face in faces]
        before = [track.last_row for track in alive]
        pairs = match(before, rows, self.options)
        self._steady = all_steady(before, rows, pairs, self.options.steady_iou)
        for track_index, face_index in pairs:
            alive[track_index].add(step, rows[face_index])
        taken = {face_index for _, face_index in pairs}
        for index, row in enumerate(rows):
            if index not in taken:
                track = Track(self._next_id, step, self.options.reach)
                track.add(step, row)
                self._tracks.append(track)
                self._next_id += 1

    def _end_scene(self) -> None:
        """End all tracks; those seen in the last detection last until the last frame."""
        for track in self._tracks:
            if not track.ended and track.last_step == self._last_detection and self._frames:
                track.hold(self._frames[-1].step)
            track.ended = True

    def _end_tracks(self, now: int, max_age: int) -> None:
        """End the tracks whose last detection is `max_age` steps old or older."""
        for track in self._tracks:
            track.ended = track.ended or now - track.last_step >= max_age

    def _ready(self) -> Iterator[TrackedCrop]:
        """Yield the crops whose smoothing windows are complete, by step and then by track."""
        frames = {frame.step: frame for frame in self._frames}
        due = [(step, track.track_id, track) for track in self._tracks for step in track.ready()]
        for step, _, track in sorted(due, key=lambda item: item[:2]):
            yield self._crop(track, frames[step])
            track.gave()
        self._tracks = [track for track in self._tracks if not track.done]

    def _crop(self, track: Track, frame: Frame) -> TrackedCrop:
        row, detected = track.at(frame.step)
        centre = track.smoothed(frame.step, self.options.smooth_centre)[:2]
        half = track.smoothed(frame.step, self.options.smooth_size)[2:4] / 2
        box = np.concatenate([centre - half, centre + half])
        square = square_of(box, self.options.crop_scale)
        size = self.options.crop_size
        return TrackedCrop(
            track_id=track.track_id,
            step=frame.step,
            time_s=frame.time_s,
            box=box.astype(np.float32),
            landmarks=to_crop_pixels(row[4:14].reshape(5, 2), square, size),
            crop=crop_square(frame.rgb, square, size),
            detected=detected,
            score=float(row[14]),
        )


def track_faces(
    frames: Iterable[Frame], detector: FaceDetector, options: TrackOptions | None = None
) -> Iterator[TrackedCrop]:
    """Detect, link and crop as the frames come, in bounded memory."""
    tracker = FaceTracker(options)
    for frame in frames:
        faces = detector.detect(frame.rgb) if tracker.wants_faces(frame) else None
        yield from tracker.push(frame, faces)
    yield from tracker.flush()


def extract_tracks(
    frames: Iterable[Frame],
    detector: FaceDetector,
    options: TrackOptions | None = None,
    *,
    min_steps: int = 1,
    **settings: Any,
) -> list[FaceTrack]:
    """Return all face tracks of at least `min_steps` steps, in order of appearance.

    The crops of the whole clip are kept in memory (77 kB each at 160 pixels); use `track_faces` for long files.

    Args:
        frames (`Iterable[Frame]`): Steps in order, as `iter_frames` yields them.
        detector (`FaceDetector`): Finds the faces.
        options (`TrackOptions`, *optional*): How they are linked and cropped.
        min_steps (`int`, *optional*, defaults to 1): Shortest track to return.
        settings (*optional*): Fields of `TrackOptions` to change, such as `crop_size=128`.
    """
    options = replace(options or TrackOptions(), **settings)
    crops: dict[int, list[TrackedCrop]] = {}
    for crop in track_faces(frames, detector, options):
        crops.setdefault(crop.track_id, []).append(crop)
    return [stack_track(crops[key]) for key in sorted(crops) if len(crops[key]) >= min_steps]


def stack_track(crops: Sequence[TrackedCrop]) -> FaceTrack:
    """Join the crops of one track into arrays."""
    if not crops:
        raise ValueError("crops must hold at least one crop, but got none.")
    return FaceTrack(
        track_id=crops[0].track_id,
        steps=np.asarray([c.step for c in crops], dtype=np.int64),
        times_s=np.asarray([c.time_s for c in crops], dtype=np.float64),
        boxes=np.stack([c.box for c in crops]),
        landmarks=np.stack([c.landmarks for c in crops]),
        crops=np.stack([c.crop for c in crops]),
        detected=np.asarray([c.detected for c in crops], dtype=np.bool_),
        scores=np.asarray([c.score for c in crops], dtype=np.float32),
    )
