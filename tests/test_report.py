"""Reports account for every file and are valid JSON and CSV."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from modeling_macbdf import report
from modeling_macbdf.verdicts import FaceResult, FileResult, Provenance, Segment, Verdict

SCORED = FileResult(
    path="clip, with comma.mp4",
    status="scored",
    reason="",
    sha256="ab" * 32,
    duration_s=6.4,
    verdict=Verdict.FAKE,
    p_fake=0.91,
    p_fake_video=0.88,
    faces=(FaceResult(0, 0.91, 0.0, 6.4, (1.0, 2.0, 3.0, 4.0)),),
    timeline=(Segment(0.0, 1.6, 0.2), Segment(1.6, 3.2, 0.95, p_fake_audio=0.4)),
    seconds={"decode": 0.1, "faces": 0.2, "model": 0.1, "total": 0.4},
)
NO_FACE = FileResult(path="=cmd().mp4", status="no_face", reason="no face in 32 looked-at frames")


def test_the_summary_counts_every_file_that_was_not_judged():
    unheard = FileResult(path="a.wav", status="no_audio", reason="silent")
    text = report.summary_text([SCORED, NO_FACE, unheard])
    assert text == "3 files: 1 scored (1 fake) - 2 not judged (1 no_audio, 1 no_face)"


def test_a_report_goes_through_a_link_and_into_a_device(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there.json")
    report.write_atomically(tmp_path / "link", "{}")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there.json").read_text() == "{}"
    report.write_atomically(Path(os.devnull), "{}")
    assert not Path(os.devnull).is_file()


def test_json_has_the_documented_fields_and_null_where_nothing_was_scored():
    document = json.loads(report.dump_json(report.as_json([SCORED, NO_FACE], {"id": "m", "revision": None})))
    assert document["schema_version"] == report.SCHEMA_VERSION
    assert document["model"] == {"id": "m", "revision": None}
    first, second = document["files"]
    assert first["verdict"] == "fake"
    assert first["faces"] == [{"track": 0, "p_fake": 0.91, "start_s": 0.0, "end_s": 6.4, "box": [1.0, 2.0, 3.0, 4.0]}]
    assert first["timeline"][1] == {
        "start_s": 1.6,
        "end_s": 3.2,
        "p_fake": 0.95,
        "p_fake_video": None,
        "p_fake_audio": 0.4,
        "in_sync": None,
    }
    assert (second["p_fake"], second["verdict"], second["status"]) == (None, None, "no_face")


def test_csv_survives_commas_and_formulas():
    rows = list(csv.DictReader(io.StringIO(report.as_csv([SCORED, NO_FACE]))))
    assert rows[0]["path"] == SCORED.path
    assert rows[1]["path"] == "'=cmd().mp4"
    assert rows[1]["p_fake"] == ""


def test_control_characters_fake_no_line_and_clear_no_screen():
    """A file's name and its credentials reached the terminal as they were."""
    name = "a\x1b[2J\nb.mp4\n  REAL - more likely real\u202e.mp4"
    credentials = Provenance("valid", signer="X\n  REAL\x9b", actions=("c2pa.created\r",))
    result = replace(SCORED, path=name, warnings=("one\ntwo",), provenance=credentials)
    text = report.as_text(result)
    assert text.splitlines()[0] == "a\\x1b[2J\\nb.mp4\\n  REAL - more likely real\\u202e.mp4"
    assert len(text.splitlines()) == len(report.as_text(replace(SCORED, warnings=("one",))).splitlines()) + 1
    assert all(char.isprintable() for char in text.replace("\n", ""))
    unjudged = report.as_text(replace(NO_FACE, path=name, reason="no\nface"))
    assert unjudged.splitlines()[1] == "  NOT JUDGED (no_face): no\\nface"
    for name in ("Łódź 映画 😀 - é", "\u0645\u06cc\u200c\u062f", "👩\u200d🔬"):  # joiners belong to names
        assert report.on_one_line(name) == name


def test_csv_holds_the_warnings():
    rows = list(csv.DictReader(io.StringIO(report.as_csv([replace(SCORED, warnings=("one", "two")), NO_FACE]))))
    assert [row["warnings"] for row in rows] == ["one; two", ""]


def test_summary_counts_every_file():
    counts = report.summary([SCORED, NO_FACE, NO_FACE])
    assert counts["files"] == 3
    assert counts["scored"] == 1
    assert sum(counts["by_status"].values()) == 3
    assert report.summary_text([SCORED, NO_FACE]) == "2 files: 1 scored (1 fake) - 1 not judged (1 no_face)"


def test_text_names_the_verdict_the_streams_and_the_seconds():
    text = report.as_text(SCORED)
    assert "FAKE" in text
    assert "91%" in text
    assert "voice not judged" in text
    assert "1.6-3.2 s" in text


def test_text_of_an_unjudged_file_gives_the_reason_and_no_number():
    text = report.as_text(NO_FACE)
    assert "NOT JUDGED (no_face): no face in 32 looked-at frames" in text
    assert "%" not in text


def test_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    out = tmp_path / "report.json"
    out.write_text("old")
    monkeypatch.setattr(report.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        report.write_atomically(out, "new")
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
