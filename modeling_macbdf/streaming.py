"""A live feed in, a running verdict out, in bounded memory: the windows are those of a file with the same content."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from .media.audio import SILENCE_PEAK, Audio
from .media.decode import Frame, steps_on_display
from .media.noise import level_range_db
from .media.outcomes import Status
from .picture import PictureWindows, answer
from .scoring import Voice, WindowScorer
from .timing import Stopwatch
from .verdicts import FileResult, WindowScore, masked_voice
from .windows import Window

_HOLD_S = 30  # a frame that is followed by none is taken to be on display for so long, and the sound is kept
_FIRST_LASTS = Fraction(1, 25)  # s: how long a frame stays where no second one tells


class LiveVoice:
    """The last seconds of a feed's sound.

    Args:
        sampling_rate: Hz.
        rate_hz: steps a second.
    """

    def __init__(self, sampling_rate: int, rate_hz: float) -> None:
        self.sampling_rate, self.rate_hz = sampling_rate, rate_hz
        self._per_step = round(sampling_rate / rate_hz)
        self._samples = np.zeros(0, np.float32)
        self._valid: list[list[int]] = []  # [start, end) in samples since the feed began
        self._first_step = 0
        self._heard = False

    @property
    def end(self) -> int:
        """Samples since the feed began, up to which the sound is known."""
        return self._first_step * self._per_step + len(self._samples)

    def push(self, samples: np.ndarray, start: int | None = None) -> None:
        """Appends samples (N,) float32 that begin at sample `start`, by default where the last ones ended.

        Raises:
            ValueError: if they are not (N,), not finite, or begin before the end of the last ones.
        """
        samples = np.asarray(samples, np.float32)
        start = self.end if start is None else start
        if samples.ndim != 1:
            raise ValueError(f"samples must be one channel (N,), but got shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise ValueError("samples must be finite, but they hold NaN or infinity")
        if start < self.end:
            raise ValueError(f"start must not lie before sample {self.end}, but it is {start}")
        gap = np.zeros(start - self.end, np.float32)
        if self._valid and self._valid[-1][1] == start:
            self._valid[-1][1] = start + len(samples)
        else:
            self._valid.append([start, start + len(samples)])
        self._samples = np.concatenate([self._samples, gap, samples])
        self._heard = self._heard or bool(np.abs(samples).max(initial=0.0) >= SILENCE_PEAK)

    def forget_before(self, step: int) -> None:
        """Drops the sound before a step, as far as there is any."""
        dropped = min(step - self._first_step, len(self._samples) // self._per_step)
        if dropped <= 0:
            return
        self._first_step += dropped
        self._samples = self._samples[dropped * self._per_step :].copy()
        self._valid = [span for span in self._valid if span[1] > self._first_step * self._per_step]

    def voice(self) -> Voice:
        """What is kept, for the scorer; a feed that was silent so far has no voice."""
        if not self._heard:
            return Voice(None, self.rate_hz, "the sound was silent so far")
        begin = self._first_step * self._per_step
        valid = np.asarray(self._valid, np.int64).reshape(-1, 2) - begin
        audio = Audio(self._samples, self.sampling_rate, np.maximum(valid, 0))
        return Voice(audio, self.rate_hz, first_step=self._first_step)


class LiveJudge:
    """Judges a feed as its frames and its sound come; made by `Detector.stream`.

    Args:
        scorer: scores windows.
        picture: cuts them.
        config: the model's.
        calibration: the detector's.
        memory_s: how far back the running verdict reaches, in seconds.
        max_wait_s: how long a window waits for sound that is late, in seconds.
        audio_codec: in which the sound came; None where it is not known.

    Raises:
        ValueError: if `memory_s` holds no window, or `max_wait_s` is negative.
    """

    def __init__(
        self,
        scorer: WindowScorer,
        picture: PictureWindows,
        config: Any,
        calibration: dict[str, Any],
        memory_s: float = 600.0,
        max_wait_s: float = 2.0,
        audio_codec: str | None = None,
    ) -> None:
        shortest_s = config.num_frames / config.frame_rate_hz
        if memory_s < shortest_s or max_wait_s < 0:
            raise ValueError(
                f"memory_s must be at least {shortest_s} s and max_wait_s at least 0 s, "
                f"but they are {memory_s} and {max_wait_s}"
            )
        self.scores: list[WindowScore] = []
        self._scorer, self._picture, self._config, self._calibration = scorer, picture, config, calibration
        self._memory_s, self._max_wait_s, self._audio_codec = memory_s, max_wait_s, audio_codec
        self._rate = Fraction(config.frame_rate_hz).limit_denominator(100_000)
        self._sound = LiveVoice(config.sampling_rate, config.frame_rate_hz)
        self._watch = Stopwatch("model")
        self._waiting: list[Window] = []
        self._shown: tuple[Fraction, np.ndarray] | None = None
        self._lasts = _FIRST_LASTS

    def push_frame(self, rgb: np.ndarray, time_s: float) -> list[WindowScore]:
        """Takes a frame (H, W, 3) uint8 that comes on display at `time_s` seconds; returns what was judged now.

        Raises:
            ValueError: if its time does not lie after the last frame's.
        """
        now = Fraction(time_s).limit_denominator(1_000_000)
        if self._shown is not None:
            if now <= self._shown[0]:
                raise ValueError(f"time_s must lie after {float(self._shown[0])}, but it is {time_s}")
            self._lasts = min(now - self._shown[0], Fraction(_HOLD_S))
            self._waiting += self._windows_until(self._shown[0] + self._lasts)
        self._shown = (now, np.array(rgb))  # a copy: cameras reuse their buffers
        return self._judge(late_s=float(now) - self._max_wait_s)

    def push_audio(self, samples: np.ndarray, start: int | None = None) -> list[WindowScore]:
        """Takes mono samples (N,) float32 at the model's sampling rate; returns what was judged now.

        Args:
            samples: in [-1, 1].
            start: their first one's number since the feed began; None = they follow the last ones.

        Raises:
            ValueError: as `LiveVoice.push`.
        """
        self._sound.push(samples, start)
        return self._judge(late_s=float("-inf"))

    def finish(self) -> FileResult:
        """Ends the feed, judges what waits, and returns the verdict."""
        if self._shown is not None:
            self._waiting += self._windows_until(self._shown[0] + self._lasts)
            self._shown = None
        self._waiting += self._picture.finish()
        self._judge(late_s=float("inf"))
        return self.result()

    def result(self) -> FileResult:
        """The verdict on the last `memory_s` seconds so far."""
        if not self.scores:
            missing = self._picture.seen.nothing_judged(self._sound.rate_hz, "live")
            return FileResult(path="live", status=missing.status, reason=missing.reason)
        voice = self._sound.voice()
        result = FileResult(path="live", status=Status.scored, reason="")
        heard = any(score.only != "video" for score in self.scores)
        if not heard:
            reason = f"{voice.reason or 'no sound came with the picture'}: judged on the picture alone"
            result = FileResult(path="live", status=Status.no_audio, reason=reason)
        doubts = masked_voice(self._audio_codec, level_range_db(voice.audio)) if voice.audio and heard else []
        return answer(result, self.scores, self._picture.seen, self._config, self._calibration, doubts)

    def _windows_until(self, now: Fraction) -> Iterator[Window]:
        """The windows that the frame on display completes before the next one comes."""
        if self._shown is None:
            return
        start, rgb = self._shown
        for step in steps_on_display(start, now, self._rate):
            yield from self._picture.push(Frame(step, (step + 0.5) / float(self._rate), rgb, float(start)))

    def _judge(self, late_s: float) -> list[WindowScore]:
        """Scores the windows whose sound is there or that end before `late_s`."""
        heard_s = self._sound.end / self._sound.sampling_rate
        ends = [(window.first_step + window.steps) / self._sound.rate_hz for window in self._waiting]
        ready = [window for window, end_s in zip(self._waiting, ends, strict=True) if end_s <= max(heard_s, late_s)]
        self._waiting = [window for window in self._waiting if not any(window is other for other in ready)]
        scores = list(self._scorer.score(ready, self._sound.voice(), self._watch)) if ready else []
        self.scores += scores
        self._forget()
        return scores

    def _forget(self) -> None:
        """Drops what neither a coming window nor the running verdict needs."""
        shown_s = float(self._shown[0]) if self._shown else 0.0
        now_s = max(shown_s, self._sound.end / self._sound.sampling_rate - _HOLD_S)  # a camera may pause
        self.scores = [score for score in self.scores if score.end_s >= now_s - self._memory_s]
        rate_hz = self._sound.rate_hz
        self._picture.seen.forget_before(int((now_s - self._memory_s) * rate_hz))
        # A window is cut up to its length after its first step, and crops come a few steps late.
        oldest = min((window.first_step for window in self._waiting), default=int(now_s * rate_hz))
        self._sound.forget_before(min(oldest, int(now_s * rate_hz)) - 3 * self._config.num_frames)
