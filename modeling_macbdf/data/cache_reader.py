"""Windows out of a cache: only the crops of the window are decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from .cache import CacheSettings, decode_audio, decode_crop, open_shard, read_outcomes, rows_of_shard, shard_files
from .clips import CANONICAL_LANDMARKS, Clip
from .corrections import read_corrections
from .records import ClipRecord

LIGHT = ("key", "track", "record", "steps", "boxes", "audio_samples", "sounding")
WINDOW = ("steps", "landmarks", "crops", "audio", "audio_valid")
OPEN_SHARDS = 256  # a set may have more of them than the system lets a process open
MARGIN_S = 1.25  # sound read before and after a window, for pseudo-fakes that shift it


@dataclass(frozen=True)
class TrackEntry:
    """One row of a cache, without its pictures and its sound.

    Attributes:
        record: the clip.
        track: number of the face track; -1 = sound without a face.
        first: first stored instant, counted at the cache's rate from clock zero.
        instants: stored instants; consecutive.
        face_px: mean side of the face box, in px of the frame.
        audio_samples: length of the clip's sound.
        sounding: first and last + 1 sample above silence; () if there is none.
        shard: file.
        group: row group in it.
    """

    record: ClipRecord
    track: int
    first: int
    instants: int
    face_px: float
    audio_samples: int
    sounding: tuple[int, ...]
    shard: Path
    group: int


def _entry(row: dict[str, Any], record: ClipRecord, shard: Path, group: int) -> TrackEntry:
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
    side = float((boxes[:, 2:] - boxes[:, :2]).mean()) if len(boxes) else 0.0
    return TrackEntry(
        record, row["track"], row["steps"][0] if row["steps"] else 0, len(row["steps"]), side,
        row["audio_samples"], tuple(row["sounding"]), shard, group,
    )  # fmt: skip


class TrackCache:
    """The face tracks of a cache folder.

    Args:
        folder: made by `preprocess`.
        records: only these clips, with these labels instead of those stored; None = all, as stored or corrected.
        keep: which records to take.
        main_track: only the largest and longest face of each clip (labels belong to clips, not to faces).

    Raises:
        ValueError: the folder holds no cache, or nothing in it is asked for.
    """

    def __init__(
        self,
        folder: str | Path,
        records: Iterable[ClipRecord] | None = None,
        keep: Callable[[ClipRecord], bool] | None = None,
        main_track: bool = True,
    ) -> None:
        self.settings = CacheSettings.load(folder)
        given = read_corrections(folder) if records is None else {record.key: record for record in records}
        # A clip that was tried again stands in two shards; its rows in the older one are empty by construction.
        entries = [
            entry for path in shard_files(folder) for entry in _entries(path, given, keep, others=records is None)
        ]
        self.entries: Sequence[TrackEntry] = _main_tracks(entries) if main_track else entries
        if not self.entries:
            raise ValueError(f"folder must hold cached clips that are asked for, but {folder} has none of them")
        self.outcomes = read_outcomes(folder)
        self._files: dict[Path, pq.ParquetFile] = {}
        self._last: tuple[Any, Clip] | None = None
        self._owner = os.getpid()

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}, "_last": None}  # open files do not travel to a worker

    def _file(self, shard: Path) -> pq.ParquetFile:
        """The open shard; only those that were used last stay open."""
        if self._owner != os.getpid():  # forked: the parent's file position is not ours
            self._files, self._owner = {}, os.getpid()
        file = self._files.pop(shard, None) or open_shard(shard)
        self._files[shard] = file  # at the end: the first one is that which was not used for longest
        if len(self._files) > OPEN_SHARDS:
            del self._files[next(iter(self._files))]
        return file

    def read(self, entry: TrackEntry, start: int, steps: int, audio_margin_s: float = MARGIN_S) -> Clip:
        """A window of `steps` model steps whose first crop is the stored instant `start`.

        The window's clock begins half a step before that crop, so crops and sound stay together whatever the start.
        Steps outside the track are masked. The last window is kept: a pair of windows begins with the same one. Nobody
        may write into it.
        """
        asked = (entry.shard, entry.group, start, steps, audio_margin_s)
        if self._last is None or self._last[0] != asked:
            self._last = asked, self._read(entry, start, steps, audio_margin_s)
        return self._last[1]

    def _read(self, entry: TrackEntry, start: int, steps: int, audio_margin_s: float) -> Clip:
        settings = self.settings
        row = self._file(entry.shard).read_row_group(entry.group, columns=list(WINDOW))
        first_sample = round(
            (start + 0.5) / settings.cache_rate_hz * settings.sampling_rate - settings.step_samples / 2
        )
        frames, landmarks, mask = self._pictures(row, entry, start, steps)
        audio, audio_mask, whole, offset = self._sound(row, entry, first_sample, steps, audio_margin_s)
        return Clip(frames, landmarks, mask, audio, audio_mask, whole, offset, settings.sampling_rate)

    def _pictures(self, row: Any, entry: TrackEntry, start: int, steps: int) -> tuple[np.ndarray, ...]:
        size, stride = self.settings.crop_size, self.settings.stride
        frames = np.zeros((steps, size, size, 3), np.uint8)
        landmarks = np.tile(CANONICAL_LANDMARKS * size, (steps, 1, 1)).astype(np.float32)
        mask = np.zeros(steps, bool)
        if entry.instants:
            crops = row.column("crops").chunk(0).values
            points = row.column("landmarks").chunk(0).values.to_numpy(zero_copy_only=False).reshape(-1, 5, 2)
            for step in range(steps):
                place = start - entry.first + step * stride
                if 0 <= place < entry.instants:
                    frames[step] = decode_crop(crops[place].as_py())
                    landmarks[step], mask[step] = points[place], True
        return frames, landmarks, mask

    def _sound(
        self, row: Any, entry: TrackEntry, first: int, steps: int, margin_s: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """The window's sound, which steps hold it, the sound around the window, and where the window begins in it."""
        step = self.settings.step_samples
        length, margin = steps * step, round(margin_s * self.settings.sampling_rate)
        if not entry.audio_samples:
            return np.zeros(length, np.float32), np.zeros(steps, bool), np.zeros(0, np.float32), 0
        begin = max(0, first - margin)
        around = decode_audio(row.column("audio")[0].as_py(), begin, first + length + margin)
        audio = np.zeros(length, np.float32)
        inside = around[max(0, first - begin) : max(0, first + length - begin)]
        audio[max(0, -first) : max(0, -first) + len(inside)] = inside
        valid = np.asarray(row.column("audio_valid")[0].as_py(), np.int64).reshape(-1, 2)
        return audio, covered_steps(valid, first, steps, step), around, first - begin


