"""Media files that are broken, lying or odd, made from small rendered clips, for benchmarks/hostile_media.py.

Every file is written by this program; the same seed gives the same bytes.
"""

import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from modeling_macbdf.media.synthetic import render_talking_face
from modeling_macbdf.media.write import WriteOptions, write_clip

RATE = 16_000  # Hz
FPS = 10
REFUSED = frozenset({"not_media", "undecodable"})
ABSURD = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True)
class Hostile:
    """One file.

    Attributes:
        name: of the file; the family is its first word.
        make: writes it at a path.
        expected: the statuses that are right; empty where every typed outcome is.
    """

    name: str
    make: Callable[[Path], object]
    expected: frozenset[str] = frozenset()

    @property
    def family(self) -> str:
        """The kind of trouble."""
        return self.name.split("-")[0]


def pattern(count: int = 20, height: int = 64, width: int = 96) -> np.ndarray:
    """(count, height, width, 3) uint8: moving stripes, no face."""
    x, t = np.arange(width), np.arange(count)[:, None]
    row = (127 + 120 * np.sin((x + 3 * t) / 7)).astype(np.uint8)
    return np.broadcast_to(row[:, None, :, None], (count, height, width, 3)).copy()


def sound(seconds: float = 2.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """(channels, N) float32: a tone."""
    tone = 0.3 * np.sin(np.arange(round(seconds * rate)) * (2 * np.pi * 220 / rate)).astype(np.float32)
    return np.stack([tone] * channels)


def base_clips(folder: Path) -> dict[str, Path]:
    """Sound clips of most containers; "face.mp4" shows a talking face."""
    face = render_talking_face(seed=0, duration_s=2.0, size=160, fps=FPS)
    made = {"face.mp4": write_clip(folder / "face.mp4", face.frames, FPS, face.waveform, RATE)}
    codecs = {
        **dict.fromkeys(("plain.mp4", "plain.mkv", "plain.ts", "plain.flv"), WriteOptions()),
        "plain.mov": WriteOptions(video_codec="mpeg4"),
        "plain.avi": WriteOptions(video_codec="mpeg4", audio_codec="pcm_s16le"),
        "plain.nut": WriteOptions(video_codec="ffv1", audio_codec="pcm_s16le"),
        "plain.webm": WriteOptions(video_codec="libvpx", audio_codec="libopus", codec_options=(("cpu-used", "8"),)),
        "plain.mpg": WriteOptions(video_codec="mpeg2video", audio_codec="mp2"),
    }
    for name, options in codecs.items():
        rates = (25, 44_100) if name in ("plain.mpg", "plain.flv") else (FPS, 48_000)
        made[name] = write_clip(folder / name, pattern(), rates[0], sound(rate=rates[1]), rates[1], options=options)
    for name, codec in {"voice.wav": "pcm_s16le", "voice.flac": "flac", "voice.m4a": "aac"}.items():
        options = WriteOptions(audio_codec=codec)
        made[name] = write_clip(folder / name, None, FPS, sound(1.0), RATE, options=options)
    return made


def hostile_files(bases: dict[str, Path], seed: int = 0) -> list[Hostile]:
    """All of them, over 500."""
    rng = np.random.default_rng(seed)
    contents = {name: path.read_bytes() for name, path in bases.items()}
    return [
        *_truncated(contents),
        *_flipped(contents, rng),
        *_renamed(contents),
        *_lying_headers(contents),
        *_no_media(rng),
        *_odd_streams(),
        *_odd_times(),
        *_odd_names(contents["plain.mp4"]),
        *_odd_places(contents["plain.mp4"]),
    ]


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _truncated(contents: dict[str, bytes]) -> Iterator[Hostile]:
    for name, content in contents.items():
        cuts = {1, 8, 40, 200, *(np.linspace(0.02, 0.999, 12) * len(content)).astype(int).tolist()}
        for cut in sorted(cuts):
            yield Hostile(f"truncated-{cut}-{name}", _bytes(content[:cut]))


def _flipped(contents: dict[str, bytes], rng: np.random.Generator) -> Iterator[Hostile]:
    """Random bytes at the start (header), in the middle (packets) and at the end (where MP4 has its index)."""
    for name, content in contents.items():
        size = len(content)
        middle, end = (size // 4, 3 * size // 4), (max(size - 1500, 0), size)
        parts = {"header": (0, min(size, 600)), "packets": middle, "index": end}
        for part, (first, last) in parts.items():
            for count in (1, 4, 16, 64, 256):
                data = np.frombuffer(content, np.uint8).copy()
                data[rng.integers(first, last, count)] = rng.integers(0, 256, count)
                yield Hostile(f"flipped-{part}-{count}-{name}", _bytes(data.tobytes()))


def _renamed(contents: dict[str, bytes]) -> Iterator[Hostile]:
    for name, suffix in (
        ("plain.mp4", "avi"), ("plain.mp4", "txt"), ("plain.mp4", "mp3"), ("plain.mkv", "mp4"), ("plain.avi", "mp4"),
        ("plain.ts", "mp4"), ("plain.webm", "wav"), ("plain.mpg", "mkv"), ("voice.wav", "mp4"), ("voice.flac", "avi"),
        ("plain.flv", "jpg"),
    ):  # fmt: skip
        known = frozenset({"no_video"}) if name.startswith("voice") else frozenset({"no_face"})
        yield Hostile(f"renamed-{name.replace('.', '_')}.{suffix}", _bytes(contents[name]), known)


def _lying_headers(contents: dict[str, bytes]) -> Iterator[Hostile]:
    """Sizes, rates and durations that no file has."""
    mp4 = contents["plain.mp4"]
    fields = {  # box -> offsets of 32-bit fields behind its name
        "mvhd": (12, 16, 20), "tkhd": (20, 76, 80), "mdhd": (12, 16), "stts": (4, 8, 12), "stsz": (4, 8, 12),
        "stsc": (4, 12), "stco": (4, 8), "elst": (4, 8, 12), "avc1": (24, 28), "mp4a": (16, 24), "ctts": (4, 8, 12),
    }  # fmt: skip
    for box, offsets in fields.items():
        at = mp4.find(box.encode())
        for offset in offsets if at >= 0 else ():
            for value in ABSURD:
                yield _patched(f"lying-{box}{offset}-{value:x}.mp4", mp4, at + 4 + offset, struct.pack(">I", value))
    for box in ("moov", "trak", "mdia", "stbl", "mdat", "ftyp"):
        for value in (*ABSURD, 7):  # the size of the box
            at = mp4.find(box.encode())
            yield _patched(f"lying-size-{box}-{value:x}.mp4", mp4, at - 4, struct.pack(">I", value))
    avi = contents["plain.avi"]
    for field, at in {"period": 32, "frames": 48, "width": 64, "height": 68, "scale": 128, "rate": 132}.items():
        for value in ABSURD:
            yield _patched(f"lying-{field}-{value:x}.avi", avi, at, struct.pack("<I", value))
    wav = contents["voice.wav"]
    for field, at, width in (("channels", 22, "H"), ("rate", 24, "I"), ("align", 32, "H"), ("bits", 34, "H")):
        for value in (0, 1, 0x7FFF, 0xFFFF):
            yield _patched(f"lying-{field}-{value:x}.wav", wav, at, struct.pack(f"<{width}", value))
    mkv = contents["plain.mkv"]
    for name, element in {
        "duration": b"\x44\x89",
        "scale": b"\x2a\xd7\xb1",
        "width": b"\xb0",
        "height": b"\xba",
    }.items():
        at = mkv.find(element)
        for filler in (b"\x00", b"\x7f", b"\xff"):
            yield _patched(f"lying-{name}-{filler.hex()}.mkv", mkv, at + len(element) + 1, filler * 2)


def _patched(name: str, content: bytes, at: int, value: bytes) -> Hostile:
    return Hostile(name, _bytes(content[:at] + value + content[at + len(value) :]))


def _no_media(rng: np.random.Generator) -> Iterator[Hostile]:
    texts = {
        "zero": b"", "one": b"\0", "text": b"Dear editor,\n" * 400, "html": b"<html><video src=x></html>" * 50,
        "noise": rng.bytes(40_000), "nulls": bytes(40_000), "playlist": b"#EXTM3U\n#EXTINF:5,\n/etc/hostname\n",
        "concat": b"ffconcat version 1.0\nfile /etc/hostname\n", "zip": b"PK\x03\x04" + rng.bytes(5000),
        "elf": b"\x7fELF" + rng.bytes(5000), "magic": b"\0\0\0\x18ftypisom" + rng.bytes(5000),
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }  # fmt: skip
    yield from (Hostile(f"nomedia-{name}.mp4", _bytes(content), REFUSED) for name, content in texts.items())


def _clip(
    frames: np.ndarray | None, waveform: np.ndarray | None, fps: float = FPS, rate: int = RATE, **options: object
) -> Callable[[Path], object]:
    chosen = WriteOptions(**options)  # type: ignore[arg-type]
    return lambda path: write_clip(path, frames, fps, waveform, rate, options=chosen)


def _odd_streams() -> Iterator[Hostile]:
    unseen, mute = frozenset({"no_face"}), frozenset({"no_video", "no_audio"})
    silence = np.zeros(2 * RATE, np.float32)
    yield Hostile("streams-audio-only.m4a", _clip(None, sound()), mute)
    yield Hostile("streams-silence-only.m4a", _clip(None, silence), mute)
    yield Hostile("streams-video-only.mp4", _clip(pattern(), None), unseen)
    yield Hostile("streams-silent.mp4", _clip(pattern(), silence), unseen)
    for pixels in ("yuv444p", "yuv422p", "gray", "yuvj420p", "yuv420p10le", "yuv422p10le", "yuv444p10le"):
        yield Hostile(f"streams-{pixels}.mp4", _clip(pattern(), sound(), pixel_format=pixels), unseen)
    for codec, pixels in (("ffv1", "yuva420p"), ("ffv1", "gray16le"), ("ffv1", "bgr0"), ("libx264rgb", "rgb24")):
        yield Hostile(f"streams-{pixels}.mkv", _clip(pattern(), None, video_codec=codec, pixel_format=pixels), unseen)
    interlaced = (("flags", "+ildct+ilme"), ("x264-params", "tff=1"))
    yield Hostile("streams-interlaced.mp4", _clip(pattern(), None, codec_options=interlaced), unseen)
    for rate, codec in ((8000, "pcm_s16le"), (192_000, "pcm_s24le"), (11_025, "pcm_u8"), (96_000, "flac")):
        made = _clip(pattern(), sound(rate=rate), rate=rate, audio_codec=codec)
        yield Hostile(f"streams-{rate}Hz.mkv", made, unseen)
    for count, name in ((2, "stereo"), (6, "5.1")):
        yield Hostile(f"streams-{name}.mp4", _clip(pattern(), sound(channels=count, rate=48_000), rate=48_000), unseen)
    for degrees in (90, 180, 270):
        yield Hostile(f"streams-rotated{degrees}.mp4", _clip(pattern(), sound(), rotation=degrees), unseen)
    for height, width in ((2, 2), (16, 2048), (2048, 16), (1080, 1920)):
        yield Hostile(f"streams-{width}x{height}.mp4", _clip(pattern(10, height, width), None), unseen)
    for count, name in ((3, "several"), (40, "forty")):
        yield Hostile(f"streams-{name}.mkv", partial(_several, pictures=count, sounds=count), unseen)
    yield Hostile(
        "streams-cover.mp4", partial(_several, pictures=1, sounds=1, cover=True), frozenset({"no_video", "no_audio"})
    )


def _several(path: Path, pictures: int, sounds: int, cover: bool = False) -> None:
    """Several streams of each kind, or cover art beside a voice."""
    with av.open(str(path), "w") as container:
        videos = [container.add_stream("mjpeg" if cover else "mpeg4", rate=FPS) for _ in range(pictures)]
        voices = [container.add_stream("aac", rate=RATE, layout="mono") for _ in range(sounds)]
        for video in videos:
            video.width, video.height, video.pix_fmt = 96, 64, "yuvj420p" if cover else "yuv420p"
            if cover:
                video.disposition = av.stream.Disposition.attached_pic
        for video in videos:
            for index, rgb in enumerate(pattern(1 if cover else 10)):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        for voice in voices:
            samples = av.AudioFrame.from_ndarray(sound(1.0), format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, 0, Fraction(1, RATE)
            container.mux([*voice.encode(samples), *voice.encode(None)])


def _timed(times_s: Sequence[float]) -> Callable[[Path], object]:
    return lambda path: write_clip(path, pattern(len(times_s)), FPS, sound(), RATE, times_s=times_s)


def _odd_times() -> Iterator[Hostile]:
    unseen, brief = frozenset({"no_face"}), frozenset({"too_short", "no_face"})
    yield Hostile("times-one-frame.mp4", _clip(pattern(1), None, fps=25), brief)
    yield Hostile("times-tenth.mp4", _clip(pattern(3), sound(0.1), fps=30), brief)
    yield Hostile("times-1fps.mp4", _clip(pattern(3), None, fps=1), unseen)
    yield Hostile("times-240fps.mp4", _clip(pattern(240), None, fps=240), unseen)
    yield Hostile("times-1000fps.mp4", _clip(pattern(500), None, fps=1000), unseen)
    uneven = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.4, 20)).tolist()
    yield Hostile("times-variable.mkv", _timed(uneven), unseen)
    yield Hostile("times-gap.mkv", _timed([0.0, 0.1, 0.2, 30.0, 30.1]), unseen)
    yield Hostile("times-year.mkv", _timed([0.0, 0.1, 3.0e7]), frozenset({"too_long"}))
    for name in ("video", "audio"):
        for late in (0.3, 5.0):
            made = _clip(pattern(), sound(), **{f"{name}_offset_s": late})  # type: ignore[arg-type]
            yield Hostile(f"times-{name}-late-{late}.mp4", made, unseen)
    for shift in (-1.0, -0.25, 100.0):
        for suffix in ("mkv", "ts", "mp4"):
            yield Hostile(f"times-start{shift}.{suffix}", partial(_shifted, start_s=shift))


def _shifted(path: Path, start_s: float) -> None:
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for index, rgb in enumerate(pattern()):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = index + round(start_s * FPS), Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))


