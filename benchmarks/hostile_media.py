"""Feeds broken, lying and odd media to the detector, and fuzzes its decoder; counts what became of each file.

    python benchmarks/hostile_media.py --json OUT [--every 1] [--model DIR] [--fuzz-minutes 0] [--keep DIR]

A fault is an `internal_error`, a result that contradicts itself, or a status that is wrong for a file whose content is
known. The exit code is 1 where there is any. The files are judged in a child process (modeling_macbdf/isolation.py);
then the command judges every tenth of them, one of which disappears meanwhile.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from hostile_files import Hostile, base_clips, hostile_files  # noqa: E402

from modeling_macbdf.isolation import Bounds, Isolated, IsolatedJudge, Pulse  # noqa: E402
from modeling_macbdf.media.container import DecodeLimits  # noqa: E402
from modeling_macbdf.media.decode import iter_frames, probe, read_audio  # noqa: E402
from modeling_macbdf.media.outcomes import MediaError, Status  # noqa: E402
from modeling_macbdf.verdicts import FileResult  # noqa: E402

BOUNDS = Bounds(stall_s=60.0, max_seconds=120.0)
MIB = 2**20


def fault(file: Hostile, result: FileResult) -> str:
    """What is wrong with a result; empty where nothing is."""
    if result.status not in set(Status) - {Status.internal_error}:
        return f"{result.status}: {result.reason}"
    if file.expected and result.status not in file.expected:
        return f"{result.status} where {' or '.join(sorted(file.expected))} is right: {result.reason}"
    if not result.scored and not result.reason:
        return f"{result.status} without a reason"
    if result.scored != (result.verdict is not None):
        return f"a verdict of {result.verdict} with a probability of {result.p_fake}"
    if result.scored and not math.isfinite(result.p_fake or 0.0):
        return f"a probability of {result.p_fake}"
    return ""


def judge_all(files: list[Hostile], folder: Path, model: str | None) -> dict[str, Any]:
    """Every file through one isolated detector."""
    detector = IsolatedJudge(model, bounds=BOUNDS, device="cpu", max_duration_s=3600.0)
    before = peak_mib(detector.worker.pid)
    rows, peak = [], before
    stopped: dict[str, str] = {}
    for file in files:
        pid, begin = detector.worker.pid, time.monotonic()
        result = detector.detect(folder / file.name)
        if "judging it " in result.reason:  # the words of modeling_macbdf/isolation.py
            stopped[file.name] = result.reason
        seconds = round(time.monotonic() - begin, 2)
        rows.append((file, result, seconds))
        peak = max(peak, peak_mib(pid))
    detector.close()
    faults = {file.name: words for file, result, _ in rows if (words := fault(file, result))}
    slowest = max(rows, key=lambda row: row[2])
    return {
        "files": len(rows),
        "by_status": dict(Counter(str(result.status) for _, result, _ in rows).most_common()),
        "by_family": {
            family: dict(Counter(str(result.status) for file, result, _ in rows if file.family == family))
            for family in dict.fromkeys(file.family for file in files)
        },
        "slowest": {"file": slowest[0].name, "wall_s": slowest[2]},
        "ended_or_stopped_the_child": stopped,
        "peak_memory_mib": {"model_loaded": before, "after_all": peak},
        "faults": faults,
    }


def peak_mib(pid: int | None) -> int:
    """Peak resident memory of a process; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def through_the_command(paths: list[Path], folder: Path, model: str | None) -> dict[str, Any]:
    """`macbdf detect` over the paths and one more that is deleted as soon as the first verdict is printed."""
    leaving, report = folder / "leaving.mp4", folder / "report.json"
    leaving.write_bytes((folder / "face.mp4").read_bytes())
    command = [sys.executable, "-m", "modeling_macbdf", "detect", "--json", str(report)]
    command += ["--model", model] if model else []
    names = [str(path) for path in (*paths, leaving)]
    with subprocess.Popen(
        [*command, "--", *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", cwd=ROOT
    ) as process:
        first = process.stdout.readline() if process.stdout else ""
        leaving.unlink()
        _, errors = process.communicate(timeout=BOUNDS.max_seconds * len(names))
    listed = json.loads(report.read_text(encoding="utf-8"))["files"] if report.exists() else []
    return {
        "files": len(names),
        "reported": len(listed),
        "exit_code": process.returncode,
        "traceback": "Traceback" in errors or "Traceback" in first,
        "file_that_disappeared": next((row["status"] for row in listed if row["path"] == str(leaving)), None),
    }


def mutated(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """A few random edits: bits, absurd numbers, and blocks taken out, doubled, moved or brought from another file."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        region = len(data) if rng.random() < 0.5 else min(len(data), 1500)  # headers get half of the edits
        start = len(data) - region if rng.random() < 0.3 else 0
        at = start + int(rng.integers(0, max(region, 1)))
        size = int(rng.integers(1, 2 + len(data) // 8))
        kind = rng.integers(6)
        if kind == 0:
            data[at : at + 1] = bytes([int(rng.integers(256))])
        elif kind == 1:
            data[at : at + 4] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFFFF, 2**31 - 1, 2**32 - 1])).to_bytes(4, "big")
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[at : at + size]
        elif kind == 4:
            data[at : at + size] = rng.bytes(size)
        else:
            other = others[int(rng.integers(len(others)))]
            data[at : at + size] = other[at : at + size]
        if not data:
            break
    return bytes(data)


def build_decode() -> tuple[Any, None]:
    """The decode path alone: what the file declares, its frames, its sound."""
    limits = DecodeLimits(max_duration_s=600.0, max_seconds=30.0)

    def decode(path: str, pulse: Pulse) -> str:
        statuses = []
        for read in (
            probe,
            lambda p, limits: sum(1 for _ in iter_frames(p, limits=limits)),
            lambda p, limits: read_audio(p, limits=limits),
        ):
            try:
                read(path, limits=limits)
                statuses.append("read")
            except MediaError as error:
                statuses.append(str(error.status))
            except Exception as error:
                return f"raised {type(error).__name__}: {error}"
            pulse()
        return " ".join(statuses)

    return decode, None


def fuzz(bases: dict[str, Path], minutes: float, seed: int, keep: Path | None) -> dict[str, Any]:
    """Random edits of the base clips through the decode path; a finding is a death, a hang or an untyped exception."""
    rng = np.random.default_rng(seed)
    contents = [path.read_bytes() for path in bases.values()]
    worker = Isolated(build_decode, BOUNDS)
    outcomes: Counter[str] = Counter()
    findings: dict[str, int] = {}
    end, slowest = time.monotonic() + 60 * minutes, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.mp4"
        while time.monotonic() < end:
            path.write_bytes(mutated(contents[int(rng.integers(len(contents)))], contents, rng))
            begin = time.monotonic()
            try:
                outcome = worker(str(path), str(path))
            except MediaError as error:
                outcome = f"raised {error.reason}"
            slowest = max(slowest, time.monotonic() - begin)
            outcomes[outcome if not outcome.startswith("raised") else "finding"] += 1
            if outcome.startswith("raised"):
                findings[outcome[:200]] = findings.get(outcome[:200], 0) + 1
                if keep:
                    (keep / f"finding-{len(findings)}-{outcomes['finding']}").write_bytes(path.read_bytes())
    peak = peak_mib(worker.pid)
    worker.close()
    return {
        "minutes": minutes,
        "files": outcomes.total(),
        "outcomes_of_probe_frames_sound": dict(outcomes.most_common()),
        "findings": findings,
        "slowest_wall_s": round(slowest, 2),
        "peak_memory_mib": peak,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth file")
    parser.add_argument("--model", help="default: the weights that the project ships")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fuzz-minutes", type=float, default=0.0, metavar="M", help="then fuzz the decoder")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the fuzzed files with a finding")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bases = base_clips(folder)
        files = hostile_files(bases, arguments.seed)[:: arguments.every]
        for file in files:
            file.make(folder / file.name)
        result: dict[str, Any] = {"hostile": judge_all(files, folder, arguments.model)}
        paths = [folder / file.name for file in files[::10]]
        result["command"] = through_the_command(paths, folder, arguments.model)
        if arguments.fuzz_minutes:
            result["fuzz"] = fuzz(bases, arguments.fuzz_minutes, arguments.seed, arguments.keep)
    arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False))
    command = result["command"]
    whole = command["reported"] == command["files"] and command["exit_code"] == 1 and not command["traceback"]
    return 0 if whole and not result["hostile"]["faults"] and not result.get("fuzz", {}).get("findings") else 1


if __name__ == "__main__":
    sys.exit(main())
