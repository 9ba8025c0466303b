"""`MACBDFTrainingArguments`: what training with OM-Pareto adds to transformers' `TrainingArguments`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.training_args import OptimizerNames

from ..optim import MGDA, MMPareto, OMPareto, PCGrad, PlainSum, Rule

AGGREGATORS = ("om_pareto", "sum", "mmpareto", "mgda", "pcgrad")
GRADIENT_ROUTES = ("exact", "feature_space", "joint")
_UNSUPPORTED_OPTIMIZERS = ("lomo", "layerwise")


@dataclass
class MACBDFTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the choice of the aggregation rule.

    Args:
        aggregator (`str`, defaults to `"om_pareto"`): "om_pareto", "sum", "mmpareto", "mgda" or "pcgrad".
        rho_max (`float`, defaults to 1.0): OM-Pareto's strength of orthogonalization, in [0, 1].
        gamma (`float`, defaults to 1.0): OM-Pareto's constant amplification, at least 1. Under Adam-like optimizers a
            constant factor does nothing, and `max_grad_norm`, applied last, cancels it where it is active.
        max_amplification (`float`, defaults to 5.0): cap on OM-Pareto's restoring of the plain sum's length.
        gradient_route (`str`, defaults to `"exact"`): "exact" takes one gradient per objective, about 1.7 times the
            cost of a plain step. "feature_space" is **approximate**: it measures conflict at the encoder outputs, for
            about the cost of a plain step, and may oppose an objective. "joint" is the ordinary `Trainer` step on the
            summed loss, without any conflict statistics; it goes with `aggregator="sum"` only.
        conflict_csv (`str`, defaults to `"conflict.csv"`): file in `output_dir` with one row per optimizer step; ""
            writes none.
    """

    aggregator: str = field(default="om_pareto", metadata={"help": f"One of {AGGREGATORS}."})
    rho_max: float = field(default=1.0, metadata={"help": "Strength of the orthogonalization, in [0, 1]."})
    gamma: float = field(default=1.0, metadata={"help": "Constant amplification of the direction, at least 1."})
    max_amplification: float = field(default=5.0, metadata={"help": "Cap on restoring the plain sum's length."})
    gradient_route: str = field(default="exact", metadata={"help": f"One of {GRADIENT_ROUTES}."})
    conflict_csv: str = field(default="conflict.csv", metadata={"help": "Per-step file in output_dir; '' for none."})

    def __post_init__(self) -> None:
        on_cpu = self.use_cpu or not torch.cuda.is_available()
        if on_cpu and self.ddp_backend is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self.ddp_backend = "gloo"  # the default is one for GPUs
        super().__post_init__()
        if self.label_names is None:
            self.label_names = ["labels"]  # by default the loss would need every label argument of forward
        if self.device.type == "cpu":
            self.dataloader_pin_memory = False  # nothing to pin for, and a warning at every epoch
        _check_trackers([self.report_to] if isinstance(self.report_to, str) else self.report_to or [])
        if self.fp16 and self.device.type == "cpu":
            raise ValueError("fp16 must be false on a CPU, where accelerate would compute in float32, but got true.")
        _check_choice("aggregator", self.aggregator, AGGREGATORS)
        _check_choice("gradient_route", self.gradient_route, GRADIENT_ROUTES)
        if self.gradient_route == "joint" and self.aggregator != "sum":
            raise ValueError(f"gradient_route='joint' must go with aggregator='sum', but got {self.aggregator!r}.")
        if any(name in OptimizerNames(self.optim).value for name in _UNSUPPORTED_OPTIMIZERS):
            raise ValueError(f"optim must not update within the backward pass, but got {self.optim!r}.")
        checkpointing = self.activation_checkpointing_kwargs
        if isinstance(checkpointing, dict) and checkpointing.get("use_reentrant"):
            raise ValueError(
                "activation_checkpointing_kwargs['use_reentrant'] must be False: reentrant checkpoints allow no "
                "gradient per objective, but got True."
            )
        self.rule()

    def rule(self) -> Rule:
        """The aggregation rule; ValueError where its parameters are out of range."""
        if self.aggregator == "om_pareto":
            return OMPareto(self.rho_max, self.gamma, self.max_amplification)
        return {"sum": PlainSum, "mmpareto": MMPareto, "mgda": MGDA, "pcgrad": PCGrad}[self.aggregator]()


def _check_trackers(names: Sequence[str]) -> None:
    """The Trainer would notice a tracker that is not installed only after the data are prepared."""
    installed = get_available_reporting_integrations()
    for name in names:
        if name not in installed:
            raise ValueError(f"report_to must name installed trackers, {installed} or 'none', but got {name!r}.")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, but got {value!r}.")
