"""The picture of a conflict file."""

from pathlib import Path

import numpy as np
import pytest

from modeling_macbdf.training.conflict_log import ConflictLog, columns, running_mean
from modeling_macbdf.training.plots import plot_conflict

GROUPS = {"video": ["multimodal", "video"], "audio": ["multimodal", "audio"]}


def _written(path: Path, steps: int) -> Path:
    log = ConflictLog(path, columns(GROUPS))
    log.start(0)
    for step in range(1, steps + 1):
        row = dict.fromkeys(columns(GROUPS), 0.1 * step)
        log.add(row | {"step": step, "cosine_video": -0.5, "fusion_video_bin4": 8.0})
    return path


def test_one_run_and_several_runs_are_drawn(tmp_path: Path) -> None:
    first, second = (_written(tmp_path / name / "conflict.csv", 30) for name in ("om", "sum"))
    for runs in ({"": first}, {"om": first, "sum": second}):
        out = plot_conflict(runs, tmp_path / "new" / f"{len(runs)}.png", window=5)
        assert out.read_bytes().startswith(b"\x89PNG")
        assert out.stat().st_size > 20_000


def test_running_mean_leaves_out_missing_steps() -> None:
    """That of the experiments once stayed NaN for ever after one step without a value."""
    values = np.array([1.0, np.nan, 3.0, 5.0])
    np.testing.assert_allclose(running_mean(values, 2), [1.0, 1.0, 3.0, 4.0])
    np.testing.assert_allclose(running_mean(values, 10), [1.0, 1.0, 2.0, 3.0])


def test_an_empty_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.csv has none"):
        plot_conflict({"": tmp_path / "nothing.csv"}, tmp_path / "out.png")
    with pytest.raises(ValueError, match="window must be at least 1 step, but got 0"):
        plot_conflict({"": _written(tmp_path / "c.csv", 1)}, tmp_path / "out.png", window=0)
