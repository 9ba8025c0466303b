"""Where in a clip: forged stretches proposed from the model's step scores, and how well they meet the known ones.

AP@IoU is ActivityNet's (interpolated precision, each forged segment found once) and AR@N the mean recall over IoU
0.5, 0.55, ..., 0.95 of the N best proposals a clip, as LAV-DF and AV-Deepfake1M report them. Segments are half-open
intervals in seconds; real clips count with no segment, so that every proposal in them is a false one.
"""

from collections.abc import Sequence

import numpy as np

Segment = tuple[float, float]
Proposal = tuple[float, float, float]  # start_s, end_s, confidence

AP_IOUS = (0.5, 0.75, 0.95)
AR_COUNTS = (5, 10, 20, 50)
AR_IOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
_SAME = 0.7  # IoU above which the weaker of two proposals is dropped
_RING = 0.25  # of a proposal's length, on each side: what lies around it


def merge(*streams: Sequence[Segment]) -> list[Segment]:
    """The union of the streams' forged segments, in order."""
    merged: list[Segment] = []
    for start, end in sorted(segment for stream in streams for segment in stream):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def propose(scores: np.ndarray, first_step: int, rate_hz: float, limit: int = 50) -> list[Proposal]:
    """Forged stretches: runs of steps above each level that occurs, without near-duplicates, the best first.

    The confidence is the mean inside minus the mean of the ring around it (outer-inner contrast), so that the stretch
    that stands out wins over the whole clip and over its own tip; a stretch that fills the clip keeps its mean.

    Args:
        scores: (T,) probability of "forged" of each step.
        first_step: the step at which they begin.
        rate_hz: steps a second.
        limit: most proposals.
    """
    runs = {run for level in np.unique(scores) for run in _runs(scores >= level)}
    ranked = sorted(((_contrast(scores, *run), run) for run in runs), key=lambda item: (-item[0], item[1]))
    kept: list[Proposal] = []
    for confidence, (start, end) in ranked:
        segment = ((first_step + start) / rate_hz, (first_step + end) / rate_hz)
        if len(kept) < limit and all(iou(segment, other[:2]) <= _SAME for other in kept):
            kept.append((*segment, confidence))
    return kept


def _runs(above: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.r_[0, above.astype(np.int8), 0]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _contrast(scores: np.ndarray, start: int, end: int) -> float:
    ring = max(1, round(_RING * (end - start)))
    around = np.r_[scores[max(0, start - ring) : start], scores[end : end + ring]]
    return float(scores[start:end].mean() - (around.mean() if len(around) else 0.0))


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two intervals."""
    common = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    union = first[1] - first[0] + second[1] - second[0] - common
    return common / union if union > 0 else 0.0


def _matches(proposals: Sequence[Proposal], segments: Sequence[Segment], threshold: float) -> list[bool]:
    """Whether each proposal, best first, finds a segment that no better one has found."""
    free = list(segments)
    found = []
    for proposal in sorted(proposals, key=lambda p: -p[2]):
        best = max(free, key=lambda segment: iou(segment, proposal), default=None)
        hit = best is not None and iou(best, proposal) >= threshold
        if hit and best is not None:
            free.remove(best)
        found.append(hit)
    return found


def average_precision(
    proposals: Sequence[Sequence[Proposal]], segments: Sequence[Sequence[Segment]], threshold: float
) -> float:
    """AP at one IoU over all clips; NaN without a forged segment.

    Args:
        proposals: of each clip.
        segments: the forged ones of each clip; () for a real clip.
        threshold: lowest IoU of a hit.
    """
    total = sum(len(known) for known in segments)
    if not total:
        return float("nan")
    confidence = [p[2] for own in proposals for p in sorted(own, key=lambda p: -p[2])]
    hits = [hit for own, known in zip(proposals, segments, strict=True) for hit in _matches(own, known, threshold)]
    order = np.argsort(-np.asarray(confidence), kind="stable") if confidence else np.zeros(0, int)
    found = np.cumsum(np.asarray(hits, float)[order])
    precision = np.r_[found / np.arange(1, len(found) + 1), 0.0]
    recall = np.r_[0.0, found / total]
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1][:-1]
    return float((np.diff(recall) * best_from_here).sum())


def average_recall(
    proposals: Sequence[Sequence[Proposal]], segments: Sequence[Sequence[Segment]], count: int
) -> float:
    """Mean over `AR_IOUS` of the share of forged segments that the best `count` proposals of their clips find."""
    total = sum(len(known) for known in segments)
    if not total:
        return float("nan")
    best = [sorted(own, key=lambda p: -p[2])[:count] for own in proposals]
    recalls = [
        sum(sum(_matches(own, known, threshold)) for own, known in zip(best, segments, strict=True)) / total
        for threshold in AR_IOUS
    ]
    return float(np.mean(recalls))


def localisation_metrics(
    proposals: Sequence[Sequence[Proposal]], segments: Sequence[Sequence[Segment]]
) -> dict[str, float]:
    """AP at each of `AP_IOUS` and AR at each of `AR_COUNTS`."""
    values = {f"ap_at_iou_{t:g}": average_precision(proposals, segments, t) for t in AP_IOUS}
    return values | {f"ar_at_{n}": average_recall(proposals, segments, n) for n in AR_COUNTS}
