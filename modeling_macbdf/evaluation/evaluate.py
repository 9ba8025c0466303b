"""What scored clips are worth: metrics, intervals, generators, categories, places in time, coverage.

Nothing is dropped: clips without a score are counted by status, and appear in a worst-case column as if they had been
answered wrongly with full confidence, by both streams, and without a place in time.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss

from . import bootstrap, localisation, metrics
from .calibration import ANSWERS
from .clusters import clusters
from .score import Row

EVEN_ODDS = 0.5
_MAX_FPR = (0.01, 0.05)


def evaluate(rows: Sequence[Row], *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Metrics, intervals and coverage of scored rows.

    Args:
        rows: of `score.row_of`.
        resamples: bootstrap draws over identities.
        seed: of the draws.

    Returns:
        "metrics" of the clip's answer, "intervals" (95 %, by identity), "by_generator", "by_category", "by_answer"
        (what a file was judged on) and "streams", "worst_case" (clips without a score counted as wrong), "coverage"
        and "scores".
    """
    scored = judged(rows)
    return {
        "metrics": answer_metrics(scored) | localisation_of(rows),
        "intervals": intervals(scored, resamples, seed),
        "by_generator": _by_generator(scored),
        "by_category": _by_category(rows),
        "by_answer": _by_answer(scored, resamples, seed),
        "streams": {name: stream_metrics(rows, name) for name in ("video", "audio")},
        "worst_case": answer_metrics([_as_wrong(row) for row in rows if row["label"] is not None])
        | localisation_of(rows, worst_case=True),
        "coverage": coverage(rows),
        "scores": [{k: v for k, v in row.items() if k not in ("features", "masked")} for row in rows],
    }


def judged(rows: Sequence[Row]) -> list[Row]:
    """The rows with a score and a label."""
    return [row for row in rows if row["p_fake"] is not None and row["label"] is not None]


def _columns(rows: Sequence[Row], answer: str = "joint") -> tuple[np.ndarray, np.ndarray]:
    score, label = ANSWERS[answer]
    return np.array([row[label] for row in rows], int), np.array([row[score] for row in rows], float)


def _names(rows: Sequence[Row], column: str) -> list[str]:
    return [row[column] for row in rows]


def answer_metrics(rows: Sequence[Row]) -> dict[str, float | None]:
    """Metrics of the clip's answer; None where they are not defined (one class only, no pair)."""
    labels, scores = _columns(rows)
    rates = _rates(rows, labels, scores)
    right = rates.pop("accuracy")
    values = {
        "auc": metrics.auc(labels, scores),
        "macro_auc": float("nan"),
        "macro_auc_balanced": float("nan"),
        **(_ranked(rows, labels, scores) if len(set(labels.tolist())) == 2 else {}),
        "accuracy": _mean(right),
        "balanced_accuracy": (_mean(right[labels == 0]) + _mean(right[labels == 1])) / 2,
        "macro_f1_streams": metrics.macro_f1(*_stream_answers(rows)[:2]),
        "ece": metrics.expected_calibration_error(labels, scores) if len(labels) else float("nan"),
        "brier": float(brier_score_loss(labels, scores, pos_label=1)) if len(labels) else float("nan"),
        **{name: _mean(of_clips) for name, of_clips in rates.items()},
    }
    return {name: metrics.known(value) for name, value in values.items()}


