"""What an evaluation during training says, from the logits of its windows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from transformers.trainer_utils import EvalPrediction, PredictionOutput

from ..data.records import ClipRecord
from ..evaluation import metrics
from ..evaluation.calibration import ANSWERS


def window_metrics(records: Sequence[ClipRecord] | None) -> Callable[[EvalPrediction], dict[str, float]]:
    """Metrics of the evaluation windows: AUC of each answer, balanced accuracy at even odds, source-balanced AUC.

    Args:
        records: the clip of each window; with them the joint metrics are those of whole clips (mean log-odds).
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        rows = scored_rows(prediction, records)
        values = {}
        for answer, (score, label) in ANSWERS.items():
            known = [row for row in rows if row[score] is not None and row[label] is not None]
            labels, scores = (np.array([row[name] for row in known], float) for name in (label, score))
            values["auc" if answer == "joint" else f"auc_{answer}"] = metrics.auc(labels.astype(int), scores)
        return values | _joint_metrics(rows)

    return compute


def _joint_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    clips = _by_clip([row for row in rows if row["label"] is not None and row["p_fake"] is not None])
    labels, scores = (np.array([clip[name] for clip in clips]) for name in ("label", "p_fake"))
    answers = [np.mean((scores >= 0.5)[labels == label] == label) for label in (0, 1) if (labels == label).any()]
    generators, sources = ([clip[name] for clip in clips] for name in ("generator", "source"))
    return {
        "balanced_accuracy": float(np.mean(answers)),
        "macro_auc_balanced": metrics.macro_auc(labels, scores, generators, sources),
    }


def _by_clip(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a clip, with the mean log-odds of its windows; a window forged on the fly is a clip of its own."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["path"], []).append(row)
    merged = []
    for group in groups.values():
        p = np.clip([row["p_fake"] for row in group], 1e-12, 1 - 1e-12)
        odds = float(np.mean(np.log(p / (1 - p))))
        merged.append(dict(group[0]) | {"p_fake": 1 / (1 + np.exp(-odds))})
    return merged


def scored_rows(
    found: EvalPrediction | PredictionOutput, records: Sequence[ClipRecord] | None
) -> list[dict[str, Any]]:
    """Windows as rows of `evaluation.score.row_of`: raw probabilities, labels, group names.

    Args:
        found: its predictions begin with the joint, video and audio logits (N,), NaN for a missing stream; its labels
            are those of clip, video and audio (N,), -100 = unknown.
        records: the clip of each window, where windows belong to recorded clips.
    """
    predictions, labels = list(found.predictions)[:3], list(found.label_ids or ())
    rows = []
    for index in range(len(predictions[0])):
        p = [_probability(column[index]) for column in predictions]
        known = [int(column[index]) if column[index] in (0, 1) else None for column in labels]
        record = None if records is None else records[index]
        row: dict[str, Any] = dict(zip(("p_fake", "p_fake_video", "p_fake_audio"), p, strict=True))
        row |= dict(zip(("label", "video_label", "audio_label"), known, strict=True))
        row["status"] = "no_video" if p[1] is None else "no_audio" if p[2] is None else "scored"
        row["path"] = f"window {index}" if record is None else record.path
        row["source"] = "" if record is None else record.source
        row["generator"] = ("pseudo-fake" if known[0] else "") if record is None else record.generator
        rows.append(row)
    return rows


def _probability(logit: float) -> float | None:
    return None if np.isnan(logit) else float(1 / (1 + np.exp(-np.clip(float(logit), -60, 60))))
