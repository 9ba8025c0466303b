"""Rules that turn K objectives' gradients into one direction, seen only through their Gram matrix.

K objectives. Every rule is one function: Gram matrix (K, K) -> weights (K,) on the original gradients, so that the
direction is g = sum_k weights[k] * g_k. No model, no trainer and no modality is known here; torch is an array library.
Everything is float64: a float32 Gram is wrong by an order of magnitude near antiparallel gradients.

Sources: OM-Pareto, "Multiscale Adaptive Conflict-Balancing Model For Multimedia Deepfake Detection" (arXiv
2505.12966); MMPareto (arXiv 2405.17730); MGDA (Désidéri 2012); PCGrad (arXiv 2001.06782).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from .minnorm import checked_gram, cosine_matrix, min_norm_weights, require

# Below this |d| / sum_k alpha_k |g_k| the min-norm point is rounding noise of float32 gradients: no common descent.
STATIONARY = 1e-6


@dataclass(frozen=True)
class Resolution:
    """What a rule decided for one group of shared parameters.

    Attributes:
        weights (`Tensor`): (K,) float64, CPU. The direction is `sum_k weights[k] * g_k`.
        cosines (`Tensor`): (K, K) cosines between the gradients; 0 where a gradient is zero.
        alpha (`Tensor`): (K,) the point of the simplex the rule started from; equal shares where it used none.
        amplification (`float`): factor applied to the direction's length, at least 1 where the rule amplifies.
        conflict (`bool`): whether any two gradients have a negative inner product.
        stationary (`bool`): the gradients admit no common descent direction; the weights are zero.
        finite (`bool`): False where a gradient is NaN or infinite. The weights are then all 1 and the caller skips
            the step (or lets a gradient scaler see the plain sum and skip it).
    """

    weights: Tensor
    cosines: Tensor
    alpha: Tensor
    amplification: float = 1.0
    conflict: bool = False
    stationary: bool = False
    finite: bool = True

    @property
    def present(self) -> int:
        """How many objectives have a gradient that is not zero."""
        return int((self.cosines.diagonal() != 0).sum())

    @property
    def min_cosine(self) -> float:
        """The smallest cosine between two objectives that have a gradient; 1.0 where there is only one."""
        there = self.cosines.diagonal() != 0
        off_diagonal = self.cosines[there][:, there][~torch.eye(self.present, dtype=torch.bool)]
        return float(off_diagonal.min()) if self.present > 1 else 1.0


class Rule(ABC):
    """Gram matrix (K, K) -> `Resolution`. Zero gradients are set aside: they leave the others' direction alone."""

    def __call__(self, gram: Tensor) -> Resolution:
        """Resolves one group's gradients.

        Args:
            gram (`Tensor`): (K, K) inner products of the K gradients, K >= 1, any device and floating type.

        Raises:
            ValueError: `gram` is not a square matrix.
        """
        gram = checked_gram(gram)
        size = len(gram)
        equal = torch.full((size,), 1.0 / size, dtype=torch.float64)
        if not torch.isfinite(gram).all():
            nan = torch.full_like(gram, torch.nan)
            return Resolution(torch.ones_like(equal), nan, equal, finite=False)
        present = gram.diagonal() > 0
        if not present.any():
            return Resolution(torch.zeros_like(equal), torch.zeros_like(gram), equal)
        return _scattered(self._resolve(gram[present][:, present]), present)

    @abstractmethod
    def _resolve(self, gram: Tensor) -> Resolution:
        """Resolves a finite Gram matrix with a positive diagonal."""


@dataclass(frozen=True)
class PlainSum(Rule):
    """g = sum_k g_k, what one `backward` on the summed loss gives: the baseline every other rule must beat."""

    def _resolve(self, gram: Tensor) -> Resolution:
        return plain_resolution(gram)


