"""What becomes of media on their way: changes of the decoded picture and sound, in five severities, and real codecs.

Saturation, contrast, blocks, noise and blur have the five strengths of DeeperForensics-1.0 (arXiv 2001.03024).
`severity` is 1..5 throughout. A change of pixels is the same in every frame but for noise.
"""

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.signal import fftconvolve, resample_poly

from ..media.audio import Audio, read_audio
from ..media.decode import Frame
from ..media.write import WriteOptions, write_clip

SEVERITIES = (1, 2, 3, 4, 5)
Rng = np.random.Generator
PictureChange = Callable[[np.ndarray, int, Rng], np.ndarray]  # (H, W, 3) uint8, severity -> the same shape
SoundChange = Callable[[Audio, int, Rng], Audio | None]

H264_CRF = (23, 30, 35, 40, 45)
_RESIZE = (0.75, 0.5, 0.35, 0.25, 0.15)  # of the side, enlarged again
_BLUR = (1.4, 1.7, 2.3, 2.9, 3.5)  # standard deviation in pixels: OpenCV's for kernels of 7, 9, 13, 17, 21
_NOISE = (0.001, 0.002, 0.005, 0.01, 0.05)  # variance in units of full scale squared
_BLOCKS = (16, 32, 48, 64, 80)  # grey squares of 8 pixels for each 256 of the short side
_SATURATION = (0.4, 0.3, 0.2, 0.1, 0.0)
_CONTRAST = (0.85, 0.725, 0.6, 0.475, 0.35)
_JPEG = (60, 40, 25, 15, 8)  # quality
_BIT_RATES = {  # bits a second
    "aac": (96_000, 64_000, 48_000, 32_000, 16_000),
    "mp3": (64_000, 48_000, 32_000, 24_000, 16_000),
    "opus": (48_000, 32_000, 16_000, 12_000, 6_000),
}
_CODECS = {"aac": ("aac", ".mp4"), "mp3": ("libmp3lame", ".mp3"), "opus": ("libopus", ".ogg")}
_SNR_DB = (30, 20, 15, 10, 5)
_REVERB_S = (0.1, 0.2, 0.4, 0.8, 1.2)  # time to fall by 60 dB
_RESAMPLE_HZ = (12_000, 8_000, 6_000, 4_000, 2_000)
_LOUDNESS_DB = (-6, -12, -20, 6, 12)  # upwards it clips
_DROPPED = (0.2, 0.4, 0.6, 0.8, 1.0)  # share of the stream, from its end


def _resize(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    del rng
    height, width = rgb.shape[:2]
    small = [max(8, round(side * _RESIZE[severity - 1])) for side in (width, height)]
    return np.asarray(Image.fromarray(rgb).resize((small[0], small[1])).resize((width, height)))


def _blur(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    del rng
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(_BLUR[severity - 1])))


def _noise(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    deviation = np.float32(255 * _NOISE[severity - 1] ** 0.5)
    noise = rng.standard_normal(rgb.shape, np.float32) * deviation
    return np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)


