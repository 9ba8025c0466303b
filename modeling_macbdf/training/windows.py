"""The windows of a training run: from a cache of the user's clips, or from a small set that the run makes itself."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..data.augmentation import NO_AUGMENTATION, AugmentOptions
from ..data.cache import CacheSettings
from ..data.cache_reader import TrackCache
from ..data.collate import WindowCollator
from ..data.dataset import EvaluationWindows, TrainingOptions, TrainingWindows, WindowOptions
from ..data.dubbing import DubbedWindows
from ..data.mixed import MixedWindows
from ..data.preprocess import preprocess
from ..data.pseudofakes import Mix
from ..data.records import ClipRecord, generator_parts
from ..data.splits import read_splits, shared_between, sharing_words, split_by_identity, with_splits
from .config import DataConfig, SetConfig

logger = logging.getLogger(__name__)
# Added to the run's seed:
_EVALUATION_SEED = 20_000  # held-out people are forged in other ways
_VOICE_SEED = 10_000  # any voice may meet any picture


@dataclass(frozen=True)
class RunData:
    """What a run is trained and judged on.

    Attributes:
        train: training windows.
        evaluation: windows of other people.
        collate: windows to a batch.
        evaluation_records: the clip of each evaluation window; None where they are forged on the fly.
        facts: counts for the reader.
        training_records: every clip that training windows are cut from.
    """

    train: Dataset[Any]
    evaluation: Dataset[Any]
    collate: WindowCollator
    evaluation_records: Sequence[ClipRecord] | None
    facts: dict[str, Any]
    training_records: Sequence[ClipRecord]


def build_data(config: DataConfig, processor: Any, model_config: Any, seed: int) -> RunData:
    """Reads the cache, or makes the small set first.

    Args:
        config: see `DataConfig`.
        processor: the model's.
        model_config: a `MACBDFConfig`.
        seed: of the drawing of windows and forgeries.

    Raises:
        ValueError: the cache is missing, or a split has no clip.
    """
    folder = config.folder(config.cache) if config.cache else _self_made(config, model_config)
    _check_clock(folder, model_config)
    records = [entry.record for entry in TrackCache(folder).entries]
    train, evaluation = divide(with_splits(records, config.splits) if config.splits else records, config, seed)
    held_out = {record.key for record in evaluation}
    if config.sets:
        sets = config.training_sets()
        caches = [_cache_of(part, config, model_config, held_out) for part in sets]
        _check_left_out(sets, config)
    else:
        sets, caches = [SetConfig(str(folder), balance=config.balance)], [TrackCache(folder, train)]
    parts = [
        _set(part, cache, config, model_config, seed + number, held_out)
        for number, (part, cache) in enumerate(zip(sets, caches, strict=True))
    ]
    shares = [part.share for part in sets]
    windows = MixedWindows(parts, shares, seed, config.windows or 0) if len(parts) > 1 else parts[0]
    evaluation_windows, window_records = _evaluation(folder, evaluation, config, model_config, seed)
    counts = [_counted([entry.record for entry in cache.entries]) for cache in caches]
    facts = {
        "cache": str(folder),
        "training_windows_per_epoch": len(windows),
        "evaluation_windows": len(evaluation_windows),
        "evaluation": "recorded clips" if window_records else "held-out people, forged on the fly",
        "training_clips": counts if config.sets else counts[0],
        "evaluation_clips": _counted(evaluation),
    }
    collate = WindowCollator(processor, sync=model_config.sync_head)
    trained_on = [record for part in parts for record in records_of(part)]
    if shared := shared_between({"training": trained_on, "evaluation": evaluation}):
        logger.warning("Training and evaluation share people, footage or files: %s", sharing_words(shared))
    return RunData(windows, evaluation_windows, collate, window_records, facts, trained_on)


def records_of(part: TrainingWindows | DubbedWindows) -> list[ClipRecord]:
    """Every clip that the windows of a set are cut from, its voices' ones too."""
    if isinstance(part, DubbedWindows):
        return [*records_of(part.pictures), *records_of(part.voices)]
    return [entry.record for entry in part.cache.entries]


def _cache_of(part: SetConfig, config: DataConfig, model_config: Any, held_out: set[str]) -> TrackCache:
    """The clips of one training set, without those of the evaluation (`held_out`, keys of records)."""
    left_out = generator_parts(*config.leave_out)
    divided = read_splits(config.splits) if config.splits else None

    def belongs(record: ClipRecord) -> bool:
        if record.key in held_out or left_out & record.names:
            return False
        named = record if divided is None else divided(record)
        if named is not record:  # the file binds all sets and their voices: what it names for tests trains nothing
            return named.split == (part.split or config.train_split)
        return part.split in ("", record.split)

    _check_clock(config.folder(part.cache), model_config)
    try:
        return TrackCache(config.folder(part.cache), keep=belongs)
    except ValueError as error:
        raise ValueError(f"data.sets, split {part.split!r} without {config.leave_out}: {error}") from error


def _check_clock(folder: Path, model_config: Any) -> None:
    """Refuse a cache whose steps or samples are not those of the model."""
    settings = CacheSettings.load(folder)
    made = {"frame_rate_hz": settings.frame_rate_hz, "sampling_rate": settings.sampling_rate}
    wanted = {name: getattr(model_config, name) for name in made}
    if made != wanted:
        raise ValueError(f"{folder} must have the model's clock, {wanted}, but was made with {made}")


