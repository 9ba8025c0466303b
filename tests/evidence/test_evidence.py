"""The evidence beside a verdict, its pictures and the HTML report."""

import io
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from modeling_macbdf.evidence import card_facts, fragments
from modeling_macbdf.evidence.collect import judge_with_evidence
from modeling_macbdf.evidence.page import HtmlReport
from modeling_macbdf.evidence.pictures import Framer, overlay, write_preview
from modeling_macbdf.media.decode import iter_frames, probe
from modeling_macbdf.media.write import WriteOptions, write_clip
from modeling_macbdf.verdicts import Provenance

CARD = """# m

## Training data

- 3 clips <script>alert(1)</script> ![p](https://example.org/p.png)

## Results on manifest dev

| metric | value | interval |
|---|---|---|
| auc | 0.693 | 0.491 to 0.814 |
| reals_called_fake | 0.044 | 0.000 to 0.118 |

## Results on other

| reals_called_fake | 0.9 | |
"""


@pytest.fixture(scope="module")
def judged(detector, talking_clip):
    shares = []
    return *judge_with_evidence(detector, talking_clip, shares.append), shares


def test_keeping_evidence_changes_no_number(judged, detector, talking_clip):
    plain = detector.detect(talking_clip)
    assert replace(judged[0], seconds={}) == replace(plain, seconds={})


def test_progress_rises_to_the_end(judged):
    shares = judged[2]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.1
    assert shares[-1] > 0.95


def test_a_face_has_its_most_suspicious_window_with_heat(judged):
    result, evidence, _ = judged
    (face,) = evidence.faces
    assert face.face == result.faces[0]
    assert face.crops.shape == (*face.heat.shape, 3)
    assert face.heat.min() >= 0
    assert 0.9 < face.heat.max() <= 1
    assert 0 <= face.start_s < result.duration_s


def test_sound_is_shown_where_it_was_judged(judged):
    sound = judged[1].sound
    assert sound.answer == "audio"
    assert sound.end_s - sound.start_s == pytest.approx(len(sound.spectrogram) / 100)
    assert sound.heat.shape == sound.spectrogram.shape


def test_steps_follow_the_clip(judged):
    times = [time_s for time_s, _ in judged[1].steps]
    assert np.diff(times) == pytest.approx(0.2)
    assert times[-1] == pytest.approx(5.9)


def test_what_was_not_judged_is_said(detector, talking_face, tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "spoken.mp4", talking_face[0], waveform=talking_face[1])
    calibration = {key: value for key, value in detector.calibration.items() if key != "audio"}
    monkeypatch.setattr(detector, "calibration", calibration)
    monkeypatch.setattr(detector.scorer, "calibration", calibration)
    result, evidence = judge_with_evidence(detector, clip)
    assert result.p_fake_audio is None
    assert any("voice has no answer of its own" in note for note in evidence.left_out)
    assert evidence.sound.answer == "joint"


def test_a_clip_without_a_face_has_no_evidence_and_no_number(detector, tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), np.uint8)
    result, evidence = judge_with_evidence(detector, write_clip(tmp_path / "noise.mp4", grey))
    assert result.status == "no_face"
    assert (evidence.faces, evidence.sound) == ((), None)
    card = fragments.verdict_card(result, detector.calibration)
    assert "Not judged" in card
    assert "%" not in card


def test_no_heat_leaves_a_picture_as_it_is():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    assert (overlay(picture, np.zeros((8, 8))) == picture).all()
    assert (overlay(picture, np.ones((8, 8))) != picture).any()


def test_preview_keeps_the_clock_and_frames_the_face(judged, detector, talking_face, tmp_path):
    options = WriteOptions(video_offset_s=0.8)
    late = write_clip(tmp_path / "late.mp4", talking_face[0], waveform=talking_face[1], options=options)
    result, evidence = judge_with_evidence(detector, late)
    framer = Framer(evidence.boxes, result.faces, detector.config.frame_rate_hz, side=160)
    preview = write_preview(late, tmp_path / "preview.mp4", framer)
    assert probe(preview).duration_s == pytest.approx(4.8, abs=0.1)
    frames = list(iter_frames(preview, 5.0))
    assert frames[2].rgb.max() < 20  # 0.5 s: the picture has not begun
    left, top, right, _ = (round(side / 2) for side in evidence.boxes[10][0][1:])
    orange = frames[10].rgb[top - 2 : top + 4, left + 20 : right - 5].astype(int)
    assert (orange[..., 0] - orange[..., 2]).max() > 100
    assert max(frames[10].rgb.shape) == 160


@pytest.fixture(scope="module")
def page(judged, detector, talking_clip):
    report = HtmlReport(detector, CARD)
    named = replace(judged[0], path="<b>clip</b>.mp4", provenance=Provenance("none"))
    report.add(talking_clip, named, judged[1])
    return report.render()


def test_the_page_stands_alone(page):
    assert "<script" not in page
    assert not re.findall(r'src="(?!data:)', page)  # a link is followed by a person only
    assert "url(" not in page
    assert len(page) < 400_000


def test_the_page_holds_what_a_reader_needs(page, judged, detector):
    result = judged[0]
    headline = fragments.HEADLINES[result.verdict]
    for words in (headline, f"{result.p_fake:.0%}", result.sha256, detector.model_info["id"], "Training data"):
        assert words in page
    for words in (
        "absence is not evidence",
        "real clips called fake 4% [0%, 12%]",
        "window_steps 16",
        "transformers 5.",
    ):
        assert words in page
    assert "<b>clip</b>" not in page


def test_the_pages_pictures_open(page):
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) == 3  # framed still, heat strip, spectrogram
    for picture in pictures:
        assert Image.open(io.BytesIO(b64decode(picture))).size[0] >= 320


def test_timeline_is_as_long_as_the_judged_part(judged, detector):
    html = fragments.timeline(*judged[:2], detector.calibration)
    assert f'data-end="{judged[0].timeline[-1].end_s}"' in html
    assert html.count("<rect") == 3 * len(judged[0].timeline) + len(judged[1].steps)


def test_each_lane_is_coloured_by_the_thresholds_of_its_own_answer(judged):
    result, evidence = judged[:2]
    even = tuple(replace(part, p_fake=0.4, p_fake_video=0.4, p_fake_audio=0.4) for part in result.timeline)
    calibration = {
        "real_below": 0.3,
        "fake_above": 0.7,
        "alone": {"video": {"real_below": 0.5, "fake_above": 0.7}, "audio": {"real_below": 0.1, "fake_above": 0.3}},
    }
    shown = replace(result, timeline=even, p_fake_video=0.4, p_fake_audio=0.4)
    lanes = re.findall(r'class="(m-real|m-fake|m-inconclusive)"', fragments.timeline(shown, evidence, calibration))
    assert lanes == [zone for zone in ("m-inconclusive", "m-real", "m-fake") for _ in even]


def test_a_card_tells_its_error_rates_and_brings_no_code(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: x\n---\n" + CARD)
    card = card_facts.read_card(tmp_path)
    assert card == CARD.strip()
    assert card_facts.error_rates(card) == [
        "manifest dev: real clips called fake 4% [0%, 12%], AUC 0.69 [0.49, 0.81].",
        "other: real clips called fake 90%.",
    ]
    html = card_facts.as_html(card)
    assert "<table>" in html
    assert "<script" not in html
    assert "<img" not in html


def test_a_model_without_a_card_has_none(tmp_path):
    assert card_facts.read_card(tmp_path) == ""
    assert card_facts.error_rates("") == []
