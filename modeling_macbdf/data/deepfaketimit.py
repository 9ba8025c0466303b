"""DeepfakeTIMIT: https://www.idiap.ch/en/dataset/deepfaketimit, with reals from VidTIMIT.

    {higher_quality,lower_quality}/{subject}/{utterance}-video-{source}.avi and {utterance}.wav

The clip is the subject's, with the face of the source. The voice is always real and lies in the file beside the
picture. VidTIMIT comes as single frames: join them into
{subject}/[video/]{utterance}.{mp4,avi,...} first and give that folder as `real_root`; its sound is looked for in
{subject}/audio/{utterance}.wav and beside the video.
"""

from __future__ import annotations

import re
from pathlib import Path

from .reading import Found, collect_files, join, media_below, need_folder
from .records import ClipRecord

QUALITIES = ("higher_quality", "lower_quality")
NAME = re.compile(r"(?P<utterance>.+)-video-(?P<source>[^-]+)$")


def _read_quality(folder: Path) -> Found:
    def make(path: Path) -> ClipRecord:
        match, subject = NAME.match(path.stem), path.parent.name
        if match is None or path.parent.parent != folder:
            raise ValueError(
                f"the path must read subject/utterance-video-source.avi, but got {path.relative_to(folder)}"
            )
        voice = path.with_name(f"{match['utterance']}.wav")
        if not voice.is_file():
            raise ValueError(f"the voice is missing: {voice}")
        return ClipRecord(
            path=str(path),
            label=1,
            video_label=1,
            audio_label=0,
            generator=f"faceswap-GAN {folder.name}",
            source="DeepfakeTIMIT",
            identities=tuple(dict.fromkeys((subject, match["source"]))),
            language="en",
            pair=f"{subject}/{match['utterance']}",
            audio_path=str(voice),
            dataset="deepfaketimit",
        )

    return collect_files(media_below(folder), make)


def _read_reals(folder: Path) -> Found:
    def make(path: Path) -> ClipRecord:
        subject = path.relative_to(folder).parts[0]
        voices = (folder / subject / "audio" / f"{path.stem}.wav", path.with_suffix(".wav"))
        return ClipRecord(
            path=str(path),
            label=0,
            video_label=0,
            audio_label=0,
            source="VidTIMIT",
            identities=(subject,),
            language="en",
            pair=f"{subject}/{path.stem}",
            audio_path=next((str(voice) for voice in voices if voice.is_file()), None),
            dataset="deepfaketimit",
        )

    return collect_files(media_below(folder), make)


def read_deepfaketimit(root: str | Path, real_root: str | Path | None = None) -> Found:
    """Records of DeepfakeTIMIT and, if given, of VidTIMIT videos; and the files that do not fit.

    Raises:
        ValueError: neither quality's folder is there, or `real_root` is no folder.
    """
    need_folder(root, *QUALITIES)
    found = [_read_quality(Path(root) / name) for name in QUALITIES if (Path(root) / name).is_dir()]
    if real_root is not None:
        found.append(_read_reals(need_folder(real_root)))
    return join(*found)