def _odd_names(content: bytes) -> Iterator[Hostile]:
    names = (
        "Łódź 映画 😀.mp4", "a b'c\".mp4", "%03d.mp4", "line\nbreak.mp4", "tab\t.mp4", "=formula.mp4", "-dash.mp4",
        "$(id).mp4", "\u202egpj.mp4", "concat:a|b.mp4", "n" * 230 + ".mp4", "映" * 70 + ".mp4", "no suffix",
        "[glob]*?.mp4",
    )  # fmt: skip
    for name in names:
        yield Hostile(f"names-{name}", _bytes(content), frozenset({"no_face"}))


def _odd_places(content: bytes) -> Iterator[Hostile]:
    yield Hostile("places-fifo.mp4", os.mkfifo, frozenset({"not_media"}))
    yield Hostile(
        "places-socket.mp4", lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), frozenset({"not_media"})
    )
    yield Hostile("places-device.mp4", lambda path: path.symlink_to("/dev/zero"), frozenset({"not_media"}))
    yield Hostile("places-dangling.mp4", lambda path: path.symlink_to("nowhere"), frozenset({"missing"}))
    yield Hostile("places-loop.mp4", lambda path: path.symlink_to(path.name), frozenset({"unreadable"}))
    yield Hostile("places-absent.mp4", os.path.lexists, frozenset({"missing"}))
    yield Hostile("places-longname" + "x" * 300 + ".mp4", os.path.lexists, frozenset({"unreadable"}))

    def locked(path: Path) -> None:
        path.write_bytes(content)
        path.chmod(0)

    yield Hostile("places-locked.mp4", locked, frozenset({"no_face"} if os.geteuid() == 0 else {"unreadable"}))
