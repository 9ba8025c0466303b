"""Face crops in, overlapping windows out, while the clip is still being read: memory does not grow with the clip.

A window is `length` consecutive steps of one face track. Windows start every `hop` steps; the last one is moved back
so that it ends with the track, and a track shorter than one window gives one short window (padded later, by the
processor, with masked steps).
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from .data.windows import window_starts


@dataclass(frozen=True)
class Window:
    """Consecutive steps of one face, or of the sound alone.

    Attributes:
        track: number of the face track, None for sound alone.
        first_step: where the window begins on the clip's clock.
        steps: its length.
        crops: (steps, S, S, 3) uint8, None for sound alone.
    """

    track: int | None
    first_step: int
    steps: int
    crops: np.ndarray | None


def sound_windows(num_steps: int, length: int, hop: int, min_steps: int = 1) -> list[Window]:
    """Windows over a clip without a picture, cut by the same rule as a face track's."""
    if num_steps < min_steps:
        return []
    starts = window_starts(num_steps, length, hop)
    return [Window(None, start, min(length, num_steps), None) for start in starts]


@dataclass
class _Pending:
    """The last crops of one track, and how many of them no window has held yet."""

    crops: deque[np.ndarray]
    last_step: int = 0
    unseen: int = 0
    emitted: bool = False


@dataclass
class WindowBuilder:
    """Cuts windows out of face tracks as their crops arrive.

    Args:
        length: steps in a full window.
        hop: steps from the start of one window to the next.
        min_steps: a track that ends with fewer steps gives no window.
    """

    length: int
    hop: int
    min_steps: int = 1
    _tracks: dict[int, _Pending] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.length:
            raise ValueError(f"hop must be between 1 and length={self.length} steps, but it is {self.hop}")

    def push(self, track: int, step: int, crop: np.ndarray) -> Window | None:
        """Adds the crop of the next step of `track`; returns the window that it completes, if any.

        Raises:
            ValueError: if the step does not follow the track's last one (the tracker bridges gaps).
        """
        pending = self._tracks.setdefault(track, _Pending(deque(maxlen=self.length)))
        if pending.crops and step != pending.last_step + 1:
            raise ValueError(f"step must follow step {pending.last_step} of track {track}, but it is {step}")
        pending.crops.append(crop)
        pending.last_step = step
        pending.unseen += 1
        due = self.hop if pending.emitted else self.length
        return self._emit(track) if pending.unseen == due else None

    def finish(self, track: int) -> Window | None:
        """Ends a track; returns its last window if it holds steps that no window has held."""
        pending = self._tracks.get(track)
        due = pending is not None and pending.unseen > 0 and (pending.emitted or pending.unseen >= self.min_steps)
        window = self._emit(track) if due else None
        self._tracks.pop(track, None)
        return window

    def finish_before(self, step: float = math.inf) -> list[Window]:
        """Ends the tracks (all by default) whose last crop lies before `step`, in the order in which they began."""
        over = [track for track, pending in self._tracks.items() if pending.last_step < step]
        windows = [self.finish(track) for track in over]
        return [window for window in windows if window is not None]

    def _emit(self, track: int) -> Window:
        pending = self._tracks[track]
        pending.unseen, pending.emitted = 0, True
        crops = np.stack(pending.crops)
        return Window(track, pending.last_step - len(crops) + 1, len(crops), crops)
