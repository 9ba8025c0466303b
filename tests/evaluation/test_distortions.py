"""Distortions: stronger with severity, the same again, on the clock; codecs are real ones."""

import numpy as np
import pytest

from modeling_macbdf.evaluation.distortions import ALL, PICTURE, SOUND, kept_steps
from modeling_macbdf.evaluation.robustness import conditions
from modeling_macbdf.media.audio import Audio


@pytest.fixture(scope="module")
def picture(talking_face) -> np.ndarray:
    return talking_face[0][10]


@pytest.fixture(scope="module")
def sound(talking_face) -> Audio:
    samples = talking_face[1][:32_000]
    return Audio(samples, 16_000, np.array([[0, len(samples)]]))


def change(name, thing, severity):
    return (PICTURE.get(name) or SOUND[name])(thing, severity, np.random.default_rng(severity))


@pytest.mark.parametrize("name", list(PICTURE))
def test_pictures_keep_their_shape_and_lose_more_with_severity(name, picture):
    changed = [change(name, picture, severity) for severity in (1, 3, 5)]
    assert all(out.shape == picture.shape and out.dtype == np.uint8 for out in changed)
    losses = [np.square(out.astype(float) - picture).mean() for out in changed]
    assert 0 < losses[0] < losses[1] < losses[2]
    np.testing.assert_array_equal(change(name, picture, 3), changed[1])


@pytest.mark.parametrize("name", ["aac", "mp3", "opus", "audio_noise", "reverb", "resampling"])
def test_sound_stays_on_the_clock_and_loses_more_with_severity(name, sound):
    mild, strong = change(name, sound, 1), change(name, sound, 5)
    assert len(mild.samples) == len(strong.samples) == len(sound.samples)
    losses = [np.square(out.samples - sound.samples).mean() for out in (mild, strong)]
    assert 0 < losses[0] < losses[1]
    lags = range(-400, 401, 10)  # samples: 25 ms
    fit = [
        float(np.dot(sound.samples[1000:-1000], mild.samples[1000 + lag : len(mild.samples) - 1000 + lag]))
        for lag in lags
    ]
    assert abs(lags[int(np.argmax(fit))]) <= 30


def test_loudness_and_a_lost_stream(sound):
    assert change("loudness", sound, 3).peak == pytest.approx(0.1 * sound.peak, rel=1e-4)
    half = change("drop_audio", sound, 2)
    assert half.duration_s == pytest.approx(0.6 * sound.duration_s)
    assert half.step_mask(10).tolist() == [True] * 6 + [False] * 4
    assert change("drop_audio", sound, 5) is None
    assert [kept_steps(10, severity) for severity in (1, 5)] == [8, 0]


def test_conditions_are_checked_by_name():
    assert conditions(["jpeg", "messenger"], [2, 4]) == [("jpeg", 2), ("jpeg", 4), ("messenger", 1)]
    assert len(conditions(ALL, [1, 2, 3, 4, 5])) == 5 * (len(ALL) - 1) + 1
    with pytest.raises(ValueError, match="severities"):
        conditions(["jpeg"], [6])
