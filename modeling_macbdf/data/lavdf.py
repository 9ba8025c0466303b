"""LAV-DF (Localized Audio Visual DeepFake): https://github.com/ControlNet/LAV-DF

    metadata.json, {train,dev,test}/NNNNNN.mp4

`metadata.json` is a list of {file, n_fakes, fake_periods [[s, e]] in seconds, duration, original, modify_video,
modify_audio, split, video_frames, audio_channels, audio_frames}.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import rows_of
from .reading import Found, collect
from .records import ClipRecord, as_segments


def _flag(row: Mapping[str, Any], name: str) -> bool:
    if not isinstance(row[name], bool):
        raise ValueError(f"{name} must be true or false, but got {row[name]!r}")
    return bool(row[name])


def read_lavdf(root: str | Path) -> Found:
    """Records of LAV-DF and the entries that gave none.

    Raises:
        ValueError: there is no `metadata.json`, or it is no JSON list.
    """
    folder = Path(root)
    list_file = folder / "metadata.json"

    def make(row: Mapping[str, Any], number: int) -> ClipRecord:
        video, audio = _flag(row, "modify_video"), _flag(row, "modify_audio")
        periods = as_segments(row["fake_periods"]) or ()
        if bool(periods) != (video or audio):
            raise ValueError(f"fake_periods must be empty for real clips only, but got {periods}, {video=}, {audio=}")
        return ClipRecord(
            path=str(folder / row["file"]),
            label=int(video or audio),
            video_label=int(video),
            audio_label=int(audio),
            generator="LAV-DF" if video or audio else "",
            source="LAV-DF",
            split=str(row["split"]),
            video_segments_s=periods if video else (),
            audio_segments_s=periods if audio else (),
            language="en",
            # Some lists name the original with its split's folder, some without; its number is unique in all splits.
            pair=Path(row.get("original") or row["file"]).name,
            row=number,
            dataset="lavdf",
        )

    return collect(list_file, rows_of(list_file), make)
