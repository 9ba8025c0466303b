"""What judging in a child process costs a file (`macbdf detect --isolate`), against judging in this one.

    python benchmarks/isolation_cost.py [FILE ...] --json OUT [--rounds 7] [--model DIR]

Without files: a rendered talking face of 6 s, and a text file, which shows the fixed cost. The two judges take turns.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from modeling_macbdf.isolation import IsolatedJudge
from modeling_macbdf.judging import Judge
from modeling_macbdf.media.synthetic import make_talking_clip


def cpu_s_of(pid: int | None) -> float:
    """User and system seconds of a process and its ended children (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def cost(judge: Callable[[str], object], path: str, child: int | None) -> tuple[float, float]:
    """(wall, CPU) seconds of one file."""
    begin = time.perf_counter(), time.process_time(), cpu_s_of(child) if child else 0.0
    judge(path)
    cpu = time.process_time() - begin[1] + (cpu_s_of(child) - begin[2] if child else 0.0)
    return time.perf_counter() - begin[0], cpu


def compare(files: list[str], rounds: int, model: str | None) -> dict[str, object]:
    """Medians of `rounds` turns, after one that does not count."""
    begin = time.perf_counter()
    here = Judge(model, device="cpu")
    loaded = time.perf_counter()
    there = IsolatedJudge(model, device="cpu")
    started = time.perf_counter()
    rows = {}
    for path in files:
        turns = [
            (cost(here.detect, path, None), cost(there.detect, path, there.worker.pid)) for _ in range(rounds + 1)
        ][1:]
        wall, cpu = ([statistics.median(turn[side][kind] for turn in turns) for side in (0, 1)] for kind in (0, 1))
        ratio = statistics.median(turn[1][0] / turn[0][0] for turn in turns)
        rows[Path(path).name] = {"wall_s": wall, "cpu_s": cpu, "wall_ratio": round(ratio, 3)}
    there.close()
    return {
        "threads": torch.get_num_threads(),
        "loading_s": [round(loaded - begin, 1), round(started - loaded, 1)],
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "here_and_in_a_child": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--model", help="default: the weights that the project ships")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = arguments.files
        if not files:
            make_talking_clip(Path(folder) / "talking.mp4", seed=0, duration_s=6.0)
            (Path(folder) / "text.mp4").write_text("no video")
            files = [f"{folder}/talking.mp4", f"{folder}/text.mp4"]
        result = compare(files, arguments.rounds, arguments.model)
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
