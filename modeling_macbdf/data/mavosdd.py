"""MAVOS-DD (multilingual open-set deepfake detection): https://huggingface.co/datasets/unibuc-cs/MAVOS-DD

    {language}/{real|generator}/*.mp4, and a list with video_path, label, split, open_set_model, open_set_language

The list may be CSV, JSONL or JSON (export it from the data set's Arrow files). Without one the tree alone is read, and
there is no split. The published test sets become the splits `test`, `test-open-model`, `test-open-language` and
`test-open-full`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import parse_label, rows_of
from .reading import Found, collect, collect_files, media_below
from .records import ClipRecord

LISTS = ("metadata.csv", "metadata.jsonl", "metadata.json")
OPEN_SETS = {
    (False, False): "",
    (True, False): "-open-model",
    (False, True): "-open-language",
    (True, True): "-open-full",
}


def _flag(value: Any) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False, "": False, "none": False}
    word = str(value).strip().lower()
    if word not in words:
        raise ValueError(f"open_set_model and open_set_language must be true or false, but got {value!r}")
    return words[word]


def _record(path: Path, folder: Path, label: int | None, split: str, row: int | None) -> ClipRecord:
    parts = path.relative_to(folder).parts
    if len(parts) != 3:
        raise ValueError(f"the path must read language/real-or-generator/file, but got {path.relative_to(folder)}")
    by_folder = int(parts[1] != "real")
    if label is not None and label != by_folder:
        raise ValueError(f"label must agree with the folder {parts[1]!r}, but got {label}")
    return ClipRecord(
        path=str(path),
        label=by_folder,
        video_label=0 if not by_folder else None,
        audio_label=0 if not by_folder else None,
        generator=parts[1] if by_folder else "",
        source="MAVOS-DD",
        split=split,
        language=parts[0],
        row=row,
        dataset="mavosdd",
    )


def read_mavosdd(root: str | Path) -> Found:
    """Records of MAVOS-DD, and the rows or files that gave none."""
    folder = Path(root)
    list_file = next((folder / name for name in LISTS if (folder / name).is_file()), None)
    if list_file is None:
        return collect_files(media_below(folder), lambda path: _record(path, folder, None, "", None))

    def make(row: Mapping[str, Any], number: int) -> ClipRecord:
        opened = _flag(row["open_set_model"]), _flag(row["open_set_language"])
        split = str(row["split"]) + OPEN_SETS[opened]
        return _record(folder / row["video_path"], folder, parse_label(row["label"]), split, number)

    return collect(list_file, rows_of(list_file), make)
