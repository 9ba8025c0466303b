"""Where in the input a logit comes from: integrated gradients (Sundararajan et al., arXiv 1703.01365).

The path runs from a blurred input to the input itself. Blurring takes away the fine traces that a detector looks at
and leaves a face a face; a black picture would be something that the model has never seen. The attributions sum up to
the difference of the two logits, which is their check; `deletion_drop` is another one.

B batch, T steps, H, W pixels, L mel frames, F mel bins.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

STEPS = 8  # of the path
PICTURE_CELL = 16  # pixels: the side of a cell in which attributions are added up
_PICTURE_BLUR, _SOUND_BLUR = 17, (41, 9)  # pixels; mel frames and bins


def blurred_picture(pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, T, 3, H, W) -> the same shape, twice box-blurred."""
    frames = pixel_values.flatten(0, 1)
    for _ in range(2):
        frames = F.avg_pool2d(frames, _PICTURE_BLUR, 1, _PICTURE_BLUR // 2, count_include_pad=False)
    return frames.unflatten(0, pixel_values.shape[:2])


def blurred_sound(input_features: torch.Tensor) -> torch.Tensor:
    """(B, L, F) features -> the same shape, box-blurred over time and frequency."""
    padding = tuple(side // 2 for side in _SOUND_BLUR)
    return F.avg_pool2d(input_features.unsqueeze(1), _SOUND_BLUR, 1, padding, count_include_pad=False).squeeze(1)


def integrated_gradients(
    model: Any, inputs: Mapping[str, torch.Tensor], name: str, answer: str, baseline: torch.Tensor, steps: int = STEPS
) -> torch.Tensor:
    """Attribution of each value of `inputs[name]` to the model's logits `answer`.

    Args:
        model: called with `inputs`, returns an object that has the logits (B,) as an attribute.
        inputs: tensors; the others stay as they are.
        name: the input that is explained.
        answer: name of the logits.
        baseline: where the path begins, of the input's shape.
        steps: points on the path (the middle of each part).

    Returns:
        A tensor of the input's shape; its sum is about logit(input) - logit(baseline). Positive = towards fake.
    """
    end = inputs[name].detach()
    difference = end - baseline
    total = torch.zeros_like(end)
    for index in range(steps):
        point = (baseline + (index + 0.5) / steps * difference).requires_grad_()
        logits = getattr(model(**{**inputs, name: point}), answer)
        total += torch.autograd.grad(logits.sum(), point)[0]
    return difference * total / steps


def picture_cells(attribution: torch.Tensor, cell: int = PICTURE_CELL) -> torch.Tensor:
    """(B, T, 3, H, W) -> (B, T, H/cell, W/cell): what each cell adds to the logit."""
    frames = attribution.sum(dim=2).flatten(0, 1).unsqueeze(1)
    pooled = F.avg_pool2d(frames, cell, ceil_mode=True, count_include_pad=False) * cell**2
    return pooled.squeeze(1).unflatten(0, attribution.shape[:2])


@torch.no_grad()
def deletion_drop(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    cells: torch.Tensor,
    answer: str,
    baseline: torch.Tensor,
    share: float = 0.1,
) -> torch.Tensor:
    """How far the picture's logits (B,) fall when the cells of highest value are replaced by the baseline.

    A heat map that means something makes them fall further than one with the same cells in random order.

    Args:
        cells: (B, T, h, w) values of the cells, as `picture_cells` gives them.
        share: of the cells to replace, in (0, 1].
    """
    pixels = inputs["pixel_values"]
    count = max(1, round(share * cells[0].numel()))
    chosen = torch.zeros_like(cells).flatten(1)
    chosen.scatter_(1, cells.flatten(1).topk(count, dim=1).indices, 1.0)
    mask = F.interpolate(chosen.view_as(cells), size=pixels.shape[-2:], mode="nearest").unsqueeze(2).bool()
    deleted = torch.where(mask, baseline, pixels)
    before, after = (getattr(model(**{**inputs, "pixel_values": p}), answer) for p in (pixels, deleted))
    return before - after
