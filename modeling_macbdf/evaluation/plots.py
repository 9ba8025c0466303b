"""Pictures of an evaluation: ROC, reliability, score histograms, timeline examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from .evaluate import proposals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EXAMPLES = 6  # timelines


def draw_all(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes `roc.png`, `reliability.png`, `histograms.png` and `timelines.png` as far as the scores allow.

    Args:
        result: of `macbdf evaluate`.
        folder: must exist.
    """
    rows = [row for row in result["scores"] if row["p_fake"] is not None and row["label"] is not None]
    labels = np.array([row["label"] for row in rows], int)
    scores = np.array([row["p_fake"] for row in rows], float)
    drawn = {"histograms": _histograms(rows, labels, scores), "timelines": _timelines(rows)}
    if len(set(labels.tolist())) == 2:
        drawn |= {"roc": _roc(result, labels, scores), "reliability": _reliability(result, labels, scores)}
    written = []
    for name, figure in drawn.items():
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=110)
            written.append(folder / f"{name}.png")
    return written


def new_figure(width: float, height: float) -> "Figure":
    """A figure that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _roc(result: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray) -> "Figure":
    figure = new_figure(5, 5)
    axis = figure.subplots()
    false_alarms, hits, _ = roc_curve(labels, scores)
    limits = result["intervals"].get("auc")  # too few people give none
    bounds = f" [{limits[0]:.3f}, {limits[1]:.3f}]" if limits else ""
    axis.plot(false_alarms, hits, label=f"AUC {result['metrics']['auc']:.3f}{bounds}")
    axis.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    axis.set(xlabel="reals called fake", ylabel="fakes called fake", title="ROC")
    axis.legend(loc="lower right")
    return figure


def _reliability(result: Mapping[str, Any], labels: np.ndarray, scores: np.ndarray) -> "Figure":
    """Observed against stated probability, as counted and at the even prior odds that the model states."""
    figure = new_figure(5, 5)
    axis = figure.subplots()
    observed, stated = calibration_curve(
        labels, scores, n_bins=min(10, max(2, len(labels) // 10)), strategy="quantile"
    )
    prior = labels.mean()
    even = observed / prior / (observed / prior + (1 - observed) / (1 - prior))
    axis.plot(stated, observed, "o-", label=f"as counted ({prior:.0%} fakes), ECE {result['metrics']['ece']:.3f}")
    axis.plot(stated, even, "s--", label="at even prior odds")
    axis.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    axis.set(
        xlabel="stated probability of fake", ylabel="share of fakes", title="reliability", xlim=(0, 1), ylim=(0, 1)
    )
    axis.legend(loc="upper left", fontsize=8)
    return figure


def _histograms(rows: Sequence[Mapping[str, Any]], labels: np.ndarray, scores: np.ndarray) -> "Figure":
    figure = new_figure(7, 4)
    axis = figure.subplots()
    bins = np.linspace(0, 1, 26).tolist()
    axis.hist([scores[labels == 0], scores[labels == 1]], bins=bins, label=["real", "fake"])
    axis.set(xlabel="stated probability of fake", ylabel="clips", title=f"scores of {len(rows)} clips")
    axis.legend()
    return figure


def _timelines(rows: Sequence[Mapping[str, Any]]) -> "Figure | None":
    """The most and the least suspicious clips, step by step, with the known forged segments and the best proposal."""
    known = [row for row in rows if row.get("curve")]
    ranked = sorted(known, key=lambda row: (not row.get("segments_s"), -row["p_fake"]))
    chosen = ranked if len(ranked) <= _EXAMPLES else [*ranked[: _EXAMPLES // 2], *ranked[-(_EXAMPLES // 2) :]]
    if not chosen:
        return None
    figure = new_figure(8, 1.5 * len(chosen))
    for axis, row in zip(figure.subplots(len(chosen), squeeze=False)[:, 0], chosen, strict=True):
        curve = row["curve"]
        values = np.array([np.nan if v is None else v for v in curve["log_odds"]], float)
        times_s = (curve["first_step"] + np.arange(len(values)) + 0.5) / curve["rate_hz"]
        axis.plot(times_s, 1 / (1 + np.exp(-values)), drawstyle="steps-mid")
        for start, end in row.get("segments_s") or ():
            axis.axvspan(start, end, color="tab:red", alpha=0.2)
        best = proposals(curve)[:1]
        for start, end, _ in best:
            axis.plot([start, end], [0.02, 0.02], color="tab:green", lw=3)
        word = {0: "real", 1: "fake"}[row["label"]]
        title = f"{word}: {Path(row['path']).name} (p {row['p_fake']:.2f}; red: forged, green: best proposal)"
        axis.set_title(title, fontsize=8)
        axis.set(ylim=(0, 1), ylabel="step score")
    axis.set_xlabel("seconds")
    return figure
