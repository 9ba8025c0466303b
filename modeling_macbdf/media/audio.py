"""The voice: any audio stream to mono float32 at one sampling rate, on the container's clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .clock import without_leaps
from .container import DecodeLimits, OpenMedia, av, decoded_frames, open_media
from .outcomes import MediaError, Status, ffmpeg_errors

SILENCE_PEAK = (
    0.0005  # below this amplitude a track counts as silent (it is the trimming level of published benchmarks)
)
_JUMP = Fraction(15, 1000)  # seconds: a step in the time stamps above this is a gap; below, it is rounding
_TOLD_S = 0.1  # of sound left out that is worth a warning
_CANCELLED = 10**-1.2  # power of the channels' mean over that of independent ones: of stereo, 15 dB below its channels
_SAMPLE_BYTES = 4  # float32
_RATES = range(1000, 768_001)  # Hz


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of samples without a gap.

    Attributes:
        start (`int`): Index of the first sample, counted from clock zero at the target rate.
        samples (`np.ndarray` of shape `(N,)`, float32): Mono, in [-1, 1].
    """

    start: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Audio:
    """The sound of a file from clock zero on.

    Attributes:
        samples (`np.ndarray` of shape `(N,)`, float32): Mono, in [-1, 1]; zero where there is no sound.
        sampling_rate (`int`): In Hz.
        valid (`np.ndarray` of shape `(K, 2)`, int64): Sample intervals [start, end) that the stream really holds.
        warnings (`tuple[str, ...]`): Oddities that did not stop the decoding.
    """

    samples: NDArray[np.float32]
    sampling_rate: int
    valid: NDArray[np.int64]
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Time from clock zero to the end of the sound, in seconds."""
        return len(self.samples) / self.sampling_rate

    @property
    def peak(self) -> float:
        """Largest absolute amplitude."""
        # No array of magnitudes: of an hour it would be as large as the sound itself.
        return float(max(self.samples.max(initial=0.0), -self.samples.min(initial=0.0)))

    @property
    def is_silent(self) -> bool:
        """Whether nothing can be heard: the peak is below `SILENCE_PEAK`."""
        return self.peak < SILENCE_PEAK

    def step_mask(self, num_steps: int, frame_rate_hz: float = 5.0) -> NDArray[np.bool_]:
        """Return which steps hold sound.

        Args:
            num_steps (`int`): T, steps from clock zero on.
            frame_rate_hz (`float`, *optional*, defaults to 5.0): Steps per second.

        Returns:
            `np.ndarray` of shape `(T,)`, bool: True where at least half of the step is valid sound.
        """
        per_step = self.sampling_rate / frame_rate_hz
        edges = np.arange(num_steps + 1) * per_step
        covered = np.zeros(num_steps)
        for start, end in self.valid:
            own = slice(int(start / per_step), int(end / per_step) + 1)  # the steps that it touches: spans may be many
            covered[own] += np.clip(np.minimum(edges[1:][own], end) - np.maximum(edges[:-1][own], start), 0, None)
        return covered >= 0.5 * self.sampling_rate / frame_rate_hz


class _Mix:
    """Many channels to one: their mean, or one of them.

    Attributes:
        channel (`int` or None): The one, counted from 0; None for the mean.
        powers (`np.ndarray` of shape `(C,)`): Of each channel so far, where the mean was taken.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self.powers = np.zeros(0)
        self._mean_power = self._independent = 0.0

    def __call__(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples `(N, C)` -> `(N,)`."""
        count = channels.shape[1]
        if self.channel is not None:
            return channels[:, min(self.channel, count - 1)]
        mean = channels.mean(axis=1, dtype=np.float32)
        powers = np.square(channels, dtype=np.float64).sum(axis=0)
        self.powers = np.pad(self.powers, (0, max(count - len(self.powers), 0)))
        self.powers[:count] += powers
        self._independent += powers.sum() / count**2
        self._mean_power += float(np.square(mean, dtype=np.float64).sum())
        return mean

    @property
    def cancels(self) -> bool:
        """Whether the channels are of opposite polarity, so that little or nothing is left in their mean."""
        return self._mean_power < _CANCELLED * self._independent


def read_audio(
    path: str | os.PathLike[str],
    sampling_rate: int = 16_000,
    *,
    limits: DecodeLimits | None = None,
    on_read: Callable[[], None] | None = None,
) -> Audio | None:
    """Return the whole sound of a file, or None when it has no audio stream.

    Channels are averaged; where they cancel each other out, it is the loudest one, with a warning.

    Args:
        path (`str` or `PathLike`): A media file.
        sampling_rate (`int`, *optional*, defaults to 16000): In Hz.
        limits (`DecodeLimits`, *optional*): What the file may cost.
        on_read (`Callable`, *optional*): Called after each piece of sound, as a sign of life.

    Raises:
        MediaError: `no_audio` when there is a stream that gives no sample (the picture may still be judged), or the
            status of what is wrong with the file.
        ValueError: When `sampling_rate` is not in 1,000 to 768,000 Hz.
    """
    warnings: list[str] = []
    mix = _Mix()
    audio = _whole(_mixed(path, sampling_rate, limits, warnings, mix), sampling_rate, warnings, on_read)
    if not mix.cancels:
        return audio
    del audio  # before there is another: an hour of it takes 230 MB
    channel = int(mix.powers.argmax())
    warnings = [f"its channels cancel each other out: only channel {channel + 1}, the loudest, was judged"]
    mix = _Mix(channel)
    return _whole(_mixed(path, sampling_rate, limits, warnings, mix), sampling_rate, warnings, on_read)


def _whole(
    chunks: Iterator[AudioChunk], sampling_rate: int, warnings: list[str], on_read: Callable[[], None] | None
) -> Audio | None:
    """Return the chunks as one; `warnings` fill up while they are read."""
    heard = bytearray()  # grows in place: a list of chunks would hold an hour of sound twice
    spans: list[list[int]] = []
    for chunk in chunks:
        end = chunk.start + len(chunk.samples)
        heard += bytes(_SAMPLE_BYTES * chunk.start - len(heard)) + chunk.samples.tobytes()
        if spans and spans[-1][1] == chunk.start:
            spans[-1][1] = end
        else:
            spans.append([chunk.start, end])
        if on_read is not None:
            on_read()
    if not spans:
        return None
    samples = np.frombuffer(heard, dtype=np.float32)
    return Audio(samples, sampling_rate, np.asarray(spans, dtype=np.int64).reshape(-1, 2), tuple(warnings))


def iter_audio(
    path: str | os.PathLike[str],
    sampling_rate: int = 16_000,
    *,
    limits: DecodeLimits | None = None,
    warnings: list[str] | None = None,
) -> Iterator[AudioChunk]:
    """Yield the sound of a file in order, without overlap; a gap shows as a jump of `start`.

    Channels are averaged. A file without an audio stream yields nothing.

    Raises:
        MediaError: As `read_audio`.
    """
    return _mixed(path, sampling_rate, limits, warnings, _Mix())


def _mixed(
    path: str | os.PathLike[str],
    sampling_rate: int,
    limits: DecodeLimits | None,
    warnings: list[str] | None,
    mix: _Mix,
) -> Iterator[AudioChunk]:
    if sampling_rate not in _RATES:
        raise ValueError(f"sampling_rate must be in 1000..768000 Hz, but got {sampling_rate}.")
    with open_media(path, limits, warnings) as opened, ffmpeg_errors(path, "decoding the audio", opened=True):
        stream = opened.audio_stream()
        if stream is None:
            return
        end = left_out = 0  # samples
        for chunk in _chunks(opened, stream, sampling_rate, mix):
            left_out += _repeated(chunk, end)
            fresh = _after(chunk, end)
            if fresh is None:
                continue
            end = fresh.start + len(fresh.samples)
            with opened.deadline.paused():
                yield fresh
        if end == 0:
            reason = f"its {stream.codec_context.name} audio stream gives no sample"
            raise MediaError(Status.no_audio, reason, opened.path)
        if left_out > _TOLD_S * sampling_rate:
            words = f"{left_out / sampling_rate:.1f} s of sound were left out because their time runs backwards"
            opened.warnings.append(words)
        opened.warn_if_cut_short(stream, end / sampling_rate)


def _repeated(chunk: AudioChunk, end: int) -> int:
    """How many of its samples lie where there is sound already, between clock zero and sample `end`."""
    return max(min(chunk.start + len(chunk.samples), end) - max(chunk.start, 0), 0)


def _after(chunk: AudioChunk, end: int) -> AudioChunk | None:
    """Cut off what lies before sample `end`: sound before clock zero, or a second copy of what was given."""
    skip = max(end - chunk.start, 0)
    if skip >= len(chunk.samples):
        return None
    return AudioChunk(chunk.start + skip, chunk.samples[skip:])


class _Segment:
    """A run of frames of one format without a gap, on its way through one resampler."""

    def __init__(self, frame: av.AudioFrame, start: Fraction, sampling_rate: int, mix: _Mix) -> None:
        self.layout = (frame.sample_rate, frame.layout.name, frame.format.name)
        self.expected = start  # seconds: when the next frame should begin
        self._position = round(start * sampling_rate)  # samples at the target rate
        self._mix = mix
        # The layout is kept and mixed in numpy: FFmpeg's own down-mix changes its gain with the sample format.
        # Interleaved, because PyAV reads past the last plane of eight channels and more.
        self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=sampling_rate)

    def continues(self, frame: av.AudioFrame, start: Fraction | None) -> bool:
        same = self.layout == (frame.sample_rate, frame.layout.name, frame.format.name)
        return same and (start is None or abs(start - self.expected) <= _JUMP)

    def push(self, frame: av.AudioFrame | None) -> Iterator[AudioChunk]:
        if frame is not None:
            self.expected += Fraction(frame.samples, frame.sample_rate)
        for out in self._resampler.resample(frame):
            channels = out.to_ndarray().reshape(-1, out.layout.nb_channels)
            mono = self._mix(np.nan_to_num(channels, posinf=1.0, neginf=-1.0))
            yield AudioChunk(self._position, np.clip(mono, -1.0, 1.0))
            self._position += len(mono)


def _chunks(opened: OpenMedia, stream: av.AudioStream, sampling_rate: int, mix: _Mix) -> Iterator[AudioChunk]:
    segment: _Segment | None = None
    for start, frame in without_leaps(_decoded(opened, stream), stream.type, opened.warnings):
        _check_start(opened, start)
        if segment is None or not segment.continues(frame, start):
            if segment is not None:
                yield from segment.push(None)
            segment = _Segment(frame, start if start is not None else Fraction(0), sampling_rate, mix)
        yield from segment.push(frame)
    if segment is not None:
        yield from segment.push(None)


def _decoded(opened: OpenMedia, stream: av.AudioStream) -> Iterator[tuple[Fraction | None, av.AudioFrame]]:
    """Yield each decoded frame with its time on the shared clock, if it has one."""
    for frame in decoded_frames(opened, stream):
        if frame.sample_rate not in _RATES:
            reason = f"its sampling rate of {frame.sample_rate} Hz is outside 1000..768000 Hz"
            raise MediaError(Status.no_audio, reason, opened.path)
        yield opened.relative(frame.pts, frame.time_base), frame


def _check_start(opened: OpenMedia, start: Fraction | None) -> None:
    limit = opened.limits.max_duration_s
    if start is not None and start > limit:
        raise MediaError(
            Status.too_long, f"sound at {float(start):.0f} s is over the limit of {limit:.0f} s", opened.path
        )
