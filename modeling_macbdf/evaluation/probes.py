"""The shortcut audit: what scores from things that are no forgery, beside what the model scores.

A probe that comes near the model says that the data give the answer away by other means, or that the model is hardly
better than that. Feature probes are fitted here, with people kept apart, and judged on clips that they did not see, so
their AUC needs no peek at its direction; masked probes are the model itself (`masked`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from . import bootstrap, metrics
from .clusters import clusters
from .masked import MODEL_PROBES
from .score import Row

# AUC: warned of are probes less than NEAR below the model, or above it, which are better than CHANCE themselves: every
# probe is near a model that tells nothing.
NEAR, CHANCE = 0.1, 0.55
_FOLDS = 5
FEATURE_PROBES = {
    "metadata": "what the container declares: codec, size, rates, duration",
    "silence": "silence before, after and within the sound, and its level",
    "mean_colour": "mean colour of the frames and of the face crops",
    "brightness": "mean brightness and contrast of the frames and of the face crops",
    "background": "colour, contrast, sharpness and motion around the face",
}


def audit(
    rows: Sequence[Row], groups: Sequence[int], *, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Every probe of rows with "features" and "masked".

    Args:
        rows: of `score.witnessed_row`.
        groups: who belongs together (N,): people and footage shared directly or through others.
        resamples, seed: of the bootstrap over identities.

    Returns:
        By probe: "auc" with its "interval", "macro_auc_balanced", "model_auc" on the same "clips", "near" (whether to
        be warned of), "what" it sees; "auc" None and the "reason" where it cannot be had.
    """
    found = {}
    for name, what in FEATURE_PROBES.items():
        found[name] = {"what": f"extra trees on {what}"} | _feature_probe(rows, groups, name, resamples, seed)
    for name, what in MODEL_PROBES.items():
        # The sound alone is no probe where it is all that the model has, too: the two answers are the same.
        asked = [name != "audio_only" or row["status"] == "scored" for row in rows]
        scores = np.array([row.get("masked", {}).get(name, np.nan) for row in rows], float)
        scores[~np.array(asked, bool)] = np.nan
        found[name] = {"what": what} | _judged(rows, scores, resamples, seed)
    return found


def _feature_probe(rows: Sequence[Row], groups: Sequence[int], name: str, resamples: int, seed: int) -> dict[str, Any]:
    """Out-of-fold answers of a classifier on one group of features."""
    usable = [i for i, row in enumerate(rows) if row["label"] is not None and row.get("features", {}).get(name)]
    labels, parts = np.array([rows[i]["label"] for i in usable], int), np.array([groups[i] for i in usable], int)
    folds = min([_FOLDS, *(len(set(parts[labels == label].tolist())) for label in (0, 1))])
    if folds < 2:
        return _nothing(len(usable), "it takes real and fake clips of at least two groups of people each")
    model = make_pipeline(
        DictVectorizer(sparse=False),
        ExtraTreesClassifier(100, min_samples_leaf=3, class_weight="balanced", random_state=seed),
    )
    answers = cross_val_predict(
        model,
        [rows[i]["features"][name] for i in usable],
        labels,
        groups=parts,
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=seed),
        method="predict_proba",
    )
    scores = np.full(len(rows), np.nan)
    scores[usable] = answers[:, 1]
    return _judged(rows, scores, resamples, seed)


def _judged(rows: Sequence[Row], scores: np.ndarray, resamples: int, seed: int) -> dict[str, Any]:
    """A probe's AUC beside the model's, on the clips that both score."""
    both = [i for i, row in enumerate(rows) if np.isfinite(scores[i]) and None not in (row["label"], row["p_fake"])]
    labels = np.array([rows[i]["label"] for i in both], int)
    if len(set(labels.tolist())) < 2:
        return _nothing(len(both), "it takes clips of both classes that it and the model score")
    chosen, own = [rows[i] for i in both], scores[both]
    names = {column: [row[column] for row in chosen] for column in ("generator", "source")}
    ranking = bootstrap.Ranking(labels, own)
    limits = bootstrap.intervals({"auc": ranking.auc}, clusters(chosen)[0], resamples=resamples, seed=seed)
    auc, model_auc = metrics.auc(labels, own), metrics.auc(labels, np.array([row["p_fake"] for row in chosen]))
    return {
        "auc": auc,
        "interval": limits.get("auc"),
        "macro_auc_balanced": metrics.macro_auc(labels, own, names["generator"], names["source"]),
        "model_auc": model_auc,
        "clips": len(both),
        "near": bool(auc > model_auc - NEAR and auc > CHANCE),
    }


def _nothing(clips: int, reason: str) -> dict[str, Any]:
    return {"auc": None, "interval": None, "model_auc": None, "clips": clips, "near": False, "reason": reason}


def warnings(probes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One plain sentence for each probe that comes near the model's score, and for shared people."""
    sentences = []
    for name, probe in probes.items():
        if probe.get("near"):
            relation = "above" if probe["auc"] > probe["model_auc"] else "near"
            own, models = f"{probe['auc']:.3f}", f"{probe['model_auc']:.3f}"
            sentences.append(
                f"{name}: {probe['what']} reaches AUC {own}, {relation} the model's {models} on the same "
                f"{probe['clips']} clips: the score may come from this, or from chance"
            )
    overlap = probes.get("identity_overlap", {})
    if overlap.get("shared_people"):
        sentences.append(
            f"identity_overlap: {overlap['shared_people']} of {overlap['people']} people were in the training data "
            f"({overlap['shared_clips']} clips): the score on them is not that on strangers"
        )
    return sentences
