"""A small formant synthesiser: babbled speech by a seeded, made-up speaker, with the mouth movements that go with it.

Source and filter, as in Klatt's cascade synthesiser (JASA 67, 1980), much reduced: glottal pulses with jitter and
breath noise through five moving resonances, hiss for fricatives beside them. Nobody's voice is copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .outcomes import missing_extra

try:
    from scipy import ndimage, signal
except ImportError as error:
    raise missing_extra("scipy", "synthetic") from error

_CONTROL_HZ = 200  # control points per second
_SYNTHESIS_HZ = 32_000  # twice the usual target rate, so that pulses alias little
_BLOCK = _SYNTHESIS_HZ // _CONTROL_HZ  # samples per control point
_BANDWIDTHS = (70.0, 90.0, 130.0, 220.0, 300.0)  # Hz
_HIGH = (3500.0, 4500.0)  # fourth and fifth resonance of an adult male, Hz

# First three resonances of an adult male in Hz (Peterson and Barney, 1952), jaw opening, width of the lips.
_VOWELS: dict[str, tuple[tuple[float, float, float], float, float]] = {
    "i": ((270, 2290, 3010), 0.30, 0.9),
    "I": ((390, 1990, 2550), 0.40, 0.6),
    "E": ((530, 1840, 2480), 0.60, 0.5),
    "ae": ((660, 1720, 2410), 0.85, 0.5),
    "a": ((730, 1090, 2440), 1.00, 0.1),
    "O": ((570, 840, 2410), 0.75, -0.6),
    "U": ((440, 1020, 2240), 0.40, -0.6),
    "u": ((300, 870, 2240), 0.28, -1.0),
    "V": ((640, 1190, 2390), 0.75, 0.0),
    "er": ((490, 1350, 1690), 0.45, -0.3),
}


@dataclass(frozen=True, slots=True)
class _Consonant:
    """Targets of one consonant: seconds, resonances in Hz, levels in [0, 1], centre of the hiss in Hz, jaw opening."""

    lasts: float
    formants: tuple[float, float, float]
    voice: float = 0.0
    hiss: float = 0.0
    hiss_hz: float = 3000.0
    breath: float = 0.0
    opening: float = 0.2


_CONSONANTS: dict[str, _Consonant] = {
    "p": _Consonant(0.09, (400, 1100, 2150), breath=0.25, opening=0.0),
    "t": _Consonant(0.08, (400, 1600, 2600), hiss=0.25, hiss_hz=4200, opening=0.15),
    "k": _Consonant(0.08, (350, 1700, 2000), hiss=0.2, hiss_hz=2000),
    "b": _Consonant(0.07, (200, 1100, 2150), voice=0.15, opening=0.0),
    "d": _Consonant(0.06, (200, 1600, 2600), voice=0.15, hiss=0.08, hiss_hz=4000),
    "g": _Consonant(0.06, (200, 1990, 2850), voice=0.15, hiss=0.06, hiss_hz=2000),
    "s": _Consonant(0.11, (320, 1390, 2530), hiss=0.45, hiss_hz=6200, opening=0.12),
    "S": _Consonant(0.11, (300, 1840, 2750), hiss=0.45, hiss_hz=3200, opening=0.2),
    "f": _Consonant(0.09, (340, 1100, 2080), hiss=0.12, hiss_hz=5500, opening=0.05),
    "v": _Consonant(0.06, (220, 1100, 2080), voice=0.35, hiss=0.05, hiss_hz=5000, opening=0.05),
    "m": _Consonant(0.08, (280, 1000, 2100), voice=0.45, opening=0.0),
    "n": _Consonant(0.07, (280, 1500, 2500), voice=0.45, opening=0.2),
    "l": _Consonant(0.07, (330, 1150, 2800), voice=0.6, opening=0.3),
    "r": _Consonant(0.07, (330, 1150, 1500), voice=0.6, opening=0.25),
    "w": _Consonant(0.07, (300, 700, 2200), voice=0.55, opening=0.1),
    "j": _Consonant(0.06, (280, 2100, 2900), voice=0.55, opening=0.2),
    "h": _Consonant(0.06, (500, 1500, 2500), breath=0.5, opening=0.35),
}


@dataclass(frozen=True, slots=True)
class Voice:
    """Synthesised speech and the mouth that says it; N samples, C control points at `control_hz`.

    Attributes:
        waveform (`np.ndarray` of shape `(N,)`, float32): Sound in [-1, 1].
        sampling_rate (`int`): In Hz.
        opening (`np.ndarray` of shape `(C,)`): Jaw opening in [0, 1]: the vowel's, moved by the envelope of the voice.
        spread (`np.ndarray` of shape `(C,)`): Lips from rounded (-1) to spread (1).
        stress (`np.ndarray` of shape `(C,)`): Pitch over the speaker's mean minus 1, which the head follows a little.
        control_hz (`int`): Control points per second.
    """

    waveform: NDArray[np.float32]
    sampling_rate: int
    opening: NDArray[np.float64]
    spread: NDArray[np.float64]
    stress: NDArray[np.float64]
    control_hz: int = _CONTROL_HZ


@dataclass(slots=True)
class _Speaker:
    """One made-up speaker, drawn from a seed."""

    pitch_hz: float
    tract: float  # resonances over an adult male's: shorter vocal tracts ring higher
    breath: float
    pace: float  # over the usual duration of sounds
    tilt: float  # of the source spectrum: weight of a one-pole low-pass
    liveliness: float  # of the melody

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Speaker:
        low = rng.random() < 0.5
        pitch = rng.uniform(85, 140) if low else rng.uniform(165, 250)
        tract = rng.uniform(0.93, 1.06) if low else rng.uniform(1.08, 1.22)
        rest = (rng.uniform(0.01, 0.06), rng.uniform(0.85, 1.2), rng.uniform(0.0, 0.5), rng.uniform(0.05, 0.16))
        return cls(pitch, tract, *rest)


def synthesize_voice(seed: int = 0, duration_s: float = 6.0, sampling_rate: int = 16_000) -> Voice:
    """Babble for `duration_s` seconds with the voice of speaker `seed`; the same arguments give the same samples.

    Args:
        seed (`int`, *optional*, defaults to 0): Names the speaker and the text.
        duration_s (`float`, *optional*, defaults to 6.0): Length in seconds.
        sampling_rate (`int`, *optional*, defaults to 16000): In Hz.

    Raises:
        ValueError: When the duration is not positive.
    """
    if not duration_s > 0:
        raise ValueError(f"duration_s must be positive, but got {duration_s}.")
    rng = np.random.default_rng([seed, 1])
    speaker = _Speaker.draw(rng)
    tracks = _score(rng, speaker, int(np.ceil(duration_s * _CONTROL_HZ)))
    excitation = _glottis(rng, speaker, tracks["pitch"]) * np.repeat(tracks["voice"], _BLOCK)
    excitation += rng.standard_normal(len(excitation)) * np.repeat(
        tracks["breath"] + speaker.breath * tracks["voice"], _BLOCK
    )
    noise = rng.standard_normal(len(excitation)) * np.repeat(tracks["hiss"], _BLOCK)
    speech = _resonate(excitation, _tract_sections(tracks["formants"], speaker.tract))
    speech = speech / (np.abs(speech).max() + 1e-9) + 0.16 * _resonate(noise, _hiss_sections(tracks["hiss_hz"]))
    waveform = _room(rng, speech, sampling_rate, round(duration_s * sampling_rate))
    return Voice(waveform, sampling_rate, _jaw(speech, tracks["opening"]), tracks["spread"], tracks["stress"])


def _score(rng: np.random.Generator, speaker: _Speaker, length: int) -> dict[str, NDArray[np.float64]]:
    """Draw the text and lay it out as control tracks of the given length."""
    rows: list[tuple[int, list[float]]] = [(int(0.15 * _CONTROL_HZ), _PAUSE)]
    total = 0
    while total < length:
        for _ in range(int(rng.integers(4, 9))):
            rows += _syllable(rng, speaker)
        rows.append((int(rng.uniform(0.2, 0.45) * _CONTROL_HZ), _PAUSE))
        total = sum(count for count, _ in rows)
    table = np.concatenate([np.tile(row, (count, 1)) for count, row in rows])[:length]
    smooth = ndimage.gaussian_filter1d(table, sigma=0.014 * _CONTROL_HZ, axis=0, mode="nearest")
    smooth[:, 4] = table[:, 4]  # the hiss does not glide between sounds
    stress = _melody(rng, speaker, table[:, 3] + table[:, 5] + table[:, 6] > 0.02)
    names = ("voice", "hiss_hz", "hiss", "breath", "opening", "spread")
    columns = (3, 4, 5, 6, 7, 8)
    tracks = {name: smooth[:, column] for name, column in zip(names, columns, strict=True)}
    lips = ndimage.gaussian_filter1d(tracks["spread"], sigma=0.04 * _CONTROL_HZ)
    return tracks | {
        "formants": smooth[:, :3],
        "spread": lips,
        "stress": stress,
        "pitch": speaker.pitch_hz * (1 + stress),
    }


# Columns of a control row: three resonances (Hz), voice, hiss centre (Hz), hiss, breath, opening, spread.
_PAUSE: list[float] = [500.0, 1500.0, 2500.0, 0.0, 3000.0, 0.0, 0.0, 0.02, 0.0]


def _syllable(rng: np.random.Generator, speaker: _Speaker) -> list[tuple[int, list[float]]]:
    consonant = _CONSONANTS[str(rng.choice(list(_CONSONANTS)))]
    formants, opening, spread = _VOWELS[str(rng.choice(list(_VOWELS)))]
    rows = []
    if rng.random() < 0.9:
        row = [*consonant.formants, consonant.voice, consonant.hiss_hz, consonant.hiss, consonant.breath]
        rows.append((_ticks(consonant.lasts * speaker.pace), [*row, consonant.opening, 0.5 * spread]))
    loud = rng.uniform(0.7, 1.0)
    lasts = rng.uniform(0.09, 0.2) * speaker.pace
    rows.append((_ticks(lasts), [*formants, loud, 3000.0, 0.0, 0.0, opening, spread]))
    return rows


def _ticks(seconds: float) -> int:
    return max(round(seconds * _CONTROL_HZ), 4)


def _melody(rng: np.random.Generator, speaker: _Speaker, spoken: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Relative pitch: it falls along each phrase, with accents and a slow unsteadiness."""
    length = len(spoken)
    wander = ndimage.gaussian_filter1d(rng.standard_normal(length), sigma=0.12 * _CONTROL_HZ)
    tremor = ndimage.gaussian_filter1d(rng.standard_normal(length), sigma=0.012 * _CONTROL_HZ)
    active = ndimage.binary_closing(spoken, iterations=int(0.08 * _CONTROL_HZ))
    labels, count = ndimage.label(active)
    fall = np.zeros(length)
    for index in range(1, count + 1):
        places = np.flatnonzero(labels == index)
        fall[places] = np.linspace(0.1, -0.12, len(places))
    spread = speaker.liveliness * wander / (wander.std() + 1e-9)
    stress = ndimage.gaussian_filter1d(fall + spread, sigma=0.02 * _CONTROL_HZ)
    return np.clip(stress + 0.006 * tremor / (tremor.std() + 1e-9), -0.4, 0.6)


