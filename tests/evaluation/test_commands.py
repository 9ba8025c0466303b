"""`macbdf evaluate` and `macbdf robustness` from a tree on disk to the table."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from modeling_macbdf import cli
from modeling_macbdf.evaluation.masked import MODEL_PROBES
from modeling_macbdf.evaluation.plots import draw_all
from modeling_macbdf.evaluation.probes import FEATURE_PROBES


def run(command: str, *arguments: object) -> int:
    return cli.main([command, *map(str, arguments)])


@pytest.fixture(scope="module")
def evaluated(fakeavceleb_tree, tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    options = ["--dataset", "fakeavceleb", "--root", fakeavceleb_tree, "--resamples", 50, "--device", "cpu"]
    code = run("evaluate", "--model", tiny_folder, *options, "--json", folder / "r.json", "--out", folder / "out")
    return code, folder, json.loads((folder / "r.json").read_text())


def test_the_result_has_the_promised_keys(evaluated):
    code, _, result = evaluated
    assert code == 1, "one file could not be scored"
    assert {"metrics", "intervals", "scores", "coverage", "probes"} <= set(result)
    assert result["bootstrap"] == {"resamples": 50, "seed": 0, "over": "identities", "clusters": 3}
    assert all({"path", "label", "p_fake", "status"} <= set(row) for row in result["scores"])
    assert result["coverage"]["by_status"] == {"not_media/fake": 1, "scored/fake": 6, "scored/real": 3}
    assert set(result["by_category"]) == {"RealVideo-RealAudio", "RealVideo-FakeAudio", "FakeVideo-RealAudio"}
    assert set(result["by_generator"]) == {"fsgan", "rtvc"}


def test_numbers_are_scikit_learns_on_the_same_scores(evaluated):
    result = evaluated[2]
    judged = [row for row in result["scores"] if row["p_fake"] is not None]
    labels, scores = (np.array([row[name] for row in judged]) for name in ("label", "p_fake"))
    found = result["metrics"]
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["average_precision"] == pytest.approx(average_precision_score(labels, scores))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, scores))
    assert found["accuracy"] == pytest.approx(np.mean((scores >= 0.5) == labels))
    low, high = result["intervals"]["auc"]
    assert low <= found["auc"] <= high


def test_every_probe_stands_beside_the_result(evaluated):
    probes = evaluated[2]["probes"]
    for name in (*FEATURE_PROBES, *MODEL_PROBES):
        assert 0 <= probes[name]["auc"] <= 1, name
        assert probes[name]["clips"] == 9
        assert probes[name]["near"] == any(sentence.startswith(name) for sentence in probes["warnings"])
    assert probes["identity_overlap"]["people"] == 3
    assert probes["identity_overlap"]["shared_people"] is None


def test_tables_and_plots_are_written_and_the_log_is_gone(evaluated):
    _, folder, result = evaluated
    names = {"evaluation.md", "roc.png", "reliability.png", "histograms.png", "timelines.png"}
    assert {path.name for path in (folder / "out").iterdir()} == names
    text = (folder / "out" / "evaluation.md").read_text()
    assert "9 of 10 clips scored" in text and "50 bootstrap draws over identities (3 of them), seed 0" in text
    assert f"| auc | {result['metrics']['auc']:.3f} |" in text
    assert "| FakeVideo-RealAudio | 4 | 3 |" in text
    assert "Warning: " in text or not result["probes"]["warnings"]
    assert [path.name for path in folder.iterdir()].count("r.json") == 1
    assert not list(folder.glob(".*.jsonl"))


def test_robustness_changes_the_media_and_counts_what_is_lost(fakeavceleb_tree, tiny_folder, tmp_path):
    wanted = ["jpeg", "h264", "aac", "drop_audio", "drop_video", "messenger"]
    options = ["--dataset", "fakeavceleb", "--root", fakeavceleb_tree, "--resamples", 10, "--device", "cpu"]
    options += ["--limit", 2, "--severities", 5, "--distortions", *wanted, "--out", tmp_path / "out"]
    assert run("robustness", "--model", tiny_folder, *options, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    clips = [row for row in result["scores"] if row["status"] == "scored"]
    assert sorted(row["label"] for row in clips) == [0, 1]
    for row in clips:
        answers = row["conditions"]
        assert set(answers) == {f"{name}/{1 if name == 'messenger' else 5}" for name in wanted}
        assert answers["drop_audio/5"]["status"] == "no_audio"
        assert answers["drop_video/5"]["status"] in ("no_video", "no_face")
        for name in ("jpeg/5", "h264/5", "messenger/1"):
            assert answers[name]["status"] == "scored"
            assert answers[name]["p_fake"] != row["p_fake"]
    assert result["conditions"]["jpeg"]["5"]["clean_auc"] == float(clips[0]["p_fake"] != clips[1]["p_fake"]) * float(
        max(clips, key=lambda row: row["p_fake"])["label"]
    )
    assert "| jpeg |" in (tmp_path / "out" / "robustness.md").read_text()
    assert (tmp_path / "out" / "robustness.png").is_file()


@pytest.mark.parametrize("command", ["evaluate", "robustness"])
def test_no_draws_at_all_are_refused_before_anything_is_scored(
    fakeavceleb_tree, tiny_folder, tmp_path, capsys, command
):
    """Plots once ended in a KeyError after hours of scoring."""
    options = ["--dataset", "fakeavceleb", "--root", fakeavceleb_tree, "--json", tmp_path / "r.json"]
    with pytest.raises(SystemExit):
        run(command, "--model", tiny_folder, *options, "--resamples", 0)
    assert "--resamples: it must be a whole number of at least 1, but got '0'" in capsys.readouterr().err


def test_clips_of_one_person_are_drawn_without_an_interval(tmp_path):
    rows = [
        {"label": label, "p_fake": p, "path": "a.mp4", "curve": None, "segments_s": None}
        for label, p in [(0, 0.1), (1, 0.9)]
    ]
    drawn = draw_all({"scores": rows, "intervals": {}, "metrics": {"auc": 1.0, "ece": 0.1}}, tmp_path)
    assert tmp_path / "roc.png" in drawn


def test_an_unknown_distortion_is_a_usage_error(fakeavceleb_tree, tiny_folder, tmp_path, capsys):
    options = ["--dataset", "fakeavceleb", "--root", fakeavceleb_tree, "--distortions", "jpg"]
    assert run("robustness", "--model", tiny_folder, *options, "--json", tmp_path / "r.json") == 2
    assert "jpg" in capsys.readouterr().err


def test_calibration_sees_every_clip_as_it_is_and_changed(fakeavceleb_tree, tiny_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    options = ["--dataset", "fakeavceleb", "--root", fakeavceleb_tree, "--source", "rendered people"]
    assert run("calibrate", "--model", folder, *options) == 0
    plain = json.loads((folder / "config.json").read_text())["calibration"]
    assert run("calibrate", "--model", folder, *options, "--under", "opus/2", "audio_noise/3") == 0
    changed = json.loads((folder / "config.json").read_text())["calibration"]
    # Nine clips have a score. Three voices, and all under that noise, stand too little out of it to set a threshold.
    assert (plain["clips"], changed["clips"]) == (6, 12)
    assert plain["source"] == "rendered people"
    assert changed["source"] == "rendered people, as they are and under opus/2, audio_noise/3"
    assert changed["audio"] != plain["audio"] and changed["joint"] != plain["joint"]
    assert changed["video"] == changed["joint"], "files with and without sound share one scale"
    options[-1] = "noisy copies"
    assert run("calibrate", "--model", folder, *options, "--under", "audio_noise/5", "--only", "thresholds") == 0
    limited = json.loads((folder / "config.json").read_text())["calibration"]
    assert limited["joint"] == changed["joint"]
    assert limited["source"] == f"{changed['source']}; thresholds: noisy copies, as they are and under audio_noise/5"


def test_a_condition_without_a_severity_is_a_usage_error(fakeavceleb_tree, tiny_folder, capsys):
    options = ["--dataset", "fakeavceleb", "--root", fakeavceleb_tree, "--source", "any", "--under", "opus"]
    assert run("calibrate", "--model", tiny_folder, *options) == 2
    assert "must read NAME/SEVERITY" in capsys.readouterr().err
