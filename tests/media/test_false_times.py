"""Time stamps that are not true, and files put end to end: nothing is left out in silence, and all is on one clock."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from modeling_macbdf.media.clock import Splices
from modeling_macbdf.media.decode import iter_frames, read_audio
from modeling_macbdf.media.write import WriteOptions, write_clip

FPS, RATE = 25, 16_000


def flashing(seconds: float, flash_s: float):
    """A textured picture that is white for one frame."""
    picture = np.random.default_rng(0).integers(20, 70, (12, 16, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    for index in range(round(seconds * FPS)):
        yield np.full_like(picture, 255) if index == round(flash_s * FPS) else picture


def clicking(seconds: float, click_s: float, rate: int = RATE) -> np.ndarray:
    """Noise that is hardly heard, with one click of 5 ms."""
    sound = 0.01 * np.random.default_rng(0).standard_normal(round(seconds * rate)).astype(np.float32)
    sound[round(click_s * rate) :][: rate // 200] = 0.9
    return sound


def restamped(path: Path, out: Path, number: int, to_s: float) -> Path:
    """A copy of a file with one stream, in which one packet has another time on display."""
    with av.open(str(path)) as source:
        false = sorted(packet.pts for packet in source.demux() if packet.size)[number]
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams[0])
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.pts == false:
                packet.pts = round(to_s / packet.time_base)
            packet.stream = stream
            target.mux(packet)
    return out


def test_one_false_time_of_a_picture_costs_one_frame(tmp_path):
    """It once dropped every frame after it, and the picture seemed to last until the false time."""
    plain = write_clip(tmp_path / "plain.mkv", flashing(4, 2.0), FPS)
    path = restamped(plain, tmp_path / "false.mkv", 31, 50.0)
    warnings: list[str] = []
    frames = list(iter_frames(path, None, warnings=warnings))
    assert len(frames) == 99
    assert frames[-1].pts_s == pytest.approx(3.96, abs=0.01)
    assert next(f.time_s for f in frames if f.rgb.mean() > 200) == pytest.approx(2.0, abs=0.01)
    assert "1 frames of the video were left out because their time leaps ahead and back" in warnings
    assert [frame.step for frame in iter_frames(path)] == list(range(20))


def test_one_false_time_of_the_sound_costs_one_frame(tmp_path):
    options = WriteOptions(audio_codec="pcm_s16le")
    plain = write_clip(tmp_path / "plain.mkv", None, waveform=clicking(4, 3.0), options=options)
    audio = read_audio(restamped(plain, tmp_path / "false.mkv", 20, 50.0))
    assert audio.duration_s == pytest.approx(4.0, abs=0.01)
    assert np.abs(audio.samples).argmax() / RATE == pytest.approx(3.0, abs=0.01)
    assert "1 frames of the audio were left out because their time leaps ahead and back" in audio.warnings


def test_sound_that_runs_backwards_is_left_out_aloud(tmp_path):
    """It was left out in silence."""
    path = tmp_path / "back.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE)
        stream.layout = "mono"
        for start in (0, RATE // 2):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 8000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    audio = read_audio(path)
    assert audio.duration_s == pytest.approx(1.5)
    assert audio.warnings == ("0.5 s of sound were left out because their time runs backwards",)


def test_a_chain_of_voice_messages_is_heard_whole(tmp_path):
    """`cat a.ogg b.ogg` of 5 and 3 s was once read as 5 s, without a word."""
    content = b""
    for seconds, click_s in ((5, 4.0), (3, 1.0)):
        part = write_clip(
            tmp_path / "part.ogg", None, waveform=clicking(seconds, click_s), options=WriteOptions(audio_codec="flac")
        )
        content += part.read_bytes()
    (tmp_path / "chain.ogg").write_bytes(content)
    audio = read_audio(tmp_path / "chain.ogg")
    assert audio.duration_s == pytest.approx(8.0, abs=0.02)
    clicks = np.flatnonzero(np.abs(audio.samples) > 0.5) / RATE
    assert (clicks.min(), clicks.max()) == pytest.approx((4.0, 6.0), abs=0.02)
    assert audio.warnings == ("its time stamps begin anew 1 times: what follows was put behind",)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".ts", {"video_codec": "libx264"}),
        (".mpg", {"video_codec": "mpeg2video", "audio_codec": "mp2", "container": "mpeg"}),
    ],
)
def test_films_put_end_to_end_keep_picture_and_sound_together(tmp_path, suffix, options):
    """Of `cat a.ts b.ts` only the first was seen and heard; the two streams of a part end at different times."""
    rate = 44_100 if "audio_codec" in options else RATE
    content = b""
    written = WriteOptions(**options)
    for seconds, sound_s in ((3, 3.3), (2, 1.8), (2, 2.0)):
        sound = clicking(sound_s, 1.0, rate)
        part = write_clip(tmp_path / f"part{suffix}", flashing(seconds, 1.0), FPS, sound, rate, options=written)
        content += part.read_bytes()
    path = tmp_path / f"all{suffix}"
    path.write_bytes(content)
    warnings: list[str] = []
    flashes = [f.time_s for f in iter_frames(path, None, warnings=warnings) if f.rgb.mean() > 200]
    audio = read_audio(path)
    loud = np.flatnonzero(np.abs(audio.samples) > 0.4) / RATE
    clicks = [loud[0], *loud[1:][np.diff(loud) > 0.5]]
    assert len(flashes) == 3
    assert flashes[-1] == pytest.approx(6.3, abs=0.2)
    assert np.subtract(clicks, flashes) == pytest.approx(clicks[0] - flashes[0], abs=1.5 / FPS)
    told = "its time stamps begin anew 2 times: what follows was put behind"
    assert warnings == [told] and audio.warnings == (told,)


def packet(stream: int, start_s: float, lasts_s: float = 0.04) -> SimpleNamespace:
    unit = Fraction(1, 1000)
    ticks = round(start_s * 1000)
    index = SimpleNamespace(index=stream)
    return SimpleNamespace(stream=index, time_base=unit, duration=round(lasts_s * 1000), dts=ticks, pts=ticks)


def placed(times: list[tuple[int, float]]) -> tuple[list[float], int]:
    splices = Splices()
    packets = [packet(*time) for time in times]
    for one in packets:
        splices.place(one, one.dts * one.time_base)
    return [one.pts / 1000 for one in packets], splices.count


def test_the_last_packets_of_a_part_may_come_after_the_first_of_the_next():
    steady = [(stream, step / 25) for step in range(100) for stream in (0, 1)]
    late = [*steady, (0, 0.0), (1, 4.0), (0, 0.04), (1, 0.0), (0, 0.08)]
    times, splices = placed(late)
    assert splices == 1
    assert times[-5:] == pytest.approx([4.0, 4.0, 4.04, 4.0, 4.08])


@pytest.mark.parametrize("false_s", [50.0, 4.5])
def test_a_false_time_stamp_is_no_splice(false_s):
    times = [(0, step / 25) for step in range(300)]
    times[100] = (0, false_s)
    assert placed(times) == ([time for _, time in times], 0)


def test_a_gap_is_no_false_time_stamp_and_the_next_file_is_put_behind_it():
    """The end stayed where the gap began, and the next file was laid over what came after it."""
    with_gap = [(0, step / 25) for step in (*range(50), *range(125, 500))]
    times, splices = placed([*with_gap, *((0, step / 25) for step in range(100))])
    assert splices == 1
    assert times[-100] == pytest.approx(20.0)


def test_a_stream_that_begins_behind_a_splice_is_put_there():
    times, splices = placed([*((0, step / 25) for step in range(100)), (0, 0.0), (1, 0.0)])
    assert (times[-2:], splices) == (pytest.approx([4.0, 4.0]), 1)
