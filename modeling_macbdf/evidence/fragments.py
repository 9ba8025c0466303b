"""The parts of a report as HTML, for the report file and for the demo alike. Colours come from CSS variables."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..provenance import in_words
from ..verdicts import ALONE, FileResult, Segment, Verdict, in_force
from .collect import Evidence
from .pictures import data_uri, face_strip, spectrogram

HEADLINES = {
    Verdict.REAL: "More likely real",
    Verdict.FAKE: "Likely forged",
    Verdict.INCONCLUSIVE: "Cannot tell",
}
_LANES = (("p_fake", "together"), ("p_fake_video", "picture"), ("p_fake_audio", "voice"))
NOT_PROOF = "Calibrated for even odds, as if one of two files were forged. It is evidence of one kind, no proof."


def verdict_card(result: FileResult, calibration: Mapping[str, Any]) -> str:
    """The answer in words, its probability on a scale with both thresholds, and the reason of a status."""
    if result.verdict is None or result.p_fake is None:
        return (
            '<section class="m-card m-none" role="status"><h2>Not judged</h2>'
            f"<p><b>{escape(result.status)}</b>: {escape(result.reason)}</p>"
            "<p>There is no probability, because nothing was judged.</p></section>"
        )
    thresholds = in_force(calibration, ALONE.get(result.status))
    low, high = thresholds["real_below"], thresholds["fake_above"]
    reason = f"<p><b>{escape(result.status)}</b>: {escape(result.reason)}</p>" if result.reason else ""
    return (
        f'<section class="m-card m-{result.verdict}" role="status"><h2>{HEADLINES[result.verdict]}</h2>'
        f"<p>Probability of forgery: <b>{result.p_fake:.0%}</b></p>{_scale(result.p_fake, low, high)}"
        f"{reason}<p class='m-small'>{NOT_PROOF}</p></section>"
    )


def _scale(p: float, low: float, high: float) -> str:
    words = f"{p:.0%}; up to {low:.0%} is called real, from {high:.0%} on fake, between them inconclusive"
    return (
        f'<div class="m-scale" role="img" aria-label="{words}">'
        f'<i class="m-zone m-real" style="width:{low:.1%}"></i>'
        f'<i class="m-zone m-inconclusive" style="width:{high - low:.1%}"></i>'
        f'<i class="m-zone m-fake" style="width:{1 - high:.1%}"></i><b style="left:{p:.1%}"></b></div>'
        f'<p class="m-small">real up to {low:.0%} · inconclusive · fake from {high:.0%}</p>'
    )


def streams(result: FileResult) -> str:
    """Picture, voice and sync, each by itself."""
    sync = "not measured" if result.in_sync is None else f"{result.in_sync:.0%} of the steps in step"
    rows = [
        ("Picture", _percent(result.p_fake_video), "probability of forgery, from the picture alone"),
        ("Voice", _percent(result.p_fake_audio), "probability of forgery, from the voice alone"),
        ("Lips and voice", sync, "kept apart: dubbed or lagged video is real"),
    ]
    cells = "".join(
        f'<tr><th>{name}</th><td><b>{value}</b><br><span class="m-small">{note}</span></td></tr>'
        for name, value, note in rows
    )
    return f'<table class="m-table">{cells}</table>'


def _percent(p: float | None) -> str:
    return "not judged" if p is None else f"{p:.0%}"


def timeline(result: FileResult, evidence: Evidence, calibration: Mapping[str, Any]) -> str:
    """Suspicion over the clip, a lane each for the answer together, the picture and the voice.

    The outer element is a slider for the keyboard; `data-end` is the end of the timeline in seconds.
    """
    if not result.timeline:
        return '<p class="m-small">Nothing was judged, so there is no timeline.</p>'
    # Each lane by the thresholds of the answer that it shows.
    shown = {
        "p_fake": in_force(calibration, ALONE.get(result.status)),
        "p_fake_video": in_force(calibration, "video"),
        "p_fake_audio": in_force(calibration, "audio"),
    }
    end_s = result.timeline[-1].end_s
    lanes = "".join(_lane(result.timeline, name, words, end_s, shown[name]) for name, words in _LANES)
    worst = max(result.timeline, key=lambda segment: segment.p_fake)
    return (
        f'<div class="m-timeline" role="slider" tabindex="0" data-end="{end_s}" aria-valuemin="0" '
        f'aria-valuemax="{end_s:.1f}" aria-valuenow="0" aria-valuetext="0.0 s" '
        f'aria-label="Suspicion over the clip; arrow keys move the video">'
        f'{lanes}{_steps_lane(evidence, end_s)}<i class="m-playhead"></i></div>'
        f'<p class="m-small m-axis"><span>0 s</span><span>{end_s:.1f} s</span></p>'
        f'<p class="m-small">Most suspicious: {worst.start_s:.1f}-{worst.end_s:.1f} s. The '
        f"dashed lines are where fake begins ({shown['p_fake']['fake_above']:.0%} in the first lane). The lowest lane "
        "compares the moments "
        "of this clip with each other: the stronger, the more suspicious, whatever the verdict.</p>"
    )


def _lane(segments: Sequence[Segment], name: str, words: str, end_s: float, calibration: Mapping[str, Any]) -> str:
    bars = []
    for segment in segments:
        p = getattr(segment, name)
        if p is None:
            continue
        x, width = 100 * segment.start_s / end_s, 100 * (segment.end_s - segment.start_s) / end_s
        label = f"{segment.start_s:.1f}-{segment.end_s:.1f} s, {words}: {p:.0%}"
        bars.append(
            f'<rect class="{_zone(p, calibration)}" x="{x:.2f}" width="{max(width - 0.3, 0.2):.2f}" '
            f'y="{30 * (1 - p):.1f}" height="{30 * p:.1f}"><title>{label}</title></rect>'
        )
    y = 30 * (1 - calibration["fake_above"])
    drawing = f'<line x1="0" x2="100" y1="{y:.1f}" y2="{y:.1f}"/>{"".join(bars)}'
    inside = _svg(drawing) if bars else "<em>not judged</em>"
    return f'<div class="m-lane"><span>{words}</span><div class="m-track">{inside}</div></div>'


def _zone(p: float, calibration: Mapping[str, Any]) -> str:
    if p >= calibration["fake_above"]:
        return "m-fake"
    return "m-real" if p <= calibration["real_below"] else "m-inconclusive"


def _svg(drawing: str) -> str:
    return f'<svg viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">{drawing}</svg>'


def _steps_lane(evidence: Evidence, end_s: float) -> str:
    """Each step's share of the way from the clip's least to its most suspicious step."""
    if len(evidence.steps) < 2:
        return ""
    values = [value for _, value in evidence.steps]
    low, span = min(values), max(max(values) - min(values), 1e-9)
    width = 100 * (evidence.steps[1][0] - evidence.steps[0][0]) / end_s
    cells = "".join(
        f'<rect class="m-step" x="{100 * time_s / end_s - width / 2:.2f}" width="{width + 0.05:.2f}" y="0" '
        f'height="30" opacity="{(value - low) / span:.2f}"><title>{time_s:.1f} s</title></rect>'
        for time_s, value in evidence.steps
    )
    return f'<div class="m-lane m-thin"><span>moments</span><div class="m-track">{_svg(cells)}</div></div>'


def _company(result: FileResult) -> str:
    """What else a face's score rests on: a genuine face is suspicious where the voice over it is."""
    return "" if result.p_fake_audio is None else " together with the voice"


