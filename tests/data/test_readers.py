"""Each published layout, built on disk with real small clips, broken rows included, and read back."""

import csv
import json

import pytest

from modeling_macbdf.data.registry import READERS, read_dataset


def by_name(records, root):
    return {record.path.removeprefix(f"{root}/"): record for record in records}


def labels(record):
    return record.label, record.video_label, record.audio_label


@pytest.fixture
def fakeavceleb(tmp_path, place):
    root = tmp_path / "FakeAVCeleb_v1.2"
    header = ["source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "", "extra"]
    real, fake = "RealVideo-RealAudio/African/men/id00076", "FakeVideo-FakeAudio/Asian (East)/women/id00166"
    voice = "RealVideo-FakeAudio/African/men/id00076"
    swapped = "00109_10_id00476_wavtolip.mp4"
    rows = [
        ["id00076", "-", "-", "real", "A", "RealVideo-RealAudio", "African", "men", "00109.mp4",
         f"FakeAVCeleb/{real}", "x"],
        ["id00166", "id00076", "-", "fsgan-wav2lip", "D", "FakeVideo-FakeAudio", "Asian (East)", "women", swapped,
         f"FakeAVCeleb/{fake}", "x"],
        ["id00076", "-", "-", "rtvc", "B", "RealVideo-FakeAudio", "African", "men", "00109_fake.mp4",
         f"FakeAVCeleb/{voice}", "x"],
    ]  # fmt: skip
    for row in rows:
        place(root / row[9].removeprefix("FakeAVCeleb/") / row[8])
    missing = [*rows[0][:8], "gone.mp4", *rows[0][9:]]
    odd = [*rows[0][:5], "RealVideo", *rows[0][6:]]
    with (root / "meta_data.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows, rows[1], missing, odd, ["id00076"]])
    return root


def test_fakeavceleb(fakeavceleb):
    records, problems = read_dataset("fakeavceleb", fakeavceleb)
    assert [labels(r) for r in records] == [(0, 0, 0), (1, 1, 1), (1, 0, 1)]
    assert [r.generator for r in records] == ["", "fsgan + wav2lip + rtvc", "rtvc"]
    people = tuple(f"voxceleb2:{name}" for name in ("id00166", "id00076", "id00476"))
    assert records[1].identities == people, "the file's name holds a third person"
    assert [r.pair for r in records] == ["id00076/00109", "id00166/00109", "id00076/00109"]
    reasons = [(p.row, p.reason) for p in problems]
    assert [row for row, _ in reasons] == [5, 6, 7, 8]
    for (_, reason), words in zip(reasons, ("duplicate", "missing", "type must be", "number of fields"), strict=True):
        assert words in reason
    assert read_dataset("fakeavceleb", fakeavceleb.parent)[0] == records


def test_dfdc(tmp_path, place):
    for part, names in (("dfdc_train_part_0", ("a", "b")), ("dfdc_train_part_1", ("c",))):
        for name in names:
            place(tmp_path / part / f"{name}.mp4")
    entries = {
        "a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4", "extra": 1},
        "b.mp4": {"label": "REAL", "split": "train"},
        "gone.mp4": {"label": "REAL", "split": "train"},
        "odd.mp4": {"split": "train"},
        "odder.mp4": 3,
    }
    (tmp_path / "dfdc_train_part_0/metadata.json").write_text(json.dumps(entries))
    (tmp_path / "dfdc_train_part_1/metadata.json").write_text(json.dumps({"c.mp4": {"label": "REAL"}}))
    records, problems = read_dataset("dfdc", tmp_path)
    found = by_name(records, tmp_path)
    fake, real = found["dfdc_train_part_0/a.mp4"], found["dfdc_train_part_0/b.mp4"]
    assert labels(fake) == (1, None, None), "which stream is forged is not told"
    assert labels(real) == (0, 0, 0)
    assert fake.pair == real.pair == "b.mp4"
    assert len(records) == 3
    assert [p.row for p in problems] == [2, 3, 4]
    assert all("dfdc_train_part_0/metadata.json" in p.file for p in problems)
    with pytest.raises(ValueError, match=r"root must hold metadata\.json"):
        read_dataset("dfdc", place(tmp_path / "empty/x.mp4").parent)


def test_lavdf(tmp_path, place):
    common = {"n_fakes": 0, "fake_periods": [], "duration": 4.0, "original": None, "modify_video": False,
              "modify_audio": False, "split": "train", "video_frames": 100, "audio_channels": 1,
              "audio_frames": 64000}  # fmt: skip
    fake = {"n_fakes": 1, "fake_periods": [[1.0, 1.5]], "original": "000001.mp4", "modify_audio": True}
    rows = [
        {**common, "file": "test/000001.mp4", "split": "test", "extra": 1},
        {**common, **fake, "file": "test/000002.mp4", "split": "test"},
        {**common, **fake, "file": "test/000002.mp4"},
        {**common, "file": "dev/gone.mp4"},
        {**common, **fake, "file": "test/000001.mp4", "modify_audio": False},
        {"file": "test/000001.mp4"},
        {**common, **fake, "file": "test/000003.mp4", "original": "test/000001.mp4"},
    ]
    for row in (*rows[:2], rows[6]):
        place(tmp_path / row["file"])
    (tmp_path / "metadata.json").write_text(json.dumps(rows))
    (real, forged, other), problems = read_dataset("lavdf", tmp_path)
    assert real.pair == forged.pair == other.pair, "a name without its folder once tied no fake to its original"
    assert labels(real) == (0, 0, 0)
    assert labels(forged) == (1, 0, 1)
    assert (forged.video_segments_s, forged.audio_segments_s, forged.split) == ((), ((1.0, 1.5),), "test")
    assert [p.row for p in problems] == [2, 3, 4, 5]
    assert "'modify_video' is missing" in problems[3].reason


def test_av_deepfake1m(tmp_path, place):
    common = {"original": "id1/vid/00001/real.mp4", "video_frames": 80, "audio_frames": 51300}
    rows = [
        {**common, "file": "id1/vid/00001/real.mp4", "split": "train", "modify_type": "real", "audio_model": None,
         "fake_segments": [], "audio_fake_segments": [], "visual_fake_segments": [], "original": None},
        {**common, "file": "id1/vid/00001/fake_video_fake_audio.mp4", "split": "train", "modify_type": "both_modified",
         "audio_model": "vits", "fake_segments": [[0.2, 0.9]], "audio_fake_segments": [[0.2, 0.8]],
         "visual_fake_segments": [[0.3, 0.9]], "extra": 0},
        {**common, "file": "id1/vid/00002/real.mp4", "split": "train", "modify_type": "real"},
        {**common, "file": "id1/vid/00001/real.mp4", "split": "train", "modify_type": "odd"},
    ]  # fmt: skip
    rows.insert(2, dict(rows[1]))
    place(tmp_path / "train" / rows[0]["file"])
    place(tmp_path / rows[1]["file"])
    place(tmp_path / "test/000001.mp4")
    (tmp_path / "train_metadata.json").write_text(json.dumps(rows))
    (real, fake, hidden), problems = read_dataset("av_deepfake1m", tmp_path, unlabelled="test")
    assert labels(real) == (0, 0, 0)
    assert labels(fake) == (1, 1, 1)
    assert (fake.video_segments_s, fake.audio_segments_s) == (((0.3, 0.9),), ((0.2, 0.8),))
    assert (fake.generator, fake.identities) == ("visual_modified + vits", ("voxceleb2:id1",))
    assert fake.pair == real.pair
    assert labels(hidden) == (None, None, None)
    assert [(p.row, p.reason.split(" ")[0]) for p in problems] == [(2, "duplicate"), (3, "the"), (4, "modify_type")]


def test_av_deepfake1m_plus_plus(tmp_path, place):
    """Its folders of corpora once were the people, its doubled folders hid every file, its reals were no originals."""
    clip, silent = "vox_celeb_2/id00830/vid/00001", "silent_videos/subject_17_hash_vid_2_6"
    segments = {"fake_segments": [[0.1, 0.2]], "audio_fake_segments": [[0.1, 0.2]],
                "visual_fake_segments": [[0.1, 0.2]]}  # fmt: skip
    listed = [
        (f"{clip}/real.mp4", "real", None, None, "VoxCeleb2/dev/mp4/id00830/vid/00001.mp4"),
        (f"{clip}/fake_video_fake_audio.mp4", "both_modified", "Talklip", "vits", f"{clip}/real.mp4"),
        ("lrs3/video/00013/real_video_fake_audio.mp4", "audio_modified", None, "yourtts", None),
        (f"{silent}/fake.mp4", "visual_modified", "diff2lip", None, f"{silent}/real.mp4"),
    ]
    names = ("file", "modify_type", "video_model", "audio_model", "original")
    rows = [{**segments, "split": "val", **dict(zip(names, row, strict=True))} for row in listed]
    for row in rows:
        place(tmp_path / "val/val" / row["file"])
    (tmp_path / "val_metadata.json").write_text(json.dumps(rows))
    records, problems = read_dataset("av_deepfake1m", tmp_path)
    assert not problems
    assert [r.generator for r in records] == ["", "Talklip + vits", "yourtts", "diff2lip"]
    people = ["voxceleb2:id00830", "voxceleb2:id00830", "lrs3:video", "silent_videos:subject_17"]
    assert [r.identities for r in records] == [(name,) for name in people]
    assert records[0].pair == records[1].pair


def test_kodf(tmp_path, place):
    for name in ("original_videos/id1/a.mp4", "fsgan/id1/b.mp4", "deepnew/id1/c.mp4", "dfl/d.mp4"):
        place(tmp_path / "videos" / name)
    (tmp_path / "videos/notes.txt").write_text("not a clip")
    records, problems = read_dataset("kodf", tmp_path)
    found = by_name(records, tmp_path)
    assert labels(found["videos/original_videos/id1/a.mp4"]) == (0, 0, 0)
    assert labels(found["videos/fsgan/id1/b.mp4"]) == (1, 1, None)
    assert found["videos/fsgan/id1/b.mp4"].generator == "fsgan"
    assert {p.file.removeprefix(f"{tmp_path}/") for p in problems} == {"videos/deepnew/id1/c.mp4", "videos/dfl/d.mp4"}


def test_deepfaketimit(tmp_path, place):
    folder = tmp_path / "higher_quality/fadg0"
    place(folder / "sa1-video-fram1.avi")
    (folder / "sa1.wav").write_bytes(b"RIFF")
    place(folder / "sa2-video-fram1.avi")
    place(folder / "odd.avi")
    for subject in ("fram1", "fadg0"):
        place(tmp_path / f"vidtimit/{subject}/video/sa1.mp4")
        (tmp_path / f"vidtimit/{subject}/audio").mkdir()
        (tmp_path / f"vidtimit/{subject}/audio/sa1.wav").write_bytes(b"RIFF")
    (fake, original, real), problems = read_dataset("deepfaketimit", tmp_path, real_root=tmp_path / "vidtimit")
    assert labels(fake) == (1, 1, 0)
    assert fake.identities == ("fadg0", "fram1")
    assert fake.pair == original.pair != real.pair
    assert fake.audio_path == str(folder / "sa1.wav")
    assert (labels(real), real.identities) == ((0, 0, 0), ("fram1",))
    assert real.audio_path == str(tmp_path / "vidtimit/fram1/audio/sa1.wav")
    assert sorted(p.reason[:20] for p in problems) == ["the path must read s", "the voice is missing"]


def test_mavosdd(tmp_path, place):
    rows = [
        ["arabic/real/a.mp4", "real", "train", "False", "False", "x"],
        ["hindi/sonic/b.mp4", "fake", "test", "True", "True", "x"],
        ["hindi/sonic/b.mp4", "fake", "test", "True", "True", "x"],
        ["hindi/sonic/gone.mp4", "fake", "test", "True", "False", "x"],
        ["arabic/real/a.mp4", "fake", "train", "False", "False", "x"],
        ["arabic/real/a.mp4"],
    ]
    for name in ("arabic/real/a.mp4", "hindi/sonic/b.mp4"):
        place(tmp_path / name)
    unlisted, _ = read_dataset("mavosdd", tmp_path)
    assert [labels(r) for r in unlisted] == [(0, 0, 0), (1, None, None)]
    header = ["video_path", "label", "split", "open_set_model", "open_set_language", "extra"]
    with (tmp_path / "metadata.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    (real, fake), problems = read_dataset("mavosdd", tmp_path)
    assert (real.split, real.language) == ("train", "arabic")
    assert (fake.split, fake.generator, fake.language) == ("test-open-full", "sonic", "hindi")
    assert [p.row for p in problems] == [4, 5, 6, 7]


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_missing_root_is_named(name, tmp_path):
    with pytest.raises(ValueError, match="root must exist"):
        read_dataset(name, tmp_path / "nowhere")


def test_an_unknown_layout_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="fakeavceleb"):
        read_dataset("celebdf", tmp_path)
