"""Detections become steady tracks: gaps are bridged, cuts end a track, faces stay apart, streaming changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_macbdf.media.crops import crop_square, square_of, to_crop_pixels
from modeling_macbdf.media.decode import Frame
from modeling_macbdf.media.faces import Face
from modeling_macbdf.media.tracks import FaceTracker, TrackOptions, extract_tracks, stack_track

SMALL = TrackOptions(crop_size=32)


def scene(seed: int = 0, height: int = 120, width: int = 200) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 10, width // 10, 3), dtype=np.uint8)
    return blocks.repeat(10, 0).repeat(10, 1)


def frames(count: int, pictures=None) -> list[Frame]:
    picture = scene()
    return [Frame(k, (k + 0.5) / 5, picture if pictures is None else pictures[k], k / 5) for k in range(count)]


def face(x: float, y: float = 60, size: float = 40, score: float = 0.9) -> Face:
    box = np.asarray([x - size / 2, y - size / 2, x + size / 2, y + size / 2], dtype=np.float32)
    spread = np.asarray([[-0.2, -0.2], [0.2, -0.2], [0, 0], [-0.15, 0.2], [0.15, 0.2]]) * size
    return Face(box, score, (spread + np.asarray([x, y])).astype(np.float32))


class Script:
    """A detector that answers from a list, one answer per frame."""

    def __init__(self, answers: list[list[Face]]) -> None:
        self.answers = list(answers)
        self.calls = 0

    def detect(self, rgb: np.ndarray) -> list[Face]:
        self.calls += 1
        return self.answers.pop(0)


def test_two_faces_are_two_tracks_even_when_listed_in_any_order():
    answers = [[face(50 + k), face(150 - k, size=36)][:: (-1) ** k] for k in range(20)]
    tracks = extract_tracks(frames(20), Script(answers), SMALL)
    assert [len(track.steps) for track in tracks] == [20, 20]
    assert all(np.ptp(track.boxes[:, 0]) < 25 for track in tracks)


def test_a_short_gap_is_bridged_and_flagged():
    answers = [[face(50 + 2 * k)] if k not in (4, 5, 6) else [] for k in range(12)]
    (track,) = extract_tracks(frames(12), Script(answers), SMALL)
    assert track.steps.tolist() == list(range(12))
    assert np.flatnonzero(~track.detected).tolist() == [4, 5, 6]
    centres = (track.boxes[:, 0] + track.boxes[:, 2]) / 2
    np.testing.assert_allclose(centres, 50 + 2 * np.arange(12), atol=1e-3)


def test_a_long_gap_ends_the_track_at_its_last_detection():
    answers = [[face(50)] if k < 5 or k > 9 else [] for k in range(15)]
    tracks = extract_tracks(frames(15), Script(answers), SMALL)
    assert [track.steps.tolist() for track in tracks] == [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]
    assert all(track.detected.all() for track in tracks)


def test_a_scene_cut_ends_a_track_though_the_boxes_overlap():
    pictures = [scene(1)] * 6 + [scene(2)] * 6
    tracks = extract_tracks(frames(12, pictures), Script([[face(60)]] * 12), SMALL)
    assert [track.steps.tolist() for track in tracks] == [list(range(6)), list(range(6, 12))]


def test_a_flash_is_no_cut():
    pictures = [scene()] * 12
    pictures[5] = np.full_like(pictures[5], 255)
    answers = [[face(60)] if k != 5 else [] for k in range(12)]
    (track,) = extract_tracks(frames(12, pictures), Script(answers), SMALL)
    assert np.flatnonzero(~track.detected).tolist() == [5]


def test_a_jump_within_a_scene_is_another_face():
    answers = [[face(40)]] * 6 + [[face(160)]] * 6
    tracks = extract_tracks(frames(12), Script(answers), SMALL)
    assert [len(track.steps) for track in tracks] == [6, 6]


def test_jitter_is_smoothed_and_even_motion_is_not_delayed():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, 400)
    answers = [[face(40 + 0.3 * k + noise[k], size=40 + rng.normal(0, 2))] for k in range(400)]
    (track,) = extract_tracks(frames(400), Script(answers), SMALL)
    centres = (track.boxes[:, 0] + track.boxes[:, 2]) / 2
    error = (centres - (40 + 0.3 * np.arange(400)))[4:-4]
    assert np.std(error) < 0.6 * np.std(noise)
    assert abs(error.mean()) < 0.3
    widths = track.boxes[4:-4, 2] - track.boxes[4:-4, 0]
    assert np.std(widths) < 0.5 * 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(60, 140), min_size=9, max_size=30))
def test_smoothed_boxes_stay_within_what_was_detected(centres):
    """A weighted mean can neither overshoot nor leave the range of the detections."""
    answers = [[face(x)] for x in centres]
    for track in extract_tracks(frames(len(centres)), Script(answers), SMALL):
        found = np.asarray(centres)[track.steps]
        middle = (track.boxes[:, 0] + track.boxes[:, 2]) / 2
        assert middle.min() >= found.min() - 1e-3 and middle.max() <= found.max() + 1e-3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]))
def test_streaming_equals_offline_with_bounded_memory_and_lag(seed, every):
    """Pushing frame by frame gives the same crops as the list, no later than the promised lag."""
    rng = np.random.default_rng(seed)
    options = TrackOptions(crop_size=32, detect_every=every)
    answers = {k: [face(x + rng.normal(0, 2)) for x in (50, 150) if rng.random() < 0.8] for k in range(40)}
    pictures = [scene(1)] * 25 + [scene(2)] * 15
    clip = frames(40, pictures)
    asked = [k for k in range(40) if (k < 25 and k % every == 0) or (k >= 25 and (k - 25) % every == 0)]
    offline = extract_tracks(clip, Script([answers[k] for k in asked]), options)

    tracker, crops = FaceTracker(options), {}
    for frame in clip:
        faces = answers[frame.step] if tracker.wants_faces(frame) else None
        assert (faces is not None) == (frame.step in asked)
        for crop in tracker.push(frame, faces):
            assert frame.step - crop.step <= options.lag
            crops.setdefault(crop.track_id, []).append(crop)
        assert len(tracker._frames) <= options.lag
    for crop in tracker.flush():
        crops.setdefault(crop.track_id, []).append(crop)
    streamed = [stack_track(crops[key]) for key in sorted(crops)]
    assert len(streamed) == len(offline)
    for one, other in zip(streamed, offline, strict=True):
        for name in ("steps", "times_s", "boxes", "landmarks", "crops", "detected", "scores"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_an_endless_feed_keeps_no_history():
    tracker, picture = FaceTracker(SMALL), scene()
    for k in range(300):
        tracker.push(Frame(k, k / 5, picture, k / 5), [face(60)])
    (track,) = tracker._tracks
    assert len(track._rows) < 30 and len(tracker._frames) <= SMALL.lag


def test_sparse_detection_calls_the_detector_less_often():
    script = Script([[face(50 + 9 * k)] for k in range(7)])
    (track,) = extract_tracks(frames(19), script, SMALL, detect_every=3)
    assert script.calls == 7
    assert len(track.steps) == 19
    np.testing.assert_allclose(track.boxes[4:-4, 0], (30 + 3 * np.arange(19))[4:-4], atol=1e-3)


def looked_at(centres, **options):
    """Steps in which the tracker asks for faces, and its tracks; None = no face there."""
    tracker, asked, crops = FaceTracker(replace(SMALL, **options)), [], {}
    for frame in frames(len(centres)):
        faces = None
        if tracker.wants_faces(frame):
            asked.append(frame.step)
            faces = [face(centres[frame.step])] if centres[frame.step] else []
        for crop in tracker.push(frame, faces):
            assert frame.step - crop.step <= tracker.options.lag
            crops.setdefault(crop.track_id, []).append(crop)
    for crop in tracker.flush():
        crops.setdefault(crop.track_id, []).append(crop)
    return asked, [stack_track(crops[key]) for key in sorted(crops)]


def test_a_face_that_stays_is_looked_for_less_often():
    sparse = {"detect_every": 2, "steady_every": 4, "max_misses": 1}
    asked, (track,) = looked_at([60] * 10 + [60 + 4 * k for k in range(10)], **sparse)
    assert asked == [0, 2, 6, 10, 14, 16, 18], "at rest every fourth step, moving every second one"
    assert len(track.steps) == 20
    asked, tracks = looked_at([60] * 8 + [None] * 3 + [60] * 9, **sparse)
    assert asked == [0, 2, 6, 10, 12, 16], "one miss at rest is looked at again soon, and ends nothing"
    assert [len(track.steps) for track in tracks] == [20]
    asked, tracks = looked_at([60] * 8 + [None] * 7 + [60] * 5, **sparse)
    assert [(track.steps[0], track.steps[-1]) for track in tracks] == [(0, 6), (16, 19)]


def test_landmarks_are_in_crop_pixels():
    (track,) = extract_tracks(frames(9), Script([[face(100, 60, 40)]] * 9), SMALL)
    nose = track.landmarks[4, 2]
    np.testing.assert_allclose(nose, [16, 16], atol=1e-3)  # the face's centre is the crop's
    eye = track.landmarks[4, 0]
    np.testing.assert_allclose(eye, 16 - 0.2 * 40 * 32 / (1.4 * 40), atol=1e-3)


def test_small_faces_and_surplus_faces_are_left_out():
    crowd = [face(20 + 22 * i, size=24 + i) for i in range(8)] + [face(100, 20, 10)]
    tracks = extract_tracks(frames(5), Script([crowd] * 5), SMALL, max_faces=3)
    assert len(tracks) == 3
    assert min(track.boxes[0, 3] - track.boxes[0, 1] for track in tracks) > 28


def test_frames_of_another_size_begin_another_scene():
    pictures = [scene()] * 5 + [scene(0, 60, 100)] * 5
    tracks = extract_tracks(frames(10, pictures), Script([[face(50, 30, 30)]] * 10), SMALL)
    assert [track.steps[0] for track in tracks] == [0, 5]


def test_steps_must_rise():
    tracker = FaceTracker(SMALL)
    tracker.push(frames(2)[1], [])
    with pytest.raises(ValueError, match="step must rise, but 0 came after 1"):
        tracker.push(frames(1)[0], [])


@pytest.mark.parametrize(
    ("options", "words"),
    [({"crop_size": 0}, "crop_size must be at least 1"), ({"crop_scale": 0}, "crop_scale must be")],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        TrackOptions(**options)


def test_a_crop_inside_the_frame_at_its_own_size_is_the_frame():
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_square(picture, np.asarray([10, 20, 42, 52]), 32), picture[20:52, 10:42])


def test_a_crop_past_the_border_repeats_the_edge():
    picture = np.full((60, 80, 3), 7, dtype=np.uint8)
    picture[:, 0] = 99
    crop = crop_square(picture, np.asarray([-32, 10, 0, 42]), 32)
    assert (crop[:, :28] == 99).all()
    assert crop_square(picture, np.asarray([500, 500, 532, 532]), 32).shape == (32, 32, 3)


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    crop = crop_square(stripes, np.asarray([32, 32, 224, 224]), 32)
    assert np.abs(crop.astype(int) - 128).max() <= 3


def test_squares_and_points_agree():
    square = square_of(np.asarray([10, 20, 30, 60]), 1.5)
    np.testing.assert_allclose(square, [-10, 10, 50, 70])
    np.testing.assert_allclose(to_crop_pixels(np.asarray([[20.0, 40.0]]), square, 30), [[15, 15]])
