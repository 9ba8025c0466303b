"""Windows in, calibrated log-odds out: the only place where a file's data meets the model."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

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
        first_step: the step at which the sound begins; of a feed, only the end is kept.
    """

    audio: Audio | None
    rate_hz: float
    reason: str = ""
    first_step: int = 0

    def cut(self, first_step: int, steps: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Samples (steps * samples a step,) float32 and which steps hold sound (steps,); None if none does."""
        if self.audio is None:
            return None
        first_step -= self.first_step
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


class Judge(Protocol):
    """What answers for a batch of windows: PyTorch, or an exported graph in its place."""

    @property
    def device(self) -> torch.device:
        """Where the inputs are to be."""
        ...

    def __call__(self, **inputs: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """The answers by name, as of `WindowAnswers.forward`."""
        ...


class WindowAnswers(torch.nn.Module):
    """All that a window's score needs of a model, in one call: this is also what is exported.

    Args:
        model: a `MACBDFForClassification` in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where the inputs are to be."""
        return self.model.device

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Judges a batch of windows; arguments as of the model.

        Returns:
            "logits", "video_logits", "audio_logits" (B,), "frame_logits" (B, T), "sync_logits" (B, T) where the model
            has that head, and "distances" (B, 2), the feature distances of picture and voice; NaN = no evidence.
        """
        output = self.model(pixel_values, input_features, video_mask, audio_mask)
        names = ("logits", "video_logits", "audio_logits", "frame_logits", "sync_logits")
        answers = {name: output[name] for name in names if output.get(name) is not None}
        present = (~output.video_logits.isnan(), ~output.audio_logits.isnan())
        weighting = self.model.macbdf.cluster_weighting
        return answers | {"distances": weighting.feature_distance(output.video_embeds, output.audio_embeds, *present)}


class WindowScorer:
    """Scores windows, batch by batch.

    Args:
        judge: what answers for them.
        processor: the model's processor.
        calibration: [scale, bias] for each of "joint", "video", "audio"; an answer that it lacks is not given.
        batch_size: windows at once.
    """

    def __init__(self, judge: Judge, processor: Any, calibration: dict[str, Any], batch_size: int) -> None:
        self.judge, self.processor, self.batch_size = judge, processor, batch_size
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
        ).to(self.judge.device)

    def _score_batch(self, batch: Sequence[Window], voice: Voice) -> list[WindowScore]:
        with torch.inference_mode():
            answers = self.judge(**self.inputs(batch, voice))
        table = {name: values.float().cpu().tolist() for name, values in answers.items()}
        clip = zip(batch, table["logits"], table["video_logits"], table["audio_logits"], strict=True)
        scores = [self._window_score(window, voice.rate_hz, *logits) for window, *logits in clip]
        return [
            replace(
                score,
                steps=tuple(table["frame_logits"][row][: window.steps]),
                in_sync=_share_above_zero(table["sync_logits"][row][: window.steps])
                if "sync_logits" in table
                else None,
                distances=_known(table["distances"][row]),
            )
            for row, (score, window) in enumerate(zip(scores, batch, strict=True))
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


def _known(distances: Sequence[float]) -> dict[str, float]:
    """Feature distances of picture and voice without those that are missing or have no prototypes."""
    named = zip(("video", "audio"), distances, strict=True)
    return {name: value for name, value in named if not math.isnan(value)}


def _share_above_zero(logits: Sequence[float]) -> float | None:
    """Share of the known values above zero; None without any."""
    known = [logit for logit in logits if not math.isnan(logit)]
    return sum(logit > 0 for logit in known) / len(known) if known else None
