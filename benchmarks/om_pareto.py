"""Cost of one training step: OM-Pareto beside a plain step, the four-backward MMPareto pattern and TorchJD.

    python benchmarks/om_pareto.py --json om_pareto.json

One thread, a toy two-tower model of about 9.8 million parameters, three objectives, random data. The variants take
turns within each round, and each ratio is the median over the rounds of the two CPU times of one round, so that a busy
machine disturbs all of them alike; `of_minima` compares each variant's least disturbed step. Peak memory is the
high-water mark of a process of its own for each variant.
TorchJD's UPGrad takes part where its solver is installed: pip install "torchjd[quadprog_projector]".
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchjd.aggregation import MGDA, PCGrad, UPGrad
from torchjd.autojac import jac_to_grad, mtl_backward

from modeling_macbdf.optim import Cut, FeatureSpaceGradients, ObjectiveGradients, OMPareto, pareto_backward
from modeling_macbdf.optim.minnorm import min_norm_weights

BATCH, WIDTH, LAYERS = 12, 256, 9
TORCHJD: dict[str, type] = {"torchjd_mgda": MGDA, "torchjd_pcgrad": PCGrad}
if importlib.util.find_spec("quadprog") and importlib.util.find_spec("qpsolvers"):
    TORCHJD["torchjd_upgrad"] = UPGrad


class Block(nn.Module):
    """A pre-norm residual MLP. Without attention, whose batched backward TorchJD's vmap would run in a slow loop."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.wide, self.narrow = (
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.narrow(F.gelu(self.wide(self.norm(tokens))))


class Tower(nn.Sequential):
    """Patches (B, N, P) -> tokens (B, N, WIDTH)."""

    def __init__(self, patch: int) -> None:
        super().__init__(nn.Linear(patch, WIDTH), *(Block() for _ in range(LAYERS)))


class TwoTowers(nn.Module):
    """Two encoders, a fused head and one head per modality; two classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.video, self.audio = Tower(3 * 16 * 16), Tower(16 * 16)
        self.fused = nn.Sequential(nn.Linear(2 * WIDTH, 512), nn.GELU(), nn.Linear(512, 2))
        self.video_head, self.audio_head = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 2)

    def features(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.video(batch["frames"]).mean(1), self.audio(batch["mel"]).mean(1)

    def losses(self, video: Tensor, audio: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {
            "joint": F.cross_entropy(self.fused(torch.cat([video, audio], -1)), labels),
            "video": F.cross_entropy(self.video_head(video), labels),
            "audio": F.cross_entropy(self.audio_head(audio), labels),
        }

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"video": list(self.video.parameters()), "audio": list(self.audio.parameters())}

    def heads(self) -> list[nn.Parameter]:
        return [p for module in (self.fused, self.video_head, self.audio_head) for p in module.parameters()]


def make_batch(count: int = BATCH) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "frames": torch.randn(count, 98, 3 * 16 * 16, generator=generator),
        "mel": torch.randn(count, 100, 16 * 16, generator=generator),
        "labels": torch.arange(count) % 2,
    }


def plain(model: TwoTowers, batch: dict[str, Tensor]) -> None:
    torch.stack(list(model.losses(*model.features(batch), batch["labels"]).values())).sum().backward()


def exact(model: TwoTowers, batch: dict[str, Tensor], store_type: type = ObjectiveGradients) -> None:
    """Ours: one forward, cut, heads' backward per objective, two vector-Jacobian products per encoder."""
    store = store_type(model.groups(), model.heads())
    video, audio = model.features(batch)
    cut = Cut({"video": video, "audio": audio})
    store.accumulate(model.losses(cut.leaves["video"][0], cut.leaves["audio"][0], batch["labels"]), cut)
    store.resolve()


def feature_space(model: TwoTowers, batch: dict[str, Tensor]) -> None:
    """Ours, approximate: the conflict is measured at the encoder outputs."""
    exact(model, batch, FeatureSpaceGradients)


def uncut(model: TwoTowers, batch: dict[str, Tensor]) -> None:
    """Ours without the cut: one `autograd.grad` per objective down to the parameters."""
    losses = model.losses(*model.features(batch), batch["labels"])
    pareto_backward(losses, model.groups(), OMPareto(), others=model.heads())


