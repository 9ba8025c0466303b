"""Many files over processes and machines: outcomes written as they come, and a broken run goes on where it stopped."""

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .data.sharding import launched_shard
from .disk import full_disk_told
from .isolation import IsolatedJudge, open_judge
from .judging import Judge
from .media.outcomes import MAY_PASS
from .report import NOT_TEXT

_LINE = b'{"model": {"id": '  # how every line begins
_of_process: Judge | IsolatedJudge | None = None


def judge_into(
    out: Path, paths: Sequence[str], processes: int, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Judges files and appends a line of JSON for each to `out` as it comes; files that it holds are left out.

    A file whose line has a status of `TRY_AGAIN` is judged again, and its last line holds.

    Under `accelerate launch` or `torchrun` each process takes its part of the files and writes a file of its own.

    Args:
        out: the JSON lines file.
        paths: the files.
        processes: how many judge at once on this machine.
        options: of `isolation.open_judge`.

    Yields:
        The outcomes, first those that were there and hold: `FileResult` as a mapping, and "model".

    Raises:
        ValueError: if `out` holds outcomes of another model or something else, `processes` is below 1, or a process
            was killed.
        OSError: if nothing more can be written to `out`.
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, but got {processes}")
    part, parts = launched_shard((0, 1), os.environ)
    if parts > 1:
        out = out.with_name(f"{out.stem}-{part:04d}-of-{parts:04d}{out.suffix}")
    before = read_outcomes(out)
    mine = list(paths)[part::parts]
    settled = [outcome for outcome in before if outcome["status"] not in MAY_PASS]
    known = {outcome["path"] for outcome in settled}
    yield from settled
    model = before[0]["model"] if before else None
    kept = "the outcomes before are in it, and the same command goes on"
    with full_disk_told(out, kept), open(out, "a", encoding="utf-8", errors=NOT_TEXT) as file:
        for outcome in _outcomes([path for path in mine if path not in known], processes, options):
            if model not in (None, outcome["model"]):
                raise ValueError(
                    f"{out} holds outcomes of the model {model}, not of {outcome['model']}: name another file"
                )
            file.write(json.dumps(outcome, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            yield outcome


def read_outcomes(path: Path) -> list[dict[str, Any]]:
    """The outcomes of an earlier run, empty without one; a last line that was broken off is cut from the file.

    Raises:
        ValueError: if the file holds anything else, which is left as it is.
    """
    if not path.exists():
        return []
    *lines, tail = path.read_bytes().split(b"\n")
    outcomes = [_outcome(line, number, path) for number, line in enumerate(lines, start=1)]
    if tail and not (tail.startswith(_LINE) or _LINE.startswith(tail)):
        raise _no_outcome(len(lines) + 1, path)
    if tail:
        os.truncate(path, path.stat().st_size - len(tail))
    return outcomes


def _outcome(line: bytes, number: int, path: Path) -> dict[str, Any]:
    try:
        outcome = json.loads(line)
    except ValueError:
        outcome = None
    if not isinstance(outcome, dict) or not {"model", "path", "status"} <= outcome.keys():
        raise _no_outcome(number, path)
    return outcome


def _no_outcome(number: int, path: Path) -> ValueError:
    return ValueError(f"{path} must hold outcomes of --jsonl, but its line {number} is none: name another file")


def _outcomes(paths: Sequence[str], processes: int, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if not paths:
        return
    if processes == 1:
        _begin(dict(options), torch.get_num_threads())
        yield from map(_judge, paths)
        return
    threads = max(torch.get_num_threads() // processes, 1)
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(dict(options), threads)
    )
    try:
        for future in as_completed([pool.submit(_judge, path) for path in paths]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ValueError(
            "a process was killed (too little memory?) or could not load the model; the same command goes on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(options: dict[str, Any], threads: int) -> None:
    """Loads the judge of this process."""
    global _of_process
    torch.set_num_threads(threads)
    _of_process = open_judge(**options)


def _judge(path: str) -> dict[str, Any]:
    if _of_process is None:
        raise RuntimeError("the model must be loaded first")
    result = _of_process.detect(path)
    return {"model": _of_process.model_info, **asdict(result)}
