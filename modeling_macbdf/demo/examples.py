"""Clips to try the demo with, rendered by the project itself when they are first asked for."""

import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np

from ..media.synthetic import TalkingFace, render_talking_face
from ..media.write import write_clip

NAMES = {
    "talking": "A rendered talking face",
    "voice": "The same face, another voice",
    "two": "Two faces",
    "noface": "A picture without a face",
}
_SECONDS = 4.0
_lock = Lock()


def example(name: str, folder: Path) -> str:
    """A fresh copy of an example below `folder`: the demo deletes what it has judged.

    Args:
        name: a key of `NAMES`.
        folder: where uploads lie.
    """
    with _lock:
        original = _rendered(name, folder)
    out = Path(tempfile.mkdtemp(dir=folder)) / f"{name}.mp4"
    shutil.copyfile(original, out)
    return str(out)


@lru_cache(maxsize=1)
def _face() -> TalkingFace:
    return render_talking_face(seed=0, duration_s=_SECONDS)


def _rendered(name: str, folder: Path) -> Path:
    """The example below `folder`, made if it is not there."""
    path = folder / "examples" / f"{name}.mp4"
    if path.is_file():
        return path
    if name not in NAMES:
        raise ValueError(f"name must be one of {', '.join(NAMES)}, but got {name!r}")
    face = _face()
    frames, voice = face.frames, face.waveform
    if name == "voice":
        voice = render_talking_face(seed=3, duration_s=_SECONDS, size=64).waveform
    elif name == "two":
        frames = np.concatenate([frames, frames[:, :, ::-1]], axis=2)
    elif name == "noface":
        frames = np.random.default_rng(0).integers(60, 200, (50, 240, 320, 3), np.uint8)
    path.parent.mkdir(exist_ok=True)
    unfinished = write_clip(path.with_stem(f"{name}-unfinished"), frames, face.fps, voice, face.sampling_rate)
    return unfinished.replace(path)