def _ranked(rows: Sequence[Row], labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    generators, sources = _names(rows, "generator"), _names(rows, "source")
    return {
        "macro_auc": metrics.macro_auc(labels, scores, generators),
        "macro_auc_balanced": metrics.macro_auc(labels, scores, generators, sources),
        "average_precision": float(average_precision_score(labels, scores)),
        "eer": metrics.equal_error_rate(labels, scores),
        **{f"tpr_at_fpr_{bound}": metrics.tpr_at_fpr(labels, scores, bound) for bound in _MAX_FPR},
        "ece_balanced": metrics.expected_calibration_error(
            labels, scores, weights=metrics.even_odds_weights(labels, sources)
        ),
    }


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if len(known) else float("nan")


def _rates(rows: Sequence[Row], labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Shares by what each clip (N,) counts in them, 0 to 1; NaN where it does not count."""
    given = np.array(_names(rows, "verdict"), dtype=object)
    return {
        "accuracy": ((scores >= EVEN_ODDS) == labels).astype(float),
        "reals_called_fake": np.where(labels == 0, given == "fake", np.nan).astype(float),
        "fakes_called_real": np.where(labels == 1, given == "real", np.nan).astype(float),
        "inconclusive": (given == "inconclusive").astype(float),
        "pair_accuracy": metrics.pair_wins(labels, scores, _names(rows, "pair")),
    }


def _stream_answers(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four-class labels and answers of the clips whose two streams are both labelled and judged, and which clips."""
    needed = [name for stream in ("video", "audio") for name in ANSWERS[stream]]
    chosen = np.array([all(row[name] is not None for name in needed) for row in rows], bool)
    known = [row for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen]
    (video, p_video), (audio, p_audio) = (_columns(known, stream) for stream in ("video", "audio"))
    answers = metrics.stream_classes(p_video >= EVEN_ODDS, p_audio >= EVEN_ODDS)
    return metrics.stream_classes(video, audio), answers, chosen


def intervals(rows: Sequence[Row], resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """95 % intervals of the metrics by bootstrap over identities; exact ones for rates of none or all."""
    labels, scores = _columns(rows)
    if len(set(labels.tolist())) < 2:
        return {}
    identities, _ = clusters(rows)
    found = bootstrap.intervals(_statistics(rows, labels, scores), identities, resamples=resamples, seed=seed)
    shares = {name: (_mean(of_clips), ~np.isnan(of_clips)) for name, of_clips in _rates(rows, labels, scores).items()}
    for bound in _MAX_FPR:
        shares[f"tpr_at_fpr_{bound}"] = (metrics.tpr_at_fpr(labels, scores, bound), labels == 1)
    exact = {
        name: bootstrap.rate_interval(share, len(set(compress(identities, counts))))
        for name, (share, counts) in shares.items()
        if share in (0.0, 1.0)
    }
    return found | exact


def _statistics(rows: Sequence[Row], labels: np.ndarray, scores: np.ndarray) -> dict[str, bootstrap.Statistic]:
    generators, sources = _names(rows, "generator"), _names(rows, "source")
    ranking = bootstrap.Ranking(labels, scores)
    rates = _rates(rows, labels, scores)
    true, answers, chosen = _stream_answers(rows)
    found: dict[str, bootstrap.Statistic] = {
        "auc": ranking.auc,
        "macro_auc": bootstrap.macro_auc(labels, scores, generators),
        "macro_auc_balanced": bootstrap.macro_auc(labels, scores, generators, sources),
        "average_precision": ranking.average_precision,
        "eer": ranking.equal_error_rate,
        **{f"tpr_at_fpr_{bound}": partial(ranking.tpr_at_fpr, max_fpr=bound) for bound in _MAX_FPR},
        "balanced_accuracy": bootstrap.balanced_mean(labels, rates["accuracy"]),
        "ece": bootstrap.calibration_error(labels, scores),
        "ece_balanced": bootstrap.calibration_error(labels, scores, sources=sources),
        "brier": bootstrap.weighted_mean((scores - labels) ** 2),
        **{name: bootstrap.weighted_mean(of_clips) for name, of_clips in rates.items()},
    }
    if chosen.any():
        f1 = bootstrap.macro_f1(true, answers, len(metrics.STREAM_CLASSES))
        found["macro_f1_streams"] = lambda weights: f1(weights[:, chosen])
    return found


def localisation_of(rows: Sequence[Row], worst_case: bool = False) -> dict[str, float | None]:
    """AP@IoU, AR@N and the AUC of steps over the judged clips whose forged segments are known; nothing without any.

    In the worst case clips that were not judged count too, with no proposal; of their steps nothing can be said.
    """
    known = [row for row in rows if row.get("segments_s") is not None and (row.get("curve") or worst_case)]
    if not any(row["segments_s"] for row in known):
        return {}
    found = [proposals(row["curve"]) if row.get("curve") else [] for row in known]
    places: dict[str, float | None] = {}
    places |= localisation.localisation_metrics(found, [row["segments_s"] for row in known])
    if not worst_case:
        aucs = np.array([_step_auc(row["curve"], row["segments_s"]) for row in known])
        places["step_auc"] = metrics.known(_mean(aucs))
    return places


def _step_auc(curve: dict[str, Any], segments: Sequence[localisation.Segment]) -> float:
    """AUC of the judged steps of one clip, forged against the others of the same clip; NaN unless it has both."""
    judged = [(step, value) for step, value in enumerate(curve["log_odds"], curve["first_step"]) if value is not None]
    centres = [(step + 0.5) / curve["rate_hz"] for step, _ in judged]
    forged = np.array([any(start <= centre < end for start, end in segments) for centre in centres], int)
    return metrics.auc(forged, np.array([value for _, value in judged]))


def proposals(curve: dict[str, Any]) -> list[localisation.Proposal]:
    """Proposals from a row's step scores; a step that was not judged counts as real."""
    log_odds = np.array([-60.0 if value is None else value for value in curve["log_odds"]])
    return localisation.propose(1 / (1 + np.exp(-log_odds)), curve["first_step"], curve["rate_hz"])


def _by_generator(rows: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    labels, scores = _columns(rows)
    generators, sources = _names(rows, "generator"), _names(rows, "source")
    plain = metrics.generator_aucs(labels, scores, generators)
    balanced = metrics.generator_aucs(labels, scores, generators, metrics.source_weights(labels, sources))
    counts = Counter(name for name, label in zip(generators, labels, strict=True) if label == 1)
    return {
        name: {"clips": counts[name], "auc": metrics.known(plain[name]), "auc_balanced": metrics.known(balanced[name])}
        for name in plain
    }


def category(row: Row) -> str:
    """Which streams are forged, as FakeAVCeleb names it."""
    words = {0: "Real", 1: "Fake", None: "Unknown"}
    return f"{words[row['video_label']]}Video-{words[row['audio_label']]}Audio"


def _by_category(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Clips, scored clips, right answers at even odds, and AUC against all reals, by which streams are forged."""
    labelled = [row for row in rows if row["label"] is not None]
    judged = [row for row in labelled if row["p_fake"] is not None]
    result: dict[str, dict[str, Any]] = {}
    for name in sorted({category(row) for row in labelled}, reverse=True):
        own = [row for row in judged if category(row) == name]
        labels, scores = _columns(own)
        beside = [row for row in judged if row["label"] == 0 or category(row) == name]
        result[name] = {
            "clips": sum(category(row) == name for row in labelled),
            "scored": len(own),
            "accuracy": metrics.known(_mean((scores >= EVEN_ODDS) == labels)),
            "auc": metrics.known(metrics.auc(*_columns(beside))),
        }
    return result


def _by_answer(rows: Sequence[Row], resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """AUCs among files that were judged on the same streams: over all of them, having sound may be what ranks."""
    result: dict[str, dict[str, Any]] = {}
    for status in sorted({row["status"] for row in rows}):
        own = [row for row in rows if row["status"] == status]
        labels, scores = _columns(own)
        limits: dict[str, tuple[float, float]] = {}
        if len(set(labels.tolist())) == 2:
            ranking = {"auc": bootstrap.Ranking(labels, scores).auc}
            limits = bootstrap.intervals(ranking, clusters(own)[0], resamples=resamples, seed=seed)
        counts = {"reals": int((labels == 0).sum()), "fakes": int((labels == 1).sum())}
        result[status] = {**counts, "auc": metrics.known(metrics.auc(labels, scores)), "interval": limits.get("auc")}
    return result


def stream_metrics(rows: Sequence[Row], answer: str) -> dict[str, float | int | None]:
    """AUC of one stream's own answer: against the stream's label where known, and against the clip's."""
    score, label = ANSWERS[answer]
    scored = [row for row in rows if row[score] is not None]
    result: dict[str, float | int | None] = {"scored": len(scored)}
    for name, column in (("auc", label), ("auc_against_clip", "label")):
        known = [row for row in scored if row[column] is not None]
        value = metrics.auc(np.array([row[column] for row in known], int), np.array([row[score] for row in known]))
        result[name] = metrics.known(value)
    return result


def _as_wrong(row: Row) -> Row:
    """A clip without a score with the worst answers that it could have got, those of labelled streams too."""
    if row["p_fake"] is not None:
        return row
    wrong = {score: 1.0 - row[label] for score, label in ANSWERS.values() if row[label] is not None}
    return {**row, **wrong, "verdict": "real" if row["label"] else "fake"}


def coverage(rows: Sequence[Row]) -> dict[str, Any]:
    """How many clips there were, how many got a score, and every outcome by class."""
    by_status = Counter((row["status"], {0: "real", 1: "fake"}.get(row["label"], "unknown")) for row in rows)
    return {
        "clips": len(rows),
        "scored": sum(row["p_fake"] is not None for row in rows),
        "by_status": {f"{status}/{label}": count for (status, label), count in sorted(by_status.items())},
    }