def _blocks(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    height, width = rgb.shape[:2]
    out = rgb.copy()
    for _ in range(_BLOCKS[severity - 1] * max(1, min(height, width) // 256)):
        top, left = (int(rng.integers(0, max(1, side - 8))) for side in (height, width))
        out[top : top + 8, left : left + 8] = 128
    return out


def _saturation(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    del rng
    return np.asarray(ImageEnhance.Color(Image.fromarray(rgb)).enhance(_SATURATION[severity - 1]))


def _contrast(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    del rng
    change = _CONTRAST[severity - 1]
    return np.clip(np.rint(rgb * np.float32(change) + 127.5 * (1 - change)), 0, 255).astype(np.uint8)


def _jpeg(rgb: np.ndarray, severity: int, rng: Rng) -> np.ndarray:
    del rng
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=_JPEG[severity - 1])
    return np.asarray(Image.open(buffer).convert("RGB"))


PICTURE: dict[str, PictureChange] = {
    "resize": _resize,
    "blur": _blur,
    "noise": _noise,
    "blocks": _blocks,
    "saturation": _saturation,
    "contrast": _contrast,
    "jpeg": _jpeg,
}


def _with_samples(audio: Audio, samples: np.ndarray) -> Audio:
    """The same stretch of sound with other samples."""
    kept = np.zeros_like(audio.samples)
    kept[: len(samples)] = samples[: len(kept)]
    return replace(audio, samples=np.clip(kept, -1, 1))


def _coded(codec: str) -> SoundChange:
    """The sound through a real encoder, a file and the decoder."""
    encoder, suffix = _CODECS[codec]

    def change(audio: Audio, severity: int, rng: Rng) -> Audio | None:
        del rng
        options = WriteOptions(audio_codec=encoder, audio_bit_rate=_BIT_RATES[codec][severity - 1])
        with tempfile.TemporaryDirectory() as folder:
            path = write_clip(
                Path(folder) / f"sound{suffix}", None, waveform=audio.samples, sampling_rate=audio.sampling_rate,
                options=options,
            )  # fmt: skip
            heard = read_audio(path, audio.sampling_rate)
        return None if heard is None else _with_samples(audio, heard.samples)

    return change


def _sound_noise(audio: Audio, severity: int, rng: Rng) -> Audio:
    level = np.sqrt(np.mean(np.square(audio.samples))) * 10 ** (-_SNR_DB[severity - 1] / 20)
    noise = rng.standard_normal(len(audio.samples), np.float32) * np.float32(level)
    return _with_samples(audio, audio.samples + noise)


def _reverb(audio: Audio, severity: int, rng: Rng) -> Audio:
    """Direct sound and a tail of decaying noise of about the same energy, at the loudness of the original."""
    length_s = _REVERB_S[severity - 1]
    times_s = np.arange(round(length_s * audio.sampling_rate)) / audio.sampling_rate
    tail = rng.standard_normal(len(times_s)) * 10 ** (-3 * times_s / length_s)
    tail /= max(float(np.sqrt(np.square(tail).sum())), 1e-9)
    tail[0] += 1.0
    wet = fftconvolve(audio.samples, tail)[: len(audio.samples)]
    gain = np.sqrt(np.mean(np.square(audio.samples)) / max(float(np.mean(np.square(wet))), 1e-12))
    return _with_samples(audio, (wet * gain).astype(np.float32))


def _resample(audio: Audio, severity: int, rng: Rng) -> Audio:
    del rng
    low, rate = _RESAMPLE_HZ[severity - 1], audio.sampling_rate
    return _with_samples(audio, resample_poly(resample_poly(audio.samples, low, rate), rate, low).astype(np.float32))


def _loudness(audio: Audio, severity: int, rng: Rng) -> Audio:
    del rng
    return _with_samples(audio, audio.samples * np.float32(10 ** (_LOUDNESS_DB[severity - 1] / 20)))


def _drop_audio(audio: Audio, severity: int, rng: Rng) -> Audio | None:
    """The stream ends early; at severity 5 there is none."""
    del rng
    end = round(len(audio.samples) * (1 - _DROPPED[severity - 1]))
    valid = np.minimum(audio.valid, end)
    valid = valid[valid[:, 1] > valid[:, 0]]
    return replace(audio, samples=audio.samples[:end], valid=valid) if end else None


SOUND: dict[str, SoundChange] = {
    **{name: _coded(name) for name in _CODECS},
    "audio_noise": _sound_noise,
    "reverb": _reverb,
    "resampling": _resample,
    "loudness": _loudness,
    "drop_audio": _drop_audio,
}
# These two need more than one frame or sound at a time; `robustness` does them.
STREAMS = ("h264", "drop_video")
PROFILES = ("messenger",)
ALL = (*STREAMS, *PICTURE, *SOUND, *PROFILES)


def kept_steps(steps: int, severity: int) -> int:
    """Steps of the picture that `drop_video` leaves, from the begin."""
    return round(steps * (1 - _DROPPED[severity - 1]))


def h264(frames: Iterable[Frame], fps: float, folder: Path, severity: int) -> Path:
    """The picture as an MP4 file at the severity's rate factor; its sound is a moment of silence.

    Args:
        frames: all of a clip, at their own times.
        fps: about how many there are a second, for the encoder's rate control.
        folder: for the file.
        severity: 1..5.
    """
    # The silence begins at clock zero: without it, the clock of a file would begin with its first frame.
    silence = np.zeros(1600, np.float32)
    pictures, times = tee(frames)
    return write_clip(
        folder / f"h264-{severity}.mp4", (frame.rgb for frame in pictures), fps, silence,
        times_s=(frame.time_s for frame in times), options=WriteOptions(crf=H264_CRF[severity - 1]),
    )  # fmt: skip


def messenger(frames: Iterable[Frame], fps: float, audio: Audio | None, folder: Path) -> Path:
    """What a messenger makes of a clip: short side at most 480 pixels, H.264 at crf 32, AAC at 32 kbit/s.

    Args:
        frames, fps, folder: as of `h264`.
        audio: the clip's sound from clock zero on, or None.
    """
    options = WriteOptions(crf=32, audio_bit_rate=32_000)
    sound: dict[str, Any] = {} if audio is None else {"waveform": audio.samples, "sampling_rate": audio.sampling_rate}
    pictures, times = tee(frames)
    return write_clip(
        folder / "messenger.mp4", _at_most(pictures, 480), fps, times_s=(frame.time_s for frame in times),
        options=options, **sound,
    )  # fmt: skip


def _at_most(frames: Iterable[Frame], short_side: int) -> Iterator[np.ndarray]:
    """Frames whose short side is at most so many pixels, with even sides."""
    for rgb in (frame.rgb for frame in frames):
        factor = min(1.0, short_side / min(rgb.shape[:2]))
        if factor == 1.0:
            yield rgb
            continue
        height, width = (2 * round(side * factor / 2) for side in rgb.shape[:2])
        yield np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
