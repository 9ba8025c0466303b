"""What a clip shows besides the detector's answer, seen in the same pass over the file: what the shortcut probes need.

Features that know nothing of forgery (container, silence, colour, brightness, background), the model's scores step by
step, and the crops of one face with the face painted over and of the picture beside it. Memory is bounded.
"""

from collections import deque
from typing import Any

import numpy as np

from ..media.audio import SILENCE_PEAK, Audio
from ..media.crops import crop_square, square_of, to_crop_pixels
from ..media.decode import Frame
from ..media.probe import MediaInfo
from ..media.tracks import TrackedCrop, TrackOptions
from ..scoring import Voice
from ..sources import Watcher
from ..verdicts import WindowScore

Features = dict[str, float | str]

_SAMPLES = 96  # picture statistics look at about this many pixels of the shorter side
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_AROUND = 1.2  # what is this much larger than the face box counts as face


class StepWitness(Watcher):
    """Watches the scores of one clip."""

    def __init__(self) -> None:
        self.voice: Voice | None = None
        self.scores: list[WindowScore] = []

    def on_voice(self, voice: Voice) -> None:
        """See `Watcher`."""
        self.voice = voice

    def on_score(self, score: WindowScore) -> None:
        """See `Watcher`."""
        self.scores.append(score)

    def curve(self) -> dict[str, Any] | None:
        """Raw joint log-odds of each step: the mean over windows, of the most suspicious face of each instant."""
        if not self.scores or self.voice is None or not self.scores[0].steps:
            return None
        rate_hz = self.voice.rate_hz
        tracks: dict[int | None, dict[int, list[float]]] = {}
        for score in self.scores:
            first = round(score.start_s * rate_hz)
            for step, value in enumerate(score.steps, start=first):
                if np.isfinite(value):
                    tracks.setdefault(score.track, {}).setdefault(step, []).append(value)
        steps = sorted({step for track in tracks.values() for step in track})
        best = {step: max(float(np.mean(track[step])) for track in tracks.values() if step in track) for step in steps}
        if not steps:
            return None
        whole = range(steps[0], steps[-1] + 1)
        return {"rate_hz": rate_hz, "first_step": steps[0], "log_odds": [_rounded(best.get(step)) for step in whole]}


class Witness(StepWitness):
    """Watches one clip, and keeps what the shortcut probes need.

    Args:
        max_steps: crops of the face that are kept for the masked inputs.
        min_steps: a face that is seen for less is passed over for the next one.
        tracking: the detector's options.
    """

    def __init__(self, max_steps: int, min_steps: int, tracking: TrackOptions) -> None:
        super().__init__()
        self._max_steps, self._min_steps, self._tracking = max_steps, min_steps, tracking
        self._frames: deque[Frame] = deque(maxlen=tracking.lag + 1)
        self._track, self._last_step = -1, -1
        self._whole: list[np.ndarray] = []
        self._faces: list[np.ndarray] = []
        self._around: list[np.ndarray] = []
        self.info: MediaInfo | None = None
        self.crops: list[np.ndarray] = []
        self.masked: list[np.ndarray] = []
        self.background: list[np.ndarray] = []

    def on_info(self, info: MediaInfo) -> None:
        """See `Watcher`."""
        self.info = info

    def on_frame(self, frame: Frame) -> None:
        """See `Watcher`."""
        self._frames.append(frame)
        self._whole.append(colour_statistics(thinned(frame.rgb)))

    def on_crop(self, crop: TrackedCrop) -> None:
        """Keeps the crop where it belongs to the face that is followed."""
        if crop.track_id != self._track and len(self.crops) < self._min_steps and crop.step > self._last_step:
            self._track = crop.track_id
            for kept in (self.crops, self.masked, self.background, self._faces, self._around):
                kept.clear()
        if crop.track_id != self._track or len(self.crops) >= self._max_steps:
            return
        self._last_step = crop.step
        rgb = next(frame.rgb for frame in self._frames if frame.step == crop.step)
        self.crops.append(crop.crop)
        self.masked.append(without_face(crop, self._tracking.crop_scale))
        self.background.append(beside_face(rgb, crop, self._tracking))
        self._faces.append(colour_statistics(crop.crop[::4, ::4].astype(np.float32)))
        self._around.append(around_statistics(rgb, crop.box))

    def features(self) -> dict[str, Features]:
        """Features of each probe; what the clip lacks is left out."""
        whole, faces = (_mean(values) for values in (self._whole, self._faces))
        colour = _named("frame", ("red", "green", "blue"), whole[:3]) | _named("face", ("red", "green", "blue"), faces)
        around = ("red", "green", "blue", "contrast", "sharpness", "share", "motion")
        return {
            "metadata": {} if self.info is None else metadata_features(self.info),
            "silence": silence_features(None if self.voice is None else self.voice.audio),
            "mean_colour": colour,
            "brightness": _named("frame", ("luma", "contrast"), whole[3:]) | _named("face", ("luma",), faces[3:4]),
            "background": _named("around", around, self._background()),
        }

    def _background(self) -> np.ndarray:
        """Mean statistics around the face, and how much they move."""
        if not self._around:
            return np.full(7, np.nan)
        table = np.stack(self._around)
        motion = np.abs(np.diff(table[:, :3], axis=0)).mean() if len(table) > 1 else np.nan
        return np.r_[_mean(self._around), motion]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _mean(values: list[np.ndarray]) -> np.ndarray:
    return np.mean(np.stack(values), axis=0) if values else np.full(7, np.nan)


