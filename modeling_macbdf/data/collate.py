"""Windows to a batch of tensors, named as the arguments of the model's forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .clips import IGNORE
from .dataset import WindowItem

CLIP_LABELS = {"labels": "label", "video_labels": "video_label", "audio_labels": "audio_label"}
STEP_LABELS = ("frame_labels", "video_frame_labels", "audio_frame_labels", "sync_labels")


class WindowCollator:
    """Joins windows through the model's own processor, the one that inference uses.

    Args:
        processor: a `MACBDFProcessor`.
        sync: whether to add `sync_labels` (for a model with a sync head).
    """

    def __init__(self, processor: Any, sync: bool = False) -> None:
        self.processor = processor
        self.step_labels = STEP_LABELS if sync else STEP_LABELS[:-1]

    def __call__(self, items: Sequence[WindowItem]) -> dict[str, torch.Tensor]:
        """A batch: pixel_values, input_features, video_mask, audio_mask, labels of clips (B,) and steps (B, T).

        Raises:
            ValueError: the clips differ in their sampling rate.
        """
        windows = [item.labelled for item in items]
        clips = [window.clip for window in windows]
        rates = sorted({clip.sampling_rate for clip in clips})
        if len(rates) > 1:
            raise ValueError(f"items must have one sampling_rate, but have {rates} Hz")
        steps = max(clip.steps for clip in clips)
        inputs = self.processor(
            videos=[clip.frames if clip.video_mask.any() else None for clip in clips],
            audio=[clip.audio if clip.audio_mask.any() else None for clip in clips],
            video_mask=[clip.video_mask if clip.video_mask.any() else None for clip in clips],
            audio_mask=[clip.audio_mask if clip.audio_mask.any() else None for clip in clips],
            sampling_rate=rates[0],
            num_frames=steps,  # the longest window's: short training windows are not padded to the model's own length
            return_tensors="pt",
        )
        batch = dict(inputs)
        for name, attribute in CLIP_LABELS.items():
            batch[name] = torch.tensor([getattr(window, attribute) for window in windows], dtype=torch.long)
        for name in self.step_labels:
            labels = [getattr(window, name) for window in windows]
            batch[name] = torch.from_numpy(np.stack([_padded(row, steps) for row in labels]))
        return batch


def _padded(labels: np.ndarray, steps: int) -> np.ndarray:
    return np.pad(labels, (0, steps - len(labels)), constant_values=IGNORE)