def _glottis(rng: np.random.Generator, speaker: _Speaker, pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative of the flow through the vocal folds (Rosenberg's pulse), with jitter from period to period."""
    rate = np.repeat(pitch, _BLOCK) / _SYNTHESIS_HZ
    cycles = np.cumsum(rate)
    number = np.floor(cycles).astype(int)
    uneven = 1 + 0.01 * rng.standard_normal(number[-1] + 1)
    strength = 1 + 0.06 * rng.standard_normal(number[-1] + 1)
    phase = np.clip((cycles - number) * uneven[number], 0, 1)
    rise, close = 0.4, 0.58
    opening = np.sin(np.pi * phase / rise) * (phase < rise) * 0.5
    closing = -np.sin(0.5 * np.pi * (phase - rise) / (close - rise)) * ((phase >= rise) & (phase < close))
    pulses = (opening + closing) * strength[number]
    return signal.lfilter([1 - speaker.tilt], [1, -speaker.tilt], pulses)


def _sections(centres: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second-order resonances with gain 1 at zero frequency: centres and widths `(C, R)` in Hz -> `(C, R, 6)`."""
    radius = np.exp(-np.pi * widths / _SYNTHESIS_HZ)
    a1 = -2 * radius * np.cos(2 * np.pi * centres / _SYNTHESIS_HZ)
    a2 = radius**2
    zero = np.zeros_like(a1)
    return np.stack([1 + a1 + a2, zero, zero, zero + 1, a1, a2], axis=-1)


def _tract_sections(formants: NDArray[np.float64], tract: float) -> NDArray[np.float64]:
    high = np.tile(_HIGH, (len(formants), 1))
    centres = np.concatenate([formants, high], axis=1) * tract
    return _sections(centres, np.tile(_BANDWIDTHS, (len(formants), 1)))


def _hiss_sections(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = _sections(centres[:, None], 0.35 * centres[:, None] + 300)
    wide[..., :3] = np.asarray([1.0, 0.0, -1.0]) * (1 - wide[..., 5:6]) / 2  # a band-pass with gain 1 at its centre
    return wide


def _resonate(samples: NDArray[np.float64], sections: NDArray[np.float64]) -> NDArray[np.float64]:
    """Filter block by block with sections `(C, R, 6)` that move from block to block."""
    state = np.zeros((sections.shape[1], 2))
    out = np.empty_like(samples)
    for index, sos in enumerate(sections):
        block = slice(index * _BLOCK, (index + 1) * _BLOCK)
        out[block], state = signal.sosfilt(sos, samples[block], zi=state)
    return out


def _room(rng: np.random.Generator, speech: NDArray[np.float64], rate: int, length: int) -> NDArray[np.float32]:
    """Bring speech to the target rate, into a small room, over a noise floor, at a usual level."""
    dry = signal.resample_poly(speech, rate, _SYNTHESIS_HZ)[:length]
    dry = np.pad(dry, (0, length - len(dry)))
    decay = np.exp(-np.arange(int(0.15 * rate)) / (rng.uniform(0.012, 0.035) * rate))
    echo = signal.fftconvolve(dry, decay * rng.standard_normal(len(decay)))[:length]
    wet = dry + rng.uniform(0.03, 0.09) * echo
    floor = signal.lfilter([1], [1, -0.95], rng.standard_normal(length))
    level = 10 ** (rng.uniform(-58, -46) / 20)
    mixed = 0.5 * wet / (np.abs(wet).max() + 1e-9) + level * floor / floor.std()
    return np.clip(mixed, -1, 1).astype(np.float32)


def _jaw(speech: NDArray[np.float64], opening: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move the jaw: the opening that the sounds ask for, driven by the loudness envelope of what is heard."""
    power = np.square(speech[: len(opening) * _BLOCK]).reshape(-1, _BLOCK).mean(axis=1)
    envelope = np.sqrt(ndimage.gaussian_filter1d(power, sigma=0.02 * _CONTROL_HZ))
    loudness = np.clip(envelope / (np.quantile(envelope, 0.9) + 1e-9), 0, 1) ** 0.5
    moved = ndimage.gaussian_filter1d(opening * (0.25 + 0.75 * loudness), sigma=0.025 * _CONTROL_HZ)
    early = int(0.03 * _CONTROL_HZ)  # lips move slightly before the sound
    return np.clip(np.append(moved[early:], np.repeat(moved[-1], early))[: len(moved)], 0, 1)
