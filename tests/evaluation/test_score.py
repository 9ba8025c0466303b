"""Rows of a run: found again after a kill, shared among processes, and nothing taken from another run."""

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from accelerate.state import PartialState

from modeling_macbdf.data.records import ClipRecord
from modeling_macbdf.evaluation.masked import MaskedModel
from modeling_macbdf.evaluation.score import (
    Processes,
    ScoreLog,
    known_segments,
    log_path,
    made_by,
    score_all,
    witnessed_row,
)
from modeling_macbdf.evaluation.witness import Witness
from modeling_macbdf.inference import Detector
from modeling_macbdf.media.audio import Audio
from modeling_macbdf.media.tracks import TrackOptions
from modeling_macbdf.scoring import Voice
from modeling_macbdf.sources import FileSource

RECORDS = [ClipRecord(f"clip-{i}.mp4", i % 2, identities=(f"person-{i}",)) for i in range(7)]
MADE_BY = {"weights": "w"}
PROCESSOR_CHANGE = ("processor_config.json", '"do_normalize": true', '"do_normalize": false')


def score(record: ClipRecord) -> dict:
    return {"path": record.path, "p_fake": int(record.key, 16) / 2**64}


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    log = ScoreLog(tmp_path / "log.jsonl", MADE_BY)

    def until_the_fourth(record):
        if record is RECORDS[3]:
            raise KeyboardInterrupt
        return score(record)

    with pytest.raises(KeyboardInterrupt):
        score_all(RECORDS, until_the_fourth, log)
    with log.file.open("a") as file:
        file.write('{"key": "half a li')
    seen = []
    rows = score_all(RECORDS, lambda record: seen.append(record) or score(record), log)
    assert seen == RECORDS[3:]
    assert rows == [score(record) for record in RECORDS]
    assert score_all(RECORDS, lambda _: 1 / 0, log) == rows
    log.remove()
    assert not list(tmp_path.iterdir())


def test_rows_of_other_weights_are_refused_by_name(tmp_path):
    score_all(RECORDS[:1], score, ScoreLog(tmp_path / "log.jsonl", MADE_BY))
    with pytest.raises(ValueError, match=r"log.jsonl must hold scores of this model"):
        score_all(RECORDS, score, ScoreLog(tmp_path / "log.jsonl", {"weights": "other"}))


def test_clips_whose_failure_may_pass_are_tried_again(tmp_path):
    """A file that had been missing for a moment stayed missing in every run that went on."""
    statuses = ["scored", "internal_error", "missing", "timeout", "unreadable", "no_face", "scored"]
    rows = {record.key: {"status": status} for record, status in zip(RECORDS, statuses, strict=True)}
    rows[RECORDS[6].key]["conditions"] = {"h264/1": {"status": "timeout"}}
    log = ScoreLog(tmp_path / "log.jsonl", MADE_BY)
    score_all(RECORDS, lambda record: rows[record.key], log)
    seen = []
    found = score_all(RECORDS, lambda record: seen.append(record) or {"status": "scored"}, log)
    assert seen == [*RECORDS[1:5], RECORDS[6]]
    assert [row["status"] for row in found] == [*["scored"] * 5, "no_face", "scored"]
    assert score_all(RECORDS, lambda _: 1 / 0, log) == found


def test_a_name_may_hold_what_a_pattern_means(tmp_path):
    """The log of `dev[1].json` was once neither found again nor deleted."""
    log = ScoreLog(log_path(tmp_path / "dev[1].json"), MADE_BY)
    rows = score_all(RECORDS, score, log)
    assert score_all(RECORDS, lambda _: 1 / 0, log) == rows
    log.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("begun", ["", '{"weigh'])
def test_a_log_that_was_hardly_begun_is_begun_anew(tmp_path, begun):
    """An empty one once ended each run with an error of the JSON library that named no file."""
    log = ScoreLog(tmp_path / "log.jsonl", MADE_BY)
    log.file.write_text(begun)
    rows = score_all(RECORDS, score, log)
    assert score_all(RECORDS, lambda _: 1 / 0, log) == rows


def test_a_damaged_log_is_named(tmp_path):
    log = ScoreLog(tmp_path / "log.jsonl", MADE_BY)
    score_all(RECORDS, score, log)
    log.file.write_text(log.file.read_text() + "{}}\n")
    with pytest.raises(ValueError, match=r"log\.jsonl must hold JSON lines"):
        score_all(RECORDS, score, log)


def test_rows_depend_on_labels_and_calibration_too(detector):
    """A list whose labels had been corrected once went on with the old ones."""
    made = made_by(detector, RECORDS, probes=True)
    assert made == made_by(detector, RECORDS[::-1], probes=True)
    changed = [replace(RECORDS[0], label=1), *RECORDS[1:]]
    assert made != made_by(detector, changed, probes=True)
    assert made["calibration"]["source"]


def test_rows_depend_on_the_settings_of_model_and_processor_too(detector, tiny_folder, tmp_path):
    """A run once went on after the frame rate in the config, or the processor, had been changed."""
    made = made_by(detector, RECORDS)
    folder = shutil.copytree(tiny_folder, tmp_path / "elsewhere")
    assert made_by(Detector.from_pretrained(folder, device="cpu"), RECORDS) == made
    for name, old, new in (("config.json", '"frame_rate_hz": 5.0', '"frame_rate_hz": 10.0'), PROCESSOR_CHANGE):
        folder = shutil.copytree(tiny_folder, tmp_path / name)
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
        assert made_by(Detector.from_pretrained(folder, device="cpu"), RECORDS) != made


