"""Calibration: order kept, odds stated, false alarms bounded."""

import numpy as np
import pytest

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
    with_answer,
    with_thresholds,
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


def test_one_answer_is_fitted_on_other_clips_and_the_rest_stays():
    whole = calibrate(rows(separation=2.0), "first")
    other = rows(n=400, separation=4.0)
    changed = with_answer(whole, other, "video", "second")
    assert changed["video"] == pytest.approx(calibrate(other, "second")["video"])
    assert {name: value for name, value in changed.items() if name not in ("video", "source", "distance_limit")} == {
        name: value for name, value in whole.items() if name not in ("video", "source", "distance_limit")
    }
    assert changed["source"] == "first; video: second"
    both = with_answer(changed, other, "joint", "third")
    assert with_answer(both, other, "video", "fourth")["source"] == "first; joint: third; video: fourth"
    with pytest.raises(ValueError, match="whole calibration"):
        with_answer(None, other, "video", "second")


def test_a_voice_alone_gets_thresholds_of_its_own():
    """At most one real voice in twenty is called fake, whatever the threshold of clips with a picture."""
    whole, voices = calibrate(rows(separation=2.0), "first"), rows(n=400, separation=1.0)
    for row in voices:
        row.update(status="no_video", p_fake_audio=row["p_fake"], audio_label=row["label"])
    changed = with_answer(whole, voices, "audio", "second")
    scale, bias = changed["audio"]
    p = np.array([row["p_fake"] for row in voices if row["label"] == 0])
    calibrated = 1 / (1 + np.exp(-(scale * np.log(p / (1 - p)) + bias)))
    assert np.mean(calibrated >= changed["alone"]["audio"]["fake_above"]) <= 0.05
    assert changed["fake_above"] == whole["fake_above"] != changed["alone"]["audio"]["fake_above"]
    assert "audio" not in with_answer(whole, rows(separation=2.0), "video", "second")["alone"]


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
