"""Files to frames and sound, both on the container's clock, in one sequential pass each.

The frame of step k is the one *displayed* at t = (k + 0.5) / rate_hz seconds: the latest whose time stamp is <= t.
Variable frame rate, late streams and odd time stamps need no special case then.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .audio import Audio, AudioChunk, iter_audio, read_audio
from .clock import without_leaps
from .container import DecodeLimits, OpenMedia, av, check_pixels, decoded_frames, open_media, pixel_option
from .outcomes import MediaError, Status, ffmpeg_errors
from .probe import AudioInfo, MediaInfo, VideoInfo, probe

__all__ = [
    "Audio",
    "AudioChunk",
    "AudioInfo",
    "DecodeLimits",
    "Frame",
    "MediaInfo",
    "VideoInfo",
    "iter_audio",
    "iter_frames",
    "probe",
    "read_audio",
]

_HALF = Fraction(1, 2)  # step: to its centre
_FALLBACK_RATE = Fraction(25)  # Hz, for a stream that declares no rate and no frame durations
_SQUARE = 0.02  # how far from 1 a pixel's width over its height may be: encoders round it, and resampling blurs
_ASPECTS = (Fraction(1, 4), Fraction(4))  # outside, it is an error of the file
_STEADY = 0.01  # how far mean and base rate of a stream may differ, relatively


@dataclass(frozen=True, slots=True)
class Frame:
    """One displayed frame.

    Attributes:
        step (`int`): Step k, or the index of the frame when all frames are asked for.
        time_s (`float`): The step's centre in seconds, or the frame's own time when all frames are asked for.
        rgb (`np.ndarray` of shape `(H, W, 3)`, uint8): Upright square pixels; read-only, since steps may share it.
        pts_s (`float`): When the frame came on display, in seconds; equal in two steps that show the same frame.
    """

    step: int
    time_s: float
    rgb: NDArray[np.uint8]
    pts_s: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A `Frame` whose picture is as the decoder gave it; `aspect` is the width of its pixels over their height."""

    step: int
    time_s: float
    picture: av.VideoFrame
    pts_s: float
    aspect: Fraction


@dataclass(slots=True)
class _Timed:
    """A decoded frame that is not yet converted, and from when to when it is displayed (seconds)."""

    frame: av.VideoFrame
    start: Fraction
    end: Fraction


def iter_frames(
    path: str | os.PathLike[str],
    rate_hz: float | None = 5.0,
    *,
    limits: DecodeLimits | None = None,
    threads: int = 0,
    warnings: list[str] | None = None,
    only_shown: bool = False,
) -> Generator[Frame, None, None]:
    """Yield the displayed frame at each step centre, as the file is decoded.

    No step is yielded before the video begins or after its last frame ends. Only yielded frames are converted to RGB.

    Args:
        path (`str` or `PathLike`): A media file.
        rate_hz (`float` or None, *optional*, defaults to 5.0): Steps per second; None yields every decoded frame.
        limits (`DecodeLimits`, *optional*): What the file may cost.
        threads (`int`, *optional*, defaults to 0): Decoder threads, 0 for one per core.
        warnings (`list[str]`, *optional*): Gets a sentence for each oddity, such as a file that ends early.
        only_shown (`bool`, *optional*, defaults to False): Leave frames undecoded that no step shows and no other
            frame needs: the same steps for less work.

    Raises:
        MediaError: `no_video`, `undecodable`, `too_short` (no step centre inside the video), or a limit.
        ValueError: When `rate_hz` is not positive.
    """
    return to_rgb(iter_shown(path, rate_hz, limits, threads, warnings, only_shown), path)


def iter_shown(
    path: str | os.PathLike[str],
    rate_hz: float | None,
    limits: DecodeLimits | None = None,
    threads: int = 0,
    warnings: list[str] | None = None,
    only_shown: bool = False,
) -> Generator[Shown, None, None]:
    """Yield what `iter_frames` does before the conversion to RGB, which `to_rgb` may then do in another thread."""
    if rate_hz is not None and not 0 < rate_hz <= 1000:
        raise ValueError(f"rate_hz must be in (0, 1000] or None, but got {rate_hz}.")
    rate = None if rate_hz is None else Fraction(rate_hz).limit_denominator(100_000)
    with open_media(path, limits, warnings) as opened, ffmpeg_errors(path, "decoding the video", opened=True):
        stream = _video(opened)
        stream.codec_context.options = pixel_option(opened.limits)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        aspect = _pixel_aspect(stream)
        steps = 0
        end = Fraction(0)
        needed = _Needed(opened, stream, rate) if only_shown and rate is not None else None
        for timed in _on_display(opened, stream, needed):
            end = timed.end
            for shown in _shown(timed, rate, steps, aspect):
                steps += 1
                with opened.deadline.paused():
                    yield shown
        _check_end(opened, stream, steps, end)


def to_rgb(pictures: Generator[Shown, None, None], path: str | os.PathLike[str]) -> Generator[Frame, None, None]:
    """Convert pictures to RGB, one that is on display for many steps only once; `path` is for the errors."""
    picture, rgb = None, np.zeros((0, 0, 3), np.uint8)
    with closing(pictures), ffmpeg_errors(path, "converting the video", opened=True):
        for shown in pictures:
            if shown.picture is not picture:
                picture, rgb = shown.picture, _upright(shown.picture, shown.aspect)
            yield Frame(shown.step, shown.time_s, rgb, shown.pts_s)


def _video(opened: OpenMedia) -> av.VideoStream:
    stream = opened.video_stream()
    if stream is not None:
        return stream
    pictures = len(opened.container.streams.video)
    reason = "its only pictures are cover art or in an unknown codec" if pictures else "it has no video stream"
    raise MediaError(Status.no_video, reason, opened.path)


