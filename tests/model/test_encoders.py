"""The built-in encoders: one clock, symmetric views, no leak between steps that must not see each other."""

import pytest
import torch

from modeling_macbdf.configuration_macbdf import MACBDFAudioConfig, MACBDFVideoConfig
from modeling_macbdf.encoders_macbdf import AudioEncoder, FacePreprocessor, VideoEncoder

SIZES = {"stem_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}


@pytest.fixture(scope="module")
def video():
    torch.manual_seed(0)
    return VideoEncoder(MACBDFVideoConfig(image_size=32, **SIZES), width=16, num_scales=3).eval()


@pytest.fixture(scope="module")
def audio():
    torch.manual_seed(0)
    return AudioEncoder(MACBDFAudioConfig(**SIZES), width=16, num_scales=3).eval()


def test_both_encoders_give_the_same_scales_on_the_same_clock(video, audio):
    with torch.no_grad():
        seen, heard = video(torch.randn(2, 5, 3, 32, 32)), audio(torch.randn(2, 100, 80))
    assert [tuple(scale.shape) for scale in seen] == [tuple(scale.shape) for scale in heard] == [(2, 5, 16)] * 3


def test_a_crop_reaches_its_own_step_only(video):
    pixels = torch.randn(1, 6, 3, 32, 32)
    changed = pixels.clone()
    changed[:, 3] += 1.0
    with torch.no_grad():
        moved = [(a - b).abs().amax((0, 2)) > 1e-6 for a, b in zip(video(pixels), video(changed), strict=True)]
    assert all(row.tolist() == [step == 3 for step in range(6)] for row in moved)


def test_groups_of_frames_give_what_one_pass_gives(video):
    pixels = torch.randn(2, VideoEncoder.cpu_frames, 3, 32, 32)
    with torch.no_grad():
        grouped = video(pixels)
    for scale, other in zip(video(pixels), grouped, strict=True):  # with gradients all frames pass at once
        torch.testing.assert_close(scale, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depths", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_a_step_hears_as_far_back_as_ahead(depths):
    torch.manual_seed(0)
    encoder = AudioEncoder(MACBDFAudioConfig(**{**SIZES, "depths": depths}), width=16, num_scales=3).eval()
    features = torch.randn(1, 220, 80, requires_grad=True)
    encoder(features)[-1][0, 5].square().sum().backward()
    reached = features.grad.abs().sum((0, 2)).nonzero().flatten()
    before, after = 100 - reached.min(), reached.max() - 119
    assert before == after
    assert 0 < before <= 40


def test_time_reversed_sound_gives_time_reversed_tokens_where_the_filters_are_symmetric(audio):
    """With filters that do not know a direction, only a misplaced stride could tell before from after."""
    symmetric = AudioEncoder(MACBDFAudioConfig(**SIZES), width=16, num_scales=3).eval()
    symmetric.load_state_dict(audio.state_dict())
    with torch.no_grad():
        for module in symmetric.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.add_(module.weight.flip(2)).mul_(0.5)
        features = torch.randn(1, 160, 80)
        forwards, backwards = symmetric(features), symmetric(features.flip(1))
    for first, second in zip(forwards, backwards, strict=True):
        torch.testing.assert_close(first, second.flip(1), atol=1e-4, rtol=1e-4)


def test_masked_steps_reach_no_valid_step(audio):
    mask = torch.tensor([[True, True, False, False, True, True]])
    first, second = torch.randn(1, 120, 80), torch.randn(1, 120, 80)
    second[:, :40], second[:, 80:] = first[:, :40], first[:, 80:]
    with torch.no_grad():
        for a, b in zip(audio(first, mask), audio(second, mask), strict=True):
            torch.testing.assert_close(a[mask], b[mask], atol=1e-6, rtol=0)


def test_frames_that_make_no_whole_step_are_refused(audio):
    with pytest.raises(ValueError, match=r"input_features must have L = T \* mel_frames_per_step = T \* 20 .* got 90"):
        audio(torch.zeros(1, 90, 80))


def test_the_residual_ignores_smooth_light_and_keeps_fine_traces():
    preprocess = FacePreprocessor(MACBDFVideoConfig(high_pass_limit=0.1))
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    checkers = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 0.02
    flat, fine = preprocess(ramp)[:, 3], preprocess(ramp + checkers)[:, 3]
    assert flat.abs().max() < 1e-4
    assert 0.1 < fine[:, 1:-1, 1:-1].abs().min() < fine.abs().max() <= 1.0


def test_the_residual_is_truncated_at_its_limit():
    edge = torch.zeros(1, 3, 32, 32)
    edge[..., 16:, 16:] = 1.0
    assert FacePreprocessor(MACBDFVideoConfig())(edge)[:, 3].abs().max() == 1.0


def test_without_colour_a_colour_cast_is_not_seen():
    preprocess = FacePreprocessor(MACBDFVideoConfig(use_color=False))
    grey = torch.randn(1, 1, 32, 32).expand(1, 3, 32, 32)
    cast = grey + torch.tensor([0.587, -0.299, 0.0]).view(1, 3, 1, 1)  # the same luma
    assert preprocess(grey).shape[1] == 2
    torch.testing.assert_close(preprocess(grey), preprocess(cast), atol=1e-4, rtol=0)
