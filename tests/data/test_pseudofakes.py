from dataclasses import replace

import numpy as np
import pytest

from modeling_macbdf.data import spectra
from modeling_macbdf.data.clips import IGNORE, as_recorded
from modeling_macbdf.data.pseudofakes import AUDIO, KINDS, MISMATCH, NEEDS_DONOR, VISUAL, Mix, can_forge, forge
from modeling_macbdf.data.pseudofakes_resynthesis import TREATMENTS
from modeling_macbdf.data.regions import REGIONS, region_mask


@pytest.fixture
def donor(clip):
    return replace(clip, frames=clip.frames[::-1, :, ::-1].copy(), whole_audio=clip.whole_audio[::-1].copy())


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_its_stream_only_and_is_repeatable(kind, clip, donor):
    frames, audio = clip.frames.copy(), clip.audio.copy()
    forged, again = forge(clip, kind, rng(3), donor), forge(clip, kind, rng(3), donor)
    np.testing.assert_array_equal(forged.clip.frames, again.clip.frames)
    np.testing.assert_array_equal(forged.clip.audio, again.clip.audio)
    np.testing.assert_array_equal(clip.frames, frames, err_msg="the original was written to")
    np.testing.assert_array_equal(clip.audio, audio, err_msg="the original was written to")
    assert np.array_equal(forged.clip.frames, frames) == (kind not in VISUAL)
    assert np.array_equal(forged.clip.audio, audio) == (kind in VISUAL)
    assert forged.clip.frames.dtype == np.uint8 and forged.clip.frames.shape == frames.shape
    assert forged.clip.audio.dtype == np.float32 and forged.clip.audio.shape == audio.shape
    assert np.isfinite(forged.clip.audio).all() and np.abs(forged.clip.audio).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_labels_say_which_stream_is_forged(kind, clip, donor):
    forged = forge(clip, kind, rng(5), donor)
    assert forged.label == 1 and forged.kind == kind
    assert forged.video_label == int(kind in VISUAL)
    assert forged.audio_label == int(kind in AUDIO), "a genuine voice that does not fit is no forged voice"
    if kind in MISMATCH:
        assert (forged.sync_labels == 0).all()
    else:
        assert set(forged.sync_labels.tolist()) <= ({IGNORE, 1} if kind in VISUAL else {1})
    stream = forged.video_frame_labels if kind in VISUAL else forged.audio_frame_labels
    if kind not in MISMATCH:
        np.testing.assert_array_equal(forged.frame_labels, stream)
        assert stream.max() == 1


@pytest.mark.parametrize("kind", sorted(VISUAL))
def test_frames_labelled_real_are_untouched(kind, clip, donor):
    for seed in range(6):
        forged = forge(clip, kind, rng(seed), donor, partial=1.0)
        real = forged.video_frame_labels == 0
        np.testing.assert_array_equal(forged.clip.frames[real], clip.frames[real])


def test_a_splice_changes_the_voice_only_where_it_says(clip):
    for seed in range(8):
        forged = forge(clip, "splice_voice", rng(seed))
        changed = (forged.clip.audio != clip.audio).reshape(16, -1).mean(axis=1)
        assert (changed[forged.audio_frame_labels == 0] < 0.1).all()
        assert 0 < (forged.audio_frame_labels == 1).sum() < 16


def test_missing_steps_keep_no_label(clip):
    half = np.arange(16) < 10
    forged = forge(replace(clip, video_mask=half), "self_blend", rng())
    assert (forged.video_frame_labels[10:] == IGNORE).all()
    assert (forged.video_frame_labels[:10] == 1).all()
    assert (forged.frame_labels[10:] == 0).all(), "there is still a real voice"


def test_time_shift_moves_the_voice_by_a_fifth_to_one_second(clip):
    for seed in range(10):
        shifted = forge(clip, "time_shift", rng(seed)).clip.audio
        places = [
            lag for lag in range(-16000, 16001, 1)
            if 0 <= clip.audio_start + lag <= len(clip.whole_audio) - len(shifted)
            and shifted[0] == clip.whole_audio[clip.audio_start + lag]
            and np.array_equal(shifted, clip.whole_audio[clip.audio_start + lag :][: len(shifted)])
        ]  # fmt: skip
        assert len(places) == 1 and 3200 <= abs(places[0]) <= 16000


@pytest.mark.parametrize("kind", sorted(AUDIO))
def test_a_forged_voice_is_as_loud_and_moves_with_the_original(kind, clip):
    """A level or a timing of its own would be a cue that no real forgery has."""
    forged = forge(clip, kind, rng(1)).clip.audio
    assert spectra.loudness(forged) == pytest.approx(spectra.loudness(clip.audio), rel=0.15)
    before, after = (np.sqrt((x.reshape(-1, 800) ** 2).mean(axis=1)) for x in (clip.audio, forged))
    assert np.corrcoef(before, after)[0, 1] > 0.6


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_masks_stay_off_the_border_and_follow_the_face(region, clip):
    masks = region_mask(clip.landmarks, 160, rng(2), region)
    assert masks[:, 0].max() == masks[:, -1].max() == masks[:, :, 0].max() == masks[:, :, -1].max() == 0
    assert masks.max() > 150
    centre_x = (masks * np.arange(160)).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))
    assert centre_x[-1] - centre_x[0] == pytest.approx(6, abs=4), "the face moved 6 px to the right"


@pytest.mark.parametrize("treatment", sorted(TREATMENTS))
def test_treatments_take_any_shape_and_change_detail_not_content(treatment, clip):
    part = clip.frames[:, 10:131, 20:117]
    painted = TREATMENTS[treatment](part, rng(0))
    assert painted.shape == part.shape and painted.dtype == np.uint8
    difference = painted.astype(int) - part
    assert 0.3 < np.abs(difference).mean() < 40
    coarse = difference.mean(axis=-1)[:, :120, :96].reshape(16, 15, 8, 12, 8).mean(axis=(2, 4))
    assert np.abs(coarse).mean() < 15


