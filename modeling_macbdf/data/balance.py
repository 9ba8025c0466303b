"""How often each clip is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .records import ClipRecord

BALANCES = ("none", "source", "identity", "label_source")


def _group(record: ClipRecord, balance: str) -> tuple[object, ...]:
    if balance == "identity":
        return record.identities[:1]
    return (record.source or record.generator,) if balance == "source" else (record.label, record.source)


def track_weights(records: Sequence[ClipRecord], balance: str) -> np.ndarray | None:
    """(N,) probabilities that give every group the same total; None for "none"."""
    if balance == "none":
        return None
    groups = [_group(record, balance) for record in records]
    count = Counter(groups)
    weights = np.array([1 / count[group] for group in groups])
    if balance == "label_source":
        labels = np.array([str(record.label) for record in records])
        for label in set(labels):
            weights[labels == label] /= weights[labels == label].sum()
    return weights / weights.sum()
