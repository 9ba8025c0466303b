"""FakeAVCeleb v1.2: https://github.com/DASH-Lab/FakeAVCeleb

    FakeAVCeleb_v1.2/meta_data.csv
    FakeAVCeleb_v1.2/{RealVideo-RealAudio,...}/{African,...}/{men,women}/idNNNNN/*.mp4

`meta_data.csv` has the columns source, target1, target2, method, category, type, race, gender, path (a file name) and
one without a name, the folder (it starts with `FakeAVCeleb/`). A fake's name begins with that of the clip in the
same person's real folder that it was made from. There is no official split: make one with `macbdf data split`. Some
rows are listed twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .manifest import rows_of
from .reading import Found, collect, need_folder
from .records import COMPOSITE, ClipRecord

TYPES = {  # type -> video label, audio label
    "RealVideo-RealAudio": (0, 0),
    "RealVideo-FakeAudio": (0, 1),
    "FakeVideo-RealAudio": (1, 0),
    "FakeVideo-FakeAudio": (1, 1),
}
FOLDER_COLUMNS = ("", "Unnamed: 9")  # the column without a name, as csv and as pandas write it
PERSON = re.compile(r"id\d{5}")


def _folder(row: Mapping[str, Any]) -> str:
    for column in FOLDER_COLUMNS:
        if row.get(column):
            return str(row[column])
    raise ValueError("the column without a name must give the folder, but it is empty or missing")


def _people(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Everybody in the clip: the three columns, the folder, and the identity within the file's name.

    They are VoxCeleb2's, so that other datasets may show the same people.
    """
    text = " ".join([*(str(row.get(name) or "") for name in ("source", "target1", "target2", "path")), _folder(row)])
    return tuple(f"voxceleb2:{name}" for name in dict.fromkeys(PERSON.findall(text)))


def _generator(row: Mapping[str, Any], fake_audio: int) -> str:
    """The systems at work; all fake voices are of `rtvc`, which `method` tells where the picture is real."""
    if row["method"] == "real":
        return ""
    parts = [*row["method"].split("-"), *(["rtvc"] if fake_audio else [])]
    return COMPOSITE.join(dict.fromkeys(parts))


def read_fakeavceleb(root: str | Path) -> Found:
    """Records of FakeAVCeleb and the rows that gave none.

    Args:
        root: `FakeAVCeleb_v1.2`, or the folder that holds it.

    Raises:
        ValueError: there is no `meta_data.csv`.
    """
    folder = need_folder(root, "FakeAVCeleb_v1.2", "FakeAVCeleb", "")
    list_file = folder / "meta_data.csv"

    def make(row: Mapping[str, Any], number: int) -> ClipRecord:
        if row["type"] not in TYPES:
            raise ValueError(f"type must be one of {tuple(TYPES)}, but got {row['type']!r}")
        video, audio = TYPES[row["type"]]
        place = Path(*Path(_folder(row)).parts[1:])
        return ClipRecord(
            path=str(folder / place / row["path"]),
            label=int(video or audio),
            video_label=video,
            audio_label=audio,
            generator=_generator(row, audio),
            source="FakeAVCeleb",
            identities=_people(row),
            language="en",
            group=", ".join(str(row[name]) for name in ("race", "gender") if row.get(name)),
            pair=f"{place.name}/{Path(row['path']).stem.partition('_')[0]}",
            row=number,
            dataset="fakeavceleb",
        )

    return collect(list_file, rows_of(list_file), make)
