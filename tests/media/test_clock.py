"""Picture and sound of one file are on one clock, whatever the container does."""

import wave
from pathlib import Path

import numpy as np
import pytest

from modeling_macbdf.media import decode
from modeling_macbdf.media.container import DecodeLimits
from modeling_macbdf.media.decode import iter_audio, iter_frames, probe, read_audio
from modeling_macbdf.media.outcomes import MediaError, Status
from modeling_macbdf.media.write import WriteOptions, write_clip

FPS, RATE = 25, 16_000
FLASH_FRAME = 32  # of 50, so 1.28 s after the video begins: displayed at 1.3 s, the centre of step 6
FLASH_S = CLICK_S = FLASH_FRAME / FPS


def flash_frames(count: int = 50, flash: int = FLASH_FRAME, height: int = 96, width: int = 128):
    """A dark textured picture that is white in one frame."""
    picture = np.random.default_rng(0).integers(20, 70, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    for index in range(count):
        frame = picture.astype(np.uint8)
        yield np.full_like(frame, 255) if index == flash else frame


def click(duration_s: float = 2.0, at_s: float = CLICK_S, rate: int = RATE) -> np.ndarray:
    """Silence with one click of 5 ms."""
    sound = np.zeros(round(duration_s * rate), dtype=np.float32)
    start, length = round(at_s * rate), round(0.005 * rate)
    sound[start : start + length] = 0.9 * np.sin(np.linspace(0, 4 * np.pi, length))
    return sound


def flash_time(path: Path) -> float:
    return next(frame.time_s for frame in iter_frames(path, None) if frame.rgb.mean() > 200)


def click_time(path: Path) -> float:
    audio = read_audio(path)
    return int(np.abs(audio.samples).argmax()) / audio.sampling_rate


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("late_video.mp4", {"video_offset_s": 0.5}),
        ("late_audio.mp4", {"audio_offset_s": 0.5}),
        ("late_video.mkv", {"video_offset_s": 0.5}),
        ("late_audio.mkv", {"audio_offset_s": 0.5}),
        ("old.avi", {"video_codec": "mpeg4", "audio_codec": "mp3"}),
        ("apple.mov", {"video_codec": "mpeg4"}),
        ("web.webm", {"video_codec": "libvpx", "audio_codec": "libopus"}),
        ("broadcast.ts", {"video_codec": "mpeg2video", "audio_codec": "mp2"}),
    ],
)
def test_flash_and_click_are_where_they_were_put(tmp_path, name, options):
    rate = 44_100 if options.get("audio_codec") in ("mp2", "mp3") else RATE
    written = WriteOptions(**options)
    path = write_clip(tmp_path / name, flash_frames(), FPS, click(rate=rate), rate, options=written)
    # A container that begins with the encoder's priming counts from there; picture and sound move together.
    priming = 0.08 if name.endswith((".avi", ".ts")) else 0.0
    flash, click_at = flash_time(path), click_time(path)
    assert flash == pytest.approx(FLASH_S + written.video_offset_s, abs=0.005 + priming)
    assert click_at == pytest.approx(CLICK_S + written.audio_offset_s, abs=0.005 + priming)
    shift = written.audio_offset_s - written.video_offset_s
    assert click_at - flash == pytest.approx(shift, abs=1 / FPS)


def test_a_step_shows_the_frame_displayed_at_its_centre(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", flash_frames(), FPS)
    frames = list(iter_frames(path))
    assert [frame.step for frame in frames] == list(range(10))
    assert [frame.time_s for frame in frames] == pytest.approx([(k + 0.5) / 5 for k in range(10)])
    assert [frame.pts_s for frame in frames] == pytest.approx([int((k + 0.5) * 5) / FPS for k in range(10)], abs=1e-3)
    assert [frame.step for frame in frames if frame.rgb.mean() > 200] == [6]


def test_a_late_video_has_no_step_before_it_begins(tmp_path):
    path = write_clip(
        tmp_path / "late.mp4", flash_frames(), FPS, click(), RATE, options=WriteOptions(video_offset_s=0.45)
    )
    frames = list(iter_frames(path))
    assert frames[0].step == 2 and frames[0].pts_s <= 0.5
    assert frames[-1].step == 11
    assert probe(path).video.start_s == pytest.approx(0.45, abs=0.001)


def test_late_sound_is_marked_as_missing_not_as_silence(tmp_path):
    path = write_clip(
        tmp_path / "late.mkv", flash_frames(), FPS, click(), RATE, options=WriteOptions(audio_offset_s=0.5)
    )
    audio = read_audio(path)
    assert audio.valid[0, 0] == pytest.approx(0.5 * RATE, abs=400)
    assert not audio.samples[: audio.valid[0, 0]].any()
    assert audio.step_mask(5).tolist() == [False, False, True, True, True]


def test_variable_frame_rate_shows_what_is_on_display(tmp_path):
    times = [0.0, 0.04, 0.2, 0.21, 0.5, 0.9, 1.2, 1.26, 1.5, 1.9]
    path = write_clip(tmp_path / "vfr.mp4", flash_frames(10, flash=7), FPS, click(), RATE, times_s=times)
    assert flash_time(path) == pytest.approx(1.26, abs=0.001)
    frames = list(iter_frames(path))
    shown = [max(t for t in times if t <= (frame.step + 0.5) / 5) for frame in frames]
    assert [frame.pts_s for frame in frames] == pytest.approx(shown, abs=0.001)
    assert [frame.step for frame in frames if frame.rgb.mean() > 200] == [6]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, rotation):
    upright = np.zeros((96, 128, 3), dtype=np.uint8)
    upright[:32, :40] = 255  # a bright top left corner
    stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    path = write_clip(tmp_path / "phone.mp4", [stored] * 10, FPS, options=WriteOptions(rotation=rotation))
    shown = next(iter_frames(path)).rgb
    assert shown.shape == upright.shape
    assert shown[:28, :36].mean() > 200 and shown[40:, :].mean() < 30


