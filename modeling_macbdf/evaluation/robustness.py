"""How the score holds when the media are changed: the decoded clip is changed, and everything after it runs as ever.

A condition is a distortion with its severity, as "jpeg/3". Faces are looked for anew in every changed picture; where
only the sound changes, the faces of the unchanged frames are remembered.
"""

import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.records import ClipRecord
from ..inference import Detector
from ..media.audio import Audio
from ..media.decode import Frame, iter_frames
from ..media.faces import Face, FaceDetector
from ..media.outcomes import MediaError, Status
from ..media.probe import MediaInfo
from ..sources import FileSource, Source
from ..verdicts import FileResult
from . import bootstrap, metrics
from .clusters import clusters
from .distortions import ALL, PICTURE, PROFILES, SEVERITIES, SOUND, Rng, h264, kept_steps, messenger
from .score import Row, row_of, said_of, source_of

_FPS = 25.0  # of a file that declares none


class MemorySource:
    """A clip whose frames and sound are at hand.

    Args:
        path: for the report.
        declared: what it declares.
        steps: frames at the model's rate; a MediaError is raised where they are asked for.
        sound: the same for the sound.
    """

    def __init__(
        self, path: str, declared: MediaInfo, steps: Sequence[Frame] | MediaError, sound: Audio | MediaError | None
    ) -> None:
        self.path, self._declared, self.steps, self.sound = path, declared, steps, sound

    def info(self) -> MediaInfo:
        """See `Source`."""
        return self._declared

    def sha256(self) -> str | None:
        """See `Source`."""
        return None

    def audio(self, sampling_rate: int) -> Audio | None:
        """See `Source`; at the rate that it has."""
        del sampling_rate
        if isinstance(self.sound, MediaError):
            raise self.sound
        return self.sound

    def frames(self, rate_hz: float, warnings: list[str]) -> Iterator[Frame]:
        """See `Source`; at the rate that they have."""
        del rate_hz, warnings
        if isinstance(self.steps, MediaError):
            raise self.steps
        return iter(self.steps)


class _RememberingFaces:
    """A face detector that looks at each of the clip's own frames once."""

    def __init__(self, detector: FaceDetector, own: Sequence[Frame]) -> None:
        self._detector, self._own = detector, {id(frame.rgb) for frame in own}
        self._found: dict[int, list[Face]] = {}

    def detect(self, rgb: np.ndarray) -> list[Face]:
        key = id(rgb)
        if key not in self._own:
            return self._detector.detect(rgb)
        if key not in self._found:
            self._found[key] = self._detector.detect(rgb)
        return self._found[key]


def conditions(names: Sequence[str], severities: Sequence[int]) -> list[tuple[str, int]]:
    """Distortions with their severities; a profile has one, 1.

    Raises:
        ValueError: an unknown distortion or severity.
    """
    unknown = [name for name in names if name not in ALL]
    wrong = [severity for severity in severities if severity not in SEVERITIES]
    if unknown or wrong:
        raise ValueError(f"distortions must be of {ALL} and severities of {SEVERITIES}, but got {[*unknown, *wrong]}")
    return [(name, severity) for name in names for severity in ((1,) if name in PROFILES else severities)]


def parse_conditions(words: Sequence[str]) -> list[tuple[str, int]]:
    """Conditions that are written as "opus/3".

    Raises:
        ValueError: not of that form, or an unknown distortion or severity.
    """
    split = [word.partition("/") for word in words]
    wrong = [word for word, (_, _, severity) in zip(words, split, strict=True) if not severity.isdecimal()]
    if wrong:
        raise ValueError(f"a condition must read NAME/SEVERITY, as opus/3, but got {', '.join(wrong)}")
    return [condition for name, _, severity in split for condition in conditions([name], [int(severity)])]


def robust_row(detector: Detector, record: ClipRecord, wanted: Sequence[tuple[str, int]]) -> Row:
    """A clip's row with "conditions": what was said under each; those that touch no stream of it are absent."""
    source = source_of(record, detector)
    clean = detector.judge(source)
    row = row_of(record, clean) | {"conditions": {}}
    if not wanted:
        return row
    try:
        decoded = _decoded(source, detector)
    except MediaError:
        return row  # it could not be read at all: counted as it is
    finder = detector.faces
    detector.faces = _RememberingFaces(finder, decoded.steps if not isinstance(decoded.steps, MediaError) else ())
    try:
        for name, severity in wanted:
            result = _judged(detector, source, decoded, name, severity)
            if result is not None:
                row["conditions"][f"{name}/{severity}"] = said_of(result)
    finally:
        detector.faces = finder
    return row


def _decoded(source: FileSource, detector: Detector) -> MemorySource:
    """The clip at the model's rates, in memory."""
    info = source.info()
    steps: Sequence[Frame] | MediaError = MediaError(Status.no_video, "it has no video stream", source.path)
    sound: Audio | MediaError | None = None
    if info.video is not None:
        try:
            steps = list(source.frames(detector.config.frame_rate_hz, []))
        except MediaError as error:
            steps = error
    if info.audio is not None:
        try:
            sound = source.audio(detector.config.sampling_rate)
        except MediaError as error:
            sound = error
    return MemorySource(source.path, info, steps, sound)


