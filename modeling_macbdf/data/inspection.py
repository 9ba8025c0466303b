"""What is in a dataset: counts, durations, codecs, problems, and pictures to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..media.audio import read_audio
from ..media.decode import AudioInfo, iter_frames, probe
from ..media.outcomes import MediaError
from .cache import CacheSettings
from .cache_reader import TrackCache, TrackEntry
from .clips import Clip
from .photos import is_photo, photo_codec, photo_frames
from .pseudofakes import AUDIO, MISMATCH, VISUAL, can_forge, forge
from .records import ClipRecord, Problem

LABEL_NAMES = {0: "real", 1: "fake", None: "unknown"}
CAPTION = 14  # px of a line of text
WAVE_HEIGHT = 48  # px


def _durations(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    low, middle, high = np.quantile(seconds, (0, 0.5, 1))
    values = {"total": sum(seconds), "min": low, "median": middle, "max": high}
    return {name: round(float(value), 3) for name, value in values.items()}


def _codec(sound: AudioInfo | None) -> str:
    return f"{sound.codec} {sound.sampling_rate} Hz" if sound else "none"


def _declared(record: ClipRecord) -> dict[str, Any]:
    sound = probe(record.audio_path).audio if record.audio_path else None
    if is_photo(record.path):
        codec = photo_codec(record.path)
        return {"duration_s": None, "video_codec": codec, "audio_codec": _codec(sound), "frame_rate_hz": "none"}
    info = probe(record.path)
    video = info.video
    return {
        "duration_s": info.duration_s,
        "video_codec": f"{video.codec} {video.width}x{video.height}" if video else "none",
        "audio_codec": _codec(sound if record.audio_path else info.audio),
        "frame_rate_hz": f"{video.frame_rate_hz:.2f}" if video and video.frame_rate_hz else "none",
    }


def _probe_all(records: Iterable[ClipRecord], problems: list[Problem]) -> dict[str, Any]:
    """Durations, codecs and rates as declared, by label; files that do not open are added to `problems`."""
    seconds: dict[str, list[float]] = {}
    counts: dict[str, Counter[str]] = {"video_codec": Counter(), "audio_codec": Counter(), "frame_rate_hz": Counter()}
    for record in records:
        try:
            found = _declared(record)
        except MediaError as error:
            problems.append(Problem(error.path, record.row, f"{error.status}: {error.reason}"))
            continue
        if found["duration_s"] is not None:
            seconds.setdefault(LABEL_NAMES[record.label], []).append(found["duration_s"])
        for name, counter in counts.items():
            counter[f"{LABEL_NAMES[record.label]}: {found[name]}"] += 1
    return {
        "duration_s": {label: _durations(values) for label, values in sorted(seconds.items())},
        **{f"by_{name}": dict(counter.most_common()) for name, counter in counts.items()},
    }


def inspect_dataset(
    records: Sequence[ClipRecord], problems: Sequence[Problem] = (), open_files: bool = True
) -> dict[str, Any]:
    """Counts of a dataset, as `macbdf data inspect --json` writes them.

    Args:
        records: of a reader.
        problems: of the same reader.
        open_files: also read each file's header, for durations and codecs; what does not open is a problem.

    Returns:
        {"clips", "by_label", "by_video_label", "by_audio_label", "by_generator", "by_source", "by_split",
        "by_language", "identities", "duration_s", "by_video_codec", "by_audio_codec", "by_frame_rate_hz",
        "problems": [{"file", "row", "reason"}]}; the duration and the three after it only with `open_files`.
    """
    found = list(problems)

    def count(values: Iterable[str]) -> dict[str, int]:
        return dict(Counter(value for value in values if value).most_common())

    result: dict[str, Any] = {
        "clips": len(records),
        "by_label": count(LABEL_NAMES[r.label] for r in records),
        "by_video_label": count(LABEL_NAMES[r.video_label] for r in records),
        "by_audio_label": count(LABEL_NAMES[r.audio_label] for r in records),
        "by_generator": count(r.generator for r in records),
        "by_source": count(r.source for r in records),
        "by_split": count(r.split for r in records),
        "by_language": count(r.language for r in records),
        "identities": len({person for r in records for person in r.people}),
    }
    if open_files:
        result |= _probe_all(records, found)
    return result | {"problems": [problem.to_dict() for problem in found]}


def waveform_picture(samples: np.ndarray, width: int, height: int = WAVE_HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8: lowest and highest sample of each column."""
    picture = np.full((height, width, 3), 255, np.uint8)
    if not len(samples):
        return picture
    edges = np.linspace(0, len(samples), width + 1).astype(int)
    rows = np.arange(height)[:, None]
    low, high = (np.array([pick(samples[a : max(b, a + 1)]) for a, b in pairwise(edges)]) for pick in (np.min, np.max))
    top, bottom = ((0.5 - 0.5 * value.clip(-1, 1)) * (height - 1) for value in (high, low))
    picture[(rows >= np.floor(top)) & (rows <= np.ceil(bottom))] = (40, 70, 140)
    return picture


