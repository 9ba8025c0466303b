"""One file after the other, each result with the file's content credentials."""

import os
from dataclasses import replace
from typing import Any

from .inference import Detector
from .provenance import read_provenance
from .report import run_facts
from .sources import FileSource, Watcher
from .verdicts import FileResult


class Judge:
    """A detector in this process; `isolation.IsolatedJudge` is the same in a child.

    Args:
        model, options: as in `Detector.from_pretrained`.

    Raises:
        OSError, ValueError: as `Detector.from_pretrained`.
    """

    def __init__(self, model: str | None = None, **options: Any) -> None:
        self.detector = Detector.from_pretrained(model, **options)
        self.model_info: dict[str, Any] = self.detector.model_info
        self.run_facts = run_facts(self.detector)

    def detect(self, path: str | os.PathLike[str], watcher: Watcher | None = None) -> FileResult:
        """Judges one file as `Detector.judge` does."""
        on_read = None if watcher is None else watcher.on_read
        source = FileSource(os.fspath(path), self.detector.limits, on_read=on_read)
        result = self.detector.judge(source, watcher)
        return replace(result, provenance=read_provenance(path))

    def close(self) -> None:
        """There is nothing to end."""
