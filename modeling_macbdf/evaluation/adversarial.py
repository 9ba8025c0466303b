"""Slight changes of the face crops that are chosen to move the answer: how far a detector gives way to who has it.

FGSM (Goodfellow et al. 2015) is one step along the sign of the gradient; PGD (Madry et al. 2018) several small ones.
The crops are changed as the model gets them, without the way back through a codec: an upper bound of what such an
attack on a file would do.
"""

from collections.abc import Mapping
from typing import Any

import torch


def attacked(
    model: Any, inputs: Mapping[str, torch.Tensor], limit: torch.Tensor, towards_fake: bool, steps: int = 10
) -> torch.Tensor:
    """Crops that move the joint logits as far as signed gradient steps take them.

    Args:
        model: called with `inputs`, returns an object with `logits` (B,).
        inputs: has `pixel_values` (B, T, 3, H, W); the rest stays.
        limit: largest change of a value, broadcast over the crops.
        towards_fake: raise the logits, or lower them.
        steps: 1 is FGSM; more is PGD with steps of 2.5 x limit / steps.

    Returns:
        (B, T, 3, H, W) within `limit` of the crops.

    Raises:
        ValueError: fewer steps than one.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, but got {steps}")
    clean = inputs["pixel_values"].detach()
    stride = (limit if steps == 1 else 2.5 * limit / steps) * (1.0 if towards_fake else -1.0)
    change = torch.zeros_like(clean)
    for _ in range(steps):
        point = (clean + change).requires_grad_()
        logits = model(**{**inputs, "pixel_values": point}).logits
        gradient = torch.autograd.grad(logits.sum(), point)[0]
        change = torch.clamp(change + stride * gradient.sign(), -limit, limit)
    return clean + change
