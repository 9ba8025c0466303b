"""A disk that takes no more is told by name, and loses nothing that was written."""

import errno
import json
import resource
from collections import namedtuple

import pytest

from modeling_macbdf import disk
from modeling_macbdf.batch import judge_into, read_outcomes
from modeling_macbdf.disk import full_disk_told
from modeling_macbdf.report import write_atomically

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 0))


@pytest.fixture
def room_of():
    """Limits the size of a file that this process may write, until the test is over."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_file_and_what_is_kept_are_named(tmp_path):
    with (
        pytest.raises(OSError, match="No space left on device; keep calm") as caught,
        full_disk_told(tmp_path, "keep calm"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path)


def test_an_error_that_does_not_say_why_is_one_where_no_room_is_left(tmp_path, no_room):
    absent = tmp_path / "checkpoint-2" / "weights"
    with pytest.raises(OSError, match="no space is left"), full_disk_told(absent, "kept"):
        raise RuntimeError("unexpected pos 64 vs 0")


@pytest.mark.parametrize("error", [RuntimeError("a fault"), PermissionError(errno.EACCES, "not allowed")])
def test_other_errors_pass_as_they_are(tmp_path, error):
    with pytest.raises(type(error), match=str(error.args[-1])) as caught, full_disk_told(tmp_path, "kept"):
        raise error
    assert caught.value is error


def test_a_report_that_does_not_fit_leaves_the_old_one(tmp_path, room_of):
    path = tmp_path / "report.json"
    write_atomically(path, "old")
    room_of(2**21)
    with pytest.raises(OSError, match="it is as it was before"):
        write_atomically(path, "x" * 2**22)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_outcomes_that_were_written_stay_and_the_run_goes_on(tmp_path, tiny_folder, detector, room_of):
    out, absent = tmp_path / "out.jsonl", [str(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    first = {"path": "first.mp4", "model": detector.model_info, "status": "no_face", "reason": "x" * 2**21}
    out.write_text(json.dumps(first) + "\n")
    room_of(out.stat().st_size + 100)
    options = {"model": str(tiny_folder), "device": "cpu"}
    with pytest.raises(OSError, match="the same command goes on") as caught:
        list(judge_into(out, absent, 1, options))
    assert caught.value.filename == str(out)
    assert read_outcomes(out) == [first]
    room_of(resource.RLIM_INFINITY)
    assert [outcome["path"] for outcome in judge_into(out, absent, 1, options)] == ["first.mp4", *absent]
