"""Errors by group of people or of footage: who bears the mistakes."""

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("group", "language", "source")


def by_group(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Per column of the scored rows that tells at least two groups apart: group -> counts and shares of verdicts.

    Args:
        scores: rows of `macbdf evaluate`; those without a verdict or a label do not count.

    Returns:
        For each group "reals" and "fakes" (counts), "reals_called_fake", "reals_inconclusive" and
        "fakes_called_real" (shares; None where there is no clip of that class).
    """
    judged = [row for row in scores if row.get("verdict") is not None and row.get("label") is not None]
    tables = {}
    for column in COLUMNS:
        groups = sorted({row.get(column) or "" for row in judged} - {""})
        if len(groups) > 1:
            tables[column] = {group: _errors([row for row in judged if row.get(column) == group]) for group in groups}
    return tables


def _errors(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    verdicts = {label: [row["verdict"] for row in rows if row["label"] == label] for label in (0, 1)}
    return {
        "reals": len(verdicts[0]),
        "reals_called_fake": _share(verdicts[0], "fake"),
        "reals_inconclusive": _share(verdicts[0], "inconclusive"),
        "fakes": len(verdicts[1]),
        "fakes_called_real": _share(verdicts[1], "real"),
    }


def _share(verdicts: Sequence[str], verdict: str) -> float | None:
    return verdicts.count(verdict) / len(verdicts) if verdicts else None
