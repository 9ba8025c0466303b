"""Pseudo-fakes of the voice: vocoder-like re-synthesis, shifted pitch and formants, splices.

Each keeps the level and the timing of the original, so that only the synthesis differs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .clips import Clip
from .pictures import Rng
from .spectra import (
    HOP,
    N_FFT,
    cepstral_envelope,
    griffin_lim,
    istft,
    linear_prediction,
    loudness,
    stft,
    stretch,
    through_mel,
    warp_bins,
)

SPLICE_S = (0.4, 1.6)
FADE_S = (0.004, 0.02)
Result = tuple[np.ndarray, np.ndarray]


def same_level(samples: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Samples scaled to the loudness of `like` (at most eightfold), within [-1, 1]."""
    gain = min(8.0, loudness(like) / max(loudness(samples), 1e-5))
    return np.clip(samples * gain, -1, 1).astype(np.float32)


def _random_phase(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    return np.exp(2j * np.pi * rng.random(shape, dtype=np.float32)).astype(np.complex64)


def mel_resynthesis(samples: np.ndarray, rng: Rng, sampling_rate: int) -> np.ndarray:
    """Griffin-Lim from a mel spectrogram; the first guess of the phase ranges from the true one to noise."""
    spectrum = stft(samples)
    magnitude = np.abs(spectrum)
    phase = spectrum / np.maximum(magnitude, 1e-8)
    wanted = through_mel(magnitude, int(rng.choice((40, 64, 80, 80, 100))), sampling_rate)
    trust = rng.choice((0.0, 0.0, 0.5, 1.0))
    guess = trust * phase + (1 - trust) * _random_phase(rng, phase.shape)
    guess = guess / np.maximum(np.abs(guess), 1e-8)
    return griffin_lim(wanted.astype(np.float32), guess, int(rng.integers(1, 7)), len(samples))


def smooth_magnitude(samples: np.ndarray, rng: Rng, sampling_rate: int) -> np.ndarray:
    """The true phase under a magnitude blurred in time and frequency: what neural vocoders smooth away."""
    del sampling_rate
    spectrum = stft(samples)
    level = np.log(np.maximum(np.abs(spectrum), 1e-5))
    for axis in (0, 1):
        for _ in range(int(rng.integers(0, 3))):
            level = (np.roll(level, 1, axis) + 2 * level + np.roll(level, -1, axis)) / 4
    level += rng.uniform(0, 0.15) * rng.standard_normal(level.shape, dtype=np.float32)
    return istft(spectrum / np.maximum(np.abs(spectrum), 1e-8) * np.exp(level), len(samples))


def periodic_imprint(samples: np.ndarray, rng: Rng, sampling_rate: int) -> np.ndarray:
    """Faint images of low bands in high ones and tones at the hop rate: traces of learned upsampling."""
    del sampling_rate
    factor = int(rng.choice((2, 4, 5, 8)))
    hold = np.repeat(samples[::factor], factor)[: len(samples)]
    hold = np.pad(hold, (0, len(samples) - len(hold)))
    pattern = np.resize(rng.standard_normal(int(rng.choice((64, 80, 128, 256)))), len(samples))
    envelope = np.abs(samples)
    mixed = samples + rng.uniform(0.05, 0.3) * (hold - samples) + rng.uniform(0.005, 0.03) * pattern * envelope
    return smooth_magnitude(mixed.astype(np.float32), rng, 0)


def _pulses(rng: Rng, correlation: np.ndarray, length: int, sampling_rate: int) -> np.ndarray:
    """(length,) excitation: pulses at the pitch of each frame where it is voiced, noise elsewhere."""
    low, high = sampling_rate // 350, sampling_rate // 75
    lag = low + correlation[:, low:high].argmax(axis=1)
    strength = correlation[np.arange(len(lag)), lag] / np.maximum(correlation[:, 0], 1e-8)
    frame = np.minimum(np.arange(length) // HOP, len(lag) - 1)
    period = np.convolve(lag, np.ones(5) / 5, mode="same")[frame].clip(low, high)
    phase = np.cumsum(1 / period)
    pulse = (np.diff(np.floor(phase), prepend=0) > 0) * np.sqrt(period)
    voiced = (strength > 0.35)[frame] * rng.uniform(0.7, 1.0)
    return (voiced * pulse + (1 - voiced) * rng.standard_normal(length)).astype(np.float32)


def linear_prediction_resynthesis(samples: np.ndarray, rng: Rng, sampling_rate: int) -> np.ndarray:
    """A source-filter voice: all-pole envelope, excited by pulses and noise or by the whitened original."""
    padded = np.pad(samples, N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP] * np.hanning(N_FFT)
    coefficients, error, correlation = linear_prediction(frames, int(rng.integers(12, 25)))
    inverse = np.abs(np.fft.rfft(coefficients, n=N_FFT, axis=1))
    if rng.random() < 0.7:
        excitation = stft(_pulses(rng, correlation, len(samples), sampling_rate))
        return istft(excitation * np.sqrt(error)[:, None] / inverse, len(samples))
    whitened = stft(samples) * inverse
    flat = whitened / np.maximum(np.abs(whitened), 1e-8) * np.sqrt(error)[:, None]
    return istft(flat / inverse, len(samples))


def shift_pitch(samples: np.ndarray, rng: Rng, sampling_rate: int) -> np.ndarray:
    """Another pitch and another vocal tract, as voice conversion gives them."""
    del sampling_rate
    pitch, formants = 2 ** rng.uniform(-0.3, 0.3), 2 ** rng.uniform(-0.2, 0.2)
    spectrum = stft(samples)
    longer = stretch(spectrum, max(2, round(len(spectrum) * pitch)))
    moved = istft(longer, (len(longer) - 1) * HOP)
    resampled = np.interp(np.linspace(0, len(moved) - 1, len(samples)), np.arange(len(moved)), moved)
    shifted = stft(resampled.astype(np.float32))
    wanted = warp_bins(cepstral_envelope(np.abs(spectrum)), formants)
    gain = np.clip(wanted / np.maximum(cepstral_envelope(np.abs(shifted)), 1e-5), 0.05, 8)
    return istft(shifted * gain, len(samples))


VOICES: dict[str, Callable[[np.ndarray, Rng, int], np.ndarray]] = {
    "mel_resynthesis": mel_resynthesis,
    "smooth_magnitude": smooth_magnitude,
    "periodic_imprint": periodic_imprint,
    "linear_prediction": linear_prediction_resynthesis,
    "shift_pitch": shift_pitch,
}


def _whole(name: str, clip: Clip, rng: Rng) -> Result:
    voice = VOICES[name](clip.audio, rng, clip.sampling_rate)
    return same_level(voice, clip.audio), clip.audio_mask.copy()


def voice_transform(name: str) -> Callable[[Clip, Rng, Clip | None], Result]:
    """The treatment `name` of a whole window's voice as a transform of clips.

    Raises:
        ValueError: there is no such treatment.
    """
    if name not in VOICES:
        raise ValueError(f"name must be one of {tuple(VOICES)}, but got {name!r}")

    def transform(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
        del donor
        return _whole(name, clip, rng)

    transform.__name__ = name
    return transform


def _insert(base: np.ndarray, piece: np.ndarray, start: int, fade: int) -> np.ndarray:
    """`base` with `piece` at `start`, cross-faded over `fade` samples at both ends."""
    ramp = np.minimum(np.arange(len(piece)), np.arange(len(piece))[::-1]).clip(0, fade) / max(fade, 1)
    out = base.copy()
    part = slice(start, start + len(piece))
    out[part] = (1 - ramp) * base[part] + ramp * piece
    return out


def touched_steps(start: int, end: int, steps: int, samples: int) -> np.ndarray:
    """(steps,) True where samples [start, end) cover a tenth of a step or more."""
    step = samples // steps
    edges = np.arange(steps) * step
    return np.minimum(end, edges + step) - np.maximum(start, edges) >= 0.1 * step


def splice_voice(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """A stretch replaced by synthetic voice, by another moment, or by another speaker, with short fades."""
    samples, rate = len(clip.audio), clip.sampling_rate
    length = int(min(rng.uniform(*SPLICE_S) * rate, samples // 2))
    start = int(rng.integers(0, samples - length + 1))
    original = clip.audio[start : start + length]
    material = donor.whole_audio if donor is not None and rng.random() < 0.4 else clip.whole_audio
    if rng.random() < 0.6 or len(material) < 2 * length:
        names = tuple(VOICES)
        piece = VOICES[names[rng.integers(len(names))]](original, rng, rate)
    else:
        place = int(rng.integers(0, len(material) - length + 1))
        piece = material[place : place + length]
    out = _insert(clip.audio, same_level(piece, original), start, int(rng.uniform(*FADE_S) * rate))
    return out, clip.audio_mask & touched_steps(start, start + length, clip.steps, samples)
