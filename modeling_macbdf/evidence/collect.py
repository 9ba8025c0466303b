"""The evidence behind a verdict, gathered while the file is judged; bounded, whatever the length of the file.

T steps, S pixels of a crop, L mel frames, F mel bins.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..inference import Detector
from ..media.decode import Frame
from ..media.outcomes import Status
from ..media.probe import MediaInfo
from ..media.tracks import TrackedCrop
from ..picture import MIN_STEPS
from ..scoring import Voice
from ..sources import FileSource, Watcher
from ..verdicts import FaceResult, FileResult, WindowScore
from ..windows import Window
from .attribution import blurred_picture, blurred_sound, integrated_gradients, picture_cells

MAX_FACES = 4  # that get a heat map, the most suspicious first
Box = tuple[int, float, float, float, float]  # track, x0, y0, x1, y1 in pixels of the upright picture


@dataclass(frozen=True)
class FaceEvidence:
    """The most suspicious window of one face.

    Attributes:
        face: the face.
        start_s: begin of the window, in seconds.
        crops: (T, S, S, 3) uint8.
        heat: (T, S, S) in [0, 1]: what raised the picture's own answer; zero where nothing did.
    """

    face: FaceResult
    start_s: float
    crops: np.ndarray
    heat: np.ndarray


@dataclass(frozen=True)
class SoundEvidence:
    """The most suspicious window of the sound.

    Attributes:
        start_s, end_s: where it lies, in seconds.
        spectrogram: (L, F) logarithm of the power, whatever the model's own representation is.
        heat: (L, F) in [0, 1]: what raised the answer; None where the model does not look at a spectrogram.
        answer: "audio" (the voice's own answer) or "joint", where the voice alone has no calibrated answer.
        top_hz: the upper end of the spectrogram.
    """

    start_s: float
    end_s: float
    spectrogram: np.ndarray
    heat: np.ndarray | None
    answer: str
    top_hz: float


@dataclass(frozen=True)
class Evidence:
    """Everything beside the numbers.

    Attributes:
        faces: one entry a judged face, at most `MAX_FACES`.
        sound: None where nothing was heard.
        steps: (time in seconds, raw joint log-odds) of each step of the most suspicious face. Only the order counts.
        boxes: step -> the faces seen in it.
        left_out: what was not judged and why, in words.
    """

    faces: tuple[FaceEvidence, ...] = ()
    sound: SoundEvidence | None = None
    steps: tuple[tuple[float, float], ...] = ()
    boxes: Mapping[int, tuple[Box, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


class Collector(Watcher):
    """Keeps of each face its most suspicious window, and where it was seen.

    Args:
        rate_hz: steps a second.
        progress: told the share of the file, in [0, 1], that has been read.
    """

    def __init__(self, rate_hz: float, progress: Callable[[float], None] | None = None) -> None:
        self.rate_hz = rate_hz
        self.voice = Voice(None, rate_hz)
        self.boxes: dict[int, list[Box]] = {}
        self.seen: dict[int, int] = {}  # track -> steps
        self.best: dict[int | None, tuple[Window, WindowScore]] = {}
        self.heard: tuple[Window, WindowScore] | None = None  # the most suspicious one that holds sound
        self._values: dict[int | None, dict[int, list[float]]] = {}  # track -> step -> raw log-odds
        self._waiting: deque[Window] = deque()
        self._duration_s: float | None = None
        self._progress = progress

    def on_info(self, info: MediaInfo) -> None:
        """See `Watcher`."""
        self._duration_s = info.duration_s

    def on_voice(self, voice: Voice) -> None:
        """See `Watcher`."""
        self.voice = voice

    def on_frame(self, frame: Frame) -> None:
        """See `Watcher`."""
        if self._progress and self._duration_s:
            self._progress(min(frame.time_s / self._duration_s, 1.0))

    def on_crop(self, crop: TrackedCrop) -> None:
        """See `Watcher`."""
        x0, y0, x1, y1 = (float(side) for side in crop.box)
        self.boxes.setdefault(crop.step, []).append((crop.track_id, x0, y0, x1, y1))
        self.seen[crop.track_id] = self.seen.get(crop.track_id, 0) + 1

    def on_window(self, window: Window) -> None:
        """See `Watcher`."""
        self._waiting.append(window)

    def on_score(self, score: WindowScore) -> None:
        """See `Watcher`."""
        window = self._waiting.popleft()
        steps = self._values.setdefault(window.track, {})
        for index, value in enumerate(score.steps):
            steps.setdefault(window.first_step + index, []).append(value)
        if window.track not in self.best or score.joint > self.best[window.track][1].joint:
            self.best[window.track] = (window, score)
        if score.only != "video" and (self.heard is None or score.joint > self.heard[1].joint):
            self.heard = (window, score)

    def steps_of(self, track: int | None) -> tuple[tuple[float, float], ...]:
        """(centre in seconds, mean raw log-odds) of each step of a track that has one."""
        means = {step: float(np.mean(values)) for step, values in sorted(self._values.get(track, {}).items())}
        return tuple(((step + 0.5) / self.rate_hz, mean) for step, mean in means.items() if math.isfinite(mean))


def judge_with_evidence(
    detector: Detector, path: str | os.PathLike[str], progress: Callable[[float], None] | None = None
) -> tuple[FileResult, Evidence]:
    """Judges a file as `Detector.detect` does, with the same numbers, and keeps what they rest on.

    Args:
        detector: the detector.
        path: the file.
        progress: told the share of the reading, in [0, 1]; the heat maps come after 1.
    """
    collector = Collector(detector.config.frame_rate_hz, progress)
    result = detector.judge(FileSource(os.fspath(path), detector.limits), collector)
    if not result.scored:
        return result, Evidence(boxes=_frozen(collector.boxes))
    top = max(collector.best, key=lambda track: collector.best[track][1].joint)
    shown = [face for face in result.faces if face.track in collector.best][:MAX_FACES]
    return result, Evidence(
        faces=tuple(_face(detector, collector, face) for face in shown),
        sound=_sound(detector, collector.voice, *collector.heard) if collector.heard else None,
        steps=collector.steps_of(top),
        boxes=_frozen(collector.boxes),
        left_out=_left_out(result, collector, len(shown)),
    )


def _frozen(boxes: Mapping[int, list[Box]]) -> dict[int, tuple[Box, ...]]:
    return {step: tuple(found) for step, found in boxes.items()}


def _face(detector: Detector, collector: Collector, face: FaceResult) -> FaceEvidence:
    window, score = collector.best[face.track]
    if window.crops is None:
        raise ValueError(f"the window of face {face.track} must have crops, but has none")
    inputs = detector.scorer.inputs([window], collector.voice)
    cells = picture_attribution(detector.model, inputs)[0, : window.steps]
    return FaceEvidence(face, score.start_s, window.crops, _heat(cells, window.crops.shape[1:3]))


def picture_attribution(model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(B, T, h, w): what each cell of the face crops adds to the picture's own answer."""
    baseline = blurred_picture(inputs["pixel_values"])
    return picture_cells(integrated_gradients(model, inputs, "pixel_values", "video_logits", baseline))


def _heat(cells: torch.Tensor, size: tuple[int, ...]) -> np.ndarray:
    """Positive part of the cells, (T, h, w) -> (T, H, W); 1 is what only one cell in a hundred exceeds."""
    raised = cells.clamp(min=0.0)
    scaled = (raised / raised.flatten().quantile(0.99).clamp(min=1e-9)).clamp(max=1.0)
    return F.interpolate(scaled.unsqueeze(1), size=size, mode="bilinear").squeeze(1).float().cpu().numpy()


def _sound(detector: Detector, voice: Voice, window: Window, score: WindowScore) -> SoundEvidence | None:
    cut = voice.cut(window.first_step, window.steps)
    if cut is None or voice.audio is None:
        return None
    extractor = detector.scorer.processor.feature_extractor
    answer = "audio" if "audio" in detector.calibration else "joint"
    inputs = detector.scorer.inputs([window], voice)
    features = inputs["input_features"]
    # Nothing is marked for a tower on waveforms.
    heat = _sound_heat(detector.model, inputs, answer) if features.dim() == 3 else None
    spectrogram = extractor.log_power(torch.from_numpy(cut[0]).unsqueeze(0))[0]
    frames = round((score.end_s - score.start_s) * extractor.sampling_rate / extractor.hop_length)
    return SoundEvidence(
        score.start_s,
        score.end_s,
        spectrogram[:frames].numpy(),
        None if heat is None else heat[:frames],
        answer,
        extractor.sampling_rate / 2,
    )


def _sound_heat(model: Any, inputs: Mapping[str, torch.Tensor], answer: str) -> np.ndarray:
    """(L, F) in [0, 1]: what in the features raised the answer."""
    features = inputs["input_features"]
    logits = "audio_logits" if answer == "audio" else "logits"
    raised = integrated_gradients(model, inputs, "input_features", logits, blurred_sound(features))
    smooth = F.avg_pool2d(raised.unsqueeze(1), (11, 5), 1, (5, 2))[0, 0].clamp(min=0.0)
    return (smooth / smooth.flatten().quantile(0.99).clamp(min=1e-9)).clamp(max=1.0).float().cpu().numpy()


def _left_out(result: FileResult, collector: Collector, shown: int) -> tuple[str, ...]:
    """What was not judged, and why."""
    notes = [result.reason] if result.reason else []
    if result.p_fake_audio is None and result.status == Status.scored:
        notes.append("the voice has no answer of its own: this model's calibration has none for a voice alone")
    judged = {face.track for face in result.faces}
    short = [steps for track, steps in collector.seen.items() if track not in judged]
    if short:
        needed_s, longest_s = MIN_STEPS / collector.rate_hz, max(short) / collector.rate_hz
        notes.append(f"{len(short)} more faces were seen for at most {longest_s:.1f} s; {needed_s:.1f} s are needed")
    if len(result.faces) > shown:
        notes.append(f"heat maps are made for the {shown} most suspicious of {len(result.faces)} faces")
    if result.in_sync is None and result.p_fake_video is not None:
        notes.append("whether lips and voice are in step was not measured")
    return (*notes, *result.warnings)
