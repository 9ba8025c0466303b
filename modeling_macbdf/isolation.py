"""Judging in a child process: a codec that crashes, hangs or eats memory costs one file and not the batch.

The child keeps the model from file to file, so a file costs one message each way. It is no wall against a codec that
was taken over: the child has the rights of the user, and the parent unpickles its answers.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from .judging import Judge
from .media.outcomes import MediaError, Status
from .sources import Watcher
from .verdicts import FileResult

try:
    import resource
except ImportError:  # Windows has no such limits; the bounds on time hold there too
    resource = None  # type: ignore[assignment]

Pulse = Callable[[], None]
Task = Callable[[Any, Pulse], Any]
_BEGUN = ("pulse", None)
_PULSE_S = 1.0  # seconds between two signs of life


@dataclass(frozen=True)
class Bounds:
    """What one file may cost in the child.

    Attributes:
        stall_s: seconds on the wall without a sign of life (a piece of the file or its sound, a frame, a score).
        max_seconds: seconds on the wall altogether; as many CPU seconds on each core.
        max_memory_bytes: address space beyond what the loaded model takes (Linux).
    """

    stall_s: float = 120.0
    max_seconds: float = 3600.0
    max_memory_bytes: int = 6 * 2**30

    def __post_init__(self) -> None:
        for name in ("stall_s", "max_seconds", "max_memory_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, but got {getattr(self, name)}")


class Isolated:
    """A task in a child process, which is started again where a request ended it.

    Args:
        build: makes the task in the child, and a picklable word about it; it has to be picklable itself.
        bounds: what a request may cost.

    Raises:
        OSError, ImportError, ValueError, RuntimeError: with the words of what `build` raised.
    """

    def __init__(self, build: Callable[[], tuple[Task, Any]], bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self._build = build
        self.facts = self._start()

    def _start(self) -> Any:
        context: Any = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
        if os.name != "nt":
            context.set_forkserver_preload([__name__])  # the imports are paid once, also when a child is replaced
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(self._build, theirs, self.bounds), daemon=True)
        self._child.start()
        theirs.close()
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            raise OSError(f"the judging process ended with {self._ending()} while it loaded the model") from None
        if kind == "raised":
            raise answer
        return answer

    def __call__(self, path: str, request: Any) -> Any:
        """The task's answer.

        Args:
            path: named in the error.
            request: for the task.

        Raises:
            MediaError: `timeout` beyond a bound, `undecodable` or `too_large` where the child died of the file.
        """
        if not self._begins(request):  # it died idle, which is not this file's doing
            self.close()
            self._start()
            if not self._begins(request):
                raise self._died(path)
        end = time.monotonic() + self.bounds.max_seconds
        while True:
            wait = min(self.bounds.stall_s, end - time.monotonic())
            try:
                if not self._pipe.poll(max(wait, 0.0)):
                    raise self._hung(path, wait < self.bounds.stall_s)
                kind, answer = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                raise self._died(path) from None
            if kind == "raised":
                raise answer
            if kind == "answer":
                return answer

    def _begins(self, request: Any) -> bool:
        """Whether there is a child that took the request."""
        try:
            self._pipe.send(request)
            return self._pipe.poll(self.bounds.stall_s) and self._pipe.recv() == _BEGUN
        except (OSError, EOFError):
            return False

    def _hung(self, path: str, overall: bool) -> MediaError:
        self.close()
        bound = f"over {self.bounds.max_seconds:g} s" if overall else f"no progress for {self.bounds.stall_s:g} s"
        return MediaError(Status.timeout, f"judging it was stopped: {bound}", path)

    def _died(self, path: str) -> MediaError:
        ending = self._ending()
        statuses = {"SIGKILL": Status.too_large, "SIGXCPU": Status.timeout}
        hint = ", as the system does when memory runs out" if ending == "SIGKILL" else ""
        status = statuses.get(ending, Status.undecodable)
        return MediaError(status, f"judging it ended the process with {ending}{hint}", path)

    def _ending(self) -> str:
        self.close()
        code = self._child.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    @property
    def pid(self) -> int | None:
        """Of the child, for those who watch its memory."""
        return self._child.pid

    def close(self) -> None:
        """Ends the child; the next request starts another."""
        self._pipe.close()
        self._child.join(1.0)  # it leaves by itself when the pipe closes, unless it hangs
        if self._child.is_alive():
            self._child.kill()
            self._child.join()


def _serve(build: Callable[[], tuple[Task, Any]], pipe: Connection, bounds: Bounds) -> None:
    """The child: builds the task, then answers until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            task, facts = build()
        except Exception as error:
            pipe.send(("raised", _portable(error)))
            return
        _limit_memory(bounds.max_memory_bytes)
        pipe.send(("answer", facts))
        while True:
            request = pipe.recv()
            pipe.send(_BEGUN)
            _limit_cpu(bounds.max_seconds)
            try:
                pipe.send(("answer", task(request, _pulse(pipe))))
            except MediaError as error:
                pipe.send(("raised", error))


