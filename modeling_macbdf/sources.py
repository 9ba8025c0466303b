"""Where a clip comes from: a file, or anything that has frames and sound. The detector takes either."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from .media.audio import Audio, read_audio
from .media.container import DecodeLimits
from .media.decode import Frame, iter_shown, to_rgb
from .media.probe import MediaInfo, probe
from .media.tracks import TrackedCrop
from .read_ahead import read_ahead
from .scoring import Voice
from .verdicts import WindowScore
from .windows import Window

_HASHED_BYTES = 2**20  # at once
FRAMES_AHEAD = 4  # decoded and waiting: 12 MB of 1080p
# More than cores: a decoder's threads wait for each other, and for the thread that takes their frames.
DECODER_THREADS = max(4, os.cpu_count() or 1)


class Source(Protocol):
    """A clip as the detector takes it in. Every method may raise `MediaError`; sound and frames are read at once."""

    path: str

    def info(self) -> MediaInfo:
        """What the clip declares about itself."""
        ...

    def sha256(self) -> str | None:
        """Of the file's bytes; None where there is no file."""
        ...

    def audio(self, sampling_rate: int) -> Audio | None:
        """The whole sound at a sampling rate in Hz; None where there is no stream."""
        ...

    def frames(self, rate_hz: float, warnings: list[str]) -> Iterator[Frame]:
        """The displayed frames at `rate_hz` steps a second, in order."""
        ...


class FileSource:
    """A media file within limits.

    Args:
        path: the file.
        limits: what it may cost.
        audio_path: a file that holds its sound, where the two are kept apart.
        on_read: called after each piece of the file that was hashed, and of its sound; from several threads.
    """

    def __init__(
        self,
        path: str,
        limits: DecodeLimits | None = None,
        audio_path: str | None = None,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        self.path, self.limits, self._audio_path, self._on_read = path, limits, audio_path, on_read

    def info(self) -> MediaInfo:
        """See `Source`."""
        found = probe(self.path, self.limits)
        if self._audio_path is None:
            return found
        return replace(found, audio=probe(self._audio_path, self.limits).audio, audio_streams=1)

    def sha256(self) -> str | None:
        """See `Source`."""
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            while piece := file.read(_HASHED_BYTES):
                digest.update(piece)
                if self._on_read is not None:
                    self._on_read()
        return digest.hexdigest()

    def audio(self, sampling_rate: int) -> Audio | None:
        """See `Source`."""
        return read_audio(self._audio_path or self.path, sampling_rate, limits=self.limits, on_read=self._on_read)

    def frames(self, rate_hz: float, warnings: list[str]) -> Iterator[Frame]:
        """See `Source`."""
        pictures = iter_shown(self.path, rate_hz, self.limits, DECODER_THREADS, warnings, only_shown=True)
        return to_rgb(read_ahead(pictures, FRAMES_AHEAD), self.path)


class Watcher:
    """Sees what passes through the detector while it judges one clip; override what you want to see."""

    def on_info(self, info: MediaInfo) -> None:
        """What the clip declares."""

    def on_read(self) -> None:
        """A piece of the file was read, in whichever thread."""

    def on_voice(self, voice: Voice) -> None:
        """The sound, or why there is none; before the first window, but after the frames of that."""

    def on_frame(self, frame: Frame) -> None:
        """Each frame, before faces are looked for; its crops come a few steps later."""

    def on_crop(self, crop: TrackedCrop) -> None:
        """Each face crop."""

    def on_window(self, window: Window) -> None:
        """Each window that is ready to be scored; its score comes later, in the same order."""

    def on_score(self, score: WindowScore) -> None:
        """Each scored window."""
