import json
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from modeling_macbdf.data import preprocess as preprocessing
from modeling_macbdf.data.cache import (
    CacheSettings,
    decode_audio,
    decode_crop,
    encode_crop,
    read_outcomes,
    shard_files,
)
from modeling_macbdf.data.cache_reader import TrackCache, covered_steps
from modeling_macbdf.data.clips import CANONICAL_LANDMARKS
from modeling_macbdf.data.dataset import TrainingOptions, TrainingWindows, WindowOptions
from modeling_macbdf.data.photos import photo_frames
from modeling_macbdf.data.preprocess import preprocess
from modeling_macbdf.data.records import real_record
from modeling_macbdf.data.sharding import in_share, parse_shard
from modeling_macbdf.media.audio import Audio, read_audio
from modeling_macbdf.media.decode import iter_frames
from modeling_macbdf.media.faces import CenterFaceDetector, Face
from modeling_macbdf.media.outcomes import MediaError
from modeling_macbdf.media.tracks import extract_tracks
from modeling_macbdf.media.write import write_clip


class NoFaces:
    """A detector that looks and finds nothing: quick."""

    def detect(self, rgb):
        return []


def rows_of(folder):
    return [row for path in shard_files(folder) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def broken_files(tmp_path, place):
    """Records of files that fail in different ways, and one that works."""
    (tmp_path / "text.mp4").write_text("no media at all")
    good = place(tmp_path / "good.mp4")
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:600])
    names = ("good", "text", "cut", "gone")
    return [real_record(str(tmp_path / f"{name}.mp4"), row=i) for i, name in enumerate(names)]


