"""What an evaluation says of scored rows: every clip accounted for, generators and sources kept apart."""

import numpy as np
import pytest

from modeling_macbdf.evaluation.evaluate import answer_metrics, coverage, evaluate


def row(label: int, p: float | None, **fields) -> dict:
    base = {
        "path": f"{label}-{p}.mp4",
        "label": label,
        "video_label": label,
        "audio_label": None,
        "p_fake": p,
        "p_fake_video": p,
        "p_fake_audio": None,
        "status": "scored" if p is not None else "no_face",
        "verdict": None if p is None else "fake" if p > 0.8 else "real" if p < 0.2 else "inconclusive",
        "generator": "swap" if label else "",
        "source": "" if label else "phone",
        "identity": "someone",
        "pair": "",
    }
    return {**base, **fields}


ROWS = [row(0, 0.1), row(0, 0.3), row(1, 0.9), row(1, 0.25), row(1, None), row(0, None)]


def test_unscored_clips_are_counted_by_reason_and_class():
    assert coverage(ROWS) == {
        "clips": 6,
        "scored": 4,
        "by_status": {"no_face/fake": 1, "no_face/real": 1, "scored/fake": 2, "scored/real": 2},
    }


def test_worst_case_takes_unscored_clips_as_wrong():
    result = evaluate(ROWS, resamples=10)
    assert result["metrics"]["auc"] == pytest.approx(0.75)
    assert result["worst_case"]["auc"] == pytest.approx(3 / 9)
    assert result["worst_case"]["reals_called_fake"] == pytest.approx(1 / 3)


def test_worst_case_takes_the_streams_and_the_places_of_unscored_clips_too():
    """They were once left out of the four-class F1, and no worst case of the places was told at all."""
    both = {"audio_label": 1, "p_fake_audio": 0.9}
    rows = [row(0, 0.1, audio_label=0, p_fake_audio=0.1), row(1, 0.9, **both), row(1, None, audio_label=1)]
    result = evaluate(rows, resamples=10)
    assert result["metrics"]["macro_f1_streams"] == 1.0
    # The unscored fake counts as RealVideo-RealAudio: F1 of both classes is 2/3.
    assert result["worst_case"]["macro_f1_streams"] == pytest.approx(2 / 3)
    curve = {"rate_hz": 5.0, "first_step": 0, "log_odds": [-3.0] * 10 + [3.0] * 5 + [-3.0] * 10}
    found = row(1, 0.9, segments_s=[(2.0, 3.0)], curve=curve)
    result = evaluate([row(0, 0.1), found, row(1, None, segments_s=[(2.0, 3.0)], curve=None)], resamples=10)
    assert (result["metrics"]["ap_at_iou_0.5"], result["worst_case"]["ap_at_iou_0.5"]) == (1.0, 0.5)
    assert (result["metrics"]["ar_at_5"], result["worst_case"]["ar_at_5"]) == (1.0, 0.5)
    assert "step_auc" not in result["worst_case"]


def test_verdict_rates():
    values = answer_metrics(ROWS[:4])
    assert values["reals_called_fake"] == 0.0
    assert values["inconclusive"] == pytest.approx(0.5)
    assert values["balanced_accuracy"] == pytest.approx(0.75)


def test_interval_holds_the_estimate():
    random = np.random.default_rng(0)
    rows = [row(i % 2, float(random.random() * 0.7 + 0.3 * (i % 2)), identity=str(i)) for i in range(80)]
    result = evaluate(rows, resamples=200)
    low, high = result["intervals"]["auc"]
    assert low < result["metrics"]["auc"] < high


def test_a_rate_of_none_or_all_has_an_exact_interval():
    """Every draw repeats it: [0, 0] would claim certainty."""
    rows = [row(label, 0.4, identity=str(i)) for i, label in enumerate([0, 1] * 10)]
    limits = evaluate(rows, resamples=50)["intervals"]
    assert limits["reals_called_fake"] == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert limits["inconclusive"] == pytest.approx((0.8316, 1.0), abs=1e-4)


def test_every_rate_of_none_or_all_has_an_exact_interval():
    """Pairs, accuracy and hits at a bound once had [1, 1], as the cards say that they have not."""
    rows = [row(label, 0.1 + 0.8 * label, identity=f"{label}-{i}", pair=str(i)) for label in (0, 1) for i in range(10)]
    result = evaluate(rows, resamples=50)
    for name in ("accuracy", "pair_accuracy", "tpr_at_fpr_0.01", "tpr_at_fpr_0.05"):
        assert result["metrics"][name] == 1.0
        assert result["intervals"][name] == pytest.approx((0.6915, 1.0), abs=1e-4), "ten pairs of people"


