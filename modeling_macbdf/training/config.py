"""The configuration of a training run: a YAML file, and `key=value` on the command line over it."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import yaml

from .arguments import MACBDFTrainingArguments

_SECTIONS = ("data", "training", "model_config")


@dataclass(frozen=True)
class SetConfig:
    """One of several training sets.

    Attributes:
        cache: folder made by `macbdf preprocess`.
        share: of the draws, relative to the other sets.
        split: name of the records' split; "" = all clips.
        recorded_share: probability that a real window's forged half is a recorded fake, see `TrainingOptions`.
        min_steps: shortest track; 1 lets photographs in.
        window_steps: of this set's windows; None = those of `DataConfig`.
        balance, streams: as in `DataConfig`.
        voices: another cache, whose voices, real and recorded synthetic, are laid over this set's real pictures;
            `recorded_share` holds for it too. "" = each clip keeps its own sound.
    """

    cache: str
    share: float = 1.0
    split: str = ""
    recorded_share: float = 0.0
    min_steps: int = 4
    window_steps: int | None = None
    balance: str = "source"
    streams: dict[str, float] = field(default_factory=dict)
    voices: str = ""

    def __post_init__(self) -> None:
        _check_types("data.sets: ", self)
        if self.share <= 0:
            raise ValueError(f"data.sets: share must be positive, but got {self.share} for {self.cache}.")


@dataclass(frozen=True)
class DataConfig:
    """Which windows a run sees.

    Attributes:
        cache: folder made by `macbdf preprocess`; "" = a small set that the run makes itself.
        root: folder in which `cache` and the caches of `sets` lie; "" = the working folder.
        sets: training sets, each with the fields of `SetConfig`; [] = `train_split` of `cache`. Evaluation always
            reads `eval_split` of `cache`.
        leave_out: generators and identities whose clips no set trains on, neither for pictures nor for voices. A fake
            that several systems made stays out where one of them does.
        splits: file of `macbdf data split`, in place of the records' own splits; "" = none.
        train_split, eval_split: names of the records' splits. Where the records name none, people are dealt out.
        eval_share: share of the clips for evaluation where people are dealt out, in (0, 1).
        fake_share: probability that a real window is forged on the fly, in [0, 1].
        paired: show each real window beside its own forgery, both augmented alike; `train_sampling_strategy:
            sequential` keeps the two in one batch (windows are drawn at random anyway).
        streams: weights of forging the "video", the "audio", "both", or their "mismatch"; {} = those of `Mix`.
        visual_kinds, voice_kinds: weights of the pseudo-fakes of a picture and of a voice; {} = those of `Mix`.
        balance: "none", "source", "identity" or "label_source"; with `sets` each has its own.
        windows: training windows of an epoch; None = one a face track.
        window_steps: steps of a training window; None = the model's `num_frames`.
        eval_windows: evaluation windows where the evaluation clips are all real, and forged on the fly.
        augment: whether training windows are re-compressed, re-coloured and so on.
        augmentation: fields of `AugmentOptions` to change.
        self_made_dir: where the self-made set is kept and found again.
        self_made_clips: rendered clips, one person each. self_made_seconds: length of each.
    """

    cache: str = ""
    root: str = ""
    sets: list[dict[str, Any]] = field(default_factory=list)
    leave_out: list[str] = field(default_factory=list)
    splits: str = ""
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
    window_steps: int | None = None
    eval_windows: int = 64
    augment: bool = True
    augmentation: dict[str, float] = field(default_factory=dict)
    self_made_dir: str = "runs/self-made"
    self_made_clips: int = 16
    self_made_seconds: float = 4.0

    def __post_init__(self) -> None:
        if isinstance(self.leave_out, list):
            object.__setattr__(self, "leave_out", list(map(str, self.leave_out)))  # a speaker may be called 1098
        _check_types("data.", self)
        for name in ("windows", "window_steps", "eval_windows"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"data.{name} must be at least 1, but got {value}.")
        if not 0.0 < self.eval_share < 1.0:
            raise ValueError(f"data.eval_share must be in (0, 1), but got {self.eval_share}.")
        if not self.cache and self.self_made_clips < 4:
            raise ValueError(f"data.self_made_clips must be at least 4, but got {self.self_made_clips}.")
        if self.sets and (self.windows is None or not self.cache):
            raise ValueError(
                f"data.sets must come with data.windows and data.cache, but got {self.windows!r}, {self.cache!r}."
            )
        if self.leave_out and not self.sets:
            raise ValueError(f"data.leave_out must come with data.sets, but got {self.leave_out} without.")
        if self.sets and self.balance != "source":  # the default
            raise ValueError(f"data.balance must stand in each of data.sets instead, but got {self.balance!r}.")
        for values in self.sets:
            check_known("data.sets: ", values, [field.name for field in fields(SetConfig)])

    def folder(self, cache: str) -> Path:
        """Where a cache lies."""
        return Path(self.root) / cache

    def training_sets(self) -> list[SetConfig]:
        """`sets` as objects; empty where `train_split` of `cache` is the only one."""
        return [SetConfig(**values) for values in self.sets]


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        model: folder with `config.json` and a processor, with weights to continue from them, or a Hub repository.
        from_scratch: start from random weights even where the model has some.
        imagenet: start the picture's encoder from ImageNet weights, see `training.pretrained`; only from scratch.
        model_config: fields of `MACBDFConfig` to change, for ablations.
        data: see `DataConfig`.
        training: fields of `MACBDFTrainingArguments`.
        early_stopping_patience: evaluations without a better `metric_for_best_model` before the run ends; 0 = never,
            nor does a run that does not evaluate (`eval_strategy=no`).
        half_precision_weights: store the trained weights as float16; they are computed with as float32.
        calibrate: fit the calibration on the evaluation windows at the end; `macbdf detect` needs one.
    """

    model: str
    from_scratch: bool = False
    imagenet: bool = False
    model_config: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    training: dict[str, Any] = field(default_factory=dict)
    early_stopping_patience: int = 0
    half_precision_weights: bool = False
    calibrate: bool = True

    def __post_init__(self) -> None:
        _check_types("", self)
        if self.early_stopping_patience < 0:
            raise ValueError(f"early_stopping_patience must not be negative, but got {self.early_stopping_patience}.")
        kinds = {field.name: field.type for field in fields(MACBDFTrainingArguments)}
        check_known("training.", self.training, list(kinds))
        for name, value in self.training.items():
            _check_type(f"training.{name}", value, kinds[name])

    def arguments(self, **changes: Any) -> MACBDFTrainingArguments:
        """The training arguments; all three clip labels reach the metrics."""
        values: dict[str, Any] = {"label_names": ["labels", "video_labels", "audio_labels"]}
        values |= self.training | changes
        # YAML reads a bare no as false; the strategies of saving, logging and evaluating mean the word.
        values |= {name: "no" for name, value in values.items() if value is False and name.endswith("_strategy")}
        return MACBDFTrainingArguments(**values)

    def as_yaml(self) -> str:
        """The configuration as the YAML file that gives it."""
        return yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file and applies overrides.

    Args:
        path: the file; a `model` beside it is meant where there is one of that name.
        overrides: `key=value`, `--key=value` or `--key value`. A key is a field of `RunConfig`, dotted into a section
            (`data.cache`, `training.learning_rate`, `model_config.dropout`, `model_config.video_config.image_size`) or
            the bare name of a data or training field. Values are read as YAML.

    Raises:
        ValueError: there is no such file or key, something is no YAML, or a value is missing, of another kind than its
            field, or out of range.
    """
    if not path.is_file():
        raise ValueError(f"config must name a YAML file, but there is no {path}.")
    values = _as_mapping(read_yaml(path.read_text(encoding="utf-8"), str(path)), str(path))
    for key, value in _pairs(overrides):
        _assign(values, key, value)
    check_known("", values, [field.name for field in fields(RunConfig)])
    data = _as_mapping(values.get("data") or {}, "data")
    check_known("data.", data, [field.name for field in fields(DataConfig)])
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
        # Of data.cache="" the shell leaves nothing, which YAML would read as null.
        pairs.append((key.replace("-", "_"), read_yaml(text, key) if text else ""))
    return pairs


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    section, *path = key.split(".") if "." in key else [_section_of(key), key]
    if section and section not in _SECTIONS:
        raise ValueError(f"override {key!r} must begin with one of {_SECTIONS}, but begins with {section!r}.")
    target = values
    for name in [section, *path[:-1]] if section else []:
        target[name] = dict(_as_mapping(target.get(name) or {}, name))
        target = target[name]
    target[path[-1]] = value


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
    check_known("", [key], [name for known in names.values() for name in known])
    return ""


def check_known(prefix: str, names: Iterable[str], known: Sequence[str]) -> None:
    """ValueError where one of the names is not known; it says which ones are near, with `prefix` before the name."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(known)[:40])}"
            raise ValueError(f"{prefix}{name} must be a known setting, but is not; {hint}")


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}


