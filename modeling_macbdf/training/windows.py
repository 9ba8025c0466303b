"""The windows of a training run: from a cache of the user's clips, or from a small set that the run makes itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..data.augmentation import AugmentOptions
from ..data.cache import CacheSettings
from ..data.cache_reader import TrackCache
from ..data.collate import WindowCollator
from ..data.dataset import EvaluationWindows, MixedWindows, TrainingOptions, TrainingWindows, WindowOptions
from ..data.preprocess import preprocess
from ..data.pseudofakes import Mix
from ..data.records import ClipRecord
from ..data.splits import split_by_identity
from .config import DataConfig, SetConfig

_EVALUATION_SEED = 20_000  # added to the run's seed: held-out people are forged in other ways


@dataclass(frozen=True)
class RunData:
    """What a run is trained and judged on.

    Attributes:
        train: training windows.
        evaluation: windows of other people.
        collate: windows to a batch.
        evaluation_records: the clip of each evaluation window; None where they are forged on the fly.
        facts: counts for the reader.
    """

    train: Dataset[Any]
    evaluation: Dataset[Any]
    collate: WindowCollator
    evaluation_records: Sequence[ClipRecord] | None
    facts: dict[str, Any]


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
    records = [entry.record for entry in TrackCache(folder).entries]
    train, evaluation = divide(records, config, seed)
    windows: TrainingWindows | MixedWindows
    if sets := config.training_sets():
        windows = _mixed(sets, config, model_config, seed)
        counts: Any = [_counted([entry.record for entry in part.cache.entries]) for part in windows.sets]
    else:
        windows = _training(folder, train, config, model_config, seed)
        counts = _counted(train)
    evaluation_windows, window_records = _evaluation(folder, evaluation, config, model_config, seed)
    facts = {
        "cache": str(folder),
        "training_windows_per_epoch": len(windows),
        "evaluation_windows": len(evaluation_windows),
        "evaluation": "recorded clips" if window_records else "held-out people, forged on the fly",
        "training_clips": counts,
        "evaluation_clips": _counted(evaluation),
    }
    collate = WindowCollator(processor, sync=model_config.sync_head)
    return RunData(windows, evaluation_windows, collate, window_records, facts)


def _training(
    folder: Path, records: list[ClipRecord], config: DataConfig, model_config: Any, seed: int, **changes: Any
) -> TrainingWindows:
    """Training windows of one set; `changes` are fields of `SetConfig` that differ from the run's."""
    steps = changes.pop("window_steps", None) or config.window_steps or model_config.num_frames
    options = WindowOptions(steps=steps, min_steps=min(steps, changes.pop("min_steps", WindowOptions().min_steps)))
    return TrainingWindows(TrackCache(folder, records), options, _training_options(config, seed, **changes))


def _mixed(sets: Sequence[SetConfig], config: DataConfig, model_config: Any, seed: int) -> MixedWindows:
    """Training windows of several sets."""
    parts = []
    for number, part in enumerate(sets):
        folder = config.folder(part.cache)
        records = [e.record for e in TrackCache(folder).entries if _belongs(e.record, part)]
        if not records:
            raise ValueError(f"data.sets must hold clips, but {folder} has none with split {part.split!r}.")
        changes = {name: getattr(part, name) for name in ("min_steps", "window_steps", "balance", "recorded_share")}
        changes["streams"] = part.streams or config.streams
        parts.append(_training(folder, records, config, model_config, seed + number, **changes))
    return MixedWindows(parts, [part.share for part in sets], seed, config.windows or 0)


def _belongs(record: ClipRecord, part: SetConfig) -> bool:
    left_out = {record.generator, *record.identities} & set(part.leave_out)
    return (not part.split or record.split == part.split) and not left_out


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
            raise ValueError(f"data.{name}_split must name a split with clips, but got {split!r} of {known}.")
    return train, evaluation


def _training_options(
    config: DataConfig,
    seed: int,
    balance: str = "",
    recorded_share: float = 0.0,
    streams: dict[str, float] | None = None,
) -> TrainingOptions:
    return TrainingOptions(
        seed=seed,
        windows=config.windows,
        fake_share=config.fake_share,
        paired=config.paired,
        recorded_share=recorded_share,
        balance=balance or config.balance,
        mix=_mix(config, streams),
        augmentation=AugmentOptions() if config.augment else _no_augmentation(),
    )


def _mix(config: DataConfig, streams: dict[str, float] | None = None) -> Mix:
    chosen: dict[str, Any] = {
        "streams": streams or config.streams,
        "visual": config.visual_kinds,
        "audio": config.voice_kinds,
    }
    return Mix(**{name: weights for name, weights in chosen.items() if weights})


def _no_augmentation() -> AugmentOptions:
    return AugmentOptions(**{field.name: 0.0 for field in fields(AugmentOptions)})


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
        mix=_mix(config), augmentation=_no_augmentation(),
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
