"""AV-Deepfake1M and AV-Deepfake1M++: https://github.com/ControlNet/AV-Deepfake1M

    {train,val}_metadata.json
    [{train,val}/]id/video/NNNNN/{real,real_video_fake_audio,fake_video_real_audio,fake_video_fake_audio}.mp4

Each list holds {file, original, split, modify_type, audio_model, fake_segments, audio_fake_segments,
visual_fake_segments, video_frames, audio_frames}. The labels of the test split are hidden: with
`unlabelled="test"` its files are read without labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import rows_of
from .reading import Found, collect, join, media_below, need_folder
from .records import ClipRecord, as_segments

MODIFY_TYPES = {  # modify_type -> video label, audio label
    "real": (0, 0),
    "visual_modified": (1, 0),
    "audio_modified": (0, 1),
    "both_modified": (1, 1),
}


def _path(folder: Path, split: str, file: str) -> Path:
    """Both releases: with and without a folder for each split."""
    inside = folder / split / file
    return inside if inside.is_file() else folder / file


def _read_list(list_file: Path) -> Found:
    folder = list_file.parent

    def make(row: Mapping[str, Any], number: int) -> ClipRecord:
        if row["modify_type"] not in MODIFY_TYPES:
            raise ValueError(f"modify_type must be one of {tuple(MODIFY_TYPES)}, but got {row['modify_type']!r}")
        video, audio = MODIFY_TYPES[row["modify_type"]]
        made_by = [row["modify_type"], str(row.get("audio_model") or "") if audio else ""]
        return ClipRecord(
            path=str(_path(folder, row["split"], row["file"])),
            label=int(video or audio),
            video_label=video,
            audio_label=audio,
            generator=":".join(filter(None, made_by)) if video or audio else "",
            source="AV-Deepfake1M",
            identities=(Path(row["file"]).parts[0],),
            split=row["split"],
            video_segments_s=as_segments(row["visual_fake_segments"]) if video else (),
            audio_segments_s=as_segments(row["audio_fake_segments"]) if audio else (),
            pair=str(row.get("original") or row["file"]),
            row=number,
            dataset="av_deepfake1m",
        )

    return collect(list_file, rows_of(list_file), make)


def read_av_deepfake1m(root: str | Path, unlabelled: str = "") -> Found:
    """Records of the lists in `root`, and the entries that gave none.

    Args:
        root: folder of the lists.
        unlabelled: name of a split without a list, whose files get no labels.

    Raises:
        ValueError: there is no list.
    """
    folder = Path(root)
    lists = sorted(folder.glob("*_metadata.json"))
    if not lists:
        raise ValueError(f"root must hold train_metadata.json or val_metadata.json, but {folder} has neither")
    found = [_read_list(path) for path in lists]
    if unlabelled:
        files = media_below(need_folder(folder, unlabelled))
        hidden = [ClipRecord(str(path), None, split=unlabelled, dataset="av_deepfake1m") for path in files]
        found.append((hidden, []))
    return join(*found)