def mmpareto(model: TwoTowers, batch: dict[str, Tensor]) -> None:
    """The pattern of the official MMPareto code: a backward per objective with clones, then one for the sum."""
    losses = model.losses(*model.features(batch), batch["labels"])
    kept: dict[str, dict[str, list[Tensor]]] = {"video": {}, "audio": {}}
    for objective, loss in losses.items():
        loss.backward(retain_graph=True)
        for group, parameters in model.groups().items():
            if objective in ("joint", group):
                kept[group][objective] = [p.grad.clone() for p in parameters if p.grad is not None]
        model.zero_grad()
    shares = {group: _shares(list(rows.values())) for group, rows in kept.items()}
    torch.stack(list(losses.values())).sum().backward()
    for group, parameters in model.groups().items():
        for parameter, *grads in zip(parameters, *kept[group].values(), strict=True):
            _rescale(parameter, grads, shares[group])


def _shares(rows: list[list[Tensor]]) -> list[float]:
    flat = [torch.cat([grad.flatten() for grad in row]) for row in rows]
    if F.cosine_similarity(flat[0], flat[1], dim=0) > 0:
        return [0.5, 0.5]
    products = [[sum(float((a * b).sum()) for a, b in zip(one, two, strict=True)) for two in rows] for one in rows]
    return min_norm_weights(torch.tensor(products)).tolist()


def _rescale(parameter: nn.Parameter, grads: list[Tensor], shares: list[float]) -> None:
    """Tensor by tensor and with the temporaries of the official code."""
    total = torch.norm(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone())
    direction = 2 * shares[0] * grads[0] + 2 * shares[1] * grads[1]
    longer = total / torch.norm(direction)
    parameter.grad = longer * direction * 1.5 if longer > 1 else direction * 1.5


def torchjd_step(name: str) -> Callable[[TwoTowers, dict[str, Tensor]], None]:
    aggregator = TORCHJD[name]()

    def step(model: TwoTowers, batch: dict[str, Tensor]) -> None:
        video, audio = model.features(batch)
        losses = model.losses(video, audio, batch["labels"])
        mtl_backward(list(losses.values()), features=[video, audio])
        jac_to_grad([p for parameters in model.groups().values() for p in parameters], aggregator)

    return step


VARIANTS: dict[str, Callable[[TwoTowers, dict[str, Tensor]], None]] = {
    "plain": plain,
    "exact": exact,
    "uncut": uncut,
    "feature_space": feature_space,
    "mmpareto": mmpareto,
    **{name: torchjd_step(name) for name in TORCHJD},
}


def timed(variant: str, model: TwoTowers, batch: dict[str, Tensor]) -> float:
    """CPU seconds of one step without the optimizer."""
    model.zero_grad()
    start = time.process_time()
    VARIANTS[variant](model, batch)
    return time.process_time() - start


def peak_mib() -> float:
    """High-water mark of this process's memory, MiB. `getrusage` would carry over the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def measured_peak(variant: str) -> float:
    command = [sys.executable, __file__, "--peak-of", variant]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def summarize(seconds: dict[str, list[float]], peaks: dict[str, float]) -> dict[str, object]:
    def over(variant: str) -> float:
        return median(ours / theirs for ours, theirs in zip(seconds["exact"], seconds[variant], strict=True))

    fastest = min(TORCHJD, key=lambda name: median(seconds[name]))
    return {
        "exact_over_plain": over("plain"),
        "exact_over_mmpareto": over("mmpareto"),
        "exact_over_torchjd": over(fastest),
        "fastest_torchjd": fastest,
        "over_plain": {name: 1 / over(name) * over("plain") for name in seconds},
        "of_minima": {name: min(seconds["exact"]) / min(seconds[name]) for name in ("plain", "mmpareto", fastest)},
        "seconds": {name: median(values) for name, values in seconds.items()},
        "peak_mib": peaks,
        "parameters": sum(p.numel() for p in TwoTowers().parameters()),
        "rounds": len(seconds["plain"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--peak-of", choices=sorted(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, batch = TwoTowers(), make_batch()
    for variant in [options.peak_of] * 3 if options.peak_of else VARIANTS:  # warm up, or all that a peak needs
        timed(variant, model, batch)
    if options.peak_of:
        print(peak_mib())
        return
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, values in seconds.items():
            values.append(timed(name, model, batch))
    result = summarize(seconds, {name: round(measured_peak(name), 1) for name in VARIANTS})
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
