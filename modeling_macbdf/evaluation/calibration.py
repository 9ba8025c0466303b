"""Fits the calibration that a saved model carries: Platt scaling for each answer, and the two verdict thresholds."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from ..verdicts import Verdict
from . import metrics

logger = logging.getLogger(__name__)

# Answer of the detector -> the field of a scored row, and the label that it is compared with.
ANSWERS = {
    "joint": ("p_fake", "label"),
    "video": ("p_fake_video", "video_label"),
    "audio": ("p_fake_audio", "audio_label"),
}
# Parts of a calibration that can be set by themselves. Picture and joint answer share one scale: neither is alone.
THRESHOLDS, VOICE = "thresholds", "audio"

IDENTITY: dict[str, Any] = {
    "joint": [1.0, 0.0],
    "video": [1.0, 0.0],
    "audio": [1.0, 0.0],
    "real_below": 0.5,
    "fake_above": 0.5,
    "source": "none: raw log-odds",
}
FEW = 20  # of fewer clips a share of 5 % is none
UNFAMILIAR_SHARE = 0.025  # of the calibration's clips that are too far from the prototypes to be called real or fake
FEWEST_DISTANCES = 40  # below, the quantile is no more than the largest one
MIN_SCALE = 1e-2  # the scale stays positive: calibration may flatten a score, never turn its order round


def fit_platt(labels: np.ndarray, log_odds: np.ndarray, weights: np.ndarray | None = None) -> list[float]:
    """[scale, bias] of Platt scaling, weakly regularised so that separable clips do not give infinite confidence.

    Args:
        labels: (N,) 1 = fake.
        log_odds: (N,) raw clip scores.
        weights: (N,) or None; the two classes are balanced either way: p = 0.5 means even odds at equal priors.
    """
    weights = np.ones(len(labels)) if weights is None else weights.astype(float).copy()
    for label in (0, 1):
        weights[labels == label] *= 0.5 * len(labels) / weights[labels == label].sum()
    spread = float(log_odds.std()) or 1.0
    fitted = LogisticRegression(C=1.0).fit(log_odds[:, None] / spread, labels, sample_weight=weights)
    scale = float(fitted.coef_[0, 0]) / spread
    if scale < MIN_SCALE:
        logger.warning(
            "The scores of these %d clips do not rise with the label: every file will get about the same probability.",
            len(labels),
        )
    return [max(scale, MIN_SCALE), float(fitted.intercept_[0])]


def false_alarm_threshold(probabilities_of_reals: np.ndarray, max_false_alarms: float = 0.05) -> float:
    """The smallest threshold at or above which at most `max_false_alarms` of the real clips lie.

    It stands half-way between two different scores of real clips, so that it does not depend on the last digit of one;
    clips of equal score stay on one side of it.

    Args:
        probabilities_of_reals: (N,) in [0, 1), at least one.
        max_false_alarms: a share.
    """
    ranked = np.sort(probabilities_of_reals)[::-1]
    allowed = int(np.floor(max_false_alarms * len(ranked)))
    highest_accepted = ranked[allowed] if allowed < len(ranked) else 0.0
    above = ranked[ranked > highest_accepted]
    return float((highest_accepted + (above[-1] if len(above) else 1.0)) / 2)


def miss_threshold(probabilities_of_fakes: np.ndarray, max_misses: float = 0.05) -> float:
    """The largest threshold at or below which at most `max_misses` of the forged clips lie."""
    return 1.0 - false_alarm_threshold(1.0 - probabilities_of_fakes, max_misses)


def verdict_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> Mapping[str, float]:
    """`fake_above` (at most 5 % of reals at or above it) and `real_below` (at most 5 % of fakes at or below it).

    Each stays on its own side of even odds, so that no file is called fake at p < 0.5 or real at p > 0.5.

    Raises:
        ValueError: there is no real or no forged clip.
    """
    reals, fakes = (int((labels == label).sum()) for label in (0, 1))
    if not (reals and fakes):
        raise ValueError(
            f"verdict thresholds need clips of both classes that are not inconclusive for another reason than their "
            f"score, but there are {reals} real and {fakes} fake ones"
        )
    if min(reals, fakes) < FEW:
        logger.warning(
            "Thresholds from %d real and %d fake clips: at most 5 %% of fewer than %d is none.", reals, fakes, FEW
        )
    return {
        "real_below": min(miss_threshold(probabilities[labels == 1]), 0.5),
        "fake_above": max(false_alarm_threshold(probabilities[labels == 0]), 0.5),
    }


def calibrate(rows: Sequence[Mapping[str, Any]], source: str) -> dict[str, Any]:
    """The calibration for a model's config, from clips scored with `IDENTITY`.

    Args:
        rows: of `evaluation.score.row_of`.
        source: which data and which split, in words; stored beside the numbers.

    Raises:
        ValueError: no clips of both classes are left that have a score and may set a threshold.
    """
    rows = _labelled(rows)
    maps = _maps(rows)
    return {**maps, **_limits(rows, maps), "source": source}


def with_thresholds(
    calibration: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]], source: str
) -> dict[str, Any]:
    """The calibration with verdict thresholds and distance limits from other clips; what a probability means stays.

    For clips that a verdict must hold for, but that should not say what is likely: forgeries made for the purpose.
    What these clips do not set, such as the thresholds of a voice alone, stays too.

    Args:
        calibration: of `calibrate`.
        rows, source: as for `calibrate`.

    Raises:
        ValueError: nothing to add to, or clips of one class only.
    """
    old = _whole(calibration, THRESHOLDS)
    new = _limits(_labelled(rows), old)
    kept = {part: old.get(part, {}) | new[part] for part in ("alone", "distance_limit")}
    return {**old, **new, **kept, "source": _with_source(old, THRESHOLDS, source)}


def _limits(rows: Sequence[Mapping[str, Any]], maps: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict thresholds, the distance limits, and how many clips the thresholds come from.

    Files with one stream have thresholds of their own ("alone"), further out where they must be: what is seldom wrong
    over all files may often be wrong over those.
    """
    # Every clip by the answer that a user would be given: sound and picture together, or the only stream that it has.
    given = {kind: [row for row in _spoken(rows) if _kind(row) == kind] for kind in ANSWERS if kind in maps}
    apart = {kind: own for kind, own in given.items() if _both_classes(own)}
    if "joint" not in apart:
        apart = {"joint": [row for own in given.values() for row in own]}
    clips = sum(len(own) for own in apart.values())
    whole = _thresholds(apart.pop("joint"), maps)
    return {
        **whole,
        "alone": {kind: _further_out(_thresholds(own, maps), whole) for kind, own in apart.items()},
        "distance_limit": distance_limits(rows),
        "clips": clips,
    }


