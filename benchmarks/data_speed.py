"""What data cost: preprocessing against decoding alone, and training windows against a training step.

    python benchmarks/data_speed.py --json OUT [--cache CACHE] [--model hub_configs/macb-df-small] [--windows 48]

CPU seconds (workers included), so that other processes disturb them less; parts take turns. Clips are rendered by the
package itself; with `--cache` the windows come from your own cache, and preprocessing is not measured.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf import MACBDFConfig, MACBDFForClassification  # noqa: E402
from modeling_macbdf.data.augmentation import NO_AUGMENTATION, AugmentOptions  # noqa: E402
from modeling_macbdf.data.cache_reader import TrackCache  # noqa: E402
from modeling_macbdf.data.collate import WindowCollator  # noqa: E402
from modeling_macbdf.data.dataset import TrainingOptions, TrainingWindows, WindowItem, WindowOptions  # noqa: E402
from modeling_macbdf.data.preprocess import preprocess  # noqa: E402
from modeling_macbdf.data.records import ClipRecord, real_record  # noqa: E402
from modeling_macbdf.media.audio import read_audio  # noqa: E402
from modeling_macbdf.media.decode import iter_frames  # noqa: E402
from modeling_macbdf.media.synthetic import make_talking_clip  # noqa: E402
from modeling_macbdf.processing_macbdf import MACBDFProcessor  # noqa: E402

STEPS = (16, 4)  # of a window
BATCH = 8


def cpu_s() -> float:
    """CPU seconds of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds and seconds on the wall."""
    cpu, wall = cpu_s(), time.perf_counter()
    work()
    return cpu_s() - cpu, time.perf_counter() - wall


def rss_mib() -> float:
    """Memory in use now (Linux), in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def own_clips(folder: Path, count: int, seconds: float) -> list[ClipRecord]:
    """Rendered talking faces, one person each."""
    records = []
    for seed in range(count):
        path = folder / f"{seed}.mp4"
        make_talking_clip(path, seed=seed, duration_s=seconds)
        records.append(real_record(str(path), source="self-made", identities=(f"person{seed}",)))
    return records


def decode(records: list[ClipRecord]) -> None:
    """Every frame and all the sound of every clip."""
    for record in records:
        for _ in iter_frames(record.path, None, threads=1):
            pass
        read_audio(record.path)


def preprocessing(records: list[ClipRecord], folder: Path) -> dict[str, Any]:
    """Clips a second, by CPU and by wall, of decoding alone and of preprocessing by one and by two processes."""
    ways: dict[str, Callable[[], Any]] = {
        "decode_only": lambda: decode(records),
        "one_process": lambda: preprocess(records, folder / "one"),
        "two_processes": lambda: preprocess(records, folder / "two", processes=2),
    }
    found = {}
    for name, work in ways.items():
        cpu, wall = timed(work)
        found[name] = {"clips_per_cpu_s": round(len(records) / cpu, 3), "clips_per_s": round(len(records) / wall, 3)}
    return found


def training_windows(cache: TrackCache, steps: int, count: int, augmented: bool = True) -> TrainingWindows:
    """Real windows beside their pseudo-fakes."""
    augmentation = AugmentOptions() if augmented else NO_AUGMENTATION
    return TrainingWindows(
        cache, WindowOptions(steps=steps), TrainingOptions(windows=count, paired=True, augmentation=augmentation)
    )


def train_step(model: MACBDFForClassification, batch: dict[str, torch.Tensor]) -> None:
    """Forward and backward of one batch."""
    model.zero_grad()
    model(**batch).loss.backward()


def loading(cache: TrackCache, model_folder: Path, count: int) -> dict[str, Any]:
    """CPU ms a window of drawing it, of collating it, and of a training step on it; and the memory over the epoch."""
    torch.manual_seed(0)
    model = MACBDFForClassification(MACBDFConfig.from_pretrained(model_folder)).train()
    collate = WindowCollator(MACBDFProcessor.from_pretrained(model_folder))
    found: dict[str, Any] = {}
    for steps in STEPS:
        windows = training_windows(cache, steps, count)
        costs: dict[str, list[float]] = {"draw": [], "collate": [], "train": []}
        memory = []
        for first in range(0, count, BATCH):
            items: list[WindowItem] = []
            batch: dict[str, torch.Tensor] = {}
            costs["draw"].append(timed(lambda: items.extend(windows[first + i] for i in range(BATCH)))[0])  # noqa: B023
            costs["collate"].append(timed(lambda: batch.update(collate(items)))[0])  # noqa: B023
            costs["train"].append(timed(lambda: train_step(model, batch))[0])  # noqa: B023
            memory.append(round(rss_mib(), 1))
        found[f"steps_{steps}"] = {
            **{f"{name}_cpu_ms": round(1000 * statistics.mean(cost[1:]) / BATCH, 2) for name, cost in costs.items()},
            "rss_mib_second_and_last_batch": [memory[1], memory[-1]],
        }
    return found


def main(words: list[str] | None = None) -> None:
    """Measures, prints and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--cache", type=Path, help="your own cache, made by `macbdf preprocess`")
    parser.add_argument("--model", type=Path, default=ROOT / "hub_configs" / "macb-df-small")
    parser.add_argument("--windows", type=int, default=48, help=f"windows drawn, a multiple of {BATCH}, at least 24")
    parser.add_argument("--clips", type=int, default=4, help="self-made clips")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    results: dict[str, Any] = {"model": options.model.name, "batch": BATCH, "windows": options.windows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.cache is None:
            results["preprocessing"] = preprocessing(own_clips(folder, options.clips, 6.0), folder)
        cache = TrackCache(options.cache or folder / "one", keep=lambda record: record.label == 0)
        results["loading"] = loading(cache, options.model, options.windows)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
