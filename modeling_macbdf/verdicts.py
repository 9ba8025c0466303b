"""From scores to words: what a file's windows say together, and when the answer is "cannot tell".

Pure functions and records; nothing here decodes, runs a model or prints. 1 = fake everywhere.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# The AUC of left-out voices falls from .90 to .68 after Opus at 16 kbit/s (docs/results.md). Containers rarely declare
# the rate, so it is not asked for.
MASKING_CODECS = ("opus",)
# So does white noise 20 dB below: then 95 of 100 voices lie below this level range, and 1 of 100 as they are.
LEAST_LEVEL_RANGE_DB = 25.0
# Status of a file -> the only stream that it was judged on.
ALONE = {"no_audio": "video", "no_video": "audio"}


class Verdict(StrEnum):
    """The answer for one file. A file that could not be judged has none."""

    REAL = "real"
    FAKE = "fake"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class WindowScore:
    """Calibrated log-odds of "fake" for one window of one face track (or of the sound alone).

    Attributes:
        track: face track number, or None for a window of sound alone.
        start_s: begin of the window on the clip's clock, in seconds.
        end_s: end of the window, in seconds.
        joint: log-odds of the picture and voice judged together; the present stream's own where one is missing.
        video: log-odds of the picture alone, or None.
        audio: log-odds of the voice alone, or None.
        only: the one stream that is in the window, "video" or "audio"; None = both.
        steps: raw joint log-odds of each step, for localisation: only their order means something.
        in_sync: share of the steps in which the sync head finds lips and voice in step, or None.
        distances: of the window's features from the nearest prototype of each stream, "video" and "audio" as far as
            known: large where the media are unlike all that was trained on.
    """

    track: int | None
    start_s: float
    end_s: float
    joint: float
    video: float | None
    audio: float | None
    only: str | None = None
    steps: tuple[float, ...] = ()
    in_sync: float | None = None
    distances: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FaceResult:
    """One face track: its calibrated score, when it is seen and where (median box, pixels x0, y0, x1, y1)."""

    track: int
    p_fake: float
    start_s: float
    end_s: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Segment:
    """A stretch of the timeline and its calibrated suspicion: together, of the picture and of the voice alone."""

    start_s: float
    end_s: float
    p_fake: float
    p_fake_video: float | None = None
    p_fake_audio: float | None = None
    in_sync: float | None = None


@dataclass(frozen=True)
class Provenance:
    """The content credentials of one file.

    Attributes:
        state: "none", "valid" (signature and content fit), "invalid", "unreadable".
        signer: whom the certificate names; not checked against a list of trusted signers.
        generator: the program that wrote the credentials.
        actions: what was done to the file, as the credentials tell.
        source_types: IPTC's digital source types, such as "trainedAlgorithmicMedia" for generated media.
        problems: what did not fit, in the words of the library.
    """

    state: str
    signer: str | None = None
    generator: str | None = None
    actions: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileResult:
    """Everything that is said about one file. `p_fake` and `verdict` are None when nothing was scored.

    `in_sync` is the share of the steps in which the sync head, where the model has one, finds lips and voice in step.
    It is no probability and no part of `p_fake`: dubbed and lagged video is real. Nor are the content credentials.
    `distances` are the means over the windows, see `WindowScore`.
    """

    path: str
    status: str
    reason: str
    sha256: str | None = None
    duration_s: float | None = None
    verdict: Verdict | None = None
    p_fake: float | None = None
    p_fake_video: float | None = None
    p_fake_audio: float | None = None
    in_sync: float | None = None
    distances: Mapping[str, float] = field(default_factory=dict)
    faces: tuple[FaceResult, ...] = ()
    timeline: tuple[Segment, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: Provenance | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def scored(self) -> bool:
        """Whether the file has a probability."""
        return self.p_fake is not None


def calibrated(logit: float, scale_bias: Sequence[float]) -> float:
    """Platt scaling of a raw log-odds: scale * logit + bias.

    The scale is positive, so scaling windows and then pooling equals pooling and then scaling: thresholds that were
    fitted on clips hold for windows mixed from clips with and without sound.
    """
    scale, bias = scale_bias
    return scale * logit + bias


def probability(log_odds: float) -> float:
    """Sigmoid of a log-odds. Beyond +-60 it is 0 or 1 to double precision; the bound keeps exp() from overflowing.

    Raises:
        ValueError: NaN, which `min` and `max` would turn into certainty.
    """
    if math.isnan(log_odds):
        raise ValueError("log_odds must be a number, but it is NaN")
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, log_odds))))


def pool(log_odds: Iterable[float], top_share: float = 0.25) -> float:
    """Mean of the most suspicious share of the windows (at least one): a short forged part is not averaged away.

    Raises:
        ValueError: if there is no window.
    """
    ranked = sorted(log_odds, reverse=True)
    if not ranked:
        raise ValueError("log_odds must hold at least one window, but it is empty")
    top = ranked[: max(1, math.ceil(top_share * len(ranked)))]
    return sum(top) / len(top)


def in_force(calibration: Mapping[str, Any], only: str | None) -> Mapping[str, Any]:
    """The calibration with the thresholds that hold for a file.

    Args:
        calibration: of the model.
        only: the stream that the file was judged on, "video" or "audio", which has thresholds of its own where they
            were fitted ("alone"); None = both together. See `ALONE`.
    """
    return {**calibration, **calibration.get("alone", {}).get(only, {})}


def decide(p_fake: float, calibration: Mapping[str, Any], distances: Mapping[str, float] | None = None) -> Verdict:
    """The verdict: two thresholds on the calibrated probability with "inconclusive" between them.

    `calibration` has the thresholds `in_force`. It is "inconclusive" at any probability where a stream is too far from
    all that was trained on.
    """
    if unfamiliar(distances or {}, calibration):
        return Verdict.INCONCLUSIVE
    if p_fake >= calibration["fake_above"]:
        return Verdict.FAKE
    if p_fake <= calibration["real_below"]:
        return Verdict.REAL
    return Verdict.INCONCLUSIVE


def unfamiliar(distances: Mapping[str, float], calibration: Mapping[str, Any]) -> list[str]:
    """Why a clip is unlike the clips of the calibration, a sentence for each stream; empty where it is not."""
    limits = calibration.get("distance_limit", {})
    names = {"video": "picture", "audio": "voice"}
    return [
        f"the {names[stream]} is unlike the training media (feature distance {value:.2f}, limit {limits[stream]:.2f})"
        for stream, value in distances.items()
        if value > limits.get(stream, math.inf)
    ]


def masked_voice(codec: str | None, level_range_db: float | None) -> list[str]:
    """Why a voice gives no ground for a verdict; empty where it does.

    Args:
        codec: of the sound, None where it is not known.
        level_range_db: of `media.noise`, None where it is not known.
    """
    hidden = "hides what tells real voices from synthetic ones"
    doubts = []
    if codec in MASKING_CODECS:
        doubts.append(f"the sound is coded in {codec}, which at the rates of calls and messages {hidden}")
    if level_range_db is not None and level_range_db < LEAST_LEVEL_RANGE_DB:
        doubts.append(
            f"the voice stands little out of noise or music, which {hidden} "
            f"(level range {level_range_db:.0f} dB, {LEAST_LEVEL_RANGE_DB:.0f} dB are needed)"
        )
    return doubts


def mean_distances(windows: Sequence[WindowScore]) -> dict[str, float]:
    """Mean feature distance of each stream over the windows that have one."""
    means = {name: _mean(w.distances.get(name) for w in windows) for name in ("video", "audio")}
    return {name: value for name, value in means.items() if value is not None}


def judged_s(windows: Iterable[WindowScore]) -> float:
    """Seconds that lie in at least one window."""
    total = end = 0.0
    for window in sorted(windows, key=lambda window: window.start_s):
        total += max(window.end_s - max(window.start_s, end), 0.0)
        end = max(end, window.end_s)
    return total


def by_track(windows: Iterable[WindowScore]) -> dict[int | None, list[WindowScore]]:
    """Windows grouped by their face track, in the order of appearance."""
    groups: dict[int | None, list[WindowScore]] = {}
    for window in windows:
        groups.setdefault(window.track, []).append(window)
    return groups


def file_log_odds(windows: Sequence[WindowScore]) -> dict[str, float]:
    """Clip-level log-odds per answer: "joint", and "video" and "audio" as far as they were judged.

    The clip takes its most suspicious face. The voice belongs to the clip and not to a face, so each instant of it
    counts once however many faces are seen.
    """
    groups = by_track(windows).values()
    answers = {"joint": max(pool(w.joint for w in group) for group in groups)}
    pictures = [[w.video for w in group if w.video is not None] for group in groups]
    if any(pictures):
        answers["video"] = max(pool(picture) for picture in pictures if picture)
    voice = {w.start_s: w.audio for w in windows if w.audio is not None}
    if voice:
        answers["audio"] = pool(voice.values())
    return answers


def timeline(windows: Sequence[WindowScore], segment_s: float) -> tuple[Segment, ...]:
    """Suspicion over time: for every `segment_s` seconds the most suspicious face's mean over the windows on it.

    A window is on the segments whose centre it holds, and on the one that holds its own: none is lost, however short.
    """
    end_s = max((w.end_s for w in windows), default=0.0)
    segments = []
    for index in range(math.ceil(round(end_s / segment_s, 6))):
        begin, end = index * segment_s, min((index + 1) * segment_s, end_s)
        centre = (begin + end) / 2
        on_it = [w for w in windows if w.start_s <= centre < w.end_s or begin <= (w.start_s + w.end_s) / 2 < end]
        if on_it:
            segments.append(_segment(round(begin, 3), round(end, 3), on_it))
    return tuple(segments)


def _segment(begin: float, end: float, windows: Sequence[WindowScore]) -> Segment:
    faces = by_track(windows).values()
    joint = max(sum(w.joint for w in face) / len(face) for face in faces)
    pictures = [mean for face in faces if (mean := _mean(w.video for w in face)) is not None]
    voice = _mean({w.start_s: w.audio for w in windows}.values())
    return Segment(
        begin,
        end,
        probability(joint),
        probability(max(pictures)) if pictures else None,
        None if voice is None else probability(voice),
        mean_in_sync(windows),
    )


def mean_in_sync(windows: Iterable[WindowScore]) -> float | None:
    """Mean share of steps in step over the windows that have one; None without any."""
    return _mean(w.in_sync for w in windows)


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of the known values, None without any."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