def _pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Return the width of a stream's pixels over their height; 1 where they are as good as square, or not known."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    sane = _ASPECTS[0] <= aspect <= _ASPECTS[1]
    return aspect if sane and abs(aspect - 1) > _SQUARE else Fraction(1)


def _shown(timed: _Timed, rate: Fraction | None, index: int, aspect: Fraction) -> Iterator[Shown]:
    """Yield the steps during which one decoded frame is displayed."""
    start_s = float(timed.start)
    if rate is None:
        yield Shown(index, start_s, timed.frame, start_s, aspect)
        return
    for step in steps_on_display(timed.start, timed.end, rate):
        yield Shown(step, float((step + _HALF) / rate), timed.frame, start_s, aspect)


def steps_on_display(start_s: Fraction, end_s: Fraction, rate_hz: Fraction) -> range:
    """The steps whose centres lie within [start, end): during which a frame is displayed."""
    return range(max(math.ceil(start_s * rate_hz - _HALF), 0), math.ceil(end_s * rate_hz - _HALF))


class _Needed:
    """Tells the decoder, packet by packet, whether a frame may be left out that no other one refers to.

    It may where no step centre lies near its time on display. All frames are decoded where that time is not sure: the
    rate varies, a packet declares no time or duration, or the video is about to end.
    """

    def __init__(self, opened: OpenMedia, stream: av.VideoStream, rate_hz: Fraction) -> None:
        self._opened, self._context, self._rate_hz = opened, stream.codec_context, rate_hz
        self._until = Fraction(0)  # s
        mean, base, end, unit = stream.average_rate, stream.base_rate, stream.duration, stream.time_base
        if mean and base and abs(mean / base - 1) < _STEADY and end is not None and unit is not None:
            self._until = end * unit - 1

    def __call__(self, packet: av.Packet) -> None:
        """Sets the decoder for this packet."""
        start = self._opened.relative(packet.pts, packet.time_base)
        may_skip = start is not None and start < self._until and not self._is_shown(start, packet)
        self._context.skip_frame = "NONREF" if may_skip else "DEFAULT"

    def _is_shown(self, start: Fraction, packet: av.Packet) -> bool:
        lasts = (packet.duration or 0) * packet.time_base
        return not lasts or len(steps_on_display(start - lasts / 2, start + lasts * 3 / 2, self._rate_hz)) > 0


def _upright(frame: av.VideoFrame, aspect: Fraction) -> NDArray[np.uint8]:
    quarter_turns = round(frame.rotation / 90)  # counter-clockwise, as np.rot90 counts
    if aspect != 1:
        frame = frame.reformat(max(round(frame.width * aspect), 1), frame.height, "rgb24", interpolation="BICUBIC")
    rgb = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    if quarter_turns % 4:
        rgb = np.ascontiguousarray(np.rot90(rgb, quarter_turns))
    rgb.flags.writeable = False
    return rgb


def _on_display(opened: OpenMedia, stream: av.VideoStream, needed: _Needed | None) -> Iterator[_Timed]:
    """Yield each decoded frame with its span on display, late: the next one ends it, if its time is true."""
    rate = stream.average_rate or stream.guessed_rate
    usual = 1 / rate if rate else 1 / _FALLBACK_RATE
    before: _Timed | None = None
    backwards = 0
    for start, frame in without_leaps(_decoded(opened, stream, needed), stream.type, opened.warnings):
        if start is None:
            start = before.end if before else Fraction(0)
        if before is not None and start <= before.start:
            backwards += 1
            continue
        if start > opened.limits.max_duration_s:
            _refuse_duration(opened, start)
        if before is not None:
            before.end = start
            yield before
        lasts = frame.duration * frame.time_base if frame.duration and frame.time_base else usual
        before = _Timed(frame, start, start + lasts)
    if before is not None:
        before.end = min(before.end, Fraction(opened.limits.max_duration_s))
        yield before
    if backwards:
        opened.warnings.append(f"{backwards} frames were left out because their time runs backwards")


def _decoded(
    opened: OpenMedia, stream: av.VideoStream, needed: _Needed | None
) -> Iterator[tuple[Fraction | None, av.VideoFrame]]:
    """Yield each decoded frame within the limits, with its time on the shared clock, if it has one."""
    for count, frame in enumerate(decoded_frames(opened, stream, needed), start=1):
        _check_frame(opened, stream, frame, count)
        yield opened.relative(frame.pts, frame.time_base), frame


def _check_frame(opened: OpenMedia, stream: av.VideoStream, frame: av.VideoFrame, count: int) -> None:
    opened.deadline.check()
    aspect = max(_pixel_aspect(stream), Fraction(1))  # made square, it is wider
    check_pixels(opened, round(frame.width * aspect), frame.height)
    if count > opened.limits.max_frames:
        reason = f"it has over {opened.limits.max_frames} frames, the limit"
        raise MediaError(Status.too_long, reason, opened.path)


def _refuse_duration(opened: OpenMedia, start: Fraction) -> None:
    reason = f"a frame at {float(start):.0f} s is over the limit of {opened.limits.max_duration_s:.0f} s"
    raise MediaError(Status.too_long, reason, opened.path)


def _check_end(opened: OpenMedia, stream: av.VideoStream, steps: int, end: Fraction) -> None:
    if end == 0:
        raise MediaError(Status.undecodable, f"its {stream.codec_context.name} video gives no frame", opened.path)
    if steps == 0:
        reason = f"its video ends at {float(end):.3f} s, before the first step is half over"
        raise MediaError(Status.too_short, reason, opened.path)
    opened.warn_if_cut_short(stream, float(end))
