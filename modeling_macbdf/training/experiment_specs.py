"""The paper's experiments by name: each is one training configuration, changed in one respect.

The first variant of an experiment is the one that the others are compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """One question put to training runs.

    Attributes:
        question: in words.
        variants: name -> what differs from the paper's method, as overrides on the command line of
            `train_accelerate.py`.
        judged: outcomes that get a verdict against the first variant.
        shown: further outcomes of the table.
        curves: columns of the conflict file that are drawn over the steps.
    """

    question: str
    variants: Mapping[str, tuple[str, ...]]
    judged: tuple[str, ...]
    shown: tuple[str, ...] = ()
    curves: tuple[str, ...] = ("clip_loss",)

    def outcomes(self) -> tuple[str, ...]:
        """Every outcome of the table, those with a verdict first."""
        return (*self.judged, *self.shown)


# Outcome of a run -> its name for readers.
OUTCOMES = {
    "auc": "AUC",
    "auc_video": "AUC of the picture's answer",
    "auc_audio": "AUC of the voice's answer",
    "steps_to_loss": "steps to the target loss",
    "final_loss": "final training loss",
    "cosine_video": "cosine, picture",
    "cosine_audio": "cosine, voice",
    "conflict_video": "conflict rate, picture",
    "conflict_audio": "conflict rate, voice",
    "temperature": "final temperature",
    "temperature_swing": "swing of log temperature",
    "weight_video": "weight of the picture",
    "weight_uneven": "distance of the weights from one half",
}
_CONFLICT = ("cosine_video", "cosine_audio", "conflict_video", "conflict_audio")
_WEIGHTS = ("weight_video", "weight_uneven")
_TEMPERATURE = ("temperature", "temperature_swing")
_RULES = ("sum", "om_pareto", "pcgrad", "mgda", "mmpareto")
_NEITHER = ("model_config.use_contrastive=false", "model_config.fusion_weights=uniform")


def _fixed(temperature: float) -> tuple[str, ...]:
    return ("model_config.temperature_mode=fixed", f"model_config.temperature_value={temperature}")


def _separate(*terms: str) -> tuple[str, ...]:
    return (f"model_config.separate_objectives=[{', '.join(terms)}]",)


EXPERIMENTS: dict[str, Experiment] = {
    "om-pareto": Experiment(
        "Do the objectives conflict, and does OM-Pareto help against the plain sum and other rules?",
        {rule: (f"aggregator={rule}",) for rule in _RULES},
        judged=("auc", "steps_to_loss"),
        shown=_CONFLICT,
        curves=("cosine_video", "cosine_audio", "conflict_video", "clip_loss"),
    ),
    "contribution": Experiment(
        "What does OM-Pareto contribute by itself, without the contrastive loss and the adaptive weights?",
        {
            "none": ("aggregator=sum", *_NEITHER),
            "om_pareto alone": _NEITHER,
            "the others alone": ("aggregator=sum",),
            "all": (),
        },
        judged=("auc", "steps_to_loss"),
        shown=_CONFLICT,
        curves=("clip_loss", "cosine_video"),
    ),
    "fusion-weights": Experiment(
        "Do cluster-aware fusion weights help against even ones?",
        {"uniform": ("model_config.fusion_weights=uniform",), "cluster": ()},
        judged=("auc", "steps_to_loss"),
        shown=_WEIGHTS,
        curves=("clip_loss", "fusion_video_mean", "fusion_video_uneven"),
    ),
    "temperature": Experiment(
        "Does the adaptive temperature converge faster or end better than a fixed or a learned one?",
        {
            "adaptive": (),
            "learned": ("model_config.temperature_mode=learned",),
            **{f"fixed {value:g}": _fixed(value) for value in (0.05, 0.07, 0.1)},
        },
        judged=("auc", "steps_to_loss"),
        shown=_TEMPERATURE,
        curves=("clip_loss", "temperature"),
    ),
    "cluster-corruption": Experiment(
        "What do 10 % swapped cluster assignments do to the weights and to the score?",
        {"0 %": (), "10 %": ("model_config.cluster_corruption=0.1",)},
        judged=("auc", "weight_uneven"),
        shown=("weight_video", "steps_to_loss"),
        curves=("fusion_video_mean", "fusion_video_uneven", "clip_loss"),
    ),
    "batch-size": Experiment(
        "How does the adaptive temperature depend on the batch size, at the same number of windows?",
        {f"batch {size}": (f"per_device_train_batch_size={size}",) for size in (8, 4, 16)},
        judged=("temperature", "auc"),
        shown=("temperature_swing",),
        curves=("temperature", "clip_loss"),
    ),
    "objectives": Experiment(
        "What changes when OM-Pareto resolves three or four objectives per encoder instead of two?",
        {
            "2": (),
            "3: contrast apart": _separate("contrastive"),
            "4: contrast, frames apart": _separate("contrastive", "multimodal_frame"),
        },
        judged=("auc", "steps_to_loss"),
        shown=_CONFLICT,
        curves=("cosine_video", "cosine_audio", "clip_loss"),
    ),
}
