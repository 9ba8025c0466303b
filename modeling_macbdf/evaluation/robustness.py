"""How the score holds when the media are changed: the decoded clip is changed, and everything after it runs as ever.

A condition is a distortion with its severity, as "jpeg/3". Faces are looked for anew in every changed picture; where
only the sound changes, the faces of the unchanged frames are remembered. For that, a clip's frames at the model's rate
are held in memory; one that has too many of them loses its score under every condition, as `too_large`.
"""

import math
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from . import bootstrap, metrics
from .clusters import clusters
from .distortions import ALL, PICTURE, PROFILES, SEVERITIES, SOUND, Rng, h264, kept_steps, messenger
from .score import Row, row_of, said_of, source_of

_FPS = 25.0  # of a file that declares none
_TICK_S = 1e-4  # a little over that of an encoder's clock
MAX_FRAME_BYTES = 4 * 2**30  # of one clip's frames in memory: about two minutes of 1080p at 5 Hz


@dataclass
class MemorySource:
    """A clip whose frames and sound are at hand.

    Attributes:
        path: for the report.
        declared: what it declares.
        steps: frames at the model's rate, an iterator where they are asked for once; a MediaError is raised then.
        sound: the same for the sound.
    """

    path: str
    declared: MediaInfo
    steps: Iterable[Frame] | MediaError
    sound: Audio | MediaError | None

    def info(self) -> MediaInfo:
        """See `Source`."""
        return self.declared

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

    def __init__(self, detector: FaceDetector, own: Iterable[Frame]) -> None:
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
            with tempfile.TemporaryDirectory() as folder:
                changed = _under(source, decoded, name, severity, Path(folder), detector.config.frame_rate_hz)
                if changed is not None:
                    row["conditions"][f"{name}/{severity}"] = said_of(detector.judge(changed))
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
            steps = _held(source.frames(detector.config.frame_rate_hz, []), source.path)
        except MediaError as error:
            steps = error
    if info.audio is not None:
        try:
            sound = source.audio(detector.config.sampling_rate)
        except MediaError as error:
            sound = error
    return MemorySource(source.path, info, steps, sound)


def _held(frames: Iterable[Frame], path: str) -> list[Frame]:
    """The frames as a list, within `MAX_FRAME_BYTES`; a picture that several steps show counts once."""
    held: list[Frame] = []
    size = 0
    for frame in frames:
        size += frame.rgb.nbytes if not held or frame.rgb is not held[-1].rgb else 0
        if size > MAX_FRAME_BYTES:
            reason = f"its frames at the model's rate take over {MAX_FRAME_BYTES} bytes, the most held for distortions"
            raise MediaError(Status.too_large, reason, path)
        held.append(frame)
    return held


def _under(
    source: FileSource, decoded: MemorySource, name: str, severity: int, folder: Path, rate_hz: float
) -> Source | None:
    """The clip under one condition; None where it lacks the stream that is changed.

    A stream that the condition leaves unreadable says so when the clip is judged.
    """
    rng = np.random.default_rng([zlib.crc32(Path(decoded.path).name.encode()), ALL.index(name), severity])
    steps, sound = decoded.steps, decoded.sound
    if name in SOUND:
        if not isinstance(sound, Audio) or sound.is_silent:
            return None
        try:
            return replace(decoded, sound=SOUND[name](sound, severity, rng))
        except MediaError as error:
            return replace(decoded, sound=error)
    if decoded.declared.video is None:
        return None
    if isinstance(steps, MediaError):
        return decoded
    if name in PICTURE:
        return replace(decoded, steps=_changed(steps, name, severity, rng))
    if name == "drop_video":
        own = list(steps)
        lost = MediaError(Status.no_video, "its video stream gives no frame", decoded.path)
        return replace(decoded, steps=own[: kept_steps(len(own), severity)] or lost)
    try:
        return _recoded(source, decoded, name, severity, folder, rate_hz)
    except MediaError as error:
        return replace(decoded, steps=error)


def _changed(steps: Iterable[Frame], name: str, severity: int, rng: Rng) -> Iterator[Frame]:
    """Frames with changed pixels; only noise differs from frame to frame."""
    seed = int(rng.integers(2**32))
    for frame in steps:
        own = np.random.default_rng([seed, frame.step] if name == "noise" else seed)
        yield Frame(frame.step, frame.time_s, PICTURE[name](frame.rgb, severity, own), frame.pts_s)


def _recoded(
    source: FileSource, decoded: MemorySource, name: str, severity: int, folder: Path, rate_hz: float
) -> Source:
    """The clip after a real encoder: all its frames at their own times, not only those that the model looks at."""
    video = decoded.declared.video
    fps = (video.frame_rate_hz if video is not None else None) or _FPS
    frames = _apart(iter_frames(source.path, None, limits=source.limits))
    if name == "messenger":
        sound = decoded.sound if isinstance(decoded.sound, Audio) else None
        return FileSource(str(messenger(frames, fps, sound, folder)), source.limits)
    path = str(h264(frames, fps, folder, severity))
    return replace(decoded, steps=FileSource(path, source.limits).frames(rate_hz, []))


def _apart(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Without those that come so soon after another that an encoder takes both for one and refuses them."""
    before_s = -math.inf
    for frame in frames:
        if frame.time_s - before_s > _TICK_S:
            yield frame
            before_s = frame.time_s


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
        "auc": metrics.known(metrics.auc(labels, scores)),
        "interval": limits.get("auc"),
        "clean_auc": metrics.known(metrics.auc(labels, clean)),
        "mean_shift": metrics.known(float(np.mean(scores - clean)) if len(both) else float("nan")),
        "reals_called_fake": _rate(both, 0, "fake"),
        "inconclusive": _rate(both, None, "inconclusive"),
    }


def _rate(both: Sequence[tuple[Row, Mapping[str, Any]]], label: int | None, verdict: str) -> float | None:
    chosen = [answer["verdict"] == verdict for row, answer in both if label is None or row["label"] == label]
    return float(np.mean(chosen)) if chosen else None