def test_the_log_lies_hidden_beside_the_result(tmp_path):
    assert log_path(tmp_path / "r.json") == tmp_path / ".r.json.scores.jsonl"


def _worker(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    PartialState._shared_state.clear()  # of the process that was forked
    log = ScoreLog(log_path(Path(folder) / "r.json"), MADE_BY, rank)
    counted = []
    rows = score_all(RECORDS, lambda r: counted.append(r) or score(r), log, Processes.current())
    torch.save({"rows": rows, "scored": [r.path for r in counted]}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_gloo_processes_share_the_clips_and_have_the_rows_of_one(tmp_path):
    """Also the rows of an earlier try with one process are found by both."""
    score_all(RECORDS[:2], score, ScoreLog(log_path(tmp_path / "r.json"), MADE_BY))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_worker, args=(port, str(tmp_path)), nprocs=2, start_method="fork")
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert found[0]["rows"] == found[1]["rows"] == [score(record) for record in RECORDS]
    assert sorted(found[0]["scored"] + found[1]["scored"]) == [record.path for record in RECORDS[2:]]
    assert min(len(one["scored"]) for one in found) == 2
    log = ScoreLog(log_path(tmp_path / "r.json"), MADE_BY)
    assert len(log.files(log_path(tmp_path / "r.json"))) == 2
    assert len(log.read()) == len(RECORDS)


def test_segments_are_known_of_a_real_clip_and_unknown_of_a_fake_without_them():
    assert known_segments(ClipRecord("a", 0)) == []
    assert known_segments(ClipRecord("a", 1)) is None
    assert known_segments(ClipRecord("a", 1, 1, 1, video_segments_s=((1, 2),), audio_segments_s=((1.5, 3),))) == [
        (1, 3)
    ]


def test_segments_of_one_stream_are_not_those_of_the_clip():
    """A forged voice with unknown segments under a picture of which none is forged was once a clip without any."""
    assert known_segments(ClipRecord("a", 1, 0, 1, video_segments_s=())) is None
    assert known_segments(ClipRecord("a", 1, 1, None, video_segments_s=((1, 2),))) is None
    assert known_segments(ClipRecord("a", 1, 1, 0, video_segments_s=((1, 2),))) == [(1, 2)]
    assert known_segments(ClipRecord("a", 1, 1, None, video_segments_s=((1, 2),), audio_segments_s=())) == [(1, 2)]


def test_the_witness_changes_nothing_and_sees_one_pass(detector, talking_clip):
    probe = MaskedModel(detector)
    row = witnessed_row(detector, probe, ClipRecord(str(talking_clip), 0, 0, 0))
    plain = detector.detect(talking_clip)
    assert row["p_fake"] == plain.p_fake
    assert row["curve"]["rate_hz"] == 5.0
    assert len(row["curve"]["log_odds"]) == 30
    assert set(row["masked"]) == {"single_frame", "face_masked", "background_only", "audio_only"}
    assert row["features"]["metadata"]["video_codec"] == "h264"
    assert row["features"]["silence"]["has_sound"] == 1.0
    assert {"frame_red", "face_red"} <= set(row["features"]["mean_colour"])
    assert 0 < row["features"]["background"]["around_share"] < 1


def test_without_probes_only_the_scores_are_watched(detector, talking_clip, monkeypatch):
    """Masks, backgrounds and features were once made and thrown away."""
    monkeypatch.setattr(Witness, "on_frame", lambda *_: pytest.fail("no probe asks for frames"))
    record = ClipRecord(str(talking_clip), 0, 0, 0)
    row = witnessed_row(detector, None, record)
    assert len(row["curve"]["log_odds"]) == 30 and not {"features", "masked"} & set(row)


def test_a_pause_at_the_begin_of_a_voice_ends_no_evaluation(detector, talking_face):
    """A window without sound once ended the run, and every run that went on from it."""
    voice = talking_face[1]
    samples = np.concatenate([np.zeros(5 * 16_000, np.float32), voice])
    probe = MaskedModel(detector)
    witness = probe.witness()
    witness.on_voice(Voice(Audio(samples, 16_000, np.array([[5 * 16_000, len(samples)]])), 5.0))
    assert "audio_only" in probe.scores(witness)


def test_masked_inputs_hold_no_face(detector, talking_clip):
    probe = MaskedModel(detector)
    witness = probe.witness()
    detector.judge(FileSource(str(talking_clip)), witness)
    middle = slice(70, 90)  # the face is in the middle of a crop
    for crop, masked in zip(witness.crops, witness.masked, strict=True):
        assert masked[middle, middle].std(axis=(0, 1)).max() == 0 < crop[middle, middle].std(axis=(0, 1)).min()
    kept = len(witness.crops)
    assert kept == len(witness.background) == 30
    for picture in witness.background[:: kept - 1]:
        assert not detector.faces.detect(picture)


def test_memory_is_bounded_by_the_steps_that_are_asked_for(detector, talking_clip):
    witness = Witness(5, 4, TrackOptions())
    detector.judge(FileSource(str(talking_clip)), witness)
    assert len(witness.crops) == len(witness.masked) == 5
