"""The readers by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .av_deepfake1m import read_av_deepfake1m
from .deepfaketimit import read_deepfaketimit
from .dfdc import read_dfdc
from .fakeavceleb import read_fakeavceleb
from .kodf import read_kodf
from .lavdf import read_lavdf
from .manifest import read_manifest
from .mavosdd import read_mavosdd
from .records import ClipRecord, Problem

READERS: dict[str, Callable[..., tuple[list[ClipRecord], list[Problem]]]] = {
    "fakeavceleb": read_fakeavceleb,
    "dfdc": read_dfdc,
    "lavdf": read_lavdf,
    "av_deepfake1m": read_av_deepfake1m,
    "kodf": read_kodf,
    "deepfaketimit": read_deepfaketimit,
    "mavosdd": read_mavosdd,
    "manifest": read_manifest,
}


def read_dataset(name: str, root: str | Path, **options: Any) -> tuple[list[ClipRecord], list[Problem]]:
    """Records of a dataset, and every row or file that gave none.

    Args:
        name: one of `READERS`.
        root: its folder; for "manifest" the list itself.
        options: of the reader, such as `columns` of "manifest" or `real_root` of "deepfaketimit".

    Raises:
        ValueError: there is no such reader, or `root` does not hold such a dataset.
    """
    if name not in READERS:
        raise ValueError(f"name must be one of {tuple(READERS)}, but got {name!r}")
    if not Path(root).exists():
        raise ValueError(f"root must exist, but there is no {root}")
    return READERS[name](root, **options)
