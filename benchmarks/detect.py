"""What a verdict costs beside decoding alone, with PyTorch and with exported models.

    macbdf export onnx/ --model DIR                      # and: macbdf export int8/ --model DIR --int8 CLIPS
    python benchmarks/detect.py FILE --json OUT [--model DIR] [--onnx onnx/ int8/] [--repeats 5]

Medians of runs that take turns, so that a busy spell of the machine hits all of them: wall clock, and the CPU seconds
of the process with all of its threads, which waiting for other processes does not change. "decode" reads every frame
of the video stream and converts none. "model b=1" is one window of random numbers.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf.inference import Detector  # noqa: E402
from modeling_macbdf.media.container import decoded_frames, open_media  # noqa: E402
from modeling_macbdf.onnx_model import filler  # noqa: E402
from modeling_macbdf.timing import profile_text  # noqa: E402


def decode_only(path: str) -> None:
    """Decodes the picture with the decoder's own threads."""
    with open_media(path) as opened:
        stream = opened.video_stream()
        if stream is None:
            raise ValueError(f"{path} must have a video stream, but has none")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 0
        for _ in decoded_frames(opened, stream):
            pass


def one_window(detector: Detector) -> dict[str, torch.Tensor]:
    """A window with both streams."""
    steps = detector.config.num_frames
    inputs = {key: torch.from_numpy(value) for key, value in filler(detector.config, 1, steps, crops=steps).items()}
    inputs["crop_index"] = torch.arange(steps).unsqueeze(0)
    for name in ("pixel_values", "input_features"):
        inputs[name] = torch.randn_like(inputs[name])
    for name in ("video_mask", "audio_mask"):
        inputs[name] = torch.ones_like(inputs[name])
    return inputs


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(path: str, detectors: dict[str, Detector], repeats: int) -> dict[str, dict[str, float]]:
    """Medians by name of the work."""
    works: dict[str, Callable[[], Any]] = {"decode": partial(decode_only, path)}
    for name, detector in detectors.items():
        works[f"detect {name}"] = partial(detector.detect, path)
        works[f"model b=1 {name}"] = partial(detector.scorer.judge, **one_window(detector))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            for name, work in works.items():
                seconds = timed(work)
                if repeat:  # the first round warms up
                    found[name].append(seconds)
    medians = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in found.items()}
    return {name: {"wall_s": round(wall, 4), "cpu_s": round(cpu, 4)} for name, (wall, cpu) in medians.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a media file with a face")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--model", help="default: the weights that the project ships")
    parser.add_argument("--onnx", nargs="*", default=[], help="folders of macbdf export")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    detectors = {"torch": Detector.from_pretrained(options.model, device="cpu")}
    detectors |= {Path(folder).name: Detector.from_pretrained(folder, backend="onnx") for folder in options.onnx}
    results = measure(options.file, detectors, options.repeats)
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    for name, figures in results.items():
        print(f"{name:24} wall {figures['wall_s']:8.3f} s   CPU {figures['cpu_s']:8.3f} s")
    print(profile_text(detectors["torch"].detect(options.file).seconds))


if __name__ == "__main__":
    main()
