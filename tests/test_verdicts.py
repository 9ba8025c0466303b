"""Pooling, thresholds and timelines."""

import pytest

from modeling_macbdf.verdicts import (
    Verdict,
    WindowScore,
    decide,
    file_log_odds,
    in_force,
    judged_s,
    masked_voice,
    pool,
    probability,
    timeline,
    unfamiliar,
)

CALIBRATION = {"real_below": 0.3, "fake_above": 0.8}


def window(start_s: float, joint: float, track: int | None = 0, **streams: float | None) -> WindowScore:
    return WindowScore(track, start_s, start_s + 3.2, joint, streams.get("video", joint), streams.get("audio"))


def test_a_score_that_is_no_number_is_no_certainty():
    with pytest.raises(ValueError, match="NaN"):
        probability(float("nan"))


def test_a_short_window_between_two_centres_is_on_the_timeline():
    windows = [WindowScore(0, 2.6, 3.4, 4.0, 4.0, None), WindowScore(1, 5.0, 8.2, -3.0, -3.0, None)]
    assert max(segment.p_fake for segment in timeline(windows, 1.6)) == pytest.approx(probability(4.0))
    assert timeline([WindowScore(0, 652 / 5, 656 / 5, 0.0, 0.0, None)], 1.6)


@pytest.mark.parametrize(
    ("p", "verdict"),
    [
        (0.0, Verdict.REAL),
        (0.3, Verdict.REAL),
        (0.31, Verdict.INCONCLUSIVE),
        (0.79, Verdict.INCONCLUSIVE),
        (0.8, Verdict.FAKE),
        (1.0, Verdict.FAKE),
    ],
)
def test_verdict_has_a_middle(p, verdict):
    assert decide(p, CALIBRATION) is verdict


def test_a_stream_alone_has_its_own_thresholds_where_they_were_fitted():
    own = {**CALIBRATION, "alone": {"audio": {"real_below": 0.1, "fake_above": 0.95}}}
    assert decide(0.9, in_force(own, "audio")) is Verdict.INCONCLUSIVE
    assert decide(0.9, in_force(own, "video")) is Verdict.FAKE
    assert decide(0.9, in_force(own, None)) is Verdict.FAKE
    assert decide(0.9, in_force(CALIBRATION, "audio")) is Verdict.FAKE


@pytest.mark.parametrize(("distance", "verdict"), [(1.9, Verdict.FAKE), (2.1, Verdict.INCONCLUSIVE)])
def test_a_stream_unlike_the_training_media_gets_no_verdict(distance, verdict):
    calibration = {**CALIBRATION, "distance_limit": {"video": 2.0}}
    distances = {"video": distance, "audio": 99.0}  # no limit is known for the voice
    assert decide(0.9, calibration, distances) is verdict
    reasons = unfamiliar(distances, calibration)
    assert len(reasons) == (verdict is Verdict.INCONCLUSIVE)
    assert all("picture" in reason and "2.10" in reason and "2.00" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("codec", "level_range_db", "words"),
    [
        ("aac", 40.0, []),
        (None, None, []),
        ("opus", 40.0, ["opus"]),
        ("aac", 12.4, ["12 dB"]),
        ("opus", 12.4, ["opus", "12 dB"]),
    ],
)
def test_codecs_and_noise_that_hide_the_voice_are_named(codec, level_range_db, words):
    doubts = masked_voice(codec, level_range_db)
    assert len(doubts) == len(words)
    assert all(word in doubt for word, doubt in zip(words, doubts, strict=True))


def test_short_forged_part_is_not_averaged_away():
    assert pool([-4.0] * 6 + [5.0] * 2) == 5.0


def test_time_under_windows_counts_once():
    assert judged_s(
        [window(0.0, 1.0), window(1.6, 1.0), window(1.6, 1.0, track=1), window(8.0, 1.0)]
    ) == pytest.approx(8)
    assert judged_s([]) == 0


def test_pooling_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one window"):
        pool([])


def test_probability_never_overflows():
    assert probability(-1e6) == pytest.approx(0, abs=1e-20)
    assert probability(1e6) == 1.0
    assert probability(0.0) == 0.5


def test_clip_takes_its_most_suspicious_face():
    answers = file_log_odds([window(0, -3.0, track=0), window(0, 2.0, track=1)])
    assert answers == {"joint": 2.0, "video": 2.0}


def test_voice_counts_once_however_many_faces_there_are():
    windows = [window(0, 0, 0, audio=1.0), window(0, 0, 1, audio=1.0), window(4, 0, 0, audio=-1.0)]
    assert file_log_odds(windows)["audio"] == pool([1.0, -1.0])


def test_streams_that_were_not_judged_have_no_answer():
    sound_only = WindowScore(None, 0.0, 3.2, 1.5, None, 1.5)
    assert file_log_odds([sound_only]) == {"joint": 1.5, "audio": 1.5}


def test_timeline_points_at_the_forged_seconds():
    windows = [window(start, 4.0 if start == 4.8 else -4.0) for start in (0.0, 1.6, 3.2, 4.8, 6.4)]
    worst = max(timeline(windows, 1.6), key=lambda segment: segment.p_fake)
    assert worst.start_s >= 4.8
    assert worst.end_s <= 8.0


def test_timeline_leaves_out_what_no_window_covers():
    segments = timeline([window(0, 0.0), window(8.0, 0.0)], 1.6)
    assert [segment.start_s for segment in segments] == [0.0, 1.6, 8.0, 9.6]
