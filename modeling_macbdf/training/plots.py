"""Pictures of conflict files: python -m modeling_macbdf.training.plots RUN/conflict.csv --out conflict.png"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .conflict_log import BINS, as_columns, read_rows, running_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = (
    ("cosine", "cosine between objectives"),
    ("conflict", "conflict rate"),
    ("alpha", "share of the multimodal objective, alpha"),
    ("amplification", "amplification"),
)


def plot_conflict(runs: Mapping[str, Path], out: Path, window: int = 25) -> Path:
    """Draws cosine, conflict rate, alpha, amplification, temperature, losses and fusion weights over the steps.

    Args:
        runs: name -> conflict file; several runs share the axes, except for the histogram, which shows the first.
        out: PNG file to write; its folder is made.
        window: steps of the running mean.

    Returns:
        `out`.

    Raises:
        ValueError: a file holds no step, or `window` is below 1.
    """
    from matplotlib.figure import Figure

    if window < 1:
        raise ValueError(f"window must be at least 1 step, but got {window}.")
    tables = {name: _table(path) for name, path in runs.items()}
    figure = Figure(figsize=(14, 11), layout="constrained")
    axes = figure.subplots(4, 2)
    for (kind, title), axis in zip(_PANELS, axes.flat, strict=False):
        _draw(axis, tables, _columns(tables, f"{kind}_", "" if kind != "alpha" else "_multimodal"), title, window)
    _draw(axes[2, 0], tables, ["temperature"], "contrastive temperature", window)
    _draw(axes[2, 1], tables, _columns(tables, "loss_", ""), "loss", window)
    _draw(axes[3, 0], tables, _columns(tables, "fusion_", "_mean"), "mean fusion weight", window)
    _histogram(axes[3, 1], figure, next(iter(tables.values())))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    return out


def _table(path: Path) -> dict[str, np.ndarray]:
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"runs must hold conflict files with at least one step, but {path} has none.")
    return as_columns(rows)


def _columns(tables: Mapping[str, dict[str, np.ndarray]], start: str, end: str) -> list[str]:
    names = dict.fromkeys(name for table in tables.values() for name in table)
    return [name for name in names if name.startswith(start) and name.endswith(end)]


def _draw(
    axis: Any, tables: Mapping[str, dict[str, np.ndarray]], names: Sequence[str], title: str, window: int
) -> None:
    for run, table in tables.items():
        for name in names:
            if name in table:
                axis.plot(
                    table["step"], running_mean(table[name], window), label=f"{run} {name}" if run else name, lw=1.2
                )
    if title.startswith("cosine"):
        axis.axhline(0.0, color="0.6", lw=0.8)
    axis.set(title=title, xlabel="optimizer step")
    if axis.has_data():
        axis.legend(fontsize=7)


def _histogram(axis: Any, figure: "Figure", table: dict[str, np.ndarray]) -> None:
    """Share of the clips by fusion weight of the first modality, over the steps."""
    bins = [name for name in table if name.endswith("_bin0")][:1]
    axis.set(title="fusion weights", xlabel="optimizer step")
    if not bins:
        return
    stem = bins[0].removesuffix("0")
    counts = np.stack([table[f"{stem}{index}"] for index in range(BINS)])
    shares = counts / np.maximum(np.nansum(counts, axis=0, keepdims=True), 1.0)
    first, last = table["step"][0], table["step"][-1]
    image = axis.imshow(shares, aspect="auto", origin="lower", extent=(first - 0.5, last + 0.5, 0.0, 1.0), vmin=0.0)
    axis.set_ylabel(stem.removeprefix("fusion_").removesuffix("_bin") + " weight")
    figure.colorbar(image, ax=axis, label="share of clips")


def main() -> None:
    """The command at the top of this file; several files are compared by the name of their folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, nargs="+", help="conflict.csv of one or more runs")
    parser.add_argument("--out", type=Path, default=Path("conflict.png"), help="PNG to write")
    parser.add_argument("--window", type=int, default=25, help="steps of the running mean")
    options = parser.parse_args()
    names = [path.resolve().parent.name if len(options.csv) > 1 else "" for path in options.csv]
    plot_conflict(dict(zip(names, options.csv, strict=True)), options.out, options.window)


if __name__ == "__main__":
    main()
