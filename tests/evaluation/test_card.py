"""The card says what the data says, and nothing else."""

import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import ModelCard

from modeling_macbdf import MACBDFConfig
from modeling_macbdf.evaluation.card import model_card
from modeling_macbdf.evaluation.commands import run_card
from modeling_macbdf.evaluation.groups import by_group

EVALUATION = {
    "dataset": {"name": "manifest", "splits": ["dev"]},
    "coverage": {"clips": 4, "scored": 3, "by_status": {"scored/fake": 2, "scored/real": 1, "no_face/real": 1}},
    "bootstrap": {"resamples": 1000, "seed": 0, "over": "identities"},
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


def test_the_number_of_people_to_draw_stands_beside_the_intervals():
    evaluation = EVALUATION | {"bootstrap": EVALUATION["bootstrap"] | {"clusters": 57}}
    text = model_card("m", SimpleNamespace(calibration=None), [evaluation], {})
    assert "95 %, 1000 bootstrap draws over identities (57 of them), seed 0; a rate of 0 or 1" in text
    assert "1000 bootstrap draws over identities, seed 0" in card(), "an older result does not say"


def test_thresholds_come_with_their_source():
    assert (
        "dev clips (thresholds: 3 scored files, changed copies counted). `fake` at p ≥ 0.875, `real` at p ≤ 0.250"
        in card()
    )
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


def test_the_metadata_is_what_the_hub_reads():
    """Parsed by huggingface_hub, which refuses a model index that it cannot hold."""
    data = ModelCard(card(license="other")).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "video-classification", "other")
    assert data.model_name == "macb-df-test"
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("auc", 0.625, "dev")
    assert result.metric_args == {"interval_95": [0.5, 0.75]}


def test_without_an_evaluation_it_claims_nothing():
    text = model_card("m", SimpleNamespace(calibration=None), [], {})
    assert "None: nothing is known" in text
    assert ModelCard(text).data.eval_results is None


def test_cost_is_computed_from_the_run_or_said_to_be_unknown():
    cost = {"hours": 2.0, "hardware": "2 cores", "watts": 50, "grid_kg_per_kwh": 0.4, "assumptions": "Watts assumed."}
    text = card(cost=cost)
    assert "2 h on 2 cores: 0.1 kWh at 50 W, 0.04 kg CO2e at 0.4 kg/kWh. Watts assumed." in text
    assert ModelCard(text).data.co2_eq_emissions["emissions"] == 40.0
    assert "Not recorded" in card()


def rows() -> list[dict]:
    verdicts = {"a": ["fake", "real", "real", "inconclusive"], "b": ["real", "real"]}
    reals = [{"label": 0, "verdict": v, "group": g} for g, found in verdicts.items() for v in found]
    return [*reals, {"label": 1, "verdict": "real", "group": "a"}, {"label": 0, "verdict": None, "group": "a"}]


def test_errors_are_told_by_group_where_groups_are_known():
    table = by_group(rows())
    assert list(table) == ["group"]
    assert table["group"]["a"] == {
        "reals": 4,
        "reals_called_fake": 0.25,
        "reals_inconclusive": 0.25,
        "fakes": 1,
        "fakes_called_real": 1.0,
    }
    assert table["group"]["b"]["fakes_called_real"] is None
    text = model_card("m", SimpleNamespace(calibration=CALIBRATION), [EVALUATION | {"scores": rows()}], {})
    assert "| a | 4 | 0.250 | 0.250 | 1 | 1.000 |" in text
    assert "Not measured" in card()


def test_probes_stand_beside_the_score():
    evaluation = EVALUATION | {
        "probes": {
            "brightness": {"auc": 0.6, "near": True, "clips": 8},
            "silence": {"auc": None, "near": False, "clips": 0, "reason": "no clip has sound"},
        }
    }
    text = model_card("m", SimpleNamespace(calibration=CALIBRATION), [evaluation], {})
    assert "| **brightness** | 0.600 |" in text
    assert "| silence | - |" in text


