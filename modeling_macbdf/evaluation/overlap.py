"""Whether the people of a test were trained on. A model folder says by hashes who was in its training."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from ..data.records import ClipRecord

PEOPLE_FILE = "training_people.json"


def people_hashes(record: ClipRecord) -> list[str]:
    """16 hex digits for each person of a clip, see `ClipRecord.people`."""
    return [hashlib.sha256(name.encode()).hexdigest()[:16] for name in record.people]


def write_training_people(folder: Path, records: Iterable[ClipRecord]) -> Path:
    """Leaves the hashes of everybody in the training clips in a model folder; returns the file."""
    people = sorted({person for record in records for person in people_hashes(record)})
    path = folder / PEOPLE_FILE
    path.write_text(json.dumps({"people": people}, indent=0) + "\n", encoding="utf-8")
    return path


def training_people(model: str, revision: str | None = None) -> set[str] | None:
    """The hashes that a model folder or repository holds; None where it does not say."""
    found = cached_file(
        model,
        PEOPLE_FILE,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else set(json.loads(Path(found).read_text(encoding="utf-8"))["people"])


def identity_overlap(records: Sequence[ClipRecord], trained_on: set[str] | None) -> dict[str, Any]:
    """People and clips that the training data share with these clips.

    Args:
        records: of the test.
        trained_on: see `training_people`.
    """
    people = {person for record in records for person in people_hashes(record)}
    if trained_on is None:
        reason = f"the model does not say who it was trained on (no {PEOPLE_FILE})"
        return {"people": len(people), "shared_people": None, "shared_clips": None, "reason": reason}
    clips = sum(bool(trained_on & set(people_hashes(record))) for record in records)
    nameless = sum(not record.identities for record in records)
    return {
        "people": len(people),
        "shared_people": len(people & trained_on),
        "shared_clips": clips,
        "clips_without_names": nameless,
    }
