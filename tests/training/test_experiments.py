"""Experiments: what runs say together, what is not trained twice, and one of them for real."""

import json
from pathlib import Path

import numpy as np
import pytest
from accelerate import Accelerator
from scipy import stats

from modeling_macbdf import cli
from modeling_macbdf.training import experiments
from modeling_macbdf.training.config import load_config
from modeling_macbdf.training.conflict_log import ConflictLog, columns, read_rows
from modeling_macbdf.training.experiment_commands import DEFAULT
from modeling_macbdf.training.experiment_specs import EXPERIMENTS, OUTCOMES
from modeling_macbdf.training.experiment_summary import as_markdown, interval, run_outcomes, summarise, verdict
from modeling_macbdf.training.run import _settings

METRICS = {"eval_auc": 0.8, "eval_auc_video": 0.7, "eval_auc_audio": 0.9}
GROUPS = {"video": ["multimodal", "video"], "audio": ["multimodal", "audio"]}
SPEC = EXPERIMENTS["fusion-weights"]


def _rows(losses: list[float]) -> list[dict[str, float]]:
    return [dict.fromkeys(columns(GROUPS), 0.5) | {"step": n + 1, "clip_loss": x} for n, x in enumerate(losses)]


def test_target_is_reached_where_the_mean_of_ten_steps_is() -> None:
    falling = run_outcomes(METRICS, _rows([1.0] * 10 + [0.0] * 30), 0.5)
    assert (falling["steps_to_loss"], falling["reached"]) == (15, 1)
    never = run_outcomes(METRICS, _rows([1.0] * 20), 0.5)
    assert (never["steps_to_loss"], never["reached"]) == (20, 0)
    lucky_start = run_outcomes(METRICS, _rows([0.1] + [1.0] * 19), 0.5)
    assert lucky_start["reached"] == 0


def test_outcomes_are_those_of_the_file_and_the_evaluation() -> None:
    rows = _rows([0.7] * 9 + [0.2])
    rows[-1] |= {"temperature": 0.1, "cosine_video": -0.5}
    found = run_outcomes(METRICS, rows, 0.6)
    assert set(OUTCOMES) <= set(found)
    assert found["auc"] == 0.8
    assert found["final_loss"] == pytest.approx(0.45)  # of the last fifth
    assert found["temperature"] == pytest.approx(0.3)
    assert found["cosine_video"] == pytest.approx(0.4)
    for row in rows:
        del row["temperature"]  # without the contrastive loss
    assert "temperature" not in run_outcomes(METRICS, rows, 0.6)


def test_a_run_on_one_stream_tells_what_there_is() -> None:
    """Its conflict file has no column of the other stream, which was a KeyError; one NaN spoilt every later mean."""
    rows = [
        {name: value for name, value in row.items() if "audio" not in name} for row in _rows([1.0] * 10 + [0.0] * 30)
    ]
    rows[3]["clip_loss"] = float("nan")
    found = run_outcomes({"eval_auc": 0.8, "eval_auc_video": 0.8}, rows, 0.5)
    assert (found["steps_to_loss"], found["reached"]) == (15, 1)
    assert {"cosine_audio", "conflict_audio", "auc_audio"}.isdisjoint(found)
    assert found["cosine_video"] == 0.5
    result = summarise(SPEC, {name: dict.fromkeys(range(2), found) for name in SPEC.variants})
    assert "auc" in result["differences"]["cluster"]
    silent = {name: value for name, value in found.items() if name != "auc"}
    result = summarise(SPEC, {name: dict.fromkeys(range(2), silent) for name in SPEC.variants})
    assert list(result["differences"]["cluster"]) == ["steps_to_loss"]


def test_interval_is_that_of_student_and_wider_for_several_comparisons() -> None:
    values = [0.1, 0.3, 0.2, 0.4, 0.35]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = interval(values)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    wider = stats.ttest_1samp(values, 0.0).confidence_interval(1 - 0.05 / 4)
    assert interval(values, comparisons=4)["low"] == pytest.approx(wider.low)
    assert interval([0.3]) == {"mean": 0.3, "low": None, "high": None}


def _runs(gain: float, noise: float) -> dict[str, dict[int, dict[str, float]]]:
    """Seeds differ far more than the variants do."""
    random = np.random.default_rng(0)
    runs: dict[str, dict[int, dict[str, float]]] = {"uniform": {}, "cluster": {}}
    for seed in range(5):
        base = run_outcomes(METRICS | {"eval_auc": 0.5 + 0.1 * seed}, _rows([0.7] * 20), 0.6)
        runs["uniform"][seed] = base
        runs["cluster"][seed] = base | {"auc": base["auc"] + gain + noise * random.normal()}
    return runs


def test_verdict_follows_the_paired_differences() -> None:
    assert "higher with 5 seeds" in summarise(SPEC, _runs(0.02, 0.001))["verdicts"][0]
    assert "lower with 5 seeds" in summarise(SPEC, _runs(-0.02, 0.001))["verdicts"][0]
    assert "no difference can be seen with 5 seeds" in summarise(SPEC, _runs(0.02, 0.1))["verdicts"][0]
    same = summarise(SPEC, _runs(0.02, 0.001))["verdicts"][1]
    assert same.startswith("cluster against uniform: steps to the target loss +0.000")
    assert "no difference" in same


