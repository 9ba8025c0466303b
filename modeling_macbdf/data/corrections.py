"""Records that were corrected after their clips had been cached: small lists of them, beside the shards of the cache.

A clip is decoded once, and its record is stored with it. Where a later list has another label, split or person for the
clip, `macbdf preprocess` writes the new record here, and `TrackCache` takes it in place of the stored one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from .cache import open_shard, shard_files, write_atomic
from .records import ClipRecord


def _files(folder: Path) -> list[Path]:
    """The lists, one a run and share, in the order in which they were written."""
    return sorted(folder.glob("records-*.jsonl"))


def read_corrections(folder: str | Path) -> dict[str, ClipRecord]:
    """The corrected records by key; of a clip that was corrected twice the last one."""
    lines = (line for path in _files(Path(folder)) for line in path.read_text(encoding="utf-8").split("\n") if line)
    return {record.key: record for record in map(ClipRecord.from_json, lines)}


def correct_records(records: Mapping[str, ClipRecord], folder: Path, shard: tuple[int, int]) -> int:
    """Write down the records that differ from those that a reader of the cache sees.

    Args:
        records: by key; those that the cache does not hold are passed over.
        folder: of the cache.
        shard: (i, n), the share that wrote it; part of the file's name, since other shares may write at once.

    Returns:
        How many there were.
    """
    seen = _stored(folder, records) | read_corrections(folder)
    changed = [record for key, record in records.items() if key in seen and _meaning(seen[key]) != _meaning(record)]
    if changed:
        number = max((int(path.name.split("-")[1]) for path in _files(folder)), default=-1) + 1
        path = folder / f"records-{number:05d}-{shard[0]:04d}-of-{shard[1]:04d}.jsonl"
        write_atomic(path, "".join(f"{record.to_json()}\n" for record in changed).encode())
    return len(changed)


def _stored(folder: Path, keys: Iterable[str]) -> dict[str, ClipRecord]:
    """The records as they were stored with the clips, of those of `keys` that gave a track or a sound."""
    found: dict[str, str] = {}
    for path in shard_files(folder):
        table = open_shard(path).read(columns=["key", "record"])
        found |= dict(zip(table["key"].to_pylist(), table["record"].to_pylist(), strict=True))
    return {key: ClipRecord.from_json(found[key]) for key in keys if key in found}


def _meaning(record: ClipRecord) -> ClipRecord:
    """All but the line in the list, which changes for every clip below one that was added or left out."""
    return replace(record, row=None)
