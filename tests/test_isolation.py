"""A file that kills, hangs or starves the judging process costs itself and nothing else."""

import hashlib
import json
import os
import signal
import time
from functools import partial

import pytest

from modeling_macbdf import cli, isolation, sources
from modeling_macbdf.batch import read_outcomes
from modeling_macbdf.isolation import Bounds, Isolated, IsolatedJudge, _build_judge, _Pulsing
from modeling_macbdf.media.outcomes import MediaError, Status
from modeling_macbdf.sources import FileSource

GIB = 2**30


def build(fault: str = ""):
    """A task that does what the request names."""
    if fault:
        raise ValueError(fault)

    def task(request, pulse):
        if request.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[request])
        if request == "hang":
            time.sleep(60)
        if request == "spin":
            while True:
                pass
        if request == "eat":
            return len(bytearray(4 * GIB))
        if request == "slow":
            for _ in range(4):
                time.sleep(1.05)
                pulse()
        if request == "bad":
            raise MediaError(Status.undecodable, "broken", request)
        return os.getpid()

    return task, "ready"


@pytest.fixture(scope="module")
def worker():
    worker = Isolated(build, Bounds(stall_s=3.0, max_seconds=30.0, max_memory_bytes=GIB))
    yield worker
    worker.close()


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ("SIGSEGV", Status.undecodable, "SIGSEGV"),
        ("SIGABRT", Status.undecodable, "SIGABRT"),
        ("SIGKILL", Status.too_large, "memory"),
        ("SIGXCPU", Status.timeout, "SIGXCPU"),
        ("hang", Status.timeout, "no progress for 3 s"),
        ("bad", Status.undecodable, "broken"),
    ],
)
def test_the_death_of_the_child_is_typed_and_the_next_request_is_answered(worker, request_, status, words):
    with pytest.raises(MediaError, match=words) as caught:
        worker("a.mp4", request_)
    assert caught.value.status is status
    answer = worker("b.mp4", "fine")
    assert answer != os.getpid()
    assert worker("b.mp4", "fine") == answer, "the child stays from file to file"


def test_work_that_shows_life_may_take_longer_than_a_stall(worker):
    assert worker("a.mp4", "slow") > 0


def test_memory_has_a_limit_in_the_child_alone():
    worker = Isolated(partial(build), Bounds(max_memory_bytes=GIB))
    with pytest.raises(MediaError):
        worker("a.mp4", "eat")
    worker.close()


def test_the_overall_bound_holds_against_a_spinning_codec():
    worker = Isolated(build, Bounds(stall_s=60, max_seconds=1.0))
    begin = time.monotonic()
    with pytest.raises(MediaError, match=r"over 1 s|SIGXCPU") as caught:
        worker("a.mp4", "spin")
    assert caught.value.status is Status.timeout
    assert time.monotonic() - begin < 20
    worker.close()


def test_what_building_raises_reaches_the_caller():
    with pytest.raises(ValueError, match="no such model"):
        Isolated(partial(build, "no such model"))


def test_bounds_must_be_positive():
    with pytest.raises(ValueError, match="stall_s must be positive, but got 0"):
        Bounds(stall_s=0)


def test_the_isolated_detector_answers_as_the_other_one(detector, tiny_folder, talking_clip, tmp_path):
    isolated = IsolatedJudge(str(tiny_folder), device="cpu", max_duration_s=60.0)
    here, there = detector.detect(talking_clip), isolated.detect(talking_clip)
    assert there.status == "scored"
    assert there.p_fake == pytest.approx(here.p_fake, abs=1e-6)
    assert isolated.model_info == detector.model_info
    os.kill(isolated.worker.pid, signal.SIGSEGV)
    absent = isolated.detect(tmp_path / "absent.mp4")
    assert (absent.status, absent.p_fake) == ("missing", None)
    isolated.close()


def test_hashing_and_listening_show_life(talking_clip, detector, monkeypatch):
    """A file that took long to hash or to hear was ended as one without progress."""
    monkeypatch.setattr(sources, "_HASHED_BYTES", 1000)
    pulses = []
    source = FileSource(str(talking_clip), detector.limits, on_read=_Pulsing(lambda: pulses.append(1)).on_read)
    assert source.sha256() == hashlib.sha256(talking_clip.read_bytes()).hexdigest()
    assert len(pulses) == -(-talking_clip.stat().st_size // 1000)
    pulses.clear()
    source.audio(16_000)
    assert len(pulses) > 50


def build_crashing(threads, model, options):
    """The real judge, but that a file may be a codec's death."""
    task, facts = _build_judge(threads, model, options)

    def judge(path, pulse):
        if path.endswith("crash.mp4"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return task(path, pulse)

    return judge, facts


@pytest.mark.parametrize("report", ["--json", "--jsonl"])
def test_the_command_counts_the_file_that_killed_the_child_and_goes_on(
    report, tiny_folder, talking_clip, tmp_path, monkeypatch
):
    monkeypatch.setattr(isolation, "_build_judge", build_crashing)
    (tmp_path / "crash.mp4").write_bytes(talking_clip.read_bytes())
    files = [str(tmp_path / "crash.mp4"), str(talking_clip), str(tmp_path / "absent.mp4")]
    out = tmp_path / "out"
    assert cli.main(["detect", *files, "--isolate", "--model", str(tiny_folder), report, str(out)]) == 1
    found = read_outcomes(out) if report == "--jsonl" else json.loads(out.read_text())["files"]
    assert [file["path"] for file in found] == files
    assert [file["status"] for file in found] == ["undecodable", "scored", "missing"]
    assert "SIGSEGV" in found[0]["reason"]
