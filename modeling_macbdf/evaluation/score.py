"""Scores a dataset through the same `Detector` as every other user: one row a clip, written as it comes.

Each file is decoded once; the witness of `masked` sees what the probes need in the same pass. A run that was broken
off goes on from its log, and several processes (`accelerate launch`) share the clips and end with the same rows.
"""

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..data.records import ClipRecord
from ..inference import Detector
from ..media.outcomes import MAY_PASS
from ..report import NOT_TEXT
from ..sources import FileSource
from ..verdicts import FileResult
from . import localisation
from .masked import MaskedModel
from .witness import StepWitness, Witness

Row = dict[str, Any]


def log_path(out: Path) -> Path:
    """Where the rows of an unfinished evaluation stand: beside the JSON that it will write."""
    return out.with_name(f".{out.name}.scores.jsonl")


def weights_digest(model: Any) -> str:
    """SHA-256 over a model's weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def made_by(detector: Detector, records: Sequence[ClipRecord], **options: Any) -> dict[str, Any]:
    """All that the rows of a run depend on, for its `ScoreLog`: model, processor, calibration, records, options."""
    lines = "\n".join(sorted(record.to_json() for record in records)).encode("utf-8", NOT_TEXT)
    config = detector.config.to_dict() | {"_name_or_path": ""}  # where a model lies makes no difference
    settings = json.dumps([config, detector.scorer.processor.to_dict()], sort_keys=True, default=str).encode()
    return {
        "version": __version__,
        "weights": weights_digest(detector.model),
        "settings": hashlib.sha256(settings).hexdigest(),
        "records": hashlib.sha256(lines).hexdigest(),
        "calibration": dict(detector.calibration),
        **options,
    }


def source_of(record: ClipRecord, detector: Detector) -> FileSource:
    """A record's media within the detector's limits."""
    return FileSource(record.path, detector.limits, record.audio_path)


def row_of(record: ClipRecord, result: FileResult) -> Row:
    """What is known of a clip, and what the detector said of it."""
    return {
        "path": record.path,
        "label": record.label,
        "video_label": record.video_label,
        "audio_label": record.audio_label,
        **said_of(result),
        "generator": record.generator,
        "source": record.source,
        "language": record.language,
        "group": record.group,
        "identity": "|".join(record.identities) or record.path,
        "pair": record.pair,
        "segments_s": known_segments(record),
    }


def said_of(result: FileResult) -> Row:
    """The part of a row that is the detector's."""
    return {
        "p_fake": result.p_fake,
        "p_fake_video": result.p_fake_video,
        "p_fake_audio": result.p_fake_audio,
        "distances": dict(result.distances),
        "status": str(result.status),
        "reason": result.reason,
        "verdict": None if result.verdict is None else str(result.verdict),
    }


def known_segments(record: ClipRecord) -> list[tuple[float, float]] | None:
    """Forged intervals of a clip, both streams together; None where those of one that may be forged are not known."""
    streams = ((record.video_label, record.video_segments_s), (record.audio_label, record.audio_segments_s))
    if record.label != 0 and any(segments is None and label != 0 for label, segments in streams):
        return None
    return localisation.merge(*(segments or () for _, segments in streams))


def witnessed_row(detector: Detector, probe: MaskedModel | None, record: ClipRecord) -> Row:
    """A row with the step scores and, with a probe, the features and the scores of the masked inputs."""
    witness = StepWitness() if probe is None else probe.witness()
    row = row_of(record, detector.judge(source_of(record, detector), witness))
    row["curve"] = witness.curve()
    if probe is not None and isinstance(witness, Witness):
        row |= {"features": witness.features(), "masked": probe.scores(witness)}
    return row


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is.

    Attributes:
        rank: from 0.
        count: of all processes.
        device: its own one, where there are several; "auto" leaves the choice to the detector.
    """

    rank: int = 0
    count: int = 1
    device: str = "auto"

    @classmethod
    def current(cls) -> "Processes":
        """Those that `accelerate launch` started; the process group is made where there are several."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, str(state.device))

    def gather(self, rows: list[Row]) -> list[Row]:
        """The rows of all processes, on each of them."""
        if self.count == 1:
            return rows
        from accelerate.utils import gather_object

        return list(gather_object(rows))


