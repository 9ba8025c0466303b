"""What happens to every window alike, real or forged, so that only the forgery differs.

Geometry, colour, noise and codec for the picture; level, noise, bandwidth and codec for the sound. The draw never
looks at the labels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import soundfile
from PIL import Image, ImageFilter

from ..media.write import round_trip
from .clips import Clip
from .pictures import BICUBIC, Rng, jitter_colour, per_frame, random_down_up, resize, tall, untall
from .spectra import istft, loudness, stft

Frames = np.ndarray
EQUALIZER_BANDS = 8  # over 0 to 8 kHz
# libsndfile's subtype, its container, and the range of its compression level in [0, 1]; Opus: 47 to 10 kbit/s.
SOUND_CODECS = {
    "Opus": ("OPUS", "OGG", (0.8, 0.98)),
    "MP3": ("MPEG_LAYER_III", "MP3", (0.2, 0.95)),
    "Vorbis": ("VORBIS", "OGG", (0.2, 0.95)),
}


@dataclass(frozen=True)
class AugmentOptions:
    """How often each change happens, as a probability in [0, 1].

    Attributes:
        flip: mirror the picture.
        zoom: cut up to `zoom_max` of the side away and enlarge the rest: another sampling grid.
        zoom_max: share of the side.
        rescale: shrink to 0.4-1 and enlarge.
        colour: brightness, contrast, gamma, balance, saturation.
        grey: no colour at all.
        blur: out of focus by up to 1 px.
        noise: sensor noise of standard deviation up to 6 of 255.
        codec: H.264, MPEG-4 or JPEG, at random rates.
        gain: level of the sound by up to 10 dB.
        hiss: noise 15 to 45 dB below the voice.
        equalize: a smooth response of up to 10 dB; half of the time a band of 0.1 to 1 kHz is taken out.
        bandwidth: a low-pass at 3 to 8 kHz.
        voice_codec: Opus half of the time, else MP3, Vorbis or mu-law.
    """

    flip: float = 0.5
    zoom: float = 0.5
    zoom_max: float = 0.08
    rescale: float = 0.3
    colour: float = 0.5
    grey: float = 0.1
    blur: float = 0.15
    noise: float = 0.3
    codec: float = 0.7
    gain: float = 0.7
    hiss: float = 0.3
    equalize: float = 0.5
    bandwidth: float = 0.3
    voice_codec: float = 0.4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], but got {value}")


NO_AUGMENTATION = AugmentOptions(*([0.0] * 14))


@lru_cache(maxsize=1)
def _noise_pool() -> np.ndarray:
    """Normal noise to take runs from: drawing a million numbers a window would cost more than all else."""
    return np.random.default_rng(0).standard_normal(2**21).astype(np.float32)


def _noise(rng: Rng, count: int) -> np.ndarray:
    pool = _noise_pool()
    start = int(rng.integers(0, len(pool) - count)) if count < len(pool) else 0
    return np.resize(pool[start : start + count], count)


def _zoom(clip: Clip, rng: Rng, most: float) -> Clip:
    size = clip.frames.shape[1]
    side = size - int(rng.integers(0, round(most * size) + 1))
    left, top = rng.integers(0, size - side + 1, 2)
    frames = resize(clip.frames[:, top : top + side, left : left + side], size, size, BICUBIC)
    landmarks = ((clip.landmarks - (left, top)) * (size / side)).astype(np.float32)
    return replace(clip, frames=frames, landmarks=landmarks)


def _flip(clip: Clip) -> Clip:
    size = clip.frames.shape[1]
    landmarks = clip.landmarks[:, [1, 0, 2, 4, 3]] * (-1, 1) + (size, 0)  # left and right change places
    return replace(clip, frames=clip.frames[:, :, ::-1], landmarks=landmarks.astype(np.float32))


def _grey(frames: Frames, rng: Rng) -> Frames:
    del rng
    return untall(tall(frames).convert("L").convert("RGB"), frames)


def _blur(frames: Frames, rng: Rng) -> Frames:
    return untall(tall(frames).filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.8))), frames)


def _sensor_noise(frames: Frames, rng: Rng) -> Frames:
    """Noise that is new in every frame; half of the time the same in all three colours."""
    mono = rng.random() < 0.5
    shape = (*frames.shape[:3], 1) if mono else frames.shape
    noise = _noise(rng, int(np.prod(shape))).reshape(shape) * np.float32(rng.uniform(0.5, 6))
    return np.clip(frames + np.rint(noise).astype(np.int16), 0, 255).astype(np.uint8)


def _jpeg(frames: Frames, quality: int) -> Frames:
    def squeeze(_: int, image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return per_frame(frames, squeeze)


def recompress(frames: Frames, rng: Rng) -> Frames:
    """One pass through a codec: H.264 mostly, MPEG-4 and JPEG at times."""
    draw = rng.random()
    if draw < 0.7:
        # Slower presets give about the same picture in fewer bytes; time is spent on them at times only.
        preset = "ultrafast" if draw < 0.25 else "superfast" if draw < 0.6 else "veryfast"
        return round_trip(frames, "h264", int(rng.integers(16, 37)), preset=preset)
    if draw < 0.8:
        return round_trip(frames, "mpeg4", int(rng.integers(2, 13)))
    return _jpeg(frames, int(rng.integers(35, 96)))


PICTURE: tuple[tuple[str, Callable[[Frames, Rng], Frames]], ...] = (
    ("colour", lambda frames, rng: jitter_colour(frames, rng)),
    ("rescale", lambda frames, rng: random_down_up(frames, rng, 0.4, 1.0)),
    ("blur", _blur),
    ("noise", _sensor_noise),
    ("grey", _grey),
    ("codec", recompress),
)


def _gain(audio: np.ndarray, rng: Rng) -> np.ndarray:
    return np.clip(audio * 10 ** (rng.uniform(-10, 10) / 20), -1, 1).astype(np.float32)


def _hiss(audio: np.ndarray, rng: Rng) -> np.ndarray:
    level = loudness(audio) * 10 ** (-rng.uniform(15, 45) / 20)
    return (audio + level * _noise(rng, len(audio))).astype(np.float32)


def _equalize(audio: np.ndarray, rng: Rng) -> np.ndarray:
    spectrum = stft(audio)
    place = np.linspace(0, EQUALIZER_BANDS - 1, spectrum.shape[1])
    gain_db = np.interp(place, np.arange(EQUALIZER_BANDS), rng.normal(0, 4, EQUALIZER_BANDS)).clip(-10, 10)
    if rng.random() < 0.5:
        width = rng.uniform(0.1, 1.0) / 8 * len(place)
        start = rng.uniform(0, len(place) - width)
        gain_db[int(start) : int(start + width)] = -60
    return istft(spectrum * (10 ** (gain_db / 20)).astype(np.float32), len(audio))


def _bandwidth(audio: np.ndarray, rng: Rng) -> np.ndarray:
    spectrum = stft(audio)
    bins = np.arange(spectrum.shape[1]) / (spectrum.shape[1] - 1)
    edge = rng.uniform(3, 8) / 8
    return istft(spectrum * (1 / (1 + np.exp((bins - edge) * 120))).astype(np.float32), len(audio))


def _mu_law(audio: np.ndarray) -> np.ndarray:
    """Eight bits a sample, as on a telephone line."""
    squeezed = np.sign(audio) * np.log1p(255 * np.abs(audio).clip(0, 1)) / np.log(256)
    stepped = np.round(squeezed * 127) / 127
    return (np.sign(stepped) * (256 ** np.abs(stepped) - 1) / 255).astype(np.float32)


def _voice_codec(audio: np.ndarray, rng: Rng, sampling_rate: int) -> np.ndarray:
    """Sound through a lossy codec; its delay is taken back, so that the voice stays on the clock."""
    # Opus is what messengers send, and the codec that hides and imitates the traces of synthesis most.
    kind = "Opus" if rng.random() < 0.5 else ("MP3", "Vorbis", "mu-law")[int(rng.integers(3))]
    if kind == "mu-law":
        return _mu_law(audio)
    subtype, container, (least, most) = SOUND_CODECS[kind]
    buffer = io.BytesIO()
    level = float(rng.uniform(least, most))
    with soundfile.SoundFile(
        buffer, "w", sampling_rate, 1, subtype, format=container, compression_level=level
    ) as file:
        file.write(audio)
    buffer.seek(0)
    heard = soundfile.read(buffer, dtype="float32")[0][: len(audio)]
    return np.pad(heard, (0, len(audio) - len(heard))).astype(np.float32)


def augment_picture(clip: Clip, rng: Rng, options: AugmentOptions) -> Clip:
    """The window with its pictures changed."""
    if rng.random() < options.zoom:
        clip = _zoom(clip, rng, options.zoom_max)
    if rng.random() < options.flip:
        clip = _flip(clip)
    frames = clip.frames
    for name, change in PICTURE:
        if rng.random() < getattr(options, name):
            frames = change(frames, rng)
    return replace(clip, frames=frames)


def augment_sound(clip: Clip, rng: Rng, options: AugmentOptions) -> Clip:
    """The window with its sound changed."""
    audio = clip.audio
    if rng.random() < options.equalize:
        audio = _equalize(audio, rng)
    if rng.random() < options.bandwidth:
        audio = _bandwidth(audio, rng)
    if rng.random() < options.hiss:
        audio = _hiss(audio, rng)
    if rng.random() < options.gain:
        audio = _gain(audio, rng)
    if rng.random() < options.voice_codec:
        audio = _voice_codec(audio, rng, clip.sampling_rate)
    return replace(clip, audio=audio)


def augment(clip: Clip, rng: Rng, options: AugmentOptions) -> Clip:
    """Both streams changed, as far as they are there. The same `rng` gives the same changes whatever the window."""
    picture, sound = rng.spawn(2)
    if clip.video_mask.any():
        clip = augment_picture(clip, picture, options)
    return augment_sound(clip, sound, options) if clip.audio_mask.any() else clip
