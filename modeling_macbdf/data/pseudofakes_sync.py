"""Genuine voices that do not belong to the face: shifted in time, or taken from somebody else.

Both streams are real by themselves. The joint label is 1, and the sync labels are 0, out of step; whoever does not
want lagged or dubbed footage to count as fake gives these kinds no weight.
"""

from __future__ import annotations

import numpy as np

from .clips import Clip
from .pictures import Rng
from .pseudofakes_voice import same_level

SHIFT_S = (0.2, 1.0)
Result = tuple[np.ndarray, np.ndarray]


def cut(whole: np.ndarray, start: int, length: int) -> np.ndarray:
    """Samples [start, start + length) of `whole`, zero outside it."""
    out = np.zeros(length, np.float32)
    first, last = max(0, start), min(len(whole), start + length)
    if first < last:
        out[first - start : last - start] = whole[first:last]
    return out


def time_shift(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """The clip's own voice 0.2 to 1 s early or late; wrapped round where the clip is too short."""
    del donor
    length = len(clip.audio)
    shift = int(rng.uniform(*SHIFT_S) * clip.sampling_rate) * int(rng.choice((-1, 1)))
    for candidate in (shift, -shift):
        start = clip.audio_start + candidate
        if start >= 0 and start + length <= len(clip.whole_audio):
            return cut(clip.whole_audio, start, length), clip.audio_mask.copy()
    return np.roll(clip.audio, shift), clip.audio_mask.copy()


def can_give_voice(clip: Clip, donor: Clip | None) -> bool:
    """Whether the donor's sound is at least half as long as the clip's window."""
    return donor is not None and len(donor.whole_audio) >= len(clip.audio) // 2


def other_voice(clip: Clip, rng: Rng, donor: Clip | None) -> Result:
    """Another clip's sound at this clip's level.

    Raises:
        ValueError: there is no donor.
    """
    if donor is None:
        raise ValueError("donor must be a clip that can_give_voice, but got None")
    spare = max(0, len(donor.whole_audio) - len(clip.audio))
    start = int(rng.integers(0, spare + 1))
    piece = np.resize(donor.whole_audio[start:], len(clip.audio)).astype(np.float32)
    return same_level(piece, clip.audio), clip.audio_mask.copy()
