"""Whether memory stays bounded: a long video, and many files, judged by one detector.

    python benchmarks/memory.py FILE --json OUT [--minutes 60] [--files 500] [--short CLIP] [--model DIR]

The long video is FILE's packets over and over, without a new encoding. The many files are links to CLIP (FILE by
default). Figures are MiB of resident memory over that of the imported libraries, sampled every quarter of a second:
the peak, and the medians of the second and the last quarter, which agree where memory is flat.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf.inference import Detector  # noqa: E402

SAMPLE_S = 0.25


def resident_mib() -> float:
    """Of this process, from Linux's own account."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def repeated(source: Path, target: Path, seconds: float) -> Path:
    """Writes the packets of `source` (typed loosely: PyAV's numbers may be None) again and again, each time later."""
    with av.open(str(source)) as first:
        kept = [stream for stream in first.streams if stream.type in ("video", "audio")]
        packets: list[Any] = [packet for packet in first.demux(kept) if packet.dts is not None]
        once = float(max(_end(packet) for packet in packets) - min(p.dts * p.time_base for p in packets))
        with av.open(str(target), "w") as out:
            copies = {stream.index: out.add_stream_from_template(stream) for stream in kept}
            for turn in range(round(seconds / once + 0.5)):
                for packet in packets:
                    out.mux(_later(packet, copies[packet.stream_index], turn * once))
    return target


def _end(packet: Any) -> Fraction:
    return (max(packet.dts, packet.pts or 0) + (packet.duration or 1)) * packet.time_base


def _later(packet: Any, stream: Any, seconds: float) -> av.Packet:
    copy = av.Packet(bytes(packet))
    shift = round(seconds / packet.time_base)
    copy.time_base, copy.duration, copy.is_keyframe = packet.time_base, packet.duration, packet.is_keyframe
    copy.dts, copy.pts = packet.dts + shift, None if packet.pts is None else packet.pts + shift
    copy.stream = stream
    return copy


@contextmanager
def sampling() -> Iterator[list[float]]:
    """Notes resident memory until the block ends."""
    samples, over = [resident_mib()], threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            samples.append(resident_mib())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def watched(work: Callable[[], None], base_mib: float) -> dict[str, float]:
    """Runs the work; its time and memory."""
    begin = time.perf_counter()
    with sampling() as samples:
        work()
    over = [round(sample - base_mib) for sample in samples]
    second, last = over[len(over) // 4 : max(len(over) // 2, 1)], over[-max(len(over) // 4, 1) :]
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "peak_mib": max(over),
        "second_quarter_mib": statistics.median(second or over),
        "last_quarter_mib": statistics.median(last),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a media file with a face")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--short", type=Path, help="the clip of which there are many")
    parser.add_argument("--model", help="default: the weights that the project ships")
    options = parser.parse_args(arguments)
    base_mib = resident_mib()
    detector = Detector.from_pretrained(options.model, device="cpu", max_duration_s=options.minutes * 60 + 60)
    short = (options.short or options.file).resolve()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        long = repeated(options.file, Path(folder) / f"long{options.file.suffix}", options.minutes * 60)
        links = [Path(folder) / f"{number}{short.suffix}" for number in range(options.files)]
        for link in links:
            link.symlink_to(short)
        outcomes: dict[str, int] = {}

        def judge(paths: list[Path]) -> None:
            for path in paths:
                status = str(detector.detect(path).status)
                outcomes[status] = outcomes.get(status, 0) + 1

        for name, paths in (("one file", [options.file]), (f"{options.minutes:g} min", [long]), ("files", links)):
            results[name] = watched(partial(judge, paths), base_mib)
            print(f"{name:10} {results[name]} {outcomes}")
    results["imports"] = {"mib": round(base_mib)}
    options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
