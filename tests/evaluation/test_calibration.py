"""Calibration: order kept, odds stated, false alarms bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_macbdf.data.records import ClipRecord
from modeling_macbdf.data.splits import write_splits
from modeling_macbdf.evaluation.calibration import (
    MIN_SCALE,
    calibrate,
    distance_limits,
    false_alarm_threshold,
    fit_platt,
    miss_threshold,
    verdict_thresholds,
    with_thresholds,
    with_voice,
)
from modeling_macbdf.evaluation.commands import not_trained


def sample(separation: float, n: int = 2000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n)
    return labels, random.normal(size=n) + separation * labels


def test_platt_finds_the_true_odds_of_two_gaussians():
    # Two unit Gaussians d apart have log-odds d * x - d^2 / 2.
    labels, scores = sample(2.0)
    scale, bias = fit_platt(labels, scores)
    assert scale == pytest.approx(2.0, rel=0.15)
    assert bias == pytest.approx(-2.0, rel=0.15)


def test_platt_does_not_depend_on_how_many_fakes_there_are():
    labels, scores = sample(2.0)
    keep = (labels == 0) | (np.arange(len(labels)) % 5 == 0)
    _, bias = fit_platt(labels[keep], scores[keep])
    assert bias == pytest.approx(-2.0, rel=0.2)


def test_a_worthless_score_becomes_a_flat_one_and_is_not_turned_round():
    labels, scores = sample(-1.0)
    assert fit_platt(labels, scores)[0] == MIN_SCALE


def test_false_alarms_stay_within_the_bound():
    reals = np.random.default_rng(2).random(101)
    for bound in (0.0, 0.01, 0.05, 0.2):
        assert np.mean(reals >= false_alarm_threshold(reals, bound)) <= bound


def test_the_bound_is_used_up_not_undershot():
    reals = np.linspace(0, 0.99, 100)
    assert np.sum(reals >= false_alarm_threshold(reals, 0.05)) == 5


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5]))
@settings(max_examples=300, deadline=None)
def test_clips_of_equal_score_stay_within_the_bound(tenths, bound):
    """Five of twenty reals tied at .9 once gave the threshold .9, which calls all five fake."""
    reals = np.array(tenths) / 10
    threshold = false_alarm_threshold(reals, bound)
    assert np.mean(reals >= threshold) <= bound
    next_lower = reals[reals < threshold].max()
    assert np.mean(reals >= next_lower) > bound, "a lower one would call too many fake"
    if len(set(tenths)) == len(tenths):
        ranked = np.sort(reals)[::-1]
        allowed = int(bound * len(reals))
        assert threshold == (ranked[allowed] + (ranked[allowed - 1] if allowed else 1.0)) / 2


def test_a_missing_class_sets_no_threshold():
    """Without a real clip the threshold was once silently .5."""
    with pytest.raises(ValueError, match="there are 0 real and 3 fake ones"):
        verdict_thresholds(np.ones(3), np.array([0.2, 0.8, 0.9]))
    clips = [row | ({"verdict": "inconclusive"} if row["label"] == 0 else {}) for row in rows()]
    with pytest.raises(ValueError, match=r"both classes .* 0 real"):
        calibrate(clips, "made")


def test_misses_stay_within_the_bound():
    fakes = np.random.default_rng(3).random(57)
    assert np.mean(fakes <= miss_threshold(fakes, 0.1)) <= 0.1


def test_verdicts_stay_on_their_side_of_even_odds():
    labels = np.array([0] * 20 + [1] * 20)
    separable = np.concatenate([np.linspace(0, 0.2, 20), np.linspace(0.8, 1.0, 20)])
    assert verdict_thresholds(labels, separable) == {"real_below": 0.5, "fake_above": 0.5}


def test_a_worthless_score_is_mostly_inconclusive():
    labels, scores = sample(0.0)
    thresholds = verdict_thresholds(labels, 1 / (1 + np.exp(-scores)))
    undecided = (1 / (1 + np.exp(-scores)) > thresholds["real_below"]) & (
        1 / (1 + np.exp(-scores)) < thresholds["fake_above"]
    )
    assert undecided.mean() > 0.8


def rows(n: int = 200, separation: float = 2.0) -> list[dict]:
    """Scored clips; every third has no sound, and what voice there is has no label where the clip is fake."""
    labels, scores = sample(separation, n)
    silent = np.arange(n) % 3 == 0
    p = 1 / (1 + np.exp(-scores))
    return [
        {
            "p_fake": p[i],
            "p_fake_video": p[i],
            "p_fake_audio": None if silent[i] else 0.5,
            "label": int(labels[i]),
            "video_label": int(labels[i]),
            "audio_label": None if labels[i] else 0,
            "status": "no_audio" if silent[i] else "scored",
            "source": "phone" if i % 2 else "studio",
        }
        for i in range(n)
    ]


def test_an_answer_without_both_classes_stays_uncalibrated():
    fitted = calibrate(rows(), "made")
    assert {"joint", "video"} <= set(fitted)
    assert "audio" not in fitted
    assert fitted["source"] == "made"


def test_calibration_of_one_class_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        calibrate([row for row in rows() if row["label"] == 0], "made")


def test_clips_of_which_nothing_is_known_are_left_out():
    unknown = rows()[0] | {"label": None, "video_label": None, "audio_label": None}
    assert calibrate([*rows(), unknown], "made") == calibrate(rows(), "made")


def test_without_labels_of_the_streams_a_picture_has_the_joint_scale():
    fitted = calibrate([row | {"video_label": None} for row in rows()], "made")
    assert fitted["video"] == fitted["joint"]


def test_a_fortieth_of_the_clips_lies_beyond_the_distance_limit():
    clips = [
        {"distances": {"video": float(value), "audio": 1.0} if value < 30 else {"video": float(value)}}
        for value in range(200)
    ]
    limits = distance_limits(clips)
    assert sum(clip["distances"]["video"] > limits["video"] for clip in clips) == 5
    assert "audio" not in limits, "thirty distances say nothing of the fortieth largest"


def voices(n: int = 400, separation: float = 1.0) -> list[dict]:
    """Scored files of a voice alone."""
    clips = rows(n, separation)
    return [row | {"status": "no_video", "p_fake_audio": row["p_fake"], "audio_label": row["label"]} for row in clips]


def test_the_voice_is_fitted_on_other_clips_and_the_rest_stays():
    whole = calibrate(rows(separation=2.0), "first")
    changed = with_voice(whole, voices(), "second")
    assert changed["audio"] == pytest.approx(calibrate(voices(), "second")["audio"])
    own = ("audio", "alone", "source", "distance_limit")
    assert {name: value for name, value in changed.items() if name not in own} == {
        name: value for name, value in whole.items() if name not in own
    }
    assert changed["source"] == "first; audio: second"
    limited = with_thresholds(changed, rows(), "third")
    assert with_voice(limited, voices(), "fourth")["source"] == "first; thresholds: third; audio: fourth"
    with pytest.raises(ValueError, match="whole calibration"):
        with_voice(None, voices(), "second")


def test_voices_alone_of_one_class_set_no_thresholds_of_their_own():
    """Dubbed clips of both classes and synthetic voices alone once gave the latter the threshold .5."""
    whole = calibrate(rows(), "first")
    dubbed = [row | {"p_fake_audio": row["p_fake"], "audio_label": row["label"]} for row in rows()[1::3]]
    changed = with_voice(whole, [*dubbed, *(row for row in voices() if row["label"])], "second")
    assert changed["audio"] and "audio" not in changed["alone"]


def test_new_thresholds_leave_those_of_a_voice_alone_and_its_distance():
    """They once deleted both."""
    far = {"distances": {"audio": 1.0}}
    whole = with_voice(calibrate(rows(), "first"), [row | far for row in voices()], "second")
    changed = with_thresholds(whole, [row | {"distances": {"video": 2.0}} for row in rows(n=400)], "third")
    assert changed["alone"]["audio"] == whole["alone"]["audio"]
    assert changed["distance_limit"] == {"audio": 1.0, "video": 2.0}


def test_clips_that_set_no_threshold_are_not_counted_among_those_that_do():
    silent = [row | {"verdict": "inconclusive"} for row in rows(60)]
    lone_class = [row for row in voices(90) if row["label"]]
    assert calibrate([*rows(200), *silent, *lone_class], "made")["clips"] == 200


def test_a_voice_alone_gets_thresholds_of_its_own():
    """At most one real voice in twenty is called fake, whatever the threshold of clips with a picture."""
    whole = calibrate(rows(separation=2.0), "first")
    changed = with_voice(whole, voices(), "second")
    scale, bias = changed["audio"]
    p = np.array([row["p_fake"] for row in voices() if row["label"] == 0])
    calibrated = 1 / (1 + np.exp(-(scale * np.log(p / (1 - p)) + bias)))
    assert np.mean(calibrated >= changed["alone"]["audio"]["fake_above"]) <= 0.05
    assert changed["fake_above"] == whole["fake_above"] != changed["alone"]["audio"]["fake_above"]


def test_a_picture_alone_is_not_called_real_more_often_than_allowed():
    """Over all clips together one forgery in twenty may be called real; not every second one without sound."""
    clips = rows(n=900, separation=4.0)
    for row in clips[::3]:
        row["p_fake"] = 0.2 + 0.1 * row["p_fake"]  # the picture alone ranks, but low
    fitted = calibrate(clips, "made")
    scale, bias = fitted["video"]
    p = np.array([row["p_fake"] for row in clips[::3] if row["label"] == 1])
    calibrated = 1 / (1 + np.exp(-(scale * np.log(p / (1 - p)) + bias)))
    assert np.mean(calibrated <= fitted["alone"]["video"]["real_below"]) <= 0.05
    assert np.mean(calibrated <= fitted["real_below"]) > 0.5


def test_a_muted_clip_counts_by_its_picture():
    clips = rows()
    muted = [row | {"status": "no_audio", "label": 1, "video_label": 0} for row in clips if row["label"] == 0]
    assert calibrate(clips + muted, "made")["alone"]["video"]["fake_above"] == pytest.approx(
        calibrate(clips + [row | {"label": 0} for row in muted], "made")["alone"]["video"]["fake_above"]
    )


def test_files_with_and_without_sound_share_one_scale():
    """The same log-odds give the same probability, or a list would be ranked by which files have sound."""
    clips = rows()
    for row in clips[1::3] + clips[2::3]:
        row["p_fake"] = 0.5 + (row["p_fake"] - 0.5) / 2  # the joint answer is less sure than the picture's
    fitted = calibrate(clips, "made")
    assert fitted["joint"] == fitted["video"]


def test_clips_that_get_no_verdict_do_not_set_the_thresholds():
    clips = rows(separation=3.0)
    clean = calibrate(clips, "made")
    noisy = [row | {"p_fake": 0.999, "verdict": "inconclusive"} for row in clips if row["label"] == 0]
    with_noise = calibrate(clips + noisy, "made")

    def called_fake(calibration: dict) -> float:
        scale, bias = calibration["joint"]
        p = np.array([row["p_fake"] for row in clips if row["label"] == 0])
        return np.mean(1 / (1 + np.exp(-(scale * np.log(p / (1 - p)) + bias))) >= calibration["fake_above"])

    assert called_fake(with_noise) == called_fake(clean)
    heard = [row | {"verdict": "fake"} for row in noisy]
    assert called_fake(calibrate(clips + heard, "made")) < called_fake(clean)


def test_thresholds_from_other_clips_leave_the_scale():
    whole = calibrate(rows(), "first")
    harder = [row | {"p_fake": row["p_fake"] ** 0.2} if row["label"] == 0 else row for row in rows(n=400)]
    changed = with_thresholds(whole, harder, "second")
    assert (changed["joint"], changed["video"]) == (whole["joint"], whole["video"])
    assert changed["fake_above"] > whole["fake_above"]
    assert changed["clips"] == 400
    assert changed["source"] == "first; thresholds: second"
    with pytest.raises(ValueError, match="whole calibration"):
        with_thresholds(None, harder, "second")
    with pytest.raises(ValueError, match="both classes"):
        with_thresholds(whole, [row for row in harder if row["label"] == 1], "second")


def test_the_clips_that_a_recipe_does_not_train_on_are_found(tmp_path):
    recipe = tmp_path / "train.yaml"
    recipe.write_text(
        "data: {sets: [{cache: a, split: train}, {cache: a, split: pairs}, {cache: b}], leave_out: [ann, 7]}"
    )
    clips = [
        ClipRecord("dev.mp4", 0, split="dev", identities=("bob",)),
        ClipRecord("train.mp4", 0, split="train", identities=("eve",)),
        ClipRecord("pair-ann.mp4", 1, split="pairs", identities=("ann",)),
        ClipRecord("pair-bob.mp4", 1, split="pairs", identities=("bob",)),
        ClipRecord("voice-7.flac", 1, generator="7"),
        ClipRecord("voice-8.flac", 1, generator="8"),
        ClipRecord("voice-8-7.flac", 1, generator="8 + 7"),
    ]
    left = ["dev.mp4", "pair-ann.mp4", "voice-7.flac", "voice-8-7.flac"]
    assert [clip.path for clip in not_trained(clips, recipe)] == left
    write_splits(tmp_path / "s.json", {"dev": clips[1:2], "train": clips[:1]}, "")
    recipe.write_text(recipe.read_text().replace("leave_out:", f"splits: {tmp_path / 's.json'}, leave_out:"))
    assert [clip.path for clip in not_trained(clips, recipe)] == ["train.mp4", *left[1:]]
    recipe.write_text("data: {cache: a}")
    with pytest.raises(ValueError, match=r"data\.sets.*train\.yaml has none"):
        not_trained(clips, recipe)


def test_too_few_clips_and_scores_that_tell_nothing_are_told(caplog):
    """A dozen clips once overwrote a calibration without a word, and every file became inconclusive."""
    verdict_thresholds(np.array([0] * 5 + [1] * 7), np.linspace(0.1, 0.9, 12))
    assert "5 real and 7 fake clips" in caplog.text
    caplog.clear()
    labels = np.array([0, 1] * 30)
    assert fit_platt(labels, np.where(labels == 1, -1.0, 1.0))[0] == pytest.approx(0.01)
    assert "do not rise with the label" in caplog.text
    caplog.clear()
    fit_platt(labels, np.where(labels == 1, 1.0, -1.0))
    assert not caplog.text
