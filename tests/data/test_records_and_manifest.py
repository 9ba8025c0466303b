import json

import pytest

from modeling_macbdf.data.manifest import parse_label, read_manifest
from modeling_macbdf.data.records import ClipRecord, real_record, to_dataset

COLUMNS = ["path=file", "label=truth", "video_label=truth", "generator=made by", "identities=who"]


def write_list(folder, *rows, header="file,truth,made by,who,comment"):
    path = folder / "list.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def test_a_record_survives_json():
    record = ClipRecord(
        "a.mp4", 1, 1, 0, "swap", identities=("x", "y"), video_segments_s=((0.5, 1.25),), audio_segments_s=(), row=3
    )
    assert ClipRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": 2}, "label must be 0"),
        ({"label": 0, "video_label": 1}, "label must be 1 where a stream is fake"),
        ({"label": 1, "video_segments_s": ((2.0, 1.0),)}, "video_segments_s must hold finite intervals"),
        ({"label": 1, "audio_label": 0, "audio_segments_s": ((0.0, 1.0),)}, "audio_segments_s must be empty"),
        ({"label": 0, "video_segments_s": ((0.0, 1.0),)}, "label must be 1 where a stream .* has forged segments"),
    ],
)
def test_contradictory_records_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        ClipRecord(path="a.mp4", **fields)


def test_forged_segments_tell_that_their_stream_is_fake():
    """Without a label of the stream, the windows of such clips once had no step labels at all."""
    record = ClipRecord("a.mp4", 1, video_segments_s=((0.2, 0.6),), audio_segments_s=())
    assert (record.label, record.video_label, record.audio_label) == (1, 1, None)
    record = ClipRecord("a.mp4", None, audio_segments_s=((0.2, 0.6),))
    assert (record.label, record.video_label, record.audio_label) == (1, None, 1)


def test_every_row_becomes_a_record_or_a_problem_with_its_line(tmp_path, place):
    for name in ("a.mp4", "b.mp4"):
        place(tmp_path / name)
    path = write_list(
        tmp_path, "a.mp4,real,,p1,x", "b.mp4,FAKE,swap,p1;p2,x", "a.mp4,real,,p1,x", "gone.mp4,real,,p3,x",
        "b.mp4,maybe,,p1,x", "b.mp4,real",
    )  # fmt: skip
    records, problems = read_manifest(path, COLUMNS)
    assert [(r.label, r.video_label, r.audio_label, r.identities, r.row) for r in records] == [
        (0, 0, 0, ("p1",), 2),
        (1, 1, None, ("p1", "p2"), 3),
    ]
    assert [p.row for p in problems] == [4, 5, 6, 7]
    for problem, words in zip(
        problems, ("duplicate of row 2", "is missing", "'maybe'", "number of fields"), strict=True
    ):
        assert words in problem.reason
        assert problem.file == str(path)


def test_values_are_mapped_and_constants_set(tmp_path, place):
    place(tmp_path / "a.mp4")
    path = write_list(tmp_path, "a.mp4,fake,,p1,x")
    columns = [*COLUMNS, "audio_label=truth", "split=:train"]
    (record,), _ = read_manifest(path, columns, values=["audio_label:fake=unknown"])
    assert (record.video_label, record.audio_label, record.split) == (1, None, "train")


def test_jsonl_and_json_lists_read_alike(tmp_path, place):
    place(tmp_path / "a.mp4")
    row = {"file": "a.mp4", "label": 1, "audio_label": 1, "audio_segments_s": [[0.1, 0.2]], "extra": 1}
    (tmp_path / "l.jsonl").write_text(json.dumps(row) + "\n\n{broken\n")
    (tmp_path / "l.json").write_text(json.dumps([row, 7]))
    lines, line_problems = read_manifest(tmp_path / "l.jsonl")
    entries, entry_problems = read_manifest(tmp_path / "l.json")
    assert lines[0].audio_segments_s == entries[0].audio_segments_s == ((0.1, 0.2),)
    assert "not JSON" in line_problems[0].reason and line_problems[0].row == 3
    assert "JSON object" in entry_problems[0].reason and entry_problems[0].row == 1


