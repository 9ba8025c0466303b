"""Face crops to model input: resize where needed, scale, normalise, pad in time. No torchvision, no PIL needed.

Letters: B clips, T steps, t steps of one clip, H, W, S pixels. One crop belongs to one step of the model's clock.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ImagesKwargs

OWN_FIELDS = (
    "size",
    "do_resize",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "num_frames",
)


class MACBDFImageProcessorKwargs(ImagesKwargs, total=False):
    """What a call or a saved file may set beside the usual keywords."""

    num_frames: int | None


class MACBDFImageProcessor(BaseImageProcessor):
    """Turns square face crops into `pixel_values`.

    Args:
        size: {"height": S, "width": S} pixels of the output.
        do_resize: resize (bilinear, antialiased) crops of another size; otherwise they are refused.
        do_rescale, rescale_factor: whether and by what the 8-bit values are multiplied before the normalisation.
        do_normalize, image_mean, image_std: whether and by what the channels (R, G, B) are normalised after the
            rescaling. Take a pretrained tower's own.
        num_frames: steps T that shorter clips are padded to.
    """

    model_input_names = ["pixel_values", "video_mask"]  # noqa: RUF012 (declared so by the base class)
    valid_kwargs = MACBDFImageProcessorKwargs

    def __init__(
        self,
        size: dict[str, int] | None = None,
        do_resize: bool = True,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        num_frames: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = {"height": 160, "width": 160} if size is None else dict(size)
        if sorted(self.size) != ["height", "width"] or min(self.size.values()) < 1:
            raise ValueError(f"size must have a positive height and width in pixels, but got {size}")
        if len(image_mean) != 3 or len(image_std) != 3 or min(image_std) <= 0:
            raise ValueError(
                f"image_mean and image_std must have 3 values, std positive, but got {image_mean}, {image_std}"
            )
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, but got {num_frames}")
        self.do_resize, self.num_frames = do_resize, num_frames
        self.do_rescale, self.rescale_factor, self.do_normalize = do_rescale, rescale_factor, do_normalize
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    def preprocess(
        self,
        images: Any,
        video_mask: Any = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepares a batch.

        Args:
            images: one clip (t, H, W, 3) uint8 array or tensor, or a list of clips; a clip may also be a list of
                (H, W, 3) images, one image is a clip of one step, and None stands for a clip without picture.
            video_mask: per clip (t,) bool, False where a step has no usable face; None = all valid.
            return_tensors: "pt", "np" or None.
            **kwargs: what the processor was made with, for this call alone; other keywords have no meaning here.

        Returns:
            `pixel_values` (B, T, 3, S, S) float32 and `video_mask` (B, T) bool; padding and missing clips are zeros.

        Raises:
            ValueError: crops that are not 8-bit RGB, of a wrong size without `do_resize`, or masks that do not fit.
        """
        changes = {name: value for name, value in kwargs.items() if value is not None}
        if changes:
            return self._changed(changes).preprocess(images, video_mask, return_tensors)
        clips = [self._clip(clip) for clip in clips_of(images)]
        masks = step_masks("video_mask", video_mask, [0 if clip is None else len(clip) for clip in clips])
        steps = max([self.num_frames, *(len(mask) for mask in masks)])
        pixels = torch.zeros(len(clips), steps, 3, self.size["height"], self.size["width"])
        for row, clip in zip(pixels, clips, strict=True):
            if clip is not None:
                row[: len(clip)] = clip
        data = {"pixel_values": pixels, "video_mask": pad_masks(masks, steps)}
        return BatchFeature(data if return_tensors == "pt" else _numpy(data), tensor_type=return_tensors)

    def _changed(self, changes: dict[str, Any]) -> "MACBDFImageProcessor":
        """This processor with other values; a keyword that would do nothing must not pass in silence."""
        own = {name: getattr(self, name) for name in OWN_FIELDS}
        unknown = sorted(changes.keys() - own.keys())
        if unknown:
            raise ValueError(f"this image processor has no keyword {', '.join(unknown)}")
        return type(self)(**{**own, **changes})

    def _clip(self, clip: Any) -> torch.Tensor | None:
        """One clip -> (t, 3, S, S) float32, normalised; images in a list may differ in size."""
        if clip is None:
            return None
        if isinstance(clip, list | tuple) and len({np.shape(image) for image in clip}) > 1:
            return torch.cat([self._prepared(as_frames(image)) for image in clip])
        return self._prepared(as_frames(clip))

    def _prepared(self, crops: torch.Tensor) -> torch.Tensor:
        """(t, H, W, 3) uint8 -> (t, 3, S, S) float32, normalised."""
        frames = crops.permute(0, 3, 1, 2).float()
        if frames.shape[-2:] != (self.size["height"], self.size["width"]):
            frames = self._resized(frames)
        if self.do_rescale:
            frames *= self.rescale_factor
        if not self.do_normalize:
            return frames
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.image_mean, self.image_std))
        return frames.sub_(mean).div_(std)

    def _resized(self, frames: torch.Tensor) -> torch.Tensor:
        side = (self.size["height"], self.size["width"])
        if not self.do_resize:
            raise ValueError(f"crops must be {side} pixels where do_resize is off, but got {tuple(frames.shape[-2:])}")
        return F.interpolate(frames, size=side, mode="bilinear", antialias=True).clamp(0.0, 255.0)


