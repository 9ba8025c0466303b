"""The self-made talking face is a face that talks, the same for the same seed and another for another."""

import numpy as np
import pytest

from modeling_macbdf.media.decode import iter_frames, read_audio
from modeling_macbdf.media.faces import CenterFaceDetector
from modeling_macbdf.media.synthetic import TalkingFace, make_talking_clip, render_talking_face
from modeling_macbdf.media.tracks import extract_tracks
from modeling_macbdf.media.voice import synthesize_voice


@pytest.fixture(scope="module")
def detector() -> CenterFaceDetector:
    return CenterFaceDetector()


@pytest.fixture(scope="module")
def talking_face() -> TalkingFace:
    return render_talking_face(0, 3.0)


def test_the_clip_shows_one_face_in_every_step_and_has_a_voice(tmp_path, detector):
    path = make_talking_clip(tmp_path / "talk.mp4", seed=0, duration_s=2.0)
    (track,) = extract_tracks(iter_frames(path), detector)
    assert track.steps.tolist() == list(range(10))
    assert track.detected.all()
    audio = read_audio(path)
    assert audio.duration_s == pytest.approx(2.0, abs=0.1)
    assert not audio.is_silent


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5, 6])
def test_other_people_have_faces_too(seed, detector):
    face = render_talking_face(seed, 0.8, fps=5)
    assert all(len(detector.detect(frame)) == 1 for frame in face.frames)


def test_a_seed_makes_the_same_clip_and_another_seed_another():
    one, same, other = (render_talking_face(seed, 0.4, size=96) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.frames, same.frames)
    np.testing.assert_array_equal(one.waveform, same.waveform)
    assert np.abs(one.frames.astype(int) - other.frames).mean() > 10
    assert np.corrcoef(one.waveform, other.waveform)[0, 1] < 0.5


def test_the_mouth_follows_the_voice(talking_face):
    """Loudness of the voice and darkness of the open mouth go together in time."""
    face = talking_face
    samples = face.waveform.reshape(len(face.frames), -1)
    loudness = np.sqrt((samples**2).mean(axis=1))
    assert np.corrcoef(loudness, face.opening)[0, 1] > 0.5
    dark = (face.frames[:, 170:225, 120:190].mean(axis=3) < 70).mean(axis=(1, 2))
    assert np.corrcoef(dark, face.opening)[0, 1] > 0.6


def test_the_head_moves(talking_face, detector):
    centres = [detector.detect(frame)[0].landmarks[2] for frame in talking_face.frames[::5]]
    travel = np.ptp(np.stack(centres), axis=0).max()
    assert 3 < travel < 60


def test_the_eyes_blink(talking_face, detector):
    """Around the pupils it is dark, except while the lids are shut."""
    dark = []
    for frame in talking_face.frames:
        x, y = detector.detect(frame)[0].landmarks[0].round().astype(int)
        dark.append((frame[y - 5 : y + 6, x - 8 : x + 9].mean(axis=2) < 80).mean())
    assert min(dark) < 0.3 * np.median(dark)
    assert np.mean(np.asarray(dark) < 0.5 * np.median(dark)) < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_the_voice_is_pitched_in_the_speaking_range(seed):
    voice = synthesize_voice(seed, 3.0)
    loud = voice.waveform[np.abs(voice.waveform).argmax() - 800 :][:1600].astype(float)
    lags = np.correlate(loud, loud, "full")[len(loud) - 1 :]
    period = 40 + lags[40:240].argmax()
    assert lags[period] > 0.3 * lags[0]  # voiced
    assert 60 < 16_000 / period < 400
    assert 0.3 < np.abs(voice.waveform).max() <= 1


def test_the_voice_pauses_and_the_mouth_closes():
    voice = synthesize_voice(0, 6.0)
    assert len(voice.opening) == len(voice.spread) == 1200
    assert voice.opening.min() < 0.05 and voice.opening.max() > 0.6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 10}, "size must be in 64..2048"),
        ({"fps": 0}, "fps must be in"),
        ({"duration_s": 0}, "duration_s must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        render_talking_face(0, **arguments)
