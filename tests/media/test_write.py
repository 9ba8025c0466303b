"""What is written is what was given, and round trips leave the shape and the traces of the codec."""

import numpy as np
import pytest

from modeling_macbdf.media.decode import iter_frames, probe
from modeling_macbdf.media.write import WriteOptions, round_trip, write_clip


def moving(count: int = 16, height: int = 96, width: int = 96) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin((x + 2 * k) / 9) * np.cos(y / 11) for k in range(count)]
    return np.stack([np.stack([w, w[::-1], w[:, ::-1]], axis=-1) for w in waves]).astype(np.uint8)


def test_written_frames_come_back(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", moving(), 25, options=WriteOptions(crf=10))
    shown = np.stack([frame.rgb for frame in iter_frames(path, None)])
    assert np.abs(shown.astype(int) - moving()).mean() < 6
    assert probe(path).video.frame_rate_hz == pytest.approx(25)


def test_an_odd_size_loses_its_last_row_and_column(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", moving(height=97, width=99), 25)
    assert next(iter_frames(path)).rgb.shape == (96, 98, 3)


@pytest.mark.parametrize("codec", ["h264", "mpeg4"])
@pytest.mark.parametrize("shape", [(96, 96), (95, 97)])
def test_a_round_trip_keeps_the_shape_and_worsens_with_the_factor(codec, shape):
    frames = moving(12, *shape)
    fine, coarse = (round_trip(frames, codec, crf) for crf in (4, 30))
    assert fine.shape == coarse.shape == frames.shape and fine.dtype == np.uint8
    loss = [np.abs(trip.astype(int) - frames).mean() for trip in (fine, coarse)]
    assert 0 < loss[0] < loss[1] < 30


def test_a_round_trip_keeps_the_order_of_frames():
    frames = np.stack([np.full((64, 64, 3), 10 + 15 * k, np.uint8) for k in range(16)])
    means = round_trip(frames).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, 10 + 15 * np.arange(16), atol=4)


def test_a_round_trip_is_deterministic():
    np.testing.assert_array_equal(round_trip(moving()), round_trip(moving()))


def test_a_failed_write_leaves_no_file(tmp_path):
    def broken():
        yield moving()[0]
        raise RuntimeError("the renderer failed")

    with pytest.raises(RuntimeError, match="renderer"):
        write_clip(tmp_path / "clip.mp4", broken(), 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: write_clip(p, None), "must not both be None"),
        (lambda p: write_clip(p, []), "at least one frame"),
        (lambda p: write_clip(p, moving(), 0), "fps must be positive"),
        (lambda p: write_clip(p, moving(4), 25, times_s=[0, 1]), "one time per frame, but .* more frames after 2"),
        (lambda p: write_clip(p, moving(2), 25, times_s=iter([0, 1, 2])), "more times after 2"),
        (lambda p: write_clip(p, None, 25, np.zeros((3, 100))), "1, 2 or 6 channels"),
        (lambda _: WriteOptions(rotation=45), "multiple of 90"),
        (lambda _: WriteOptions(audio_offset_s=-1), "audio_offset_s must not be negative"),
        (lambda _: round_trip(moving(), "vp9"), "codec must be"),
        (lambda _: round_trip(moving().astype(float)), "uint8"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, call, words):
    with pytest.raises(ValueError, match=words):
        call(tmp_path / "clip.mp4")
