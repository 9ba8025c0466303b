"""Waveform to spectral frames on the model's clock.

Letters: B clips, T steps, L mel frames, F mel bins, N samples. Mel frame i is centred at (i + 0.5) * hop samples, so
that every step owns exactly `sampling_rate / frame_rate_hz / hop_length` frames, none shared with a neighbour.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import logging

from .image_processing_macbdf import pad_masks, step_masks

logger = logging.get_logger(__name__)
TARGET_RMS = 0.1  # level of every clip after the normalisation, full scale = 1
SMALLEST_RMS = 1e-4  # -80 dBFS: below it is silence, which is not amplified
SMALLEST_POWER = 1e-6
# Mean and deviation of the natural logarithm of the mel power of speech at TARGET_RMS; constants, never batch figures.
LOG_MEAN, LOG_STD = -5.0, 4.0
FREQUENCY_SCALES = ("mel", "linear")
REPRESENTATIONS = ("log_power", "persistence")
# Persistence: the logarithm's floor, the width in Hz of the smoothing that takes the envelope away, and mean and
# deviation over the steps of speech.
PERSISTENCE_FLOOR, ENVELOPE_HZ = 1e-8, 680.0
PERSISTENCE_MEAN, PERSISTENCE_STD = 0.3, 0.25


class MACBDFFeatureExtractor(SequenceFeatureExtractor):
    """Turns mono waveforms into `input_features`.

    Args:
        feature_size: mel bins F.
        sampling_rate: Hz of every waveform; others are refused, not resampled in silence.
        frame_rate_hz: steps a second.
        hop_length, n_fft: samples between frames, and of one frame.
        num_frames: steps T that shorter clips are padded to.
        min_coverage: fraction of a step that must hold sound for the step to be valid.
        frequency_scale: "mel" or "linear", how the F bins are spread. Vocoders leave traces high up, where mel bins
            are wide.
        representation: "log_power" of each bin and frame; or "persistence" [ours], how alike the fine structure of the
            spectrum (its logarithm less its envelope) is in neighbouring frames of a step: their correlation in each
            bin, the same for all frames of the step. It hardly tells a voice or a room, and vocoders alter it.
        return_waveform: give samples (B, N) instead of log-mel, for an audio tower on waveforms.
    """

    model_input_names: ClassVar[list[str]] = ["input_features", "audio_mask"]

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        frame_rate_hz: float = 5.0,
        hop_length: int = 160,
        n_fft: int = 400,
        num_frames: int = 16,
        min_coverage: float = 0.5,
        frequency_scale: str = "mel",
        representation: str = "log_power",
        return_waveform: bool = False,
        padding_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        if sampling_rate % (frame_rate_hz * hop_length):
            raise ValueError(
                f"sampling_rate must be a multiple of frame_rate_hz * hop_length = {frame_rate_hz * hop_length}, "
                f"but got {sampling_rate}"
            )
        if n_fft < hop_length or (n_fft - hop_length) % 2:
            raise ValueError(f"n_fft must be hop_length={hop_length} plus an even number, but got {n_fft}")
        if num_frames < 1 or not 0 < min_coverage <= 1:
            raise ValueError(
                f"num_frames must be at least 1 and min_coverage in (0, 1], but got {num_frames}, {min_coverage}"
            )
        if frequency_scale not in FREQUENCY_SCALES:
            raise ValueError(f"frequency_scale must be one of {FREQUENCY_SCALES}, but got {frequency_scale!r}")
        if representation not in REPRESENTATIONS:
            raise ValueError(f"representation must be one of {REPRESENTATIONS}, but got {representation!r}")
        self.frequency_scale, self.representation = frequency_scale, representation
        self.frame_rate_hz, self.hop_length, self.n_fft = frame_rate_hz, hop_length, n_fft
        self.num_frames, self.min_coverage, self.return_waveform = num_frames, min_coverage, return_waveform

    @property
    def samples_per_step(self) -> int:
        """Samples of one step."""
        return round(self.sampling_rate / self.frame_rate_hz)

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        audio_mask: Any = None,
        num_frames: int | Sequence[int] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            raw_speech: one waveform (N,) in [-1, 1], an array or a list of numbers, or a list of waveforms; None
                stands for a clip without sound.
            sampling_rate: Hz of the waveforms.
            audio_mask: per clip (t,) bool, False where a step has no sound in the file; None = where samples are.
            num_frames: pads to at least this many steps; None = the extractor's; a list has the steps of each clip by
                itself, where another stream makes it longer.
            return_tensors: "pt", "np" or None.

        Returns:
            `input_features` (B, L, F) in the `representation`, L = T * frames of a step, or (B, N) samples; and
            `audio_mask` (B, T) bool.

        Raises:
            ValueError: a wrong sampling rate, a waveform that is not mono, not finite or empty, masks that do not fit.
        """
        self._check_rate(sampling_rate)
        waves = [None if wave is None else as_waveform(wave) for wave in waves_of(raw_speech)]
        counts = [0 if wave is None else math.ceil(len(wave) / self.samples_per_step) for wave in waves]
        masks = [
            mask & self._covered(wave, len(mask))
            for mask, wave in zip(step_masks("audio_mask", audio_mask, counts), waves, strict=True)
        ]
        least = self.num_frames if num_frames is None else num_frames
        wished = least if isinstance(least, Sequence) else [least] * len(counts)
        ends = [max(pair) for pair in zip(wished, counts, strict=True)]
        steps = max(ends)
        levelled = [self._levelled(*clip, steps) for clip in zip(waves, masks, ends, strict=True)]
        samples = torch.stack(levelled)
        data = {"input_features": self._represent(samples), "audio_mask": pad_masks(masks, steps)}
        if return_tensors != "pt":
            return BatchFeature({name: value.numpy() for name, value in data.items()}, tensor_type=return_tensors)
        return BatchFeature(data, tensor_type=return_tensors)

    def log_power(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, N / hop, F) logarithm of each bin's power, about zero mean and unit deviation on speech."""
        power = self._power(samples) @ self._bins
        return (power.clamp(min=SMALLEST_POWER).log() - LOG_MEAN) / LOG_STD

    def persistence(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, N / hop, F) persistence in each bin, about zero mean and unit deviation on speech."""
        per_step = self.samples_per_step // self.hop_length
        fine = _fine_structure(self._power(samples), round(ENVELOPE_HZ * self.n_fft / self.sampling_rate))
        alike = _neighbour_correlation(fine.unflatten(1, (-1, per_step)), self._bins)
        return ((alike - PERSISTENCE_MEAN) / PERSISTENCE_STD).repeat_interleave(per_step, dim=1)

    @property
    def _bins(self) -> torch.Tensor:
        return _filters(self.n_fft, self.feature_size, self.sampling_rate, self.frequency_scale)

    def _represent(self, samples: torch.Tensor) -> torch.Tensor:
        if self.return_waveform:
            return samples
        return self.persistence(samples) if self.representation == "persistence" else self.log_power(samples)

    def _power(self, samples: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, N / hop, n_fft / 2 + 1) power spectrum of Hann frames."""
        padded = F.pad(samples.unsqueeze(1), (self._side, self._side), mode="reflect").squeeze(1)
        window = torch.hann_window(self.n_fft)
        spectrum = torch.stft(padded, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
        return (spectrum.abs().square() / window.square().sum()).transpose(1, 2)

    def _covered(self, wave: torch.Tensor | None, steps: int) -> torch.Tensor:
        """Which steps the samples of a waveform fill far enough."""
        size = self.samples_per_step
        samples = 0 if wave is None else len(wave)
        filled = (samples - torch.arange(steps) * size).clamp(0, size)
        covered = filled >= self.min_coverage * size
        return covered if bool(covered.any()) else filled > 0  # a very short clip still is one

    @property
    def _side(self) -> int:
        """Samples by which a frame reaches over its hop on either side."""
        return (self.n_fft - self.hop_length) // 2

    def _levelled(self, wave: torch.Tensor | None, mask: torch.Tensor, end: int, steps: int) -> torch.Tensor:
        """One waveform at the common level, with `steps` steps of samples, `end` by itself; silence without sound."""
        samples = torch.zeros(steps, self.samples_per_step)
        if wave is None or not bool(mask.any()):
            return samples.flatten()
        samples.view(-1)[: len(wave)] = wave
        heard = F.pad(mask, (0, steps - len(mask)))
        samples[~heard] = 0.0
        rms = samples[heard].square().mean().sqrt().clamp(min=SMALLEST_RMS)
        samples = (samples * (TARGET_RMS / rms)).flatten()
        return samples if self.return_waveform else self._reflected(samples, end * self.samples_per_step)

    def _reflected(self, samples: torch.Tensor, end: int) -> torch.Tensor:
        """Goes on behind sample `end` as `_power` does behind the batch: features know no longer clip beside them."""
        room = min(self._side, len(samples) - end)
        samples[end : end + room] = samples[end - 1 - room : end - 1].flip(0)
        return samples

    def _check_rate(self, sampling_rate: int | None) -> None:
        if sampling_rate is None:
            logger.warning_once(
                "sampling_rate was not given: the waveforms are taken to be at %d Hz", self.sampling_rate
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"sampling_rate must be {self.sampling_rate} Hz, but got {sampling_rate}: resample the waveform first"
            )


def _fine_structure(power: torch.Tensor, envelope_bins: int) -> torch.Tensor:
    """(B, L, K) power -> (B, L, K) its logarithm less its moving mean over frequency: no formants."""
    logarithm = (power + PERSISTENCE_FLOOR).log()
    half = envelope_bins // 2
    envelope = F.avg_pool1d(F.pad(logarithm, (half, half), mode="replicate"), 2 * half + 1, stride=1)
    return logarithm - envelope


def _neighbour_correlation(fine: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """(B, T, frames of a step, K) fine structure -> (B, T, F) correlation of neighbouring frames, in [-1, 1]."""
    before, after = fine[:, :, :-1], fine[:, :, 1:]
    product, *squares = ((pair.sum(2) @ filters) for pair in (before * after, before * before, after * after))
    return product / (squares[0] * squares[1]).sqrt().clamp(min=1e-6)


@lru_cache(maxsize=4)
def _filters(n_fft: int, bins: int, sampling_rate: int, scale: str) -> torch.Tensor:
    """(n_fft / 2 + 1, F) triangular filters from 20 Hz to half the sampling rate."""
    if scale == "linear":
        centres = torch.linspace(20.0, sampling_rate / 2, bins + 2)
        distance = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1).unsqueeze(1) - centres[1:-1]
        return (1 - distance.abs() / (centres[1] - centres[0])).clamp(min=0)
    filters = mel_filter_bank(n_fft // 2 + 1, bins, 20.0, sampling_rate / 2, sampling_rate, mel_scale="htk")
    return torch.from_numpy(filters).float()


def as_waveform(wave: Any) -> torch.Tensor:
    """One mono waveform as float32 (N,)."""
    samples = wave if isinstance(wave, torch.Tensor) else torch.from_numpy(np.asarray(wave, dtype=np.float32))
    samples = samples.detach().float().cpu()
    if samples.dim() != 1 or len(samples) == 0:
        raise ValueError(
            f"audio must be a non-empty mono waveform (N,), or a list of them, but got shape {tuple(samples.shape)}; "
            "of a stereo one average the channels"
        )
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("audio must be finite, but has NaN or infinite samples")
    return samples


def waves_of(raw_speech: Any) -> list[Any]:
    """A list of waveforms, from one (an array, or a list of numbers) or a list of several.

    An array with two axes stays one, to be refused: its rows may be clips, or its columns channels.
    """
    numbers = isinstance(raw_speech, list | tuple) and raw_speech and isinstance(raw_speech[0], Real)
    return list(raw_speech) if isinstance(raw_speech, list | tuple) and not numbers else [raw_speech]


MACBDFFeatureExtractor.register_for_auto_class()

__all__ = ["MACBDFFeatureExtractor"]
