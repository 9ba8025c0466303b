"""What is known of one clip before anything is decoded. Pure: imports nothing else of the package.

Everywhere 1 = fake, 0 = real, None = unknown. Segments are half-open intervals in seconds on the clip's clock.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Segments = tuple[tuple[float, float], ...]
LABEL_FIELDS = ("label", "video_label", "audio_label")
SEGMENT_FIELDS = ("video_segments_s", "audio_segments_s")
COMPOSITE = " + "  # stands between the systems that made one fake together


def generator_parts(*names: str) -> set[str]:
    """The single systems in names of generators: "fsgan + wav2lip" is the work of two."""
    return {part for name in names for part in name.split(COMPOSITE) if part}


def _check_label(name: str, value: int | None) -> None:
    if value not in (0, 1, None):
        raise ValueError(f"{name} must be 0 (real), 1 (fake) or None (unknown), but got {value!r}")


def _check_segments(name: str, segments: Segments | None) -> None:
    for start, end in segments or ():
        if not 0 <= start < end < float("inf"):
            raise ValueError(
                f"{name} must hold finite intervals 0 <= start < end in seconds, but got ({start}, {end})"
            )


@dataclass(frozen=True)
class ClipRecord:
    """One media file with its labels; decodes nothing.

    Attributes:
        path: media file.
        label: of the whole clip. Unknown, it becomes 1 where a stream is fake.
        video_label: of the picture alone. Unknown, it becomes 1 where the stream has forged segments.
        audio_label: of the voice alone; the same.
        generator: what made a fake, its systems joined by " + "; empty for a real clip.
        source: where the footage comes from (a dataset, a site), for balancing.
        identities: every person in it, the target of a swap and its donor alike. A name with a colon
            ("voxceleb2:id00017") means the same person in all datasets, any other one only within its own.
        split: as published or given; empty if there is none.
        video_segments_s: forged intervals of the picture; None = unknown, () = none forged.
        audio_segments_s: the same for the voice.
        language: spoken language, as the dataset writes it.
        pair: clips that share footage carry the same name and stay in the same split.
        row: line or index in the dataset's own list, for messages.
        audio_path: sound kept in a file of its own; None = in `path`.
        dataset: the reader's name.
        group: of people, as the dataset tells them apart ("African, women"); for errors by group.

    Raises:
        ValueError: a label or a segment is out of range, or the labels contradict one another.
    """

    path: str
    label: int | None
    video_label: int | None = None
    audio_label: int | None = None
    generator: str = ""
    source: str = ""
    identities: tuple[str, ...] = ()
    split: str = ""
    video_segments_s: Segments | None = None
    audio_segments_s: Segments | None = None
    language: str = ""
    pair: str = ""
    row: int | None = None
    audio_path: str | None = None
    dataset: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path must name a media file, but got ''")
        for name in LABEL_FIELDS:
            _check_label(name, getattr(self, name))
        for name in SEGMENT_FIELDS:
            _check_segments(name, getattr(self, name))
        self._conclude()
        if self.label == 0 and 1 in (self.video_label, self.audio_label):
            raise ValueError(
                f"label must be 1 where a stream is fake or has forged segments, but got label 0 for {self.path}"
            )
        for label, name in zip((self.video_label, self.audio_label), SEGMENT_FIELDS, strict=True):
            if label == 0 and getattr(self, name):
                raise ValueError(f"{name} must be empty where the stream is real, but got {getattr(self, name)}")

    def _conclude(self) -> None:
        """Unknown labels that others settle: what has forged segments is fake, and so is a clip with a fake stream."""
        for stream, name in zip(LABEL_FIELDS[1:], SEGMENT_FIELDS, strict=True):
            if getattr(self, stream) is None and getattr(self, name):
                object.__setattr__(self, stream, 1)
        if self.label is None and 1 in (self.video_label, self.audio_label):
            object.__setattr__(self, "label", 1)

    @property
    def people(self) -> list[str]:
        """`identities` as names that mean the same person wherever they stand."""
        return [name if ":" in name else f"{self.dataset}\n{name}" for name in self.identities]

    @property
    def names(self) -> set[str]:
        """What `data.leave_out` may call it by: its people, and each system that made it."""
        return generator_parts(self.generator) | set(self.identities)

    @property
    def key(self) -> str:
        """Name of the clip in the cache: 16 hex digits of its files' names."""
        return hashlib.sha256(f"{self.path}\n{self.audio_path or ''}".encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ClipRecord:
        """The record that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["identities"] = tuple(values.get("identities") or ())
        for name in SEGMENT_FIELDS:
            values[name] = as_segments(values.get(name))
        return cls(**values)


def real_record(path: str, **fields: Any) -> ClipRecord:
    """A record of a clip in which everything is real."""
    return ClipRecord(path=path, label=0, video_label=0, audio_label=0, **fields)


@dataclass(frozen=True)
class Problem:
    """A row or file of a dataset that gave no record, and why."""

    file: str
    row: int | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The problem as `macbdf data inspect` writes it."""
        return dataclasses.asdict(self)


def as_segments(value: Iterable[Sequence[float]] | None) -> Segments | None:
    """Intervals in seconds as nested tuples; None stays None.

    Raises:
        ValueError: an interval is not a pair of numbers.
    """
    if value is None:
        return None
    try:
        return tuple((float(start), float(end)) for start, end in value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"segments must be pairs [start, end] in seconds, but got {value!r}") from error


def to_dataset(records: Iterable[ClipRecord]) -> Any:
    """The records as a `datasets.Dataset`, one row a clip; media stay undecoded paths.

    Unknown labels are null. Needs the extra `train` (`pip install -e ".[train]"`).
    """
    try:
        from datasets import Dataset, Features, List, Value  # heavy: imported only where used
    except ImportError as error:
        message = (
            'datasets is not installed. It comes with the extra train: pip install -e ".[train]" in the project folder'
        )
        raise ImportError(message) from error
    text, number = Value("string"), Value("int64")
    kinds: dict[str, Any] = {f.name: text for f in dataclasses.fields(ClipRecord)}
    kinds |= dict.fromkeys((*LABEL_FIELDS, "row"), number)
    kinds |= dict.fromkeys(SEGMENT_FIELDS, List(List(Value("float64")))) | {"identities": List(text)}
    rows = [dataclasses.asdict(record) for record in records]
    columns = {name: [row[name] for row in rows] for name in kinds}
    return Dataset.from_dict(columns, features=Features(kinds))
