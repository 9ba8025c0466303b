"""Many files: a line for each as it comes, a broken run goes on, and launched processes share the work."""

import json
from pathlib import Path

import pytest

from modeling_macbdf import cli
from modeling_macbdf.batch import judge_into, read_outcomes


@pytest.fixture
def files(tmp_path, talking_clip) -> list[str]:
    """Two names of one clip, and a file that is no media."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).symlink_to(talking_clip)
    (tmp_path / "c.mp4").write_text("no media")
    return [str(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4")]


def options(folder) -> dict:
    return {"model": str(folder), "device": "cpu"}


def line(path: str, status: str = "scored", model: str = "m") -> str:
    """A line of an earlier run."""
    return json.dumps({"model": {"id": model, "revision": None}, "path": path, "status": status}) + "\n"


def test_a_broken_run_goes_on_where_it_stopped(files, tiny_folder, tmp_path):
    out = tmp_path / "out.jsonl"
    running = judge_into(out, files, 1, options(tiny_folder))
    assert next(running)["status"] == "scored"
    running.close()
    whole = out.read_bytes()
    out.write_bytes(whole + whole[:40])
    outcomes = list(judge_into(out, files, 1, options(tiny_folder)))
    assert [outcome["path"] for outcome in outcomes] == files
    assert out.read_bytes().startswith(whole)
    assert read_outcomes(out) == json.loads(json.dumps(outcomes))
    assert outcomes[2]["status"] == "not_media"
    assert outcomes[0]["p_fake"] == outcomes[1]["p_fake"]


def test_a_name_with_a_line_separator_is_one_outcome(tmp_path):
    name = "a\u2028b\x85.mp4"
    (tmp_path / "o.jsonl").write_text(line("?").replace("?", name), encoding="utf-8")
    assert [outcome["path"] for outcome in read_outcomes(tmp_path / "o.jsonl")] == [name]


def test_outcomes_of_two_models_are_not_mixed(files, tiny_folder, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text(line("other.mp4", model="other"))
    with pytest.raises(ValueError, match="holds outcomes of the model"):
        list(judge_into(out, files[2:], 1, options(tiny_folder)))
    assert len(read_outcomes(out)) == 1


@pytest.mark.parametrize(
    "content",
    [b'{"schema_version": 1}', b'{"a": 1}\n', b"[1]\n", b"\x00\xff\n\n", line("a.mp4").encode() + b"a note"],
)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path, content):
    """What followed the last line break was cut off, whatever it was: of a JSON report on one line, all."""
    (tmp_path / "old.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"old\.json must hold outcomes of --jsonl, but its line [12] is none"):
        read_outcomes(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_bytes() == content


def test_a_first_line_that_was_broken_off_is_cut(tmp_path):
    for length in (3, 17, 40):
        (tmp_path / "o.jsonl").write_text(line("a.mp4")[:length])
        assert read_outcomes(tmp_path / "o.jsonl") == []
        assert (tmp_path / "o.jsonl").read_bytes() == b""


def test_what_may_pass_is_tried_again(files, tiny_folder, detector, tmp_path):
    """A file that was missing once was never looked at again."""
    out = tmp_path / "out.jsonl"
    before = ["missing", "unreadable", "timeout", "internal_error", "not_media"]
    lines = [line(files[2] if status == "missing" else status, status) for status in before]
    model = json.dumps({"id": "m", "revision": None})
    out.write_text("".join(lines).replace(model, json.dumps(detector.model_info)))
    found = list(judge_into(out, [*before[1:], files[2]], 1, options(tiny_folder)))
    statuses = {outcome["path"]: outcome["status"] for outcome in found}
    assert statuses == {**dict.fromkeys(before[1:4], "missing"), "not_media": "not_media", files[2]: "not_media"}
    assert len(found) == 5
    assert len(read_outcomes(out)) == 9, "the lines before stay"


def test_launched_processes_share_the_files(files, tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, mine in (("0", files[::2]), ("1", files[1::2])):
        monkeypatch.setenv("RANK", rank)
        found = list(judge_into(tmp_path / "out.jsonl", files, 1, options(tiny_folder)))
        assert [outcome["path"] for outcome in found] == mine
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        "out-0000-of-0002.jsonl",
        "out-0001-of-0002.jsonl",
    ]
    # torchrun ended the other process, with its files, where one had a file that could not be judged.
    assert cli.main(["detect", *files, "--model", str(tiny_folder), "--jsonl", str(tmp_path / "out.jsonl")]) == 0


@pytest.mark.slow
def test_two_processes_judge_every_file_once(files, tiny_folder, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    options = ["--model", str(tiny_folder), "--jsonl", str(out), "--processes", "2", "--isolate"]
    assert cli.main(["detect", *files, *options]) == 1
    assert sorted(outcome["path"] for outcome in read_outcomes(out)) == files
    assert "not_media" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "a.mp4", "b.mp4"], "must not replace media, but a.mp4 is an MP4"),
        (["--jsonl", "a.mp4", "b.mp4"], "must not replace media, but a.mp4 is an MP4"),
        (["a.mp4", "--csv", "link"], "must not replace media, but link is an MP4"),
        (["c.mp4", "--json", "./c.mp4"], "must not be one of the files to judge, but c.mp4 is"),
        ([".", "--csv", "c.mp4"], "must not be one of the files to judge, but c.mp4 is"),
        (["c.mp4", "--csv", "new", "--json", "./new"], "but new was named twice"),
    ],
)
def test_a_report_is_not_written_over_what_is_judged(files, monkeypatch, capsys, arguments, message):
    """`--json *.mp4` took the first clip for the report's name and replaced it; `--jsonl` emptied it."""
    folder = Path(files[0]).parent
    monkeypatch.chdir(folder)
    Path("link").symlink_to(files[0])
    before = [Path(file).read_bytes() for file in files]
    assert cli.main(["detect", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [Path(file).read_bytes() for file in files] == before
    assert not Path("new").exists()


def test_a_folder_is_judged_again_with_the_report_in_it(tiny_folder, tmp_path):
    """The report of the first run became one of the files of the second."""
    folder = tmp_path / "folder"
    folder.mkdir()
    note, report = folder / "note.txt", folder / "report.json"
    note.write_text("no media")
    (folder / "report-0001-of-0002.json").write_text("a part that another process wrote")
    for _ in range(2):
        assert cli.main(["detect", str(folder), "--json", str(report), "--model", str(tiny_folder)]) == 1
        assert [file["path"] for file in json.loads(report.read_text())["files"]] == [str(note)]


def test_two_reports_may_go_into_one_device(files, tiny_folder):
    arguments = [files[2], "--json", "/dev/null", "--csv", "/dev/null"]
    assert cli.main(["detect", *arguments, "--model", str(tiny_folder)]) == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--jsonl", "o.jsonl", "--json", "o.json"], "--jsonl replaces --json"),
        (["--processes", "2"], "--processes needs --jsonl"),
        (["--html", "o.html", "--backend", "onnx"], "only --backend torch"),
        (["--html", "o.html", "--isolate"], "look into the judging process"),
        (["--profile", "--isolate"], "look into the judging process"),
    ],
)
def test_options_that_do_not_go_together_are_refused(extra, message, capsys):
    assert cli.main(["detect", "clip.mp4", *extra]) == 2
    assert message in capsys.readouterr().err