def _check_types(prefix: str, config: Any) -> None:
    """ValueError where a field of a dataclass holds another kind of value than it says: YAML takes what is typed."""
    for own in fields(config):
        _check_type(f"{prefix}{own.name}", getattr(config, own.name), own.type)


def _check_type(name: str, value: Any, kind: Any) -> None:
    """ValueError where a value is not of its kind; kinds that YAML does not know are left to those who use them."""
    choices = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    words = [_words(choice) for choice in choices]
    if None not in words and not any(_is_a(value, choice) for choice in choices):
        raise ValueError(f"{name} must be {' or '.join(filter(None, words))}, but got {value!r}.")


def _words(kind: Any) -> str | None:
    if get_origin(kind) not in (dict, list):
        return _KINDS.get(kind)
    entry = _KINDS.get(get_args(kind)[-1])
    return ("a list" if get_origin(kind) is list else "key: value pairs") + (f", each {entry}" if entry else "")


def _is_a(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(entry, get_args(kind)[0]) for entry in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is_a(entry, get_args(kind)[1]) for entry in value.values())
    if kind in (int, float) and isinstance(value, bool):
        return False
    return kind is Any or isinstance(value, (int, float) if kind is float else kind)


def _as_mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must hold key: value pairs, but got {value!r}.")
    return dict(value)


def read_yaml(text: str, name: str) -> Any:
    """The value of a YAML text; ValueError where it is none, which begins with `name`."""
    try:
        return _numbers(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"{name} must be YAML, but is not: {error}") from error


_EXPONENTIAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def _numbers(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; everybody who writes it means a number."""
    if isinstance(value, Mapping):
        return {key: _numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    if not isinstance(value, str) or not _EXPONENTIAL.fullmatch(value):
        return value
    return int(float(value)) if float(value).is_integer() else float(value)
