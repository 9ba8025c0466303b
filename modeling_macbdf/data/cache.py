"""The cache of preprocessed clips: Parquet shards, one row a face track, one row group a row.

A row holds lossless WebP crops at `cache_rate_hz`, boxes, landmarks, the clip's sound as FLAC on the same clock, and
the record. The outcome of every clip, failures included, stands in the metadata of the shard in which it was
finished: a shard is written to a temporary name and moved into place, so a broken run leaves whole shards only.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from ..media.audio import Audio
from ..media.outcomes import Status
from ..media.tracks import FaceTrack
from .dense import middle_of
from .records import ClipRecord

FORMAT_VERSION = 1
CACHED = "cached"
TRY_AGAIN = (Status.internal_error, Status.timeout)  # not the file's fault
OUTCOMES = b"macbdf_outcomes"
SETTINGS_FILE = "settings.json"
CROP_FORMATS = ("WEBP", "JPEG")  # without the names PIL asks every format that it knows, at a third of the time
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("track", pa.int32()),  # -1 = sound without a face
        ("record", pa.string()),
        ("steps", pa.list_(pa.int32())),  # N instants, counted at cache_rate_hz from clock zero
        ("boxes", pa.list_(pa.float32())),  # 4 N, px of the frame
        ("landmarks", pa.list_(pa.float32())),  # 10 N, px of the crop
        ("detected", pa.list_(pa.bool_())),
        ("crops", pa.list_(pa.binary())),
        ("audio", pa.binary()),
        ("audio_samples", pa.int64()),
        ("audio_valid", pa.list_(pa.int64())),  # 2 K, intervals [start, end) in samples
        ("sounding", pa.list_(pa.int64())),  # first and last + 1 sample above the silence level; empty if none
    ]
)


@dataclass(frozen=True)
class CacheSettings:
    """What the contents of a cache depend on; a cache is never filled with two of them.

    Attributes:
        cache_rate_hz: stored instants a second, an odd multiple of the model's rate.
        frame_rate_hz: the model's steps a second.
        sampling_rate: of the sound, in Hz.
        crop_size: side of a crop in px.
        crop_scale: side of the crop over the longer side of the face box.
        min_steps: shortest face track kept, in the model's steps.
        jpeg_quality: store JPEG of this quality instead of lossless WebP (a third of the size); None = lossless.
    """

    cache_rate_hz: float = 15.0
    frame_rate_hz: float = 5.0
    sampling_rate: int = 16000
    crop_size: int = 160
    crop_scale: float = 1.4
    min_steps: int = 4
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        ratio = self.cache_rate_hz / self.frame_rate_hz
        if abs(ratio - round(ratio)) > 1e-6 or round(ratio) % 2 == 0:
            raise ValueError(
                f"cache_rate_hz must be an odd multiple of frame_rate_hz={self.frame_rate_hz}, "
                f"but got {self.cache_rate_hz}"
            )
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must be in 1..100 or None, but got {self.jpeg_quality}")

    @property
    def stride(self) -> int:
        """Stored instants a step."""
        return round(self.cache_rate_hz / self.frame_rate_hz)

    @property
    def middle(self) -> int:
        """The stored instant within a step that is its centre."""
        return middle_of(self.stride)

    @property
    def step_samples(self) -> int:
        """Samples of sound a step."""
        return round(self.sampling_rate / self.frame_rate_hz)

    def save(self, folder: Path) -> None:
        """Write the settings into a new cache, or check that they are those of an old one.

        Raises:
            ValueError: the cache in `folder` was made with other settings; the message names them.
        """
        path = folder / SETTINGS_FILE
        if path.is_file():
            old = self.load(folder)
            changed = [f.name for f in fields(self) if getattr(old, f.name) != getattr(self, f.name)]
            if changed:
                pairs = ", ".join(f"{name}={getattr(old, name)} there, {getattr(self, name)} now" for name in changed)
                raise ValueError(f"settings must be those of the cache in {folder}, but {pairs}")
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2).encode())

    @classmethod
    def load(cls, folder: str | Path) -> CacheSettings:
        """The settings of a cache.

        Raises:
            ValueError: the folder holds no cache, or one of another format version.
        """
        path = Path(folder) / SETTINGS_FILE
        if not path.is_file():
            raise ValueError(f"folder must hold a cache made by `macbdf preprocess`, but there is no {path}")
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ValueError(f"format_version must be {FORMAT_VERSION}, but {path} has {version}")
        return cls(**values)


@dataclass(frozen=True)
class Outcome:
    """What became of one clip in preprocessing.

    Attributes:
        key: `ClipRecord.key`.
        path: its media file.
        row: its row in the dataset's list.
        status: "cached", "no_audio", "no_face" or "no_video" (these three are cached as far as they go), or the
            status of the failure as in `media.outcomes.Status`.
        reason: in words; for "cached" empty, or what was odd about the file, as that it ends early.
        tracks: face tracks kept.
        crops: crops kept.
        audio_s: seconds of sound kept.
        seconds: time that it took.
    """

    key: str
    path: str
    row: int | None
    status: str
    reason: str = ""
    tracks: int = 0
    crops: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def encode_crop(crop: np.ndarray, jpeg_quality: int | None = None) -> bytes:
    """One crop (S, S, 3) uint8 as lossless WebP, or JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    if jpeg_quality is None:
        Image.fromarray(crop).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    else:
        Image.fromarray(crop).save(buffer, "JPEG", quality=jpeg_quality, subsampling=0)
    return buffer.getvalue()


