"""A media file in, a verdict out. The command line, the pipeline and the demo all judge through `Detector`.

Picture and model work window by window, so that memory does not grow with the length of the picture.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import verdicts
from .checkpoint import UntrainedModelError, load_checkpoint
from .media.container import DecodeLimits
from .media.decode import Frame
from .media.faces import CenterFaceDetector, FaceDetector
from .media.outcomes import MediaError, Status
from .media.probe import MediaInfo
from .media.tracks import TrackedCrop, TrackOptions, track_faces
from .scoring import Voice, WindowScorer
from .sources import FileSource, Source, Watcher
from .timing import Item, Stopwatch
from .verdicts import FaceResult, FileResult, WindowScore
from .windows import Window, WindowBuilder, sound_windows

MIN_STEPS = 4  # steps (0.8 s at 5 Hz): a face that is seen for less is not judged
_SHIPPED = ("macb-df-small", "macb-df-tiny")  # the first one that has weights is the default


def shipped_model() -> Path:
    """The folder of the weights that come with the project.

    Raises:
        ValueError: if there are none.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "hub_configs", package.parent / "hub_configs"):
        for folder in [*(root / name for name in _SHIPPED), *sorted(root.glob("*/"))]:
            if (folder / "model.safetensors").is_file():
                return folder
    raise ValueError("no shipped weights were found beside the package; name a folder or a Hub repository as model")


@dataclass
class _Seen:
    """When and where each face was seen: what the report needs, without the pictures."""

    steps: dict[int, list[int]] = field(default_factory=dict)
    boxes: dict[int, list[np.ndarray]] = field(default_factory=dict)

    def add(self, crop: TrackedCrop) -> None:
        self.steps.setdefault(crop.track_id, []).append(crop.step)
        self.boxes.setdefault(crop.track_id, []).append(crop.box)

    def longest(self) -> int:
        return max((len(steps) for steps in self.steps.values()), default=0)

    def face(self, track: int, log_odds: float, rate_hz: float) -> FaceResult:
        steps = self.steps[track]
        box = np.median(np.stack(self.boxes[track]), axis=0).round(1).tolist()
        start_s, end_s = steps[0] / rate_hz, (steps[-1] + 1) / rate_hz
        return FaceResult(track, verdicts.probability(log_odds), start_s, end_s, tuple(box))


class _TimedFaces:
    """A face detector whose time is counted."""

    def __init__(self, detector: FaceDetector, watch: Stopwatch) -> None:
        self._detector, self._watch = detector, watch

    def detect(self, rgb: np.ndarray) -> list[Any]:
        with self._watch.stage("faces"):
            return self._detector.detect(rgb)


