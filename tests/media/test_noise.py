"""How far a voice stands out of noise, on made voices."""

import numpy as np
import pytest

from modeling_macbdf.media.audio import Audio
from modeling_macbdf.media.noise import level_range_db

RATE_HZ = 16_000


def sound(samples: np.ndarray, sampling_rate: int = RATE_HZ) -> Audio:
    return Audio(samples.astype(np.float32), sampling_rate, np.array([[0, len(samples)]]))


def vowels_and_pauses(noise_db: float, seconds: int = 8) -> np.ndarray:
    """Half-second bursts with energy in the band, half-second pauses, and white noise so far below the bursts."""
    rng = np.random.default_rng(0)
    speaks = np.repeat(np.arange(2 * seconds) % 2, RATE_HZ // 2)
    voice = speaks * rng.standard_normal(len(speaks)) * 0.1
    return voice + rng.standard_normal(len(voice)) * 0.1 * 10 ** (-noise_db / 20)


@pytest.mark.parametrize("noise_db", [10.0, 20.0, 40.0])
def test_the_level_range_is_how_far_noise_lies_below_the_voice(noise_db):
    power_of_both = 10 * np.log10(1 + 10 ** (noise_db / 10))
    assert level_range_db(sound(vowels_and_pauses(noise_db))) == pytest.approx(power_of_both, abs=3.0)


def test_loudness_does_not_change_it():
    samples = vowels_and_pauses(25.0)
    assert level_range_db(sound(samples * 0.1)) == pytest.approx(level_range_db(sound(samples)), abs=0.01)


def test_digital_silence_is_no_pause():
    samples = vowels_and_pauses(15.0)
    gated = np.concatenate([samples, np.zeros(20 * RATE_HZ)])
    assert level_range_db(sound(gated)) == pytest.approx(level_range_db(sound(samples)))


def test_what_the_stream_does_not_hold_is_not_measured():
    samples = vowels_and_pauses(15.0)
    filled = np.concatenate([samples, 1e-3 * np.random.default_rng(1).standard_normal(len(samples))]).astype(
        np.float32
    )
    held = Audio(filled, RATE_HZ, np.array([[0, len(samples)]]))
    assert level_range_db(held) == pytest.approx(level_range_db(sound(samples)))
    assert level_range_db(sound(filled)) > level_range_db(held) + 10


@pytest.mark.parametrize(
    "audio", [sound(np.full(RATE_HZ // 4, 0.1)), sound(np.zeros(RATE_HZ)), sound(np.ones(8000), 8000)]
)
def test_too_little_to_tell_is_no_number(audio):
    assert level_range_db(audio) is None