def _named(prefix: str, names: tuple[str, ...], values: np.ndarray) -> Features:
    pairs = zip(names, values.tolist(), strict=False)
    return {f"{prefix}_{name}": round(value, 5) for name, value in pairs if np.isfinite(value)}


def thinned(rgb: np.ndarray) -> np.ndarray:
    """Every n-th pixel as float32, about `_SAMPLES` of the shorter side."""
    stride = max(1, min(rgb.shape[:2]) // _SAMPLES)
    return rgb[::stride, ::stride].astype(np.float32)


def colour_statistics(picture: np.ndarray) -> np.ndarray:
    """Mean red, green, blue, mean luma and its standard deviation of (H, W, 3) or (N, 3), in levels of 0..255."""
    pixels = picture.reshape(-1, 3)
    luma = pixels @ _LUMA
    return np.array([*pixels.mean(axis=0), luma.mean(), luma.std()])


def around_statistics(rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Mean colour, contrast and sharpness of what is no face, and its share of the picture; NaN where all is face."""
    small = thinned(rgb)
    scale = small.shape[0] / rgb.shape[0]
    left, top, right, bottom = square_of(box, _AROUND) * scale
    outside = np.ones(small.shape[:2], bool)
    outside[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = False
    share = float(outside.mean())
    if share < 0.02:
        return np.array([*[np.nan] * 5, share])
    luma = small @ _LUMA
    steps = np.abs(np.diff(luma, axis=1))[outside[:, 1:] & outside[:, :-1]]
    statistics = colour_statistics(small[outside])
    return np.array([*statistics[:3], statistics[4], steps.mean() if len(steps) else np.nan, share])


def without_face(crop: TrackedCrop, crop_scale: float) -> np.ndarray:
    """The crop with the face box painted in the mean colour of what is left of it."""
    size = crop.crop.shape[0]
    corners = to_crop_pixels(crop.box.reshape(2, 2), square_of(crop.box, crop_scale), size)
    (left, top), (right, bottom) = np.clip(np.rint(corners), 0, size).astype(int)
    outside = np.ones((size, size), bool)
    outside[top:bottom, left:right] = False
    painted = crop.crop.copy()
    painted[~outside] = crop.crop[outside].mean(axis=0).round() if outside.any() else 128
    return painted


def beside_face(rgb: np.ndarray, crop: TrackedCrop, options: TrackOptions) -> np.ndarray:
    """A crop of the face crop's size from the corner of the picture that holds least of the face, which is painted."""
    height, width = rgb.shape[:2]
    square = square_of(crop.box, options.crop_scale)
    side = min(square[2] - square[0], height, width)
    corners = [(x, y, x + side, y + side) for y in (0.0, height - side) for x in (0.0, width - side)]
    face = square_of(crop.box, _AROUND)
    corner = min(corners, key=lambda c: _overlap(c, face))
    if _overlap(corner, face) > 0:
        left, top, right, bottom = (max(0, round(float(v))) for v in face)
        rgb = rgb.copy()
        rgb[top:bottom, left:right] = 128
    return crop_square(rgb, np.asarray(corner), options.crop_size)


def _overlap(first: Any, second: Any) -> float:
    sides = [min(first[k + 2], second[k + 2]) - max(first[k], second[k]) for k in (0, 1)]
    return float(max(0.0, sides[0]) * max(0.0, sides[1]))


def metadata_features(info: MediaInfo) -> Features:
    """What the container declares; words stay words."""
    found: dict[str, float | str | None] = {
        "container": info.container,
        "size_bytes": float(info.size_bytes),
        "duration_s": info.duration_s,
        "byte_rate": info.size_bytes / info.duration_s if info.duration_s else None,
    }
    for prefix, stream in (("video", info.video), ("audio", info.audio)):
        found[f"has_{prefix}"] = float(stream is not None)
        for name in stream.__slots__ if stream is not None else ():
            found[f"{prefix}_{name}"] = getattr(stream, name)
    known = {name: value for name, value in found.items() if value is not None}
    return {name: value if isinstance(value, str) else float(value) for name, value in known.items()}


def silence_features(audio: Audio | None) -> Features:
    """Silence before, after and within the sound, in seconds and shares, and its level."""
    if audio is None or not len(audio.samples):
        return {"has_sound": 0.0}
    loud = np.flatnonzero(np.abs(audio.samples) >= SILENCE_PEAK)
    lead, tail = (loud[0], len(audio.samples) - 1 - loud[-1]) if len(loud) else (len(audio.samples),) * 2
    return {
        "has_sound": 1.0,
        "lead_s": round(float(lead) / audio.sampling_rate, 4),
        "tail_s": round(float(tail) / audio.sampling_rate, 4),
        "silent_share": round(1 - len(loud) / len(audio.samples), 5),
        "zero_share": round(float((audio.samples == 0).mean()), 5),
        "peak": round(audio.peak, 5),
        "level": round(float(np.sqrt(np.mean(np.square(audio.samples)))), 6),
    }