def strip(title: str, frames: Sequence[np.ndarray], samples: np.ndarray, side: int = 96) -> Image.Image:
    """One row of a contact sheet: a caption, frames side by side, the waveform below."""
    width = max(1, len(frames)) * side
    image = Image.new("RGB", (width, CAPTION + side + WAVE_HEIGHT), "white")
    ImageDraw.Draw(image).text((2, 1), title, fill="black")
    for place, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        picture.thumbnail((side, side))
        image.paste(picture, (place * side, CAPTION))
    image.paste(Image.fromarray(waveform_picture(samples, width)), (0, CAPTION + side))
    return image


def stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Rows of a contact sheet, one below the other.

    Raises:
        ValueError: there are none.
    """
    if not strips:
        raise ValueError("strips must hold at least one row, but got none")
    sheet = Image.new("RGB", (max(s.size[0] for s in strips), sum(s.size[1] for s in strips)), "white")
    top = 0
    for row in strips:
        sheet.paste(row, (0, top))
        top += row.size[1]
    return sheet


def contact_sheet(records: Sequence[ClipRecord], per_label: int = 4, columns: int = 8) -> Image.Image:
    """Frames and waveforms of some real, fake and unlabelled clips, as they are on disk.

    Clips are taken evenly from the list; one that cannot be decoded is left out (inspection names it).
    """
    strips = []
    for label, name in LABEL_NAMES.items():
        chosen = [record for record in records if record.label == label]
        for record in chosen[:: max(1, len(chosen) // per_label)][:per_label]:
            try:
                photo = is_photo(record.path)
                source = photo_frames(record.path, CacheSettings()) if photo else iter_frames(record.path, 2.0)
                frames = [frame.rgb for frame in islice(source, columns)]
                sound = None if photo and not record.audio_path else read_audio(record.audio_path or record.path)
            except MediaError:
                continue
            title = " ".join(filter(None, (name, record.generator, record.source, Path(record.path).name)))
            strips.append(strip(title, frames, np.zeros(0) if sound is None else sound.samples))
    return stack(strips)


def _window(cache: TrackCache, entries: Sequence[TrackEntry], place: int) -> Clip:
    entry = entries[place % len(entries)]
    return cache.read(entry, entry.first, 16)


def pseudofake_sheet(cache: TrackCache, kinds: Sequence[str] = (), seed: int = 0, columns: int = 8) -> Image.Image:
    """One window of the cache as recorded, and forged in each kind.

    Args:
        cache: with real clips; one with a face and a voice is best.
        kinds: default all.
        seed: chooses the clip and the forgeries.
        columns: frames shown, evenly over the window.
    """
    rng = np.random.default_rng(seed)
    entries = sorted(cache.entries, key=lambda e: (e.instants == 0) + (e.audio_samples == 0))
    best = [e for e in entries if e.instants and e.audio_samples] or entries
    place = int(rng.integers(len(best)))
    clip, donor = _window(cache, best, place), _window(cache, best, place + 1)
    shown = np.linspace(0, clip.steps - 1, columns).astype(int)
    strips = [strip("as recorded", list(clip.frames[shown]), clip.audio)]
    for kind in kinds or (*VISUAL, *AUDIO, *MISMATCH):
        if can_forge(clip, kind):
            forged = forge(clip, kind, np.random.default_rng(seed), donor)
            strips.append(strip(forged.kind, list(forged.clip.frames[shown]), forged.clip.audio))
    return stack(strips)
