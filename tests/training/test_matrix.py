"""Train on A, test on B and C, from the example configuration at its smallest."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from modeling_macbdf import cli
from modeling_macbdf.training import matrix
from modeling_macbdf.training.matrix import METRICS, MatrixConfig, _words, load_matrix, run_config, run_matrix

EXAMPLE = Path(__file__).resolve().parents[2] / "hub_configs" / "matrix-tiny.yaml"
SMALL = {"max_steps": 1, "self_made_clips": 4, "self_made_seconds": 1.2, "windows": 8, "eval_windows": 4}
SMALL |= {
    "per_device_train_batch_size": 4,
    "save_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
}
SMALL |= {"early_stopping_patience": 0, "dataloader_num_workers": 0, "disable_tqdm": True}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The example with one training set, one step a run, and two people in each test set."""
    folder = tmp_path_factory.mktemp("matrix")
    values = yaml.safe_load(EXAMPLE.read_text())
    values |= {"base": str(EXAMPLE.parent / values["base"]), "output_dir": str(folder / "runs")}
    values["models"] = {name: {**own, **SMALL} for name, own in values["models"].items()}
    values["train"] = {"A": {**values["train"]["smooth motion"], "self_made_dir": str(folder / "set")}}
    values["test"] = {"B": {"self_made": "smoothed", "people": [100, 102]}}
    manifest = folder / "runs" / "sets" / "B" / "index.csv"
    values["test"]["C"] = f"--dataset manifest --root {manifest}"
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture
def turns(monkeypatch) -> list[str]:
    """When the first process goes ahead, and when a set is rendered: several once rendered into the same files."""
    seen: list[str] = []
    make = matrix.make_recorded_set

    @contextmanager
    def first(state):
        seen.append("ahead")
        yield
        seen.append("together")

    monkeypatch.setattr(matrix.PartialState, "main_process_first", first)
    monkeypatch.setattr(matrix, "make_recorded_set", lambda *a: seen.append("render") or make(*a))
    return seen


def test_example_from_start_to_table(small, tmp_path, capsys, turns):
    arguments = ["matrix", "--config", small, "--json", tmp_path / "m.json", "--out", tmp_path / "out"]
    arguments += ["--device", "cpu", "--resamples", "20"]
    assert cli.main([str(word) for word in arguments]) == 0
    assert turns[:3] == ["ahead", "render", "together"]
    result = json.loads((tmp_path / "m.json").read_text())
    cells = {(cell["model"], cell["test"]): cell for cell in result["cells"]}
    assert set(cells) == {(model, test) for model in ("om-pareto", "plain sum") for test in ("B", "C")}
    for test in ("B", "C"):
        ours, plain = cells["om-pareto", test], cells["plain sum", test]
        assert plain["delta"] is None
        assert ours["delta"] == pytest.approx(ours["metrics"]["auc"] - plain["metrics"]["auc"])
        assert ours["delta_interval"][0] <= ours["delta_interval"][1]
        assert ours["coverage"][0]["clips"] == 4
    assert cells["om-pareto", "B"]["metrics"] == cells["om-pareto", "C"]["metrics"], "C is the same files"
    table = (tmp_path / "out" / "matrix.md").read_text()
    assert "| model | trained on | B | C |" in table
    assert "Δ" in table
    assert (tmp_path / "out" / "matrix.png").is_file()
    trained = small.parent / "runs" / "om-pareto" / "A" / "seed-0" / "model"
    before = (trained / "model.safetensors").stat().st_mtime_ns
    assert cli.main([str(word) for word in arguments]) == 0
    assert (trained / "model.safetensors").stat().st_mtime_ns == before, "a finished run is used again"


def test_the_example_names_runs_that_exist():
    config = load_matrix(EXAMPLE)
    assert len(config.models) == len(config.train) == len(config.test) == 2
    run = run_config(config, "plain sum", "reused mouth", 3)
    assert run.training["aggregator"] == "sum"
    assert run.training["seed"] == 3
    assert run.data.visual_kinds == {"lower_face_reuse": 1.0}
    assert run.training["output_dir"].endswith("plain sum/reused mouth/seed-3")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"baseline": "nobody"}, "baseline"),
        ({"metric": "f2"}, "metric"),
        ({"seeds": []}, "seeds"),
        ({"tests": 1}, "tests"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, changes, words):
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(EXAMPLE.read_text()), **changes}))
    with pytest.raises(ValueError, match=words):
        load_matrix(path)


def test_a_recipe_without_calibration_is_judged_by_its_log_odds(small, tmp_path):
    config = load_matrix(small)
    own = {name: {**values, "calibrate": False} for name, values in config.train.items()}
    models = {"plain sum": config.models["plain sum"]}
    result = run_matrix(replace(config, train=own, models=models, output_dir=str(tmp_path)), resamples=10)
    assert all(cell["coverage"][0]["scored"] == cell["coverage"][0]["clips"] > 0 for cell in result["cells"])


def test_clips_without_a_score_are_told_in_the_table():
    metrics = dict.fromkeys(METRICS, 0.5)
    cell = {"metrics": metrics, "interval": None, "delta": None, "delta_interval": None}
    assert _words({**cell, "coverage": [{"scored": 3, "clips": 3}]}, "auc") == "0.500"
    assert _words({**cell, "coverage": [{"scored": 2, "clips": 3}]}, "auc") == "0.500 (2 of 3 scored)"


def test_a_configuration_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="test must not be empty"):
        MatrixConfig("b", "o", {"m": {}}, {"a": {}}, {}, "m")
