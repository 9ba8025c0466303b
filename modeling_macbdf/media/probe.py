"""What a media file declares about itself."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .container import DecodeLimits, OpenMedia, av, open_media


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """The declared properties of the video stream that is used. Sizes in pixels before rotation, times in seconds."""

    index: int
    codec: str
    width: int
    height: int
    pixel_format: str | None
    frame_rate_hz: float | None
    start_s: float | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The declared properties of the audio stream that is used. Times in seconds."""

    index: int
    codec: str
    sampling_rate: int
    channels: int
    start_s: float | None
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file declares about itself. Nothing is decoded for it, so nothing here is proven.

    Attributes:
        container (`str`): FFmpeg's name of the container format.
        size_bytes (`int`): File size.
        duration_s (`float` or None): Declared duration in seconds.
        video (`VideoInfo` or None): The video stream that is used; cover art does not count as one.
        audio (`AudioInfo` or None): The audio stream that is used.
        video_streams, audio_streams (`int`): How many there are of each; cover art does not count.
    """

    path: str
    container: str
    size_bytes: int
    duration_s: float | None
    video: VideoInfo | None
    audio: AudioInfo | None
    video_streams: int
    audio_streams: int


def probe(path: str | os.PathLike[str], limits: DecodeLimits | None = None) -> MediaInfo:
    """Return what a file declares about itself, without decoding it.

    Raises:
        MediaError: When the file cannot be opened as media or is over a limit.
    """
    with open_media(path, limits) as opened:
        video, audio = opened.video_stream(), opened.audio_stream()
        return MediaInfo(
            path=opened.path,
            container=opened.container.format.name,
            size_bytes=opened.size_bytes,
            duration_s=opened.duration_s,
            video=None if video is None else _video_info(opened, video),
            audio=None if audio is None else _audio_info(opened, audio),
            video_streams=len(opened.moving_pictures()),
            audio_streams=len(opened.container.streams.audio),
        )


def _times(opened: OpenMedia, stream: av.VideoStream | av.AudioStream) -> tuple[float | None, float | None]:
    start = opened.relative(stream.start_time, stream.time_base)
    duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    return None if start is None else float(start), duration


def _video_info(opened: OpenMedia, stream: av.VideoStream) -> VideoInfo:
    start_s, duration_s = _times(opened, stream)
    context = stream.codec_context
    rate = float(stream.average_rate) if stream.average_rate else None
    size = (stream.width, stream.height)
    return VideoInfo(stream.index, context.name, *size, context.pix_fmt, rate, start_s, duration_s)


def _audio_info(opened: OpenMedia, stream: av.AudioStream) -> AudioInfo:
    start_s, duration_s = _times(opened, stream)
    context = stream.codec_context
    return AudioInfo(stream.index, context.name, context.sample_rate, context.channels, start_s, duration_s)
