"""Many draws at once give what scikit-learn gives one draw at a time."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score, roc_curve

from modeling_macbdf.evaluation import bootstrap, metrics

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 2, 60)
SCORES = np.round(RANDOM.random(60) * 0.8 + 0.2 * LABELS, 1)  # rounded: many ties
PEOPLE = [str(i // 4) for i in range(60)]
WEIGHTS = next(bootstrap.identity_weights(PEOPLE, 30, seed=1))
GENERATORS = [f"g{i % 3}" if label else "" for i, label in enumerate(LABELS)]
SOURCES = ["" if label else f"s{i % 4}" for i, label in enumerate(LABELS)]
RANKING = bootstrap.Ranking(LABELS, SCORES)


def drawn(weights: np.ndarray) -> np.ndarray:
    """Indices of the clips of one draw, repetitions included."""
    return np.repeat(np.arange(60), weights.astype(int))


def eer(weights: np.ndarray) -> float:
    false_alarms, hits, _ = roc_curve(LABELS, SCORES, sample_weight=weights)
    grid = np.linspace(0, 1, 200_001)
    return float(grid[np.argmin(np.abs(grid - (1 - np.interp(grid, false_alarms, hits))))])


def tpr(weights: np.ndarray) -> float:
    false_alarms, hits, _ = roc_curve(LABELS, SCORES, sample_weight=weights, drop_intermediate=False)
    return float(hits[false_alarms <= 0.2].max())


def even_odds_error(clips: np.ndarray) -> float:
    labels, scores = LABELS[clips], SCORES[clips]
    weights = metrics.even_odds_weights(labels, np.array(SOURCES)[clips])
    return metrics.expected_calibration_error(labels, scores, weights=weights)


REFERENCES = {
    "auc": (RANKING.auc, lambda w: roc_auc_score(LABELS, SCORES, sample_weight=w)),
    "ap": (RANKING.average_precision, lambda w: average_precision_score(LABELS, SCORES, sample_weight=w)),
    "eer": (RANKING.equal_error_rate, eer),
    "tpr": (lambda w: RANKING.tpr_at_fpr(w, 0.2), tpr),
    "brier": (
        bootstrap.weighted_mean((SCORES - LABELS) ** 2),
        lambda w: brier_score_loss(LABELS, SCORES, sample_weight=w),
    ),
    "ece": (
        bootstrap.calibration_error(LABELS, SCORES),
        lambda w: metrics.expected_calibration_error(LABELS[drawn(w)], SCORES[drawn(w)]),
    ),
    "ece_balanced": (
        bootstrap.calibration_error(LABELS, SCORES, sources=SOURCES),
        lambda w: even_odds_error(drawn(w)),
    ),
    "macro_f1": (
        bootstrap.macro_f1(LABELS + 1, (SCORES > 0.5).astype(int), 4),
        lambda w: f1_score(
            LABELS + 1, SCORES > 0.5, labels=sorted(set(LABELS[drawn(w)] + 1)), average="macro", sample_weight=w
        ),
    ),
    "macro_auc": (
        bootstrap.macro_auc(LABELS, SCORES, GENERATORS),
        lambda w: metrics.macro_auc(LABELS[drawn(w)], SCORES[drawn(w)], np.array(GENERATORS)[drawn(w)]),
    ),
    "macro_auc_balanced": (
        bootstrap.macro_auc(LABELS, SCORES, GENERATORS, SOURCES),
        lambda w: metrics.macro_auc(
            LABELS[drawn(w)], SCORES[drawn(w)], np.array(GENERATORS)[drawn(w)], np.array(SOURCES)[drawn(w)]
        ),
    ),
}


@pytest.mark.parametrize("name", list(REFERENCES))
def test_every_draw_is_scikit_learns(name):
    many, one = REFERENCES[name]
    expected = [one(weights) for weights in WEIGHTS]
    np.testing.assert_allclose(many(WEIGHTS), expected, atol=1e-5 if name == "eer" else 1e-12)


@pytest.mark.parametrize("name", list(REFERENCES))
def test_weights_of_one_give_the_metric_itself(name):
    many, one = REFERENCES[name]
    assert many(np.ones((1, 60)))[0] == pytest.approx(one(np.ones(60)), abs=1e-5)


def test_a_draw_of_one_class_has_no_value_and_does_not_spoil_the_interval():
    weights = np.stack([np.ones(60), (LABELS == 1).astype(float)])
    f1 = bootstrap.macro_f1(LABELS, (SCORES > 0.5).astype(int), 4)
    for many in (RANKING.auc, RANKING.average_precision, RANKING.equal_error_rate, f1):
        assert np.isfinite(many(weights)).tolist() == [True, False]


def test_people_are_drawn_whole_and_as_many_as_there_are():
    assert (WEIGHTS.reshape(30, 15, 4) == WEIGHTS[:, ::4, None]).all()
    assert (WEIGHTS.sum(axis=1) == 60).all()


def test_interval_is_wider_when_clips_share_people():
    random = np.random.default_rng(1)
    values = np.repeat(random.normal(size=10), 20) + 0.1 * random.normal(size=200)
    mean = {"mean": bootstrap.weighted_mean(values)}
    clips = bootstrap.intervals(mean, [str(i) for i in range(200)])["mean"]
    people = bootstrap.intervals(mean, [str(i // 20) for i in range(200)])["mean"]
    assert people[1] - people[0] > 2 * (clips[1] - clips[0])
    assert people[0] < values.mean() < people[1]


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    whole = bootstrap.intervals({"auc": RANKING.auc}, PEOPLE, resamples=50)
    monkeypatch.setattr(bootstrap, "_CELLS", 60 * 7)
    assert bootstrap.intervals({"auc": RANKING.auc}, PEOPLE, resamples=50) == whole
