"""Records in, cached face tracks and sound out: once, in parallel, resumable, nothing dropped in silence.

    macbdf preprocess --dataset manifest --root index.csv --columns path=file label=label --out cache

Several machines share the work with `--shard i/n`, and the processes of `accelerate launch` or `torchrun` share it by
themselves; each writes its own shards into the same folder. A run that was broken off goes on where it stopped.
Detector, tracker and decoder are those of `macbdf detect`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..media.audio import SILENCE_PEAK, Audio, read_audio
from ..media.decode import iter_frames
from ..media.faces import CenterFaceDetector, FaceDetector
from ..media.outcomes import MediaError, Status
from ..media.tracks import FaceTrack, TrackOptions
from .cache import (
    CACHED,
    TRY_AGAIN,
    CacheSettings,
    Outcome,
    read_outcomes,
    shard_files,
    sound_columns,
    summarize,
    track_row,
    write_atomic,
    write_shard,
)
from .corrections import correct_records
from .dense import dense_tracks
from .photos import is_photo, photo_frames
from .records import ClipRecord
from .sharding import in_share

SHARD_BYTES = 96 * 2**20
SHARD_CLIPS = 256
PARTLY = (Status.no_face, Status.no_video, Status.too_short)  # the sound may still be of use
_worker: dict[str, Any] = {}  # the detector and settings of a worker process


@dataclass(frozen=True)
class ClipResult:
    """The rows of one clip and its outcome."""

    rows: list[dict[str, Any]]
    outcome: Outcome


def _tracks(
    record: ClipRecord, settings: CacheSettings, detector: FaceDetector, threads: int, warnings: list[str]
) -> list[FaceTrack]:
    options = TrackOptions(crop_size=settings.crop_size, crop_scale=settings.crop_scale)
    photo, rate_hz = is_photo(record.path), settings.cache_rate_hz
    frames = (
        photo_frames(record.path, settings)
        if photo
        else iter_frames(record.path, rate_hz, threads=threads, warnings=warnings)
    )
    shortest = 1 if photo else settings.min_steps
    tracks = dense_tracks(frames, detector, options, settings.stride, shortest)
    if not tracks:
        raise MediaError(Status.no_face, f"no face was followed for {shortest} steps or more", record.path)
    return tracks


def _sound(record: ClipRecord, settings: CacheSettings) -> tuple[Audio | None, str]:
    """The clip's sound, or None and why."""
    if is_photo(record.path) and record.audio_path is None:
        return None, "a photograph has no sound"
    try:
        audio = read_audio(record.audio_path or record.path, settings.sampling_rate)
    except MediaError as error:
        return None, error.reason
    if audio is None:
        return None, "the file has no audio stream"
    return (None, "the sound is silent") if audio.is_silent else (audio, "")


def process_clip(record: ClipRecord, settings: CacheSettings, detector: FaceDetector, threads: int = 0) -> ClipResult:
    """One clip through decoder, detector and tracker; every failure becomes an outcome.

    Args:
        record: the clip.
        settings: of the cache.
        detector: finds the faces.
        threads: of the decoder; 0 = one per core.
    """
    begin = time.perf_counter()
    status, reason, rows = CACHED, "", []
    tracks: list[FaceTrack] = []
    audio: Audio | None = None
    warnings: list[str] = []  # of a file that could be decoded, such as one that ends early
    try:
        audio, silence = _sound(record, settings)
        status, reason = (CACHED, "") if audio is not None else (str(Status.no_audio), silence)
        try:
            tracks = _tracks(record, settings, detector, threads, warnings)
        except MediaError as error:
            if error.status not in PARTLY:
                raise
            status, reason = str(error.status), error.reason
        sound = sound_columns(audio, SILENCE_PEAK)
        faces: list[FaceTrack | None] = [*tracks]
        for track in faces or ([None] if audio is not None else []):
            rows.append(track_row(record, track, sound, settings.jpeg_quality))  # noqa: PERF401
        heard = audio.warnings if audio is not None else ()
        reason = "; ".join(filter(None, dict.fromkeys((reason, *warnings, *heard))))
    except MediaError as error:
        status, reason, rows, tracks, audio = str(error.status), error.reason, [], [], None
    except Exception as error:  # our own fault must not end a run over many thousand clips; it is counted and named
        status, rows, tracks, audio = str(Status.internal_error), [], [], None
        reason = f"{type(error).__name__}: {error}"
    outcome = Outcome(
        record.key, record.path, record.row, status, reason,
        tracks=len(tracks),
        crops=sum(len(track.steps) for track in tracks),
        audio_s=round(audio.duration_s, 3) if audio is not None else 0.0,
        seconds=round(time.perf_counter() - begin, 3),
    )  # fmt: skip
    return ClipResult(rows, outcome)