def _judged(
    detector: Detector, source: FileSource, decoded: MemorySource, name: str, severity: int
) -> FileResult | None:
    """The answer under one condition; None where the clip lacks the stream that it changes."""
    rng = np.random.default_rng([zlib.crc32(Path(decoded.path).name.encode()), ALL.index(name), severity])
    steps, sound, info = decoded.steps, decoded.sound, decoded.info()
    if name in SOUND:
        if not isinstance(sound, Audio) or sound.is_silent:
            return None
        return detector.judge(MemorySource(decoded.path, info, steps, SOUND[name](sound, severity, rng)))
    if isinstance(steps, MediaError):
        return None
    if name in PICTURE:
        return detector.judge(MemorySource(decoded.path, info, _changed(steps, name, severity, rng), sound))
    if name == "drop_video":
        kept = steps[: kept_steps(len(steps), severity)]
        lost = MediaError(Status.no_video, "its video stream gives no frame", decoded.path)
        return detector.judge(MemorySource(decoded.path, info, kept or lost, sound))
    with tempfile.TemporaryDirectory() as folder:
        return detector.judge(_recoded(source, decoded, Path(folder), name, severity))


def _changed(steps: Sequence[Frame], name: str, severity: int, rng: Rng) -> list[Frame]:
    """Frames with changed pixels; only noise differs from frame to frame."""
    seed = int(rng.integers(2**32))
    changed = []
    for frame in steps:
        own = np.random.default_rng([seed, frame.step] if name == "noise" else seed)
        changed.append(Frame(frame.step, frame.time_s, PICTURE[name](frame.rgb, severity, own), frame.pts_s))
    return changed


def _recoded(source: FileSource, decoded: MemorySource, folder: Path, name: str, severity: int) -> Source:
    """The clip after a real encoder: all its frames, not only those that the model looks at."""
    video = decoded.info().video
    fps = (video.frame_rate_hz if video is not None else None) or _FPS
    pictures = (frame.rgb for frame in iter_frames(source.path, None, limits=source.limits))
    sound = decoded.sound if isinstance(decoded.sound, Audio) else None
    if name == "messenger":
        return FileSource(str(messenger(pictures, fps, sound, folder)), source.limits)
    path = h264(pictures, fps, folder, severity)
    steps = list(FileSource(str(path), source.limits).frames(decoded_rate(decoded), []))
    return MemorySource(decoded.path, decoded.info(), steps, decoded.sound)


def decoded_rate(decoded: MemorySource) -> float:
    """Steps a second of a clip in memory, from the times of two of them."""
    steps = decoded.steps
    if isinstance(steps, MediaError) or not steps:
        raise ValueError(f"steps must hold a frame, but {decoded.path} has none")
    return (steps[0].step + 0.5) / steps[0].time_s


def summarize(rows: Sequence[Row], *, resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, dict[str, Any]]]:
    """Distortion -> severity -> "auc" with "interval", "clean_auc" of the same clips unchanged, counts and rates.

    A clip that loses its score under a condition counts there as "lost" and leaves both AUCs.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for condition in dict.fromkeys(name for row in rows for name in row["conditions"]):
        name, severity = condition.split("/")
        found.setdefault(name, {})[severity] = _summary(rows, condition, resamples, seed)
    return found


def _summary(rows: Sequence[Row], condition: str, resamples: int, seed: int) -> dict[str, Any]:
    touched = [row for row in rows if condition in row["conditions"] and None not in (row["label"], row["p_fake"])]
    answers: list[Mapping[str, Any]] = [row["conditions"][condition] for row in touched]
    both = [(r, a) for r, a in zip(touched, answers, strict=True) if a["p_fake"] is not None]
    labels = np.array([row["label"] for row, _ in both], int)
    scores, clean = np.array([a["p_fake"] for _, a in both], float), np.array([r["p_fake"] for r, _ in both], float)
    limits: dict[str, tuple[float, float]] = {}
    if len(set(labels.tolist())) == 2:
        ranking = bootstrap.Ranking(labels, scores)
        identities, _ = clusters([row for row, _ in both])
        limits = bootstrap.intervals({"auc": ranking.auc}, identities, resamples=resamples, seed=seed)
    return {
        "clips": len(touched),
        "lost": len(touched) - len(both),
        "auc": _known(metrics.auc(labels, scores)),
        "interval": limits.get("auc"),
        "clean_auc": _known(metrics.auc(labels, clean)),
        "mean_shift": _known(float(np.mean(scores - clean)) if len(both) else float("nan")),
        "reals_called_fake": _rate(both, 0, "fake"),
        "inconclusive": _rate(both, None, "inconclusive"),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _rate(both: Sequence[tuple[Row, Mapping[str, Any]]], label: int | None, verdict: str) -> float | None:
    chosen = [answer["verdict"] == verdict for row, answer in both if label is None or row["label"] == label]
    return float(np.mean(chosen)) if chosen else None