def decode_crop(data: bytes) -> np.ndarray:
    """The crop of `encode_crop` as (S, S, 3) uint8."""
    return np.asarray(Image.open(io.BytesIO(data), formats=CROP_FORMATS).convert("RGB"))


def encode_audio(audio: Audio) -> bytes:
    """Sound as 24-bit FLAC: finer than any codec's noise."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.samples, audio.sampling_rate, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def decode_audio(data: bytes, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Samples [start, stop) of a FLAC file, float32; what lies outside it is left out."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        start = min(max(0, start), len(file))
        stop = len(file) if stop is None else min(max(start, stop), len(file))
        file.seek(start)
        return np.asarray(file.read(stop - start, dtype="float32"), np.float32)


def sounding_span(samples: np.ndarray, level: float) -> list[int]:
    """First and last + 1 sample whose amplitude is above `level`; empty where all is silent."""
    loud = np.flatnonzero(np.abs(samples) > level)
    return [int(loud[0]), int(loud[-1]) + 1] if len(loud) else []


def track_row(
    record: ClipRecord, track: FaceTrack | None, sound: Mapping[str, Any], jpeg_quality: int | None = None
) -> dict[str, Any]:
    """One row of the cache; without a track it holds the sound alone."""
    row: dict[str, Any] = {"key": record.key, "track": -1, "record": record.to_json(), **sound}
    if track is None:
        return row | {"steps": [], "boxes": [], "landmarks": [], "detected": [], "crops": []}
    return row | {
        "track": track.track_id,
        "steps": track.steps,
        "boxes": track.boxes.ravel(),
        "landmarks": track.landmarks.ravel(),
        "detected": track.detected,
        "crops": [encode_crop(crop, jpeg_quality) for crop in track.crops],
    }


def sound_columns(audio: Audio | None, silence: float) -> dict[str, Any]:
    """The columns of a row that hold the sound."""
    if audio is None:
        return {"audio": b"", "audio_samples": 0, "audio_valid": [], "sounding": []}
    return {
        "audio": encode_audio(audio),
        "audio_samples": len(audio.samples),
        "audio_valid": audio.valid.ravel(),
        "sounding": sounding_span(audio.samples, silence),
    }


def write_shard(path: Path, rows: Sequence[Mapping[str, Any]], outcomes: Iterable[Outcome]) -> None:
    """Write one shard with its clips' outcomes, in one piece."""
    note = json.dumps([asdict(outcome) for outcome in outcomes], ensure_ascii=False).encode()
    buffer = io.BytesIO()
    schema = SCHEMA.with_metadata({OUTCOMES: note})
    # Crops and sound are compressed already: Parquet only stores them.
    with pq.ParquetWriter(buffer, schema, compression="none", use_dictionary=False) as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([dict(row)], schema=SCHEMA))
    write_atomic(path, buffer.getvalue())


def shard_files(folder: str | Path) -> list[Path]:
    """The shards of a cache in order of name."""
    return sorted(Path(folder).glob("tracks-*.parquet"))


def open_shard(path: Path) -> pq.ParquetFile:
    """A shard, its pages unread.

    Raises:
        ValueError: the file is damaged.
        OSError: the system does not open it, as where too many files are open.
    """
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's word; Arrow's own, about a damaged footer, has no number
        advice = "delete it and run `macbdf preprocess` again, which makes only what is missing"
        raise ValueError(f"{path} is no readable shard of a cache ({error}); {advice}") from error


def read_outcomes(folder: str | Path) -> list[Outcome]:
    """The outcome of every clip; of one that was tried again the last word, in whatever shard it stands."""
    latest: dict[str, Outcome] = {}
    for path in shard_files(folder):
        note = (open_shard(path).schema_arrow.metadata or {}).get(OUTCOMES, b"[]")
        for values in json.loads(note):
            before = latest.get(values["key"])
            if before is None or before.status in TRY_AGAIN:
                latest[values["key"]] = Outcome(**values)
    return list(latest.values())


def summarize(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Counts by status, and every clip that was not cached whole, or whose file was odd, by name."""
    return {
        "clips": len(outcomes),
        "by_status": dict(sorted(Counter(outcome.status for outcome in outcomes).items())),
        "cached_with_warning": sum(outcome.status == CACHED and bool(outcome.reason) for outcome in outcomes),
        "tracks": sum(outcome.tracks for outcome in outcomes),
        "crops": sum(outcome.crops for outcome in outcomes),
        "audio_s": round(sum(outcome.audio_s for outcome in outcomes), 3),
        "not_whole": [
            {"path": o.path, "row": o.row, "status": o.status, "reason": o.reason} for o in outcomes if o.reason
        ],
    }


def rows_of_shard(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The light columns of every row of a shard, with its row group."""
    file = open_shard(path)
    for group in range(file.num_row_groups):
        yield group, file.read_row_group(group, columns=list(columns)).to_pylist()[0]
