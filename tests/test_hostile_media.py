"""Hostile files through the decoder, and the typed outcome of each. benchmarks/hostile_media.py has all of them."""

import sys
from pathlib import Path

import pytest

from modeling_macbdf.media.decode import DecodeLimits, iter_frames, read_audio
from modeling_macbdf.media.outcomes import MediaError, Status
from modeling_macbdf.verdicts import FileResult

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from hostile_files import Hostile, base_clips, hostile_files

EVERY = 7
LIMITS = DecodeLimits(max_duration_s=3600.0, max_seconds=60.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def files(folder) -> list[Hostile]:
    return hostile_files(base_clips(folder))


def test_there_are_over_500_of_every_kind(files):
    assert len(files) > 500
    assert len({file.name for file in files}) == len(files)
    kinds = {"truncated", "flipped", "renamed", "lying", "nomedia", "streams", "times", "names", "places"}
    assert {file.family for file in files} == kinds


def outcome(path: Path) -> str:
    try:
        list(iter_frames(path, limits=LIMITS))
        read_audio(path, limits=LIMITS)
    except MediaError as error:
        assert error.reason
        return str(error.status)
    return "no_face"  # every clip but one shows stripes


def test_each_file_has_a_typed_outcome_and_the_known_ones_the_right_one(files, folder):
    chosen = [file for file in files if file.expected] + [file for file in files if not file.expected][::EVERY]
    wrong = {}
    for file in chosen:
        path = folder / file.name
        file.make(path)
        found = outcome(path)
        right = file.expected or set(Status) - {Status.internal_error}
        if found not in right and (found, file.family) != ("no_video", "streams"):
            wrong[file.name] = found
    assert not wrong


def test_a_fault_is_told_from_a_typed_refusal():
    from hostile_media import fault

    known = Hostile("text.mp4", Path.touch, frozenset({"not_media"}))
    assert fault(known, FileResult("text.mp4", "not_media", "it is text")) == ""
    assert "where not_media is right" in fault(known, FileResult("text.mp4", "no_face", "no face"))
    assert "without a reason" in fault(known, FileResult("text.mp4", "not_media", ""))
    anything = Hostile("x.mp4", Path.touch)
    assert "ZeroDivisionError" in fault(anything, FileResult("x.mp4", "internal_error", "ZeroDivisionError"))
    assert "verdict" in fault(anything, FileResult("x.mp4", "scored", "", p_fake=0.5))
