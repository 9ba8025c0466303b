"""Any CSV, JSONL or JSON list of clips, read through a mapping of columns.

    read_manifest("index.csv", columns=["path=file", "video_label=label", "identities=identity"])

A mapping is `field=column`, or `field=:text` for the same text in every row. A value mapping is
`field:value=new value` (`audio_label:fake=` makes the voice of fakes unknown). Serves DefakeAVMiT, whose files
are not public, and anybody's own folder.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .records import LABEL_FIELDS, SEGMENT_FIELDS, ClipRecord, Problem, as_segments

FIELD_NAMES = tuple(field.name for field in fields(ClipRecord) if field.name != "row")
LABEL_WORDS = {
    "real": 0, "fake": 1, "0": 0, "1": 1, "bonafide": 0, "spoof": 1, "false": 0, "true": 1,
    "0.0": 0, "1.0": 1,  # pandas writes so where a column has gaps
}  # fmt: skip
ODD_BYTES = "surrogateescape"  # they cost their own row, not the list
UNKNOWN_WORDS = ("", "none", "null", "unknown", "nan")
Rows = Iterator[tuple[int, dict[str, Any] | str]]  # row number, and its values or what is wrong with it
Columns = list[tuple[str, str]]  # (field, column)


def parse_columns(columns: Sequence[str]) -> Columns:
    """`field=column` strings as pairs; a field may be named once, but `identities` as often as people have columns.

    Raises:
        ValueError: a string has no `=`, names a field that a record does not have, or names one again.
    """
    mapping: Columns = []
    for text in columns:
        field, separator, column = text.partition("=")
        if not separator or field not in FIELD_NAMES:
            raise ValueError(f"columns must read field=column with a field of {FIELD_NAMES}, but got {text!r}")
        if field != "identities" and field in dict(mapping):
            raise ValueError(f"columns must name {field} once, but got {text!r} after {dict(mapping)[field]!r}")
        mapping.append((field, column))
    return mapping


def parse_values(values: Sequence[str]) -> dict[tuple[str, str], str]:
    """`field:value=new` strings as {(field, value): new}.

    Raises:
        ValueError: a string does not have that form.
    """
    mapping: dict[tuple[str, str], str] = {}
    for text in values:
        left, separator, new = text.partition("=")
        field, colon, value = left.partition(":")
        if not separator or not colon or field not in FIELD_NAMES:
            raise ValueError(f"values must read field:value=new value, but got {text!r}")
        mapping[field, value] = new
    return mapping


def _csv_rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8-sig", errors=ODD_BYTES) as handle:
        reader = csv.DictReader(handle)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # such as a quote that nothing closes
                yield reader.reader.line_num, f"not CSV: {error}"
            else:
                broken = None in row or None in row.values()
                yield reader.line_num, "the number of fields differs from the header's" if broken else row


def _json_row(value: Any) -> dict[str, Any] | str:
    return value if isinstance(value, dict) else "the row must be a JSON object"


def _jsonl_rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", errors=ODD_BYTES) as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                yield number, _json_row(json.loads(line))
            except json.JSONDecodeError as error:
                yield number, f"not JSON: {error}"


def _json_rows(path: Path) -> Rows:
    for number, value in enumerate(load_json_list(path)):
        yield number, _json_row(value)


def load_json_list(path: Path) -> list[Any]:
    """A JSON file that holds a list.

    Raises:
        ValueError: the file is no JSON or no list; the message names it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be JSON, but: {error}") from error
    if not isinstance(values, list):
        raise ValueError(f"{path} must hold a JSON list, but holds a {type(values).__name__}")
    return values


def _text_only(rows: Rows) -> Rows:
    for number, row in rows:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            around = error.object[max(0, error.start - 20) : error.end + 20]
            yield number, f"the row must be UTF-8, but holds {around!r}"
        else:
            yield number, row


ROW_READERS = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}


