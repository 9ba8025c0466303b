"""Frames in, windows of face crops out, for files and for live feeds alike; and what was seen on the way."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from . import verdicts
from .media.decode import Frame
from .media.faces import FaceDetector, OncePerPicture
from .media.outcomes import MediaError, Status
from .media.tracks import FaceTracker, TrackedCrop, TrackOptions
from .sources import Watcher
from .timing import Stopwatch
from .verdicts import FaceResult, FileResult, Verdict, WindowScore
from .windows import Window, WindowBuilder

# Grey levels by which the picture of a living face changes in 0.2 s, in every fourth step or more often. A photograph
# shown as a video changes where the codec draws it anew, at its key frames, and there alone.
STILL = 1.0
_COMPARED = 160  # pixels on a side of a face that are compared, at least
MIN_STEPS = 4  # steps (0.8 s at 5 Hz): a face that is seen for less is not judged


def hop_steps(config: Any) -> int:
    """Steps from one window to the next: half of it, so that every instant lies well inside some window."""
    return max(config.num_frames // 2, 1)


@dataclass
class Seen:
    """When and where each face was seen, and whether it moved: what the report needs, without the pictures.

    Attributes:
        steps: track -> the steps in which it was seen.
        boxes: track -> where.
        changes: track -> (step, mean change of the picture where the face is, in grey levels).
    """

    steps: dict[int, list[int]] = field(default_factory=dict)
    boxes: dict[int, list[np.ndarray]] = field(default_factory=dict)
    changes: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    def add(self, crop: TrackedCrop, frames: Mapping[int, np.ndarray]) -> None:
        """Notes one crop; `frames` are those of its step and of the step before, by step."""
        steps = self.steps.setdefault(crop.track_id, [])
        followed = bool(steps) and steps[-1] == crop.step - 1
        before, now = frames.get(crop.step - 1), frames[crop.step]
        # Two steps that show one frame, as at one frame a second, say nothing about whether it moves.
        if followed and before is not None and before is not now and before.shape == now.shape:
            change = _change(before, now, crop.box)
            self.changes.setdefault(crop.track_id, []).append((crop.step, change))
        steps.append(crop.step)
        self.boxes.setdefault(crop.track_id, []).append(crop.box)

    @property
    def moved(self) -> float:
        """What every fourth change of the liveliest face reaches, in grey levels."""
        of_faces = [[change for _, change in changes] for changes in self.changes.values()]
        return max((float(np.percentile(changes, 75, method="lower")) for changes in of_faces), default=0.0)

    def doubts(self) -> list[str]:
        """Why the picture gives no ground for a verdict; empty where it does."""
        if not self.steps or self.moved >= STILL:
            return []
        return [f"the picture stands still, as a photograph does (change {self.moved:.2f} grey levels, limit {STILL})"]

    def forget_before(self, step: int) -> None:
        """Drops what lies before a step, for feeds without an end."""
        kept_changes = {track: [c for c in changes if c[0] >= step] for track, changes in self.changes.items()}
        self.changes = {track: changes for track, changes in kept_changes.items() if changes}
        for track, steps in list(self.steps.items()):
            kept = [index for index, when in enumerate(steps) if when >= step]
            self.steps[track] = [steps[index] for index in kept]
            self.boxes[track] = [self.boxes[track][index] for index in kept]
            if not kept:
                del self.steps[track], self.boxes[track]

    def longest(self) -> int:
        """Steps of the face that was seen most."""
        return max((len(steps) for steps in self.steps.values()), default=0)

    def face(self, track: int, log_odds: float, rate_hz: float) -> FaceResult:
        """One face's part of the report."""
        steps = self.steps[track]
        box = np.median(np.stack(self.boxes[track]), axis=0).round(1).tolist()
        start_s, end_s = steps[0] / rate_hz, (steps[-1] + 1) / rate_hz
        return FaceResult(track, verdicts.probability(log_odds), start_s, end_s, tuple(box))

    def nothing_judged(self, rate_hz: float, path: str) -> MediaError:
        """Why a clip with a picture gave no window."""
        if not self.steps:
            return MediaError(Status.no_face, "no face was found in the picture", path)
        longest_s, needed_s = self.longest() / rate_hz, MIN_STEPS / rate_hz
        if longest_s >= needed_s:  # of a feed that goes on
            reason = f"a face is seen for {longest_s:.1f} s, and no window is complete yet"
            return MediaError(Status.too_short, reason, path)
        reason = f"the longest look at a face is {longest_s:.1f} s, and {needed_s:.1f} s are needed"
        return MediaError(Status.too_short, reason, path)


