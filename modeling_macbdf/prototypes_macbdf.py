"""The clusters of real and fake clips in each modality: prototypes, shrunk covariances, distances.

Source: arXiv 2505.12966, Mechanism 2 (composite distance, Mahalanobis + cosine, to cluster centres). The paper gives
neither the formula nor the estimator; both are [our reading].

Letters: B clips, M = 2 modalities (video, audio), C = 2 classes (real, fake), K prototypes a class, P projection
width. All of the arithmetic is in float32, autocast or not.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import initialization as init
from transformers.utils.generic import maybe_autocast

from .state_macbdf import Float32State

_EIGENVALUE_FLOOR = 1e-3  # of 1 / P, the variance per axis of directions drawn at random
_SOFTNESS = 0.25  # of the minimum over a class's prototypes, in units of the composite distance
_APART = 1e-3  # a sample nearer than this to a prototype founds no new one


def mahalanobis(points: Tensor, centres: Tensor, whitening: Tensor) -> Tensor:
    """Mahalanobis distance sqrt((x - c)^T Sigma^-1 (x - c)).

    Args:
        points: (B, P). centres: (..., K, P).
        whitening: (..., P, P), inverse Cholesky factor of each Sigma, L^-1 with L L^T = Sigma.

    Returns:
        (B, ..., K).
    """
    points = points.view(points.shape[0], *[1] * (centres.dim() - 1), points.shape[-1])
    # einsum keeps one product per covariance; a broadcast matmul would copy each covariance B times.
    return torch.linalg.vector_norm(torch.einsum("b...kp,...qp->b...kq", points - centres, whitening), dim=-1)


def composite_distance(points: Tensor, centres: Tensor, whitening: Tensor, mixing: Tensor | float) -> Tensor:
    """lambda * mahalanobis / sqrt(P) + (1 - lambda) * (1 - cosine).

    Args:
        points: (B, P). centres: (..., K, P). whitening: (..., P, P).
        mixing: lambda in [0, 1].

    Returns:
        (B, ..., K), at least 0.
    """
    spread = mahalanobis(points, centres, whitening) / math.sqrt(points.shape[-1])
    cosine = F.normalize(points, dim=-1) @ F.normalize(centres, dim=-1).flatten(0, -2).T
    return mixing * spread + (1 - mixing) * (1 - cosine.view_as(spread))


def shrunk_covariance(covariance: Tensor, count: Tensor) -> Tensor:
    """Oracle Approximating Shrinkage (Chen et al. 2010, in scikit-learn's form) plus a floor under the eigenvalues.

    The floor bounds mahalanobis / sqrt(P) by 32 times the Euclidean distance, even for a collapsed cluster.

    Args:
        covariance: (..., P, P) maximum-likelihood covariance.
        count: (...) samples that it rests on.

    Returns:
        (..., P, P) positive definite, even for one sample.
    """
    width = covariance.shape[-1]
    identity = torch.eye(width, dtype=covariance.dtype, device=covariance.device)
    mean = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[..., None, None]  # of the eigenvalues
    power = covariance.square().mean(dim=(-2, -1), keepdim=True)
    scatter = (count[..., None, None] + 1) * (power - mean.square() / width)
    share = ((power + mean.square()) / scatter.clamp(min=1e-30)).clamp(max=1.0)
    return (1 - share) * covariance + (share * mean + _EIGENVALUE_FLOOR / width) * identity


class PrototypeBank(Float32State):
    """Moving averages of the clusters: K prototypes and one within-class covariance per modality and class.

    Each sample weighs 1 - `prototype_momentum` against the past, or as much as each sample before it while they are
    few: up to there, prototype and covariance are the plain mean and covariance of all samples seen.

    Args:
        config: `projection_size` P, `num_prototypes` K, `prototype_momentum` per sample, `prototype_warmup` in samples
            of each modality and class.
    """

    prototypes: Tensor  # (M, C, K, P)
    counts: Tensor  # (M, C, K) samples seen
    covariance: Tensor  # (M, C, P, P) within the class, not shrunk
    whitening: Tensor  # (M, C, P, P) inverse Cholesky factor of the shrunk covariance

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, number = config.projection_size, config.num_prototypes
        self.momentum, self.warmup = config.prototype_momentum, config.prototype_warmup
        self.register_buffer("prototypes", torch.empty(2, 2, number, width, dtype=torch.float32))
        self.register_buffer("counts", torch.empty(2, 2, number, dtype=torch.long))
        for name in ("covariance", "whitening"):
            self.register_buffer(name, torch.empty(2, 2, width, width, dtype=torch.float32))
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all samples; the spread is then that of directions drawn at random, I / P."""
        width = self.prototypes.shape[-1]
        for buffer in (self.prototypes, self.counts, self.covariance):
            init.zeros_(buffer)
        init.copy_(self.whitening, (math.sqrt(width) * torch.eye(width)).expand(2, 2, -1, -1))

    def ready(self) -> Tensor:
        """0-dim bool: every modality has seen `prototype_warmup` samples of both classes."""
        return (self.counts.sum(dim=-1) >= max(self.warmup, 1)).all()

    def distances(self, modality: int, points: Tensor, mixing: Tensor | float) -> Tensor:
        """Composite distance of (B, P) to each prototype of one modality, (B, C, K); large where unused."""
        # In training `update` writes in place before the backward pass: work on a copy.
        centres, whitening = self.prototypes[modality], self.whitening[modality]
        if self.training:
            centres, whitening = centres.clone(), whitening.clone()
        with maybe_autocast(points.device.type, enabled=False):
            distance = composite_distance(points.float(), centres, whitening, mixing)
        return distance.masked_fill(self.counts[modality] == 0, 1e4)

    def margin(self, modality: int, distance: Tensor) -> Tensor:
        """Gap (B,) between the distances to the two classes, from those to their prototypes (B, C, K).

        A class is as near as its nearest prototype, each moved away by its rarity: a soft minimum of d with the
        prototypes' shares as weights. A few swapped labels that found a prototype of their own then cannot make the
        classes look alike. With K = 1 it is the plain distance.
        """
        number = self.counts[modality].to(distance.dtype)  # (C, K)
        share = number / number.sum(dim=-1, keepdim=True).clamp(min=1)
        near = -_SOFTNESS * (share.clamp(min=1e-6).log() - distance / _SOFTNESS).logsumexp(dim=-1)  # (B, C)
        return (near[:, 0] - near[:, 1]).abs()

    @torch.no_grad()
    def update(self, points: Tensor, labels: Tensor) -> None:
        """Move the prototypes towards new samples.

        Args:
            points: (M, B, P) unit norm, of all processes.
            labels: (M, B), 0 or 1; any other value = not a sample.
        """
        points = points.float()
        labels = torch.where(torch.isfinite(points).all(dim=-1), labels, -100)
        member = torch.stack([labels == 0, labels == 1], dim=1)  # (M, C, B)
        if member.shape[-1] == 0:
            return
        samples = torch.where(member.any(dim=1).unsqueeze(-1), points, 0.0).unsqueeze(1)  # (M, 1, B, P)
        with maybe_autocast(points.device.type, enabled=False):
            centres, used = self._seeded(samples, member)
            nearest = _gaps(samples, centres, used).argmin(dim=-1)  # (M, C, B)
            share = F.one_hot(nearest, used.shape[-1]) * member.unsqueeze(-1).float()  # (M, C, B, K)
            self._absorb(samples, share, centres)
            self._refresh(member.any(dim=-1))

    def _seeded(self, samples: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        """Prototypes (M, C, K, P), the unused ones placed one by one on the sample farthest from those in use."""
        centres, used = self.prototypes.clone(), self.counts > 0
        for k in range(used.shape[-1]):
            reach = _gaps(samples, centres, used).amin(dim=-1).masked_fill(~member, 0.0)  # (M, C, B)
            distance, index = reach.max(dim=-1)  # (M, C)
            chosen = samples.squeeze(1).gather(1, index.unsqueeze(-1).expand(-1, -1, samples.shape[-1]))  # (M, C, P)
            fresh = ~used[..., k] & (distance > _APART)
            centres[:, :, k] = torch.where(fresh.unsqueeze(-1), chosen, centres[:, :, k])
            used[:, :, k] |= fresh
        return centres, used

    def _absorb(self, samples: Tensor, share: Tensor, centres: Tensor) -> None:
        """Merge the batch's means and scatter into the past ones (the pairwise formula of Chan et al. 1979)."""
        number = share.sum(dim=2)  # (M, C, K)
        mean = share.mT @ samples / number.clamp(min=1).unsqueeze(-1)  # (M, C, K, P)
        step = self._step(number, self.counts).unsqueeze(-1)
        shift = mean - centres
        residual = (samples - share @ mean) * share.sum(dim=-1, keepdim=True)  # (M, C, B, P)
        between = shift * ((1 - step) * number.unsqueeze(-1)).sqrt()
        total = number.sum(dim=-1)
        scatter = (residual.mT @ residual + between.mT @ between) / total.clamp(min=1)[..., None, None]
        class_step = self._step(total, self.counts.sum(dim=-1))[..., None, None]
        self.covariance.copy_((1 - class_step) * self.covariance + class_step * scatter)
        self.prototypes.copy_(centres + step * shift)
        self.counts.add_(number.long())

    def _step(self, number: Tensor, seen: Tensor) -> Tensor:
        """Weight of `number` new samples against `seen` ones, 0 where there are none."""
        return torch.maximum(1 - self.momentum**number, number / (seen + number).clamp(min=1))

    def _refresh(self, touched: Tensor) -> None:
        """Recompute the whitening of the classes touched: factored here, so that a forward is only a product."""
        memory = (1 + self.momentum) / max(1 - self.momentum, 1e-6)  # samples that a moving average is worth
        count = self.counts.sum(dim=-1).float().clamp(max=memory)
        factor, failed = torch.linalg.cholesky_ex(shrunk_covariance(self.covariance, count))
        identity = torch.eye(factor.shape[-1], device=factor.device).expand_as(factor)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        good = (touched & (failed == 0) & torch.isfinite(inverse).all(dim=-1).all(dim=-1))[..., None, None]
        self.whitening.copy_(torch.where(good, inverse, self.whitening))


def _gaps(samples: Tensor, centres: Tensor, used: Tensor) -> Tensor:
    """Euclidean distance (M, C, B, K), beyond reach where a prototype is unused; exact, so that twins stay at 0."""
    points = samples.expand(-1, centres.shape[1], -1, -1)
    gaps = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist")
    return gaps.masked_fill(~used.unsqueeze(2), 10.0)
