"""Real pictures under other voices."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from modeling_macbdf.data.augmentation import NO_AUGMENTATION
from modeling_macbdf.data.cache import CacheSettings, sound_columns, track_row, write_shard
from modeling_macbdf.data.cache_reader import TrackCache
from modeling_macbdf.data.clips import CANONICAL_LANDMARKS, IGNORE
from modeling_macbdf.data.dataset import TrainingOptions, TrainingWindows, WindowOptions
from modeling_macbdf.data.dubbing import DubbedWindows
from modeling_macbdf.data.pseudofakes import Mix
from modeling_macbdf.data.records import real_record
from modeling_macbdf.media.audio import Audio
from modeling_macbdf.media.tracks import FaceTrack
from modeling_macbdf.training.config import DataConfig
from modeling_macbdf.training.windows import build_data


def windows(cache_folder, records, steps=4, paired=True, seed=2, **changes):
    options = TrainingOptions(
        seed=seed, windows=20, paired=paired, recorded_share=1.0, balance="none", augmentation=NO_AUGMENTATION,
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
    pictures, spoken = windows(cache_folder, talking_files[2:], seed=1), windows(cache_folder, voices)
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
    dubbed = DubbedWindows(windows(cache_folder, talking_files[2:], seed=1), windows(cache_folder, unknown))
    assert (dubbed[1].labelled.label, dubbed[1].labelled.audio_label) == (IGNORE, IGNORE)


@pytest.mark.parametrize("changes", [{"steps": 5}, {"paired": False}])
def test_windows_that_do_not_fit_are_refused(cache_folder, talking_files, voices, changes):
    with pytest.raises(ValueError, match="must be paired windows of one length"):
        DubbedWindows(windows(cache_folder, talking_files[2:], seed=1), windows(cache_folder, voices, **changes))


def test_one_seed_for_both_is_refused(cache_folder, talking_files, voices):
    with pytest.raises(ValueError, match="must have seeds of their own, but both have 2"):
        DubbedWindows(windows(cache_folder, talking_files[2:]), windows(cache_folder, voices))


def test_sound_of_another_sampling_rate_is_refused(cache_folder, talking_files, voices):
    """It was once laid under the picture, and named by the rate of the picture's own sound."""
    spoken = windows(cache_folder, voices)
    spoken.settings = replace(spoken.settings, sampling_rate=8000)
    with pytest.raises(ValueError, match=r"one sampling_rate, but have \(16000, 8000\) Hz"):
        DubbedWindows(windows(cache_folder, talking_files[2:], seed=1), spoken)


def write_cache(folder, clips, track, sounds):
    """A cache without any media: one track for all clips, and a sound for each."""
    CacheSettings(crop_size=16).save(folder)
    rows = [track_row(clip, track, sound_columns(sound, 0.001)) for clip, sound in zip(clips, sounds, strict=True)]
    write_shard(folder / "tracks-0000-of-0001-00000.parquet", rows, [])


def test_a_picture_meets_many_voices(tmp_path):
    """Pictures and voices were once drawn by the same numbers: each picture met the one voice of its own rank."""
    steps = np.arange(10)
    face = FaceTrack(
        0, steps, steps / 15, np.tile(np.float32([0, 0, 9, 9]), (10, 1)),
        np.tile(CANONICAL_LANDMARKS * 16, (10, 1, 1)), np.zeros((10, 16, 16, 3), np.uint8),
        np.ones(10, bool), np.ones(10, np.float32),
    )  # fmt: skip
    seen = [real_record(f"/seen/{number}", split="train" if number else "dev") for number in range(21)]
    heard = [real_record(f"/heard/{number}") for number in range(20)]
    levels = np.arange(1, 21) / 40  # each voice is known by its level
    whole = np.array([[0, 32000]])
    voices = [Audio(np.full(32000, level, np.float32), 16000, whole) for level in levels]
    write_cache(tmp_path / "seen", seen, face, [None] * 21)
    write_cache(tmp_path / "heard", heard, None, voices)
    config = DataConfig(
        root=str(tmp_path), cache="seen", paired=True, windows=800, augment=False,
        sets=[{"cache": "seen", "voices": "heard", "window_steps": 4}],
    )  # fmt: skip
    model = SimpleNamespace(num_frames=4, sync_head=False, frame_rate_hz=5.0, sampling_rate=16_000)
    train = build_data(config, None, model, seed=0).train
    met: dict[str, set[int]] = {}
    for item in (train[index] for index in range(0, 800, 2)):
        met.setdefault(item.record.path, set()).add(round(40 * float(item.labelled.clip.audio.max())))
    assert len(met) == 20 and set.union(*met.values()) == set(range(1, 21))
    assert np.mean([len(some) for some in met.values()]) > 10, "of 20 voices, in 20 draws a picture"


def test_the_epoch_reaches_both(cache_folder, talking_files, voices):
    dubbed = DubbedWindows(windows(cache_folder, talking_files[:2], seed=1), windows(cache_folder, voices))
    dubbed.set_epoch(3)
    assert (dubbed.epoch, dubbed.voices.epoch) == (3, 3)
