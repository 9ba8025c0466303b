"""The report as one HTML file: no script, nothing fetched, readable in ten years and in print."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from PIL import Image

from ..inference import Detector
from ..media.outcomes import MediaError
from ..provenance import read_provenance
from ..report import run_facts, summary_text
from ..verdicts import FileResult
from . import card_facts, fragments
from .collect import Evidence, judge_with_evidence
from .pictures import PREVIEW_SIDE, Framer, data_uri, still
from .style import PAGE, PARTS, VARIABLES

METHOD = (
    "The face crops (5 a second, one steady track per face) and the spectrum of the voice are judged in "
    "overlapping windows by one network (method of arXiv 2505.12966, independent implementation). A file takes "
    "the mean of the most suspicious quarter of windows of its most suspicious face. Picture and voice have answers "
    "of their own."
)
LIMITS = (
    "Forgeries of kinds that the model never met may get any score. Heavy recompression, small or turned faces and "
    "strong blur take away what it looks at. Being out of sync is not being forged. A person has "
    "to look at what it flags."
)


class HtmlReport:
    """A report that grows file by file and keeps only text.

    Args:
        detector: what judges the files: its model, its settings.
        card: Markdown of the model's card.
    """

    def __init__(self, detector: Detector, card: str = "") -> None:
        self.detector, self.card = detector, card
        self._results: list[FileResult] = []
        self._articles: list[str] = []

    def judge(self, path: str | os.PathLike[str]) -> FileResult:
        """Judges a file as `Detector.detect` does, and adds it with its evidence."""
        result, evidence = judge_with_evidence(self.detector, path)
        self.add(path, replace(result, provenance=read_provenance(path)), evidence)
        return self._results[-1]

    def add(self, path: str | os.PathLike[str], result: FileResult, evidence: Evidence) -> None:
        """Adds a judged file, which must still be there for its picture."""
        self._results.append(result)
        picture = framed_still(self.detector, path, result, evidence)
        self._articles.append(_article(result, evidence, picture, self.detector.calibration))

    def render(self) -> str:
        """The whole page."""
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><title>MACB-DF report</title>'
            f"<style>{VARIABLES}{PARTS}{PAGE}</style></head><body><h1>MACB-DF report</h1>"
            f"<p>{escape(summary_text(self._results))}</p>{''.join(self._articles)}<article>"
            f"{about(self.detector, self.card)}<h3>How this report was made</h3>{_run(self.detector)}"
            "</article></body></html>\n"
        )


def framed_still(
    detector: Detector, path: str | os.PathLike[str], result: FileResult, evidence: Evidence
) -> Image.Image | None:
    """The picture of a clip where it was most suspicious, its faces framed; None for a file without one."""
    if not evidence.boxes or not result.faces:
        return None
    face = result.faces[0]
    worst = max(result.timeline, key=lambda segment: segment.p_fake)
    at_s = min(max((worst.start_s + worst.end_s) / 2, face.start_s), face.end_s - 0.1)
    framer = Framer(evidence.boxes, result.faces, detector.config.frame_rate_hz, PREVIEW_SIDE)
    try:
        return still(path, framer, at_s, detector.limits)
    except MediaError:  # a file that went away, or changed, since it was judged
        return None


def _article(
    result: FileResult, evidence: Evidence, picture: Image.Image | None, calibration: Mapping[str, Any]
) -> str:
    framed = "" if picture is None else f'<img class="m-picture" src="{data_uri(picture)}" alt="framed faces">'
    parts = [
        f"<article><h2>{escape(os.path.basename(result.path))}</h2>",
        fragments.verdict_card(result, calibration),
        _facts(result),
        f"<p>{fragments.provenance(result)}</p>",
    ]
    if result.scored:
        parts += [
            "<h3>Each stream by itself</h3>" + fragments.streams(result),
            "<h3>Over time</h3>" + fragments.timeline(result, evidence, calibration),
            "<h3>Faces</h3>" + framed + fragments.faces(result, evidence),
            "<h3>Sound</h3>" + fragments.sound(evidence),
            "<h3>Not judged</h3>" + fragments.left_out(evidence),
        ]
    return "".join([*parts, "</article>"])


def _facts(result: FileResult) -> str:
    length = "unknown" if result.duration_s is None else f"{result.duration_s:.2f} s"
    rows = [("Path as given", result.path), ("SHA-256", result.sha256 or "none"), ("Declared length", length)]
    return _table(rows)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="m-table">{cells}</table>'


def about(detector: Detector, card: str) -> str:
    """Method, limits, error rates and the card of the model."""
    rates = card_facts.error_rates(card) or ["The model's card tells no error rates."]
    source = detector.calibration.get("source", "data that the model does not name")
    shown = f"<details><summary>The model's card</summary>{card_facts.as_html(card)}</details>" if card else ""
    return (
        f"<h3>Method</h3><p>{METHOD}</p><h3>Limits</h3><p>{LIMITS}</p>"
        f"<h3>Error rates</h3><ul>{''.join(f'<li>{escape(rate)}</li>' for rate in rates)}</ul>"
        f"<p>[95 % intervals]. Probabilities and thresholds were fitted on: {escape(str(source))}. Rates on the very "
        "clips of a fit are better than those that other clips will have.</p>"
        f"{shown}"
    )


def _run(detector: Detector) -> str:
    facts = run_facts(detector)
    rows = [
        ("Model", str(detector.model_info["id"])),
        ("Revision", str(detector.model_info["revision"] or "none: a model in memory")),
    ]
    rows += [
        ("Time", facts["created"]),
        ("Versions", _pairs(facts["versions"])),
        ("Settings", _pairs(facts["settings"])),
    ]
    return _table(rows)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
