"""What the demo does with an upload: judge it, write what is shown, delete it."""

import csv
import json
import shutil
from pathlib import Path

import gradio as gr
import pytest

from modeling_macbdf.demo.examples import example
from modeling_macbdf.demo.layout import _judge
from modeling_macbdf.demo.service import JudgeService
from modeling_macbdf.media.decode import probe


@pytest.fixture
def service(detector, tmp_path) -> JudgeService:
    (tmp_path / "uploads").mkdir()
    return JudgeService(detector, tmp_path / "uploads", card="# a card")


def upload(service: JudgeService, clip: Path, name: str) -> str:
    return shutil.copyfile(clip, service.folder / name)


def test_a_judged_upload_is_gone_and_its_evidence_is_there(service, clips):
    path, told = upload(service, clips.talking, "my clip.mp4"), []
    judged = service.judge(path, lambda share, words: told.append(share))
    assert not Path(path).exists()
    assert judged.result.path == "my clip.mp4"
    assert json.loads(Path(judged.json).read_text())["files"][0]["sha256"] == judged.result.sha256
    assert "my clip.mp4" in Path(judged.page).read_text()
    assert str(service.folder) not in Path(judged.page).read_text()
    assert probe(judged.preview).duration_s == pytest.approx(6.0, abs=0.1)
    assert told == sorted(told)
    assert told[-1] < 1


def test_a_sound_file_gets_a_clip_that_plays_it(service, clips):
    judged = service.judge(upload(service, clips.sound, "voice.m4a"), lambda *_: None)
    assert judged.result.status == "no_video"
    preview = probe(judged.preview)
    assert (preview.video is not None, preview.audio is not None) == (True, True)
    assert preview.duration_s == pytest.approx(4.0, abs=0.25)


def test_what_cannot_be_judged_is_deleted_too(service, clips):
    path = upload(service, clips.corrupt, "corrupt.mp4")
    judged = service.judge(path, lambda *_: None)
    assert judged.result.status in ("undecodable", "not_media")
    assert judged.preview is None
    assert not Path(path).exists()


def test_a_fault_deletes_the_upload_as_well(service, clips, monkeypatch):
    path = upload(service, clips.noface, "noface.mp4")
    monkeypatch.setattr(service.detector, "detect", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        service.judge_json(path)
    assert not Path(path).exists()


def test_nothing_outside_the_folder_is_deleted(service, clips):
    service.judge_json(str(clips.noface))
    assert clips.noface.exists()


def test_a_batch_gives_one_row_a_file_and_leaves_none(service, clips):
    paths = [upload(service, clips.noface, "a.mp4"), upload(service, clips.corrupt, "b.mp4")]
    results = list(service.judge_many(paths))
    rows = list(csv.DictReader(Path(service.write_csv(results)).read_text().splitlines()))
    assert [row["path"] for row in rows] == ["a.mp4", "b.mp4"]
    assert rows[0]["status"] == "no_face"
    assert not any(Path(path).exists() for path in paths)


def test_an_abandoned_batch_leaves_no_file(service, clips):
    paths = [upload(service, clips.noface, name) for name in ("a.mp4", "b.mp4")]
    batch = service.judge_many(paths)
    next(batch)
    batch.close()
    assert not any(Path(path).exists() for path in paths)


def test_a_file_and_a_recording_at_once_are_refused(service):
    """The recording once vanished unjudged."""
    with pytest.raises(gr.Error, match="remove one of them"):
        _judge(service)("file.mp4", "recording.mp4")


def test_examples_lie_in_the_demos_folder_and_are_copies(service):
    first, second = (example("noface", service.folder) for _ in range(2))
    assert first != second and Path(first).read_bytes() == Path(second).read_bytes()
    assert Path(first).is_relative_to(service.folder)
    assert sorted(path.name for path in (service.folder / "examples").iterdir()) == ["noface.mp4"]
