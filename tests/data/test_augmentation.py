from dataclasses import fields, replace

import numpy as np
import pytest

from modeling_macbdf.data.augmentation import NO_AUGMENTATION, AugmentOptions, _voice_codec, augment
from modeling_macbdf.data.cache_reader import TrackCache
from modeling_macbdf.data.dataset import TrainingOptions, TrainingWindows, WindowOptions
from modeling_macbdf.data.pseudofakes import VISUAL, Mix
from modeling_macbdf.data.spectra import stft

SWITCHES = [field.name for field in fields(AugmentOptions) if field.name != "zoom_max"]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_without_augmentation_nothing_changes(clip):
    same = augment(clip, rng(), NO_AUGMENTATION)
    np.testing.assert_array_equal(same.frames, clip.frames)
    np.testing.assert_array_equal(same.audio, clip.audio)


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_changes_its_stream_and_keeps_shapes(name, clip):
    only = replace(NO_AUGMENTATION, **{name: 1.0, "zoom_max": 0.08})
    changed = augment(clip, rng(4), only)
    heard = name in ("gain", "hiss", "equalize", "bandwidth", "voice_codec")
    assert np.array_equal(changed.frames, clip.frames) == heard
    assert np.array_equal(changed.audio, clip.audio) != heard
    assert changed.frames.shape == clip.frames.shape and changed.audio.shape == clip.audio.shape
    assert changed.frames.dtype == np.uint8 and changed.audio.dtype == np.float32
    again = augment(clip, rng(4), only)
    np.testing.assert_array_equal(again.frames, changed.frames)
    np.testing.assert_array_equal(again.audio, changed.audio)


def test_a_mirrored_face_keeps_its_landmarks_on_its_eyes(clip):
    flipped = augment(clip, rng(), replace(NO_AUGMENTATION, flip=1.0))
    assert (flipped.landmarks[:, 0, 0] < flipped.landmarks[:, 1, 0]).all(), "the left point is still left"
    np.testing.assert_allclose(flipped.landmarks[:, 0], (160, 0) + clip.landmarks[:, 1] * (-1, 1), atol=1e-4)


def test_codecs_leave_the_voice_on_the_clock(clip):
    """MP3, Vorbis and Opus pad the beginning: a delay of 70 ms would look like a shifted voice."""
    for seed in range(12):
        heard = _voice_codec(clip.audio, rng(seed), 16000)
        score = np.fft.irfft(np.fft.rfft(clip.audio, 2**17) * np.conj(np.fft.rfft(heard, 2**17)))
        lag = int(score.argmax())
        assert min(lag, 2**17 - lag) <= 8, "within half a millisecond"


def test_the_drawn_changes_do_not_depend_on_the_window(clip):
    """Real and forged windows must meet the same changes: the draw may not look at the pixels."""
    options = replace(NO_AUGMENTATION, zoom=0.5, zoom_max=0.08, flip=0.5, grey=0.5)
    other = replace(clip, frames=255 - clip.frames)
    for seed in range(8):
        one, two = augment(clip, rng(seed), options), augment(other, rng(seed), options)
        np.testing.assert_array_equal(one.landmarks, two.landmarks)


@pytest.mark.parametrize("name", SWITCHES)
def test_probabilities_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be in"):
        AugmentOptions(**{name: 1.5})


def _unchanged(clip, generator, donor):
    """An 'identity forgery': takes the forgeries' path and changes nothing."""
    return clip.frames.copy(), clip.video_mask.copy()


def _probe_features(clip):
    """What a compression or resampling trace would show in: the spectrum of the residual, and coarse statistics."""
    luma = clip.frames[::2].mean(axis=-1)
    residual = (
        luma[:, 1:-1, 1:-1] - (luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]) / 4
    )
    power = np.abs(np.fft.rfft2(residual[:, 15:143, 15:143])) ** 2
    power = np.log(power.mean(axis=0) + 1e-3)
    bands = [power[:64].reshape(8, 8, 65)[..., :64].reshape(8, 8, 8, 8).mean(axis=(1, 3)).ravel()]
    moves = np.abs(np.diff(clip.frames.astype(np.float32), axis=0)).mean()
    voice = np.log(np.abs(stft(clip.audio)).mean(axis=0)[:256].reshape(16, 16).mean(axis=1) + 1e-6)
    return np.concatenate([*bands, voice, [luma.mean(), luma.std(), moves, clip.audio.std()]])


def _probe_auc(cache, mix, windows=160):
    """Cross-validated AUC of a linear probe that tells forged windows from real ones, after the codecs alone."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    codecs = replace(NO_AUGMENTATION, codec=1.0, voice_codec=1.0)
    data = TrainingWindows(
        cache, WindowOptions(steps=6), TrainingOptions(seed=5, windows=windows, mix=mix, augmentation=codecs)
    )
    items = [data[i].labelled for i in range(windows)]
    features = np.stack([_probe_features(item.clip) for item in items])
    labels = np.array([item.label for item in items])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    scores = cross_val_predict(probe, features, labels, cv=5, method="predict_proba")[:, 1]
    return roc_auc_score(labels, scores)


def test_the_round_trip_alone_tells_a_probe_nothing(cache_folder, monkeypatch):
    """Forged windows once had a codec pass that real ones lacked: the probe then found the codec, not the forgery.

    The second half is the control: on a true forgery of the same windows the same probe is well above chance.
    """
    cache = TrackCache(cache_folder)
    forgery = Mix(streams={"video": 1}, visual={"resynthesis": 1}, partial=0.0)
    assert _probe_auc(cache, forgery) > 0.66
    monkeypatch.setitem(VISUAL, "resynthesis", _unchanged)
    assert _probe_auc(cache, forgery) < 0.6  # cross-validation of pure noise comes out at or below one half
