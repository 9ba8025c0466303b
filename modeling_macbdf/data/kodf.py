"""KoDF (Korean DeepFake Detection Dataset): https://deepbrainai-research.github.io/kodf/

    videos/{original_videos,audio-driven,dffs,dfl,fo,fsgan}/id/*.mp4

The folder names the generator and the person. Whether the voice of a fake is real is not told, so it stays unknown;
`fsgan` clips have no sound.
"""

from __future__ import annotations

from pathlib import Path

from .reading import Found, collect_files, media_below, need_folder
from .records import ClipRecord

REAL = "original_videos"
GENERATORS = ("audio-driven", "dffs", "dfl", "fo", "fsgan")


def read_kodf(root: str | Path) -> Found:
    """Records of KoDF and the files that do not fit its layout.

    Args:
        root: the folder that holds `videos`, or `videos` itself.
    """
    folder = need_folder(root, "videos", "")

    def make(path: Path) -> ClipRecord:
        parts = path.relative_to(folder).parts
        if len(parts) != 3 or parts[0] not in (REAL, *GENERATORS):
            raise ValueError(f"the path must read {{{','.join((REAL, *GENERATORS))}}}/id/file, but got {Path(*parts)}")
        fake = parts[0] != REAL
        return ClipRecord(
            path=str(path),
            label=int(fake),
            video_label=int(fake),
            audio_label=None if fake else 0,
            generator=parts[0] if fake else "",
            source="KoDF",
            identities=(parts[1],),
            language="ko",
            dataset="kodf",
        )

    return collect_files(media_below(folder), make)
