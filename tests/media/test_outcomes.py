"""Every bad file has a typed outcome with a reason in words, and nothing hangs."""

import os
import pickle
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from modeling_macbdf.media import decode
from modeling_macbdf.media.container import decoded_frames, open_media
from modeling_macbdf.media.decode import DecodeLimits, iter_audio, iter_frames, probe, read_audio
from modeling_macbdf.media.outcomes import MediaError, Status, check_file, ffmpeg_errors
from modeling_macbdf.media.write import WriteOptions, write_clip

RATE = 16_000


def picture(count: int = 50, side: int = 64):
    return [np.random.default_rng(index).integers(0, 255, (side, side, 3), dtype=np.uint8) for index in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    sound = 0.3 * np.sin(np.arange(2 * RATE) / 20).astype(np.float32)
    return write_clip(tmp_path_factory.mktemp("clips") / "good.mp4", picture(), 25, sound, RATE)


def outcome(path, **limits) -> MediaError:
    with pytest.raises(MediaError) as caught:
        list(iter_frames(path, limits=DecodeLimits(**limits)))
    assert caught.value.path == os.fspath(path)
    return caught.value


def made(folder: Path, kind: str) -> Path | str:
    """Make a file that is no usable media."""
    if kind == "address":
        return "https://example.com/clip.mp4"  # a Path would take one of its slashes away
    path = folder / f"{kind}.mp4"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind != "missing":
        contents = {
            "text": b"Dear reader, this is a letter and not a film.\n" * 200,
            "empty": b"",
            "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200),
            "noise": np.random.default_rng(0).bytes(50_000),
            "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n/etc/hostname\n#EXT-X-ENDLIST\n",
            "concat": b"ffconcat version 1.0\nfile /etc/hostname\n",
            "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/hostname"/></svg>',
        }
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("text", Status.not_media, "opening it as a media file failed"),
        ("noise", Status.not_media, "opening it as a media file failed"),
        ("playlist", Status.not_media, "opening it as a media file failed"),
        ("concat", Status.not_media, "opening it as a media file failed"),
        ("svg", Status.not_media, "opening it as a media file failed"),
        ("jpeg", Status.not_media, "a JPEG picture"),
        ("empty", Status.not_media, "empty (0 bytes)"),
        ("directory", Status.not_media, "a directory"),
        ("fifo", Status.not_media, "a FIFO"),
        ("socket", Status.not_media, "a socket"),
        ("missing", Status.missing, "no such file"),
        ("address", Status.missing, "nothing is downloaded"),
    ],
)
def test_what_is_no_media_is_said_to_be_none(tmp_path, kind, status, words):
    path = made(tmp_path, kind)
    for call in (probe, read_audio, lambda p: list(iter_frames(p))):
        with pytest.raises(MediaError) as caught:
            call(path)
        assert caught.value.status is status
        assert words in caught.value.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path):
    path = tmp_path / "locked.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    assert outcome(path).status is Status.unreadable


@pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "nul\0byte.mp4"])
def test_names_that_the_system_refuses(tmp_path, name):
    with pytest.raises(MediaError) as caught:
        check_file(tmp_path / name, 100)
    assert caught.value.status is Status.unreadable


@pytest.mark.parametrize(
    "name", ["concat:a|b.mp4", "http:x.mp4", "-i.mp4", "%03d.mp4", "Łódź 映画 😀.mp4", "a b'c\".mp4"]
)
def test_odd_names_are_names_and_nothing_else(tmp_path, clip, name):
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    assert len(list(iter_frames(path))) == 10


def test_a_broken_index_is_damage(tmp_path, clip):
    """An MP4 whose index (at the end of the file) is cut off cannot be decoded, but it is media."""
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert outcome(path).status is Status.undecodable


def test_a_truncated_stream_is_judged_as_far_as_it_goes_and_reported(tmp_path):
    sound = 0.3 * np.sin(np.arange(6 * RATE) / 20).astype(np.float32)
    whole = write_clip(tmp_path / "whole.mkv", picture(150), 25, sound, RATE)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    warnings: list[str] = []
    steps = [frame.step for frame in iter_frames(cut, warnings=warnings)]
    assert 5 < len(steps) < 25
    assert any("the file declares 6.0" in warning for warning in warnings)


def test_damaged_packets_are_counted_not_raised(tmp_path, clip):
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + 2000
    data[middle : middle + 20_000] = np.random.default_rng(0).bytes(20_000)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    warnings: list[str] = []
    assert list(iter_frames(path, warnings=warnings))
    assert any("damaged" in warning for warning in warnings)


def test_a_stream_that_appears_on_the_way_does_not_end_the_others(clip):
    """PyAV's demuxer then ends with an IndexError (found by fuzzing an FLV)."""
    with open_media(clip) as opened:
        packets = opened.container.demux

        def demux(*streams):
            yield from packets(*streams)
            raise IndexError("list index out of range")

        whole = opened.container
        container = SimpleNamespace(demux=demux, format=whole.format, streams=whole.streams)
        frames = list(decoded_frames(replace(opened, container=container), opened.video_stream()))
    assert len(frames) == 50