def _further_out(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Thresholds under which a verdict must pass both."""
    return {name: choose(one[name], other[name]) for name, choose in (("real_below", min), ("fake_above", max))}


def _maps(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Platt scaling of each answer that has clips of both classes.

    Files with and without sound share one scaling where both can be fitted: two of them would rank a list of files by
    whether they have sound. The model's log-odds of a picture are on the scale of its joint ones, so that a file
    without sound can be judged where no clip tells which stream is forged.
    """
    chosen = {answer: [row for row in rows if _has(row, answer)] for answer in ANSWERS}
    maps = {answer: _fit(chosen[answer], answer) for answer in ANSWERS if _both_classes(chosen[answer], answer)}
    if "joint" in maps:
        pictures = [row for row in rows if row["p_fake"] is not None and _kind(row) in ("joint", "video")]
        maps["joint"] = maps["video"] = _fit(pictures)
    return maps


def _fit(rows: Sequence[Mapping[str, Any]], answer: str | None = None) -> list[float]:
    """Platt scaling of one answer, or of the one that each file is given."""
    labels = np.array([_label(row) if answer is None else row[ANSWERS[answer][1]] for row in rows], int)
    log_odds = _log_odds(rows, "p_fake" if answer is None else ANSWERS[answer][0])
    return fit_platt(labels, log_odds, metrics.source_weights(labels, [row["source"] for row in rows]))


def _both_classes(rows: Sequence[Mapping[str, Any]], answer: str | None = None) -> bool:
    """Of one answer's labels, or of those of the answers that the files are given."""
    return len({_label(row) if answer is None else row[ANSWERS[answer][1]] for row in rows}) == 2


def with_voice(
    calibration: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]], source: str
) -> dict[str, Any]:
    """The calibration with the voice's answer fitted on other clips; the rest stays, and so do the verdict thresholds.

    Files that are judged on the voice alone get thresholds of their own, where both classes of them are here.

    Args:
        calibration: of `calibrate`.
        rows: as for `calibrate`, with labels of the voice.
        source: as for `calibrate`.

    Raises:
        ValueError: nothing to add to, or clips of one class only.
    """
    old = _whole(calibration, VOICE)
    chosen = [row for row in rows if _has(row, VOICE)]
    if not _both_classes(chosen, VOICE):
        held = sorted({row["audio_label"] for row in chosen})
        raise ValueError(f"rows must hold clips of both classes for {VOICE!r}, but hold {held}")
    fitted = _fit(chosen, VOICE)
    voices = [row for row in _spoken(chosen) if _kind(row) == VOICE]
    own = {VOICE: _thresholds(voices, {VOICE: fitted})} if _both_classes(voices) else {}
    limits = {stream: value for stream, value in distance_limits(chosen).items() if stream == VOICE}
    return {
        **old,
        VOICE: fitted,
        "alone": old.get("alone", {}) | own,
        "distance_limit": old.get("distance_limit", {}) | limits,
        "source": _with_source(old, VOICE, source),
    }