class ScoreLog:
    """Rows of a run as JSON lines, one file a process. Rows that another model or other options gave are refused.

    Args:
        path: of the first process; another one adds its number.
        made_by: what the rows depend on, such as the weights; must be equal for a run to be continued.
        rank: of the process.
    """

    def __init__(self, path: Path, made_by: dict[str, Any], rank: int = 0) -> None:
        self._path, self._made_by, self._rank = path, made_by, rank

    @property
    def file(self) -> Path:
        """Where this process writes."""
        return self._path if self._rank == 0 else self._path.with_suffix(f".{self._rank}{self._path.suffix}")

    def read(self) -> dict[str, Row]:
        """Rows by clip of an earlier try, whatever the number of its processes, without those of `MAY_PASS`.

        Raises:
            ValueError: the log was made by something else, or is damaged.
        """
        rows: dict[str, Row] = {}
        for file in self.files(self._path):
            rows |= self._read(file)
        return rows

    @staticmethod
    def files(path: Path) -> list[Path]:
        """The logs of all processes that belong to `path`."""
        found = sorted(path.parent.glob(f"{glob.escape(path.stem)}*{glob.escape(path.suffix)}"))
        return [file for file in found if file == path or file.stem.removeprefix(f"{path.stem}.").isdigit()]

    def _read(self, file: Path) -> dict[str, Row]:
        # Without the last piece: it is empty, or half a line of a run that was killed.
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        if lines and lines[0] != json.dumps(self._made_by):
            raise ValueError(
                f"{file} must hold scores of this model and these options to go on from, but was made by {lines[0]}; "
                "delete it to begin anew"
            )
        try:
            entries = [json.loads(line) for line in lines[1:]]
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{file} must hold JSON lines, but is damaged: {error}; delete it to begin anew"
            ) from error
        return {entry["key"]: entry["row"] for entry in entries if not _failed(entry["row"])}

    def open(self) -> "ScoreLog":
        """Begins this process's file where there is none, and cuts a half-written last line off."""
        text = self.file.read_bytes() if self.file.exists() else b""
        self.file.write_bytes(text[: text.rfind(b"\n") + 1] or json.dumps(self._made_by).encode() + b"\n")
        return self

    def remove(self) -> None:
        """Deletes the logs of all processes: their rows stand in a result now."""
        for file in self.files(self._path):
            file.unlink()

    def add(self, key: str, row: Row) -> None:
        """Writes one row away at once."""
        with self.file.open("a", encoding="utf-8", errors=NOT_TEXT) as file:
            file.write(json.dumps({"key": key, "row": row}, ensure_ascii=False) + "\n")


def _failed(row: Row) -> bool:
    """Whether a clip, as it is or under a condition, may have a score at the next try."""
    said = [row, *row.get("conditions", {}).values()]
    return any(answer.get("status") in MAY_PASS for answer in said)


def score_all(
    records: Sequence[ClipRecord],
    score: Callable[[ClipRecord], Row],
    log: ScoreLog | None = None,
    processes: Processes | None = None,
    progress: Callable[[Sequence[ClipRecord]], Iterable[ClipRecord]] = iter,
) -> list[Row]:
    """Rows of all records in their order, on every process.

    Args:
        records: the clips, the same on all processes.
        score: one clip to its row.
        log: where rows are kept and found again.
        processes: among which the clips are shared.
        progress: passes the clips on and shows how far they are.
    """
    processes = processes or Processes()
    known = log.read() if log is not None else {}
    processes.gather([])  # nobody writes before all have read: then all share the rest alike
    if log is not None:
        log.open()
    todo = [record for record in records if record.key not in known]
    fresh = []
    for record in progress(todo[processes.rank :: processes.count]):
        row = score(record)
        if log is not None:
            log.add(record.key, row)
        fresh.append({"key": record.key, "row": row})
    known |= {entry["key"]: entry["row"] for entry in processes.gather(fresh)}
    return [known[record.key] for record in records]
