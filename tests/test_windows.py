"""Windows cover a track completely, whatever its length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling_macbdf.windows import Window, WindowBuilder, sound_windows


def crop(step: int) -> np.ndarray:
    return np.full((2, 2, 3), step % 251, np.uint8)


def cut(steps: int, first: int = 0, length: int = 16, hop: int = 8, min_steps: int = 4) -> list[Window]:
    builder = WindowBuilder(length, hop, min_steps)
    windows = [builder.push(0, step, crop(step)) for step in range(first, first + steps)] + [builder.finish(0)]
    return [window for window in windows if window is not None]


@given(steps=st.integers(4, 120), first=st.integers(0, 50), length=st.integers(2, 20), data=st.data())
def test_every_step_is_in_a_window_and_holds_its_own_crop(steps, first, length, data):
    windows = cut(steps, first, length, hop=data.draw(st.integers(1, length)), min_steps=1)
    covered = set()
    for window in windows:
        covered |= set(range(window.first_step, window.first_step + window.steps))
        assert window.crops[0, 0, 0, 0] == window.first_step % 251
        assert window.steps == min(length, steps)
    assert covered == set(range(first, first + steps))


def test_starts_follow_the_hop_and_the_last_window_ends_with_the_track():
    assert [window.first_step for window in cut(50)] == [0, 8, 16, 24, 32, 34]


@given(steps=st.integers(4, 120), length=st.integers(2, 20), data=st.data())
def test_sound_is_cut_like_a_face_track(steps, length, data):
    hop = data.draw(st.integers(1, length))
    like = [(window.first_step, window.steps) for window in cut(steps, 0, length, hop)]
    assert [(window.first_step, window.steps) for window in sound_windows(steps, length, hop, 4)] == like


def test_tracks_that_got_no_more_crops_are_ended():
    builder = WindowBuilder(4, 2)
    builder.push(0, 0, crop(0))
    builder.push(1, 5, crop(5))
    assert [window.track for window in builder.finish_before(5)] == [0]
    assert [window.track for window in builder.finish_before()] == [1]


def test_short_track_gives_one_short_window_and_a_shorter_one_none():
    assert [window.steps for window in cut(5)] == [5]
    assert cut(3) == []


def test_tracks_do_not_mix():
    builder = WindowBuilder(4, 2)
    done = [builder.push(track, step, crop(100 * track + step)) for step in range(4) for track in (0, 1)]
    first, second = [window for window in done if window is not None]
    assert (first.track, second.track) == (0, 1)
    assert first.crops[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert second.crops[:, 0, 0, 0].tolist() == [100, 101, 102, 103]


def test_memory_does_not_grow_with_the_track():
    builder = WindowBuilder(16, 8)
    for step in range(1000):
        builder.push(0, step, crop(step))
    assert len(builder._tracks[0].crops) == 16


def test_a_gap_is_refused_by_name():
    builder = WindowBuilder(4, 2)
    builder.push(7, 3, crop(3))
    with pytest.raises(ValueError, match="step must follow step 3 of track 7, but it is 5"):
        builder.push(7, 5, crop(5))


def test_hop_outside_the_window_is_refused():
    with pytest.raises(ValueError, match="hop must be between 1 and length=4 steps, but it is 5"):
        WindowBuilder(4, 5)