class Detector:
    """Judges media files with a trained MACB-DF model.

    Args:
        model: a `MACBDFForClassification`, installed or loaded from the Hub, with a calibration in its config.
        processor: its `MACBDFProcessor`.
        model_info: "id" and "revision" for the report.
        device: "auto" or a torch device.
        batch_size: windows judged at once.
        max_duration_s: longer files are refused, in seconds.
        faces: another face detector.
        calibration: in place of the config's, for fitting one.

    Raises:
        UntrainedModelError: if there is no calibration.
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        model_info: dict[str, Any] | None = None,
        device: str = "auto",
        batch_size: int = 8,
        max_duration_s: float = 3600.0,
        faces: FaceDetector | None = None,
        calibration: dict[str, Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1 window, but it is {batch_size}")
        self.calibration = calibration or model.config.calibration
        if not self.calibration:
            raise UntrainedModelError(
                "the model's config has no calibration: it was not trained, and would only guess"
            )
        self.model = model.eval().to(_best_device() if device == "auto" else device)
        self.config = model.config
        self.model_info = model_info or {"id": "in memory", "revision": None}
        self.limits = DecodeLimits(max_duration_s=max_duration_s)
        self.faces = faces or CenterFaceDetector()
        # Training crops (data/cache.py) are cut by the same options: a cropper of its own would look like a forgery.
        self.tracking = TrackOptions()
        self.scorer = WindowScorer(self.model, processor, self.calibration, batch_size)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> "Detector":
        """Loads a model from a folder or a Hub repository; without a name, the weights that the project ships.

        Args:
            model: folder or "org/name". A name that is no folder is looked up on the Hub.
            revision: branch, tag or commit of the repository.
            trust_remote_code: run the repository's own model code instead of this package's.
            options: as in the constructor.

        Raises:
            UntrainedModelError: if the checkpoint lacks weights or a calibration.
            OSError: if there is no such model.
        """
        name = os.fspath(model or shipped_model())
        source = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
        loaded, processor = load_checkpoint(name, **source)
        commit = getattr(loaded.config, "_commit_hash", None)
        model_info = {"id": Path(name).resolve().name if Path(name).is_dir() else name, "revision": commit or revision}
        return cls(loaded, processor, model_info=model_info, **options)

    def detect(self, path: str | os.PathLike[str]) -> FileResult:
        """Judges one file. What is wrong with a file comes back as a status and a reason, not as an exception."""
        return self.judge(FileSource(os.fspath(path), self.limits))

    def judge(self, source: Source, watcher: Watcher | None = None) -> FileResult:
        """Judges a clip of any source, as `detect` does.

        Args:
            source: the clip.
            watcher: sees what passes through.
        """
        watch = Stopwatch("decode", "faces", "model")
        result = FileResult(path=source.path, status=Status.internal_error, reason="")
        try:
            info = source.info()
            result = replace(result, duration_s=info.duration_s, sha256=source.sha256())
            result = self._judge(source, result, info, watch, watcher or Watcher())
        except MediaError as error:
            result = replace(result, status=error.status, reason=error.reason)
        except Exception as error:  # a fault of ours must not take the batch down: it is counted and named
            result = replace(result, status=Status.internal_error, reason=f"{type(error).__name__}: {error}")
        return replace(result, seconds=watch.result())

    def _judge(
        self, source: Source, result: FileResult, info: MediaInfo, watch: Stopwatch, watcher: Watcher
    ) -> FileResult:
        notes: list[str] = []
        watcher.on_info(info)
        with watch.stage("decode"):
            voice = self._listen(source, info, notes)
        watcher.on_voice(voice)
        seen = _Seen()
        if info.video:
            windows = self._picture(source.frames(self.config.frame_rate_hz, notes), seen, watch, watcher)
        else:
            windows = iter(self._sound(source.path, voice))
        scores = []
        for score in self.scorer.score(_each(windows, watcher.on_window), voice, watch):
            scores.append(score)
            watcher.on_score(score)
        if not scores:
            raise _nothing_judged(seen, self.config.frame_rate_hz, source.path)
        status, reason = _scored_as(info, voice)
        result = replace(result, warnings=tuple(dict.fromkeys(notes)), status=status, reason=reason)
        return self._answer(result, scores, seen)

    def _listen(self, source: Source, info: MediaInfo, notes: list[str]) -> Voice:
        rate_hz = self.config.frame_rate_hz
        if info.audio is None:
            return Voice(None, rate_hz, "the file has no audio stream")
        try:
            audio = source.audio(self.config.sampling_rate)
        except MediaError as error:
            # A picture whose sound is damaged is judged on the picture, and the damage is told.
            if info.video is None or error.status not in (Status.no_audio, Status.undecodable):
                raise
            return Voice(None, rate_hz, error.reason)
        if audio is None or audio.is_silent:
            return Voice(None, rate_hz, "the audio track is silent")
        notes += audio.warnings
        return Voice(audio, rate_hz)

    def _picture(self, frames: Iterator[Frame], seen: _Seen, watch: Stopwatch, watcher: Watcher) -> Iterator[Window]:
        builder = WindowBuilder(self.config.num_frames, self._hop_steps, MIN_STEPS)
        shown = _each(watch.iterate("decode", frames), watcher.on_frame)
        crops = track_faces(shown, _TimedFaces(self.faces, watch), self.tracking)
        for crop in crops:
            seen.add(crop)
            watcher.on_crop(crop)
            window = builder.push(crop.track_id, crop.step, crop.crop)
            if window is not None:
                yield window
            yield from builder.finish_before(crop.step - 2 * self.tracking.lag)  # a track that got no crop is over
        yield from builder.finish_before()

    def _sound(self, path: str, voice: Voice) -> list[Window]:
        """Windows without a picture, if the model's voice answer is calibrated to stand alone."""
        if voice.audio is None:
            raise MediaError(Status.no_audio, f"there is no picture, and {voice.reason}", path)
        if "audio" not in self.calibration:
            raise MediaError(Status.no_video, "there is no picture, and this model does not judge a voice alone", path)
        windows = sound_windows(voice.steps, self.config.num_frames, self._hop_steps, MIN_STEPS)
        if not windows:
            needed = MIN_STEPS / self.config.frame_rate_hz
            raise MediaError(
                Status.too_short, f"it holds {voice.audio.duration_s:.2f} s of sound, {needed} s are needed", path
            )
        return windows

    @property
    def _hop_steps(self) -> int:
        """Steps from one window to the next: half of it, so that every instant lies well inside some window."""
        return max(self.config.num_frames // 2, 1)

    def _answer(self, result: FileResult, scores: Sequence[WindowScore], seen: _Seen) -> FileResult:
        rate_hz = self.config.frame_rate_hz
        p = {kind: verdicts.probability(value) for kind, value in verdicts.file_log_odds(scores).items()}
        distances = verdicts.mean_distances(scores)
        tracks = verdicts.by_track(scores)
        faces = [seen.face(t, verdicts.pool(w.joint for w in tracks[t]), rate_hz) for t in tracks if t in seen.steps]
        return replace(
            result,
            verdict=verdicts.decide(p["joint"], self.calibration, distances),
            distances=distances,
            warnings=(*result.warnings, *verdicts.unfamiliar(distances, self.calibration)),
            p_fake=p["joint"],
            p_fake_video=p.get("video"),
            p_fake_audio=p.get("audio"),
            in_sync=verdicts.mean_in_sync(scores),
            faces=tuple(sorted(faces, key=lambda face: -face.p_fake)),
            timeline=verdicts.timeline(scores, self._hop_steps / rate_hz),
        )


def _scored_as(info: MediaInfo, voice: Voice) -> tuple[Status, str]:
    """Status and reason of a file that has a score."""
    if info.video is None:
        return Status.no_video, "there is no picture: judged on the voice alone"
    if voice.audio is None:
        return Status.no_audio, f"{voice.reason}: judged on the picture alone"
    return Status.scored, ""


def _nothing_judged(seen: _Seen, rate_hz: float, path: str) -> MediaError:
    """Why a file with a picture gave no window."""
    if not seen.steps:
        return MediaError(Status.no_face, "no face was found in the picture", path)
    longest_s, needed_s = seen.longest() / rate_hz, MIN_STEPS / rate_hz
    reason = f"the longest look at a face is {longest_s:.1f} s, and {needed_s:.1f} s are needed"
    return MediaError(Status.too_short, reason, path)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _each(items: Iterable[Item], look: Callable[[Item], None]) -> Iterator[Item]:
    """The items, each after a look at it."""
    for item in items:
        look(item)
        yield item
