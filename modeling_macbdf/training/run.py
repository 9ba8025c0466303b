"""One training run from its configuration: model, trainer, metrics, calibration, and what a dry run says."""

import json
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, AutoProcessor, TrainerCallback, set_seed

from ..evaluation.calibration import calibrate
from ..evaluation.overlap import write_training_people
from .callbacks import PatienceCallback
from .config import RunConfig, check_known
from .metrics import scored_rows, window_metrics
from .pretrained import load_imagenet
from .storage import store_in_half_precision
from .trainer import MACBDFTrainer
from .windows import build_data

logger = logging.getLogger(__name__)
_DRY_STEPS = 3
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


class Run:
    """A run: everything built, nothing trained yet.

    Args:
        config: the resolved configuration.

    Raises:
        ValueError: a setting is out of range, or the data lack a class or a split.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, self.arguments = config, config.arguments()
        set_seed(self.arguments.seed)
        self.model, self.processor = _model(config)
        with self.arguments.main_process_first(desc="data"):
            self.data = build_data(config.data, self.processor, self.model.config, self.arguments.seed)

    @property
    def output_dir(self) -> Path:
        """Where the run keeps its checkpoints and leaves its model."""
        return Path(str(self.arguments.output_dir))

    def trainer(self, **changes: Any) -> MACBDFTrainer:
        """A trainer on the run's model; `changes` replace training arguments."""
        trainer = MACBDFTrainer(
            self.model,
            self.config.arguments(**changes) if changes else self.arguments,
            train_dataset=self.data.train,
            eval_dataset=self.data.evaluation,
            data_collator=self.data.collate,
            processing_class=self.processor,
            compute_metrics=window_metrics(self.data.evaluation_records),
        )
        evaluates = self.arguments.eval_strategy != "no"
        if self.config.early_stopping_patience and evaluates and not changes:
            trainer.add_callback(PatienceCallback(self.config.early_stopping_patience))
        return trainer

    def finish(self, trainer: MACBDFTrainer) -> dict[str, float]:
        """Evaluates the trained (or best) weights, fits the calibration and saves the model; returns the metrics."""
        found = trainer.predict(self.data.evaluation, metric_key_prefix="eval")
        if self.config.calibrate:
            rows = scored_rows(found, self.data.evaluation_records)
            source = f"{len(rows)} windows of {self.data.facts['evaluation']}, {self.data.facts['cache']}"
            self.model.config.calibration = _calibration(rows, source)
        folder = self.output_dir / "model"
        trainer.save_model(str(folder))
        if trainer.is_world_process_zero():
            if self.config.half_precision_weights:
                store_in_half_precision(folder)
            self.processor.save_pretrained(folder)
            facts = {"config": self.config.as_yaml(), "data": self.data.facts, "metrics": found.metrics}
            write_training_people(folder, self.data.training_records)
            (folder / "training_run.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        trainer.accelerator.wait_for_everyone()  # what comes next may load the model
        return found.metrics or {}

    def estimate(self) -> dict[str, Any]:
        """Takes a few steps without keeping them: seconds a step, hours in all, peak memory in MiB."""
        clock = _StepClock()
        with tempfile.TemporaryDirectory() as folder:
            quiet: dict[str, Any] = {
                "output_dir": folder,
                "save_strategy": "no",
                "eval_strategy": "no",
                "report_to": "none",
            }
            quiet |= {"load_best_model_at_end": False, "conflict_csv": "", "disable_tqdm": True}
            trainer = self.trainer(**quiet, max_steps=_DRY_STEPS)
            trainer.add_callback(clock)
            trainer.train()
        seconds = float(np.median(np.diff(clock.times)))
        steps = self._total_steps()
        return {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "optimizer_steps": steps,
            "seconds_per_step": round(seconds, 3),
            "estimated_hours": round(steps * seconds / 3600, 3),
            "peak_memory_mib": round(_peak_mib(), 1),
            "device": str(self.arguments.device),
        }

    def _total_steps(self) -> int:
        if self.arguments.max_steps > 0:
            return self.arguments.max_steps
        batch = self.arguments.train_batch_size * self.arguments.world_size
        batches = -(-len(self.data.train) // batch)  # type: ignore[arg-type]
        return round(-(-batches // self.arguments.gradient_accumulation_steps) * self.arguments.num_train_epochs)


class _StepClock(TrainerCallback):
    """Notes the time of each optimizer step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Adds the time of the clock, in seconds."""
        del args, state, control, kwargs
        self.times.append(time.perf_counter())


def _calibration(rows: Sequence[Mapping[str, Any]], source: str) -> dict[str, Any] | None:
    """The calibration; None, with a warning, where the clips do not allow one: trained weights are not lost for it."""
    try:
        return calibrate(rows, source)
    except ValueError as error:
        logger.warning("The model is saved without a calibration, which `macbdf calibrate` can add: %s", error)
        return None


def _model(config: RunConfig) -> tuple[Any, Any]:
    processor = AutoProcessor.from_pretrained(config.model)
    settings = _settings(config)
    _fit(processor, settings)
    settings.calibration = None  # that of other weights, or of these before they are trained on
    folder = Path(config.model)
    weightless = folder.is_dir() and not any((folder / name).exists() for name in _WEIGHTS)
    if not (config.from_scratch or weightless):
        return _loaded(config, settings), processor
    model = AutoModel.from_config(settings)
    if config.imagenet:
        load_imagenet(model)
    return model, processor


def _loaded(config: RunConfig, settings: Any) -> Any:
    """The model with the weights of `config.model`."""
    anew = "from_scratch=true begins with new ones"
    if config.imagenet:
        raise ValueError(f"imagenet must be false where weights are loaded ({anew}), but got true for {config.model}")
    try:
        return AutoModel.from_pretrained(config.model, config=settings)
    except RuntimeError as error:
        if not config.model_config:
            raise
        raise ValueError(
            f"model_config must leave the shapes of the weights in {config.model} as they are ({anew}), but has "
            f"{sorted(config.model_config)}: {error}"
        ) from error


def _settings(config: RunConfig) -> Any:
    """The model's config with the run's changes; those of a tower join its other settings."""
    shipped = AutoConfig.from_pretrained(config.model)
    changes = dict(config.model_config)
    check_known("model_config.", changes, list(shipped.to_dict()))
    for name in ("video_config", "audio_config"):
        kept = getattr(shipped, name).to_dict()
        if name in changes and changes[name].get("model_type", kept["model_type"]) == kept["model_type"]:
            check_known(f"model_config.{name}.", changes[name], list(kept))
            changes[name] = kept | changes[name]
    try:
        settings = AutoConfig.from_pretrained(config.model, **changes)
        settings.validate()  # changes are set one by one after the check of the file's own values
        return settings
    except StrictDataclassError as error:
        raise ValueError(f"model_config must hold values in their ranges: {error}") from error


def _fit(processor: Any, settings: Any) -> None:
    """Lets the processor make what the changed model expects: the picture's side and the window's steps.

    Raises:
        ValueError: the two differ in what a change of the model alone cannot settle, such as the clock.
    """
    sound = processor.feature_extractor
    made = {"frame_rate_hz": sound.frame_rate_hz, "sampling_rate": sound.sampling_rate}
    wanted = {name: getattr(settings, name) for name in made}
    if (bins := getattr(settings.audio_config, "num_mel_bins", None)) is not None:
        made |= {"audio_config.num_mel_bins": sound.feature_size}
        wanted |= {"audio_config.num_mel_bins": bins}
    if made != wanted:
        raise ValueError(f"model_config must agree with the processor of the model, {made}, but it is {wanted}")
    side = getattr(settings.video_config, "image_size", None)
    if isinstance(side, int):
        processor.image_processor.size = {"height": side, "width": side}
    processor.image_processor.num_frames = processor.feature_extractor.num_frames = settings.num_frames


def _peak_mib() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
