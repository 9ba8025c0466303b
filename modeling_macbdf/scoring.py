"""Windows in, calibrated log-odds out: the only place where a file's data meets the model."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from .media.audio import Audio
from .timing import Stopwatch
from .verdicts import WindowScore, calibrated
from .windows import Window


@dataclass(frozen=True)
class Voice:
    """The sound of a clip on the steps' clock.

    Attributes:
        audio: the sound, or None where there is nothing to hear.
        rate_hz: steps a second.
        reason: why there is nothing to hear, in words.
    """

    audio: Audio | None
    rate_hz: float
    reason: str = ""

    def cut(self, first_step: int, steps: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Samples (steps * samples a step,) float32 and which steps hold sound (steps,); None if none does."""
        if self.audio is None:
            return None
        mask = self.audio.step_mask(first_step + steps, self.rate_hz)[first_step:]
        if not mask.any():
            return None
        per_step = round(self.audio.sampling_rate / self.rate_hz)
        samples = self.audio.samples[first_step * per_step : (first_step + steps) * per_step]
        return np.pad(samples, (0, steps * per_step - len(samples))), mask

    @property
    def steps(self) -> int:
        """Whole steps from clock zero to the end of the sound."""
        return 0 if self.audio is None else math.floor(self.audio.duration_s * self.rate_hz + 1e-6)


class WindowScorer:
    """Runs the model on windows, batch by batch.

    Args:
        model: a `MACBDFForClassification` in evaluation mode, on its device.
        processor: its processor.
        calibration: [scale, bias] for each of "joint", "video", "audio"; an answer that it lacks is not given.
        batch_size: windows at once.
    """

    def __init__(self, model: Any, processor: Any, calibration: dict[str, Any], batch_size: int) -> None:
        self.model, self.processor, self.batch_size = model, processor, batch_size
        self.calibration = calibration

    def score(self, windows: Iterable[Window], voice: Voice, watch: Stopwatch) -> Iterator[WindowScore]:
        """Scores windows as they come; one without a picture has no crops and is judged on the sound alone.

        The model's own time is added to the stage "model" of the watch.
        """
        remaining = iter(windows)
        while batch := list(islice(remaining, self.batch_size)):
            with watch.stage("model"):
                scores = self._score_batch(batch, voice)
            yield from scores

    def inputs(self, batch: Sequence[Window], voice: Voice) -> Any:
        """What the model is given for these windows, on its device: see `MACBDFProcessor`."""
        sounds = [voice.cut(window.first_step, window.steps) for window in batch]
        return self.processor(
            videos=[window.crops for window in batch],
            audio=[None if sound is None else sound[0] for sound in sounds],
            audio_mask=[None if sound is None else sound[1] for sound in sounds],
            sampling_rate=None if voice.audio is None else voice.audio.sampling_rate,
            return_tensors="pt",
        ).to(self.model.device)

    def _score_batch(self, batch: Sequence[Window], voice: Voice) -> list[WindowScore]:
        inputs = self.inputs(batch, voice)
        with torch.inference_mode():
            output = self.model(**inputs)
        distances = self._distances(output)
        table = [_column(output.logits), _column(output.video_logits), _column(output.audio_logits)]
        rows = zip(batch, *(column or [math.nan] * len(batch) for column in table), strict=True)
        scores = [self._window_score(window, voice.rate_hz, *logits) for window, *logits in rows]
        return [
            replace(
                score,
                steps=tuple(_row(output.frame_logits, row, window.steps)),
                in_sync=_share_above_zero(_row(output.get("sync_logits"), row, window.steps)),
                distances=distances[row],
            )
            for row, (score, window) in enumerate(zip(scores, batch, strict=True))
        ]

    def _distances(self, output: Any) -> list[dict[str, float]]:
        """Feature distance of each row's streams, without those that are missing or have no prototypes."""
        logits = (output.video_logits, output.audio_logits)
        present = [torch.zeros(len(output.logits), dtype=torch.bool) if x is None else ~x.isnan() for x in logits]
        weighting = self.model.macbdf.cluster_weighting
        with torch.inference_mode():
            found = weighting.feature_distance(output.video_embeds, output.audio_embeds, *present).cpu().tolist()
        return [
            {name: value for name, value in zip(("video", "audio"), row, strict=True) if not math.isnan(value)}
            for row in found
        ]

    def _window_score(self, window: Window, rate_hz: float, joint: float, video: float, audio: float) -> WindowScore:
        kind = "audio" if math.isnan(video) else "video" if math.isnan(audio) else "joint"
        return WindowScore(
            track=window.track,
            start_s=window.first_step / rate_hz,
            end_s=(window.first_step + window.steps) / rate_hz,
            joint=calibrated(joint, self.calibration[kind]),
            video=self._answer("video", video),
            audio=self._answer("audio", audio),
        )

    def _answer(self, kind: str, logit: float) -> float | None:
        return None if math.isnan(logit) or kind not in self.calibration else calibrated(logit, self.calibration[kind])


def _column(logits: torch.Tensor | None) -> list[float] | None:
    return None if logits is None else logits.float().cpu().tolist()


def _row(logits: torch.Tensor | None, row: int, steps: int) -> list[float]:
    """One row of (B, T) without the steps that only fill the batch; empty where the model gives none."""
    return [] if logits is None else logits[row, :steps].float().cpu().tolist()


def _share_above_zero(logits: Sequence[float]) -> float | None:
    """Share of the known values above zero; None without any."""
    known = [logit for logit in logits if not math.isnan(logit)]
    return sum(logit > 0 for logit in known) / len(known) if known else None
