"""Where the time goes: wall-clock seconds by stage."""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Adds up the wall-clock seconds of named stages.

    Args:
        stages: their names, in the order of the report.
    """

    def __init__(self, *stages: str) -> None:
        self.seconds = dict.fromkeys(stages, 0.0)
        self._begin = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begin

    def iterate(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Passes items on and adds the time that getting them takes to a stage; not the time spent on them."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def result(self) -> dict[str, float]:
        """All stages and the "total" since the start, rounded to the millisecond."""
        total = time.perf_counter() - self._begin
        return {name: round(value, 3) for name, value in {**self.seconds, "total": total}.items()}


def profile_text(seconds: Mapping[str, float]) -> str:
    """One line: each stage's seconds and share, what no stage counts, and the process's peak memory so far.

    The model works beside the other stages, so that the shares may add up to more than the whole; then it says so.
    """
    total = max(seconds["total"], 1e-9)
    stages = {name: value for name, value in seconds.items() if name != "total"}
    stages["other"] = max(total - sum(stages.values()), 0.0)
    shares = ", ".join(f"{name} {value:.2f} s ({value / total:.0%})" for name, value in stages.items())
    overlap = " (stages that ran at the same time count twice)" if sum(stages.values()) > 1.01 * total else ""
    return f"time: {total:.2f} s; {shares}{overlap}{_peak_text()}"


def _peak_text() -> str:
    """Empty where the system does not tell."""
    try:
        import resource
    except ImportError:
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # to bytes
    return f"; peak memory {peak / 2**20:.0f} MiB"
