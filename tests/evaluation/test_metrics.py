"""Metrics against hand-made values and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from modeling_macbdf.evaluation import metrics

LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.4, 0.6, 0.5, 0.8, 0.9])


def test_auc_is_sklearns():
    assert metrics.auc(LABELS, SCORES) == roc_auc_score(LABELS, SCORES)


def test_one_class_has_no_auc():
    assert np.isnan(metrics.auc(np.ones(3), SCORES[:3]))


def test_a_big_easy_source_of_reals_does_not_hide_a_hard_one():
    labels = np.array([0] * 9 + [0] + [1])
    scores = np.array([0.1] * 9 + [0.9] + [0.5])
    sources = ["studio"] * 9 + ["phone", ""]
    assert metrics.auc(labels, scores) == pytest.approx(0.9)
    assert metrics.macro_auc(labels, scores, [""] * 10 + ["g"], sources) == pytest.approx(0.5)


def test_macro_weighs_generators_alike():
    labels = np.array([0, 1, 1, 1, 1])
    scores = np.array([0.5, 0.9, 0.9, 0.9, 0.1])
    generators = ["", "easy", "easy", "easy", "hard"]
    assert metrics.generator_aucs(labels, scores, generators) == {"easy": 1.0, "hard": 0.0}
    assert metrics.macro_auc(labels, scores, generators) == 0.5


def test_equal_error_rate_of_known_curves():
    assert metrics.equal_error_rate(LABELS, SCORES) == pytest.approx(1 / 3)
    assert metrics.equal_error_rate(LABELS, LABELS.astype(float)) == 0.0


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_point_on_the_curve(label):
    """The equal error rate of reals alone was once 0, and hits among fakes alone an error."""
    labels = np.full(3, label)
    assert np.isnan(metrics.equal_error_rate(labels, SCORES[:3]))
    assert np.isnan(metrics.tpr_at_fpr(labels, SCORES[:3], 0.05))


def test_equal_error_rate_of_chance_is_a_half():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 4000)
    assert metrics.equal_error_rate(labels, random.random(4000)) == pytest.approx(0.5, abs=0.03)


def test_hits_are_counted_only_within_the_allowed_false_alarms():
    assert metrics.tpr_at_fpr(LABELS, SCORES, 0.0) == pytest.approx(2 / 3)
    assert metrics.tpr_at_fpr(LABELS, SCORES, 0.34) == 1.0


def test_pairs_compare_a_fake_with_its_own_original():
    pairs = ["a", "b", "", "a", "b", "c"]
    assert metrics.pair_accuracy(LABELS, np.array([0.9, 0.2, 0.0, 0.8, 0.2, 1.0]), pairs) == pytest.approx(0.25)


def test_calibration_error_of_overconfidence():
    labels = np.array([0, 1] * 50)
    assert metrics.expected_calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0.0)
    assert metrics.expected_calibration_error(labels, np.full(100, 0.95)) == pytest.approx(0.45)


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_a_calibration_error_is_of_probabilities(wrong):
    """Log-odds once gave a number all the same."""
    with pytest.raises(ValueError, match=f"probabilities must be numbers in .0, 1., but got {wrong}"):
        metrics.expected_calibration_error(np.array([0, 1]), np.array([0.5, wrong]))


def test_at_even_odds_the_share_of_fakes_and_of_a_source_does_not_count():
    """Nine fakes to one real clip, and a source with nine times as many reals, change nothing."""
    labels = np.array([1] * 90 + [0] * 9 + [0])
    sources = [""] * 90 + ["many"] * 9 + ["one"]
    weights = metrics.even_odds_weights(labels, sources)
    assert weights[labels == 1].sum() == pytest.approx(1) and weights[90:99].sum() == pytest.approx(weights[99])
    stated = np.full(100, 0.5)
    assert metrics.expected_calibration_error(labels, stated) == pytest.approx(0.4)
    assert metrics.expected_calibration_error(labels, stated, weights=weights) == pytest.approx(0.0)


def test_four_classes_of_streams():
    video, audio = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    classes = metrics.stream_classes(video, audio)
    names = [metrics.STREAM_CLASSES[index] for index in classes]
    assert names == ["RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio", "FakeVideo-FakeAudio"]
    assert metrics.macro_f1(classes, classes) == 1.0
    assert metrics.macro_f1(classes, np.zeros(4, int)) == pytest.approx(0.4 / 4)  # one class at F1 2/5
    assert np.isnan(metrics.macro_f1(np.zeros(0, int), np.zeros(0, int)))


def test_classes_that_nobody_is_in_do_not_count():
    """A perfect detector once had .5 where two of the four classes are present."""
    two = np.array([0, 3, 3])
    assert metrics.macro_f1(two, two) == 1.0
    assert metrics.macro_f1(two, np.array([0, 3, 1])) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(metrics.macro_f1(np.array([3, 3]), np.array([3, 3])))