def _portable(error: Exception) -> Exception:
    """The error's words in a built-in of its kind: some libraries' errors do not survive the way to the parent."""
    kind = next((kind for kind in (OSError, ImportError, ValueError) if isinstance(error, kind)), RuntimeError)
    return kind(str(error))


def _pulse(pipe: Connection) -> Pulse:
    last = time.monotonic()
    one_at_a_time = Lock()  # picture and sound are read in two threads

    def pulse() -> None:
        nonlocal last
        with one_at_a_time:
            if time.monotonic() - last >= _PULSE_S:
                last = time.monotonic()
                pipe.send(_BEGUN)

    return pulse


def _limit_memory(beyond: int) -> None:
    """Bounds the address space at what the process has now and `beyond` bytes; no core dumps of a user's media."""
    statm = Path("/proc/self/statm")
    if resource is None or not statm.exists():
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = now + beyond
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _limit_cpu(seconds: float) -> None:
    """Bounds the CPU time of the next request, also where the parent is gone and nobody watches the clock."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


class _Pulsing(Watcher):
    """A sign of life with everything that passes."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse

    def on_read(self) -> None:
        """See `Watcher`."""
        self._pulse()

    def on_voice(self, voice: Any) -> None:
        """See `Watcher`."""
        del voice
        self._pulse()

    def on_frame(self, frame: Any) -> None:
        """See `Watcher`."""
        del frame
        self._pulse()

    def on_score(self, score: Any) -> None:
        """See `Watcher`."""
        del score
        self._pulse()


def _build_judge(threads: int, model: str | None, options: dict[str, Any]) -> tuple[Task, dict[str, Any]]:
    disable_progress_bar()  # the terminal is the parent's
    torch.set_num_threads(threads)
    judge = Judge(model, **options)

    def task(path: str, pulse: Pulse) -> FileResult:
        return judge.detect(path, _Pulsing(pulse))

    return task, {"model_info": judge.model_info, "run": judge.run_facts}


class IsolatedJudge:
    """`judging.Judge` in a child process, which is replaced when a file ends it.

    Args:
        model, options: as in `Detector.from_pretrained`.
        bounds: what a file may cost.

    Raises:
        OSError, ValueError: as `Detector.from_pretrained`.
    """

    def __init__(self, model: str | None = None, *, bounds: Bounds | None = None, **options: Any) -> None:
        self.worker = Isolated(partial(_build_judge, torch.get_num_threads(), model, options), bounds)
        self.model_info: dict[str, Any] = self.worker.facts["model_info"]
        self.run_facts: dict[str, Any] = self.worker.facts["run"]

    def detect(self, path: str | os.PathLike[str]) -> FileResult:
        """Judges one file; the death of the child is a status as everything else that is wrong with a file."""
        name = os.fspath(path)
        begin = time.perf_counter()
        try:
            return self.worker(name, name)
        except MediaError as error:
            seconds = {"total": round(time.perf_counter() - begin, 3)}
            return FileResult(path=name, status=error.status, reason=error.reason, seconds=seconds)

    def close(self) -> None:
        """Ends the child."""
        self.worker.close()


def open_judge(model: str | None = None, *, isolate: bool = False, **options: Any) -> Judge | IsolatedJudge:
    """A judge in this process or in a child; `options` as in `Detector.from_pretrained`."""
    return IsolatedJudge(model, **options) if isolate else Judge(model, **options)