def _check_left_out(sets: Sequence[SetConfig], config: DataConfig) -> None:
    """Refuse a name to leave out that no set knows: misspelt, it would let in what must stay out."""
    if not config.leave_out:
        return
    caches = {name for part in sets for name in (part.cache, part.voices) if name}
    records = [entry.record for name in caches for entry in TrackCache(config.folder(name)).entries]
    unknown = generator_parts(*config.leave_out).difference(*(record.names for record in records))
    if unknown:
        raise ValueError(f"data.leave_out must name generators or identities, but no set has {sorted(unknown)}.")


def _set(
    part: SetConfig, cache: TrackCache, config: DataConfig, model_config: Any, seed: int, held_out: set[str]
) -> TrainingWindows | DubbedWindows:
    """The training windows of one set, under other voices where it asks for them."""
    windows = _training(part, cache, config, model_config, seed)
    if not part.voices:
        return windows
    spoken = replace(part, cache=part.voices, split="", streams={"audio": 1.0})
    voices = _cache_of(spoken, config, model_config, held_out)
    return DubbedWindows(windows, _training(spoken, voices, config, model_config, seed + _VOICE_SEED))


def _training(part: SetConfig, cache: TrackCache, config: DataConfig, model_config: Any, seed: int) -> TrainingWindows:
    """Training windows of one set."""
    steps = part.window_steps or config.window_steps or model_config.num_frames
    training = TrainingOptions(
        seed=seed,
        windows=config.windows,
        fake_share=config.fake_share,
        paired=config.paired,
        recorded_share=part.recorded_share,
        balance=part.balance,
        mix=_mix(config, part.streams),
        augmentation=AugmentOptions(**config.augmentation) if config.augment else NO_AUGMENTATION,
    )
    return TrainingWindows(cache, WindowOptions(steps=steps, min_steps=min(steps, part.min_steps)), training)


def divide(records: Sequence[ClipRecord], config: DataConfig, seed: int) -> tuple[list[ClipRecord], list[ClipRecord]]:
    """Training and evaluation clips, by the records' splits or, where they name none, by people.

    Raises:
        ValueError: one of the two is empty.
    """
    if config.sets:
        train = list(records)
        evaluation = [record for record in records if record.split == config.eval_split]
    elif any(record.split for record in records):
        train = [record for record in records if record.split == config.train_split]
        evaluation = [record for record in records if record.split == config.eval_split]
    else:
        shares = {"train": 1 - config.eval_share, "evaluation": config.eval_share}
        train, evaluation = split_by_identity(records, shares, seed).values()
    for name, split, chosen in (("train", config.train_split, train), ("eval", config.eval_split, evaluation)):
        if not chosen:
            known = sorted({record.split for record in records})
            advice = f"data.{name}_split=NAME takes another" if config.splits else "`macbdf data split` makes others"
            raise ValueError(
                f"data.{name}_split must name a split with clips, but got {split!r} of {known}; {advice}."
            )
    return train, evaluation


def _mix(config: DataConfig, streams: dict[str, float] | None = None) -> Mix:
    chosen: dict[str, Any] = {
        "streams": streams or config.streams,
        "visual": config.visual_kinds,
        "audio": config.voice_kinds,
    }
    return Mix(**{name: weights for name, weights in chosen.items() if weights})


def _evaluation(
    folder: Path, records: list[ClipRecord], config: DataConfig, model_config: Any, seed: int
) -> tuple[Any, list[ClipRecord] | None]:
    """Recorded windows where the clips are real and forged; else real ones, forged alike in every evaluation."""
    cache = TrackCache(folder, records)
    steps = model_config.num_frames
    if {record.label for record in records} >= {0, 1}:
        windows = EvaluationWindows(cache, WindowOptions(steps=steps, hop=steps, trim_silence=False))
        return windows, [entry.record for entry, _ in windows.index]
    forged = TrainingOptions(
        seed=seed + _EVALUATION_SEED, windows=config.eval_windows, fake_share=0.5, balance="none",
        mix=_mix(config), augmentation=NO_AUGMENTATION,
    )  # fmt: skip
    return TrainingWindows(cache, WindowOptions(steps=steps), forged), None


def _counted(records: Sequence[ClipRecord]) -> dict[str, int]:
    words = {0: "real", 1: "fake", None: "unknown"}
    return dict(sorted(Counter(words[record.label] for record in records).items()))


def _self_made(config: DataConfig, model_config: Any) -> Path:
    """Renders talking faces and voices, one person a clip, and caches them; a second run finds them again."""
    from ..media.synthetic import make_talking_clip

    folder = Path(config.self_made_dir)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for seed in range(config.self_made_clips):
        path = folder / f"person-{seed:03d}-{config.self_made_seconds:g}s.mp4"
        if not path.exists():
            make_talking_clip(folder / "unfinished.mp4", seed=seed, duration_s=config.self_made_seconds, size=224)
            (folder / "unfinished.mp4").rename(path)
        people = (f"person-{seed}",)
        records.append(ClipRecord(str(path), 0, 0, 0, identities=people, source="self-made", dataset="self-made"))
    size = getattr(model_config.video_config, "image_size", None) or 160
    cache = folder / f"cache-{size}px-{config.self_made_clips}x{config.self_made_seconds:g}s"
    rate_hz = model_config.frame_rate_hz
    settings = CacheSettings(cache_rate_hz=rate_hz, frame_rate_hz=rate_hz, crop_size=int(size))
    preprocess(records, cache, settings)
    return cache
