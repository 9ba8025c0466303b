"""Which steps of which stream are there: explicit masks from whatever a batch brings.

Letters: B batch, T steps. Masks: True = valid step; a row without True is a missing modality.
"""

import torch

Scales = list[torch.Tensor]  # (B, T, D) each, shallow to deep


def resolve_masks(
    video_scales: Scales | None,
    audio_scales: Scales | None,
    video_mask: torch.Tensor | None,
    audio_mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Explicit masks (B, T) bool of both streams: all False for one not given, all True for one without a mask.

    Raises:
        ValueError: no stream at all, none in some clip, or streams and masks of different lengths.
    """
    given = [scales[0] for scales in (video_scales, audio_scales) if scales is not None]
    if not given:
        raise ValueError("pixel_values or input_features must be given, but both are None")
    shapes = [tuple(scale.shape[:2]) for scale in given]
    if shapes[0] != shapes[-1]:
        raise ValueError(f"pixel_values and input_features must have the same (B, T), but got {shapes}")
    masks = []
    for name, scales, mask in (("video_mask", video_scales, video_mask), ("audio_mask", audio_scales, audio_mask)):
        if scales is None or mask is None:
            mask = torch.full(shapes[0], scales is not None, device=given[0].device)
        masks.append(checked_mask(name, mask, shapes[0]))
    # A compiled graph cannot look at values; there the rule is the caller's.
    if not torch.compiler.is_compiling() and not bool((masks[0] | masks[1]).any(dim=1).all()):
        raise ValueError("video_mask or audio_mask must have a valid step in every clip, but some clip has neither")
    return masks[0], masks[1]


def checked_mask(name: str, mask: torch.Tensor, shape: tuple[int | None, ...]) -> torch.Tensor:
    """The mask as bool, of the expected (B, T)."""
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape (B, T) = {tuple(shape)}, but got {tuple(mask.shape)}")
    return mask.bool()