def test_evaluations_are_told_apart_by_their_files(tmp_path):
    """Two lists of clips without a split were once one data set in the Hub's index of results."""
    unsplit = EVALUATION | {"dataset": {"name": "manifest", "splits": []}}
    paths = [tmp_path / "voices.json", tmp_path / "dubbed.json"]
    for path in paths:
        path.write_text(json.dumps(unsplit))
    MACBDFConfig(calibration=CALIBRATION).save_pretrained(tmp_path / "m")
    facts = tmp_path / "training.json"
    facts.write_text(json.dumps({"evaluations": {"voices": "99 voices."}}))
    run_card(Namespace(model=tmp_path / "m", evaluation=paths, training=facts))
    text = (tmp_path / "m" / "README.md").read_text()
    assert "## Results on voices\n\n99 voices.\n" in text and "## Results on dubbed\n" in text
    (model,) = yaml.safe_load(text.split("---")[1])["model-index"]
    names = {result["dataset"]["name"] for result in model["results"]}
    assert names == {"voices", "dubbed"} and len(model["results"]) == 2
    with pytest.raises(ValueError, match="different names"):
        run_card(Namespace(model=tmp_path / "m", evaluation=[paths[0], paths[0]], training=None))


def test_what_is_no_evaluation_is_named_before_anything_is_written(tmp_path):
    """A result of `macbdf robustness` was once copied into the model's folder before its KeyError."""
    MACBDFConfig(calibration=CALIBRATION).save_pretrained(tmp_path / "m")
    good, path = tmp_path / "dev.json", tmp_path / "other.json"
    good.write_text(json.dumps(EVALUATION))
    robustness = {name: EVALUATION[name] for name in ("dataset", "coverage", "command", "bootstrap")}
    for text, words in (
        (
            json.dumps(robustness | {"conditions": {}}),
            r"other\.json must be a result of macbdf evaluate, but lacks",
        ),
        ("", r"other\.json must be a JSON file, but: Expecting value"),
        ("[]", r"other\.json must hold a JSON object, but holds a list"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            run_card(Namespace(model=tmp_path / "m", evaluation=[good, path], training=None))
    with pytest.raises(ValueError, match=r"other\.json must hold a JSON object"):
        run_card(Namespace(model=tmp_path / "m", evaluation=[good], training=path))
    assert not {"results", "README.md"} & {file.name for file in (tmp_path / "m").iterdir()}


def test_a_model_folder_that_is_named_by_a_dot_has_its_own_name(tmp_path, monkeypatch):
    """The card of `--model .` once had no title and named the repository "org/"."""
    MACBDFConfig(calibration=CALIBRATION).save_pretrained(tmp_path / "my-model")
    (tmp_path / "dev.json").write_text(json.dumps(EVALUATION))
    monkeypatch.chdir(tmp_path / "my-model")
    text = run_card(Namespace(model=Path(), evaluation=[tmp_path / "dev.json"], training=None)).read_text()
    assert "# my-model\n" in text and 'model="org/my-model"' in text


def test_what_is_left_for_others_names_no_clip(tmp_path):
    path = tmp_path / "dev.json"
    evaluation = EVALUATION | {"scores": [row | {"path": "secret.mp4"} for row in rows()]}
    evaluation["dataset"] = evaluation["dataset"] | {"problems": [{"file": "secret.csv"}]}
    path.write_text(json.dumps(evaluation))
    MACBDFConfig(calibration=CALIBRATION).save_pretrained(tmp_path / "m")
    run_card(Namespace(model=tmp_path / "m", evaluation=[path], training=None))
    kept = (tmp_path / "m" / "results" / "dev.json").read_text()
    assert "secret" not in kept + (tmp_path / "m" / "README.md").read_text()
    assert json.loads(kept)["by_group"]["group"]["a"]["reals"] == 4