def test_the_models_own_steps_are_those_of_inference_bit_for_bit(talking_files, cache_folder):
    record = talking_files[0]
    (track,) = extract_tracks(iter_frames(record.path, 5.0), CenterFaceDetector())
    (row,) = [row for row in rows_of(cache_folder) if row["key"] == record.key]
    steps = np.array(row["steps"])
    np.testing.assert_array_equal(np.diff(steps), 1)
    own = np.flatnonzero(steps % 3 == 1)
    np.testing.assert_array_equal((steps[own] - 1) // 3, track.steps)
    for place, crop in zip(own, track.crops, strict=True):
        np.testing.assert_array_equal(decode_crop(row["crops"][place]), crop)
    landmarks = np.array(row["landmarks"], np.float32).reshape(-1, 5, 2)
    np.testing.assert_array_equal(landmarks[own], track.landmarks)


def test_the_cached_sound_is_the_files_sound(talking_files, cache_folder):
    (row,) = [row for row in rows_of(cache_folder) if row["key"] == talking_files[0].key]
    heard = read_audio(talking_files[0].path)
    np.testing.assert_allclose(decode_audio(row["audio"]), heard.samples.clip(-1, 1), atol=2e-6)
    np.testing.assert_allclose(decode_audio(row["audio"], 1000, 1500), heard.samples[1000:1500], atol=2e-6)
    first, last = row["sounding"]
    assert np.abs(heard.samples[:first]).max(initial=0) <= 5e-4 < np.abs(heard.samples[first])
    assert np.abs(heard.samples[last:]).max(initial=0) <= 5e-4


def test_a_silent_file_is_cached_and_says_so(talking_files, cache_folder):
    outcomes = {o.key: o for o in read_outcomes(cache_folder)}
    assert [outcomes[r.key].status for r in talking_files] == ["cached", "cached", "no_audio"]
    assert outcomes[talking_files[2].key].reason == "the file has no audio stream"
    assert all(o.tracks == 1 and o.crops > 40 for o in outcomes.values())


def test_every_failure_is_an_outcome_with_its_type(broken_files, tmp_path):
    summary = preprocess(broken_files, tmp_path / "cache", detector=NoFaces())
    assert summary["by_status"] == {"missing": 1, "no_face": 1, "not_media": 1, "undecodable": 1}
    assert {item["row"] for item in summary["not_whole"]} == {0, 1, 2, 3}
    assert (summary.pop("done"), summary.pop("relabelled")) == ("4 of 4 clips of the list", 0)
    assert json.loads((tmp_path / "cache/summary.json").read_text()) == summary
    (row,) = rows_of(tmp_path / "cache")
    assert row["track"] == -1 and row["audio_samples"] > 6000, "the voice of a clip without a face is kept"


def test_our_own_fault_is_counted_and_tried_again(broken_files, tmp_path):
    class Faulty:
        def detect(self, rgb):
            raise KeyError("oops")

    first = preprocess(broken_files[:1], tmp_path / "cache", detector=Faulty())
    assert first["not_whole"][0]["reason"] == "KeyError: 'oops'"
    again = preprocess(broken_files[:1], tmp_path / "cache", detector=NoFaces())
    assert again["by_status"] == {"no_face": 1}


def test_a_broken_run_goes_on_where_it_stopped(broken_files, tmp_path, monkeypatch):
    monkeypatch.setattr(preprocessing, "SHARD_CLIPS", 2)
    seen = []

    class Stops(NoFaces):
        def detect(self, rgb):
            raise KeyboardInterrupt

    order = [*broken_files[1:], broken_files[0]]
    with pytest.raises(KeyboardInterrupt):
        preprocess(order, tmp_path / "cache", detector=Stops())
    assert len(read_outcomes(tmp_path / "cache")) == 3
    real = preprocessing.process_clip
    monkeypatch.setattr(preprocessing, "process_clip", lambda record, *a: seen.append(record) or real(record, *a))
    preprocess(order, tmp_path / "cache", detector=NoFaces())
    assert seen == [broken_files[0]]
    assert len(read_outcomes(tmp_path / "cache")) == 4
    assert not list((tmp_path / "cache").glob(".*")), "no temporary file is left"


def test_shards_of_machines_make_one_whole(broken_files, tmp_path):
    for i in range(3):
        preprocess(broken_files, tmp_path / "cache", shard=(i, 3), detector=NoFaces())
    assert len(read_outcomes(tmp_path / "cache")) == 4
    assert sum(len(pq.read_table(path)) for path in shard_files(tmp_path / "cache")) == 1


def test_machines_with_the_data_in_different_places_share_every_clip_once():
    """A share once followed from the path as it was typed: of 1000 clips 268 were done twice and 259 never."""
    places = [f"set/{kind}/{number}.mp4" for kind in ("real", "fake") for number in range(500)]
    shares = [in_share([f"/{top}/{place}" for place in places], (i, 2)) for i, top in enumerate(("data", "mnt/b/d"))]
    assert all(one != two for one, two in zip(*shares, strict=True))
    assert 400 < sum(shares[0]) < 600
    assert in_share([], (0, 2)) == [] and in_share(["/data/a.mp4"], (0, 1)) == [True]


def test_the_summary_tells_how_much_of_the_list_is_done(broken_files, tmp_path):
    shares = [preprocess(broken_files, tmp_path / "cache", shard=(i, 3), detector=NoFaces()) for i in range(3)]
    told = [int(share["done"].removesuffix(" of 4 clips of the list")) for share in shares]
    assert told[0] < 4 == told[2] and sorted(told) == told


def records_in(folder):
    return [entry.record for entry in TrackCache(folder).entries]


def test_a_corrected_list_reaches_an_existing_cache(broken_files, tmp_path):
    """Clips that were cached counted as done, and training went on with the label that was stored first."""
    folder, wrong = tmp_path / "cache", replace(broken_files[0], label=None, video_label=None, audio_label=None)
    preprocess([wrong, *broken_files[1:]], folder, detector=NoFaces())
    assert records_in(folder) == [wrong]
    fake = replace(wrong, label=1, audio_label=1, split="train", identities=("p",), row=9)
    assert preprocess([fake, *broken_files[1:]], folder, detector=NoFaces())["relabelled"] == 1
    assert records_in(folder) == [fake]
    assert TrackCache(folder, keep=lambda record: record.label == 1).entries
    assert [entry.record for entry in TrackCache(folder, [wrong]).entries] == [wrong], "a list given beside it wins"
    assert preprocess([fake], folder, detector=NoFaces())["relabelled"] == 0
    assert preprocess([broken_files[0]], folder, shard=(0, 1), detector=NoFaces())["relabelled"] == 1
    assert records_in(folder) == [broken_files[0]], "the last word holds, also where it is the first one again"
    assert len(list(folder.glob("records-*.jsonl"))) == 2


def test_a_line_that_moved_in_the_list_is_no_correction(broken_files, tmp_path):
    preprocess(broken_files, tmp_path / "cache", detector=NoFaces())
    moved = [replace(record, row=record.row + 1) for record in broken_files]
    assert preprocess(moved, tmp_path / "cache", detector=NoFaces())["relabelled"] == 0
    assert not list((tmp_path / "cache").glob("records-*"))


def test_a_clip_that_is_made_again_has_the_record_of_the_last_list(broken_files, tmp_path):
    """A correction of the shard that was deleted must not outlive it."""
    folder, record = tmp_path / "cache", broken_files[0]
    for source in ("first", "second"):
        preprocess([replace(record, source=source)], folder, detector=NoFaces())
    shard_files(folder)[0].unlink()
    preprocess([replace(record, source="third")], folder, detector=NoFaces())
    assert [found.source for found in records_in(folder)] == ["third"]


def test_each_share_corrects_its_own_clips(tmp_path, place):
    folder, clips = tmp_path / "cache", [real_record(str(place(tmp_path / f"{i}.mp4"))) for i in range(6)]
    preprocess(clips, folder, detector=NoFaces())
    named = [replace(record, source="web") for record in clips]
    counts = [preprocess(named, folder, shard=(i, 2), detector=NoFaces())["relabelled"] for i in (0, 1)]
    assert sum(counts) == 6 and min(counts) > 0
    assert {record.source for record in records_in(folder)} == {"web"}


def test_a_file_that_ends_early_is_cached_and_says_so(tmp_path):
    """Half a film was once cached without a word."""
    noise = np.random.default_rng(0).integers(0, 60, (100, 96, 96, 3))  # every second of film is equally large
    frames = (noise + 2 * np.arange(96)[:, None]).astype(np.uint8)
    write_clip(tmp_path / "whole.mkv", frames, 25.0, 0.3 * np.sin(np.arange(64000) / 8))
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])

    class OneFace:
        def detect(self, rgb):
            box = np.array([20, 20, 76, 76], np.float32)
            return [Face(box, 0.9, box[:2] + CANONICAL_LANDMARKS * 56)]

    clips = [real_record(str(tmp_path / name)) for name in ("whole.mkv", "cut.mkv")]
    summary = preprocess(clips, tmp_path / "cache", detector=OneFace())
    assert summary["by_status"] == {"cached": 2} and summary["cached_with_warning"] == 1
    (cut,) = summary["not_whole"]
    assert (cut["path"], cut["status"]) == (clips[1].path, "cached")
    for stream in ("video", "audio"):
        assert f"the {stream} ends at 1.9" in cut["reason"] and "the file declares 4.0" in cut["reason"]


