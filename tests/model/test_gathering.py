"""Two gloo processes with uneven batches learn what one process with the whole batch learns."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from modeling_macbdf.clustering_macbdf import ClusterWeighting
from modeling_macbdf.contrastive_macbdf import AdaptiveTemperature, ContrastiveHead, contrastive_loss, gather_pairs
from modeling_macbdf.gathering_macbdf import gather_rows, mean_over_processes
from modeling_macbdf.losses_macbdf import Targets, detection_losses, loss_counts, pair_masks, resolve_targets

COUNT, STEPS, WIDTH = 9, 3, 8
SPLITS = {"even": (4, 8), "uneven": (7, 9), "one empty": (9, 9)}  # end of the first and of the second process
CONFIG = SimpleNamespace(
    hidden_size=12,
    projection_size=WIDTH,
    num_attention_heads=2,
    temperature_mode="adaptive",
    temperature_value=0.07,
    temperature_min=0.01,
    temperature_max=0.5,
    fusion_weights="cluster",
    num_prototypes=2,
    weight_floor=0.05,
    prototype_momentum=0.9,
    prototype_warmup=2,
    cluster_corruption=0.0,
    frame_loss_weight=0.5,
    contrastive_loss_weight=0.7,
    sync_loss_weight=0.1,
    pos_weight=0.5,
)


class Detector(torch.nn.Module):
    """The three files wired as in training, on given shallow features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.contrast, self.temperature = ContrastiveHead(CONFIG), AdaptiveTemperature(CONFIG)
        self.weighting, self.head = ClusterWeighting(CONFIG), torch.nn.Linear(12, 1)
        torch.nn.init.normal_(self.temperature.proposal.output.weight)

    def forward(self, video: Tensor, audio: Tensor, labels: Tensor, audio_mask: Tensor) -> Tensor:
        video_mask = torch.ones_like(audio_mask)
        z_v, z_a = self.contrast(video, audio, video_mask, audio_mask)
        present = video_mask.any(dim=1), audio_mask.any(dim=1)
        resolved = resolve_targets(Targets(labels=labels), video_mask, audio_mask)
        pairs = gather_pairs(z_v, z_a, *pair_masks(resolved, video_mask, audio_mask))
        tau = self.temperature(pairs[0], pairs[1], pairs[3])
        weights = self.weighting(z_v, z_a, *present)
        self.weighting.update(z_v, z_a, resolved["video_label"], resolved["audio_label"], *present)
        mixed = weights[:, :1, None] * video + weights[:, 1:, None] * torch.where(audio_mask[..., None], audio, 0.0)
        frames = self.head(mixed).squeeze(-1)
        logits = {"logits": frames.mean(dim=1), "frame_logits": frames, "video_logits": frames.mean(dim=1)}
        counts = mean_over_processes(loss_counts(resolved))
        contrast = contrastive_loss(*pairs[:2], tau, *pairs[2:])
        return sum(detection_losses(logits, resolved, CONFIG, contrast, counts)[o] for o in ("multimodal", "video"))


def whole_batch(step: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(step)
    video, audio = torch.randn(2, COUNT, STEPS, 12, generator=generator)
    labels = torch.tensor([0, 1, 0, 0, 1, -100, 0, 1, 0])
    audio_mask = torch.ones(COUNT, STEPS, dtype=torch.bool)
    audio_mask[3], audio_mask[0, 1:] = False, False
    return video, audio, labels, audio_mask


def train(local: slice, processes: int, steps: int = 3) -> dict[str, Tensor]:
    """Three optimizer steps with gradients averaged over processes, as DDP does."""
    model = Detector().train()
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.5), []
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(*(tensor[local] for tensor in whole_batch(step)))
        loss.backward()
        values = [loss.detach(), *(torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters())]
        if processes > 1:
            for value in values:
                dist.all_reduce(value)
                value /= processes
        losses.append(values[0])
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
    return {"losses": torch.stack(losses), **gradients, **dict(model.named_buffers())}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = {}
    for name, (start, end) in SPLITS.items():
        results[name] = train(slice(0, start) if rank == 0 else slice(start, end), 2)
    rows = torch.full((rank * 2, 3), float(rank)).requires_grad_()
    gathered = gather_rows(rows)
    gathered.square().sum().backward(retain_graph=True)  # only once on rank 0, twice on rank 1: nobody waits
    if rank:
        gathered.square().sum().backward()
    results["rows"] = {"gathered": gathered.detach(), "gradient": rows.grad}
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("processes")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("split", SPLITS)
def test_two_processes_equal_one_in_losses_gradients_and_buffers(two_processes, split):
    one = train(slice(0, SPLITS[split][1]), 1)
    assert one["losses"].min() > 0
    assert one["weighting.bank.counts"].sum() > 0
    for two in (result[split] for result in two_processes):
        assert two.keys() == one.keys()
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("split", SPLITS)
def test_every_process_holds_the_same_belief_and_the_same_clusters(two_processes, split):
    first, second = (result[split] for result in two_processes)
    for name, _ in Detector().named_buffers():
        assert torch.equal(first[name], second[name]), name
    assert first["temperature.gradient_count"] == 3


def test_gathered_rows_keep_the_order_of_ranks_and_their_backward_needs_no_partner(two_processes):
    for result in two_processes:
        assert torch.equal(result["rows"]["gathered"], torch.ones(2, 3))
    assert torch.equal(two_processes[1]["rows"]["gradient"], torch.full((2, 3), 8.0))  # 2 x, times W = 2, twice


def test_alone_everything_passes_through():
    rows, flags = torch.randn(3, 2), torch.ones(3, dtype=torch.bool)
    counts = {"clip": torch.tensor(3.0)}
    assert gather_rows(rows) is rows
    assert gather_pairs(rows, rows, flags, flags)[0] is rows
    assert mean_over_processes(counts) is counts
