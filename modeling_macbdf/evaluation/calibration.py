"""Fits the calibration that a saved model carries: Platt scaling for each answer, and the two verdict thresholds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

IDENTITY: dict[str, Any] = {
    "joint": [1.0, 0.0],
    "video": [1.0, 0.0],
    "audio": [1.0, 0.0],
    "real_below": 0.5,
    "fake_above": 0.5,
    "source": "none: raw log-odds",
}
MIN_SCALE = 1e-2  # the scale stays positive: calibration may flatten a score, never turn its order round


def fit_platt(labels: np.ndarray, log_odds: np.ndarray, weights: np.ndarray | None = None) -> list[float]:
    """[scale, bias] of Platt scaling, weakly regularised so that separable clips do not give infinite confidence.

    Args:
        labels: (N,) 1 = fake.
        log_odds: (N,) raw clip scores.
        weights: (N,) or None; the two classes are balanced either way: p = 0.5 means even odds at equal priors.
    """
    weights = np.ones(len(labels)) if weights is None else weights.astype(float).copy()
    for label in (0, 1):
        weights[labels == label] *= 0.5 * len(labels) / weights[labels == label].sum()
    spread = float(log_odds.std()) or 1.0
    fitted = LogisticRegression(C=1.0).fit(log_odds[:, None] / spread, labels, sample_weight=weights)
    return [max(float(fitted.coef_[0, 0]) / spread, MIN_SCALE), float(fitted.intercept_[0])]


def false_alarm_threshold(probabilities_of_reals: np.ndarray, max_false_alarms: float = 0.05) -> float:
    """The smallest threshold at or above which at most `max_false_alarms` of the real clips lie.

    It stands half-way to the next real clip below, so that it does not depend on the last digit of one score.
    """
    ranked = np.sort(probabilities_of_reals)[::-1]
    allowed = int(np.floor(max_false_alarms * len(ranked)))
    highest_accepted = ranked[allowed] if allowed < len(ranked) else 0.0
    next_above = ranked[allowed - 1] if allowed else 1.0
    return float((highest_accepted + next_above) / 2)


def miss_threshold(probabilities_of_fakes: np.ndarray, max_misses: float = 0.1) -> float:
    """The largest threshold at or below which at most `max_misses` of the forged clips lie."""
    return 1.0 - false_alarm_threshold(1.0 - probabilities_of_fakes, max_misses)


def verdict_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> Mapping[str, float]:
    """`fake_above` (at most 5 % of reals at or above it) and `real_below` (at most 10 % of fakes at or below it).

    Each stays on its own side of even odds, so that no file is called fake at p < 0.5 or real at p > 0.5.
    """
    return {
        "real_below": min(miss_threshold(probabilities[labels == 1]), 0.5),
        "fake_above": max(false_alarm_threshold(probabilities[labels == 0]), 0.5),
    }
