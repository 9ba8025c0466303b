"""Windows in, calibrated log-odds out: the only place where a file's data meets the model."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch

from .media.audio import Audio
from .timing import Stopwatch
from .verdicts import WindowScore, calibrated
from .windows import Window, sound_windows

# The model works on one batch while the next one is being cut; larger ones leave more for the end of a short clip.
WINDOWS_AT_ONCE = 4


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
        """Samples (steps * samples a step,) float32 and which steps hold sound (steps,); None if none does.

        Nor is there any where a window begins before the sound of a feed that is still kept.
        """
        if self.audio is None or first_step < self.first_step:
            return None
        first_step -= self.first_step
        mask = np.pad(self._mask, (0, max(first_step + steps - len(self._mask), 0)))[first_step : first_step + steps]
        if not mask.any():
            return None
        per_step = round(self.audio.sampling_rate / self.rate_hz)
        samples = self.audio.samples[first_step * per_step : (first_step + steps) * per_step]
        return np.pad(samples, (0, steps * per_step - len(samples))), mask

    @cached_property
    def _mask(self) -> np.ndarray:
        """Which steps from the begin of the sound on hold some, up to its end."""
        return np.zeros(0, bool) if self.audio is None else self.audio.step_mask(self.steps + 1, self.rate_hz)

    @property
    def steps(self) -> int:
        """Whole steps from clock zero to the end of the sound."""
        return 0 if self.audio is None else math.floor(self.audio.duration_s * self.rate_hz + 1e-6)


def heard_windows(voice: Voice, length: int, hop: int, min_steps: int = 1) -> list[Window]:
    """Windows over a clip without a picture, as `sound_windows` cuts them; those that lie in a pause are left out."""
    windows = sound_windows(voice.steps, length, hop, min_steps)
    return [window for window in windows if voice.cut(window.first_step, window.steps) is not None]


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
        crop_index: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Judges a batch of windows.

        Args:
            pixel_values: (N, 3, S, S), the different crops of all windows; or None.
            crop_index: (B, T) long, which of them each step shows.
            input_features, video_mask, audio_mask: as of the model.

        Returns:
            "logits", "video_logits", "audio_logits" (B,), "frame_logits" (B, T), "sync_logits" (B, T) where the model
            has that head, and "distances" (B, 2), the feature distances of picture and voice; NaN = no evidence.
        """
        trunk, shown = self.model.macbdf, pixel_values is not None and crop_index is not None
        video = trunk.encode_shared(pixel_values, crop_index) if shown else None
        audio = trunk.encode(None, input_features, None, audio_mask)[1]
        output = self.model.forward_from_scales(video, audio, video_mask, audio_mask)
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

        The model works in a thread of its own, on one batch while the windows of the next one are made. Its time is
        added to the stage "model" of the watch.
        """
        remaining = iter(windows)
        before: Future[list[WindowScore]] | None = None
        with ThreadPoolExecutor(1) as worker:
            while batch := list(islice(remaining, self.batch_size)):
                coming = worker.submit(self._timed_batch, batch, voice, watch)
                if before is not None:
                    yield from before.result()
                before = coming
            if before is not None:
                yield from before.result()

    def _timed_batch(self, batch: Sequence[Window], voice: Voice, watch: Stopwatch) -> list[WindowScore]:
        with watch.stage("model"):
            return self._score_batch(batch, voice)

    def inputs(self, batch: Sequence[Window], voice: Voice) -> Any:
        """What the model is given for these windows, on its device: see `MACBDFProcessor`."""
        return self.processor(
            videos=[window.crops for window in batch], **_sounds(batch, voice), return_tensors="pt"
        ).to(self.judge.device)

    def shared_inputs(self, batch: Sequence[Window], voice: Voice) -> dict[str, torch.Tensor]:
        """What the judge is given for these windows: `inputs`, but each different crop once, as in `WindowAnswers`."""
        picture = self.processor.image_processor
        steps = max(picture.num_frames, *(window.steps for window in batch))
        crops, index, mask = different_crops(batch, steps)
        sounds = _sounds(batch, voice)
        heard = any(sound is not None for sound in sounds["audio"])
        given = dict(self.processor(**sounds, num_frames=steps, return_tensors="pt")) if heard else {}
        if crops:
            pixels = picture([np.stack(crops)], num_frames=1, return_tensors="pt")["pixel_values"][0]
            given |= {"pixel_values": pixels, "crop_index": index, "video_mask": mask}
        return {name: value.to(self.judge.device) for name, value in given.items()}

    def _score_batch(self, batch: Sequence[Window], voice: Voice) -> list[WindowScore]:
        with torch.inference_mode():
            answers = self.judge(**self.shared_inputs(batch, voice))
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
            only=None if kind == "joint" else kind,
        )

    def _answer(self, kind: str, logit: float) -> float | None:
        return None if math.isnan(logit) or kind not in self.calibration else calibrated(logit, self.calibration[kind])


def _sounds(batch: Sequence[Window], voice: Voice) -> dict[str, Any]:
    """The processor's arguments for the sound of each window; None where there is none."""
    cuts = [voice.cut(window.first_step, window.steps) or (None, None) for window in batch]
    return {
        "audio": [samples for samples, _ in cuts],
        "audio_mask": [mask for _, mask in cuts],
        "sampling_rate": None if voice.audio is None else voice.audio.sampling_rate,
    }


def different_crops(batch: Sequence[Window], steps: int) -> tuple[list[np.ndarray], torch.Tensor, torch.Tensor]:
    """The crops of all windows without repetitions: windows overlap, and a still picture is one crop.

    Returns:
        N crops (S, S, 3), their number in each step of each window (B, steps) long, and which steps have one, bool.
    """
    places: dict[bytes, int] = {}
    crops: list[np.ndarray] = []
    index, mask = (torch.zeros(len(batch), steps, dtype=kind) for kind in (torch.long, torch.bool))
    for row, window in enumerate(batch):
        for step, crop in enumerate(() if window.crops is None else window.crops):
            place = places.setdefault(crop.tobytes(), len(crops))
            if place == len(crops):
                crops.append(crop)
            index[row, step], mask[row, step] = place, True
    return crops, index, mask


def _known(distances: Sequence[float]) -> dict[str, float]:
    """Feature distances of picture and voice without those that are missing or have no prototypes."""
    named = zip(("video", "audio"), distances, strict=True)
    return {name: value for name, value in named if not math.isnan(value)}


def _share_above_zero(logits: Sequence[float]) -> float | None:
    """Share of the known values above zero; None without any."""
    known = [logit for logit in logits if not math.isnan(logit)]
    return sum(logit > 0 for logit in known) / len(known) if known else None
