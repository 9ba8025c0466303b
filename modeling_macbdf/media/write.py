"""Frames and sound to files, and short codec round trips in memory.

Used for the synthetic clips, for tests, and for giving training samples of both classes the same compression.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .outcomes import missing_extra

try:
    import av
    from av.video.reformatter import VideoReformatter
except ImportError as error:
    raise missing_extra("av (PyAV)", "media") from error

_TICK = Fraction(1, 90_000)  # seconds per tick of the video time stamps, for codecs that allow it
_FINE_TIMES = {"libx264", "libx264rgb", "libx265", "libvpx", "libvpx-vp9", "ffv1"}  # others count whole frames
# Without it, x264's fast paths gave other bytes from run to run on some processors.
_REPRODUCIBLE = "cpu-independent=1"
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a clip is encoded.

    Attributes:
        video_codec, audio_codec (`str`): FFmpeg's encoder names.
        crf (`int` or None): Constant rate factor of x264 and its like, lower is better; None for the codec's default.
        preset (`str`): x264's speed, from "ultrafast" to "veryslow".
        pixel_format (`str`): Of the encoded video.
        audio_bit_rate (`int`): In bits per second.
        key_frame_every (`int`): Frames from one key frame to the next.
        video_offset_s, audio_offset_s (`float`): When each stream begins on the container's clock, in seconds.
        rotation (`int`): Quarter turns that a player has to make, in degrees counter-clockwise; pixels stay as given.
        container (`str` or None): FFmpeg's muxer name; None takes it from the file's suffix.
        codec_options (`tuple` of pairs of `str`): Further options of the video encoder.
    """

    video_codec: str = "libx264"
    audio_codec: str = "aac"
    crf: int | None = 23
    preset: str = "veryfast"
    pixel_format: str = "yuv420p"
    audio_bit_rate: int = 96_000
    key_frame_every: int = 50
    video_offset_s: float = 0.0
    audio_offset_s: float = 0.0
    rotation: int = 0
    container: str | None = None
    codec_options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.rotation % 90:
            raise ValueError(f"rotation must be a multiple of 90 degrees, but got {self.rotation}.")
        for name in ("video_offset_s", "audio_offset_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, but got {getattr(self, name)}.")


def write_clip(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]] | None,
    fps: float = 25.0,
    waveform: NDArray[np.floating] | None = None,
    sampling_rate: int = 16_000,
    *,
    times_s: Iterable[float] | None = None,
    options: WriteOptions | None = None,
) -> Path:
    """Encode a clip; the file appears under its name only when it is complete.

    Args:
        path (`str` or `PathLike`): The file to write; its suffix names the container.
        frames (`Iterable` of `(H, W, 3)` uint8 arrays, or None): RGB frames of one size; an odd last row or column is
            cut off, since 4:2:0 colour needs even sides. None writes no picture.
        fps (`float`, *optional*, defaults to 25.0): Frames per second.
        waveform (`np.ndarray` of shape `(N,)` or `(C, N)`, *optional*): Sound in [-1, 1]; None writes no sound.
        sampling_rate (`int`, *optional*, defaults to 16000): Of the sound, in Hz.
        times_s (`Iterable[float]`, *optional*): Rising times of the frames in seconds, for variable frame rate; taken
            one by one, each after its frame.
        options (`WriteOptions`, *optional*): Codecs and offsets.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: When there is nothing to write, or times do not fit the frames.
    """
    if frames is None and waveform is None:
        raise ValueError("frames and waveform must not both be None, there would be nothing to write.")
    if not fps > 0:
        raise ValueError(f"fps must be positive, but got {fps}.")
    options = options or WriteOptions()
    target = Path(path)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        with av.open(str(partial), "w", format=options.container) as container:
            packets = _encode(container, frames, fps, times_s, waveform, sampling_rate, options)
            for packet in packets:
                container.mux(packet)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _encode(
    container: av.container.OutputContainer,
    frames: Iterable[NDArray[np.uint8]] | None,
    fps: float,
    times_s: Iterable[float] | None,
    waveform: NDArray[np.floating] | None,
    sampling_rate: int,
    options: WriteOptions,
) -> Iterator[av.Packet]:
    """Declare all streams, then yield their packets: a container's header is written with the first one."""
    first, rest = _peek(frames)
    video = None if first is None else _video_stream(container, first, fps, options)
    audio = None if waveform is None else _audio_stream(container, waveform, sampling_rate, options)
    if video is not None:
        yield from _video_packets(video, rest, fps, times_s, options)
    if audio is not None and waveform is not None:
        yield from _audio_packets(audio, waveform, sampling_rate, options.audio_offset_s)


def _peek(
    frames: Iterable[NDArray[np.uint8]] | None,
) -> tuple[NDArray[np.uint8] | None, Iterator[NDArray[np.uint8]]]:
    rest = iter(frames if frames is not None else ())
    first = next(rest, None)
    if frames is not None and first is None:
        raise ValueError("frames must hold at least one frame, but got none.")
    return first, rest if first is None else chain([first], rest)


def _video_stream(
    container: av.container.OutputContainer, frame: NDArray[np.uint8], fps: float, options: WriteOptions
) -> av.VideoStream:
    stream = container.add_stream(options.video_codec, rate=Fraction(fps).limit_denominator(1001))
    if not isinstance(stream, av.VideoStream):
        raise ValueError(f"video_codec must name a video encoder, but got {options.video_codec!r}.")
    stream.height, stream.width = (side - side % 2 for side in frame.shape[:2])
    stream.pix_fmt = options.pixel_format
    stream.codec_context.gop_size = options.key_frame_every
    stream.codec_context.options = _codec_options(options)
    if options.video_codec in _FINE_TIMES:
        stream.codec_context.time_base = _TICK
    if options.rotation:
        stream.set_display_rotation(options.rotation)
    return stream


