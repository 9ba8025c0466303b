"""Every metric of many resamples at once: a resample is a row of clip weights, so that all draws share one sorting.

Pure functions on arrays. N clips, R resamples; weights (R, N) say how often each clip stands in each draw. One row of
ones gives the metric itself; scikit-learn's `sample_weight` gives the same numbers one draw at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]  # weights (R, N) -> values (R,), NaN where a draw does not define it
_CELLS = 4_000_000  # clips x resamples handled at once


def identity_weights(identities: Sequence[str], resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draws of whole people with replacement (clips of a person hang together), as blocks of weights (R, N).

    Args:
        identities: who is in each clip (N,).
        resamples: number of draws in all.
        seed: of the draws.
    """
    names, person = np.unique(np.asarray(identities), return_inverse=True)
    random = np.random.default_rng(seed)
    block = max(1, _CELLS // max(len(person), 1))
    for begin in range(0, resamples, block):
        draws = min(block, resamples - begin)
        counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        yield counts[:, person].astype(float)


def intervals(
    statistics: Mapping[str, Statistic], identities: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals by bootstrap over identities.

    A metric that no draw defines has none, and none has one where all clips are of one identity: every draw would be
    the same.
    """
    if len(set(identities)) < 2:
        return {}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for weights in identity_weights(identities, resamples, seed):
        for name, statistic in statistics.items():
            drawn[name].append(statistic(weights))
    found = {name: np.concatenate(values) for name, values in drawn.items() if values}
    limits = {n: np.nanpercentile(v, [2.5, 97.5]) for n, v in found.items() if np.isfinite(v).any()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def rate_interval(rate: float, people: int) -> tuple[float, float]:
    """Exact 95 % interval (Clopper-Pearson) of a rate of 0 or 1: every draw repeats it, which tells no uncertainty.

    Args:
        rate: 0 or 1.
        people: how many independent people showed it.
    """
    other = 0.025 ** (1 / people)
    return (0.0, 1 - other) if rate == 0 else (other, 1.0)


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    empty = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator != 0)


class Ranking:
    """Clips sorted by score once, for every metric that depends on their order.

    Args:
        labels: (N,) 1 = fake.
        scores: (N,) rising with suspicion.
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray) -> None:
        self._order = np.argsort(scores, kind="stable")
        ranked = scores[self._order]
        self._starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # one level a distinct score
        self._fake = labels[self._order] == 1

    def _levels(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of the fakes and of the reals at each distinct score, rising: two arrays (R, L)."""
        ranked = weights[:, self._order]
        fakes = np.add.reduceat(ranked * self._fake, self._starts, axis=1)
        reals = np.add.reduceat(ranked * ~self._fake, self._starts, axis=1)
        return fakes, reals

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the ROC curve (R,)."""
        fakes, reals = self._levels(weights)
        below = np.cumsum(reals, axis=1) - reals
        wins = (fakes * (below + reals / 2)).sum(axis=1)
        return divide(wins, fakes.sum(axis=1) * reals.sum(axis=1))

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Sum of precision times gain in recall over falling thresholds (R,)."""
        fakes, reals = (level[:, ::-1] for level in self._levels(weights))
        hits = np.cumsum(fakes, axis=1)
        precision = divide(hits, hits + np.cumsum(reals, axis=1))
        return divide(np.nansum(fakes * precision, axis=1), np.where(reals.sum(axis=1) > 0, hits[:, -1], 0))

    def _rates(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """False alarms and hits at falling thresholds, from nothing called fake to everything: (R, L + 1)."""
        curves = []
        for level in reversed(self._levels(weights)):
            total = np.cumsum(level[:, ::-1], axis=1)
            curves.append(divide(np.pad(total, ((0, 0), (1, 0))), total[:, -1:]))
        return curves[0], curves[1]

    def equal_error_rate(self, weights: np.ndarray) -> np.ndarray:
        """See `metrics.equal_error_rate` (R,)."""
        false_alarms, hits = self._rates(weights)
        gap = false_alarms - (1 - hits)
        after = np.maximum(np.argmax(gap >= 0, axis=1), 1)
        rows = np.arange(len(gap))
        share = divide(-gap[rows, after - 1], gap[rows, after] - gap[rows, after - 1])
        before = false_alarms[rows, after - 1]
        return before + share * (false_alarms[rows, after] - before)

    def tpr_at_fpr(self, weights: np.ndarray, max_fpr: float) -> np.ndarray:
        """See `metrics.tpr_at_fpr` (R,)."""
        false_alarms, hits = self._rates(weights)
        found = np.where(false_alarms <= max_fpr, hits, 0.0).max(axis=1)
        return np.where(np.isnan(false_alarms[:, -1]), np.nan, found)


def weighted_mean(values: np.ndarray) -> Statistic:
    """The mean of a value per clip (N,); clips whose value is NaN are left out."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    return lambda weights: divide(weights @ filled, weights @ known.astype(float))


def balanced_mean(labels: np.ndarray, values: np.ndarray) -> Statistic:
    """The mean of the two classes' means of a value per clip."""
    parts = [weighted_mean(np.where(labels == label, values, np.nan)) for label in (0, 1)]
    return lambda weights: (parts[0](weights) + parts[1](weights)) / 2


def calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, sources: Sequence[str] | None = None
) -> Statistic:
    """See `metrics.expected_calibration_error`; with `sources` at even odds, see `metrics.even_odds_weights`."""
    index = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = np.eye(bins)[index] * (labels - probabilities)[:, None]  # (N, bins)

    def statistic(weights: np.ndarray) -> np.ndarray:
        if sources is not None:
            weights = even_odds(balance_sources(weights, labels, sources), labels)
        return divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))

    return statistic


