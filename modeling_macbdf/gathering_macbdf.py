"""What the model exchanges between processes in training: rows with their gradient, and counts.

Letters: B local rows, C columns, W processes. Every function is a collective call, made by all processes alike,
and does nothing without torch.distributed. No formula of arXiv 2505.12966 is involved.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all processes in the order of their ranks.

    Args:
        rows: (B, C); B may differ between processes, and be 0.

    Returns:
        (sum of B, C), the same on all processes. The local gradient comes back multiplied by W: right after the
        usual average over processes, provided that every process computes the same loss from the result.
    """
    if world_size() == 1:
        return rows
    size = torch.tensor([rows.shape[0]], device=rows.device)
    sizes = [torch.zeros_like(size) for _ in range(world_size())]
    dist.all_gather(sizes, size)
    return _GatherRows.apply(rows, [int(count) for count in sizes])


class _GatherRows(torch.autograd.Function):
    """Backward takes the local slice times W, without communication: all processes hold the same loss.

    So it may run twice, or not at all on one process, and no other process waits.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.start, ctx.count = sum(sizes[: dist.get_rank()]), rows.shape[0]
        padded = F.pad(rows, (0, 0, 0, max(sizes) - rows.shape[0])).contiguous()  # collectives want equal shapes
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.start : ctx.start + ctx.count] * world_size(), None


def mean_over_processes(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each 0-dim count over processes, as one message.

    A sum over local items divided by this mean, then averaged over processes, is the mean over all items.
    """
    if world_size() == 1:
        return counts
    packed = torch.stack([count.float() for count in counts.values()])
    dist.all_reduce(packed)
    return dict(zip(counts, packed / world_size(), strict=True))
