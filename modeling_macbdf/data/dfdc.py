"""DeepFake Detection Challenge: https://ai.meta.com/datasets/dfdc/

    dfdc_train_part_N/{*.mp4, metadata.json}
    metadata.json = {"x.mp4": {"label": "FAKE", "split": "train", "original": "y.mp4"}, ...}

A fake may be a face, a voice or both, and the list does not say which: the labels of the streams stay unknown. People
are not named; a fake and its original share a `pair`, and stay together in a split. All clips say `train`;
`macbdf data split` makes other splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import parse_label
from .reading import Found, collect, join, load_json
from .records import ClipRecord


def _read_part(folder: Path) -> Found:
    list_file = folder / "metadata.json"
    entries = load_json(list_file)
    if not isinstance(entries, dict):
        raise ValueError(f"{list_file} must hold an object of file names, but holds a {type(entries).__name__}")

    def make(row: Mapping[str, Any], number: int) -> ClipRecord:
        label = parse_label(row["label"])
        stream = 0 if label == 0 else None
        return ClipRecord(
            path=str(folder / row["file"]),
            label=label,
            video_label=stream,
            audio_label=stream,
            generator="DFDC" if label == 1 else "",
            source="DFDC",
            split=str(row.get("split") or ""),
            pair=str(row.get("original") or row["file"]),
            row=number,
            dataset="dfdc",
        )

    rows = enumerate(
        {"file": name, **values} if isinstance(values, dict) else f"the entry of {name} must be an object"
        for name, values in entries.items()
    )
    return collect(list_file, rows, make)


def read_dfdc(root: str | Path) -> Found:
    """Records of one part, or of all parts below `root`.

    Raises:
        ValueError: there is no `metadata.json`, or one is no JSON object.
    """
    root = Path(root)
    parts = sorted(path.parent for path in root.glob("*/metadata.json"))
    if (root / "metadata.json").is_file() or not parts:
        parts = [root]
    return join(*(_read_part(part) for part in parts))
