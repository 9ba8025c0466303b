"""Our metrics as folders of the `evaluate` library: loaded offline, equal to references."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from modeling_macbdf.evaluation.hub_metrics import metric_folder

LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.4, 0.6, 0.5, 0.8, 0.9])
PAIR = {"predictions": SCORES, "references": LABELS}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    evaluate = pytest.importorskip("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        patch.setattr("socket.socket.connect", lambda *_: pytest.fail("a metric must load without a network"))
        yield lambda name: evaluate.load(str(metric_folder(name)), cache_dir=str(tmp_path_factory.mktemp("cache")))


def test_points_of_the_curve_and_calibration(load):
    assert load("eer").compute(**PAIR) == {"eer": pytest.approx(1 / 3)}
    assert load("tpr_at_fpr").compute(**PAIR, max_fpr=0.0) == {"tpr_at_fpr": pytest.approx(2 / 3)}
    even = {"predictions": np.full(100, 0.95), "references": np.arange(100) % 2}
    assert load("ece").compute(**even) == {"ece": pytest.approx(0.45)}
    with pytest.raises(ValueError, match="probabilities must be numbers"):
        load("ece").compute(predictions=[2.0], references=[1])
    reals = {"predictions": [0.1, 0.2], "references": [0, 0]}
    assert np.isnan(load("eer").compute(**reals)["eer"]) and np.isnan(
        load("tpr_at_fpr").compute(**reals)["tpr_at_fpr"]
    )


def test_macro_over_generators_and_pairs(load):
    generators, sources = ["", "", "", "x", "y", "y"], ["s", "s", "t", "", "", ""]
    found = load("macro_auc").compute(**PAIR, generators=generators, sources=sources)
    x, y = roc_auc_score(LABELS[:4], SCORES[:4]), roc_auc_score(LABELS[[0, 1, 2, 4, 5]], SCORES[[0, 1, 2, 4, 5]])
    assert found["macro_auc"] == pytest.approx((x + y) / 2)
    assert found["macro_auc_balanced"] == pytest.approx((0.5 + 1) / 2)
    assert load("pair_accuracy").compute(**PAIR, pairs=["a", "b", "c", "a", "b", "c"]) == {"pair_accuracy": 1.0}


def test_segments_of_clips(load):
    segments = {"predictions": [[[0.0, 1.0, 0.5]], [[0.0, 1.0, 0.9]]], "references": [[[0.0, 1.0]], []]}
    assert load("localisation").compute(**segments)["ap_at_iou_0.95"] == pytest.approx(0.5)


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="'auc'"):
        metric_folder("auc")