def test_two_real_streams_are_a_real_clip(tmp_path, place):
    """Such a row once had no label of the whole."""
    place(tmp_path / "a.mp4")
    path = write_list(tmp_path, "a.mp4,0,0", header="file,video_label,audio_label")
    (record,), _ = read_manifest(path)
    assert record.label == 0
    (record,), _ = read_manifest(path, ["path=file", "audio_label=audio_label"])
    assert record.label is None, "the picture is not told"


@pytest.mark.parametrize("columns", [["file"], ["nonsense=file"]])
def test_malformed_mappings_are_refused(tmp_path, columns):
    with pytest.raises(ValueError, match="columns must read field=column"):
        read_manifest(write_list(tmp_path), columns)


def test_people_may_stand_in_several_columns_and_other_fields_in_one(tmp_path, place):
    """The last column of a field once took the place of the others, without a word."""
    place(tmp_path / "a.mp4")
    path = write_list(tmp_path, "a.mp4,ann|bob,bob;eve", header="file,source,target")
    columns = ["path=file", "identities=source", "identities=target"]
    (record,), _ = read_manifest(path, columns)
    assert record.identities == ("ann", "bob", "eve")
    with pytest.raises(ValueError, match="columns must name label once, but got 'label=target' after 'source'"):
        read_manifest(path, [*columns, "label=source", "label=target"])


def test_somebody_may_be_called_0(tmp_path, place):
    """The number 0 once was nobody."""
    place(tmp_path / "a.mp4")
    (tmp_path / "l.json").write_text(json.dumps([{"file": "a.mp4", "identities": 0}]))
    assert read_manifest(tmp_path / "l.json")[0][0].identities == ("0",)


def test_an_odd_row_costs_no_other_one(tmp_path, place):
    """A name that is too long, a byte that is no UTF-8 and a field that is too long each once ended the reading."""
    place(tmp_path / "a.mp4")
    rows = [b"file,label", b"x" * 300 + b".mp4,0", b"b\xe9b\xe9.mp4,0", b"y" * 140_000 + b",0", b"a.mp4,1.0"]
    path = tmp_path / "list.csv"
    path.write_bytes(b"\n".join(rows) + b"\n")
    (record,), problems = read_manifest(path)
    assert (record.path, record.label, record.row) == (str(tmp_path / "a.mp4"), 1, 5)
    assert [problem.row for problem in problems] == [2, 3, 4]
    words = ("is missing", "must be UTF-8, but holds", "not CSV: field larger than field limit")
    assert all(word in problem.reason for word, problem in zip(words, problems, strict=True))
    lines = tmp_path / "list.jsonl"
    lines.write_bytes(b'{"file": "b\xe9.mp4"}\n{"file": "a.mp4"}\n')
    records, problems = read_manifest(lines)
    assert (len(records), [problem.row for problem in problems]) == (1, [1])


@pytest.mark.parametrize("columns", [(), ["label=truth"], ["path=clip"]])
def test_a_list_without_paths_is_refused_once_with_its_columns(tmp_path, columns):
    """Every row once failed with "missing 1 required positional argument"."""
    path = write_list(tmp_path, "a.mp4,real", header="name,truth")
    with pytest.raises(ValueError, match=r"as path=COLUMN, but got '(clip)?'; .*list\.csv has \['name', 'truth'\]"):
        read_manifest(path, columns)


def test_label_words():
    words = ("REAL", "fake", 1, "", "unknown", "1.0", 0.0)
    assert [parse_label(word) for word in words] == [0, 1, 1, None, None, 1, 0]


def test_records_are_a_dataset_with_typed_columns():
    fake = ClipRecord("b.mp4", 1, None, 1, identities=("p", "q"), audio_segments_s=((0.0, 0.5),))
    table = to_dataset([real_record("a.mp4"), fake])
    assert table["label"][:] == [0, 1]
    assert table[1]["video_label"] is None
    assert table[1]["audio_segments_s"] == [[0.0, 0.5]]
    assert table[1]["identities"] == ["p", "q"]
