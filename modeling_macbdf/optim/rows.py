"""Arithmetic on gradients held tensor by tensor: sums, inner products in float64, means over processes."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor

# One objective's gradient, tensor by tensor, in the order of its parameters; None where it does not reach.
Row: TypeAlias = list[Tensor | None]

# Elements turned to float64 at a time: what stays in a CPU's cache, and few launches elsewhere.
_CPU_CHUNK, _DEVICE_CHUNK = 1 << 17, 1 << 24
_CANCELLED = 1e-2  # |g| / sum_k |w_k| |g_k| below which a float32 sum loses the direction


def reaches(row: Row) -> bool:
    """Whether the objective reaches any of the row's parameters."""
    return any(grad is not None for grad in row)


def summed(first: Row, second: Row) -> Row:
    """The sum of two rows. Autograd may hand out shared or expanded tensors, so nothing is added in place."""
    return [b if a is None else a if b is None else a + b for a, b in zip(first, second, strict=True)]


def all_finite(row: Row) -> bool:
    """Whether no gradient of the row is NaN or infinite; one device synchronisation."""
    checks = [torch.isfinite(grad).all() for grad in row if grad is not None]
    return bool(torch.stack(checks).all()) if checks else True


def all_zero(row: Row) -> bool:
    """Whether every gradient of the row is exactly zero; NaN is not."""
    return not any(bool(grad.any()) for grad in row if grad is not None)


def gram_matrix(rows: Sequence[Row]) -> Tensor:
    """Inner products (K, K), float64 on the CPU, of K gradients; None counts as zero."""
    blocks: dict[tuple[int, ...], Tensor] = {}
    for grads in zip(*rows, strict=True):
        known = tuple(index for index, grad in enumerate(grads) if grad is not None)
        if known:
            block = _products([grad.detach().reshape(-1) for grad in grads if grad is not None])
            blocks[known] = blocks[known] + block if known in blocks else block
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for known, block in blocks.items():
        gram[torch.tensor(known)[:, None], torch.tensor(known)] += block.cpu()
    return gram


def _products(vectors: list[Tensor]) -> Tensor:
    size, device = len(vectors[0]), _float64_device(vectors[0].device)
    step = min(size, _CPU_CHUNK if device.type == "cpu" else _DEVICE_CHUNK)
    total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=device)
    buffer = torch.empty(len(vectors), step, dtype=torch.float64, device=device)
    for start in range(0, size, max(step, 1)):
        chunk = buffer[:, : min(step, size - start)]
        for row, vector in zip(chunk, vectors, strict=True):
            row.copy_(vector[start : start + step])
        total += chunk @ chunk.T
    return total


def _float64_device(device: torch.device) -> torch.device:
    """Where float64 exists: Apple's MPS has none."""
    return torch.device("cpu") if device.type == "mps" else device


def combined(rows: Sequence[Row], weights: Tensor, gram: Tensor) -> Row:
    """sum_k weights[k] * rows[k]; through float64 where the weighted gradients nearly cancel.

    Args:
        rows: K gradients.
        weights (`Tensor`): (K,) float64.
        gram (`Tensor`): (K, K) their inner products.
    """
    length = (weights @ gram @ weights).clamp(min=0.0).sqrt()
    through_double = bool(length < _CANCELLED * (weights.abs() @ gram.diagonal().sqrt()))
    return [_weighted(grads, weights.tolist(), through_double) for grads in zip(*rows, strict=True)]


def _weighted(grads: Sequence[Tensor | None], weights: list[float], through_double: bool) -> Tensor | None:
    total, like = None, None
    for grad, weight in zip(grads, weights, strict=True):
        if grad is not None:
            like = grad
            term = grad.to(_float64_device(grad.device), torch.float64) if through_double else grad
            total = term * weight if total is None else total.add_(term, alpha=weight)
    return None if total is None or like is None else total.to(like)


def add_to_grad(parameters: Sequence[Tensor], grads: Row) -> None:
    """Adds a gradient to `.grad`, as `backward` does. Autograd may hand out shared tensors, so a copy is kept."""
    for parameter, grad in zip(parameters, grads, strict=True):
        if grad is not None:
            own = grad.clone(memory_format=torch.contiguous_format)
            parameter.grad = own if parameter.grad is None else own.add_(parameter.grad)


def all_reduce_mean(rows: Iterable[Row], parameters: Iterable[Sequence[Tensor]]) -> None:
    """Replaces rows by their mean over the default process group: one all-reduce per floating type.

    A gradient that is None on every process stays None, so that the optimizer leaves its parameter alone as it does
    on one process; None on some of the processes counts as zero there.

    Args:
        rows: changed in place, with the same layout on every process.
        parameters: the parameters of each row, for the shapes where a gradient is None.
    """
    slots: dict[torch.dtype, list[tuple[Row, int, Tensor]]] = {}
    for row, tensors in zip(rows, parameters, strict=True):
        for index, tensor in enumerate(tensors):
            slots.setdefault(tensor.dtype, []).append((row, index, tensor))
    for same_type in slots.values():
        _all_reduce_slots(same_type)


def _all_reduce_slots(slots: list[tuple[Row, int, Tensor]]) -> None:
    known = [row[index] is not None for row, index, _ in slots]
    pieces = [_flat_or_zeros(row[index], tensor) for row, index, tensor in slots]
    flags = torch.tensor(known, dtype=pieces[0].dtype, device=pieces[0].device)
    flat = torch.cat([*pieces, flags])
    del pieces
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    values = flat.split([tensor.numel() for _, _, tensor in slots] + [len(slots)])
    for (row, index, tensor), value, used in zip(slots, values[:-1], values[-1].tolist(), strict=True):
        row[index] = value.view(tensor.shape) if used > 0 else None


def _flat_or_zeros(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like).reshape(-1) if grad is None else grad.reshape(-1)