def faces(result: FileResult, evidence: Evidence) -> str:
    """One row a face: score, when it is seen, and where its most suspicious crops raised suspicion."""
    if not result.faces:
        return '<p class="m-small">No face was judged.</p>'
    strips = {face.face.track: face for face in evidence.faces}
    rows = []
    for face in result.faces:
        strip = strips.get(face.track)
        picture = "" if strip is None else _picture(data_uri(face_strip(strip)), f"heat map of face {face.track}")
        when = f"seen {face.start_s:.1f}-{face.end_s:.1f} s"
        score = f"{face.p_fake:.0%}{_company(result)}"
        rows.append(f'<div class="m-face"><p><b>Face {face.track}: {score}</b> · {when}</p>{picture}</div>')
    note = (
        "Upper row: crops from the face's most suspicious window. Lower row: yellow marks what raised the picture's "
        "own answer most (integrated gradients), compared within this window. It shows what the model went by, not "
        "whether it is right."
    )
    return "".join(rows) + f'<p class="m-small">{note}</p>'


def sound(evidence: Evidence) -> str:
    """Spectrogram of the most suspicious window."""
    heard = evidence.sound
    if heard is None:
        return '<p class="m-small">No sound was judged.</p>'
    answer = "the voice's own answer" if heard.answer == "audio" else "the answer of picture and voice together"
    marks = f"Yellow marks what raised {answer}." if heard.heat is not None else "This model's sound is not marked."
    where = f"{heard.start_s:.1f}-{heard.end_s:.1f} s"
    place = f"{where}, 0-{heard.top_hz / 1000:.0f} kHz, low tones at the bottom"
    return _picture(data_uri(spectrogram(heard)), "spectrogram") + f'<p class="m-small">{place}. {marks}</p>'


def _picture(uri: str, words: str) -> str:
    return f'<img class="m-picture" src="{uri}" alt="{escape(words)}">'


def left_out(evidence: Evidence) -> str:
    """What was not judged and why."""
    if not evidence.left_out:
        return '<p class="m-small">Everything in the file was judged.</p>'
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in evidence.left_out) + "</ul>"


def provenance(result: FileResult) -> str:
    """What the content credentials say, in one sentence."""
    return escape(in_words(result.provenance))
