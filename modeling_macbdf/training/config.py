"""The configuration of a training run: a YAML file, and `key=value` on the command line over it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from .arguments import MACBDFTrainingArguments

_SECTIONS = ("data", "training", "model_config")


@dataclass(frozen=True)
class DataConfig:
    """Which windows a run sees.

    Attributes:
        cache: folder made by `macbdf preprocess`; "" = a small set that the run makes itself.
        train_split, eval_split: names of the records' splits. Where the records name none, people are dealt out.
        eval_share: share of the clips for evaluation where people are dealt out, in (0, 1).
        fake_share: probability that a real window is forged on the fly, in [0, 1].
        paired: show each real window beside its own forgery, both augmented alike; `train_sampling_strategy:
            sequential` keeps the two in one batch (windows are drawn at random anyway).
        streams: weights of forging the "video", the "audio", "both", or their "mismatch"; {} = those of `Mix`.
        visual_kinds, voice_kinds: weights of the pseudo-fakes of a picture and of a voice; {} = those of `Mix`.
        balance: "none", "source", "identity" or "label_source".
        windows: training windows of an epoch; None = one a face track.
        eval_windows: evaluation windows where the evaluation clips are all real, and forged on the fly.
        augment: whether training windows are re-compressed, re-coloured and so on.
        self_made_dir: where the self-made set is kept and found again.
        self_made_clips: rendered clips, one person each. self_made_seconds: length of each.
    """

    cache: str = ""
    train_split: str = "train"
    eval_split: str = "dev"
    eval_share: float = 0.25
    fake_share: float = 0.5
    paired: bool = False
    streams: dict[str, float] = field(default_factory=dict)
    visual_kinds: dict[str, float] = field(default_factory=dict)
    voice_kinds: dict[str, float] = field(default_factory=dict)
    balance: str = "source"
    windows: int | None = None
    eval_windows: int = 64
    augment: bool = True
    self_made_dir: str = "runs/self-made"
    self_made_clips: int = 16
    self_made_seconds: float = 4.0

    def __post_init__(self) -> None:
        if not 0.0 < self.eval_share < 1.0:
            raise ValueError(f"data.eval_share must be in (0, 1), but got {self.eval_share}.")
        if not self.cache and self.self_made_clips < 4:
            raise ValueError(f"data.self_made_clips must be at least 4, but got {self.self_made_clips}.")


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        model: folder with `config.json` and a processor, with weights to continue from them, or a Hub repository.
        from_scratch: start from random weights even where the model has some.
        model_config: fields of `MACBDFConfig` to change, for ablations.
        data: see `DataConfig`.
        training: fields of `MACBDFTrainingArguments`.
        early_stopping_patience: evaluations without a better `metric_for_best_model` before the run ends; 0 = never.
        calibrate: fit the calibration on the evaluation windows at the end; `macbdf detect` needs one.
    """

    model: str
    from_scratch: bool = False
    model_config: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    training: dict[str, Any] = field(default_factory=dict)
    early_stopping_patience: int = 0
    calibrate: bool = True

    def __post_init__(self) -> None:
        if self.early_stopping_patience < 0:
            raise ValueError(f"early_stopping_patience must not be negative, but got {self.early_stopping_patience}.")
        known = [field.name for field in fields(MACBDFTrainingArguments)]
        for name in self.training:
            _check_known(f"training.{name}", name, known)

    def arguments(self, **changes: Any) -> MACBDFTrainingArguments:
        """The training arguments; all three clip labels reach the metrics."""
        labels = {"label_names": ["labels", "video_labels", "audio_labels"]}
        return MACBDFTrainingArguments(**(labels | self.training | changes))

    def as_yaml(self) -> str:
        """The configuration as the YAML file that gives it."""
        return yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file and applies overrides.

    Args:
        path: the file; a `model` beside it is meant where there is one of that name.
        overrides: `key=value`, `--key=value` or `--key value`. A key is a field of `RunConfig`, dotted into a section
            (`data.cache`, `training.learning_rate`, `model_config.dropout`) or the bare name of a data or training
            field. Values are read as YAML.

    Raises:
        ValueError: there is no such file or key, a value is missing, or a value is out of range.
    """
    if not path.is_file():
        raise ValueError(f"config must name a YAML file, but there is no {path}.")
    values = _as_mapping(_numbers(yaml.safe_load(path.read_text(encoding="utf-8"))), str(path))
    for key, value in _pairs(overrides):
        _assign(values, key, value)
    top = [field.name for field in fields(RunConfig)]
    for name in values:
        _check_known(name, name, top)
    data = _as_mapping(values.get("data") or {}, "data")
    for name in data:
        _check_known(f"data.{name}", name, [field.name for field in fields(DataConfig)])
    if "model" not in values:
        raise ValueError(f"model must be given, but {path} has only {sorted(values)}.")
    config = RunConfig(**{**values, "data": DataConfig(**data)})
    beside = path.parent / config.model
    return replace(config, model=str(beside)) if beside.is_dir() else config


def _pairs(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    pairs, words = [], list(overrides)
    while words:
        word = words.pop(0)
        key, separator, text = word.removeprefix("--").partition("=")
        if not separator:
            if not word.startswith("--") or not words:
                raise ValueError(f"overrides must read key=value or --key value, but got {word!r}.")
            text = words.pop(0)
        pairs.append((key.replace("-", "_"), _numbers(yaml.safe_load(text))))
    return pairs


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    section, dot, name = key.rpartition(".")
    if not dot:
        section, name = _section_of(key), key
    if section and section not in _SECTIONS:
        raise ValueError(f"override {key!r} must begin with one of {_SECTIONS}, but begins with {section!r}.")
    target = values
    if section:
        values[section] = target = dict(_as_mapping(values.get(section) or {}, section))
    target[name] = value


def _section_of(key: str) -> str:
    """Where a bare key belongs: "" for the top level."""
    names = {
        "": [field.name for field in fields(RunConfig)],
        "data": [field.name for field in fields(DataConfig)],
        "training": [field.name for field in fields(MACBDFTrainingArguments)],
    }
    for section, known in names.items():
        if key in known:
            return section
    _check_known(key, key, [name for known in names.values() for name in known])
    return ""


def _check_known(shown: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(known)[:40])}"
        raise ValueError(f"{shown} must be a known setting, but is not; {hint}")


def _as_mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must hold key: value pairs, but got {value!r}.")
    return dict(value)


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; everybody who writes it means a number."""
    if isinstance(value, Mapping):
        return {key: _numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    if isinstance(value, str):
        try:
            return float(value) if value[:1].isdigit() or value[:1] in "-+." else value
        except ValueError:
            return value
    return value
