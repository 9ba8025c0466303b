"""The picture of an experiment: outcomes of every seed, and curves over the steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .conflict_log import as_columns, running_mean
from .experiment_specs import OUTCOMES, Experiment

_CURVES = {
    "clip_loss": "training loss of the joint answer",
    "cosine_video": "cosine of the objectives, picture",
    "cosine_audio": "cosine of the objectives, voice",
    "conflict_video": "conflict rate, picture",
    "temperature": "contrastive temperature",
    "fusion_video_mean": "weight of the picture",
    "fusion_video_uneven": "distance of the weights from one half",
}
_SMOOTHING = 15  # steps of the running mean


def plot_experiment(
    result: Mapping[str, Any],
    spec: Experiment,
    tables: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    out: Path,
) -> Path:
    """Draws the judged outcomes with their intervals, and the experiment's curves.

    Args:
        result: of `run_experiment`.
        spec: the experiment.
        tables: variant -> rows of the conflict file of each seed.
        out: PNG file to write.
    """
    from matplotlib.figure import Figure

    judged = [name for name in spec.judged if all(name in found for found in result["variants"].values())]
    panels = len(judged) + len(spec.curves)
    rows = -(-panels // 3)
    figure = Figure(figsize=(12, 3.3 * rows), layout="constrained")
    axes = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axis, outcome in zip(axes, judged, strict=False):
        _outcome(axis, result, outcome)
    for axis, column in zip(axes[len(judged) :], spec.curves, strict=False):
        _curve(axis, tables, column)
    for axis in axes[panels:]:
        axis.set_axis_off()
    figure.savefig(out, dpi=70)
    return out


def _outcome(axis: Any, result: Mapping[str, Any], outcome: str) -> None:
    """A dot per seed, and mean and interval beside them."""
    for place, (variant, found) in enumerate(result["variants"].items()):
        values = [run[outcome] for run in result["runs"] if run["variant"] == variant]
        axis.plot([place] * len(values), values, "o", color=f"C{place}", alpha=0.4, ms=4)
        mean, low = found[outcome]["mean"], found[outcome]["low"]
        half = 0.0 if low is None else mean - low
        axis.errorbar(place + 0.2, mean, yerr=half, fmt="s", color=f"C{place}", ms=5, capsize=3)
    names = list(result["variants"])
    axis.set_xticks(range(len(names)), names, rotation=20, fontsize=8)
    axis.set_title(f"{OUTCOMES[outcome]} (seeds; mean, 95 %)", fontsize=9)


def _curve(axis: Any, tables: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], column: str) -> None:
    """Mean over the seeds of the running mean, with the range of the seeds behind."""
    for place, (variant, seeds) in enumerate(tables.items()):
        columns = [as_columns(rows) for rows in seeds]
        if not all(column in own for own in columns):
            continue
        lines = np.stack([running_mean(own[column], _SMOOTHING) for own in columns])
        steps = np.arange(1, lines.shape[1] + 1)
        axis.fill_between(steps, lines.min(axis=0), lines.max(axis=0), color=f"C{place}", alpha=0.1, lw=0)
        axis.plot(steps, lines.mean(axis=0), color=f"C{place}", label=variant, lw=1.4)
    if column.startswith("cosine"):
        axis.axhline(0.0, color="0.6", lw=0.8)
    axis.set_title(_CURVES[column], fontsize=9)
    axis.set_xlabel("optimizer step", fontsize=8)
    if axis.has_data():
        axis.legend(fontsize=7)
