import errno
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from modeling_macbdf.data import cache_reader
from modeling_macbdf.data.augmentation import NO_AUGMENTATION
from modeling_macbdf.data.balance import track_weights
from modeling_macbdf.data.cache import shard_files
from modeling_macbdf.data.cache_reader import TrackCache
from modeling_macbdf.data.clips import IGNORE
from modeling_macbdf.data.collate import WindowCollator
from modeling_macbdf.data.dataset import (
    EvaluationWindows,
    TrainingOptions,
    TrainingWindows,
    WindowOptions,
)
from modeling_macbdf.data.dubbing import dub
from modeling_macbdf.data.pseudofakes import VISUAL, Mix
from modeling_macbdf.data.records import ClipRecord, real_record
from modeling_macbdf.data.windows import label_window, window_starts
from modeling_macbdf.media.audio import read_audio
from modeling_macbdf.windows import WindowBuilder

QUICK = Mix(streams={"video": 1, "mismatch": 1}, visual={"freeze_or_splice": 1})


@pytest.fixture(scope="module")
def cache(cache_folder):
    return TrackCache(cache_folder)


def options(**changes):
    return TrainingOptions(**{"seed": 1, "mix": QUICK, "augmentation": NO_AUGMENTATION, "windows": 12, **changes})


def identity(batch):
    return batch


@pytest.mark.parametrize(("steps", "length", "hop"), [(5, 16, 8), (16, 16, 8), (17, 16, 8), (40, 16, 8), (41, 16, 5)])
def test_windows_are_those_of_inference(steps, length, hop):
    builder = WindowBuilder(length=length, hop=hop)
    found = [w for k in range(steps) if (w := builder.push(0, k, np.zeros((1, 1, 3), np.uint8)))]
    found += builder.finish_before()
    assert window_starts(steps, length, hop) == [w.first_step for w in found]


def test_evaluation_windows_lie_on_the_models_clock(cache, talking_files):
    windows = EvaluationWindows(cache)
    item = next(windows[i] for i in range(len(windows)) if windows.index[i][0].record.key == talking_files[0].key)
    steps = item.first_s * 5
    assert steps == pytest.approx(round(steps), abs=1e-6)
    heard = read_audio(talking_files[0].path).samples
    start = round(item.first_s * 16000)
    np.testing.assert_allclose(item.labelled.clip.audio, heard[start : start + 51200], atol=2e-6)


def test_crops_and_sound_stay_together_at_every_phase(cache, talking_files):
    entry = next(e for e in cache.entries if e.record.key == talking_files[0].key)
    heard = np.pad(read_audio(talking_files[0].path).samples, (0, 51200))
    for start in (entry.first, entry.first + 1, entry.first + 5):
        clip = cache.read(entry, start, 8)
        first = round((start + 0.5) / 15 * 16000) - 1600
        inside = slice(max(0, -first), None)
        np.testing.assert_allclose(clip.audio[inside], heard[max(0, first) : first + 8 * 3200], atol=2e-6)
        np.testing.assert_array_equal(clip.frames[1], cache.read(entry, start + 3, 8).frames[0])


def test_steps_beyond_the_track_are_masked(cache):
    entry = cache.entries[0]
    clip = cache.read(entry, entry.first + entry.instants - 4, 16)
    np.testing.assert_array_equal(clip.video_mask, np.arange(16) < 2)
    assert clip.frames[2:].max() == 0


def test_items_depend_on_seed_epoch_and_index_only(cache):
    windows = TrainingWindows(cache, training=options())
    first = [windows[i] for i in range(6)]
    for i in reversed(range(6)):
        np.testing.assert_array_equal(windows[i].labelled.clip.frames, first[i].labelled.clip.frames)
        assert windows[i].labelled.kind == first[i].labelled.kind
    windows.set_epoch(1)
    changed = [windows[i].first_s != first[i].first_s or windows[i].record != first[i].record for i in range(6)]
    assert sum(changed) >= 3


def test_the_number_of_workers_changes_nothing_and_they_see_the_epoch(cache):
    windows = TrainingWindows(cache, training=options(windows=6))
    loader = DataLoader(windows, batch_size=None, num_workers=2, persistent_workers=True, collate_fn=identity)
    for epoch in (0, 1):
        windows.set_epoch(epoch)
        for i, item in enumerate(loader):
            np.testing.assert_array_equal(item.labelled.clip.frames, windows[i].labelled.clip.frames)
            np.testing.assert_array_equal(item.labelled.clip.audio, windows[i].labelled.clip.audio)


def test_a_pair_is_one_window_real_and_forged_and_differs_in_the_forgery_alone(cache):
    only_voice = Mix(streams={"audio": 1})
    windows = TrainingWindows(cache, training=options(windows=8, paired=True, mix=only_voice))
    for i in range(0, 8, 2):
        real, forged = windows[i], windows[i + 1]
        assert (real.record, real.first_s) == (forged.record, forged.first_s)
        assert (real.labelled.label, forged.labelled.label) == (0, 1)
        np.testing.assert_array_equal(real.labelled.clip.frames, forged.labelled.clip.frames)
        assert not np.array_equal(real.labelled.clip.audio, forged.labelled.clip.audio)


