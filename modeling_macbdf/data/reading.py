"""What the readers share: rows to records, with every row that gives none named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .records import ClipRecord, Problem

MEDIA_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg")
Found = tuple[list[ClipRecord], list[Problem]]
# (row's values, row's number) -> record; raises ValueError or KeyError for a broken row
MakeRecord = Callable[[Mapping[str, Any], int], ClipRecord]


def collect(list_file: Path, rows: Iterable[tuple[int, Mapping[str, Any] | str]], make: MakeRecord) -> Found:
    """Records of a list; duplicates, missing files and broken rows become problems.

    Args:
        list_file: for the messages.
        rows: number and values of each row, or what is wrong with it.
        make: turns a row into a record.
    """
    records: dict[str, ClipRecord] = {}
    problems: list[Problem] = []
    for number, row in rows:
        try:
            if isinstance(row, str):
                raise ValueError(row)
            record = make(row, number)
            check_new(record, records)
        except KeyError as error:
            problems.append(Problem(str(list_file), number, f"column or key {error.args[0]!r} is missing"))
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(Problem(str(list_file), number, str(error)))
        else:
            records[record.path] = record
    return list(records.values()), problems


def check_new(record: ClipRecord, records: Mapping[str, ClipRecord]) -> None:
    """Refuse a clip that is there already, and one whose file is not.

    Raises:
        ValueError: with the reason.
    """
    if record.path in records:
        raise ValueError(f"duplicate of row {records[record.path].row}: {record.path}")
    if not os.path.isfile(record.path):  # Path.is_file raises where a name is too long
        raise ValueError(f"the file is missing: {record.path}")


def collect_files(files: Iterable[Path], make: Callable[[Path], ClipRecord]) -> Found:
    """Records of the files of a tree that has no list; files that do not fit the layout become problems."""
    records: list[ClipRecord] = []
    problems: list[Problem] = []
    for path in files:
        try:
            records.append(make(path))
        except ValueError as error:
            problems.append(Problem(str(path), None, str(error)))
    return records, problems


def media_below(folder: Path) -> list[Path]:
    """Media files below a folder, in order of name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in MEDIA_SUFFIXES and not p.name.startswith("."))


def need_folder(root: str | Path, *names: str) -> Path:
    """The first of root/name that is a folder (`""` = root itself).

    Raises:
        ValueError: none of them is.
    """
    for name in names or ("",):
        folder = Path(root) / name
        if folder.is_dir():
            return folder
    raise ValueError(f"root must hold one of the folders {names}, but {root} has none of them")


def load_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        ValueError: it is missing or no JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"root must hold {path.name}, but {path} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be JSON, but: {error}") from error


def join(*results: Found) -> Found:
    """Several readings as one."""
    return [r for records, _ in results for r in records], [p for _, problems in results for p in problems]