@dataclass(frozen=True)
class OMPareto(Rule):
    """OM-Pareto: equal integration without conflict, orthogonalized min-norm direction with it.

    No two gradients oppose each other: g = gamma * sum_k g_k. Otherwise, with alpha the min-norm point of the simplex,
    c_kj the cosines and P present objectives,

        g_k' = g_k - sum_{j: c_kj < 0} rho_kj (<g_k, g_j> / |g_j|^2) g_j,   rho_kj = rho_max |c_kj|
        g = P sum_k alpha_k g_k',   then   g <- gamma * min(max_amplification, max(1, |sum_k g_k| / |g|)) * g

    (arXiv 2505.12966, "orthogonal regularization adjusted based on gradient directional similarity"; the formula is
    our reading, and so is its form for more than two objectives.)

    **<g, g_k> >= 0 for every k, always.** d = sum_k alpha_k g_k is the min-norm point, so <d, g_k> >= |d|^2 >= 0.
    Two objectives with <g_0, g_1> < 0, rho = rho_max |c| <= 1: <g_0', g_0> = |g_0|^2 (1 - rho c^2) and
    <g_1', g_0> = <g_0, g_1> (1 - rho), hence
    <g, g_0> = 2 [alpha_0 |g_0|^2 (1 - rho c^2) + alpha_1 <g_0, g_1> (1 - rho)] >= 2 (1 - rho) <d, g_0> >= 0,
    and the same for g_1. For more objectives this does not hold of itself, so g becomes (1 - t) P d + t g with the
    largest t in [0, 1] at which no inner product is negative: they are linear in t and not negative at t = 0, so such
    a t exists. A positive rescale changes no sign.

    Args:
        rho_max (`float`, defaults to 1.0): strength of the orthogonalization at opposite gradients, in [0, 1].
        gamma (`float`, defaults to 1.0): constant amplification, at least 1. It scales the noise of an SGD step, does
            nothing under Adam-like optimizers, and is cancelled by norm clipping where that is active.
        max_amplification (`float`, defaults to 5.0): bound on |sum| / |g|. Unbounded it reaches 17 at cosine -0.1 and
            a norm ratio of 34, and infinity where the gradients cancel.

    Example:
        >>> gram = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
        >>> OMPareto()(gram).weights  # alpha = (1/2, 1/2), rho = 1/2: g_0 + g_0/4 + g_1 + g_1/4
        tensor([1.2500, 1.2500], dtype=torch.float64)
    """

    rho_max: float = 1.0
    gamma: float = 1.0
    max_amplification: float = 5.0

    def __post_init__(self) -> None:
        require(0.0 <= self.rho_max <= 1.0, "rho_max", "in [0, 1]", self.rho_max)
        require(isfinite(self.gamma) and self.gamma >= 1.0, "gamma", "finite and at least 1", self.gamma)
        require(self.max_amplification >= 1.0, "max_amplification", "at least 1", self.max_amplification)

    def _resolve(self, gram: Tensor) -> Resolution:
        if not any_conflict(gram):
            return plain_resolution(gram, self.gamma)
        alpha = min_norm_weights(gram)
        if _is_stationary(gram, alpha):
            return _stationary(gram, alpha)
        size = len(gram)
        weights = size * (alpha @ _orthogonalization(gram, self.rho_max))
        weights = _kept_descending(gram, size * alpha, weights)
        return _amplified(gram, alpha, weights, self.gamma, self.max_amplification)


def _orthogonalization(gram: Tensor, rho_max: float) -> Tensor:
    """(K, K) matrix whose row k writes g_k' in the original gradients; no entry is negative.

    -rho_kj <g_k, g_j> / |g_j|^2 = rho_max c_kj^2 |g_k| / |g_j| where c_kj < 0.
    """
    norms = gram.diagonal().sqrt()
    opposed = cosine_matrix(gram).clamp(max=0.0)
    return torch.eye(len(gram), dtype=torch.float64) + rho_max * opposed.square() * norms[:, None] / norms[None, :]


def _kept_descending(gram: Tensor, safe: Tensor, wanted: Tensor) -> Tensor:
    """The weights nearest to `wanted` on the segment from `safe` whose direction opposes no objective."""
    products, safe_products = gram @ wanted, (gram @ safe).clamp(min=0.0)
    opposed = products < 0
    if not opposed.any():
        return wanted
    share = float((safe_products[opposed] / (safe_products[opposed] - products[opposed])).min())
    return (1.0 - share) * safe + share * wanted


def _amplified(gram: Tensor, alpha: Tensor, weights: Tensor, gamma: float, cap: float) -> Resolution:
    length, plain = _length(gram, weights), _length(gram, torch.ones_like(weights))
    if length == 0.0:
        return _stationary(gram, alpha)
    amplification = min(cap, max(1.0, plain / length))
    return Resolution(
        gamma * amplification * weights, cosine_matrix(gram), alpha, gamma * amplification, conflict=True
    )


def plain_resolution(gram: Tensor, gamma: float = 1.0) -> Resolution:
    weights = torch.full((len(gram),), float(gamma), dtype=torch.float64)
    return Resolution(weights, cosine_matrix(gram), torch.full_like(weights, 1 / len(gram)), gamma, any_conflict(gram))


def _stationary(gram: Tensor, alpha: Tensor) -> Resolution:
    return Resolution(torch.zeros_like(alpha), cosine_matrix(gram), alpha, conflict=True, stationary=True)


def _is_stationary(gram: Tensor, alpha: Tensor) -> bool:
    return _length(gram, alpha) <= STATIONARY * float(alpha @ gram.diagonal().sqrt())


def any_conflict(gram: Tensor) -> bool:
    return bool((gram < 0).any())


def _length(gram: Tensor, weights: Tensor) -> float:
    return float((weights @ gram @ weights).clamp(min=0.0).sqrt())


def _scattered(found: Resolution, present: Tensor) -> Resolution:
    """The resolution of the present objectives, with zeros for the absent ones."""
    if present.all():
        return found
    weights, alpha = present.double(), present.double()
    weights[present], alpha[present] = found.weights, found.alpha
    cosines = torch.zeros(len(present), len(present), dtype=torch.float64)
    cosines[present.nonzero(), present.nonzero().T] = found.cosines
    return Resolution(weights, cosines, alpha, found.amplification, found.conflict, found.stationary)