def _start_worker(settings: CacheSettings) -> None:
    _worker["settings"], _worker["detector"] = settings, CenterFaceDetector(threads=1)


def _work(record: ClipRecord) -> ClipResult:
    return process_clip(record, _worker["settings"], _worker["detector"], threads=1)


def _crashed(record: ClipRecord) -> ClipResult:
    reason = "the worker process died on this clip"
    return ClipResult([], Outcome(record.key, record.path, record.row, str(Status.internal_error), reason))


def _alone(record: ClipRecord, settings: CacheSettings) -> ClipResult:
    """A clip in a process of its own, after a pool broke: finds out which clip kills its worker."""
    with _pool(1, settings) as pool:
        try:
            return pool.submit(_work, record).result()
        except BrokenProcessPool:
            return _crashed(record)


def _pool(processes: int, settings: CacheSettings) -> ProcessPoolExecutor:
    # A plain fork may hang in onnxruntime or ffmpeg. The fork server imports the package once, for all workers.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker, initargs=(settings,))


def _in_parallel(records: Sequence[ClipRecord], settings: CacheSettings, processes: int) -> Iterator[ClipResult]:
    """Results in the order of the records, a few clips ahead at most."""
    waiting = iter(records)
    pool = _pool(processes, settings)
    running: list[tuple[ClipRecord, Future[ClipResult]]] = []
    try:
        while True:
            fresh = list(islice(waiting, 3 * processes - len(running)))
            if not (running or fresh):
                return
            try:  # a dead worker shows when work is given as well as when it is fetched
                running += [(record, pool.submit(_work, record)) for record in fresh]
                fresh = []
                result = running[0][1].result()
            except BrokenProcessPool:
                suspects = [*(record for record, _ in running), *fresh]
                pool.shutdown(wait=False, cancel_futures=True)
                pool, running = _pool(processes, settings), []
                for suspect in suspects:
                    yield _alone(suspect, settings)
            else:
                running.pop(0)
                yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _results(
    records: Sequence[ClipRecord], settings: CacheSettings, processes: int, detector: FaceDetector | None
) -> Iterator[ClipResult]:
    if processes > 1:
        yield from _in_parallel(records, settings, processes)
        return
    finder = detector or CenterFaceDetector()
    for record in records:
        yield process_clip(record, settings, finder)


class _ShardWriter:
    """Collects rows and writes them away in shards of limited size."""

    def __init__(self, folder: Path, shard: tuple[int, int]) -> None:
        self._folder, self._stem = folder, f"tracks-{shard[0]:04d}-of-{shard[1]:04d}"
        taken = [int(path.stem.rsplit("-", 1)[1]) for path in shard_files(folder) if path.stem.startswith(self._stem)]
        self._next = max(taken, default=-1) + 1
        self._rows: list[dict[str, Any]] = []
        self._outcomes: list[Outcome] = []
        self._bytes = 0

    def add(self, result: ClipResult) -> None:
        self._rows += result.rows
        self._outcomes.append(result.outcome)
        self._bytes += sum(len(row["audio"]) + sum(map(len, row["crops"])) for row in result.rows)
        if self._bytes >= SHARD_BYTES or len(self._outcomes) >= SHARD_CLIPS:
            self.flush()

    def flush(self) -> None:
        if self._outcomes:
            write_shard(self._folder / f"{self._stem}-{self._next:05d}.parquet", self._rows, self._outcomes)
            self._next, self._rows, self._outcomes, self._bytes = self._next + 1, [], [], 0


