"""Short-time spectra in numpy: forward, inverse, mel smoothing, phase reconstruction and linear prediction.

N samples, L frames, F = n_fft/2 + 1 bins. Float32 throughout; a window of 3.2 s costs about a millisecond a transform.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft

N_FFT = 512  # 32 ms at 16 kHz
HOP = 128  # 8 ms: four frames over each sample
EPS = 1e-8


@lru_cache(maxsize=4)
def _window(n_fft: int) -> np.ndarray:
    return np.hanning(n_fft + 1)[:-1].astype(np.float32)


def stft(samples: np.ndarray, n_fft: int = N_FFT, hop: int = HOP) -> np.ndarray:
    """(N,) -> (L, F) complex64 with L = N // hop + 1; frame i is centred at sample i*hop."""
    padded = np.pad(samples.astype(np.float32), n_fft // 2, mode="constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    return scipy.fft.rfft(frames * _window(n_fft), axis=1)


def istft(spectrum: np.ndarray, length: int, n_fft: int = N_FFT, hop: int = HOP) -> np.ndarray:
    """The (length,) samples whose `stft` is nearest to `spectrum` (least squares)."""
    window = _window(n_fft)
    frames = scipy.fft.irfft(spectrum, n=n_fft, axis=1) * window
    parts = n_fft // hop
    total = np.zeros((len(frames) + parts - 1, hop), np.float32)
    weight = np.zeros_like(total)
    pieces, squares = frames.reshape(len(frames), parts, hop), (window**2).reshape(parts, hop)
    for part in range(parts):
        total[part : part + len(frames)] += pieces[:, part]
        weight[part : part + len(frames)] += squares[part]
    samples = (total / np.maximum(weight, 1e-3)).ravel()[n_fft // 2 :]
    return np.pad(samples, (0, max(0, length - len(samples))))[:length].astype(np.float32)


@lru_cache(maxsize=16)
def mel_filters(bins: int, mels: int, sampling_rate: int) -> np.ndarray:
    """(F, M) triangular filters on the mel scale, each summing to one."""
    top = 2595 * np.log10(1 + sampling_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, mels + 2) / 2595) - 1) / (sampling_rate / 2) * (bins - 1)
    position = np.arange(bins)[:, None]
    rise = (position - edges[:-2]) / np.maximum(edges[1:-1] - edges[:-2], EPS)
    fall = (edges[2:] - position) / np.maximum(edges[2:] - edges[1:-1], EPS)
    filters = np.maximum(0, np.minimum(rise, fall))
    return (filters / np.maximum(filters.sum(axis=0), EPS)).astype(np.float32)


@lru_cache(maxsize=16)
def _mel_inverse(bins: int, mels: int, sampling_rate: int) -> np.ndarray:
    return np.linalg.pinv(mel_filters(bins, mels, sampling_rate)).astype(np.float32)


def through_mel(magnitude: np.ndarray, mels: int, sampling_rate: int) -> np.ndarray:
    """Magnitudes (L, F) as `mels` bands can describe them: what a vocoder is given."""
    bins = magnitude.shape[1]
    bands = magnitude @ mel_filters(bins, mels, sampling_rate)
    return np.maximum(bands @ _mel_inverse(bins, mels, sampling_rate), EPS)


def griffin_lim(magnitude: np.ndarray, phase: np.ndarray, iterations: int, length: int) -> np.ndarray:
    """Samples whose spectrum has about this magnitude (L, F), from a first guess of the phase (unit complex).

    Griffin and Lim (1984) with the momentum of Perraudin et al. (2013).
    """
    guess, previous = magnitude * phase, np.zeros_like(magnitude, dtype=np.complex64)
    for _ in range(iterations):
        rebuilt = stft(istft(guess, length))
        leap = rebuilt + 0.6 * (rebuilt - previous)
        previous = rebuilt
        guess = magnitude * (leap / np.maximum(np.abs(leap), EPS))
    return istft(guess, length)


def cepstral_envelope(magnitude: np.ndarray, order: int = 24) -> np.ndarray:
    """(L, F) smooth envelope: the vocal tract without the pitch."""
    cepstrum = scipy.fft.irfft(np.log(np.maximum(magnitude, 1e-5)), axis=1)
    cepstrum[:, order:-order] = 0
    return np.exp(scipy.fft.rfft(cepstrum, axis=1).real)


def warp_bins(values: np.ndarray, factor: float) -> np.ndarray:
    """(L, F) with the frequency axis stretched by `factor` (formants move up where it is above 1)."""
    bins = values.shape[1]
    source = np.clip(np.arange(bins) / factor, 0, bins - 1)
    low = np.minimum(source.astype(int), bins - 2)
    part = (source - low).astype(np.float32)
    return values[:, low] * (1 - part) + values[:, low + 1] * part


def stretch(spectrum: np.ndarray, frames: int) -> np.ndarray:
    """(L, F) spectrum played in `frames` frames instead of L, pitch kept (phase vocoder)."""
    length, bins = spectrum.shape
    position = np.linspace(0, length - 1.001, frames)
    low = position.astype(int)
    part = (position - low)[:, None].astype(np.float32)
    following = np.minimum(low + 1, length - 1)
    magnitude = np.abs(spectrum[low]) * (1 - part) + np.abs(spectrum[following]) * part
    expected = (2 * np.pi * HOP / N_FFT * np.arange(bins)).astype(np.float32)
    advance = np.angle(spectrum[following]) - np.angle(spectrum[low]) - expected
    advance = advance - 2 * np.pi * np.round(advance / (2 * np.pi)) + expected
    phase = np.cumsum(np.concatenate([np.angle(spectrum[:1]), advance[:-1]]), axis=0)
    return (magnitude * np.exp(1j * phase)).astype(np.complex64)


def linear_prediction(frames: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levinson-Durbin over many frames at once.

    Args:
        frames: (L, W) windowed samples.
        order: number of coefficients.

    Returns:
        Coefficients (L, order+1) with a leading 1, residual energy (L,), autocorrelation (L, W).
    """
    width = frames.shape[1]
    power = np.abs(scipy.fft.rfft(frames, n=2 * width, axis=1)) ** 2
    correlation = scipy.fft.irfft(power, axis=1)[:, :width]
    first = correlation[:, 0] * 1.0001 + 1e-7
    coefficients = np.zeros((len(frames), order + 1))
    coefficients[:, 0] = 1
    error = first.astype(np.float64)
    for i in range(1, order + 1):
        known = np.sum(coefficients[:, :i] * correlation[:, i:0:-1], axis=1)
        reflection = (-known / error)[:, None]
        coefficients[:, 1 : i + 1] += reflection * coefficients[:, i - 1 :: -1][:, :i]
        error = error * np.maximum(1 - reflection[:, 0] ** 2, 1e-6)
    return coefficients, error, correlation


def loudness(samples: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
