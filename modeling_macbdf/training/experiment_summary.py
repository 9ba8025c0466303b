"""What training runs say together: outcomes of a run, intervals over seeds, and verdicts from paired differences.

Runs of one seed share people, windows and first weights, so variants are compared seed by seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from .conflict_log import as_columns, running_mean
from .experiment_specs import OUTCOMES, Experiment

LEVEL = 0.95
SMOOTHING = 10  # steps of the running mean of the loss
_OF_ALL_STEPS = ("cosine_video", "cosine_audio", "conflict_video", "conflict_audio")
Outcomes = Mapping[str, float]
Interval = dict[str, float | None]


def run_outcomes(metrics: Mapping[str, float], rows: Sequence[Mapping[str, float]], target_loss: float) -> Outcomes:
    """The outcomes of one run that are named in `OUTCOMES`, without those that it does not tell.

    Args:
        metrics: of the final evaluation, `eval_auc` and so on.
        rows: of the run's conflict file, one an optimizer step.
        target_loss: of the joint answer's cross-entropy; a run that never reaches it counts with all of its steps.
    """
    found = {name: metrics.get(f"eval_{name}", np.nan) for name in ("auc", "auc_video", "auc_audio")}
    columns = as_columns(rows)
    fifth = slice(-max(1, len(rows) // 5), None)
    loss = running_mean(columns["clip_loss"], SMOOTHING)
    reached = np.flatnonzero(loss[SMOOTHING - 1 :] <= target_loss)
    found["steps_to_loss"] = float(reached[0] + SMOOTHING if len(reached) else len(rows))
    found["reached"] = float(len(reached) > 0)
    last = {"final_loss": "clip_loss", "weight_video": "fusion_video_mean", "weight_uneven": "fusion_video_uneven"}
    last |= {"temperature": "temperature"}
    parts = {name: columns[column][fifth] for name, column in last.items() if column in columns}
    parts |= {name: columns[name] for name in _OF_ALL_STEPS if name in columns}
    found |= {name: _mean_of_known(values) for name, values in parts.items()}
    if "temperature" in columns:
        found["temperature_swing"] = float(np.nanstd(np.log(columns["temperature"][len(rows) // 2 :])))
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _mean_of_known(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def interval(values: Sequence[float], comparisons: int = 1) -> Interval:
    """Mean and its t-interval over seeds; no bounds for less than two values.

    Args:
        values: one a seed.
        comparisons: intervals that are to hold together at `LEVEL` (Bonferroni).
    """
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return {"mean": mean, "low": None, "high": None}
    half = stats.t.ppf(1 - (1 - LEVEL) / 2 / comparisons, count - 1) * np.std(values, ddof=1) / np.sqrt(count)
    return {"mean": mean, "low": mean - float(half), "high": mean + float(half)}


def summarise(spec: Experiment, runs: Mapping[str, Mapping[int, Outcomes]]) -> dict[str, Any]:
    """Intervals of every variant, differences from the first one, and the verdicts in words.

    Args:
        spec: the experiment.
        runs: variant -> seed -> outcomes.

    Returns:
        "variants" and "differences" (variant -> outcome -> mean, low, high), "reached" and "verdicts".
    """
    reference, *others = spec.variants
    seeds = sorted(set.intersection(*(set(found) for found in runs.values())))
    differences: dict[str, dict[str, Interval]] = {}
    for name in others:
        pairs = {
            outcome: [runs[name][seed][outcome] - runs[reference][seed][outcome] for seed in seeds]
            for outcome in told(spec.judged, runs)
        }
        differences[name] = {outcome: interval(values, len(others)) for outcome, values in pairs.items()}
    return {
        "variants": {name: _intervals(spec, list(found.values())) for name, found in runs.items()},
        "reached": {name: int(sum(run["reached"] for run in found.values())) for name, found in runs.items()},
        "differences": differences,
        "verdicts": [
            verdict(name, reference, outcome, found, len(seeds))
            for name, outcomes in differences.items()
            for outcome, found in outcomes.items()
        ],
    }


def told(outcomes: Sequence[str], runs: Mapping[str, Mapping[int, Outcomes]]) -> list[str]:
    """Those of the outcomes that every run tells."""
    return [name for name in outcomes if all(name in run for found in runs.values() for run in found.values())]


def _intervals(spec: Experiment, runs: Sequence[Outcomes]) -> dict[str, Interval]:
    known = [name for name in spec.outcomes() if all(name in run for run in runs)]
    return {name: interval([run[name] for run in runs]) for name in known}


def verdict(variant: str, reference: str, outcome: str, difference: Interval, seeds: int) -> str:
    """One sentence that claims no more than the interval of the paired differences."""
    about = f"{variant} against {reference}: {OUTCOMES[outcome]} {shown(difference, signed=True)}"
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return f"{about} with one seed, which shows nothing."
    seen = "higher" if low > 0 else "lower" if high < 0 else None
    words = f"{seen} with {seeds} seeds" if seen else f"no difference can be seen with {seeds} seeds"
    return f"{about}: {words}."


def shown(found: Interval, signed: bool = False) -> str:
    """An interval for reading: three digits for shares, one for counts."""
    values = [value for value in found.values() if value is not None]
    digits = 1 if max(abs(value) for value in values) >= 10 else 3
    mean, *bounds = [f"{value:{'+' if signed else ''}.{digits}f}" for value in values]
    return f"{mean} [{', '.join(bounds)}]" if bounds else mean


def as_markdown(result: Mapping[str, Any], spec: Experiment) -> str:
    """Table, verdicts, and what the numbers are."""
    columns = [name for name in spec.outcomes() if all(name in found for found in result["variants"].values())]
    lines = [f"**{spec.question}**", ""]
    lines.append(f"| variant | {' | '.join(OUTCOMES[name] for name in columns)} |")
    lines.append("|---" * (len(columns) + 1) + "|")
    for variant, found in result["variants"].items():
        lines.append(f"| {variant} | {' | '.join(_cell(result, variant, name, found) for name in columns)} |")
    lines += ["", *(f"- {sentence}" for sentence in result["verdicts"]), ""]
    lines.append(
        f"Mean and {LEVEL:.0%} t-interval over seeds {result['seeds']}; differences are paired by seed, and the "
        f"{len(result['variants']) - 1} intervals of an outcome hold together (Bonferroni). Target loss "
        f"{result['target_loss']:g}."
    )
    return "\n".join(lines) + "\n"


def _cell(result: Mapping[str, Any], variant: str, outcome: str, found: Mapping[str, Interval]) -> str:
    seeds, reached = len(result["seeds"]), result["reached"][variant]
    missed = f", reached in {reached} of {seeds}" if outcome == "steps_to_loss" and reached < seeds else ""
    return shown(found[outcome]) + missed