def test_a_clip_that_was_tried_again_has_its_last_outcome_whatever_the_shard(broken_files, tmp_path, monkeypatch):
    """Shards are read in order of name, and those of one machine come first."""
    folder, clips = tmp_path / "cache", broken_files[:1]
    with monkeypatch.context() as broken:
        broken.setattr(preprocessing, "process_clip", lambda record, *_: preprocessing._crashed(record))
        for number in range(2):
            preprocess(clips, folder, shard=(number, 2), detector=NoFaces())
    assert [outcome.status for outcome in read_outcomes(folder)] == ["internal_error"]
    preprocess(clips, folder, detector=NoFaces())
    assert [outcome.status for outcome in read_outcomes(folder)] != ["internal_error"]


def test_work_that_a_broken_pool_refuses_is_done_one_by_one(broken_files, tmp_path, monkeypatch):
    """A worker may die while its results are written: the next clip is then refused, not lost."""

    class Broken(ProcessPoolExecutor):
        def submit(self, *arguments):
            raise BrokenProcessPool("a worker died before")

    whole = preprocessing._pool
    pools = iter([Broken(1)])
    monkeypatch.setattr(preprocessing, "_pool", lambda *of: next(pools, None) or whole(*of))
    summary = preprocess(broken_files[:2], tmp_path / "cache", processes=2)
    assert summary["clips"] == 2


def test_two_processes_give_what_one_gives(broken_files, tmp_path):
    records = broken_files[:2]
    preprocess(records, tmp_path / "one")
    preprocess(records, tmp_path / "two", processes=2)
    one, two = ([replace(o, seconds=0) for o in read_outcomes(tmp_path / name)] for name in ("one", "two"))
    assert one == two
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")


def _die(record):
    os._exit(3)