def test_about_half_of_the_windows_are_forged_and_sources_balanced(cache):
    windows = TrainingWindows(cache, training=options(windows=90, mix=Mix(streams={"mismatch": 1})))
    items = [windows[i] for i in range(90)]
    sources = Counter(item.record.source for item in items)
    assert 28 <= sources["source1"] <= 62, "one clip of source1 weighs as much as the two of source0"
    voiced = [item for item in items if item.record.source == "source1"]
    assert 0.3 < np.mean([item.labelled.label for item in voiced]) < 0.7


def test_without_balance_each_track_comes_once_an_epoch(cache):
    windows = TrainingWindows(cache, training=options(windows=None, balance="none"))
    assert sorted(windows[i].record.path for i in range(len(windows))) == sorted(e.record.path for e in cache.entries)


def test_fakes_on_disk_are_never_forged_again(cache_folder, talking_files):
    fakes = [replace(r, label=1, video_label=1, audio_label=None, generator="x") for r in talking_files]
    windows = TrainingWindows(TrackCache(cache_folder, fakes), training=options(fake_share=1.0))
    for i in range(6):
        labelled = windows[i].labelled
        assert (labelled.label, labelled.video_label, labelled.audio_label) == (1, 1, IGNORE)
        assert labelled.kind == "x"


@pytest.mark.parametrize(("kind", "places"), [("face_transplant", {0, 1, 2}), ("other_voice", {0, 1})])
def test_a_donor_is_found_among_many_fakes_and_has_what_the_kind_takes(cache_folder, talking_files, kind, places):
    """Donors were once looked for among the fakes too, and among silent clips for a voice: mostly none was found."""
    cache = TrackCache(cache_folder)
    fakes = [
        replace(entry, record=replace(entry.record, path=f"/{number}", label=1, identities=()))
        for entry in cache.entries
        for number in range(20)
    ]
    cache.entries = [*cache.entries, *fakes]
    windows = TrainingWindows(cache, WindowOptions(steps=4), options())
    entries = {entry.record.path: entry for entry in cache.entries}
    taken, read = set(), cache.read
    cache.read = lambda entry, *of: taken.add(entry.record.path) or read(entry, *of)
    for record in talking_files:
        for seed in range(6):
            donor = windows._donor(entries[record.path], kind, np.random.default_rng(seed))
            assert donor is not None and (donor.has_video if kind in VISUAL else len(donor.whole_audio))
    assert taken == {talking_files[place].path for place in places}


def test_a_set_without_donors_has_none(cache_folder, talking_files):
    windows = TrainingWindows(TrackCache(cache_folder, talking_files[2:]), training=options())
    assert windows._donor(windows.entries[0], "other_voice", np.random.default_rng(0)) is None


def test_silence_at_the_ends_is_left_out_in_training(cache):
    entry = next(e for e in cache.entries if e.sounding)
    loud = replace(entry, sounding=(24000, 48000))
    windows = TrainingWindows(cache, WindowOptions(steps=4), options())
    span = windows._sounding_span(loud)
    assert span == (22 + (24000 * 15 % 16000 > 0), 45)
    for seed in range(20):
        start = windows._random_start(loud, np.random.default_rng(seed))
        assert span[0] <= start and start + 3 * 3 < span[1]


def test_records_given_beside_a_cache_replace_its_labels(cache_folder, talking_files):
    fake = ClipRecord(talking_files[1].path, 1, 1, 0, "swap")
    cache = TrackCache(cache_folder, [fake])
    assert [entry.record for entry in cache.entries] == [fake]
    with pytest.raises(ValueError, match="has none of them"):
        TrackCache(cache_folder, [real_record("/other.mp4")])


def test_segments_become_step_labels_and_windows_outside_them_are_real(clip):
    record = ClipRecord("a.mp4", 1, 0, 1, video_segments_s=(), audio_segments_s=((1.0, 1.3),))
    inside, outside = label_window(record, clip, 0.0, 0.2), label_window(record, clip, 2.0, 0.2)
    np.testing.assert_array_equal(np.flatnonzero(inside.audio_frame_labels), [5, 6])
    np.testing.assert_array_equal(inside.frame_labels, inside.audio_frame_labels)
    assert (inside.label, inside.video_label, inside.audio_label) == (1, 0, 1)
    assert (outside.label, outside.video_label, outside.audio_label) == (0, 0, 0)


def test_unknown_streams_give_no_labels(clip):
    labelled = label_window(ClipRecord("a.mp4", 1), clip, 0.0, 0.2)
    assert (labelled.label, labelled.video_label, labelled.audio_label) == (1, IGNORE, IGNORE)
    assert (labelled.frame_labels == 1).all() and (labelled.video_frame_labels == IGNORE).all()
    hidden = label_window(ClipRecord("a.mp4", None), clip, 0.0, 0.2)
    assert hidden.label == IGNORE and (hidden.frame_labels == IGNORE).all()


