"""Metrics of clip scores, and their intervals. Pure functions on arrays; 1 = fake; scores rise with suspicion.

scikit-learn computes what it has; here are only the field's own averages (macro over generators, reals balanced by
source, matched pairs) and the bootstrap over identities.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve


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
    """The error rate where false alarms and misses are equally frequent, linearly interpolated on the ROC curve."""
    false_alarms, hits, _ = roc_curve(labels, scores)
    gap = false_alarms - (1 - hits)
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0 or after == 0:
        return float(false_alarms[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_alarms[after - 1] + share * (false_alarms[after] - false_alarms[after - 1]))


def tpr_at_fpr(labels: np.ndarray, scores: np.ndarray, max_fpr: float) -> float:
    """The largest share of fakes found while at most `max_fpr` of the reals are called fake (no interpolation)."""
    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(hits[false_alarms <= max_fpr].max())


def pair_accuracy(labels: np.ndarray, scores: np.ndarray, pairs: Sequence[str]) -> float:
    """Share of matched pairs whose fake scores above its original; a tie counts half. NaN without a whole pair."""
    wins = []
    names = np.asarray(pairs)
    for name in sorted(set(names) - {""}):
        fake, real = scores[(names == name) & (labels == 1)], scores[(names == name) & (labels == 0)]
        if len(fake) and len(real):
            wins.append(float(np.mean((fake[:, None] > real) + 0.5 * (fake[:, None] == real))))
    return float(np.mean(wins)) if wins else float("nan")


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Mean distance between stated probability and observed share of fakes, over equal-width bins by their size."""
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    total = 0.0
    for number in range(bins):
        inside = index == number
        if inside.any():
            total += inside.sum() * abs(float(labels[inside].mean()) - float(probabilities[inside].mean()))
    return total / len(labels)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    identities: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of `statistic(indices)`, resampling identities (not clips: clips of a person hang together).

    Args:
        statistic: takes clip indices (repetitions allowed) and returns a number; NaN draws are left out.
        identities: who is in each clip (N,).
        resamples: number of draws.
        seed: of the draws.
        level: coverage of the interval.
    """
    names = np.asarray(identities)
    groups = [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))]
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        chosen = random.integers(len(groups), size=len(groups))
        draws.append(statistic(np.concatenate([groups[i] for i in chosen])))
    low, high = np.nanpercentile(draws, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
