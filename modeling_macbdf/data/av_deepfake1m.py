"""AV-Deepfake1M and AV-Deepfake1M++: https://github.com/ControlNet/AV-Deepfake1M

    {train,val}_metadata.json
    [{train,val}/[{train,val}/]]id/video/NNNNN/{real,real_video_fake_audio,fake_video_real_audio,...}.mp4

In ++ `vox_celeb_2/id/video/NNNNN`, `lrs3/video/NNNNN` or `silent_videos/subject_N_...` stand for the folder. Each list
holds {file, original, split, modify_type, audio_model, video_model (++), fake_segments, audio_fake_segments,
visual_fake_segments, video_frames, audio_frames}. The labels of the test split are hidden: with
`unlabelled="test"` its files are read without labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import rows_of
from .reading import Found, collect, join, media_below, need_folder
from .records import COMPOSITE, ClipRecord, as_segments

MODIFY_TYPES = {  # modify_type -> video label, audio label
    "real": (0, 0),
    "visual_modified": (1, 0),
    "audio_modified": (0, 1),
    "both_modified": (1, 1),
}
SPEAKER = re.compile(r"(?:^|/)(id\d+)/")  # of VoxCeleb2
SUBJECT = re.compile(r"silent_videos/subject_\d+")  # what follows tells one's clips apart


def _path(folder: Path, split: str, file: str) -> Path:
    """All releases: with a folder for each split, with one more in it, as the archives unpack, and without."""
    places = (folder / split / file, folder / split / split / file)
    return next((place for place in places if os.path.isfile(place)), folder / file)


def _person(file: str) -> str:
    """A name that holds in all datasets."""
    if speaker := SPEAKER.search(file):
        return f"voxceleb2:{speaker[1]}"
    subject = SUBJECT.match(file)
    return ":".join(Path(subject[0] if subject else file).parts[:2])


def _generator(row: Mapping[str, Any], video: int, audio: int) -> str:
    """The systems that made the picture and the voice; of AV-Deepfake1M's pictures the list names none."""
    picture = str(row.get("video_model") or "visual_modified") if video else ""
    voice = str(row.get("audio_model") or "audio_modified") if audio else ""
    return COMPOSITE.join(filter(None, (picture, voice)))


def _read_list(list_file: Path) -> Found:
    folder = list_file.parent

    def make(row: Mapping[str, Any], number: int) -> ClipRecord:
        if row["modify_type"] not in MODIFY_TYPES:
            raise ValueError(f"modify_type must be one of {tuple(MODIFY_TYPES)}, but got {row['modify_type']!r}")
        video, audio = MODIFY_TYPES[row["modify_type"]]
        return ClipRecord(
            path=str(_path(folder, row["split"], row["file"])),
            label=int(video or audio),
            video_label=video,
            audio_label=audio,
            generator=_generator(row, video, audio),
            source="AV-Deepfake1M",
            identities=(_person(row["file"]),),
            split=row["split"],
            video_segments_s=as_segments(row["visual_fake_segments"]) if video else (),
            audio_segments_s=as_segments(row["audio_fake_segments"]) if audio else (),
            # In ++ the original of a real clip is its recording in VoxCeleb2, which no fake names.
            pair=str(row.get("original") or row["file"]) if video or audio else row["file"],
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
