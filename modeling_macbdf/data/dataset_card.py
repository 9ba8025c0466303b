"""The card of a pseudo-fake set: real clips in a cache, and the forgeries that training makes from them on the fly."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import DatasetCardData

from .cache import CacheSettings
from .cache_reader import TrackCache, TrackEntry
from .pseudofakes import Mix
from .records import ClipRecord
from .splits import shared_between

_INTRODUCTION = """# {name}

Real clips, and a recipe that forges them. No forgery is stored: training draws a window of a real clip and forges it
on the fly, so that both see the same codecs and augmentations. 1 = fake.
"""
_LIMITS = """## Limits

- Pseudo-fakes imitate traces of forgeries (seams, missing micro-motion, vocoder tones); they are no deepfakes, and a
  detector of them may miss real ones.
- The cache holds faces and voices of people. Keep to the terms of the sources, and to the law on such data.
- {splits}
"""


def add_dataset_card_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf dataset-card`."""
    parser.add_argument("--cache", required=True, type=Path, help="made by macbdf preprocess")
    parser.add_argument("--out", required=True, type=Path, metavar="README.md")
    parser.add_argument("--license", default="other", help="of the set, as the Hub writes it (default: other)")


def run_dataset_card(arguments: argparse.Namespace) -> Path:
    """Writes the card; returns its path.

    Raises:
        ValueError: the cache cannot be read, or holds no clip.
    """
    cache = TrackCache(arguments.cache)
    text = dataset_card(arguments.cache.resolve().name, cache.entries, cache.settings, arguments.license)
    arguments.out.write_text(text, encoding="utf-8")
    return arguments.out


def dataset_card(
    name: str, entries: Iterable[TrackEntry], settings: CacheSettings, license: str = "other", mix: Mix | None = None
) -> str:
    """The card as Markdown with the Hub's metadata.

    Args:
        name: of the set.
        entries: tracks of its cache.
        settings: of its cache.
        license: as the Hub writes it.
        mix: of the forgeries; that of training by default.

    Raises:
        ValueError: there is no clip.
    """
    entries = list(entries)
    records = list({entry.record.key: entry.record for entry in entries}.values())
    if not records:
        raise ValueError(f"entries must hold at least one clip, but {name} holds none")
    metadata = DatasetCardData(
        license=license,
        task_categories=["video-classification"],
        pretty_name=name,
        tags=["deepfake-detection", "audio-visual", "pseudo-fakes", "macb-df"],
        annotations_creators=["machine-generated"],
    )
    return "\n".join(
        [
            f"---\n{metadata.to_yaml()}\n---\n",
            _INTRODUCTION.format(name=name),
            _clips(entries, records, settings),
            _recipe(mix or Mix()),
            _LIMITS.format(splits=_splits(records)),
        ]
    )


def _clips(entries: list[TrackEntry], records: list[ClipRecord], settings: CacheSettings) -> str:
    people = {person for record in records for person in record.people}
    faces_s = sum(entry.instants for entry in entries) / settings.cache_rate_hz
    heard = {entry.record.key for entry in entries if entry.sounding}
    sources = Counter(record.source or "not named" for record in records)
    labels = Counter({0: "real", 1: "fake", None: "unknown"}[record.label] for record in records)
    told = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
    lines = [
        "## Clips\n",
        f"{len(records)} clips ({told}), "
        f"{len(people)} named people, {len(heard)} with sound, {faces_s:.0f} s of face tracks at "
        f"{settings.cache_rate_hz:g} crops a second, {settings.crop_size} pixels, sound at "
        f"{settings.sampling_rate} Hz.\n",
        "| source | clips |\n|---|---|",
        *(f"| {source} | {count} |" for source, count in sorted(sources.items())),
    ]
    return "\n".join([*lines, ""])


def _splits(records: list[ClipRecord]) -> str:
    """What is true of the clips' splits."""
    splits: dict[str, list[ClipRecord]] = {}
    for record in records:
        splits.setdefault(record.split, []).append(record)
    counts = ", ".join(f"{name or 'none'} {len(clips)}" for name, clips in sorted(splits.items()))
    shared = len(shared_between(splits)) or "none that is named"  # no names: a card is published
    nameless = sum(not record.identities for record in records)
    return (
        f"Clips by split: {counts}. People, footage and files in more than one split: {shared}. "
        f"{nameless} of {len(records)} clips name nobody."
    )


def _recipe(mix: Mix) -> str:
    """Shares of the kinds, as they are drawn where a window can bear them all."""
    lines = ["## Forgeries\n", "| what is forged | share | kinds and their shares |\n|---|---|---|"]
    kinds = {"video": mix.visual, "audio": mix.audio, "mismatch": mix.mismatch}
    total = sum(mix.streams.values())
    for stream, weight in mix.streams.items():
        told = "one of each" if stream == "both" else _shares(kinds[stream])
        lines.append(f"| {stream} | {weight / total:.0%} | {told} |")
    lines.append(f"\n{mix.partial:.0%} of the forged pictures are forged in a part of the window only.\n")
    return "\n".join(lines)


def _shares(weights: Mapping[str, float]) -> str:
    total = sum(weights.values())
    return ", ".join(f"{kind} {weight / total:.0%}" for kind, weight in weights.items())