def covered_steps(valid: np.ndarray, first: int, steps: int, step_samples: int) -> np.ndarray:
    """(steps,) True where at least half of the step is sound, as `media.audio.Audio.step_mask` decides it.

    Args:
        valid: (K, 2) intervals [start, end) in samples.
        first: sample at which the window begins.
        steps: of the window.
        step_samples: samples a step.
    """
    edges = first + np.arange(steps + 1) * step_samples
    covered = np.zeros(steps)
    for start, end in valid:
        covered += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
    return covered >= 0.5 * step_samples


def _entries(
    path: Path, given: dict[str, ClipRecord], keep: Callable[[ClipRecord], bool] | None, others: bool
) -> Iterable[TrackEntry]:
    """The rows of a shard whose record is given, and all `others` with the record that they were stored with."""
    for group, row in rows_of_shard(path, LIGHT):
        record = given.get(row["key"]) or (ClipRecord.from_json(row["record"]) if others else None)
        if record is not None and (keep is None or keep(record)):
            yield _entry(row, record, path, group)


def _main_tracks(entries: Sequence[TrackEntry]) -> list[TrackEntry]:
    best: dict[str, TrackEntry] = {}
    for entry in entries:
        other = best.get(entry.record.key)
        if other is None or entry.face_px * entry.instants > other.face_px * other.instants:
            best[entry.record.key] = entry
    return list(best.values())
