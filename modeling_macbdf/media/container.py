"""Opening a media file: limits, which streams are used, and the clock that all of them share.

Clock zero is the container's start time, what players show as 0:00.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, overload

from .clock import Splices
from .outcomes import MediaError, Status, check_file, container_by_magic, ffmpeg_errors, missing_extra

try:
    import av
    from av.stream import Disposition
except ImportError as error:
    raise missing_extra("av (PyAV)", "media") from error

# Demuxers that hold recorded sound and picture. Everything else is refused: playlists (which open other files), text
# that FFmpeg would play as ASCII art, still images, devices.
_DEMUXERS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,nut,dv,rm,gif,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,dts,amr,amrnb,amrwb,wv,ape,tta"
)
_MAY_BEGIN_ANEW = 0x0200  # FFmpeg's flag (AVFMT_TS_DISCONT) of formats whose time stamps may begin anew in a file
_MICROSECONDS = 1_000_000
_MOST_PIXELS = 2**31 - 1  # that FFmpeg's option takes
_ROUNDED_UP = 64 * 16_384  # pixels: decoders round a frame's width up


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one file may cost. A file over a limit has a typed outcome and is not read further.

    Attributes:
        max_bytes (`int`): File size.
        max_duration_s (`float`): Declared and decoded duration, in seconds.
        max_pixels (`int`): Width x height of a frame.
        max_frames (`int`): Decoded frames.
        max_seconds (`float`): Wall clock spent in decoding, in seconds; the time of the consumer is not counted.
    """

    max_bytes: int = 8 * 2**30
    max_duration_s: float = 4 * 3600.0
    max_pixels: int = 8192 * 4608
    max_frames: int = 2_000_000
    max_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, but got {getattr(self, name)}.")


class Deadline:
    """A wall-clock budget that runs only while the decoder works."""

    def __init__(self, seconds: float, path: str) -> None:
        self._seconds = seconds
        self._path = path
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise `MediaError` (`timeout`) when the budget is spent."""
        if time.monotonic() > self._end:
            raise MediaError(Status.timeout, f"decoding took over {self._seconds:g} s", self._path)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of this block."""
        started = time.monotonic()
        yield
        self._end += time.monotonic() - started


@dataclass(slots=True)
class OpenMedia:
    """An open file with its clock, limits and warnings."""

    path: str
    container: av.container.InputContainer
    size_bytes: int
    limits: DecodeLimits
    deadline: Deadline
    warnings: list[str] = field(default_factory=list)

    @property
    def zero(self) -> Fraction:
        """Clock zero on the container's own time line, in seconds."""
        start = self.container.start_time
        return Fraction(0) if start is None else Fraction(start, _MICROSECONDS)

    @property
    def duration_s(self) -> float | None:
        """Declared duration in seconds."""
        duration = self.container.duration
        return None if not duration or duration < 0 else duration / _MICROSECONDS

    def moving_pictures(self) -> list[av.VideoStream]:
        """Return the video streams, cover art left out."""
        return [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]

    def video_stream(self) -> av.VideoStream | None:
        """Return the default video stream, the largest of several; never cover art."""
        streams = [s for s in self.moving_pictures() if s.codec_context is not None]
        default = Disposition.default
        return max(streams, key=lambda s: (bool(s.disposition & default), s.width * s.height), default=None)

    def audio_stream(self) -> av.AudioStream | None:
        """Return the default audio stream, the first of several."""
        streams = [s for s in self.container.streams.audio if s.codec_context is not None]
        return max(streams, key=lambda s: (bool(s.disposition & Disposition.default), -s.index), default=None)

    def used_streams(self) -> list[av.VideoStream | av.AudioStream]:
        """Return the streams that are judged."""
        return [stream for stream in (self.video_stream(), self.audio_stream()) if stream is not None]

    def relative(self, stream_time: int | None, time_base: Fraction | None) -> Fraction | None:
        """Return a stream's time stamp as seconds on the shared clock."""
        if stream_time is None or not time_base:
            return None
        return stream_time * time_base - self.zero

    def warn_if_cut_short(self, stream: av.VideoStream | av.AudioStream, end_s: float) -> None:
        """Note it when the stream gave clearly less than declared, as a truncated file does."""
        expected, slack = self._declared_end_s(stream)
        if expected is not None and end_s < expected - max(0.5, slack * expected):
            self.warnings.append(f"the {stream.type} ends at {end_s:.2f} s, but the file declares {expected:.2f} s")

    def _declared_end_s(self, stream: av.VideoStream | av.AudioStream) -> tuple[float | None, float]:
        """Return when the stream should end, in seconds on the shared clock, and the fraction it may be off."""
        if stream.duration and stream.time_base:
            start = self.relative(stream.start_time, stream.time_base) or 0
            return float(start + stream.duration * stream.time_base), 0.1
        tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska's
        if tag:
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - float(self.zero), 0.1
        return self.duration_s, 0.3  # another stream may simply be longer


