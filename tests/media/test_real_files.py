"""Untouched files of many kinds decode, and their faces are found. Needs MACBDF_SHARED, a folder with media/raw."""

import os
from pathlib import Path

import pytest

from modeling_macbdf.media.decode import iter_frames, probe, read_audio
from modeling_macbdf.media.faces import CenterFaceDetector
from modeling_macbdf.media.tracks import extract_tracks

SHARED = os.environ.get("MACBDF_SHARED")
RAW = sorted(Path(SHARED, "media", "raw").iterdir()) if SHARED else []
pytestmark = pytest.mark.skipif(not RAW, reason="MACBDF_SHARED is not set")


@pytest.mark.slow
@pytest.mark.parametrize("path", RAW, ids=[path.name for path in RAW])
def test_a_real_file_gives_steps_sound_and_one_long_track(path, record_property):
    info = probe(path)
    warnings: list[str] = []
    frames = [frame for frame in iter_frames(path, warnings=warnings) if frame.time_s < 6.0]
    assert [frame.step for frame in frames] == list(range(len(frames)))
    assert len(frames) == pytest.approx(min(info.duration_s, 6.0) * 5, abs=1)
    assert warnings == []
    audio = read_audio(path)
    assert (audio is None) == (info.audio is None)
    if audio is not None:
        assert audio.duration_s == pytest.approx(info.duration_s, abs=0.15)
    tracks = extract_tracks(frames, CenterFaceDetector())
    longest = max(len(track.steps) for track in tracks)
    record_property("face_rate", longest / len(frames))
    assert longest >= 0.9 * len(frames)
