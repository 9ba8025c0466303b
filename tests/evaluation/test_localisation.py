"""Forged segments: hand-made cases, an independent reading of ActivityNet's AP, and proposals from a curve."""

import numpy as np
import pytest

from modeling_macbdf.evaluation import localisation
from modeling_macbdf.evaluation.localisation import average_precision, average_recall, iou, merge, propose


def test_overlap_of_intervals():
    assert iou((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert iou((0, 1), (1, 2)) == 0.0


def test_streams_are_joined():
    assert merge([(3.0, 4.0), (0.0, 1.0)], [(0.5, 2.0)]) == [(0.0, 2.0), (3.0, 4.0)]


def test_a_segment_is_found_once_and_a_false_one_before_it_costs_precision():
    proposals = [[(0.0, 1.0, 0.8), (0.0, 1.1, 0.7), (5.0, 6.0, 0.9)], [(2.0, 3.0, 0.6)]]
    segments = [[(0.0, 1.0)], [(2.0, 3.0)]]
    # Ranked: false .9, hit .8, second hit of the same .7 (false), hit .6: precision at the hits is 1/2 and 2/4.
    assert average_precision(proposals, segments, 0.5) == pytest.approx(0.5)
    assert average_recall(proposals, segments, 1) == pytest.approx(0.5)
    assert average_recall(proposals, segments, 2) == 1.0


def test_real_clips_only_add_false_proposals():
    hit, segments = [[(0.0, 1.0, 0.5)]], [[(0.0, 1.0)]]
    assert average_precision(hit, segments, 0.95) == 1.0
    assert average_precision([*hit, [(0.0, 1.0, 0.9)]], [*segments, []], 0.95) == 0.5
    assert np.isnan(average_precision([[]], [[]], 0.5))


def reference(proposals, segments, threshold):
    """AP as ActivityNet's evaluation walks through it: all predictions by score, a lock per ground truth."""
    ranked = sorted(((p[2], clip, p) for clip, own in enumerate(proposals) for p in own), key=lambda x: -x[0])
    locked, hits = set(), []
    for _, clip, proposal in ranked:
        overlaps = sorted(((iou(s, proposal), s) for s in segments[clip]), reverse=True)
        match = next((s for o, s in overlaps if o >= threshold and (clip, s) not in locked), None)
        locked |= {(clip, match)} if match else set()
        hits.append(match is not None)
    total, points, found = sum(map(len, segments)), [], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        points.append((found / total, found / rank))
    area, before = 0.0, 0.0
    for recall, _ in points:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


def test_agrees_with_the_reference_on_random_clips():
    random = np.random.default_rng(0)

    def draw(count):
        starts = random.uniform(0, 8, count)
        return [(float(s), float(s + length)) for s, length in zip(starts, random.uniform(0.5, 2, count), strict=True)]

    segments = [draw(random.integers(0, 3)) for _ in range(30)]
    proposals = [[(*s, float(random.random())) for s in draw(4)] for _ in range(30)]
    for own, known in zip(proposals, segments, strict=True):
        own += [(s + 0.1, e + 0.05, float(random.random())) for s, e in known]
    for threshold in (0.3, 0.5, 0.75, 0.95):
        assert average_precision(proposals, segments, threshold) == pytest.approx(
            reference(proposals, segments, threshold)
        )


def test_what_stands_out_of_the_clip_is_the_best_proposal():
    scores = np.full(25, 0.2)
    scores[10:15] = [0.7, 0.9, 0.95, 0.9, 0.8]
    start, end, confidence = propose(scores, first_step=5, rate_hz=5.0)[0]
    assert (start, end) == (3.0, 4.0)
    assert confidence == pytest.approx(0.85 - 0.2)


def test_a_wholly_suspicious_clip_gives_the_whole_clip():
    assert propose(np.full(10, 0.9), 0, 5.0) == [(0.0, 2.0, pytest.approx(0.9))]


def test_all_metrics_have_their_names():
    values = localisation.localisation_metrics([[(0.0, 1.0, 0.5)]], [[(0.0, 1.0)]])
    assert set(values) == {
        "ap_at_iou_0.5",
        "ap_at_iou_0.75",
        "ap_at_iou_0.95",
        "ar_at_5",
        "ar_at_10",
        "ar_at_20",
        "ar_at_50",
    }
    assert set(values.values()) == {1.0}