@pytest.mark.parametrize(
    ("sar", "rotation", "shape"),
    [
        ("10/7", 0, (96, 183)),
        ("10/7", 90, (183, 96)),
        ("8/9", 0, (96, 114)),
        ("1024/1023", 0, (96, 128)),  # rounded by an encoder
        ("9/1", 0, (96, 128)),  # an error
    ],
)
def test_pixels_are_made_square(tmp_path, sar, rotation, shape):
    """Faces of anamorphic video were judged squeezed."""
    stored = np.full((96, 128, 3), 30, np.uint8)
    stored[32:64, 32:64] = 220
    options = WriteOptions(codec_options=(("x264-params", f"sar={sar}"),), rotation=rotation)
    shown = next(iter_frames(write_clip(tmp_path / "wide.mp4", [stored] * 10, FPS, options=options))).rgb
    assert shown.shape[:2] == shape
    upright = np.rot90(shown, -rotation // 90).mean(axis=2) > 125
    scale = (shape[0] if rotation else shape[1]) / 128
    assert np.flatnonzero(upright.any(axis=0))[[0, -1]] == pytest.approx([32 * scale, 63 * scale], abs=2)
    assert np.flatnonzero(upright.any(axis=1))[[0, -1]] == pytest.approx([32, 63], abs=2)


def test_the_pixel_limit_holds_for_what_is_made_square(tmp_path):
    """A small picture of wide pixels took four times what was allowed."""
    options = WriteOptions(codec_options=(("x264-params", "sar=4/1"),))
    path = write_clip(tmp_path / "wide.mp4", [np.zeros((96, 128, 3), np.uint8)] * 10, FPS, options=options)
    with pytest.raises(MediaError) as caught:
        list(iter_frames(path, limits=DecodeLimits(max_pixels=2 * 96 * 128)))
    assert caught.value.status is Status.too_large
    assert list(iter_frames(path, limits=DecodeLimits(max_pixels=2**40)))  # beyond what FFmpeg can count


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_odd_pixel_formats_give_the_same_picture(tmp_path, pixel_format):
    grey = np.tile(np.linspace(0, 255, 128, dtype=np.uint8)[None, :, None], (96, 1, 3))
    options = WriteOptions(pixel_format=pixel_format, crf=10)
    shown = next(iter_frames(write_clip(tmp_path / "clip.mp4", [grey] * 10, FPS, options=options))).rgb
    assert np.abs(shown.astype(int) - grey).mean() < 4


def test_a_gap_in_the_sound_is_marked_and_filled_with_zeros(tmp_path):
    """Two runs of sound with half a second of nothing between them."""
    import av

    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE)
        stream.layout = "mono"
        for start in (0, 24_000):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 8000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    audio = read_audio(path)
    assert audio.valid.tolist() == [[0, 16_000], [24_000, 40_000]]
    assert not audio.samples[16_000:24_000].any() and audio.samples[24_000:].min() > 0.2
    assert audio.step_mask(13).tolist() == [True] * 5 + [False] * 2 + [True] * 6  # the last one half


def test_streaming_sound_equals_the_whole(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", flash_frames(), FPS, click(), RATE)
    whole = read_audio(path)
    chunks = list(iter_audio(path))
    assert len(chunks) > 10
    np.testing.assert_array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole.samples)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (48_000, 6), (192_000, 2)])
def test_any_sampling_rate_and_channel_count_becomes_mono(tmp_path, rate, channels):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    sound = np.tile(tone, (channels, 1)).astype(np.float32)
    options = WriteOptions(audio_codec="pcm_s16le")
    audio = read_audio(write_clip(tmp_path / "tone.mkv", None, FPS, sound, rate, options=options))
    assert len(audio.samples) == pytest.approx(RATE, abs=40)
    middle = audio.samples[2000:14_000]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * RATE / len(middle) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("channels", [8, 12])