def test_one_seed_gives_no_verdict_and_missing_seeds_no_pair() -> None:
    assert "one seed, which shows nothing" in verdict("a", "b", "auc", interval([0.3]), 1)
    runs = _runs(0.02, 0.0)
    del runs["cluster"][4]
    assert "with 4 seeds" in summarise(SPEC, runs)["verdicts"][0]


def test_table_says_how_many_runs_reached_the_target() -> None:
    result = summarise(SPEC, _runs(0.0, 0.1)) | {"seeds": list(range(5)), "target_loss": 0.6}
    text = as_markdown(result, SPEC)
    assert "| uniform | 0.700 [0.504, 0.896] | 20.0 [20.0, 20.0], reached in 0 of 5 |" in text
    assert text.count("\n- cluster against uniform") == 2


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_variant_is_a_valid_and_different_run(name: str) -> None:
    settings = []
    for changes in EXPERIMENTS[name].variants.values():
        config = load_config(DEFAULT, [*experiments._PAPER, *changes, "use_cpu=true"])
        settings.append((config.arguments().to_json_string(), _settings(config).to_json_string()))
    assert len(set(settings)) == len(settings)
    assert set(EXPERIMENTS[name].outcomes()) <= set(OUTCOMES)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Stands in for training and drawing; holds the folders that were trained."""
    folders: list[Path] = []

    def train(config: object, folder: Path) -> None:
        folders.append(folder)
        log = ConflictLog(folder / "conflict.csv", columns(GROUPS))
        log.start(0)
        for row in _rows([0.7] * 12):
            log.add(row)
        (folder / experiments.RESULT).write_text(json.dumps({"metrics": METRICS}))

    monkeypatch.setattr(experiments, "_train", train)
    monkeypatch.setattr(experiments, "plot_experiment", lambda *arguments: None)
    return folders


def test_finished_runs_are_kept_and_shared_between_experiments(trained: list[Path], tmp_path: Path) -> None:
    run = {"config": DEFAULT, "out": tmp_path, "seeds": range(2)}
    experiments.run_experiment("fusion-weights", **run)
    assert len(set(trained)) == 4
    experiments.run_experiment("cluster-corruption", **run)  # its first variant is the other's "cluster"
    assert len(set(trained)) == 6
    (trained[0] / experiments.RESULT).unlink()
    result = experiments.run_experiment("fusion-weights", **run, target_loss=0.8)
    assert trained[6:] == [trained[0]]
    assert result["reached"] == {"uniform": 2, "cluster": 2}
    assert json.loads((tmp_path / "fusion-weights" / "results.json").read_text()) == json.loads(json.dumps(result))
    experiments.run_experiment("fusion-weights", **run, overrides=["learning_rate=1e-4"])
    assert len(set(trained)) == 10


def test_an_experiment_runs_for_real_and_goes_on_after_a_stop(tmp_path: Path, capsys, monkeypatch) -> None:
    waits: list[int] = []  # results that are there while the processes wait for each other
    results = (tmp_path / "runs").glob
    monkeypatch.setattr(Accelerator, "wait_for_everyone", lambda _: waits.append(len([*results("*/result.json")])))
    small = ["self_made_clips=4", "self_made_seconds=1.2", "windows=4", "eval_windows=12", "num_train_epochs=1"]
    small += ["per_device_train_batch_size=2", "use_cpu=true", f"self_made_dir={tmp_path / 'people'}"]
    words = ["experiment", "fusion-weights", "--out", str(tmp_path), "--set", *small, "--seeds"]
    assert cli.main([*words, "1"]) == 0
    assert waits[-1] == 2, "every process reads them next"
    said = capsys.readouterr().out
    assert "cluster against uniform: AUC" in said
    assert "with one seed, which shows nothing" in said
    result = json.loads((tmp_path / "fusion-weights" / "results.json").read_text())
    runs = {run["variant"]: tmp_path / "runs" / run["folder"] for run in result["runs"]}
    assert all((folder / "model" / "model.safetensors").is_file() for folder in runs.values())
    assert len(read_rows(runs["uniform"] / "conflict.csv")) == 2
    assert (tmp_path / "fusion-weights" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "| uniform |" in (tmp_path / "fusion-weights" / "results.md").read_text()


def test_wrong_words_are_refused(capsys, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["experiment", "alchemy"])
    assert stopped.value.code == 2
    assert cli.main(["experiment", "om-pareto", "--seeds", "0"]) == 2
    assert "--seeds must be at least 1, but got 0" in capsys.readouterr().err
    assert cli.main(["experiment", "om-pareto", "--out", str(tmp_path), "--set", "learning_rat=1"]) == 2
    assert "did you mean learning_rate" in capsys.readouterr().err
