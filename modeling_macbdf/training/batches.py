"""Batches of one step: shared among processes to the last sample, and what their losses average over.

Accelerate pads an odd last batch with samples seen before, or gives some processes a batch less. Here every global
batch is dealt out evenly, whatever its size, so that any number of processes computes what one process computes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from ..gathering_macbdf import mean_over_processes
from ..losses_macbdf import IGNORED, Targets, loss_counts, resolve_targets

_KEPT = ("num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor")


class SharedBatches(BatchSampler):
    """Deals each global batch out to the processes: sizes differ by one at most.

    A process that the last batch has no sample for gets its first one as a filler, as index -1 - i.

    Args:
        sampler: order of the samples, the same on every process.
        batch_size: samples per process and full batch.
        drop_last: leave out an odd last global batch.
        rank, world_size: of this process.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, drop_last: bool, rank: int, world_size: int) -> None:
        super().__init__(sampler, batch_size * world_size, drop_last)
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        for indices in super().__iter__():
            share, extra = divmod(len(indices), self.world_size)
            start = self.rank * share + min(self.rank, extra)
            own = indices[start : start + share + (self.rank < extra)]
            yield own or [-1 - indices[0]]


@dataclass(frozen=True)
class _Filler:
    """A sample that is there for its shape only."""

    item: Any


class _WithFillers(Dataset[Any]):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index] if index >= 0 else _Filler(self.dataset[-1 - index])


@dataclass(frozen=True)
class _WithoutFillerLabels:
    """Collates; a batch of fillers loses its labels, which leaves it without any weight in the losses."""

    collate: Callable[[Sequence[Any]], dict[str, Any]]

    def __call__(self, items: Sequence[Any]) -> dict[str, Any]:
        if not isinstance(items[0], _Filler):
            return self.collate(items)
        batch = self.collate([filler.item for filler in items])
        return {k: torch.full_like(v, IGNORED) if k.endswith("labels") else v for k, v in batch.items()}


def share_batches(loader: DataLoader, batch_size: int, drop_last: bool, rank: int, world_size: int) -> DataLoader:
    """The same loader with its global batches dealt out by `SharedBatches`.

    Args:
        loader: as prepared by Accelerate for one of several processes, over a dataset with a length.
        batch_size: samples per process and full batch.
        drop_last, rank, world_size: as in `SharedBatches`.
    """
    prepared: Any = loader
    sampler = prepared.batch_sampler.batch_sampler.sampler
    return DataLoaderShard(
        _WithFillers(loader.dataset),
        device=prepared.device,
        rng_types=prepared.rng_types,
        synchronized_generator=prepared.synchronized_generator,
        _non_blocking=prepared._non_blocking,
        batch_sampler=SharedBatches(sampler, batch_size, drop_last, rank, world_size),
        collate_fn=_WithoutFillerLabels(prepared.collate_fn),
        persistent_workers=loader.persistent_workers,
        generator=loader.generator,
        **{name: getattr(loader, name) for name in _KEPT},
    )


def labels_of(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The label arguments of a batch."""
    return {name: value for name, value in batch.items() if name.endswith("labels")}


def mean_loss_counts(model: nn.Module, batches: Sequence[Mapping[str, Any]]) -> dict[str, Tensor] | None:
    """What each loss term averages over: the mean over a step's micro-batches and over the processes.

    With it, micro-batches and processes with unequal numbers of labels give the gradient of one big batch.

    Args:
        model: its `config` may hold `modality_label_fallback`.
        batches: the micro-batches of one optimizer step on this process.

    Returns:
        Counts by loss term; None where the batches show neither masks nor frames.
    """
    fallback = getattr(getattr(model, "config", None), "modality_label_fallback", "mask")
    counts = [_counts(batch, fallback) for batch in batches]
    if not counts or any(count is None for count in counts):
        return None
    known = [count for count in counts if count is not None]
    return mean_over_processes({name: torch.stack([count[name] for count in known]).mean() for name in known[0]})


def _counts(batch: Mapping[str, Any], fallback: str) -> dict[str, Tensor] | None:
    masks = [_mask(batch, "video_mask", "pixel_values"), _mask(batch, "audio_mask", "input_features")]
    shape = next((mask.shape for mask in masks if isinstance(mask, Tensor)), None)
    if shape is None:
        return None
    device = next(mask.device for mask in masks if isinstance(mask, Tensor))
    video, audio = (
        mask if isinstance(mask, Tensor) else torch.full(shape, mask, device=device, dtype=torch.bool)
        for mask in masks
    )
    return loss_counts(resolve_targets(Targets(**labels_of(batch)), video, audio, fallback))


def _mask(batch: Mapping[str, Any], mask: str, stream: str) -> Tensor | bool:
    """The mask (B, T), or where the batch has none, whether the stream is there."""
    if batch.get(mask) is not None and batch.get(stream) is not None:
        return batch[mask].bool()
    if stream == "pixel_values" and batch.get(stream) is not None:
        return torch.ones(batch[stream].shape[:2], dtype=torch.bool, device=batch[stream].device)
    return batch.get(stream) is not None