@pytest.mark.parametrize(
    ("limits", "status", "words"),
    [
        ({"max_bytes": 100}, Status.too_large, "over the limit of 100 bytes"),
        ({"max_pixels": 1000}, Status.too_large, "64x64 is over the limit of 1000 pixels"),
        ({"max_duration_s": 1.0}, Status.too_long, "duration of 2 s is over the limit of 1 s"),
        ({"max_frames": 5}, Status.too_long, "over 5 frames"),
        ({"max_seconds": 1e-9}, Status.timeout, "over 1e-09 s"),
    ],
)
def test_limits_have_typed_outcomes(clip, limits, status, words):
    error = outcome(clip, **limits)
    assert error.status is status
    assert words in error.reason or status is Status.timeout


def test_the_consumers_time_is_not_the_decoders(clip):
    import time

    frames = []
    for frame in iter_frames(clip, limits=DecodeLimits(max_seconds=2.0)):
        frames.append(frame)
        time.sleep(0.25)
    assert len(frames) == 10


def test_sound_only(tmp_path):
    path = write_clip(tmp_path / "voice.m4a", None, 25, np.ones(RATE, np.float32) * 0.1, RATE)
    assert outcome(path).status is Status.no_video
    assert read_audio(path).duration_s == pytest.approx(1.0, abs=0.1)


def test_picture_only(tmp_path):
    path = write_clip(tmp_path / "mute.mp4", picture(), 25)
    assert read_audio(path) is None
    assert list(iter_audio(path)) == []
    assert len(list(iter_frames(path))) == 10


def test_a_video_without_a_whole_half_step_is_too_short(tmp_path):
    error = outcome(write_clip(tmp_path / "blink.mp4", picture(2), 25))
    assert error.status is Status.too_short
    assert "0.080 s" in error.reason


def test_a_still_picture_is_not_media(tmp_path):
    from PIL import Image

    path = tmp_path / "photo.mp4"
    Image.fromarray(picture(1)[0]).save(path, format="PNG")
    assert outcome(path).status is Status.not_media


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bytes_never_raise_anything_else(tmp_path, clip, seed):
    """Any damage gives frames or a typed outcome."""
    rng = np.random.default_rng(seed)
    data = np.frombuffer(clip.read_bytes(), dtype=np.uint8).copy()
    head = rng.integers(0, min(len(data), 3000), 20)
    index = len(data) - 1 - rng.integers(0, 3000, 20)
    for places in (head, index)[seed % 2 :]:
        data[places] = rng.integers(0, 256, len(places))
    path = tmp_path / "hit.mp4"
    path.write_bytes(data.tobytes())
    limits = DecodeLimits(max_seconds=20, max_duration_s=600)
    for read in (lambda: list(iter_frames(path, limits=limits)), lambda: read_audio(path, limits=limits)):
        try:
            read()
        except MediaError as error:
            assert error.status in set(Status) - {Status.scored, Status.internal_error}


@pytest.mark.parametrize("error", [av.error.PermissionError, av.error.InvalidDataError, av.error.FileNotFoundError])
def test_what_a_decoder_trips_over_is_damage(tmp_path, error):
    """A decoder's "operation not permitted" once made a whole clip `unreadable`, for the sake of its sound."""
    path = tmp_path / "opened.ts"
    path.write_bytes(b"no magic")
    with pytest.raises(MediaError) as caught, ffmpeg_errors(path, "decoding the audio", opened=True):
        raise error(1, "words", "name")
    assert caught.value.status is Status.undecodable
    path.unlink()
    with pytest.raises(MediaError) as caught, ffmpeg_errors(path, "decoding the audio", opened=True):
        raise error(1, "words", "name")
    assert caught.value.status is Status.missing


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(MediaError(Status.too_long, "5 s is over the limit of 4 s", "a.mp4")))
    assert (error.status, error.reason, error.path) == (Status.too_long, "5 s is over the limit of 4 s", "a.mp4")
    assert str(error) == "a.mp4: too_long: 5 s is over the limit of 4 s"


@pytest.mark.parametrize(
    ("name", "value"), [("max_pixels", 0), ("max_duration_s", float("inf")), ("max_seconds", float("nan"))]
)
def test_limits_must_be_positive_and_finite(name, value):
    """An infinite one ended every file as a fault of ours."""
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, but got {value}"):
        DecodeLimits(**{name: value})


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_a_picture_over_the_pixel_limit_is_never_allocated(tmp_path, codec, monkeypatch):
    """The limit was first asked for a decoded frame, of which each of the decoder's threads had one by then."""
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = WriteOptions(video_codec=codec, crf=None if codec == "mjpeg" else 30, pixel_format=pixel_format)
    path = write_clip(tmp_path / "big.mkv", [np.zeros((2048, 2048, 3), np.uint8)] * 2, 25, options=options)
    content = path.read_bytes()
    for tag in (b"\xb0\x82", b"\xba\x82"):  # the declared width and height
        assert content.count(tag + (2048).to_bytes(2)) == 1
        content = content.replace(tag + (2048).to_bytes(2), tag + (64).to_bytes(2))
    path.write_bytes(content)
    given = []
    monkeypatch.setattr(decode, "_check_frame", lambda *frame: given.append(frame))
    assert outcome(path, max_pixels=640 * 480).status in (Status.too_large, Status.undecodable)
    assert given == []


def test_an_absurd_time_stamp_does_not_make_endless_steps(tmp_path):
    times = [0.0, 0.04, 50_000.0]
    path = write_clip(tmp_path / "jump.mkv", picture(3), 25, times_s=times, options=WriteOptions())
    assert outcome(path, max_duration_s=3600).status is Status.too_long
