"""Heads: tokens to frame and clip logits, and the optional score of temporal consistency.

Letters: B batch, T steps, D width, P projection width. Logits are log-odds: of fake for the classifiers (1 = fake), of
*in step* for the sync head (1 = lips and voice in step), which is kept apart from "fake": a dubbed or lagged real
video is out of step and not a deepfake.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_macbdf import MACBDFConfig


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the valid steps: (B, T, D), (B, T) bool -> (B, D), zeros for a row without any."""
    total = torch.where(mask.unsqueeze(-1), values, 0.0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def masked_top_mean(values: torch.Tensor, mask: torch.Tensor, top_k: int) -> torch.Tensor:
    """Mean of the `top_k` largest valid values, of all of them where fewer are valid: (B, T), (B, T) -> (B,)."""
    lowest = torch.finfo(values.dtype).min
    best = values.masked_fill(~mask, lowest).topk(min(top_k, values.shape[1]), dim=1).values
    rank = torch.arange(best.shape[1], device=values.device)
    kept = rank < mask.sum(dim=1, keepdim=True)
    return torch.where(kept, best, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)


class Score(nn.Linear):
    """A linear layer with one output, (..., D) -> (...), the same to the last bit wherever its weight lies in memory.

    The matrix-vector product behind `nn.Linear(D, 1)` sums in another order for a weight that a file mapped in at an
    odd address: a model would answer differently after a save and a load.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (...)."""
        return (hidden * self.weight[0]).sum(dim=-1) + self.bias


class ClassifierHead(nn.Module):
    """Frame logits, and a clip logit from the highest frame logits plus a learned reading of the whole clip.

    A mean over the steps would dilute a short forged segment; the highest steps alone would not see what only the
    whole clip shows.
    """

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__()
        self.top_k = config.pooling_top_k
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.frame = Score(config.hidden_size)
        self.clip = Score(2 * config.hidden_size)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, D), (B, T) bool -> clip logit (B,), frame logits (B, T)."""
        hidden = self.dropout(self.norm(hidden))
        frames = self.frame(hidden)
        visible = (mask | ~mask.any(dim=1, keepdim=True)).unsqueeze(-1)
        highest = hidden.masked_fill(~visible, torch.finfo(hidden.dtype).min).amax(dim=1)
        clip = self.clip(torch.cat([masked_mean(hidden, mask), highest], dim=-1))
        return clip + masked_top_mean(frames, mask, self.top_k), frames


class SyncHead(nn.Module):
    """Per step: do the changes of the face and of the voice belong together? [ours, the paper's second open question]

    Two consistencies are made explicit and are all that the classifier sees: the similarity of the two streams at
    time lags of -max_lag..max_lag steps, and the similarity of each stream with its own next step.
    """

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__()
        self.max_lag, size = config.sync_max_lag, config.projection_size
        self.video = nn.Linear(config.hidden_size, size)
        self.audio = nn.Linear(config.hidden_size, size)
        self.hidden = nn.Linear(2 * self.max_lag + 3, 32)
        self.output = Score(32)

    def forward(
        self, video: torch.Tensor, audio: torch.Tensor, video_mask: torch.Tensor, audio_mask: torch.Tensor
    ) -> torch.Tensor:
        """(B, T, D) twice, (B, T) bool twice -> (B, T) log-odds of being in step; see `shifted` for the edges."""
        video, audio = _unit(self.video(video), video_mask), _unit(self.audio(audio), audio_mask)
        lags = range(-self.max_lag, self.max_lag + 1)
        across = [(video * shifted(audio, lag)).sum(-1) for lag in lags]
        along = [(stream * shifted(stream, 1)).sum(-1) for stream in (video, audio)]
        return self.output(F.gelu(self.hidden(torch.stack(across + along, dim=-1))))


def _unit(stream: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Rows of length 1, zeros where masked: (B, T, P), (B, T) bool -> (B, T, P).

    In float32, and masked steps are not divided by their length 0: half precision has no number as small as the guard.
    """
    unit = F.normalize(torch.where(mask.unsqueeze(-1), stream.float(), 1.0), dim=-1)
    return torch.where(mask.unsqueeze(-1), unit, 0.0).to(stream.dtype)


def shifted(stream: torch.Tensor, lag: int) -> torch.Tensor:
    """The stream `lag` steps later, zeros beyond the clip: (B, T, P) -> (B, T, P) with out[t] = stream[t + lag]."""
    steps = stream.shape[1]
    if abs(lag) >= steps:
        return torch.zeros_like(stream)
    return F.pad(stream, (0, 0, max(-lag, 0), max(lag, 0)))[:, max(lag, 0) : max(lag, 0) + steps]