def finished(folder: Path) -> set[str]:
    """Keys of the clips that need no other try: they are in the cache, or it is known why they are not."""
    return {outcome.key for outcome in read_outcomes(folder) if outcome.status not in TRY_AGAIN}


def preprocess(
    records: Sequence[ClipRecord],
    folder: str | Path,
    settings: CacheSettings | None = None,
    processes: int = 1,
    shard: tuple[int, int] = (0, 1),
    progress: bool = False,
    detector: FaceDetector | None = None,
) -> dict[str, Any]:
    """Fill a cache with the clips that it does not hold yet, and correct the records of those that it holds.

    Args:
        records: of a dataset's reader.
        folder: of the cache; made if it does not exist.
        settings: what to store; must be those of an existing cache.
        processes: worker processes on this machine.
        shard: (i, n), this machine's share.
        progress: whether to show a bar.
        detector: another face detector; with one process only.

    Returns:
        "done", how many clips of the list have their outcome, and "relabelled", how many of this share had another
        record before; then the summary of the whole cache so far, as in `summary.json`.

    Raises:
        ValueError: `settings` differ from the cache's, or a custom detector should run in several processes.
    """
    if processes < 1 or (detector is not None and processes > 1):
        raise ValueError(f"processes must be 1 with a detector of one's own, and at least 1, but got {processes}")
    folder, settings = Path(folder), settings or CacheSettings()
    settings.save(folder)
    _check_paths(records, folder)
    # Each file once, as the list names it last.
    chosen = zip(records, in_share([record.path for record in records], shard), strict=True)
    mine = {record.key: record for record, is_mine in chosen if is_mine}
    relabelled = correct_records(mine, folder, shard)
    done = finished(folder)
    todo = [record for key, record in mine.items() if key not in done]
    writer = _ShardWriter(folder, shard)
    try:
        for result in _with_bar(_results(todo, settings, processes, detector), len(todo), progress):
            writer.add(result)
    finally:
        writer.flush()  # what is finished is kept, also on Ctrl-C
    listed = {record.key for record in records}
    told = {"done": f"{len(listed & finished(folder))} of {len(listed)} clips of the list", "relabelled": relabelled}
    return told | _write_summary(folder)


def _check_paths(records: Sequence[ClipRecord], folder: Path) -> None:
    """Refuse a cache that holds clips of the list under other paths: they would be in it twice."""
    listed = {record.path for record in records}
    others = {outcome.path for outcome in read_outcomes(folder)} - listed
    if same := sorted(path for path in others if os.path.abspath(path) in listed):
        raise ValueError(
            f"folder must be a new one: {folder} holds {len(same)} clips of the list by relative paths, "
            f"such as {same[0]}"
        )


def _write_summary(folder: Path) -> dict[str, Any]:
    """The summary of the cache; written again if another process finished in the meantime."""
    outcomes: list[Outcome] = []
    summary: dict[str, Any] = {}
    while not summary or read_outcomes(folder) != outcomes:
        outcomes = read_outcomes(folder)
        summary = summarize(outcomes)
        write_atomic(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False).encode())
    return summary


def _with_bar(results: Iterator[ClipResult], total: int, progress: bool) -> Iterator[ClipResult]:
    if not progress:
        return results
    from tqdm import tqdm

    return iter(tqdm(results, total=total, unit="clip", desc="preprocess"))
