"""The command as a user types it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_macbdf import cli
from modeling_macbdf.judging import Judge
from modeling_macbdf.paths import expand_paths


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_detect_reports_every_file_and_exits_1_when_some_were_not_scored(talking_clip, tiny_folder, tmp_path, capsys):
    (tmp_path / "letter.mp4").write_text("no video")
    out_json, out_csv = tmp_path / "r.json", tmp_path / "r.csv"
    options = ["--model", tiny_folder, "--json", out_json, "--csv", out_csv, "--device", "cpu"]
    code = run("detect", talking_clip, tmp_path / "letter.mp4", tmp_path / "absent.mp4", *options)
    assert code == 1
    report = json.loads(out_json.read_text())
    assert [file["status"] for file in report["files"]] == ["scored", "not_media", "missing"]
    assert report["schema_version"] == 1
    assert report["model"]["id"] == tiny_folder.name
    assert report["summary"]["files"] == 3
    assert len(list(csv.DictReader(out_csv.open()))) == 3
    assert "3 files: 1 scored" in capsys.readouterr().out


def test_detect_exits_0_when_all_are_scored_and_profile_tells_where_the_time_went(talking_clip, tiny_folder, capsys):
    assert run("detect", talking_clip, "--model", tiny_folder, "--device", "cpu", "--profile") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  time: "))
    seconds = dict(re.findall(r"(decode|faces|model|other) (\d+\.\d+) s", line))
    assert set(seconds) == {"decode", "faces", "model", "other"}
    assert float(seconds["model"]) > 0
    assert float(re.search(r"peak memory (\d+) MiB", line)[1]) > 100


@pytest.mark.parametrize(
    "arguments",
    [
        ["clip.mp4", "--batch-size", "0"],
        ["clip.mp4", "--json", "/no/such/folder/out.json"],
        ["clip.mp4", "--max-minutes", "-1"],
        ["clip.mp4", "--max-minutes", "inf"],
    ],
)
def test_usage_errors_exit_2_and_say_what_is_wrong(arguments, tiny_folder, capsys):
    assert run("detect", *arguments, "--model", tiny_folder) == 2
    assert capsys.readouterr().err.startswith("macbdf: ")


def test_what_the_system_or_the_weights_lack_is_a_usage_error(talking_clip, tiny_folder, tmp_path, capsys):
    """Both ended in a traceback."""
    assert run("detect", talking_clip, "--model", tiny_folder, "--device", "cuda:99") == 2
    assert "device must be one that PyTorch has here, but 'cuda:99' is not" in capsys.readouterr().err
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for more in ([], ["--isolate"]):
        assert run("detect", talking_clip, "--model", folder, *more) == 2
        assert f"the model.safetensors of {folder} cannot be read" in capsys.readouterr().err


def test_what_was_judged_before_an_interrupt_is_reported(talking_clip, tiny_folder, tmp_path, capsys, monkeypatch):
    """Ctrl+C lost all of it."""
    judge = Judge.detect

    def interrupted(self, path, *more):
        if path == "third.mp4":
            raise KeyboardInterrupt
        return judge(self, path, *more)

    monkeypatch.setattr(Judge, "detect", interrupted)
    options = ["--model", tiny_folder, "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv"]
    assert run("detect", talking_clip, "second.mp4", "third.mp4", "fourth.mp4", *options) == 130
    assert [file["status"] for file in json.loads((tmp_path / "r.json").read_text())["files"]] == ["scored", "missing"]
    assert len(list(csv.DictReader((tmp_path / "r.csv").open()))) == 2
    assert "ended after 2 of 4 files" in capsys.readouterr().err
    assert run("detect", "third.mp4", *options) == 130
    assert "scored" in (tmp_path / "r.json").read_text(), "nothing was judged, so the old report stays"


@pytest.mark.parametrize("report", ["--json", "--jsonl"])
def test_a_closed_pipe_ends_the_text_and_not_the_judging(tiny_folder, tmp_path, report):
    """`macbdf detect ... | head -1` ended with the first line that nobody read, without a report."""
    files = [str(tmp_path / f"absent-{number}.mp4") for number in range(3)]
    command = [sys.executable, "-m", "modeling_macbdf", "detect", *files, "--model", str(tiny_folder)]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        done = subprocess.run(
            [*command, report, str(tmp_path / "r")], stdout=nobody, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1, done.stderr
    assert "Broken pipe" not in done.stderr
    assert all(file in (tmp_path / "r").read_text() for file in files)


def test_names_fake_no_lines_of_the_outcomes(tiny_folder, tmp_path, capsys):
    odd = tmp_path / "a\nb.mp4: real (1%)\x1b[2J.mp4"
    assert run("detect", odd, "--model", tiny_folder, "--jsonl", tmp_path / "o.jsonl") == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out and len(out.splitlines()) == 1


def test_an_unknown_model_is_a_usage_error(talking_clip, tmp_path, capsys):
    assert run("detect", talking_clip, "--model", tmp_path / "nothing") == 2
    assert "nothing" in capsys.readouterr().err


def test_folders_globs_and_odd_names_are_expanded(tmp_path):
    (tmp_path / "a" / ".hidden").mkdir(parents=True)
    for name in ("a/1.mp4", "a/[2].mp4", "a/.3.mp4", "a/.hidden/4.mp4", "b.mov"):
        (tmp_path / name).touch()
    inside = [str(tmp_path / "a" / name) for name in ("1.mp4", "[2].mp4")]
    assert expand_paths([str(tmp_path / "a")]) == inside
    assert expand_paths([str(tmp_path / "*.mov")]) == [str(tmp_path / "b.mov")]
    assert expand_paths([str(tmp_path / "a" / "[2].mp4")]) == [inside[1]]
    assert expand_paths([inside[0], inside[0]]) == [inside[0]]


def test_linked_folders_are_taken_once_and_folders_of_a_glob_whole(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "1.mp4").touch()
    (tmp_path / "b" / "2.mp4").touch()
    (tmp_path / "a" / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    found = [str(tmp_path / "a" / name) for name in ("1.mp4", "linked/2.mp4")]
    assert expand_paths([str(tmp_path / "a")]) == found
    assert expand_paths([str(tmp_path / "[a]")]) == found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_reported(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert expand_paths([str(tmp_path)]) == [str(tmp_path / "closed")]


def test_a_name_that_is_no_text_costs_no_report(tmp_path, tiny_folder):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/b\xe9b\xe9.mp4")
    Path(odd).touch()
    assert run("detect", odd, "--model", tiny_folder, "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv") == 1
    report = json.loads((tmp_path / "r.json").read_text())
    assert [file["path"] for file in report["files"]] == [odd]
    lines = tmp_path / "r.jsonl"
    for _ in range(2):
        assert run("detect", odd, "--model", tiny_folder, "--jsonl", lines) == 1
    assert len(lines.read_text().splitlines()) == 1, "the second run finds the first one's outcome"


def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path, capsys):
    assert run("detect", "a.mp4", "--json", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_name_that_matches_nothing_is_kept_to_be_reported(tmp_path):
    assert expand_paths([str(tmp_path / "*.mp4")]) == [str(tmp_path / "*.mp4")]


def test_an_empty_folder_is_a_usage_error(tmp_path):
    with pytest.raises(ValueError, match="no file found"):
        expand_paths([str(tmp_path)])


def test_make_clip_writes_a_clip(tmp_path, capsys):
    assert run("make-clip", tmp_path / "new" / "clip.mp4", "--seconds", "1") == 0
    assert (tmp_path / "new" / "clip.mp4").stat().st_size > 1000
