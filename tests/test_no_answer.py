"""Clips without a living face get no verdict, even from a model that would call everything forged."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from modeling_macbdf.media.synthetic import render_talking_face
from modeling_macbdf.media.tracks import TrackedCrop
from modeling_macbdf.media.write import WriteOptions, write_clip
from modeling_macbdf.picture import Seen
from modeling_macbdf.verdicts import Verdict

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
no_answer = importlib.import_module("no_answer")


@pytest.fixture(scope="module")
def face():
    return render_talking_face(seed=0, duration_s=no_answer.SECONDS, size=no_answer.SIDE, fps=no_answer.FPS)


@pytest.fixture
def accuser(detector, monkeypatch):
    """A detector that calls everything forged that it scores."""
    monkeypatch.setattr(detector, "calibration", {**detector.calibration, "fake_above": 0.0, "real_below": 0.0})
    return detector


def said(detector, path, frames, sound):
    result = detector.detect(write_clip(path, frames, no_answer.FPS, sound, no_answer.RATE))
    return result, str(result.verdict or result.status)


def test_lifeless_clips_get_no_verdict(accuser, face, tmp_path):
    answers = {}
    for index, (name, frames, sound) in enumerate(no_answer.lifeless(face)):
        answers[name] = said(accuser, tmp_path / f"{index}.mp4", frames, sound)[1]
    assert len(answers) > 8
    assert {name: answer for name, answer in answers.items() if answer in ("real", "fake")} == {}


def test_a_photograph_is_inconclusive_and_a_living_face_is_not(accuser, face, tmp_path):
    photograph, answer = said(
        accuser, tmp_path / "still.mp4", np.repeat(face.frames[:1], len(face.frames), 0), face.waveform
    )
    assert (photograph.status, answer) == ("scored", Verdict.INCONCLUSIVE)
    assert any("stands still" in warning for warning in photograph.warnings)
    assert said(accuser, tmp_path / "living.mp4", face.frames, face.waveform)[1] == Verdict.FAKE


@pytest.mark.parametrize(
    ("codec", "crf", "every"), [("libx264", 23, 10), ("libx264", 38, 10), ("libx264", 30, 5), ("mpeg4", None, 10)]
)
def test_key_frames_give_a_photograph_no_life(accuser, face, tmp_path, codec, crf, every):
    """The largest change counted once, and a key frame in the middle of a clip was enough for a verdict.

    The changes were those between crops, too, which follow a detector that wavers on a still picture.
    """
    noise = np.random.default_rng(0).normal(0, 3, face.frames[0].shape)
    photograph = np.clip(face.frames[0] + noise, 0, 255).astype(np.uint8)
    options = WriteOptions(video_codec=codec, crf=crf, key_frame_every=every)
    path = write_clip(tmp_path / "still.mkv", [photograph] * 60, no_answer.FPS, options=options)
    result = accuser.detect(path)
    assert (result.status, result.verdict) == ("no_audio", Verdict.INCONCLUSIVE)
    assert any("stands still" in warning for warning in result.warnings)


@pytest.mark.parametrize(("levels", "stands_still"), [((40, 60), False), ((40, 40), True)])
def test_a_face_at_one_frame_a_second_may_live(levels, stands_still):
    """Four of five steps show the frame of the step before, and every such face was taken for a photograph."""
    pictures = [np.full((64, 64, 3), levels[second % 2], np.uint8) for second in range(6)]
    box, points = np.array([8, 8, 56, 56], np.float32), np.zeros((5, 2), np.float32)
    seen = Seen()
    for step in range(30):
        frames = {when: pictures[when // 5] for when in (step - 1, step) if when >= 0}
        seen.add(TrackedCrop(0, step, step / 5, box, points, frames[step], True, 1.0), frames)
    assert bool(seen.doubts()) == stands_still