def rows_of(path: str | Path) -> Rows:
    """Every row of a CSV, JSONL or JSON list with its number (line, or index in a list).

    Yields:
        (row, values), or (row, reason) where the row is broken.

    Raises:
        ValueError: the file is missing or has another suffix.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"path must be an existing list of clips, but got {path}")
    if path.suffix.lower() not in ROW_READERS:
        raise ValueError(f"path must end in one of {tuple(ROW_READERS)}, but got {path}")
    return _text_only(ROW_READERS[path.suffix.lower()](path))


def parse_label(value: Any) -> int | None:
    """0, 1 or None from what lists write: real, FAKE, 1, true, '', unknown.

    Raises:
        ValueError: the value is none of these words.
    """
    if value is None or str(value).strip().lower() in UNKNOWN_WORDS:
        return None
    word = str(value).strip().lower()
    if word not in LABEL_WORDS:
        raise ValueError(f"a label must be one of {(*LABEL_WORDS, *UNKNOWN_WORDS)}, but got {value!r}")
    return LABEL_WORDS[word]


def _parse_segments(value: Any) -> Any:
    if value is None or value == "":
        return None
    try:
        return as_segments(json.loads(value) if isinstance(value, str) else value)
    except json.JSONDecodeError as error:
        raise ValueError(f"segments must be JSON pairs [[start, end], ...], but got {value!r}") from error


def _parse_identities(value: Any) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    text = "" if value is None else str(value)  # somebody may be called 0
    return tuple(part.strip() for part in text.replace("|", ";").split(";") if part.strip())


def _parse_field(field: str, value: Any) -> Any:
    if field in LABEL_FIELDS:
        return parse_label(value)
    if field in SEGMENT_FIELDS:
        return _parse_segments(value)
    if field == "identities":
        return _parse_identities(value)
    if field == "audio_path" and not value:
        return None
    return str(value if value is not None else "")


def _value(row: Mapping[str, Any], field: str, column: str, values: Mapping[tuple[str, str], str]) -> Any:
    if column.startswith(":"):
        raw: Any = column[1:]
    elif column in row:
        raw = row[column]
    else:
        raise ValueError(f"column {column!r} (mapped to {field}) is missing")
    return values.get((field, str(raw)), raw)


def _stream_labels(found: dict[str, Any]) -> dict[str, Any]:
    """A real clip is two real streams; the streams of a fake stay unknown unless the list tells."""
    streams = ("video_label", "audio_label")
    if found.get("label") is None and all(found.get(name) == 0 for name in streams):
        found["label"] = 0
    if found.get("label") == 0:
        for name in streams:
            found[name] = found.get(name) or 0
    return found


def record_of(
    row: Mapping[str, Any], columns: Columns, values: Mapping[tuple[str, str], str], root: Path, number: int
) -> ClipRecord:
    """One row as a record; relative paths are taken from `root`.

    Raises:
        ValueError: a mapped column is missing, a value has no meaning, or the file is missing.
    """
    found: dict[str, Any] = {"path": "", "label": None}
    for field, column in columns:
        value = _parse_field(field, _value(row, field, column, values))
        found[field] = tuple(dict.fromkeys((*found.get(field, ()), *value))) if field == "identities" else value
    for name in ("path", "audio_path"):
        if found.get(name):
            found[name] = str(root / found[name])
            if not os.path.isfile(found[name]):  # Path.is_file raises where a name is too long
                raise ValueError(f"{name} {found[name]} is missing")
    return ClipRecord(row=number, **_stream_labels(found))


def default_columns(header: Iterable[str]) -> Columns:
    """Columns that are named like a record's field, and `file` for the path."""
    names = set(header)
    found = [(field, field) for field in FIELD_NAMES if field in names]
    return [*found, ("path", "file")] if "path" not in names and "file" in names else found


def read_manifest(
    path: str | Path, columns: Sequence[str] = (), values: Sequence[str] = (), root: str | Path | None = None
) -> tuple[list[ClipRecord], list[Problem]]:
    """Records of a CSV, JSONL or JSON list, and the rows that gave none.

    Args:
        path: the list.
        columns: `field=column` strings; without them, columns named like a record's fields.
        values: `field:value=new` strings.
        root: folder of the media; default the list's folder.

    Raises:
        ValueError: the list cannot be read, a mapping is malformed, or no column holds the path.
    """
    path, chosen, changes = Path(path), parse_columns(columns), parse_values(values)
    folder = Path(root) if root is not None else path.parent
    records: dict[tuple[str, str | None], ClipRecord] = {}
    problems: list[Problem] = []
    rows = list(rows_of(path))
    header = list(dict.fromkeys(name for _, row in rows if isinstance(row, dict) for name in row))
    place = dict(chosen or default_columns(header)).get("path", "")
    if header and place not in header:
        raise ValueError(f"columns must name the path's one, as path=COLUMN, but got {place!r}; {path} has {header}")
    for number, row in rows:
        if isinstance(row, str):
            problems.append(Problem(str(path), number, row))
            continue
        try:
            record = record_of(row, chosen or default_columns(row), changes, folder, number)
        except (ValueError, TypeError) as error:
            problems.append(Problem(str(path), number, str(error)))
            continue
        first = records.setdefault((record.path, record.audio_path), record)
        if first is not record:
            problems.append(Problem(str(path), number, f"duplicate of row {first.row}: {record.path}"))
    return list(records.values()), problems
