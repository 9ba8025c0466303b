"""Verdicts as JSON, CSV and text. The JSON is documented in docs/verdicts.md; `SCHEMA_VERSION` changes with it."""

import csv
import dataclasses
import io
import json
import os
import platform
import secrets
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .disk import full_disk_told
from .provenance import in_words
from .verdicts import FileResult

SCHEMA_VERSION = 1
NOT_TEXT = "backslashreplace"  # how a file name that is no text is written
CSV_COLUMNS = (
    "path",
    "status",
    "verdict",
    "p_fake",
    "p_fake_video",
    "p_fake_audio",
    "in_sync",
    "duration_s",
    "reason",
    "sha256",
    "warnings",
)
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # Unicode's categories: control, format, surrogates, line breaks
_JOINERS = "\u200c\u200d"  # of ordinary names, in Persian or between emoji
_VERSIONS_OF = ("macb-df", "torch", "transformers", "numpy", "av", "onnxruntime")


def as_json(
    results: Sequence[FileResult], model: Mapping[str, Any], run: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The whole report as one JSON-ready mapping.

    Args:
        results: the files.
        model: its "id" and "revision".
        run: what `run_facts` says.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "model": dict(model),
        "run": None if run is None else dict(run),
        "files": [dataclasses.asdict(result) for result in results],
        "summary": summary(results),
    }


def run_facts(detector: Any) -> dict[str, Any]:
    """When, with which versions and with which settings a `Detector` judged."""
    settings = {
        "device": str(detector.model.device),
        "batch_size": detector.scorer.batch_size,
        "max_duration_s": float(detector.limits.max_duration_s),
        "steps_per_s": float(detector.config.frame_rate_hz),
        "window_steps": detector.config.num_frames,
        "crop_px": detector.tracking.crop_size,
        "detect_every_steps": detector.tracking.detect_every,
        "steady_every_steps": detector.tracking.steady_every,
        "real_below": detector.calibration["real_below"],
        "fake_above": detector.calibration["fake_above"],
        "alone": detector.calibration.get("alone"),
    }
    versions = {"python": platform.python_version(), **{name: _version(name) for name in _VERSIONS_OF}}
    return {"created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions, "settings": settings}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def as_csv(results: Sequence[FileResult]) -> str:
    """One row a file, the columns of `CSV_COLUMNS`; empty where there is no answer."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    writer.writerows([_cell(getattr(result, column)) for column in CSV_COLUMNS] for result in results)
    return text.getvalue()


def _cell(value: Any) -> str:
    """A CSV cell. A leading =, +, - or @ would be run as a formula by spreadsheets, so text that has one is quoted."""
    text = "; ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    return "'" + text if isinstance(value, str | tuple) and text[:1] in ("=", "+", "-", "@") else text


def summary(results: Sequence[FileResult]) -> dict[str, Any]:
    """How many files there were, how many were scored, and counts by status and by verdict."""
    return {
        "files": len(results),
        "scored": sum(result.scored for result in results),
        "by_status": dict(Counter(str(result.status) for result in results)),
        "by_verdict": dict(Counter(str(result.verdict) for result in results if result.verdict)),
    }


def on_one_line(text: str) -> str:
    """The text with its control characters written out: a file's name or metadata could fake lines of a terminal."""
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _HIDDEN and char not in _JOINERS
        else char
        for char in text
    )


def as_text(result: FileResult) -> str:
    """A short readable verdict for one file."""
    return "\n".join(map(on_one_line, _lines(result)))


def _lines(result: FileResult) -> list[str]:
    if not result.scored:
        return [result.path, f"  NOT JUDGED ({result.status}): {result.reason}"]
    lines = [result.path, f"  {_headline(result)}", f"  {_streams(result)}"]
    worst = max(result.timeline, key=lambda segment: segment.p_fake, default=None)
    if worst is not None:
        lines.append(f"  most suspicious: {worst.start_s:.1f}-{worst.end_s:.1f} s")
    lines += [
        f"  face {face.track}: {face.start_s:.1f}-{face.end_s:.1f} s, {face.p_fake:.0%}" for face in result.faces[1:]
    ]
    lines += [f"  note: {note}" for note in ([result.reason] if result.reason else []) + list(result.warnings)]
    if result.provenance is not None and result.provenance.state in ("valid", "invalid"):
        lines.append(f"  {in_words(result.provenance)}")
    return lines


def _headline(result: FileResult) -> str:
    known = {"real": "more likely real than forged", "fake": "likely forged", "inconclusive": "cannot tell"}
    words = known[str(result.verdict)]
    return f"{str(result.verdict).upper()} - {words}; probability of forgery {result.p_fake:.0%}"


def _streams(result: FileResult) -> str:
    def word(p: float | None) -> str:
        return "not judged" if p is None else f"{p:.0%}"

    return f"picture {word(result.p_fake_video)}, voice {word(result.p_fake_audio)}, faces {len(result.faces)}"


def summary_text(results: Sequence[FileResult]) -> str:
    """One line that accounts for every file."""
    counts = summary(results)
    verdicts = ", ".join(f"{count} {name}" for name, count in sorted(counts["by_verdict"].items()))
    skipped = Counter(str(result.status) for result in results if not result.scored)
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(skipped.items()))
    parts = [f"{counts['files']} files: {counts['scored']} scored"]
    parts += [f"({verdicts})"] if verdicts else []
    parts += (
        [f"- {counts['files'] - counts['scored']} not judged ({reasons})"]
        if counts["scored"] < counts["files"]
        else []
    )
    return " ".join(parts)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file whole or not at all: a full disk or a kill leaves the old file.

    Raises:
        OSError: if the folder is absent, not writable or full.
    """
    if path.exists() and not path.is_file():  # a terminal or a pipe is not replaced by a file
        path.write_text(text, encoding="utf-8", errors=NOT_TEXT)
        return
    path = path.resolve()  # a link stays, and what it points to is written
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with (
            full_disk_told(path, "it is as it was before"),
            temporary.open("x", encoding="utf-8", errors=NOT_TEXT) as file,
        ):
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def dump_json(report: Mapping[str, Any]) -> str:
    """The report as text; NaN is refused, because JSON has none."""
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
