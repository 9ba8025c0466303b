"""Crops and waveform of a clip to the model's input, both on one clock."""

from typing import Any

from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from .feature_extraction_macbdf import MACBDFFeatureExtractor
from .image_processing_macbdf import MACBDFImageProcessor


class MACBDFProcessor(ProcessorMixin):
    """Joins the two processors and keeps picture and sound on the same steps.

    Args:
        image_processor: a `MACBDFImageProcessor`. feature_extractor: a `MACBDFFeatureExtractor`.
    """

    def __init__(
        self,
        image_processor: MACBDFImageProcessor | None = None,
        feature_extractor: MACBDFFeatureExtractor | None = None,
        **kwargs: Any,
    ) -> None:
        parts = (image_processor or MACBDFImageProcessor(), feature_extractor or MACBDFFeatureExtractor())
        super().__init__(*parts, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Names of what a call returns, as in the model's forward."""
        return [*self.image_processor.model_input_names, *self.feature_extractor.model_input_names]

    def __call__(
        self,
        videos: Any = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        video_mask: Any = None,
        audio_mask: Any = None,
        num_frames: int | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Prepares windows of clips; both streams of a clip begin at the same instant.

        Args:
            videos: one clip (t, H, W, 3) uint8, or a list; None entries, or None for all, where there is no picture.
            audio: one waveform (N,), or a list; None entries, or None for all, where there is no sound.
            sampling_rate: Hz of the waveforms.
            video_mask, audio_mask: per clip (t,) bool, False where a step has no face or no sound; None = all valid.
            num_frames: pads to at least this many steps; None = the processors' own.
            return_tensors: "pt" or "np".

        Returns:
            `pixel_values` (B, T, 3, S, S) and `video_mask` (B, T) unless no clip has a picture; `input_features`
            (B, L, F) and `audio_mask` (B, T) unless none has sound.

        Raises:
            ValueError: no input at all, or lists of different lengths.
        """
        videos, audio = _entries(videos, 4), _entries(audio, 1)
        if not videos and not audio:
            raise ValueError("videos or audio must hold at least one clip, but both are missing")
        if videos and audio and len(videos) != len(audio):
            raise ValueError(f"videos and audio must have one entry per clip, but got {len(videos)} and {len(audio)}")
        steps = self._steps(videos or [], audio or [], num_frames)
        data: dict[str, Any] = {}
        if videos and any(clip is not None for clip in videos):
            picture = {"video_mask": _rows(video_mask), "num_frames": steps}
            data.update(self.image_processor(videos, **picture, return_tensors="pt"))
        if audio and any(wave is not None for wave in audio):
            sound = {"sampling_rate": sampling_rate, "audio_mask": _rows(audio_mask), "num_frames": steps}
            data.update(self.feature_extractor(audio, **sound, return_tensors="pt"))
        if return_tensors != "pt":
            data = {name: value.numpy() for name, value in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def _steps(self, videos: list[Any], audio: list[Any], num_frames: int | None) -> int:
        """Steps T of the batch: the wished number, or what the longest stream needs."""
        own = self.image_processor.num_frames if num_frames is None else num_frames
        size = self.feature_extractor.samples_per_step
        shown = [len(clip) for clip in videos if clip is not None]
        heard = [-(-len(wave) // size) for wave in audio if wave is not None]
        return max([own, *shown, *heard])


def _entries(value: Any, axes: int) -> list[Any] | None:
    """A list with one entry per clip, from such a list or from one clip (an array of `axes` axes)."""
    if value is None:
        return None
    return list(value) if isinstance(value, list | tuple) or value.ndim > axes else [value]


def _rows(mask: Any) -> list[Any] | None:
    """Masks as a list with one entry per clip, from such a list, a (B, t) array or the (t,) mask of one clip."""
    if mask is None:
        return None
    return list(mask) if isinstance(mask, list | tuple) or mask.ndim > 1 else [mask]


MACBDFProcessor.register_for_auto_class()

__all__ = ["MACBDFProcessor"]
