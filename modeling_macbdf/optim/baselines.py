"""The rules that OM-Pareto is compared with, behind the same interface: `MMPareto`, `MGDA` and `PCGrad`."""

from dataclasses import dataclass
from itertools import permutations
from math import inf, isfinite

import torch
from torch import Tensor

from .minnorm import cosine_matrix, min_norm_weights, require
from .pareto import OMPareto, Resolution, Rule, any_conflict

_PCGRAD_MAX_OBJECTIVES = 6


@dataclass(frozen=True)
class MMPareto(Rule):
    """MMPareto (arXiv 2405.17730): P times the min-norm point in conflict, rescaled to at least the sum's length.

    Differs from the authors' code in three ways: one Gram matrix and one rescale per group (theirs rescales every
    tensor by its own factor, which breaks common descent), float64, and zero weights where the gradients cancel
    (theirs divides by zero).

    Args:
        gamma (`float`, defaults to 1.5): constant amplification, at least 1; 1.5 is the authors' value.
    """

    gamma: float = 1.5

    def __post_init__(self) -> None:
        require(isfinite(self.gamma) and self.gamma >= 1.0, "gamma", "finite and at least 1", self.gamma)

    def _resolve(self, gram: Tensor) -> Resolution:
        return OMPareto(rho_max=0.0, gamma=self.gamma, max_amplification=inf)._resolve(gram)


@dataclass(frozen=True)
class MGDA(Rule):
    """MGDA (Désidéri 2012; Sener & Koltun 2018): the min-norm point itself, whether or not anything conflicts."""

    def _resolve(self, gram: Tensor) -> Resolution:
        alpha = min_norm_weights(gram)
        return Resolution(alpha, cosine_matrix(gram), alpha, conflict=any_conflict(gram))


@dataclass(frozen=True)
class PCGrad(Rule):
    """PCGrad (arXiv 2001.06782, algorithm 1): each gradient loses its conflicting projections, then the sum.

    Differs from the paper for more than two objectives: the mean over all projection orders instead of one random
    order, so that every process decides alike. That limits it to six objectives. It may oppose an objective there.
    """

    def _resolve(self, gram: Tensor) -> Resolution:
        size = len(gram)
        require(
            size <= _PCGRAD_MAX_OBJECTIVES, "gram", f"at most {_PCGRAD_MAX_OBJECTIVES} objectives for PCGrad", size
        )
        weights = torch.stack([_projected(gram, objective) for objective in range(size)]).sum(0)
        return Resolution(
            weights, cosine_matrix(gram), torch.full_like(weights, 1.0 / size), conflict=any_conflict(gram)
        )


def _projected(gram: Tensor, objective: int) -> Tensor:
    others = [index for index in range(len(gram)) if index != objective]
    orders = list(permutations(others))
    total = torch.zeros(len(gram), dtype=torch.float64)
    for order in orders:
        weights = torch.zeros_like(total)
        weights[objective] = 1.0
        for other in order:
            inner = float(weights @ gram[:, other])
            weights[other] -= min(0.0, inner) / float(gram[other, other])
        total += weights
    return total / len(orders)