def _change(before: np.ndarray, now: np.ndarray, box: np.ndarray) -> float:
    """Mean difference of two frames (H, W, 3) where a face is.

    Of the frames and not of the crops: the place of a crop follows the detector, which wavers on a still picture too.
    """
    left, top, right, bottom = np.clip(np.round(box), 0, [now.shape[1], now.shape[0]] * 2).astype(int)
    stride = max(min(right - left, bottom - top) // _COMPARED, 1)
    face = np.s_[top:bottom:stride, left:right:stride]
    difference = np.abs(now[face].astype(np.int16) - before[face])
    return float(difference.mean()) if difference.size else 0.0


class PictureWindows:
    """Tracks faces through frames and cuts the windows of their crops, in bounded memory.

    Args:
        config: the model's.
        faces: finds the faces.
        tracking: how they are followed.
        watch: gets the detector's time, as stage "faces".
        watcher: sees the crops.
    """

    def __init__(
        self, config: Any, faces: FaceDetector, tracking: TrackOptions, watch: Stopwatch, watcher: Watcher
    ) -> None:
        self.seen, self._faces, self._watch, self._watcher = Seen(), OncePerPicture(faces), watch, watcher
        self.steps = 0  # from clock zero to the end of the picture so far
        self._tracker, self._lag = FaceTracker(tracking), tracking.lag
        self._builder = WindowBuilder(config.num_frames, hop_steps(config), MIN_STEPS)
        self._frames: deque[Frame] = deque(maxlen=self._lag + 2)  # of the crops that come, and the one before

    def push(self, frame: Frame) -> list[Window]:
        """Takes the next step's frame; returns the windows that are complete."""
        self._frames.append(frame)
        self.steps = frame.step + 1
        if not self._tracker.wants_faces(frame):
            return self._cut(self._tracker.push(frame, None))
        with self._watch.stage("faces"):
            found = self._faces.detect(frame.rgb)
        return self._cut(self._tracker.push(frame, found))

    def finish(self) -> list[Window]:
        """Ends all tracks; returns the windows that were left."""
        return [*self._cut(self._tracker.flush()), *self._builder.finish_before()]

    def _cut(self, crops: Iterable[TrackedCrop]) -> list[Window]:
        windows, frames = [], {frame.step: frame.rgb for frame in self._frames}
        for crop in crops:
            self.seen.add(crop, frames)
            self._watcher.on_crop(crop)
            window = self._builder.push(crop.track_id, crop.step, crop.crop)
            if window is not None:
                windows.append(window)
            windows += self._builder.finish_before(crop.step - 2 * self._lag)  # a track that got no crop is over
        return windows


def answer(
    result: FileResult,
    scores: list[WindowScore],
    seen: Seen,
    config: Any,
    calibration: dict[str, Any],
    doubts: Sequence[str] = (),
) -> FileResult:
    """The result with all that the windows' scores say together.

    Args:
        result: of the file so far.
        scores: of its windows.
        seen: its faces.
        config: the model's.
        calibration: the detector's.
        doubts: why there is no ground for a verdict, besides what the picture shows.

    Raises:
        ValueError: if there is no score.
    """
    rate_hz = config.frame_rate_hz
    p = {kind: verdicts.probability(value) for kind, value in verdicts.file_log_odds(scores).items()}
    tracks = verdicts.by_track(scores)
    faces = [seen.face(t, verdicts.pool(w.joint for w in tracks[t]), rate_hz) for t in tracks if t in seen.steps]
    distances = verdicts.mean_distances(scores)
    thresholds = verdicts.in_force(calibration, verdicts.ALONE.get(result.status))
    doubts = [*seen.doubts(), *doubts]
    return replace(
        result,
        verdict=Verdict.INCONCLUSIVE if doubts else verdicts.decide(p["joint"], thresholds, distances),
        p_fake=p["joint"],
        p_fake_video=p.get("video"),
        p_fake_audio=p.get("audio"),
        in_sync=verdicts.mean_in_sync(scores),
        distances=distances,
        warnings=(*result.warnings, *verdicts.unfamiliar(distances, calibration), *doubts),
        faces=tuple(sorted(faces, key=lambda face: -face.p_fake)),
        timeline=verdicts.timeline(scores, hop_steps(config) / rate_hz),
    )
