"""Many files: a line for each as it comes, a broken run goes on, and launched processes share the work."""

import json

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


def test_a_broken_run_goes_on_where_it_stopped(files, tiny_folder, tmp_path):
    out = tmp_path / "out.jsonl"
    running = judge_into(out, files, 1, options(tiny_folder))
    assert next(running)["status"] == "scored"
    running.close()
    whole = out.read_bytes()
    out.write_bytes(whole + b'{"path": "half a li')
    outcomes = list(judge_into(out, files, 1, options(tiny_folder)))
    assert [outcome["path"] for outcome in outcomes] == files
    assert out.read_bytes().startswith(whole)
    assert read_outcomes(out) == json.loads(json.dumps(outcomes))
    assert outcomes[2]["status"] == "not_media"
    assert outcomes[0]["p_fake"] == outcomes[1]["p_fake"]


def test_a_name_with_a_line_separator_is_one_outcome(tmp_path):
    (tmp_path / "o.jsonl").write_text('{"path": "a\u2028b\x85.mp4"}\n', encoding="utf-8")
    assert read_outcomes(tmp_path / "o.jsonl") == [{"path": "a\u2028b\x85.mp4"}]


def test_outcomes_of_two_models_are_not_mixed(files, tiny_folder, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text(json.dumps({"path": "other.mp4", "model": {"id": "other", "revision": None}}) + "\n")
    with pytest.raises(ValueError, match="holds outcomes of the model"):
        list(judge_into(out, files[2:], 1, options(tiny_folder)))
    assert len(read_outcomes(out)) == 1


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


@pytest.mark.slow
def test_two_processes_judge_every_file_once(files, tiny_folder, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    options = ["--model", str(tiny_folder), "--jsonl", str(out), "--processes", "2", "--isolate"]
    assert cli.main(["detect", *files, *options]) == 1
    assert sorted(outcome["path"] for outcome in read_outcomes(out)) == files
    assert "not_media" in capsys.readouterr().out


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
