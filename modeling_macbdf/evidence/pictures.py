"""Evidence as pictures: face strips with heat, the spectrogram with heat, a preview clip with the faces framed.

T steps, S, H, W pixels, L mel frames, F mel bins.
"""

import base64
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..media.audio import Audio
from ..media.container import DecodeLimits
from ..media.decode import iter_frames
from ..media.write import WriteOptions, write_clip
from ..verdicts import FaceResult
from .collect import Box, FaceEvidence, SoundEvidence

PREVIEW_RATE_HZ = 12.5
PREVIEW_SIDE = 480  # pixels: the longer side of a preview
_SOUND_PREVIEW_HZ = 5.0  # a picture that does not change
_CROP = 112  # pixels: side of a face in the strip
_COLUMNS = 6  # faces in the strip
_HEAT = np.asarray([[0, 0, 60], [130, 0, 130], [235, 60, 60], [255, 170, 30], [255, 255, 120]], dtype=np.float64)
_FRAME_COLOURS = ((255, 140, 0), (80, 180, 255), (190, 120, 255), (90, 220, 130))


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """(...) in [0, 1] -> (..., 3) uint8, dark blue over red to yellow."""
    places = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(heat, places, _HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with (H, W) heat in [0, 1] on it; what has no heat stays as it is."""
    opacity = 0.65 * np.clip(heat, 0, 1)[..., None]
    return (picture * (1 - opacity) + heat_colours(heat) * opacity + 0.5).astype(np.uint8)


def face_strip(evidence: FaceEvidence) -> Image.Image:
    """The crops of a window that raised most suspicion, in the order of time, above the same crops with their heat."""
    steps = np.sort(np.argsort(-evidence.heat.sum(axis=(1, 2)), kind="stable")[:_COLUMNS])
    rows = [
        np.concatenate([_small(evidence.crops[step]) for step in steps], axis=1),
        np.concatenate([_small(overlay(evidence.crops[step], evidence.heat[step])) for step in steps], axis=1),
    ]
    return Image.fromarray(np.concatenate(rows, axis=0))


def _small(crop: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(crop).resize((_CROP, _CROP), Image.Resampling.BICUBIC))


def spectrogram(sound: SoundEvidence, width: int = 640, height: int = 200) -> Image.Image:
    """The spectrogram of one window, low tones at the bottom, with its heat where there is one."""
    level = sound.spectrogram - sound.spectrogram.min()
    grey = (255 * level / max(float(level.max()), 1e-9)).astype(np.uint8).T[::-1]
    picture = np.asarray(Image.fromarray(grey).resize((width, height)).convert("RGB"))
    if sound.heat is None:
        return Image.fromarray(picture)
    heat = Image.fromarray(np.ascontiguousarray(sound.heat.T[::-1], dtype=np.float32))
    return Image.fromarray(overlay(picture, np.asarray(heat.resize((width, height)))))


def data_uri(image: Image.Image, kind: str = "JPEG") -> str:
    """A picture as text that a page can hold."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=82)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


class Framer:
    """Draws the judged faces' frames and scores on pictures of a clip.

    Args:
        boxes: step -> faces seen in it, in pixels of the upright picture.
        faces: the judged faces; others are framed without a number.
        rate_hz: steps a second.
        side: the longer side of the result in pixels, at most; nothing is enlarged.
    """

    def __init__(
        self, boxes: Mapping[int, Sequence[Box]], faces: Sequence[FaceResult], rate_hz: float, side: int
    ) -> None:
        self.boxes, self.rate_hz, self.side = boxes, rate_hz, side
        self.labels = {face.track: f"face {face.track}" for face in faces}
        self.font = ImageFont.load_default(13)

    def draw(self, rgb: np.ndarray, time_s: float) -> np.ndarray:
        """(H, W, 3) uint8 at a time in seconds -> the same picture, smaller and of even sides, with its frames."""
        scale = min(1.0, self.side / max(rgb.shape[:2]))
        size = tuple(max(2, round(side * scale) // 2 * 2) for side in rgb.shape[1::-1])
        image = Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR)
        pen = ImageDraw.Draw(image)
        for track, *box in self.boxes.get(math.floor(time_s * self.rate_hz + 1e-6), ()):
            self._frame(pen, track, [side * scale for side in box])
        return np.asarray(image)

    def _frame(self, pen: ImageDraw.ImageDraw, track: int, box: list[float]) -> None:
        colour = _FRAME_COLOURS[track % len(_FRAME_COLOURS)]
        pen.rectangle(box, outline=colour, width=2)
        text = self.labels.get(track, f"face {track}: not judged")
        left, top = max(box[0], 0.0), max(box[1] - 18, 0.0)
        pen.rectangle((left, top, left + pen.textlength(text, font=self.font) + 6, top + 17), fill=(0, 0, 0))
        pen.text((left + 3, top + 1), text, fill=colour, font=self.font)


def still(
    path: str | os.PathLike[str], framer: Framer, at_s: float, limits: DecodeLimits | None = None
) -> Image.Image:
    """The picture of a clip at a time in seconds (or its last one before), with the faces framed."""
    picture = None
    for frame in iter_frames(path, framer.rate_hz, limits=limits):
        picture = frame
        if frame.time_s >= at_s:
            break
    if picture is None:
        raise ValueError(f"{os.fspath(path)} must hold a picture, but has none")
    return Image.fromarray(framer.draw(picture.rgb, picture.time_s))


def write_preview(
    path: str | os.PathLike[str],
    out: Path,
    framer: Framer,
    audio: Audio | None = None,
    limits: DecodeLimits | None = None,
) -> Path:
    """A small clip with the faces framed, on the clock of the original: its second 3 is the original's second 3.

    Args:
        path: the original.
        out: the MP4 file to write.
        framer: draws the frames.
        audio: the original's sound, to be heard in the preview.
        limits: what decoding may cost.
    """
    options = WriteOptions(crf=28, preset="ultrafast", key_frame_every=25)
    pictures = _pictures(path, framer, limits)
    waveform, rate = (None, 16_000) if audio is None else (audio.samples, audio.sampling_rate)
    return write_clip(out, pictures, PREVIEW_RATE_HZ, waveform, rate, options=options)


def write_sound_preview(out: Path, audio: Audio) -> Path:
    """A small clip that plays a sound under a picture of its loudness: a player for a file without a picture.

    Args:
        out: the MP4 file to write.
        audio: the sound.
    """
    picture = _loudness(np.abs(audio.samples))
    pictures = (picture for _ in range(math.ceil(audio.duration_s * _SOUND_PREVIEW_HZ)))
    options = WriteOptions(crf=28, preset="ultrafast", key_frame_every=25)
    return write_clip(out, pictures, _SOUND_PREVIEW_HZ, audio.samples, audio.sampling_rate, options=options)


def _loudness(level: np.ndarray, width: int = 480, height: int = 240) -> np.ndarray:
    """(S,) -> (height, width, 3) uint8: a light bar for the loudest sample of each column."""
    columns = np.array([part.max(initial=0.0) for part in np.array_split(level, width)])
    reach = height / 2 * columns / max(float(columns.max()), 1e-9)
    rows = np.abs(np.arange(height) + 0.5 - height / 2)
    return np.where((rows[:, None] <= reach)[..., None], np.uint8(210), np.uint8(30)).repeat(3, axis=2)


def _pictures(path: str | os.PathLike[str], framer: Framer, limits: DecodeLimits | None) -> Iterator[np.ndarray]:
    """One picture each 1 / PREVIEW_RATE_HZ seconds from clock zero on: black before the first, all of one size."""
    frames = iter_frames(path, PREVIEW_RATE_HZ, limits=limits)
    shape: tuple[int, ...] | None = None
    for first in islice(frames, 1):
        drawn = framer.draw(first.rgb, first.time_s)
        shape = drawn.shape
        yield from (np.zeros_like(drawn) for _ in range(first.step))
        yield drawn
    for frame in frames:
        drawn = framer.draw(frame.rgb, frame.time_s)
        yield drawn if drawn.shape == shape else _fitted(drawn, shape or drawn.shape)


def _fitted(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0])))
