"""`MACBDFTrainer`: transformers' `Trainer` with one gradient per objective and a rule that joins them."""

from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from ..configuration_macbdf import NO_PREDICTION
from ..disk import full_disk_told
from ..losses_macbdf import OBJECTIVES, objective_names
from ..optim import Cut, FeatureSpaceGradients, ObjectiveGradients
from .arguments import MACBDFTrainingArguments
from .batches import mean_loss_counts, share_batches
from .callbacks import ConflictCallback, EpochCallback
from .checkpoints import last_complete_checkpoint
from .conflict_log import CLIP_LOSS, ConflictLog, columns, fusion_row, report_row
from .publishing import private_by_default, push_model
from .support import broadcast_buffers, check_arguments, check_backend, check_model, mean_row

logger = logging.get_logger(__name__)

MULTIMODAL = "multimodal"
_ENCODER_INPUTS = ("pixel_values", "input_features", "video_mask", "audio_mask")


class MACBDFTrainer(Trainer):
    """Trains a detector whose encoders serve several objectives.

    Each encoder takes the direction that `args.rule()` makes of its objectives' gradients; every other parameter takes
    their plain sum. One step is: per micro-batch one forward, a cut at the encoder outputs and one gradient per
    objective, accumulated apart; at the step's boundary the mean over processes, the rule, then the Trainer's own
    unscaling, clipping and optimizer step. So processes change nothing but rounding, and neither does accumulation,
    but for what looks at a whole batch: the contrastive loss, its temperature and the prototypes see one micro-batch.

    The model is any with `encode`, `forward_from_scales` (whose output has `objectives`) and `encoder_parameters`; it
    is never recognised by its class. An encoder called `m` serves the objectives "multimodal" and "m" and those of its
    config's `separate_objectives`, and is the module `m_encoder`.

    Args:
        model: the detector.
        args (`MACBDFTrainingArguments`): see there.
        **kwargs: as for `transformers.Trainer`.

    Raises:
        ValueError: a combination that cannot be right: FSDP, DeepSpeed, DataParallel, tensor parallelism, label
            smoothing, or a model without the methods above.
    """

    args: MACBDFTrainingArguments

    def __init__(
        self, model: nn.Module | None = None, args: MACBDFTrainingArguments | None = None, **kwargs: Any
    ) -> None:
        checked = check_arguments(args, kwargs)
        # The Trainer asks every processor for a tokenizer, so it must not know of one without.
        processor = kwargs.get("processing_class")
        self._processor = processor if not hasattr(processor, "tokenizer") else None
        super().__init__(
            model=model, args=checked, **(kwargs | {"processing_class": None} if self._processor else kwargs)
        )
        check_backend(self)
        self._gradients: ObjectiveGradients | None = None
        self._normalizers: dict[str, Tensor] | None = None
        self._watched: list[Mapping[str, Any]] = []
        self._compiled: nn.Module | None = None
        if self.separates_objectives:
            check_model(self.detector)
            self.conflict_log = ConflictLog(self._conflict_path(), columns(self._objectives()))
            self.add_callback(ConflictCallback(self.conflict_log))
        self.add_callback(EpochCallback(self.train_dataset))

    @property
    def separates_objectives(self) -> bool:
        """False for the ordinary step on the summed loss."""
        return self.args.gradient_route != "joint"

    @property
    def detector(self) -> Any:
        """The bare model. The wrappers of DDP, Accelerate and `torch.compile` act on its `forward` alone."""
        return self.model

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch; at the boundary of an accumulated step also the resolution of its gradients."""
        if not self.separates_objectives:
            counts = {} if self._normalizers is None else {"normalizers": self._normalizers}
            return super().training_step(model, {**inputs, **counts}, num_items_in_batch)
        model.train()
        schedule_free = getattr(self.optimizer, "train", None)  # such optimizers have two modes as well
        if callable(schedule_free):
            schedule_free()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager(), self.accelerator.autocast():
            cut, output = self._forward(inputs)
        share = 1.0 / self.current_gradient_accumulation_steps
        losses = {name: share * loss.float() for name, loss in output["objectives"].items()}
        if self._gradients is None:
            self._gradients = self._new_gradients()
        self._gradients.accumulate({name: self._scaled(loss) for name, loss in losses.items()}, cut)
        self._watch(output, losses, share)
        if self.accelerator.sync_gradients:
            self._resolve()
        return torch.stack([loss.detach() for loss in losses.values()]).sum()

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The micro-batches of the next step, of which the losses need the mean number of labels."""
        samples, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._gradients, self._watched = None, []  # of a step that an error broke off, in an earlier `train`
        self._normalizers = None
        takes_them = self.separates_objectives or "normalizers" in signature(self.detector.forward).parameters
        if takes_them and len(samples) > 1:
            self._normalizers = mean_loss_counts(self.detector, [self._prepare_inputs(batch) for batch in samples])
        return samples, count

    def get_train_dataloader(self) -> DataLoader:
        """The Trainer's loader; over several processes every global batch is dealt out to its last sample."""
        loader = super().get_train_dataloader()
        shard = getattr(loader, "batch_sampler", None)
        if not isinstance(shard, BatchSamplerShard) or type(shard.batch_sampler) is not BatchSampler:
            return loader
        world_size = self.args.world_size
        per_process = shard.batch_sampler.batch_size // (world_size if shard.split_batches else 1)
        return share_batches(loader, per_process, self.args.dataloader_drop_last, self.args.process_index, world_size)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Any, Any]:
        """As the Trainer's, with the outputs that are one per clip."""
        return super().prediction_step(model, inputs, prediction_loss_only, [*(ignore_keys or []), *NO_PREDICTION])

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Weights, config and processor: every checkpoint loads by itself."""
        super()._save(output_dir, state_dict)
        if self._processor is not None:
            self._processor.save_pretrained(output_dir or str(self.args.output_dir))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Trainer's, but a full disk is told as that.

        Raises:
            OSError: if nothing more can be written.
        """
        folder = Path(self.args.output_dir or ".")
        last = last_complete_checkpoint(folder)
        kept = f"make room and resume from {last}" if last else "there is no earlier checkpoint"
        with full_disk_told(folder / f"checkpoint-{self.state.global_step}", kept):
            super()._save_checkpoint(model, trial)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes the repository; it is private unless `hub_private_repo=False` or `private=False` says otherwise."""
        super().init_hf_repo(token, private_by_default(private, self.args))

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Saves the model and sends the folder that `macbdf push` sends; waits for the Hub whatever `blocking` says.

        Returns:
            huggingface_hub's `CommitInfo`, None on the other processes.

        Raises:
            HubError: no token, no network, or the Hub refused.
        """
        del blocking, kwargs
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        return push_model(self.args, commit_message or "End of training", token, revision, private)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self.is_world_process_zero() and self.args.hub_strategy != HubStrategy.END:
            push_model(self.args, f"Step {self.state.global_step}", folder=checkpoint_folder)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means of the steps since the last message to the messages of training."""
        if self.separates_objectives and "loss" in logs:
            logs = logs | self.conflict_log.drain()
        super().log(logs, start_time)

    def _forward(self, inputs: dict[str, Any]) -> tuple[Cut, Any]:
        encoder_inputs = {name: inputs.pop(name) for name in _ENCODER_INPUTS if name in inputs}
        if self.args.torch_compile:
            self._compile_encoders()
        scales = self.detector.encode(**encoder_inputs)
        cut = Cut(dict(zip(self.detector.encoder_parameters(), scales, strict=True)))
        masks = {name: value for name, value in encoder_inputs.items() if name.endswith("_mask")}
        stand_ins = {f"{name}_scales": cut[name] for name in cut.sources}
        output = self.detector.forward_from_scales(**stand_ins, **masks, normalizers=self._normalizers, **inputs)
        if output.get("objectives") is None:
            raise ValueError(f"inputs must hold labels in training, but got only {sorted(encoder_inputs | inputs)}.")
        return cut, output

    def _compile_encoders(self) -> None:
        """Compiles each encoder by itself, where the cost is; the heads run as they are."""
        if self._compiled is self.detector:
            return
        # A compiled backward that reuses its saved buffers cannot run once per objective.
        torch._functorch.config.donated_buffer = False
        for name in self.detector.encoder_parameters():
            encoder = getattr(self.detector, f"{name}_encoder")
            encoder.compile(backend=self.args.torch_compile_backend, mode=self.args.torch_compile_mode)
        self._compiled = self.detector

    def _objectives(self) -> dict[str, list[str]]:
        """Encoder -> the objectives that reach it."""
        separate = objective_names(self.detector.config)[len(OBJECTIVES) :]
        return {name: [MULTIMODAL, *separate, name] for name in self.detector.encoder_parameters()}

    def _new_gradients(self) -> ObjectiveGradients:
        groups = self.detector.encoder_parameters()
        encoders = {id(parameter) for parameters in groups.values() for parameter in parameters}
        others = [parameter for parameter in self.detector.parameters() if id(parameter) not in encoders]
        if self.args.gradient_route == "feature_space":
            distributed = self.args.world_size > 1
            return FeatureSpaceGradients(groups, others, self._objectives(), self.args.rule(), distributed)
        return ObjectiveGradients(groups, others, self._objectives())

    def _scaled(self, loss: Tensor) -> Tensor:
        scaler = self.accelerator.scaler
        return loss if scaler is None else scaler.scale(loss)

    def _resolve(self) -> None:
        """The mean over processes, the rule, `.grad`."""
        gradients, self._gradients = self._gradients, None
        if gradients is None:
            return
        if self.args.world_size > 1:
            gradients.all_reduce()
            broadcast_buffers(self.detector)
        # A gradient scaler must see what is not finite: it skips the step and lowers its scale.
        nonfinite = "skip" if self.accelerator.scaler is None else "propagate"
        rule = None if self.args.gradient_route == "feature_space" else self.args.rule()
        report = gradients.resolve(rule, nonfinite)
        step = self.state.global_step + 1
        if not report.finite:
            logger.warning(f"Step {step} is skipped: a gradient is NaN or infinite.")
        self.conflict_log.add({"step": step, **self._watched_row(), **report_row(report)})

    def _watch(self, output: Any, losses: Mapping[str, Tensor], share: float) -> None:
        known = {f"loss_{name}": loss.detach() for name, loss in losses.items()}
        if output.get("loss_terms") is not None:
            known[CLIP_LOSS] = share * output["loss_terms"]["multimodal_clip"]
        for name in ("temperature", "fusion_weights"):
            if output.get(name) is not None:
                known[name] = output[name].detach()
        self._watched.append(known)

    def _watched_row(self) -> dict[str, float]:
        """Losses, temperature and fusion weights of the step's micro-batches and processes."""
        watched, self._watched = self._watched, []
        names = [name for name in watched[0] if name.startswith("loss_") or name == CLIP_LOSS]
        row = {name: float(torch.stack([known[name] for known in watched]).sum()) for name in names}
        if "temperature" in watched[0]:
            row["temperature"] = float(watched[-1]["temperature"])
        if "fusion_weights" in watched[0]:
            weights = torch.cat([known["fusion_weights"] for known in watched])
            row |= fusion_row(weights, list(self._objectives()))
        return mean_row(row, self.args.device) if self.args.world_size > 1 else row

    def _conflict_path(self) -> Path | None:
        if not self.args.conflict_csv or not self.is_world_process_zero() or self.args.output_dir is None:
            return None
        return Path(self.args.output_dir) / self.args.conflict_csv