def _codec_options(options: WriteOptions) -> dict[str, str]:
    chosen = dict(options.codec_options)
    if options.video_codec.startswith(("libx264", "libx265")):
        chosen.setdefault("preset", options.preset)
        if options.crf is not None:
            chosen.setdefault("crf", str(options.crf))
    if options.video_codec.startswith("libx264"):
        chosen.setdefault("x264-params", _REPRODUCIBLE)
    return chosen


def _video_packets(
    stream: av.VideoStream,
    frames: Iterator[NDArray[np.uint8]],
    fps: float,
    times_s: Iterable[float] | None,
    options: WriteOptions,
) -> Iterator[av.Packet]:
    context = stream.codec_context
    base = context.time_base or 1 / Fraction(fps).limit_denominator(1001)
    for at, rgb in _timed(frames, fps, times_s):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[: stream.height, : stream.width]), format="rgb24")
        frame.time_base = base
        frame.pts = round((at + options.video_offset_s) / base)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _timed(
    frames: Iterator[NDArray[np.uint8]], fps: float, times_s: Iterable[float] | None
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Each frame with its time in seconds."""
    if times_s is None:
        yield from ((index / fps, rgb) for index, rgb in enumerate(frames))
        return
    for index, (rgb, at) in enumerate(zip_longest(frames, times_s)):
        if rgb is None or at is None:
            more = "frames" if at is None else "times"
            raise ValueError(f"times_s must hold one time per frame, but there are more {more} after {index} of both.")
        yield at, rgb


def _audio_stream(
    container: av.container.OutputContainer, waveform: NDArray[np.floating], sampling_rate: int, options: WriteOptions
) -> av.AudioStream:
    channels = len(np.atleast_2d(waveform))
    if channels not in _LAYOUTS:
        raise ValueError(f"waveform must have 1, 2 or 6 channels, but got {channels}.")
    stream = container.add_stream(options.audio_codec, rate=sampling_rate)
    if not isinstance(stream, av.AudioStream):
        raise ValueError(f"audio_codec must name an audio encoder, but got {options.audio_codec!r}.")
    stream.bit_rate = options.audio_bit_rate
    stream.layout = _LAYOUTS[channels]
    return stream


def _audio_packets(
    stream: av.AudioStream, waveform: NDArray[np.floating], sampling_rate: int, offset_s: float
) -> Iterator[av.Packet]:
    samples = np.ascontiguousarray(np.atleast_2d(waveform), dtype=np.float32)
    resampler = av.AudioResampler(
        format=stream.codec_context.format,
        layout=stream.layout,
        rate=stream.rate,
        frame_size=stream.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
    frame.sample_rate = sampling_rate
    frame.time_base = Fraction(1, sampling_rate)
    frame.pts = round(offset_s * sampling_rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        yield from stream.encode(piece)
    yield from stream.encode(None)


def round_trip(
    frames: NDArray[np.uint8], codec: str = "h264", crf: int = 28, fps: float = 25.0, preset: str = "veryfast"
) -> NDArray[np.uint8]:
    """Compress and decompress a short run of frames in memory, without a container.

    Args:
        frames (`np.ndarray` of shape `(T, H, W, 3)`, uint8): RGB frames.
        codec (`str`, *optional*, defaults to "h264"): "h264" (x264) or "mpeg4" (MPEG-4 part 2).
        crf (`int`, *optional*, defaults to 28): x264's rate factor 0-51, or MPEG-4's quantiser 1-31; higher is worse.
        fps (`float`, *optional*, defaults to 25.0): Frames per second, which the rate control looks at.
        preset (`str`, *optional*, defaults to "veryfast"): x264's speed.

    Returns:
        `np.ndarray` of shape `(T, H, W, 3)`, uint8: What a viewer of the compressed video sees.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be (T, H, W, 3) uint8, but got {frames.dtype} of shape {frames.shape}.")
    if codec not in ("h264", "mpeg4"):
        raise ValueError(f'codec must be "h264" or "mpeg4", but got {codec!r}.')
    height, width = frames.shape[1:3]
    even = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    padded = np.pad(frames, even, mode="edge") if height % 2 or width % 2 else frames
    encoder = _encoder(codec, crf, fps, preset, padded.shape[1:3])
    decoder = _context(codec, "r")
    convert = VideoReformatter().reformat  # one for all: a frame's own conversion is set up anew for each frame
    packets: list[av.Packet] = []
    for index, rgb in enumerate(padded):
        frame = convert(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), format="yuv420p")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    seen = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    if len(seen) != len(frames):
        raise ValueError(f"the {codec} round trip gave {len(seen)} of {len(frames)} frames.")
    return np.stack([convert(frame, format="rgb24").to_ndarray()[:height, :width] for frame in seen])


def _context(codec: str, mode: Literal["r", "w"]) -> av.VideoCodecContext:
    context = av.CodecContext.create(codec, mode)
    if not isinstance(context, av.VideoCodecContext):
        raise ValueError(f"codec must be a video codec, but got {codec!r}.")
    return context


def _encoder(codec: str, crf: int, fps: float, preset: str, size: tuple[int, ...]) -> av.VideoCodecContext:
    encoder = _context("libx264" if codec == "h264" else "mpeg4", "w")
    encoder.height, encoder.width = size
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = Fraction(fps).limit_denominator(1001)
    encoder.time_base = 1 / encoder.framerate
    quantiser = str(min(max(crf, 1), 31))
    h264 = {"crf": str(crf), "preset": preset, "threads": "1", "x264-params": _REPRODUCIBLE}
    encoder.options = h264 if codec == "h264" else {"qmin": quantiser, "qmax": quantiser}
    return encoder
