"""Cluster-aware fusion weights: how far a clip lies from the known real and fake clusters of each modality.

Source: arXiv 2505.12966, Mechanism 2 (composite Mahalanobis + cosine distance to cluster centres, importance scores
by multi-head attention). The paper gives no formula; these are [our reading]:

- d = lambda * mahalanobis / sqrt(P) + (1 - lambda) * (1 - cosine), lambda in (0, 1) learned.
- The modality's embedding is the query, its prototypes are keys and values, -d joins the attention logits.
- score = linear(attended) + slope * |d_real - d_fake|; (w_v, w_a) = softmax of the scores, with a floor.

Letters: B clips, M = 2 modalities (video, audio), C = 2 classes (real, fake), K prototypes a class, P projection
width. Prototypes and covariances are buffers, exchanged between processes in training, float32 throughout.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .gathering_macbdf import gather_rows
from .heads_macbdf import Score
from .prototypes_macbdf import PrototypeBank, composite_distance, mahalanobis

__all__ = ["ClusterWeighting", "PrototypeAttention", "PrototypeBank", "composite_distance", "mahalanobis"]

_START_SLOPE = 2.0  # of the score over the margin, before training


class PrototypeAttention(nn.Module):
    """The importance score of a modality from its embedding, its prototypes and its distances to them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.projection_size
        self.heads = config.num_attention_heads
        if width % self.heads:
            raise ValueError(
                f"projection_size must be a multiple of num_attention_heads={self.heads}, but got {width}"
            )
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.score = Score(width)
        self.raw_slope = nn.Parameter(torch.empty(1))
        self.reset_state()

    def reset_state(self) -> None:
        """Begin with the margin alone: the clearer modality weighs more."""
        init.zeros_(self.score.weight)
        init.zeros_(self.score.bias)
        init.constant_(self.raw_slope, math.log(math.expm1(_START_SLOPE)))

    def forward(self, points: Tensor, prototypes: Tensor, distance: Tensor, margin: Tensor) -> Tensor:
        """Score (B,) of points (B, P), prototypes (C, K, P), distance (B, C, K), margin (B,); higher = surer."""
        dtype = self.query.weight.dtype
        query = self.query(points.to(dtype)).unflatten(-1, (self.heads, -1))  # (B, heads, P / heads)
        keys = self.key(prototypes.flatten(0, 1).to(dtype)).unflatten(-1, (self.heads, -1))  # (CK, heads, P / heads)
        values = self.value(prototypes.flatten(0, 1).to(dtype)).unflatten(-1, (self.heads, -1))
        logits = torch.einsum("bhd,khd->bhk", query, keys).float() / math.sqrt(query.shape[-1])
        weights = (logits - distance.flatten(1).unsqueeze(1)).softmax(dim=-1)  # (B, heads, CK)
        attended = torch.einsum("bhk,khd->bhd", weights.to(values.dtype), values).flatten(1)  # (B, P)
        return self.score(attended).float() + F.softplus(self.raw_slope.float()) * margin


class ClusterWeighting(nn.Module):
    """Fusion weights (w_v, w_a) of each clip.

    Args:
        config: `fusion_weights` ("cluster" or "uniform"), `weight_floor` in [0, 0.5), `cluster_corruption` in [0, 1],
            `num_attention_heads`, and the attributes of `PrototypeBank`.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.floor, self.corruption = config.weight_floor, config.cluster_corruption
        self.bank = PrototypeBank(config)
        self.uniform = config.fusion_weights == "uniform"
        if not self.uniform:  # no parameter that would never receive a gradient
            self.raw_mixing = nn.Parameter(torch.empty(1))
            self.video_attention = PrototypeAttention(config)
            self.audio_attention = PrototypeAttention(config)
            self.reset_state()

    def reset_state(self) -> None:
        """Start with lambda = 0.5."""
        if not self.uniform:
            init.zeros_(self.raw_mixing)

    def mixing(self) -> Tensor | float:
        """lambda, the share of the Mahalanobis part: learned, or 0.5 in uniform mode."""
        return 0.5 if self.uniform else torch.sigmoid(self.raw_mixing.float())

    def forward(self, z_v: Tensor, z_a: Tensor, video_present: Tensor, audio_present: Tensor) -> Tensor:
        """Weigh the two modalities of each clip.

        Args:
            z_v, z_a: (B, P) unit norm.
            video_present, audio_present: (B,) bool.

        Returns:
            (B, 2) float32 [w_v, w_a] with sum 1 and no weight below `weight_floor`; 0.5 each before the warm-up and in
            uniform mode; exactly 0 for a missing modality and 1 for the other one (0, 0 if both are missing).
        """
        weights = torch.full((z_v.shape[0], 2), 0.5, device=z_v.device)
        if not self.uniform:
            scores = torch.stack(
                [self._score(0, self.video_attention, z_v), self._score(1, self.audio_attention, z_a)]
            )
            learned = self.floor + (1 - 2 * self.floor) * scores.T.softmax(dim=-1)
            weights = torch.where(self.bank.ready(), learned, weights)
        present = torch.stack([video_present, audio_present], dim=-1)
        return torch.where(present.all(dim=-1, keepdim=True), weights, present.to(weights.dtype))

    def _score(self, modality: int, attention: PrototypeAttention, points: Tensor) -> Tensor:
        prototypes = self.bank.prototypes[modality]
        prototypes = prototypes.clone() if self.training else prototypes
        distance = self.bank.distances(modality, points, self.mixing())
        return attention(points, prototypes, distance, self.bank.margin(modality, distance))

    def feature_distance(self, z_v: Tensor, z_a: Tensor, video_present: Tensor, audio_present: Tensor) -> Tensor:
        """Composite distance to the nearest prototype of any class, a sign of unfamiliar media.

        Args:
            As for `forward`.

        Returns:
            (B, 2) float32 [video, audio], at least 0; NaN for a missing modality or one without prototypes.
        """
        nearest = [self.bank.distances(m, z, self.mixing()).flatten(1).amin(dim=-1) for m, z in enumerate((z_v, z_a))]
        known = self.bank.counts.sum(dim=(1, 2)) > 0  # (M,)
        present = torch.stack([video_present, audio_present], dim=-1)
        return torch.where(present & known, torch.stack(nearest, dim=-1), float("nan"))

    @torch.no_grad()
    def update(
        self,
        z_v: Tensor,
        z_a: Tensor,
        video_labels: Tensor,
        audio_labels: Tensor,
        video_present: Tensor,
        audio_present: Tensor,
    ) -> None:
        """Feed this process's batch to the prototypes, in training, after `forward`; a collective call.

        Args:
            z_v, z_a: (B, P) unit norm, of this process only.
            video_labels, audio_labels: (B,), 0 real, 1 fake, -100 unknown.
            video_present, audio_present: (B,) bool.
        """
        if not self.training:
            return
        present = torch.stack([video_present, audio_present], dim=-1)
        labels = torch.where(present, torch.stack([video_labels, audio_labels], dim=-1), -100)
        labels = self._corrupt(labels)  # before the exchange: the draws of the processes differ
        rows = gather_rows(torch.cat([z_v.float(), z_a.float(), labels.float()], dim=-1))
        width = z_v.shape[-1]
        points = torch.stack([rows[:, :width], rows[:, width : 2 * width]])
        self.bank.update(points, rows[:, -2:].T.round().long())

    def _corrupt(self, labels: Tensor) -> Tensor:
        if self.corruption <= 0:
            return labels
        swap = (torch.rand(labels.shape, device=labels.device) < self.corruption) & (labels >= 0)
        return torch.where(swap, 1 - labels, labels)
