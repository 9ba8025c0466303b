"""What `MACBDFTrainer` refuses at the start, and what its processes exchange besides gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers import Trainer

from .arguments import MACBDFTrainingArguments

_METHODS = ("encode", "forward_from_scales", "encoder_parameters")


def check_arguments(args: MACBDFTrainingArguments | None, kwargs: dict[str, Any]) -> MACBDFTrainingArguments:
    """The arguments, or ValueError where they ask for what gradients per objective cannot give."""
    if not isinstance(args, MACBDFTrainingArguments):
        raise ValueError(f"args must be MACBDFTrainingArguments, but got {type(args).__name__}.")
    for name in ("fsdp", "deepspeed", "parallelism_config"):
        if getattr(args, name):
            raise _refused(name, getattr(args, name))
    if args.label_smoothing_factor:
        raise ValueError(f"label_smoothing_factor must be 0, but got {args.label_smoothing_factor}.")
    if kwargs.get("compute_loss_func") is not None:
        raise ValueError("compute_loss_func must be None: the model computes one loss per objective, but got one.")
    return args


def check_backend(trainer: Trainer) -> None:
    """ValueError where the launcher set up a backend in which no process holds whole gradients."""
    for name in ("is_fsdp_enabled", "is_deepspeed_enabled", "is_distributed_loading_by_transformers"):
        if getattr(trainer, name, False):
            raise _refused(name.removeprefix("is_").removesuffix("_enabled"), True)
    if trainer.args.n_gpu > 1:
        raise ValueError(
            f"n_gpu must be at most 1 per process, but got {trainer.args.n_gpu}: DataParallel sums gradients before "
            "they can be told apart. Start one process per GPU: accelerate launch train_accelerate.py"
        )


def check_model(model: nn.Module) -> None:
    """ValueError where a model lacks what `MACBDFTrainer` calls."""
    missing = [name for name in _METHODS if not callable(getattr(model, name, None))]
    if missing:
        raise ValueError(
            f"model must have the methods {_METHODS}, but {type(model).__name__} lacks {missing}; only "
            "gradient_route='joint' trains any model."
        )


def broadcast_buffers(model: nn.Module) -> None:
    """Gives every process the first one's buffers, as DDP does: statistics of batches differ between processes."""
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}
    for buffer in model.buffers():
        by_type.setdefault(buffer.dtype, []).append(buffer)
    for buffers in by_type.values():
        flat = torch.cat([buffer.detach().reshape(-1) for buffer in buffers])
        dist.broadcast(flat, src=0)
        for buffer, value in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(value.view_as(buffer))


def mean_row(row: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean over processes of each value; every process has the same names."""
    values = torch.tensor(list(row.values()), device=device)
    dist.all_reduce(values)
    return dict(zip(row, (values / dist.get_world_size()).tolist(), strict=True))


def _refused(name: str, value: object) -> ValueError:
    return ValueError(
        f"{name} must be off with MACBDFTrainer, but got {value!r}: its processes hold shards of the gradients, and "
        "the conflict between objectives is a matter of whole gradients. Plain data parallelism (DDP) works."
    )
