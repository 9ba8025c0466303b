"""The shortest vector in the convex hull of K gradients, from their Gram matrix (K, K) alone, in float64."""

from math import inf

import torch
from torch import Tensor

# Added to the unit diagonal of the cosine matrix, so that linearly dependent gradients still have one solution.
RIDGE = 1e-13


def min_norm_weights(gram: Tensor) -> Tensor:
    """Simplex weights (K,) of the shortest vector in the convex hull of the gradients.

    Closed form for two. Beyond, alpha = x / sum(x) with x >= 0, G x >= 1 and equality on the support of x: an active
    set (Lawson & Hanson 1974, chapter 23) on the cosine matrix, where norm ratios of 1e6 do no harm. A zero gradient
    is itself the shortest vector, so the zero gradients share the weight.

    Args:
        gram (`Tensor`): (K, K) finite inner products.

    Raises:
        ValueError: `gram` is not a square matrix, or not finite.
    """
    gram = checked_gram(gram)
    require(bool(torch.isfinite(gram).all()), "gram", "finite", gram.tolist())
    zero = gram.diagonal() <= 0
    if zero.any():
        return zero.double() / zero.sum()
    return _min_norm_of_two(gram) if len(gram) == 2 else _min_norm_of_many(gram)


def _min_norm_of_two(gram: Tensor) -> Tensor:
    (first, inner), (_, second) = gram.tolist()
    distance = first + second - 2.0 * inner  # |g_0 - g_1|^2
    if distance <= 0.0:
        return torch.full((2,), 0.5, dtype=torch.float64)
    # Each share by itself: 1 - share would lose the small one at large norm ratios.
    shares = [max(0.0, second - inner), max(0.0, first - inner)]
    return torch.tensor(shares, dtype=torch.float64) / sum(shares)


def _min_norm_of_many(gram: Tensor) -> Tensor:
    norms = gram.diagonal().sqrt()
    cosines = cosine_matrix(gram) + RIDGE * torch.eye(len(gram), dtype=torch.float64)
    scaled = _nonnegative_solution(cosines, norms.min() / norms)
    weights = scaled / norms
    return weights / weights.sum()


def _nonnegative_solution(matrix: Tensor, target: Tensor) -> Tensor:
    """Minimizes x' matrix x / 2 - target' x over x >= 0 for a positive definite matrix (K, K); target > 0."""
    size = len(target)
    solution, free = torch.zeros_like(target), torch.zeros(size, dtype=torch.bool)
    for _ in range(3 * size):
        slack = (target - matrix @ solution).masked_fill(free, -inf)
        if slack.max() <= 1e-12 * max(1.0, float(solution.max())):
            break
        free[slack.argmax()] = True
        trial = _solved_on(matrix, target, free)
        while (trial[free] <= 0).any():  # walk towards the trial until a weight reaches zero, and fix that one there
            blocked = free & (trial <= 0)
            steps = torch.where(blocked, solution / (solution - trial), inf)
            solution = solution + steps.min() * (trial - solution)
            free = free & ~(blocked & (steps <= steps.min()))
            solution = torch.where(free, solution, 0.0)
            trial = _solved_on(matrix, target, free)
        solution = trial
    return solution


def _solved_on(matrix: Tensor, target: Tensor, free: Tensor) -> Tensor:
    solution = torch.zeros_like(target)
    if free.any():
        solution[free] = torch.linalg.solve(matrix[free][:, free], target[free])
    return solution


def cosine_matrix(gram: Tensor) -> Tensor:
    norms = gram.diagonal().sqrt()
    return (gram / norms[:, None] / norms[None, :]).clamp(-1.0, 1.0)


def checked_gram(gram: Tensor) -> Tensor:
    square = gram.ndim == 2 and gram.shape[0] == gram.shape[1] and gram.shape[0] > 0
    require(square, "gram", "a square matrix (K, K) with K >= 1", tuple(gram.shape))
    gram = gram.detach().to("cpu", torch.float64)
    return (gram + gram.T) / 2


def require(holds: bool, argument: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{argument} must be {rule}, but got {value!r}.")
