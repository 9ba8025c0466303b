"""Small recorded sets that need no data: rendered talking faces and forged copies of the same files, as a manifest."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..media.synthetic import render_talking_face
from ..media.write import write_clip

COLUMNS = ("path", "label", "video_label", "audio_label", "generator", "source", "identities", "pair")


def smoothed(frames: np.ndarray) -> np.ndarray:
    """Every frame as the mean of its neighbours within two frames: motion without its edges."""
    padded = np.pad(frames.astype(np.float32), ((2, 2), (0, 0), (0, 0), (0, 0)), mode="edge")
    return np.mean([padded[k : k + len(frames)] for k in range(5)], axis=0).round().astype(np.uint8)


def reused(frames: np.ndarray) -> np.ndarray:
    """The lower half of each frame as it was ten frames before, with a soft seam: another mouth."""
    height = frames.shape[1]
    share = np.clip((np.arange(height) - 0.5 * height) / (0.1 * height), 0, 1)[None, :, None, None]
    earlier = frames[np.maximum(np.arange(len(frames)) - 10, 0)]
    return (frames * (1 - share) + earlier * share).round().astype(np.uint8)


FORGERIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"smoothed": smoothed, "reused": reused}


def make_recorded_set(
    folder: Path, forgery: str, people: Sequence[int], duration_s: float = 3.0, size: int = 192
) -> Path:
    """Renders one real clip and its forged copy for each person; what is there is kept.

    Args:
        folder: for the clips and `index.csv`.
        forgery: of `FORGERIES`.
        people: seeds, one a person.
        duration_s: of each clip, in seconds.
        size: side of the square picture in pixels.

    Returns:
        The manifest, for `--dataset manifest --root`.

    Raises:
        ValueError: there is no such forgery.
    """
    if forgery not in FORGERIES:
        raise ValueError(f"forgery must be one of {tuple(FORGERIES)}, but got {forgery!r}")
    index = folder / "index.csv"
    if index.is_file():
        return index
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in people:
        face = render_talking_face(seed, duration_s, size=size)
        for label, frames in ((0, face.frames), (1, FORGERIES[forgery](face.frames))):
            name = f"person-{seed:03d}-{'fake' if label else 'real'}.mp4"
            write_clip(folder / name, frames, face.fps, face.waveform, face.sampling_rate)
            made_by = forgery if label else ""
            rows.append((name, label, label, 0, made_by, "self-made", f"person-{seed}", f"person-{seed}"))
    with index.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return index