def even_odds(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights in which the clips of each class weigh 1 in all; NaN in a draw of one class."""
    balanced = np.empty_like(weights)
    for label in (0, 1):
        own = labels == label
        balanced[:, own] = divide(weights[:, own], weights[:, own].sum(axis=1, keepdims=True))
    return balanced


def macro_f1(labels: np.ndarray, answers: np.ndarray, classes: int) -> Statistic:
    """See `metrics.macro_f1`; classes that are not in a draw do not count in it."""
    true, called = np.eye(classes)[labels], np.eye(classes)[answers]

    def statistic(weights: np.ndarray) -> np.ndarray:
        hits, sizes, present = weights @ (true * called), weights @ (true + called), weights @ true > 0
        scores = np.where(present, divide(2 * hits, sizes), 0.0).sum(axis=1)
        count = present.sum(axis=1)
        return divide(scores, np.where(count > 1, count, 0))

    return statistic


def macro_auc(
    labels: np.ndarray, scores: np.ndarray, generators: Sequence[str], sources: Sequence[str] | None = None
) -> Statistic:
    """See `metrics.macro_auc`; generators that are not in a draw do not count in it."""
    names = np.asarray(generators)
    ranking = Ranking(labels, scores)
    makers = sorted(set(names[labels == 1].tolist()))

    def statistic(weights: np.ndarray) -> np.ndarray:
        if sources is not None:
            weights = balance_sources(weights, labels, sources)
        values = [ranking.auc(np.where((labels == 0) | (names == name), weights, 0.0)) for name in makers]
        table = np.stack(values) if values else np.full((1, len(weights)), np.nan)
        known = np.isfinite(table)
        return divide(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0))

    return statistic


def balance_sources(weights: np.ndarray, labels: np.ndarray, sources: Sequence[str]) -> np.ndarray:
    """Weights in which every source of real clips that a draw holds weighs 1 in all."""
    names = np.asarray(sources)
    balanced = weights.copy()
    for name in set(names[labels == 0].tolist()):
        of_source = (labels == 0) & (names == name)
        balanced[:, of_source] = np.nan_to_num(divide(weights[:, of_source], weights[:, of_source].sum(1)[:, None]))
    return balanced
