"""Crops and waveform of a clip to the model's input, both on one clock."""

from typing import Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from .feature_extraction_macbdf import MACBDFFeatureExtractor, waves_of
from .image_processing_macbdf import MACBDFImageProcessor, clips_of


class MACBDFProcessorKwargs(ProcessingKwargs, total=False):
    """What a call may set beside the usual keywords."""

    images: Any


class MACBDFProcessor(ProcessorMixin):
    """Joins the two processors and keeps picture and sound on the same steps.

    Args:
        image_processor: a `MACBDFImageProcessor`. feature_extractor: a `MACBDFFeatureExtractor`.
    """

    valid_processor_kwargs = MACBDFProcessorKwargs
    # Defaults of a call, which `_merge_kwargs` looks for under these names.
    images_kwargs: Any = {"return_tensors": "pt"}  # noqa: RUF012 (declared so by the base class)
    audio_kwargs: Any = {"return_tensors": "pt"}  # noqa: RUF012

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
        self, videos: Any = None, audio: Any = None, video_mask: Any = None, audio_mask: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Prepares windows of clips; both streams of a clip begin at the same instant.

        Args:
            videos: one clip (t, H, W, 3) uint8, an array or a list of images, or a list of clips; None entries, or
                None for all, where there is no picture.
            audio: one waveform (N,), an array or a list of numbers, or a list of waveforms; None entries, or None for
                all, where there is no sound.
            video_mask, audio_mask: per clip (t,) bool, False where a step has no face or no sound; None = all valid.
            **kwargs: flat, or in `images_kwargs` and `audio_kwargs`:
                images: in place of videos, one crop (H, W, 3) or a list with one per clip: clips of one step.
                sampling_rate: Hz of the waveforms.
                num_frames: pads to at least this many steps; None = the processors' own.
                return_tensors: "pt" (default) or "np".
                Further keywords go to the image processor.

        Returns:
            `pixel_values` (B, T, 3, S, S) and `video_mask` (B, T) unless no clip has a picture; `input_features`
            (B, L, F) and `audio_mask` (B, T) unless none has sound.

        Raises:
            ValueError: no input at all, lists of different lengths, or a keyword that has no meaning here.
        """
        videos = _given_clips(kwargs.pop("images", None), videos)
        for_picture, for_sound, num_frames = self._sorted(kwargs)
        return_tensors = for_picture["return_tensors"]
        videos = None if videos is None else clips_of(videos)
        audio = None if audio is None else waves_of(audio)
        if not videos and not audio:
            raise ValueError("videos or audio must hold at least one clip, but both are missing")
        if videos and audio and len(videos) != len(audio):
            raise ValueError(f"videos and audio must have one entry per clip, but got {len(videos)} and {len(audio)}")
        steps = self._steps(videos, audio, num_frames)
        for_picture |= {"num_frames": max(steps), "return_tensors": "pt"}
        for_sound |= {"num_frames": steps, "return_tensors": "pt"}
        data: dict[str, Any] = {}
        if videos and any(clip is not None for clip in videos):
            data.update(self.image_processor(videos, video_mask=_rows(video_mask), **for_picture))
        if audio and any(wave is not None for wave in audio):
            data.update(self.feature_extractor(audio, audio_mask=_rows(audio_mask), **for_sound))
        if return_tensors != "pt":
            data = {name: value.numpy() for name, value in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """As of any processor; the map to the code stays in the file, so that a loaded processor equals this one."""
        saved = super().save_pretrained(save_directory, push_to_hub, **kwargs)
        vars(self).pop("auto_map", None)
        return saved

    def _sorted(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int | None]:
        """Keywords of the image processor, of the feature extractor, and the number of steps."""
        merged = self._merge_kwargs(**kwargs)
        known = set(merged).union(*(merged[name] for name in merged if name.endswith("_kwargs")))
        unknown = sorted(kwargs.keys() - known)
        if unknown:
            raise ValueError(f"this processor has no keyword {', '.join(unknown)}")
        picture = {**merged["videos_kwargs"], **merged["images_kwargs"]}
        if picture.pop("do_sample_frames", None):
            raise ValueError("do_sample_frames must be False: every crop is a step, but got True")
        return picture, merged["audio_kwargs"], picture.pop("num_frames", None)

    def _steps(self, videos: list[Any] | None, audio: list[Any] | None, num_frames: int | None) -> list[int]:
        """Steps of each clip by itself: the wished number, or what its longer stream needs."""
        own = self.image_processor.num_frames if num_frames is None else num_frames
        size = self.feature_extractor.samples_per_step
        shown = [0 if clip is None else len(clip) for clip in videos or [None] * len(audio or [])]
        heard = [0 if wave is None else -(-len(wave) // size) for wave in audio or [None] * len(shown)]
        return [max(own, *streams) for streams in zip(shown, heard, strict=True)]


def _given_clips(images: Any, videos: Any) -> Any:
    """The clips of a call, whichever name they came under."""
    if images is None:
        return videos
    if videos is not None:
        raise ValueError("images and videos are two names of the same input, but both were given")
    crops = images if isinstance(images, list | tuple) else list(images) if np.ndim(images) == 4 else [images]
    return [None if crop is None else [crop] for crop in crops]


def _rows(mask: Any) -> list[Any] | None:
    """Masks as a list with one entry per clip, from such a list, a (B, t) array or the (t,) mask of one clip."""
    if mask is None:
        return None
    return list(mask) if isinstance(mask, list | tuple) or mask.ndim > 1 else [mask]


MACBDFProcessor.register_for_auto_class()

__all__ = ["MACBDFProcessor"]
