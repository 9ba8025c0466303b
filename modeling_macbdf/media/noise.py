"""How far a voice stands out of what surrounds it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .audio import SILENCE_PEAK, Audio

_BAND_HZ = (3000.0, 7500.0)  # voices are weak here, so that noise shows first
_FRAME_S = 0.025
_FRAMES_AT_ONCE = 4096  # bounds the memory of an hour
_FEWEST_FRAMES = 20  # half a second
_PERCENTILES = (5, 95)


def level_range_db(audio: Audio) -> float | None:
    """The level between 3 and 7.5 kHz of the loudest frames over that of the quietest ones, in decibels.

    The 95th over the 5th percentile of the power of frames of 25 ms that hold sound. Speech has pauses and vowels, and
    both leave this band nearly empty; noise fills it.

    Returns:
        None for less than half a second of sound, or a sampling rate that holds less than half of the band.
    """
    if audio.sampling_rate < sum(_BAND_HZ):
        return None
    power = np.concatenate([np.zeros(0), *_band_power(audio)])
    if len(power) < _FEWEST_FRAMES:
        return None
    quiet, loud = np.percentile(10 * np.log10(power + np.finfo(np.float32).tiny), _PERCENTILES)
    return float(loud - quiet)


def _band_power(audio: Audio) -> Iterator[NDArray[np.floating]]:
    """The band's power of the frames that hold sound, some at a time; frames of digital silence are left out."""
    size = round(_FRAME_S * audio.sampling_rate)
    frequencies_hz = np.fft.rfftfreq(size, 1 / audio.sampling_rate)
    band = (frequencies_hz >= _BAND_HZ[0]) & (frequencies_hz <= _BAND_HZ[1])
    for start, end in audio.valid:
        frames = audio.samples[start:end][: (end - start) // size * size].reshape(-1, size)
        for first in range(0, len(frames), _FRAMES_AT_ONCE):
            some = frames[first : first + _FRAMES_AT_ONCE]
            some = some[np.abs(some).max(axis=1, initial=0.0) >= SILENCE_PEAK]
            spectrum = np.fft.rfft(some * np.hanning(size).astype(np.float32), axis=1)
            yield (np.abs(spectrum[:, band]) ** 2).sum(axis=1)
