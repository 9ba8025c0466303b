"""MACL: contrastive alignment of video and audio at an adaptive temperature.

Source: arXiv 2505.12966, Mechanism 1 ("Multi-modal Adaptive Contrast Learning"). The paper names the parts
(attention network, batch variance, gradient history, Bayesian estimation); every formula here is [our reading].

Letters: B clips, T steps, D width, P projection width. All of the arithmetic is in float32, autocast or not.

In distributed training every process computes the *same* loss on the pairs of all processes (`gather_pairs`).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils.generic import maybe_autocast

from .gathering_macbdf import gather_rows, world_size
from .temperature_macbdf import AdaptiveTemperature

__all__ = ["AdaptiveTemperature", "ContrastiveHead", "contrastive_loss", "gather_pairs"]


class ContrastiveHead(nn.Module):
    """Unit-norm embeddings of one clip's two streams, from `config.hidden_size` D to `config.projection_size` P."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.video_projection = _projection(config.hidden_size, config.projection_size)
        self.audio_projection = _projection(config.hidden_size, config.projection_size)

    def forward(
        self, video_scale: Tensor, audio_scale: Tensor, video_mask: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Project the mean of the valid steps.

        Args:
            video_scale, audio_scale: (B, T, D) shallow features.
            video_mask, audio_mask: (B, T) bool, True = valid. A row without True is a missing modality.

        Returns:
            z_v, z_a: (B, P) float32 of norm 1; exact zeros in the rows of a missing modality.
        """
        video = _unit_rows(self.video_projection, video_scale, video_mask)
        return video, _unit_rows(self.audio_projection, audio_scale, audio_mask)


def _projection(width: int, projection: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, projection))


def _unit_rows(projection: nn.Module, features: Tensor, mask: Tensor) -> Tensor:
    # Select before the sum: a padded step may hold NaN, and NaN * 0 is NaN.
    total = torch.where(mask.unsqueeze(-1), features, 0.0).sum(dim=1)  # (B, D)
    mean = total / mask.sum(dim=1, keepdim=True).clamp(min=1)
    unit = F.normalize(projection(mean).float(), dim=-1, eps=1e-6)  # (B, P)
    return torch.where(mask.any(dim=1, keepdim=True), unit, 0.0)


def contrastive_loss(z_v: Tensor, z_a: Tensor, temperature: Tensor | float, positive: Tensor, valid: Tensor) -> Tensor:
    """Symmetric InfoNCE in which a forged pair is never a positive.

    For each positive pair i, in both directions: log sum_j exp(S_ij / tau) - S_ii / tau, j over the valid pairs. The
    diagonal S_kk of a valid pair that is not positive joins each of these sums as one more negative, so that the
    two streams of a forged clip are pushed apart; as anchors such pairs have no numerator and give no term of
    their own. The mean is over both directions of all positive pairs. [our reading]

    Args:
        z_v, z_a: (B, P) unit norm, of all processes.
        temperature: tau > 0.
        positive: (B,) bool, both streams real and of one clip.
        valid: (B,) bool, both streams present and known as real or forged; other pairs enter nowhere.

    Returns:
        0-dim float32 loss; exactly 0, and still part of the graph, where no pair is positive.

    Raises:
        ValueError: The shapes disagree.
    """
    if z_v.shape != z_a.shape or positive.shape != valid.shape or valid.shape != z_v.shape[:1]:
        shapes = [tuple(tensor.shape) for tensor in (z_v, z_a, positive, valid)]
        raise ValueError(f"z_v, z_a must be (B, P) and positive, valid (B,), but got {shapes}")
    with maybe_autocast(z_v.device.type, enabled=False):
        video = torch.where(valid.unsqueeze(-1), z_v.float(), 0.0)
        audio = torch.where(valid.unsqueeze(-1), z_a.float(), 0.0)
        logits = video @ audio.T / temperature  # (B, B)
    floor = torch.finfo(logits.dtype).min  # not -inf: a row without a valid entry must keep a finite gradient
    positive, diagonal = positive & valid, logits.diagonal()
    forged = diagonal.masked_fill(positive | ~valid, floor).logsumexp(dim=0)
    rows = logits.masked_fill(~valid.unsqueeze(0), floor).logsumexp(dim=1)
    columns = logits.masked_fill(~valid.unsqueeze(1), floor).logsumexp(dim=0)
    terms = torch.logaddexp(rows, forged) + torch.logaddexp(columns, forged) - 2 * diagonal
    return torch.where(positive, terms, 0.0).sum() / (2 * positive.sum()).clamp(min=1)


def gather_pairs(z_v: Tensor, z_a: Tensor, positive: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pairs of all processes, (sum of B, ...) each, in one message; local batches may differ in size.

    A collective call: in training every process makes it at each step. Without torch.distributed it returns its
    arguments, z_v, z_a (B, P) and positive, valid (B,). For the gradient see `gather_rows`.
    """
    if world_size() == 1:
        return z_v, z_a, positive, valid
    width = z_v.shape[-1]
    flags = torch.stack([positive, valid], dim=1).to(z_v.dtype)
    rows = gather_rows(torch.cat([z_v, z_a, flags], dim=1))
    return rows[:, :width], rows[:, width : 2 * width], rows[:, -2] > 0, rows[:, -1] > 0