@contextmanager
def open_media(
    path: str | os.PathLike[str], limits: DecodeLimits | None = None, warnings: list[str] | None = None
) -> Iterator[OpenMedia]:
    """Open a file for one sequential pass, within limits.

    Args:
        path (`str` or `PathLike`): A regular file; it is never taken for a URL or a playlist.
        limits (`DecodeLimits`, *optional*): Defaults to `DecodeLimits()`.
        warnings (`list[str]`, *optional*): Gets a sentence for everything odd that did not stop the decoding.

    Raises:
        MediaError: With the status of what is wrong with the file.
    """
    limits = limits or DecodeLimits()
    name = os.fspath(path)
    size = check_file(name, limits.max_bytes)
    with ffmpeg_errors(name, "opening it as a media file"):
        container = av.open(
            "file:" + os.path.abspath(name),  # the prefix keeps "concat:" or "http:" in a name from being a protocol
            mode="r",
            options={"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"} | pixel_option(limits),
            metadata_errors="replace",
            timeout=min(limits.max_seconds, 60.0),
        )
    with container:
        opened = OpenMedia(name, container, size, limits, Deadline(limits.max_seconds, name))
        if warnings is not None:
            opened.warnings = warnings
        _check_declared(opened)
        yield opened


def _check_declared(opened: OpenMedia) -> None:
    if not opened.container.streams.video and not opened.container.streams.audio:
        kind = container_by_magic(opened.path)
        status = Status.undecodable if kind else Status.not_media
        raise MediaError(status, f"it holds neither audio nor video ({kind or 'no known container'})", opened.path)
    limit = opened.limits.max_duration_s
    if opened.duration_s is not None and opened.duration_s > limit:
        reason = f"its declared duration of {opened.duration_s:.0f} s is over the limit of {limit:.0f} s"
        raise MediaError(Status.too_long, reason, opened.path)
    video = opened.video_stream()
    if video is not None:
        check_pixels(opened, video.width, video.height)


def pixel_option(limits: DecodeLimits) -> dict[str, str]:
    """Return the decoder's option that keeps it from allocating a frame over the pixel limit."""
    return {"max_pixels": str(min(limits.max_pixels + _ROUNDED_UP, _MOST_PIXELS))}


def check_pixels(opened: OpenMedia, width: int, height: int) -> None:
    """Raise `MediaError` (`too_large`) for a frame over the pixel limit."""
    if width * height > opened.limits.max_pixels:
        reason = f"a frame of {width}x{height} is over the limit of {opened.limits.max_pixels} pixels"
        raise MediaError(Status.too_large, reason, opened.path)


@overload
def decoded_frames(
    opened: OpenMedia, stream: av.VideoStream, prepare: Callable[[av.Packet], None] | None = None
) -> Iterator[av.VideoFrame]: ...
@overload
def decoded_frames(opened: OpenMedia, stream: av.AudioStream) -> Iterator[av.AudioFrame]: ...
def decoded_frames(
    opened: OpenMedia, stream: Any, prepare: Callable[[av.Packet], None] | None = None
) -> Iterator[Any]:
    """Yield every frame that the decoder gives, past damaged packets, and what it still holds at the end.

    `prepare` sees each packet before the decoder does.
    """
    damaged = 0
    for packet in _packets(opened, stream):
        opened.deadline.check()
        if prepare is not None and packet is not None:
            prepare(packet)
        try:
            frames = stream.decode(packet)
        except (MemoryError, TimeoutError, av.error.ExitError):
            raise
        except av.error.FFmpegError:  # decoders have many names for a packet that they cannot read
            damaged += packet is not None
            continue
        for frame in frames:
            damaged += bool(frame.is_corrupt)
            yield frame
    if damaged:
        opened.warnings.append(f"{damaged} packets or frames of the {stream.type} are damaged")


def _packets(opened: OpenMedia, stream: av.VideoStream | av.AudioStream) -> Iterator[av.Packet | None]:
    """Yield the packets of one stream up to the first unreadable place, then None, which empties the decoder."""
    splices = Splices() if opened.container.format.flags & _MAY_BEGIN_ANEW else None
    try:
        for packet in opened.container.demux(*opened.used_streams()):
            if splices is not None:
                _place(opened, packet, splices)
            if packet.stream.index == stream.index:
                yield packet
    except (av.error.InvalidDataError, av.error.EOFError, av.error.OSError) as error:
        opened.warnings.append(f"reading stopped early: {error.strerror}")
    except IndexError:
        pass  # how PyAV ends a file in which another stream appeared on the way: every packet was given
    if splices is not None and splices.count:
        opened.warnings.append(f"its time stamps begin anew {splices.count} times: what follows was put behind")
    yield None


def _place(opened: OpenMedia, packet: av.Packet, splices: Splices) -> None:
    start = opened.relative(packet.pts if packet.dts is None else packet.dts, packet.time_base)
    if start is not None:
        splices.place(packet, start)
