"""The persistence of the voice's fine structure as an input."""

import numpy as np
import pytest
import torch

from modeling_macbdf import MACBDFFeatureExtractor
from modeling_macbdf.feature_extraction_macbdf import PERSISTENCE_MEAN, PERSISTENCE_STD

RATE = 16000


@pytest.fixture
def extractor():
    return MACBDFFeatureExtractor(frequency_scale="linear", representation="persistence", num_frames=1)


def correlations(extractor, wave):
    """(T, F): one row a step, in [-1, 1]."""
    features = extractor(wave, sampling_rate=RATE, return_tensors="pt")["input_features"][0]
    return features[:: extractor.samples_per_step // extractor.hop_length] * PERSISTENCE_STD + PERSISTENCE_MEAN


def reference(extractor, wave, step, bin_):
    """One value of one step, in numpy and by loops."""
    hop, size = extractor.hop_length, extractor.n_fft
    wave = wave * 0.1 / np.sqrt(np.mean(wave**2))
    padded = np.pad(wave, (size - hop) // 2, mode="reflect")
    window = np.hanning(size + 1)[:-1]
    fine = []
    for frame in range(step * 20, step * 20 + 20):
        power = np.abs(np.fft.rfft(padded[frame * hop : frame * hop + size] * window)) ** 2 / np.sum(window**2)
        logarithm = np.pad(np.log(power + 1e-8), 8, mode="edge")
        fine.append(logarithm[8:-8] - np.convolve(logarithm, np.ones(17) / 17, mode="valid"))
    centres = np.linspace(20, RATE / 2, extractor.feature_size + 2)
    distance = np.abs(np.linspace(0, RATE / 2, size // 2 + 1) - centres[bin_ + 1])
    weight = np.clip(1 - distance / (centres[1] - centres[0]), 0, None)
    before, after = np.array(fine[:-1]), np.array(fine[1:])
    return np.sum(before * after * weight) / np.sqrt(np.sum(before**2 * weight) * np.sum(after**2 * weight))


def test_it_is_the_correlation_of_neighbouring_frames(extractor):
    wave = np.random.default_rng(0).normal(size=3 * 3200).astype(np.float32)
    seen = correlations(extractor, wave)
    assert seen.shape == (3, 80)
    for step, bin_ in ((1, 7), (1, 60), (2, 33)):
        assert seen[step, bin_] == pytest.approx(reference(extractor, wave.astype(float), step, bin_), abs=1e-3)


def test_a_steady_tone_persists_and_noise_does_not(extractor):
    time_s = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 200 * k * time_s) for k in range(1, 39)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=RATE).astype(np.float32)
    assert correlations(extractor, tone).mean() > 0.9
    assert correlations(extractor, noise).mean() < 0.3


def test_it_does_not_hear_the_level(extractor):
    wave = np.random.default_rng(2).normal(size=RATE).astype(np.float32)
    assert torch.allclose(correlations(extractor, wave), correlations(extractor, 0.01 * wave), atol=1e-4)


def test_a_step_does_not_depend_on_the_next_ones(extractor):
    wave = np.random.default_rng(3).normal(size=8 * 3200).astype(np.float32)
    changed = wave.copy()
    changed[5 * 3200 :] = np.roll(changed[5 * 3200 :], 1234)
    before, after = correlations(extractor, wave), correlations(extractor, changed)
    assert torch.allclose(before[:4], after[:4], atol=1e-5)
    assert not torch.allclose(before[5:], after[5:], atol=0.1)


def test_silence_is_finite(extractor):
    assert bool(
        torch.isfinite(extractor(np.zeros(3200), sampling_rate=RATE, return_tensors="pt")["input_features"]).all()
    )


def test_an_unknown_representation_is_refused():
    with pytest.raises(ValueError, match=r"representation must be one of .*, but got 'cepstrum'"):
        MACBDFFeatureExtractor(representation="cepstrum")
