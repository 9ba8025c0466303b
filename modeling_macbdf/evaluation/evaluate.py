"""Scores a dataset through the same `Detector` as every other user, and says what the scores are worth.

Nothing is dropped: clips without a score are counted by status, and appear in a worst-case column as if they had been
answered wrongly with full confidence.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..data.records import ClipRecord
from ..inference import Detector
from ..verdicts import FileResult
from . import metrics
from .calibration import ANSWERS


def score_records(
    detector: Detector, records: Iterable[ClipRecord], on_result: Callable[[FileResult], None] | None = None
) -> list[dict[str, Any]]:
    """One row per record: its labels and group names beside what the detector said."""
    rows = []
    for record in records:
        result = detector.detect(record.path)
        if on_result is not None:
            on_result(result)
        rows.append(_row(record, result))
    return rows


def _row(record: ClipRecord, result: FileResult) -> dict[str, Any]:
    return {
        "path": record.path,
        "label": record.label,
        "video_label": record.video_label,
        "audio_label": record.audio_label,
        "p_fake": result.p_fake,
        "p_fake_video": result.p_fake_video,
        "p_fake_audio": result.p_fake_audio,
        "distances": dict(result.distances),
        "status": str(result.status),
        "verdict": None if result.verdict is None else str(result.verdict),
        "generator": record.generator,
        "source": record.source,
        "language": record.language,
        "group": record.group,
        "identity": "|".join(sorted(record.identities)) or record.path,
        "pair": record.pair,
    }


def evaluate(rows: Sequence[dict[str, Any]], *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Metrics, intervals and coverage of scored rows.

    Args:
        rows: of `score_records`.
        resamples: bootstrap draws over identities.
        seed: of the draws.

    Returns:
        "metrics" of the clip's answer, "intervals" (95 %, by identity), "by_generator" and "streams" (AUCs),
        "worst_case" (clips without a score counted as wrong), "coverage" and "scores".
    """
    judged = [row for row in rows if row["p_fake"] is not None and row["label"] is not None]
    return {
        "metrics": answer_metrics(judged),
        "intervals": intervals(judged, resamples, seed),
        "by_generator": _by_generator(judged),
        "streams": {name: stream_metrics(rows, name) for name in ("video", "audio")},
        "worst_case": answer_metrics([_as_wrong(row) for row in rows if row["label"] is not None]),
        "coverage": coverage(rows),
        "scores": list(rows),
    }


def _columns(rows: Sequence[dict[str, Any]], answer: str = "joint") -> tuple[np.ndarray, np.ndarray]:
    score, label = ANSWERS[answer]
    return np.array([row[label] for row in rows], int), np.array([row[score] for row in rows], float)


def _names(rows: Sequence[dict[str, Any]], column: str) -> list[str]:
    return [row[column] for row in rows]


def answer_metrics(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Metrics of the clip's answer; None where they are not defined (one class only)."""
    labels, scores = _columns(rows)
    if len(set(labels.tolist())) < 2:
        return {"auc": None}
    generators, sources = _names(rows, "generator"), _names(rows, "source")
    verdicts = np.array(_names(rows, "verdict"))
    values = {
        "auc": metrics.auc(labels, scores),
        "macro_auc": metrics.macro_auc(labels, scores, generators),
        "macro_auc_balanced": metrics.macro_auc(labels, scores, generators, sources),
        "eer": metrics.equal_error_rate(labels, scores),
        "tpr_at_fpr_0.05": metrics.tpr_at_fpr(labels, scores, 0.05),
        "balanced_accuracy": float(np.mean([np.mean((scores >= 0.5)[labels == k] == k) for k in (0, 1)])),
        "ece": metrics.expected_calibration_error(labels, scores),
        "brier": float(np.mean((scores - labels) ** 2)),
        "reals_called_fake": float(np.mean(verdicts[labels == 0] == "fake")),
        "fakes_called_real": float(np.mean(verdicts[labels == 1] == "real")),
        "inconclusive": float(np.mean(verdicts == "inconclusive")),
        "pair_accuracy": metrics.pair_accuracy(labels, scores, _names(rows, "pair")),
    }
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def intervals(rows: Sequence[dict[str, Any]], resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """95 % intervals of the AUCs by bootstrap over identities."""
    labels, scores = _columns(rows)
    if len(set(labels.tolist())) < 2:
        return {}
    generators, sources = np.array(_names(rows, "generator")), np.array(_names(rows, "source"))
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "auc": lambda i: metrics.auc(labels[i], scores[i]),
        "macro_auc": lambda i: metrics.macro_auc(labels[i], scores[i], generators[i]),
        "macro_auc_balanced": lambda i: metrics.macro_auc(labels[i], scores[i], generators[i], sources[i]),
    }
    identities = _names(rows, "identity")
    return {
        name: metrics.bootstrap_interval(statistic, identities, resamples=resamples, seed=seed)
        for name, statistic in statistics.items()
    }


def _by_generator(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    labels, scores = _columns(rows)
    generators, sources = _names(rows, "generator"), _names(rows, "source")
    plain = metrics.generator_aucs(labels, scores, generators)
    balanced = metrics.generator_aucs(labels, scores, generators, metrics.source_weights(labels, sources))
    counts = Counter(name for name, label in zip(generators, labels, strict=True) if label == 1)
    return {name: {"clips": counts[name], "auc": plain[name], "auc_balanced": balanced[name]} for name in plain}


def stream_metrics(rows: Sequence[dict[str, Any]], answer: str) -> dict[str, float | int | None]:
    """AUC of one stream's own answer: against the stream's label where known, and against the clip's."""
    score, label = ANSWERS[answer]
    scored = [row for row in rows if row[score] is not None]
    result: dict[str, float | int | None] = {"scored": len(scored)}
    for name, column in (("auc", label), ("auc_against_clip", "label")):
        known = [row for row in scored if row[column] is not None]
        value = metrics.auc(np.array([row[column] for row in known], int), np.array([row[score] for row in known]))
        result[name] = None if np.isnan(value) else value
    return result


def _as_wrong(row: dict[str, Any]) -> dict[str, Any]:
    """A clip without a score, as the worst answer that it could have got."""
    if row["p_fake"] is not None:
        return row
    return {**row, "p_fake": 1.0 - row["label"], "verdict": "real" if row["label"] else "fake"}


def coverage(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many clips there were, how many got a score, and every outcome by class."""
    by_status = Counter((row["status"], {0: "real", 1: "fake"}.get(row["label"], "unknown")) for row in rows)
    return {
        "clips": len(rows),
        "scored": sum(row["p_fake"] is not None for row in rows),
        "by_status": {f"{status}/{label}": count for (status, label), count in sorted(by_status.items())},
    }
