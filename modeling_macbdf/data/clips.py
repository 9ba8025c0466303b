"""One training window as arrays, and a forged one with its labels.

T steps, H = W crop side in px, N samples of the window's sound. 1 = fake, 0 = real, -100 = not known.
Frames may be darkened, shifted or replaced, but every array keeps its shape: a forgery never moves the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

IGNORE = -100
STREAM_SILENCE = 1e-3  # root mean square below which there is no voice to forge
# Where CenterFace puts eyes, nose and mouth corners in a square crop of 1.4 face boxes, as fractions of its side.
CANONICAL_LANDMARKS = np.array([[0.38, 0.42], [0.62, 0.42], [0.50, 0.54], [0.40, 0.66], [0.60, 0.66]], np.float32)


@dataclass(frozen=True)
class Clip:
    """A window of one face track.

    Attributes:
        frames: (T, H, W, 3) uint8 face crops.
        landmarks: (T, 5, 2) float32 px in the crop: left eye, right eye, nose, left and right mouth corner.
        video_mask: (T,) bool, True = there is a crop.
        audio: (N,) float32 in [-1, 1], N = T steps of samples.
        audio_mask: (T,) bool, True = there is sound.
        whole_audio: the sound of the whole clip, from which `audio` was cut; empty if there is none.
        audio_start: sample of `whole_audio` at which `audio` begins; may be negative.
        sampling_rate: in Hz.
    """

    frames: np.ndarray
    landmarks: np.ndarray
    video_mask: np.ndarray
    audio: np.ndarray
    audio_mask: np.ndarray
    whole_audio: np.ndarray
    audio_start: int = 0
    sampling_rate: int = 16000

    def __post_init__(self) -> None:
        steps = len(self.frames)
        if self.frames.ndim != 4 or self.frames.dtype != np.uint8 or self.frames.shape[1] != self.frames.shape[2]:
            raise ValueError(f"frames must be square (T, S, S, 3) uint8, but got {self.frames.shape}")
        if self.landmarks.shape != (steps, 5, 2):
            raise ValueError(f"landmarks must be ({steps}, 5, 2), but got {self.landmarks.shape}")
        if len(self.video_mask) != steps or len(self.audio_mask) != steps:
            raise ValueError(f"masks must have {steps} steps, but got {len(self.video_mask)}, {len(self.audio_mask)}")
        if steps == 0 or len(self.audio) % steps:
            raise ValueError(f"audio must hold a whole number of samples a step, but got {len(self.audio)} / {steps}")

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.frames)

    @property
    def has_video(self) -> bool:
        """Whether a step shows a face."""
        return bool(self.video_mask.any())

    @property
    def moves(self) -> bool:
        """Whether two steps or more show a face: a photograph cannot be forged over time."""
        return int(self.video_mask.sum()) >= 2

    @property
    def has_voice(self) -> bool:
        """Whether the window holds sound above silence."""
        return bool(self.audio_mask.any()) and float(np.sqrt(np.mean(self.audio**2))) > STREAM_SILENCE


@dataclass(frozen=True)
class Labelled:
    """A window and what is true of it.

    Attributes:
        clip: the window.
        label: of the window; 1 if a stream is forged, or if voice and face do not belong together.
        video_label: of the picture alone.
        audio_label: of the voice alone.
        frame_labels: (T,) as `label`, per step.
        video_frame_labels: (T,) as `video_label`, per step.
        audio_frame_labels: (T,) as `audio_label`, per step.
        sync_labels: (T,) 1 = lips and voice in step, 0 = the sound does not belong to this picture at this instant,
            -100 where a stream is missing or the picture is forged: its lips may or may not fit.
        kind: name of the forgery; empty for a clip as it was recorded.
    """

    clip: Clip
    label: int
    video_label: int
    audio_label: int
    frame_labels: np.ndarray
    video_frame_labels: np.ndarray
    audio_frame_labels: np.ndarray
    sync_labels: np.ndarray
    kind: str = ""


# (clip, rng, donor) -> (new frames, forged steps (T,) bool)
VisualTransform = Callable[[Clip, np.random.Generator, "Clip | None"], tuple[np.ndarray, np.ndarray]]
# (clip, rng, donor) -> (new audio, forged steps (T,) bool)
AudioTransform = Callable[[Clip, np.random.Generator, "Clip | None"], tuple[np.ndarray, np.ndarray]]


def mask_labels(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Step labels as int64 with -100 where the stream is missing."""
    return np.where(valid, labels, IGNORE).astype(np.int64)


def as_recorded(clip: Clip) -> Labelled:
    """A window in which everything is real."""
    zeros = np.zeros(clip.steps, np.int64)
    both, either = clip.video_mask & clip.audio_mask, clip.video_mask | clip.audio_mask
    return Labelled(
        clip,
        label=0,
        video_label=0 if clip.video_mask.any() else IGNORE,
        audio_label=0 if clip.audio_mask.any() else IGNORE,
        frame_labels=mask_labels(zeros, either),
        video_frame_labels=mask_labels(zeros, clip.video_mask),
        audio_frame_labels=mask_labels(zeros, clip.audio_mask),
        sync_labels=mask_labels(zeros + 1, both),
    )


def _add(labels: np.ndarray, forged: np.ndarray) -> np.ndarray:
    """Step labels with 1 at forged steps; missing steps stay -100."""
    return np.where(forged & (labels != IGNORE), 1, labels)


def with_forged_video(base: Labelled, frames: np.ndarray, forged: np.ndarray, kind: str) -> Labelled:
    """`base` with forged pictures at the steps where `forged` is True."""
    joined = f"{base.kind}+{kind}" if base.kind else kind
    return replace(
        base,
        clip=replace(base.clip, frames=frames),
        label=1,
        video_label=1,
        frame_labels=_add(base.frame_labels, forged),
        video_frame_labels=_add(base.video_frame_labels, forged),
        sync_labels=mask_labels(base.sync_labels, ~forged),
        kind=joined,
    )


def with_forged_audio(base: Labelled, audio: np.ndarray, forged: np.ndarray, kind: str) -> Labelled:
    """`base` with a forged voice at the steps where `forged` is True."""
    joined = f"{base.kind}+{kind}" if base.kind else kind
    return replace(
        base,
        clip=replace(base.clip, audio=audio),
        label=1,
        audio_label=1,
        frame_labels=_add(base.frame_labels, forged),
        audio_frame_labels=_add(base.audio_frame_labels, forged),
        kind=joined,
    )


def with_mismatch(base: Labelled, audio: np.ndarray, mismatched: np.ndarray, kind: str) -> Labelled:
    """`base` with a genuine voice that does not belong to it.

    Both streams stay real by themselves (video and audio labels 0); only the joint label is 1, and the sync labels
    are 0.
    """
    joined = f"{base.kind}+{kind}" if base.kind else kind
    return replace(
        base,
        clip=replace(base.clip, audio=audio),
        label=1,
        frame_labels=_add(base.frame_labels, mismatched),
        sync_labels=np.where(mismatched & (base.sync_labels != IGNORE), 0, base.sync_labels),
        kind=joined,
    )