def test_segments_of_one_stream_alone_do_not_make_a_fake_clip_real(clip):
    record = ClipRecord("a.mp4", 1, 0, None, video_segments_s=())
    labelled = label_window(record, clip, 0.0, 0.2)
    assert labelled.label == IGNORE and (labelled.frame_labels == IGNORE).all()
    silent = replace(clip, audio_mask=np.zeros(clip.steps, bool))
    assert label_window(record, silent, 0.0, 0.2).label == 0, "all that is there is real"


def test_real_clips_are_in_step_and_dubbed_ones_are_not(clip):
    """The model's convention, from data to batch: 1 = in step. It was once the other way round here."""
    real = label_window(ClipRecord("a.mp4", 0, 0, 0), clip, 0.0, 0.2)
    both = clip.video_mask & clip.audio_mask
    np.testing.assert_array_equal(real.sync_labels, np.where(both, 1, IGNORE))
    np.testing.assert_array_equal(dub(real, real).sync_labels, np.where(both, 0, IGNORE))


def test_balance_within_a_label():
    records = [real_record(str(i), source="a" if i < 3 else "b") for i in range(4)]
    records += [ClipRecord(f"f{i}", 1, source="c") for i in range(6)]
    weights = track_weights(records, "label_source")
    np.testing.assert_allclose(weights, [1 / 12] * 3 + [1 / 4] + [1 / 12] * 6)


def test_a_batch_is_named_as_the_models_arguments(cache):
    from modeling_macbdf.processing_macbdf import MACBDFProcessor

    windows = TrainingWindows(cache, training=options())
    items = [windows[i] for i in range(4)]
    voiceless = next(item for i in range(40) if not (item := windows[i]).labelled.clip.audio_mask.any())
    batch = WindowCollator(MACBDFProcessor(), sync=True)([*items, voiceless])
    assert batch["pixel_values"].shape == (5, 16, 3, 160, 160)
    assert batch["input_features"].shape[0] == 5
    assert batch["labels"].tolist() == [item.labelled.label for item in [*items, voiceless]]
    assert not batch["audio_mask"][4].any() and batch["video_mask"][4].any()
    assert batch["audio_labels"][4] == IGNORE
    for name in ("frame_labels", "video_frame_labels", "audio_frame_labels", "sync_labels"):
        assert batch[name].shape == (5, 16) and batch[name].dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "words"), [({"balance": "age"}, "balance must"), ({"fake_share": 2}, "fake_share")]
)
def test_impossible_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        TrainingOptions(**changes)


def test_a_damaged_shard_is_named_with_what_to_do(cache_folder, tmp_path):
    shutil.copytree(cache_folder, tmp_path / "cache")
    shard = next((tmp_path / "cache").glob("tracks-*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=f"{shard.name} is no readable shard .* run `macbdf preprocess` again"):
        TrackCache(tmp_path / "cache")
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    shard.write_bytes(whole[:-footer] + b"\xff" * 50 + whole[50 - footer :])
    with pytest.raises(ValueError, match="is no readable shard of a cache"):
        TrackCache(tmp_path / "cache")


def test_a_file_that_the_system_does_not_open_is_not_called_damaged(cache_folder, monkeypatch):
    """With 1024 files open the advice was once to delete a good shard."""

    def refuse(*of, **more):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(pq, "ParquetFile", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        TrackCache(cache_folder)


def test_only_some_shards_stay_open(cache_folder, tmp_path, monkeypatch):
    """All of them did, until the system opened no more."""
    shutil.copytree(cache_folder, tmp_path / "cache")
    (shard,) = shard_files(cache_folder)
    for number in range(6):
        shutil.copy(shard, tmp_path / f"cache/tracks-0000-of-0001-{number:05d}.parquet")
    monkeypatch.setattr(cache_reader, "OPEN_SHARDS", 2)
    cache = TrackCache(tmp_path / "cache", main_track=False)
    first = [entry for entry in cache.entries if entry.record == cache.entries[0].record]
    assert len(first) == 6
    pictures = [cache.read(entry, entry.first, 2).frames for entry in (*first, *first[::-1])]
    assert len(cache._files) == 2
    assert all(np.array_equal(picture, pictures[0]) for picture in pictures)


def test_a_cache_of_an_older_version_with_one_column_more_is_read(cache_folder, tmp_path):
    """Until 2026-11-28 a row told what the file declares, and nothing read it."""
    shutil.copytree(cache_folder, tmp_path / "cache")
    (shard,) = shard_files(tmp_path / "cache")
    table = pq.read_table(shard)
    assert "info" not in table.column_names
    table = table.append_column("info", [["{}"] * len(table)])
    pq.write_table(table, shard, row_group_size=1)
    old, new = TrackCache(tmp_path / "cache"), TrackCache(cache_folder)
    assert [entry.record for entry in old.entries] == [entry.record for entry in new.entries]
    clips = [cache.read(cache.entries[0], cache.entries[0].first, 4) for cache in (old, new)]
    np.testing.assert_array_equal(clips[0].frames, clips[1].frames)