def test_the_mean_of_many_channels_holds_each_of_them_and_nothing_else(tmp_path, channels):
    """Once, from eight channels on, the memory behind the last one was averaged in, or the process crashed."""
    levels = np.linspace(0.1, 0.7, channels)
    samples = np.tile((levels * 32_767).astype("<i2"), (RATE, 1))
    with wave.open(str(tmp_path / "many.wav"), "wb") as file:
        file.setparams((channels, 2, RATE, RATE, "NONE", ""))
        file.writeframes(samples.tobytes())
    audio = read_audio(tmp_path / "many.wav")
    np.testing.assert_allclose(audio.samples, levels.mean(), atol=1e-3)


def test_channels_that_cancel_each_other_out_are_not_averaged(tmp_path):
    """A voice with one channel turned round was "silent"."""
    voice = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
    options = WriteOptions(audio_codec="pcm_s16le")
    for name, right, judged in (("opposite", -1.02, 2), ("nearly", -0.8, 1)):
        sound = np.stack([voice, right * voice])
        audio = read_audio(write_clip(tmp_path / f"{name}.wav", None, FPS, sound, RATE, options=options))
        assert audio.peak == pytest.approx(0.3 * max(1, -right), abs=0.01)
        assert audio.warnings == (
            f"its channels cancel each other out: only channel {judged}, the loudest, was judged",
        )


@pytest.mark.parametrize("right", [1.0, 0.0, -0.5])
def test_channels_that_do_not_cancel_are_averaged(tmp_path, right):
    voice = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
    options = WriteOptions(audio_codec="pcm_s16le")
    sound = np.stack([voice, right * voice])
    audio = read_audio(write_clip(tmp_path / "stereo.wav", None, FPS, sound, RATE, options=options))
    assert audio.peak == pytest.approx(0.15 * (1 + right), abs=0.01)
    assert audio.warnings == ()


def test_silence_is_told_from_sound(tmp_path):
    silent = write_clip(tmp_path / "silent.mp4", flash_frames(), FPS, np.zeros(2 * RATE, np.float32), RATE)
    assert read_audio(silent).is_silent
    assert not read_audio(write_clip(tmp_path / "loud.mp4", flash_frames(), FPS, click(), RATE)).is_silent


def test_cover_art_is_not_video(tmp_path):
    import av

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=RATE)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        sound = av.AudioFrame.from_ndarray(click()[None], format="fltp", layout="mono")
        sound.sample_rate = RATE
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    assert probe(path).video is None
    assert probe(path).audio is not None
    assert (probe(path).video_streams, probe(path).audio_streams) == (0, 1)


def test_the_largest_default_video_stream_is_taken(tmp_path):
    import av

    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for side in (32, 96):
            stream = container.add_stream("mpeg4", rate=FPS)
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            streams.append(stream)
        for stream in streams:
            for _ in range(10):
                frame = av.VideoFrame.from_ndarray(
                    np.zeros((stream.height, stream.width, 3), np.uint8), format="rgb24"
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    assert next(iter_frames(path)).rgb.shape == (96, 96, 3)
    assert (probe(path).video_streams, probe(path).video.index) == (2, 1)


def test_frames_that_steps_share_cannot_be_changed_by_mistake(tmp_path):
    frame = next(iter_frames(write_clip(tmp_path / "clip.mp4", flash_frames(), FPS)))
    with pytest.raises(ValueError, match="read-only"):
        frame.rgb[0] = 0


@pytest.mark.parametrize("rate", [0, -5.0, 5000.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match=r"rate_hz must be in \(0, 1000\]"):
        next(iter_frames("any.mp4", rate))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("late.mp4", {"video_offset_s": 0.5}),
        ("matroska.mkv", {}),
        ("broadcast.ts", {"video_codec": "mpeg2video", "audio_codec": "mp2"}),
    ],
)
def test_leaving_frames_undecoded_that_no_step_shows_changes_no_step(tmp_path, name, options):
    rate = 44_100 if options.get("audio_codec") == "mp2" else RATE
    sound = click(4.0, rate=rate)
    path = write_clip(tmp_path / name, moving_frames(100), FPS, sound, rate, options=WriteOptions(**options))
    all_decoded, fewer_decoded = (list(iter_frames(path, 5.0, only_shown=only)) for only in (False, True))
    assert len(all_decoded) >= 19
    assert [(f.step, f.pts_s) for f in fewer_decoded] == [(f.step, f.pts_s) for f in all_decoded]
    assert all(np.array_equal(f.rgb, g.rgb) for f, g in zip(fewer_decoded, all_decoded, strict=True))


def test_frames_that_no_step_shows_are_left_undecoded(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", moving_frames(100), FPS, click(4.0), RATE)
    counted = []
    monkeypatch.setattr(decode, "_check_frame", lambda *frame: counted.append(frame[-1]))
    list(iter_frames(path, 5.0, only_shown=True))
    assert 20 <= len(counted) < 90


def moving_frames(count: int):
    """Every frame differs, so that a wrong one is seen."""
    picture = np.random.default_rng(0).integers(20, 220, (96, 128, 3)).astype(np.uint8)
    for index in range(count):
        yield np.roll(picture, index, axis=1)