def test_kinds_that_need_a_missing_stream_are_refused(clip):
    silent = replace(clip, audio=np.zeros_like(clip.audio))
    blind = replace(clip, video_mask=np.zeros(16, bool))
    assert [kind for kind in KINDS if can_forge(silent, kind)] == list(VISUAL)
    assert [kind for kind in KINDS if can_forge(blind, kind)] == list(AUDIO)
    with pytest.raises(ValueError, match="must find its stream"):
        forge(silent, "time_shift", rng())
    with pytest.raises(ValueError, match="kind must be one of"):
        forge(clip, "magic", rng())


def test_the_mix_draws_by_its_weights_and_leaves_out_what_cannot_be(clip):
    mix = Mix(streams={"video": 1, "mismatch": 1}, visual={"freeze_or_splice": 1}, mismatch={"time_shift": 1})
    kinds = [mix.draw(clip, rng(seed)).kind for seed in range(60)]
    assert set(kinds) == {"freeze_or_splice", "time_shift"}
    assert 15 < kinds.count("time_shift") < 45
    silent = replace(clip, audio=np.zeros_like(clip.audio))
    assert {mix.draw(silent, rng(seed)).kind for seed in range(10)} == {"freeze_or_splice"}
    assert Mix(streams={"audio": 1}).draw(silent, rng()) is None


def test_both_streams_forged_carry_both_labels(clip):
    mix = Mix(streams={"both": 1}, visual={"freeze_or_splice": 1}, audio={"smooth_magnitude": 1})
    forged = mix.draw(clip, rng())
    assert (forged.video_label, forged.audio_label) == (1, 1)
    assert forged.kind == "smooth_magnitude+freeze_or_splice"


def test_a_face_that_looks_elsewhere_is_not_transplanted(clip, donor):
    """A turned donor once left its hair across the cheek."""
    turned = donor.landmarks.copy()
    turned[:, 2, 0] += 12
    donors = (None, donor, replace(donor, landmarks=turned))
    own, *others = (forge(clip, "face_transplant", rng(1), other) for other in donors)
    assert not np.array_equal(others[0].clip.frames, own.clip.frames)
    np.testing.assert_array_equal(others[1].clip.frames, own.clip.frames)
    assert [found.kind for found in (own, *others)] == ["self_blend", "face_transplant", "self_blend"]


@pytest.mark.parametrize("kind", NEEDS_DONOR)
def test_a_kind_without_a_donor_is_another_with_the_same_labels_and_its_own_name(kind, clip, donor):
    """A voice moved in pitch, a forgery elsewhere, once stood for another person's, labelled as a real voice."""
    alone, foreign = forge(clip, kind, rng(2)), forge(clip, kind, rng(2), donor)
    assert [(f.label, f.video_label, f.audio_label) for f in (alone, foreign)] == [
        (1, int(kind in VISUAL), int(kind in AUDIO))
    ] * 2
    expected = {"face_transplant": "self_blend", "other_voice": "time_shift"}.get(kind, kind)
    assert (alone.kind, foreign.kind) == (expected, kind)
    again = forge(clip, expected, rng(2))
    np.testing.assert_array_equal(alone.clip.frames, again.clip.frames)
    np.testing.assert_array_equal(alone.clip.audio, again.clip.audio)


def test_a_film_of_two_steps_is_forged_where_it_says_so(clip):
    """One of the three ways of `freeze_or_splice` once changed nothing and called it a fake."""
    two = replace(clip, video_mask=np.arange(16) < 2)
    for seed in range(12):
        forged = forge(two, "freeze_or_splice", rng(seed))
        assert not np.array_equal(forged.clip.frames[:2], clip.frames[:2])
        assert (forged.video_frame_labels == 1).any()


def test_a_donor_is_fetched_only_for_kinds_that_need_one(clip, donor):
    asked = []

    def fetch(kind):
        asked.append(kind)
        return donor

    Mix(streams={"video": 1}, visual={"self_blend": 1}).draw(clip, rng(), fetch)
    assert not asked
    Mix(streams={"video": 1}, visual={"face_transplant": 1}).draw(clip, rng(), fetch)
    assert asked == ["face_transplant"]


@pytest.mark.parametrize("weights", [{"video": -1.0}, {"picture": 1.0}, {"video": 0.0}])
def test_impossible_mixes_are_refused(weights):
    with pytest.raises(ValueError, match="streams must weigh"):
        Mix(streams=weights)


def test_the_inverse_transform_gives_the_samples_back(voice):
    back = spectra.istft(spectra.stft(voice), len(voice))
    np.testing.assert_allclose(back[300:-300], voice[300:-300], atol=1e-5)


def test_linear_prediction_finds_the_coefficients_of_a_known_filter():
    from scipy.signal import lfilter

    noise = rng(0).standard_normal(20000)
    samples = lfilter([1], [1, -1.2, 0.6], noise)
    coefficients, error, _ = spectra.linear_prediction(samples[None], 2)
    np.testing.assert_allclose(coefficients[0], [1, -1.2, 0.6], atol=0.03)
    assert error[0] / len(samples) == pytest.approx(1.0, rel=0.05)


def test_a_real_window_has_no_label_on_missing_streams(clip):
    blind = as_recorded(replace(clip, video_mask=np.zeros(16, bool)))
    assert (blind.label, blind.video_label, blind.audio_label) == (0, IGNORE, 0)
    assert (blind.sync_labels == IGNORE).all()
