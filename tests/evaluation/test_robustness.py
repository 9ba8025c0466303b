"""What a condition does to a clip: picture and sound stay on one clock, and a clip that is lost is counted as lost."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modeling_macbdf.data.records import ClipRecord
from modeling_macbdf.evaluation import robustness
from modeling_macbdf.evaluation.commands_robustness import draw_curves, robustness_markdown
from modeling_macbdf.evaluation.robustness import robust_row, summarize
from modeling_macbdf.media.outcomes import MediaError, Status
from modeling_macbdf.media.write import WriteOptions, write_clip
from modeling_macbdf.sources import FileSource
from modeling_macbdf.verdicts import FileResult

RATE = 16_000
CODED = [("h264", 1), ("messenger", 1)]


class Watching:
    """In a detector's place: notes when the picture becomes bright and when the sound clicks, in seconds."""

    def __init__(self) -> None:
        self.config, self.limits, self.faces = SimpleNamespace(frame_rate_hz=5.0, sampling_rate=RATE), None, None
        self.found: list[tuple[float, float]] = []

    def judge(self, source) -> FileResult:
        bright_s = next(frame.time_s for frame in source.frames(5.0, []) if frame.rgb.mean() > 150)
        sound = source.audio(RATE)
        self.found.append((bright_s, int(np.abs(sound.samples).argmax()) / RATE))
        return FileResult(source.path, Status.scored, "", p_fake=0.5)


def becoming_bright(count: int, at: int) -> np.ndarray:
    return np.stack([np.full((96, 128, 3), 40 if index < at else 210, np.uint8) for index in range(count)])


def click(at_s: float) -> np.ndarray:
    sound = np.zeros(3 * RATE, np.float32)
    sound[round(at_s * RATE) :][:80] = 0.9 * np.sin(np.linspace(0, 4 * np.pi, 80))
    return sound


def found_in(path: Path) -> list[tuple[float, float]]:
    """When the picture becomes bright and when it clicks: as it is, as H.264, and from a messenger."""
    watching = Watching()
    robust_row(watching, ClipRecord(str(path), 0, 0, 0), CODED)
    return watching.found


def test_a_picture_that_begins_late_is_coded_beside_its_sound(tmp_path):
    """Its frames were once coded from time 0 on: .8 s before the sound that belongs to them."""
    late = WriteOptions(video_offset_s=0.8)
    path = write_clip(tmp_path / "late.mp4", becoming_bright(50, 26), 25, click(1.84), RATE, options=late)
    for bright_s, click_s in found_in(path):
        assert bright_s == pytest.approx(1.9), "the first step whose centre lies after 1.84 s"
        assert click_s == pytest.approx(1.84, abs=0.01)


def test_frames_of_variable_rate_are_coded_at_their_times(tmp_path):
    """At a constant rate, what happens at 2.0 s once came at .9 s."""
    times_s = [0.0, 0.04, 0.08, 0.5, 0.9, 1.3, 1.7, 2.0, 2.04, 2.08, 2.3, 2.5]
    path = write_clip(tmp_path / "vfr.mp4", becoming_bright(12, 7), 25, click(2.0), RATE, times_s=times_s)
    for bright_s, click_s in found_in(path):
        assert bright_s == pytest.approx(2.1)
        assert click_s == pytest.approx(2.0, abs=0.01)


def test_frames_that_an_encoder_takes_for_one_are_one(tmp_path):
    """Two frames within a tick of its clock are refused by the encoder."""
    frames = [SimpleNamespace(time_s=time_s) for time_s in (0.0, 0.04, 0.040001, 0.08)]
    assert [frame.time_s for frame in robustness._apart(frames)] == [0.0, 0.04, 0.08]


@pytest.mark.parametrize("name", ["h264", "messenger"])
def test_a_clip_that_cannot_be_read_after_its_coding_is_lost_and_the_run_goes_on(
    detector, talking_clip, monkeypatch, name
):
    """The error once ended the whole run, and every run that went on from it."""
    frames = FileSource.frames

    def unreadable(self, rate_hz, warnings):
        if self.path == str(talking_clip):
            return frames(self, rate_hz, warnings)
        raise MediaError(Status.undecodable, "damaged on its way", self.path)

    monkeypatch.setattr(FileSource, "frames", unreadable)
    row = robust_row(detector, ClipRecord(str(talking_clip), 0, 0, 0), [(name, 1), ("jpeg", 1)])
    assert row["conditions"][f"{name}/1"]["status"] == "undecodable"
    assert row["conditions"]["jpeg/1"]["p_fake"] is not None
    assert summarize([row])[name]["1"]["lost"] == 1


def test_sound_that_a_codec_leaves_nothing_of_ends_no_run(detector, talking_clip, monkeypatch):
    def nothing(audio, severity, rng):
        raise MediaError(Status.no_audio, "its opus audio stream gives no sample", "sound.ogg")

    monkeypatch.setitem(robustness.SOUND, "opus", nothing)
    row = robust_row(detector, ClipRecord(str(talking_clip), 0, 0, 0), [("opus", 5)])
    assert row["conditions"]["opus/5"]["status"] == "no_audio"


def test_a_clip_with_too_many_frames_for_memory_is_lost_by_name(detector, talking_clip, monkeypatch):
    """Ten minutes of 1080p once took 18 GB."""
    monkeypatch.setattr(robustness, "MAX_FRAME_BYTES", 10 * 256 * 256 * 3)
    wanted = [("jpeg", 1), ("h264", 1), ("opus", 1)]
    row = robust_row(detector, ClipRecord(str(talking_clip), 0, 0, 0), wanted)
    assert row["p_fake"] is not None, "as it is it takes no more memory than elsewhere"
    for said in row["conditions"].values():
        assert (said["status"], said["p_fake"]) == ("too_large", None)
        assert "held for distortions" in said["reason"]
    assert {name: summarize([row])[name]["1"]["lost"] for name, _ in wanted} == {"jpeg": 1, "h264": 1, "opus": 1}


def test_a_severity_that_loses_clips_is_shown_beside_the_same_clips_unchanged(tmp_path):
    """The first severity's unchanged AUC once stood beside all of them."""
    rows = []
    for number, (label, clean, changed) in enumerate([(0, 0.1, 0.2), (0, 0.95, None), (1, 0.8, 0.7), (1, 0.9, 0.1)]):
        said = {name: {"p_fake": p, "verdict": "inconclusive"} for name, p in (("blur/1", clean), ("blur/2", changed))}
        row = {"label": label, "p_fake": clean, "identity": str(number), "pair": ""}
        rows.append(row | {"conditions": said})
    found = summarize(rows, resamples=5)
    result = {
        "conditions": found, "dataset": {"name": "made", "splits": []}, "command": "macbdf robustness",
        "bootstrap": {"resamples": 5, "over": "identities", "clusters": 4, "seed": 0},
    }  # fmt: skip
    assert "5 bootstrap draws over identities (4 of them), seed 0" in robustness_markdown(result)
    line = next(line for line in robustness_markdown(result).splitlines() if line.startswith("| blur"))
    _, name, unchanged, first, second, clips, lost, _ = (cell.strip() for cell in line.split("|"))
    assert (name, unchanged, clips, lost) == ("blur", "0.500", "4", "1")
    assert first.startswith("0.500 [") and second.startswith("1.000 → 0.500")
    always_lost = {"conditions": {"blur": {"2": found["blur"]["2"]}}}
    assert "| blur | - | 1.000 → 0.500" in robustness_markdown(result | always_lost)
    draw_curves(found | {"noise": always_lost["conditions"]["blur"]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()