def _whole(calibration: Mapping[str, Any] | None, part: str) -> Mapping[str, Any]:
    if not calibration:
        raise ValueError(f"{part} must be added to a whole calibration, but the model has none")
    return calibration


def _with_source(calibration: Mapping[str, Any], part: str, source: str) -> str:
    """The words on a calibration's source with those on one part, in place of what was said of it before."""
    parts = "|".join((THRESHOLDS, *ANSWERS))
    rest = re.sub(rf"; {part}: .*?(?=; (?:{parts}): |$)", "", calibration["source"])
    return f"{rest}; {part}: {source}"


def _spoken(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The clips that may set a threshold.

    Raw log-odds are inconclusive only where something other than the score speaks against a verdict, as noise does;
    such a clip is called neither real nor fake at any threshold.
    """
    return [row for row in rows if row.get("verdict") != Verdict.INCONCLUSIVE]


def _thresholds(rows: Sequence[Mapping[str, Any]], maps: Mapping[str, Any]) -> dict[str, float]:
    """The verdict thresholds over the answers that the files are given."""
    labels = np.array([_label(row) for row in rows], int)
    scale, bias = np.array([maps[str(_kind(row))] for row in rows], float).reshape(-1, 2).T
    return dict(verdict_thresholds(labels, 1 / (1 + np.exp(-(scale * _log_odds(rows, "p_fake") + bias)))))


def distance_limits(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """For each stream the feature distance that 2.5 % of the clips lie beyond, where enough clips have one."""
    limits = {}
    for stream in ("video", "audio"):
        values = [row["distances"][stream] for row in rows if stream in row.get("distances", {})]
        if len(values) >= FEWEST_DISTANCES:
            limits[stream] = float(np.quantile(values, 1 - UNFAMILIAR_SHARE))
    return limits


def _has(row: Mapping[str, Any], answer: str) -> bool:
    score, label = ANSWERS[answer]
    return row[score] is not None and row[label] is not None and (answer != "joint" or _kind(row) == "joint")


def _kind(row: Mapping[str, Any]) -> str | None:
    """Which answer a clip's `p_fake` is."""
    return {"scored": "joint", "no_audio": "video", "no_video": "audio"}.get(row["status"])


def _label(row: Mapping[str, Any]) -> int:
    """Whether what the file's answer speaks of is forged: of one stream alone, that stream."""
    own = row[ANSWERS[_kind(row) or "joint"][1]]
    return int(row["label"] if own is None else own)


def _labelled(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the clips of which nothing is known."""
    return [row for row in rows if row["label"] is not None]


def _log_odds(rows: Sequence[Mapping[str, Any]], score: str) -> np.ndarray:
    p = np.clip(np.array([row[score] for row in rows], float), 1e-15, 1 - 1e-15)
    return np.log(p / (1 - p))
