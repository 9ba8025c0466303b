"""Metrics for the `evaluate` library that it does not have: `evaluate.load(str(metric_folder("eer")))`, offline."""

from pathlib import Path


def metric_folder(name: str) -> Path:
    """The folder of a metric, for `evaluate.load`.

    Raises:
        ValueError: there is no such metric.
    """
    here = Path(__file__).resolve().parent
    known = sorted(path.parent.name for path in here.glob("*/__init__.py"))
    if name not in known:
        raise ValueError(f"name must be one of {known}, but got {name!r}")
    return here / name