def test_clips_of_one_person_have_no_bootstrap_interval():
    """Every draw is the same: it once had zero width."""
    limits = evaluate([row(0, 0.1), row(0, 0.6), row(1, 0.9), row(1, 0.3)], resamples=10)["intervals"]
    assert "auc" not in limits
    assert limits["reals_called_fake"] == pytest.approx((0.0, 0.975)), "an exact one, of one person"


def test_files_with_and_without_sound_are_also_ranked_apart():
    silent = [row(0, 0.1, status="no_audio"), row(1, 0.2, status="no_audio")]
    spoken = [row(0, 0.8), row(1, 0.7)]
    result = evaluate(silent + spoken, resamples=10)
    assert result["metrics"]["auc"] == 0.5
    assert {name: (own["auc"], own["reals"]) for name, own in result["by_answer"].items()} == {
        "no_audio": (1.0, 1),
        "scored": (0.0, 1),
    }


def test_one_class_has_no_ranking_and_no_error():
    result = evaluate([row(0, 0.2), row(0, 0.9)], resamples=10)
    assert result["metrics"]["auc"] is None
    assert result["metrics"]["balanced_accuracy"] is None
    assert result["metrics"]["accuracy"] == result["metrics"]["reals_called_fake"] == 0.5
    assert result["intervals"] == {}


def test_no_clip_at_all_is_no_error():
    result = evaluate([row(0, None), row(1, None)], resamples=10)
    assert set(result["metrics"].values()) == {None}
    assert result["worst_case"]["auc"] == 0.0


def test_categories_follow_the_streams():
    rows = [
        row(0, 0.1, audio_label=0),
        row(1, 0.9, video_label=0, audio_label=1, p_fake_audio=0.9),
        row(1, 0.3, video_label=1, audio_label=1),
        row(1, None, video_label=1, audio_label=0),
    ]
    found = evaluate(rows, resamples=10)["by_category"]
    assert found["RealVideo-FakeAudio"] == {"clips": 1, "scored": 1, "accuracy": 1.0, "auc": 1.0}
    assert found["FakeVideo-FakeAudio"]["accuracy"] == 0.0
    assert found["FakeVideo-RealAudio"] == {"clips": 1, "scored": 0, "accuracy": None, "auc": None}


def test_four_class_f1_takes_clips_with_both_streams_judged_and_labelled():
    rows = [
        row(0, 0.1, audio_label=0, p_fake_audio=0.2),
        row(1, 0.9, video_label=1, audio_label=1, p_fake_audio=0.8),
        row(1, 0.9, video_label=1, audio_label=None, p_fake_audio=0.8),
    ]
    assert answer_metrics(rows)["macro_f1_streams"] == 1.0  # two classes are there, both right
    assert answer_metrics(rows[:1])["macro_f1_streams"] is None, "one class is no choice"


def test_known_segments_are_localised_from_the_step_scores():
    curve = {"rate_hz": 5.0, "first_step": 0, "log_odds": [-3.0] * 10 + [3.0] * 5 + [-3.0] * 10}
    rows = [row(1, 0.9, segments_s=[(2.0, 3.0)], curve=curve), row(0, 0.1, segments_s=[], curve=None)]
    found = evaluate(rows, resamples=10)["metrics"]
    assert found["ap_at_iou_0.95"] == found["ar_at_5"] == found["step_auc"] == 1.0
    turned = {**curve, "log_odds": [None if value is None else -value for value in curve["log_odds"]]}
    assert evaluate([{**rows[0], "curve": turned}, rows[1]], resamples=10)["metrics"]["step_auc"] == 0.0
    whole = evaluate([{**rows[0], "segments_s": [(0.0, 99.0)]}, rows[1]], resamples=10)["metrics"]
    assert whole["step_auc"] is None, "where all steps are forged none can be told from the others"
    unknown = evaluate([row(1, 0.9, segments_s=None, curve=curve), row(0, 0.1)], resamples=10)["metrics"]
    assert "ap_at_iou_0.5" not in unknown


def test_features_of_the_probes_stay_out_of_the_scores():
    scores = evaluate([row(0, 0.1, features={"metadata": {}}, masked={})], resamples=1)["scores"]
    assert not {"features", "masked"} & set(scores[0])


def test_a_stream_without_labels_is_compared_with_the_clip():
    rows = [row(0, 0.1, p_fake_audio=0.2, audio_label=0), row(1, 0.9, p_fake_audio=0.7)]
    streams = evaluate(rows, resamples=10)["streams"]
    assert streams["audio"] == {"scored": 2, "auc": None, "auc_against_clip": 1.0}
