"""Metrics of clip scores. Pure functions on arrays; 1 = fake; scores rise with suspicion.

scikit-learn computes what it has; here are only the field's own averages (macro over generators, reals balanced by
source, matched pairs) and points on its curves. `bootstrap` gives their intervals.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score, roc_curve

STREAM_CLASSES = ("RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio")


def known(value: float) -> float | None:
    """The value; None for NaN, which stands for "not defined" here and which JSON does not have."""
    return None if np.isnan(value) else value


def source_weights(labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Weights (N,) that give every source of real clips the same total weight; a fake weighs 1.

    One source of reals with many clips would otherwise decide the false-positive rate alone.
    """
    weights = np.ones(len(labels))
    names = np.asarray(sources)
    for name in set(names[labels == 0]):
        of_source = (labels == 0) & (names == name)
        weights[of_source] = 1.0 / of_source.sum()
    return weights


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve; NaN if only one class is there."""
    if len(set(labels.tolist())) < 2:
        return float("nan")
    return float(roc_auc_score(labels, scores, sample_weight=weights))


def generator_aucs(
    labels: np.ndarray, scores: np.ndarray, generators: Sequence[str], weights: np.ndarray | None = None
) -> dict[str, float]:
    """AUC of each generator's fakes against all real clips."""
    names = np.asarray(generators)
    result = {}
    for name in sorted(set(names[labels == 1])):
        chosen = (labels == 0) | (names == name)
        result[str(name)] = auc(labels[chosen], scores[chosen], None if weights is None else weights[chosen])
    return result


def macro_auc(
    labels: np.ndarray, scores: np.ndarray, generators: Sequence[str], sources: Sequence[str] | None = None
) -> float:
    """Mean of the generators' AUCs, each generator weighing the same; with `sources` every source of reals too."""
    weights = None if sources is None else source_weights(labels, sources)
    values = list(generator_aucs(labels, scores, generators, weights).values())
    return float(np.mean(values)) if values else float("nan")


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
    """The error rate where false alarms and misses are equally frequent, linearly interpolated on the ROC curve.

    NaN if only one class is there.
    """
    if len(set(labels.tolist())) < 2:
        return float("nan")
    false_alarms, hits, _ = roc_curve(labels, scores)
    gap = false_alarms - (1 - hits)
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0 or after == 0:
        return float(false_alarms[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_alarms[after - 1] + share * (false_alarms[after] - false_alarms[after - 1]))


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, max_fpr: float) -> float:
    """The largest share of fakes found while at most `max_fpr` of the reals are called fake (no interpolation).

    NaN if only one class is there.
    """
    if len(set(labels.tolist())) < 2:
        return float("nan")
    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(hits[false_alarms <= max_fpr].max())


def pair_accuracy(labels: np.ndarray, scores: np.ndarray, pairs: Sequence[str]) -> float:
    """Share of matched pairs whose fake scores above its original; a tie counts half. NaN without a whole pair."""
    wins = pair_wins(labels, scores, pairs)
    known = np.isfinite(wins)
    return float(wins[known].mean()) if known.any() else float("nan")


def pair_wins(labels: np.ndarray, scores: np.ndarray, pairs: Sequence[str]) -> np.ndarray:
    """(N,) for one clip of every whole pair the share of its comparisons that the fake wins; NaN for all others."""
    wins = np.full(len(labels), np.nan)
    names = np.asarray(pairs)
    for name in sorted(set(names.tolist()) - {""}):
        fake, real = (np.flatnonzero((names == name) & (labels == label)) for label in (1, 0))
        if len(fake) and len(real):
            above, equal = scores[fake][:, None] > scores[real], scores[fake][:, None] == scores[real]
            wins[fake[0]] = float(np.mean(above + 0.5 * equal))
    return wins


def stream_classes(video: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Index into `STREAM_CLASSES` of each pair of a video and an audio answer (or label), 1 = fake."""
    return 2 * video.astype(int) + audio.astype(int)


def macro_f1(labels: np.ndarray, answers: np.ndarray) -> float:
    """Mean F1 over those of the four real/fake x video/audio classes that clips are in; NaN if fewer than two are."""
    classes = sorted(set(labels.tolist()))
    return float(f1_score(labels, answers, labels=classes, average="macro")) if len(classes) > 1 else float("nan")


def even_odds_weights(labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Weights (N,) of even odds: fakes and reals weigh 1 in all, and among the reals every source the same.

    These are the odds at which the calibration states its probabilities.
    """
    weights = source_weights(labels, sources)
    for label in (0, 1):
        weights[labels == label] /= weights[labels == label].sum()
    return weights


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, weights: np.ndarray | None = None
) -> float:
    """Mean distance between stated probability and observed share of fakes, over equal-width bins by their weight.

    Raises:
        ValueError: a probability is NaN or outside [0, 1].
    """
    wrong = probabilities[~((probabilities >= 0) & (probabilities <= 1))]
    if len(wrong):
        raise ValueError(f"probabilities must be numbers in [0, 1], but got {wrong[0]}")
    weights = np.ones(len(labels)) if weights is None else weights
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights * (labels - probabilities), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())
