"""Which windows a track gives, and what a record says about each of their steps. Steps are the model's."""

from __future__ import annotations

import numpy as np

from .clips import IGNORE, Clip, Labelled, mask_labels
from .records import ClipRecord, Segments

FORGED_SHARE = 0.25  # of a step that a forged segment covers before the step counts as forged


def window_starts(steps: int, length: int, hop: int) -> list[int]:
    """First steps of the windows over a track of `steps`, as at inference.

    Windows start every `hop` steps; the last one is moved back so that it ends with the track. A track shorter than
    a window gives one.

    Raises:
        ValueError: `hop` is not in 1..length, or there are no steps.
    """
    if not 1 <= hop <= length or steps < 1:
        raise ValueError(f"hop must be in 1..length and steps positive, but got hop={hop}, {length=}, {steps=}")
    last = max(0, steps - length)
    starts = list(range(0, last + 1, hop))
    return starts if starts[-1] == last else [*starts, last]


def forged_steps(segments: Segments, first_s: float, steps: int, step_s: float) -> np.ndarray:
    """(steps,) True where forged segments cover a quarter of a step or more.

    Args:
        segments: forged intervals in seconds on the clip's clock.
        first_s: when the window begins, in seconds.
        steps: of the window.
        step_s: length of a step in seconds.
    """
    edges = first_s + np.arange(steps + 1) * step_s
    covered = np.zeros(steps)
    for start, end in segments:
        covered += np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
    return covered >= FORGED_SHARE * step_s


def _stream_steps(
    label: int | None, segments: Segments | None, valid: np.ndarray, first_s: float, step_s: float
) -> np.ndarray:
    """Step labels of one stream: by segments where they are known, else the stream's label on every valid step."""
    if label is None:
        return np.full(len(valid), IGNORE, np.int64)
    if label == 1 and segments is not None:
        return mask_labels(forged_steps(segments, first_s, len(valid), step_s).astype(np.int64), valid)
    return mask_labels(np.full(len(valid), label), valid)


def _any_forged(labels: np.ndarray) -> int:
    known = labels[labels != IGNORE]
    return int(known.max()) if len(known) else IGNORE


def _joint_steps(video: np.ndarray, audio: np.ndarray, clip: Clip, label: int | None, localised: bool) -> np.ndarray:
    """1 where a stream is forged, 0 where all that is there is known to be real, else what the clip's label can tell.

    Without segments, a fake clip whose streams' labels do not tell where is fake at every step. With those of one
    stream, a step of a fake clip whose other stream is unknown is not known.
    """
    shown, heard = clip.video_mask, clip.audio_mask
    if label == 1 and not localised:
        return mask_labels(np.full(clip.steps, 1), shown | heard)
    forged = (video == 1) | (audio == 1)
    real = np.all([(own == 0) | ~there for own, there in ((video, shown), (audio, heard))], axis=0)
    unclear = IGNORE if label is None or label == 1 else label
    return mask_labels(np.where(forged, 1, np.where(real, 0, unclear)), shown | heard)


def label_window(record: ClipRecord, clip: Clip, first_s: float, step_s: float) -> Labelled:
    """A window with what its record says; the window's labels follow its own steps.

    A window of a fake clip that holds none of its forged segments is real.

    Args:
        record: of the clip.
        clip: the window.
        first_s: when the window begins on the clip's clock, in seconds.
        step_s: length of a step in seconds.
    """
    video = _stream_steps(record.video_label, record.video_segments_s, clip.video_mask, first_s, step_s)
    audio = _stream_steps(record.audio_label, record.audio_segments_s, clip.audio_mask, first_s, step_s)
    both = clip.video_mask & clip.audio_mask
    localised = record.video_segments_s is not None or record.audio_segments_s is not None
    joint = _joint_steps(video, audio, clip, record.label, localised)
    label = _any_forged(joint) if localised else (IGNORE if record.label is None else record.label)
    return Labelled(
        clip,
        label=label,
        video_label=_any_forged(video),
        audio_label=_any_forged(audio),
        frame_labels=joint,
        video_frame_labels=video,
        audio_frame_labels=audio,
        sync_labels=mask_labels(np.full(clip.steps, 1 if record.label == 0 else IGNORE), both),
        kind=record.generator if record.label == 1 else "",
    )
