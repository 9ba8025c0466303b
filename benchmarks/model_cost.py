"""What one clip of 3.2 s costs: parameters, GFLOP and CPU seconds of every size, on one thread.

    python benchmarks/model_cost.py --json OUT [--sizes tiny small base] [--peers] [--repeats 7]

With `--peers`, beside the towers of published detectors at batch 1, in the same run (BA-TFD+ needs torchvision).

CPU seconds are the process's own (waiting for other processes is not counted), evaluation mode, float32, from the
processor's tensors to the answer; medians over repeats in which the sizes take turns, so that a busy spell of the
machine hits all of them. FLOPs are counted by `torch.utils.flop_counter`: one multiply-add is two.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from peers import PEERS  # noqa: E402

from modeling_macbdf import MACBDFConfig, MACBDFForClassification  # noqa: E402

SIZES = ("tiny", "small", "base")
BATCHES = (1, 8)


def load(size: str) -> MACBDFForClassification:
    """The model of that size with random weights."""
    torch.manual_seed(0)
    config = MACBDFConfig.from_pretrained(ROOT / "hub_configs" / f"macb-df-{size}")
    return MACBDFForClassification(config).eval()


def inputs(config: Any, batch: int) -> dict[str, torch.Tensor]:
    """One window of both streams for each clip, masks included, as the processor gives them."""
    steps, video, audio = config.num_frames, config.video_config, config.audio_config
    return {
        "pixel_values": torch.randn(batch, steps, 3, video.image_size, video.image_size),
        "input_features": torch.randn(batch, steps * audio.mel_frames_per_step, audio.num_mel_bins),
        "video_mask": torch.ones(batch, steps, dtype=torch.bool),
        "audio_mask": torch.ones(batch, steps, dtype=torch.bool),
    }


def cpu_seconds(model: MACBDFForClassification, batch: dict[str, torch.Tensor]) -> float:
    """CPU seconds of one forward."""
    start = time.process_time()
    model(**batch)
    return time.process_time() - start


def measure(sizes: list[str], repeats: int) -> dict[str, dict[str, Any]]:
    """All figures, by size."""
    models = {size: load(size) for size in sizes}
    batches = {(size, n): inputs(models[size].config, n) for size in sizes for n in BATCHES}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in batches}
    results: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        for size, model in models.items():
            with FlopCounterMode(display=False) as counter:
                model(**batches[size, 1])
            count = sum(parameter.numel() for parameter in model.parameters())
            results[size] = {"parameters": count, "gflop": round(counter.get_total_flops() / 1e9, 3)}
        for repeat in range(repeats + 1):
            for (size, n), batch in batches.items():
                seconds = cpu_seconds(models[size], batch)
                if repeat:  # the first round warms up
                    times[size, n].append(seconds / n)
    for (size, n), seconds_per_clip in times.items():
        results[size][f"cpu_s_per_clip_b{n}"] = round(statistics.median(seconds_per_clip), 4)
        results[size][f"cpu_s_per_clip_b{n}_min"] = round(min(seconds_per_clip), 4)
    return results


def measure_peers(beside: MACBDFForClassification, repeats: int) -> dict[str, dict[str, Any]]:
    """CPU seconds of each peer, taking turns with one of ours: "ratio" is the median of the runs' quotients."""
    own = inputs(beside.config, 1)
    results: dict[str, dict[str, Any]] = {}
    for name, build in PEERS.items():
        try:
            model, given = build()
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        model.eval()
        with torch.inference_mode():
            model(*given)  # warms up
            runs = []
            for _ in range(repeats):
                begin = time.process_time()
                model(*given)
                runs.append((time.process_time() - begin, cpu_seconds(beside, own)))
        results[name] = {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "cpu_s_per_clip_b1": round(statistics.median(seconds for seconds, _ in runs), 4),
            "ratio": round(statistics.median(seconds / ours for seconds, ours in runs), 2),
        }
    return results


def table(results: dict[str, dict[str, Any]], peers: dict[str, dict[str, Any]]) -> str:
    """The figures, those of the peers last."""
    row = "{:34} {:>12} {:>8} {:>12} {:>12}"
    lines = [row.format("model", "parameters/M", "GFLOP", "CPU-s, b=1", "CPU-s, b=8")]
    for size, found in results.items():
        costs = [f"{found[f'cpu_s_per_clip_b{n}']:.3f}" for n in BATCHES]
        lines.append(
            row.format(f"macb-df-{size}", f"{found['parameters'] / 1e6:.1f}", f"{found['gflop']:.1f}", *costs)
        )
    for name, found in peers.items():
        costs = [f"{found['cpu_s_per_clip_b1']:.3f}", f"{found['ratio']:.1f} x small"]
        lines.append(row.format(name, f"{found['parameters'] / 1e6:.1f}", "", *costs))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--peers", action="store_true", help="measure the published towers as well")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = measure(options.sizes, options.repeats)
    peers = measure_peers(load("small"), options.repeats) if options.peers else {}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({**results, **peers}, indent=2) + "\n")
    print(table(results, peers))


if __name__ == "__main__":
    main()