def test_a_clip_that_kills_its_worker_is_named(broken_files, tmp_path, monkeypatch):
    """A segmentation fault in a decoder once took a whole pool down with it."""
    monkeypatch.setattr(preprocessing, "_work", _die)
    summary = preprocess(broken_files[:1], tmp_path / "cache", processes=2)
    assert summary["by_status"] == {"internal_error": 1}
    assert "died on this clip" in summary["not_whole"][0]["reason"]


def test_a_cache_keeps_its_settings(tmp_path, broken_files):
    preprocess([], tmp_path / "cache")
    with pytest.raises(ValueError, match=r"cache_rate_hz=15\.0 there, 5\.0 now"):
        preprocess(broken_files, tmp_path / "cache", CacheSettings(cache_rate_hz=5.0))
    with pytest.raises(ValueError, match=r"there is no .*settings\.json"):
        TrackCache(tmp_path)


@pytest.mark.parametrize("rate", [10.0, 12.0])
def test_rates_without_the_models_instants_are_refused(rate):
    with pytest.raises(ValueError, match="odd multiple"):
        CacheSettings(cache_rate_hz=rate)


def test_a_photograph_is_a_track_of_one_step_that_can_be_forged(tmp_path, talking_files):
    frame = next(iter(iter_frames(talking_files[0].path, 5.0)))
    Image.fromarray(frame.rgb).convert("L").save(tmp_path / "photo.png")
    preprocess([real_record(str(tmp_path / "photo.png"))], tmp_path / "cache")
    cache = TrackCache(tmp_path / "cache")
    windows = TrainingWindows(cache, WindowOptions(min_steps=1), TrainingOptions(fake_share=1.0))
    kinds = {windows[i].labelled.kind for i in range(12)}
    assert kinds <= {"self_blend", "face_transplant", "resynthesis"} and len(kinds) >= 2
    assert windows[0].labelled.clip.video_mask.tolist() == [True] + [False] * 15


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_is_turned_upright(tmp_path, suffix):
    """Telephones store pictures lying down, with a note: faces were then looked for in lying pictures."""
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise by a quarter
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 20:] = 255
    Image.fromarray(picture).save(tmp_path / f"photo.{suffix}", exif=turned)
    (frame,) = photo_frames(str(tmp_path / f"photo.{suffix}"), CacheSettings())
    assert frame.rgb.shape == (40, 20, 3)
    assert frame.rgb[:16].max() < 40 < 200 < frame.rgb[24:].min()


def test_a_photograph_with_broken_metadata_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png", exif=b"Exif\0\0no metadata")
    with pytest.raises(MediaError, match="undecodable: decoding the picture failed: not a TIFF file"):
        next(photo_frames(str(tmp_path / "photo.png"), CacheSettings()))


def test_crops_are_lossless_unless_jpeg_is_wished(clip):
    crop = clip.frames[0]
    np.testing.assert_array_equal(decode_crop(encode_crop(crop)), crop)
    lossy = decode_crop(encode_crop(crop, 90))
    assert 0 < np.abs(lossy.astype(int) - crop).mean() < 6


def test_which_steps_hold_sound_is_decided_as_at_inference():
    rng = np.random.default_rng(0)
    for _ in range(20):
        valid = np.sort(rng.choice(60000, 4, replace=False)).reshape(2, 2)
        expected = Audio(np.zeros(60000, np.float32), 16000, valid).step_mask(20)
        np.testing.assert_array_equal(covered_steps(valid, 3200 * 3, 16, 3200), expected[3:19])


@pytest.mark.parametrize("text", ["", "1", "2/2", "a/b", "-1/2"])
def test_malformed_shards_are_refused(text):
    with pytest.raises(ValueError, match="shard must read i/n"):
        parse_shard(text)
    assert parse_shard("1/2") == (1, 2)


def test_a_cache_by_relative_paths_is_not_filled_a_second_time(broken_files, tmp_path, monkeypatch):
    """The same clips under absolute paths came to stand beside the old ones, and were drawn twice."""
    monkeypatch.chdir(Path(broken_files[0].path).parent)
    relative = [replace(record, path=Path(record.path).name) for record in broken_files[:1]]
    preprocess(relative, tmp_path / "cache", detector=NoFaces())
    with pytest.raises(ValueError, match=r"folder must be a new one: .* holds 1 clips of the list by relative paths"):
        preprocess(broken_files[:1], tmp_path / "cache", detector=NoFaces())
