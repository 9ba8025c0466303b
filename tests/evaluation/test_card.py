"""The card says what the data says, and nothing else."""

from types import SimpleNamespace

import yaml

from modeling_macbdf.evaluation.card import model_card

EVALUATION = {
    "dataset": {"name": "manifest", "splits": ["dev"]},
    "coverage": {"clips": 4, "scored": 3, "by_status": {"scored/fake": 2, "scored/real": 1, "no_face/real": 1}},
    "bootstrap": {"resamples": 1000, "seed": 0},
    "metrics": {"auc": 0.625, "pair_accuracy": None},
    "intervals": {"auc": [0.5, 0.75]},
    "worst_case": {"auc": 0.5, "pair_accuracy": None},
    "streams": {"video": {"scored": 3, "auc_against_clip": 0.6}, "audio": {"scored": 0, "auc_against_clip": None}},
    "by_generator": {"SadTalker": {"clips": 2, "auc": 0.7, "auc_balanced": 0.55}},
    "command": "macbdf evaluate --model m",
}
CALIBRATION = {"source": "dev clips", "clips": 3, "real_below": 0.25, "fake_above": 0.875}


def card(calibration: dict | None = CALIBRATION, **training) -> str:
    return model_card("macb-df-test", SimpleNamespace(calibration=calibration), [EVALUATION], training)


def test_every_number_of_the_evaluation_is_there_with_its_interval_and_worst_case():
    text = card()
    assert "| auc | 0.625 | 0.500 to 0.750 | 0.500 |" in text
    assert "| pair_accuracy | - |  | - |" in text
    assert "| SadTalker | 2 | 0.700 | 0.550 |" in text
    assert "3 of 4 clips scored" in text
    assert "1 no_face/real" in text
    assert "macbdf evaluate --model m" in text


def test_thresholds_come_with_their_source():
    assert "dev clips (3 clips). `fake` at p ≥ 0.875, `real` at p ≤ 0.250" in card()
    assert "gives no verdicts" in card(calibration=None)


def test_front_matter_is_valid_and_names_the_licence():
    matter = yaml.safe_load(card(license="other").split("---")[1])
    assert matter["license"] == "other"
    assert matter["library_name"] == "transformers"
    assert "deepfake-detection" in matter["tags"]


def test_training_facts_are_told_only_where_known():
    text = card(data=["108 real clips"], commands=["make train"])
    assert "## Training data\n\n- 108 real clips" in text
    assert "make train" in text
    assert "## Terms" not in text