def as_frames(clip: Any) -> torch.Tensor:
    """One clip as (t, H, W, 3) uint8; channels may come first, images may come in a list."""
    if isinstance(clip, list | tuple):
        if not clip:
            raise ValueError("videos must have at least one crop per clip, but got an empty list (None = no picture)")
        clip = np.stack([np.asarray(image) for image in clip])
    frames = clip if isinstance(clip, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(clip))
    frames = frames.unsqueeze(0) if frames.dim() == 3 else frames
    if frames.dim() == 4 and frames.shape[-1] != 3 and frames.shape[1] == 3:
        frames = frames.permute(0, 2, 3, 1)
    if frames.dim() != 4 or frames.shape[-1] != 3 or len(frames) == 0 or frames.dtype != torch.uint8:
        raise ValueError(f"videos must be (t, H, W, 3) uint8 crops, but got {tuple(frames.shape)} {frames.dtype}")
    return frames


def step_masks(name: str, masks: Any, lengths: list[int]) -> list[torch.Tensor]:
    """One (t,) bool mask per clip; all valid where none is given, checked against the clip's length otherwise."""
    given = [None] * len(lengths) if masks is None else list(masks)
    if len(given) != len(lengths):
        raise ValueError(f"{name} must have one entry per clip, {len(lengths)}, but got {len(given)}")
    result = []
    for mask, length in zip(given, lengths, strict=True):
        row = torch.ones(length) if mask is None or length == 0 else torch.as_tensor(np.asarray(mask))
        if row.shape != (length,):
            raise ValueError(f"{name} must have {length} steps for this clip, but got shape {tuple(row.shape)}")
        result.append(row.bool())
    return result


def pad_masks(masks: list[torch.Tensor], steps: int) -> torch.Tensor:
    """(t,) masks of several clips -> (B, T), False beyond each clip."""
    return torch.stack([F.pad(mask, (0, steps - len(mask))) for mask in masks])


def clips_of(images: Any) -> list[Any]:
    """A list of clips with one entry a step each, from one clip or a list of them; None = no picture.

    A list of single images is one clip; a list of clips (arrays of 4 axes, or lists) is a batch.
    """
    if not isinstance(images, list | tuple):
        images = list(images) if np.ndim(images) == 5 else [images]
    elif images and all(_is_image(image) for image in images):
        images = [images]
    return [[clip] if _is_image(clip) else clip for clip in images]


def _is_image(value: Any) -> bool:
    return value is not None and not isinstance(value, list | tuple) and np.ndim(value) == 3


def _numpy(data: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in data.items()}


MACBDFImageProcessor.register_for_auto_class()

__all__ = ["MACBDFImageProcessor"]
