"""Every pseudo-fake kind by name, and the mix from which training draws.

    labelled = Mix().draw(clip, rng)            # a forged window with its labels
    labelled = forge(clip, "self_blend", rng)   # one kind

A transform is a pure function of the window, a generator of random numbers and, where it needs one, another clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .clips import (
    AudioTransform,
    Clip,
    Labelled,
    VisualTransform,
    as_recorded,
    with_forged_audio,
    with_forged_video,
    with_mismatch,
)
from .pictures import Rng
from .pseudofakes_blend import can_give_face, face_transplant, lower_face_reuse, self_blend
from .pseudofakes_motion import freeze_or_splice, smooth_motion, still_animation
from .pseudofakes_resynthesis import resynthesis
from .pseudofakes_sync import can_give_voice, other_voice, time_shift
from .pseudofakes_voice import VOICES, splice_voice, voice_transform

VISUAL: dict[str, VisualTransform] = {
    "self_blend": self_blend,
    "face_transplant": face_transplant,
    "lower_face_reuse": lower_face_reuse,
    "resynthesis": resynthesis,
    "freeze_or_splice": freeze_or_splice,
    "still_animation": still_animation,
    "smooth_motion": smooth_motion,
}
AUDIO: dict[str, AudioTransform] = {**{name: voice_transform(name) for name in VOICES}, "splice_voice": splice_voice}
MISMATCH: dict[str, AudioTransform] = {"time_shift": time_shift, "other_voice": other_voice}
KINDS = (*VISUAL, *AUDIO, *MISMATCH)
OF_A_PHOTO = ("self_blend", "face_transplant", "resynthesis")  # all other kinds need two steps
NEEDS_DONOR = ("face_transplant", "splice_voice", "other_voice")
# Where a donor cannot serve: the kind with the same labels that takes the place. A splice finds material in the clip.
INSTEAD: dict[str, tuple[Callable[[Clip, Clip | None], bool], str]] = {
    "face_transplant": (can_give_face, "self_blend"),
    "other_voice": (can_give_voice, "time_shift"),
}
PARTIAL = 0.2  # share of visual forgeries that cover a part of the window only
WHOLE_STEPS = 4  # a partial forgery keeps at least this many steps
Apply = Callable[[Labelled, np.ndarray, np.ndarray, str], Labelled]


def can_forge(clip: Clip, kind: str) -> bool:
    """Whether the window has what this kind needs: a face, a voice, or both.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, but got {kind!r}")
    if kind in VISUAL:
        return clip.moves or (clip.has_video and kind in OF_A_PHOTO)
    return clip.has_voice and (kind in AUDIO or clip.moves)


def _part(clip: Clip, frames: np.ndarray, forged: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """The forgery on a run of steps only, the recording elsewhere."""
    length = int(rng.integers(WHOLE_STEPS, clip.steps))
    start = int(rng.integers(0, clip.steps - length + 1))
    inside = np.zeros(clip.steps, bool)
    inside[start : start + length] = True
    if not (inside & forged).any():
        return frames, forged
    return np.where(inside[:, None, None, None], frames, clip.frames), forged & inside


def forge(clip: Clip | Labelled, kind: str, rng: Rng, donor: Clip | None = None, partial: float = 0.0) -> Labelled:
    """The window with one forgery.

    Args:
        clip: a recorded window, or one that already bears another forgery.
        kind: one of `KINDS`.
        rng: decides everything that is random.
        donor: another person's clip, for transplants and foreign voices; where it is missing or cannot serve, the
            kind in `INSTEAD` is made and named.
        partial: probability that a visual forgery covers a part of the window only.

    Raises:
        ValueError: there is no such kind, or the window lacks the stream that it needs.
    """
    base = as_recorded(clip) if isinstance(clip, Clip) else clip
    window = base.clip
    if not can_forge(window, kind):
        raise ValueError(f"kind {kind!r} must find its stream in the window, but it is missing or silent")
    if kind in INSTEAD:
        serves, other = INSTEAD[kind]
        kind = kind if serves(window, donor) else other
    if kind in VISUAL:
        frames, forged = VISUAL[kind](window, rng, donor)
        if rng.random() < partial and window.steps > WHOLE_STEPS:
            frames, forged = _part(window, frames, forged, rng)
        return with_forged_video(base, frames, forged, kind)
    transform, apply = (AUDIO[kind], with_forged_audio) if kind in AUDIO else (MISMATCH[kind], with_mismatch)
    audio, forged = transform(window, rng, donor)
    return apply(base, audio, forged, kind)


def _even(kinds: Mapping[str, object]) -> dict[str, float]:
    return dict.fromkeys(kinds, 1.0)


@dataclass(frozen=True)
class Mix:
    """Weights of the kinds, drawn in two stages: which streams, then which kind.

    A stream or kind that the window cannot bear is left out of the draw.
    """

    streams: Mapping[str, float] = field(
        default_factory=lambda: {"video": 0.5, "audio": 0.2, "both": 0.15, "mismatch": 0.15}
    )
    visual: Mapping[str, float] = field(
        default_factory=lambda: {
            "self_blend": 0.26, "resynthesis": 0.26, "still_animation": 0.18, "lower_face_reuse": 0.12,
            "smooth_motion": 0.06, "face_transplant": 0.08, "freeze_or_splice": 0.04,
        }
    )  # fmt: skip
    audio: Mapping[str, float] = field(default_factory=lambda: _even(AUDIO))
    mismatch: Mapping[str, float] = field(default_factory=lambda: _even(MISMATCH))
    partial: float = PARTIAL

    def __post_init__(self) -> None:
        allowed = {"streams": ("video", "audio", "both", "mismatch"), "visual": VISUAL, "audio": AUDIO}
        for name, known in (allowed | {"mismatch": MISMATCH}).items():
            weights = getattr(self, name)
            if set(weights) - set(known) or any(not w >= 0 for w in weights.values()) or not sum(weights.values()) > 0:
                raise ValueError(
                    f"{name} must weigh some of {tuple(known)} with numbers >= 0, but got {dict(weights)}"
                )

    def draw(self, clip: Clip, rng: Rng, donor: Callable[[str], Clip | None] | None = None) -> Labelled | None:
        """A forged window, or None where the window can bear none of the mix's kinds.

        Args:
            clip: a recorded window.
            rng: decides everything that is random.
            donor: gives another person's window for a kind; called only for the kinds that need one.
        """
        able = {"video": clip.has_video, "audio": clip.has_voice}
        able["both"] = able["mismatch"] = clip.moves and clip.has_voice
        stream = _pick({name: weight for name, weight in self.streams.items() if able[name]}, rng)
        if stream is None:
            return None
        labelled = as_recorded(clip)
        chosen = {"video": ("visual",), "audio": ("audio",), "both": ("audio", "visual"), "mismatch": ("mismatch",)}
        for group in chosen[stream]:
            weights: Mapping[str, float] = getattr(self, group)
            kind = _pick({name: weight for name, weight in weights.items() if can_forge(clip, name)}, rng)
            if kind is not None:
                other = donor(kind) if donor is not None and kind in NEEDS_DONOR else None
                labelled = forge(labelled, kind, rng, other, self.partial)
        return labelled if labelled.label == 1 else None


def _pick(weights: Mapping[str, float], rng: Rng) -> str | None:
    names, values = list(weights), np.array(list(weights.values()), np.float64)
    if not names or values.sum() <= 0:
        return None
    return names[int(rng.choice(len(names), p=values / values.sum()))]
