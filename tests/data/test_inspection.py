import argparse
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from modeling_macbdf.data import commands
from modeling_macbdf.data.cache import shard_files
from modeling_macbdf.data.inspection import inspect_dataset, waveform_picture
from modeling_macbdf.data.pseudofakes import KINDS
from modeling_macbdf.data.records import ClipRecord, Problem, real_record
from modeling_macbdf.media.write import write_clip


def parse(add, *words):
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def listed(tmp_path, place):
    """A list of four clips: one opens, one is damaged, one is missing, one row is broken."""
    place(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_text("no media")
    path = tmp_path / "list.csv"
    path.write_text("file,label,generator,who\na.mp4,real,,p\nb.mp4,fake,swap,p\ngone.mp4,real,,q\na.mp4\n")
    return path


def test_counts_and_every_problem_with_file_row_and_reason(listed, tmp_path):
    out = tmp_path / "out.json"
    columns = ("path=file", "label=label", "generator=generator", "identities=who")
    arguments = parse(
        commands.add_inspect_arguments, "--dataset", "manifest", "--root", listed, "--json", out, "--columns", *columns
    )
    result = commands.run_inspect(arguments)
    assert result == json.loads(out.read_text())
    assert (result["clips"], result["identities"]) == (2, 1)
    assert result["by_label"] == {"real": 1, "fake": 1} and result["by_generator"] == {"swap": 1}
    assert result["duration_s"]["real"]["median"] == pytest.approx(0.4, abs=0.1)
    assert result["by_video_codec"] == {"real: h264 32x32": 1}
    rows = [(problem["row"], problem["reason"].split(":")[0].split(" ")[0]) for problem in result["problems"]]
    assert rows == [(4, "path"), (5, "the"), (3, "not_media")]
    assert all(problem["file"] for problem in result["problems"])
    text = commands.as_text(result)
    assert "clips: 2" in text and f"{listed} row 4" in text


@pytest.mark.parametrize("picture", ["clip.mp4", "photo.png"])
def test_the_sound_is_looked_for_where_the_record_says(tmp_path, picture):
    """Clips whose voice is a file of its own were told to have no sound."""
    write_clip(tmp_path / "clip.mp4", np.zeros((10, 32, 32, 3), np.uint8), 25.0)
    Image.new("RGB", (32, 24)).save(tmp_path / "photo.png")
    soundfile.write(tmp_path / "voice.wav", np.zeros(8000), 8000)
    record = real_record(str(tmp_path / picture), audio_path=str(tmp_path / "voice.wav"))
    assert inspect_dataset([record])["by_audio_codec"] == {"real: pcm_s16le 8000 Hz": 1}
    gone = real_record(str(tmp_path / picture), audio_path=str(tmp_path / "gone.wav"))
    (problem,) = inspect_dataset([gone])["problems"]
    assert problem["file"] == gone.audio_path and problem["reason"].startswith("missing")


def test_files_stay_closed_when_asked(listed):
    record = real_record(str(listed.parent / "b.mp4"))
    result = inspect_dataset([record], [Problem("x", 1, "odd")], open_files=False)
    assert "duration_s" not in result and len(result["problems"]) == 1


def test_preprocess_from_the_command_line(listed, tmp_path):
    arguments = parse(
        commands.add_preprocess_arguments, "--dataset", "manifest", "--root", listed, "--out", tmp_path / "cache",
        "--cache-rate", "5", "--columns", "path=file", "label=label",
    )  # fmt: skip
    summary = commands.run_preprocess(arguments, progress=False)
    assert summary["by_status"] == {"no_face": 1, "not_media": 1}
    assert [problem["row"] for problem in summary["problems"]] == [4, 5]
    assert "no_face" in commands.as_text(summary)


def test_processes_of_a_launcher_share_the_work_and_give_what_one_gives(listed, tmp_path, monkeypatch):
    def run(out, rank, world, *words):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        arguments = parse(
            commands.add_preprocess_arguments, "--dataset", "manifest", "--root", listed, "--out", out,
            "--cache-rate", "5", "--columns", "path=file", "label=label", *words,
        )  # fmt: skip
        return commands.run_preprocess(arguments, progress=False)

    for name in (f"broken-{index}" for index in range(38)):
        (tmp_path / f"{name}.mp4").write_text("no media")
        with listed.open("a") as handle:
            handle.write(f"{name}.mp4,fake,swap,p\n")
    one = run(tmp_path / "one", 0, 1)
    parts = [run(tmp_path / "two", rank, 2) for rank in (0, 1)]
    assert [part["shard"] for part in parts] == ["0/2", "1/2"]
    assert 0 < parts[0]["clips"] < 40 == one["clips"] == parts[1]["clips"]
    assert parts[1]["by_status"] == one["by_status"]
    tables = [
        sorted((row["key"], row["audio"]) for path in shard_files(tmp_path / name) for row in _rows(path))
        for name in ("one", "two")
    ]
    assert tables[0] == tables[1] and len(tables[0]) == 1
    assert run(tmp_path / "three", 1, 2, "--shard", "1/2")["shard"] == "3/4", "machines of several processes each"
    with pytest.raises(ValueError, match="shard must read"):
        run(tmp_path / "four", 2, 2)


def _rows(path):
    return pq.read_table(path).to_pylist()


def test_options_of_another_reader_are_refused(tmp_path):
    arguments = parse(
        commands.add_inspect_arguments, "--dataset", "kodf", "--root", tmp_path, "--columns", "path=file"
    )
    with pytest.raises(ValueError, match="columns must be given with --dataset manifest"):
        commands.run_inspect(arguments)


def test_pictures_show_the_clips_and_every_kind(cache_folder, talking_files, tmp_path):
    (tmp_path / "people.jsonl").write_text(
        "\n".join(json.dumps({"path": r.path, "label": 0, "identities": list(r.identities)}) for r in talking_files)
    )
    sheet, kinds = tmp_path / "sheet.png", tmp_path / "kinds.png"
    arguments = parse(
        commands.add_inspect_arguments, "--dataset", "manifest", "--root", tmp_path / "people.jsonl",
        "--sheet", sheet, "--pseudofakes", kinds, "--cache", cache_folder,
    )  # fmt: skip
    commands.run_inspect(arguments)
    row = 14 + 96 + 48
    assert Image.open(sheet).size == (8 * 96, 3 * row)
    assert Image.open(kinds).size[1] == (1 + len(KINDS)) * row
    assert np.asarray(Image.open(kinds)).std() > 20


def test_a_waveform_picture_shows_where_it_is_loud():
    samples = np.concatenate([np.zeros(500), np.sin(np.arange(500))])
    ink = (waveform_picture(samples, 100)[..., 0] < 200).sum(axis=0)
    assert ink[:50].max() <= 2 < ink[50:].min()


def test_a_record_of_an_unknown_label_is_counted():
    assert inspect_dataset([ClipRecord("/x.mp4", None)], open_files=False)["by_label"] == {"unknown": 1}
