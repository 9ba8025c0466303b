"""`train_accelerate.py` from its arguments to a model that loads, on a set that it makes itself."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModel, AutoProcessor, EarlyStoppingCallback

from modeling_macbdf.data.records import ClipRecord
from modeling_macbdf.training.config import DataConfig, load_config
from modeling_macbdf.training.metrics import scored_rows, window_metrics
from modeling_macbdf.training.run import Run, _calibration, _model
from modeling_macbdf.training.windows import divide

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command():
    spec = importlib.util.spec_from_file_location("train_accelerate", ROOT / "train_accelerate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    """The default configuration at a size for a test: four people for a second, two steps an epoch."""
    folder = tmp_path_factory.mktemp("run")
    return [
        f"output_dir={folder / 'out'}", f"self_made_dir={folder / 'people'}", "self_made_clips=4",
        "self_made_seconds=1.2", "windows=4", "eval_windows=12", "per_device_train_batch_size=2", "num_train_epochs=1",
        "use_cpu=true", "disable_tqdm=true", "logging_steps=1",
    ]  # fmt: skip


def test_whole_loop_ends_in_a_model_that_loads_with_a_calibration(command, words, capsys, monkeypatch) -> None:
    out = Path(words[0].partition("=")[2])
    waits = [False]
    with monkeypatch.context() as patch:  # other processes once went on before the model was there
        last = out / "model" / "training_run.json"
        patch.setattr(Accelerator, "wait_for_everyone", lambda _: waits.append(last.is_file()))
        assert command(words) == 0
    assert waits[-1]
    said = capsys.readouterr().out
    assert "self_made_clips: 4" in said  # the resolved configuration
    assert "saved:" in said
    model = AutoModel.from_pretrained(out / "model")
    assert set(model.config.calibration) >= {"joint", "real_below", "fake_above", "source"}
    AutoProcessor.from_pretrained(out / "model")
    AutoProcessor.from_pretrained(out / "checkpoint-2")
    assert (out / "conflict.png").stat().st_size > 0
    assert json.loads((out / "model" / "training_run.json").read_text())["metrics"]["eval_auc"] >= 0
    before = {name: value.clone() for name, value in model.state_dict().items()}

    assert command(words) == 2
    assert "give --resume, or another output_dir" in capsys.readouterr().err

    assert command([*words, "num_train_epochs=2", "--resume"]) == 0
    state = json.loads((out / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["global_step"] == 4
    resumed = AutoModel.from_pretrained(out / "checkpoint-4").state_dict()
    assert any(not torch.equal(value, resumed[name]) for name, value in before.items())


@pytest.mark.parametrize(("settings", "stops_early"), [([], True), (["eval_strategy=no"], False)])
def test_a_run_without_evaluations_does_not_wait_for_better_ones(words, settings, stops_early) -> None:
    """transformers ends such a run with an assertion; the command that docs/training.md resumes with did."""
    fixed = ["load_best_model_at_end=false", *settings]
    trainer = Run(load_config(ROOT / "hub_configs" / "train-tiny.yaml", [*words, *fixed])).trainer()
    callbacks = trainer.callback_handler.callbacks
    assert any(isinstance(callback, EarlyStoppingCallback) for callback in callbacks) == stops_early


def test_dry_run_checks_everything_and_keeps_nothing(command, words, tmp_path, capsys) -> None:
    out = tmp_path / "dry"
    assert command([*words, f"output_dir={out}", "windows=400", "--dry-run"]) == 0
    said = capsys.readouterr().out
    estimate = json.loads(said[said.index('{\n  "data"') :])["estimate"]
    assert estimate["optimizer_steps"] == 200
    assert estimate["seconds_per_step"] > 0
    assert estimate["peak_memory_mib"] > 100
    assert not list(out.glob("checkpoint-*"))


def test_a_changed_model_brings_its_processor_along(tmp_path) -> None:
    file = ROOT / "hub_configs" / "train-tiny.yaml"
    words = ["model_config.num_frames=8", "model_config.video_config.image_size=64", f"output_dir={tmp_path}"]
    model, processor = _model(load_config(file, words))
    assert model.config.num_frames == processor.image_processor.num_frames == processor.feature_extractor.num_frames
    assert processor.image_processor.size == {"height": 64, "width": 64}
    assert model.config.video_config.image_size == 64
    assert model.config.video_config.hidden_sizes == [16, 32, 64, 96]  # what was not changed stays
    assert model.config.calibration is None


def test_new_weights_do_not_keep_the_calibration_of_those_that_they_began_as(tmp_path) -> None:
    """It was once saved with them where the run fits none, or where the fit fails."""
    words = [f"model={ROOT / 'hub_configs' / 'macb-df-tiny'}", "from_scratch=false", f"output_dir={tmp_path}"]
    changes = ["model_config.num_frames=16", "model_config.video_config.image_size=160"]
    model, _ = _model(load_config(ROOT / "hub_configs" / "train-tiny.yaml", [*words, *changes]))
    assert not model.missing_weights
    assert model.config.calibration is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"model_config must leave the shapes of the weights in .* but has \['num_frames', 'video_config'\]"),
        (["imagenet=true"], "imagenet must be false where weights are loaded"),
    ],
)
def test_what_loaded_weights_cannot_follow_is_refused(tmp_path, words, message) -> None:
    """Other shapes were a RuntimeError, and `imagenet` did nothing."""
    fixed = [f"model={ROOT / 'hub_configs' / 'macb-df-tiny'}", "from_scratch=false", f"output_dir={tmp_path}"]
    with pytest.raises(ValueError, match=message):
        _model(load_config(ROOT / "hub_configs" / "train-tiny.yaml", [*fixed, *words]))


@pytest.mark.parametrize("word", ["model_config.frame_rate_hz=10.0", "model_config.audio_config.num_mel_bins=64"])
def test_a_change_that_the_processor_cannot_follow_is_refused(tmp_path, word) -> None:
    """It was once dropped without a word."""
    with pytest.raises(ValueError, match="model_config must agree with the processor"):
        _model(load_config(ROOT / "hub_configs" / "train-tiny.yaml", [word, f"output_dir={tmp_path}"]))


def test_weights_are_not_lost_for_a_calibration_that_fails() -> None:
    row = {"p_fake": 0.4, "label": 0, "status": "scored", "source": "", "video_label": 0, "audio_label": 0}
    assert _calibration([row | {"p_fake_video": 0.4, "p_fake_audio": 0.4}] * 3, "one class") is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("model_config.droput=0.1", r"model_config\.droput must be a known setting, but is not; did you mean dropout"),
        ("model_config.video_config.size=8", r"model_config\.video_config\.size must be a known setting"),
        ("model_config.dropout=2", "dropout must be in"),
    ],
)
def test_a_wrong_setting_of_the_model_is_refused_by_name(command, words, word, message, tmp_path, capsys) -> None:
    assert command([*words, f"output_dir={tmp_path}", word]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_wrong_settings_end_with_a_message_and_two(command, words, tmp_path, capsys) -> None:
    assert command(["learning_rat=1"]) == 2
    assert "did you mean learning_rate" in capsys.readouterr().err
    assert command([*words, f"output_dir={tmp_path}", "--resume"]) == 2
    assert "--resume must find a complete checkpoint" in capsys.readouterr().err
    assert command([*words, f"output_dir={tmp_path}", "cache=nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def _records(split: str = "") -> list[ClipRecord]:
    return [
        ClipRecord(f"{i}.mp4", i % 2, identities=(f"p{i // 2}",), split=split if i < 2 else "dev") for i in range(8)
    ]


def test_clips_without_splits_are_divided_by_people() -> None:
    records = [ClipRecord(f"{i}.mp4", i % 2, identities=(f"p{i // 2}",)) for i in range(8)]
    train, evaluation = divide(records, DataConfig(cache="c"), seed=0)
    assert len(train) + len(evaluation) == 8
    people = [{name for record in part for name in record.identities} for part in (train, evaluation)]
    assert not people[0] & people[1]


def test_named_splits_are_kept_and_an_empty_one_is_refused() -> None:
    train, evaluation = divide(_records("train"), DataConfig(cache="c"), seed=0)
    assert (len(train), len(evaluation)) == (2, 6)
    with pytest.raises(ValueError, match=r"data\.eval_split must name a split with clips, but got 'test'"):
        divide(_records("train"), DataConfig(cache="c", eval_split="test"), seed=0)


def _found(joint: list[float], labels: list[int]) -> SimpleNamespace:
    logits = np.array(joint)
    video = np.where(np.arange(len(joint)) == 0, np.nan, logits)
    clip = np.array(labels)
    return SimpleNamespace(predictions=(logits, video, -logits), label_ids=(clip, clip, np.full(len(clip), -100)))


def test_windows_become_rows_with_status_and_labels() -> None:
    rows = scored_rows(_found([0.0, 2.0], [1, 0]), None)
    assert [row["status"] for row in rows] == ["no_video", "scored"]
    assert rows[0]["p_fake"] == pytest.approx(0.5)
    assert rows[0]["p_fake_video"] is None
    assert rows[1]["audio_label"] is None


def test_metrics_judge_whole_clips_where_windows_belong_to_clips() -> None:
    """Two windows a clip: one window of the real clip looks forged, its mean does not."""
    records = [ClipRecord("a.mp4", 0, source="x")] * 2 + [ClipRecord("b.mp4", 1, source="x", generator="g")] * 2
    found = _found([3.0, -5.0, 2.0, 2.0], [0, 0, 1, 1])
    assert window_metrics(records)(found)["macro_auc_balanced"] == 1.0
    assert window_metrics(records)(found)["balanced_accuracy"] == 1.0
    alone = window_metrics(None)(found)
    assert alone["auc"] == pytest.approx(0.5)
    assert alone["balanced_accuracy"] == pytest.approx(0.75)
