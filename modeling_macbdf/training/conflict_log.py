"""What the objectives do to each other, one row per optimizer step, in a CSV file that survives a kill."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..optim import Resolution, StepReport

_FILE_ONLY = ("step", "_bin", "weight_", "stationary_")
BINS = 10  # of the histogram of fusion weights over [0, 1]
CLIP_LOSS = "clip_loss"  # cross-entropy of the joint answer alone: comparable whatever else the loss holds


def columns(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of the columns for encoders and the objectives that reach each."""
    objectives = list(dict.fromkeys(name for names in groups.values() for name in names))
    per_group = ["cosine", "conflict", "amplification", "stationary"]
    return [
        "step",
        "finite",
        *[f"loss_{objective}" for objective in objectives],
        CLIP_LOSS,
        *[f"{value}_{group}" for group in groups for value in per_group],
        *[
            f"{kind}_{group}_{objective}"
            for group in groups
            for kind in ("alpha", "weight")
            for objective in groups[group]
        ],
        "temperature",
        *[f"fusion_{modality}_{value}" for modality in groups for value in ("mean", "uneven")],
        *[f"fusion_{modality}_bin{index}" for modality in groups for index in range(BINS)],
    ]


def resolution_row(group: str, names: Sequence[str], found: Resolution) -> dict[str, float]:
    """One encoder's part of a row. `names`: the objectives that the resolution's entries belong to."""
    # A cosine with an objective that is absent, as one without labels is, would be counted as a right angle.
    row = {f"cosine_{group}": found.min_cosine} if found.present > 1 else {}
    row |= {
        f"conflict_{group}": float(found.conflict),
        f"amplification_{group}": found.amplification,
        f"stationary_{group}": float(found.stationary),
    }
    for kind, values in (("alpha", found.alpha), ("weight", found.weights)):
        row |= {f"{kind}_{group}_{name}": value for name, value in zip(names, values.tolist(), strict=True)}
    return row


def report_row(report: StepReport) -> dict[str, float]:
    """The gradients' part of a row."""
    row = {"finite": float(report.finite)}
    for group, found in report.groups.items():
        row |= resolution_row(group, report.objectives[group], found)
    return row


def fusion_row(weights: Tensor, modalities: Sequence[str]) -> dict[str, float]:
    """Mean, mean distance from even weights, and histogram of fusion weights (B, M), one column per modality."""
    row = {}
    for index, modality in enumerate(modalities):
        shares = weights[:, index].detach().float().cpu()
        row[f"fusion_{modality}_mean"] = float(shares.mean())
        row[f"fusion_{modality}_uneven"] = float((shares - 1 / weights.shape[1]).abs().mean())
        counts = torch.histc(shares, BINS, 0.0, 1.0).tolist()
        row |= {f"fusion_{modality}_bin{bin_index}": count for bin_index, count in enumerate(counts)}
    return row


class ConflictLog:
    """Rows of one run: appended to a file at once, and averaged between two log messages.

    Args:
        path: the CSV file; None keeps the averages only.
        names: the columns, from `columns`.
    """

    def __init__(self, path: Path | None, names: Sequence[str]) -> None:
        self.path, self.names = path, list(names)
        self._recent: list[dict[str, float]] = []

    def start(self, step: int) -> None:
        """Begins a run, or resumes one after optimizer step `step`: rows of later steps, now undone, are dropped."""
        self._recent = []
        if self.path is None:
            return
        kept = [row for row in _lines(self.path) if float(row["step"]) <= step] if step else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: dict[str, float]) -> None:
        """Appends a row; names that are not columns are left out, and missing ones stay empty."""
        self._recent.append(row)
        if self.path is not None:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.names, extrasaction="ignore").writerow(row)

    def drain(self) -> dict[str, float]:
        """Means over the rows since the last call, of what a log message has room for."""
        rows, self._recent = self._recent, []
        names = {name: None for row in rows for name in row if not any(part in name for part in _FILE_ONLY)}
        found = {name: [row[name] for row in rows if name in row] for name in names}
        return {name: sum(values) / len(values) for name, values in found.items()}


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a conflict file; empty fields are left out, and a last line cut off by a kill as well."""
    return [{name: float(value) for name, value in row.items() if value} for row in _lines(path)]


def as_columns(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Rows as one array (N,) per name, NaN where a row lacks it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over the last `window` values, or as many as there are yet: (N,) -> (N,).

    Values that are not finite, of steps that lack them, are left out; NaN where no other is in the window.
    """
    known = np.isfinite(values)
    total, count = np.cumsum(np.where(known, values, 0.0)), np.cumsum(known)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _lines(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
