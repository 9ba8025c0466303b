"""Real pictures under other voices."""

from dataclasses import replace

import numpy as np
import pytest

from modeling_macbdf.data.augmentation import NO_AUGMENTATION
from modeling_macbdf.data.cache_reader import TrackCache
from modeling_macbdf.data.clips import IGNORE
from modeling_macbdf.data.dataset import TrainingOptions, TrainingWindows, WindowOptions
from modeling_macbdf.data.dubbing import DubbedWindows
from modeling_macbdf.data.pseudofakes import Mix


def windows(cache_folder, records, steps=4, paired=True, **changes):
    options = TrainingOptions(
        seed=1, windows=20, paired=paired, recorded_share=1.0, balance="none", augmentation=NO_AUGMENTATION,
        mix=Mix(streams={"video": 1}, visual={"freeze_or_splice": 1}), **changes,
    )  # fmt: skip
    return TrainingWindows(TrackCache(cache_folder, records), WindowOptions(steps=steps), options)


@pytest.fixture
def voices(talking_files):
    """A real voice, and a synthetic one of the same source."""
    synthetic = {"label": 1, "video_label": None, "audio_label": 1, "generator": "vocoder"}
    return [
        replace(talking_files[0], source="page"),
        replace(talking_files[1], source="page", **synthetic),
    ]


def test_both_halves_show_one_real_picture_and_the_second_has_the_synthetic_voice(cache_folder, talking_files, voices):
    pictures, spoken = windows(cache_folder, talking_files[2:]), windows(cache_folder, voices)
    dubbed = DubbedWindows(pictures, spoken)
    assert len(dubbed) == 20
    for index in range(0, 20, 2):
        real, fake = dubbed[index].labelled, dubbed[index + 1].labelled
        np.testing.assert_array_equal(real.clip.frames, pictures[index].labelled.clip.frames)
        np.testing.assert_array_equal(fake.clip.frames, real.clip.frames)
        np.testing.assert_array_equal(real.clip.audio, spoken[index].labelled.clip.audio)
        np.testing.assert_array_equal(fake.clip.audio, spoken[index + 1].labelled.clip.audio)
        assert (real.label, real.video_label, real.audio_label) == (0, 0, 0)
        assert (fake.label, fake.video_label, fake.audio_label) == (1, 0, 1)
        assert set(fake.frame_labels[fake.clip.audio_mask]) == {1}


def test_a_voice_of_unknown_make_leaves_the_clip_unknown(cache_folder, talking_files, voices):
    unknown = [voices[0], replace(voices[1], audio_label=None)]
    dubbed = DubbedWindows(windows(cache_folder, talking_files[2:]), windows(cache_folder, unknown))
    assert (dubbed[1].labelled.label, dubbed[1].labelled.audio_label) == (IGNORE, IGNORE)


@pytest.mark.parametrize("changes", [{"steps": 5}, {"paired": False}])
def test_windows_that_do_not_fit_are_refused(cache_folder, talking_files, voices, changes):
    with pytest.raises(ValueError, match="must be paired windows of one length"):
        DubbedWindows(windows(cache_folder, talking_files[2:]), windows(cache_folder, voices, **changes))


def test_the_epoch_reaches_both(cache_folder, talking_files, voices):
    dubbed = DubbedWindows(windows(cache_folder, talking_files[:2]), windows(cache_folder, voices))
    dubbed.set_epoch(3)
    assert (dubbed.epoch, dubbed.voices.epoch) == (3, 3)
