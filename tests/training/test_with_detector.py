"""The trainer with the real detector: its objectives, its buffers, checkpointing, evaluation."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import default_collate

from modeling_macbdf import MACBDFForClassification
from modeling_macbdf.optim import Cut, ObjectiveGradients, OMPareto, PlainSum
from modeling_macbdf.training import MACBDFTrainer, MACBDFTrainingArguments, last_complete_checkpoint
from modeling_macbdf.training.conflict_log import read_rows

from .small import NoiseClips, small_detector
from .test_trainer import Gradients, assert_same_steps

ENCODER_INPUTS = ("pixel_values", "input_features", "video_mask", "audio_mask")
OBJECTIVES = {"video": ["multimodal", "video"], "audio": ["multimodal", "audio"]}


def arguments(path: Path, **changes: object) -> MACBDFTrainingArguments:
    common = {"max_steps": 4, "per_device_train_batch_size": 3, "learning_rate": 1e-3, "use_cpu": True}
    common |= {"report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    return MACBDFTrainingArguments(output_dir=str(path), **(common | changes))


def resolved(model: MACBDFForClassification, batch: dict, rule: PlainSum | OMPareto) -> dict[str, torch.Tensor]:
    encoders = {id(p) for parameters in model.encoder_parameters().values() for p in parameters}
    others = [p for p in model.parameters() if id(p) not in encoders]
    store = ObjectiveGradients(model.encoder_parameters(), others, OBJECTIVES)
    inputs = {name: batch[name] for name in ENCODER_INPUTS}
    cut = Cut(dict(zip(("video", "audio"), model.encode(**inputs), strict=True)))
    labels = {name: value for name, value in batch.items() if name not in ENCODER_INPUTS}
    output = model.forward_from_scales(cut["video"], cut["audio"], batch["video_mask"], batch["audio_mask"], **labels)
    store.accumulate(output.objectives, cut)
    store.resolve(rule)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_cut_detector_has_the_gradient_of_its_whole_loss() -> None:
    """Also that no unimodal objective reaches the other encoder: the store would refuse it."""
    batch = default_collate([NoiseClips()[index] for index in range(8)])
    ours = resolved(small_detector().train(), batch, PlainSum())
    model = small_detector().train()
    model(**batch).loss.backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert ours.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(ours[name], grad, rtol=1e-4, atol=1e-6, msg=name)


def test_resumed_detector_equals_one_never_interrupted(tmp_path: Path) -> None:
    """Belief of the temperature and prototypes included; dropout is on."""
    settings = {"gradient_accumulation_steps": 2, "save_steps": 2, "save_strategy": "steps", "num_train_epochs": 4}
    whole = small_detector(dropout=0.2)
    MACBDFTrainer(whole, arguments(tmp_path, **settings, max_steps=6), train_dataset=NoiseClips()).train()
    checkpoint = tmp_path / "checkpoint-4"
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    torch.manual_seed(99)
    resumed = small_detector(dropout=0.2)
    trainer = MACBDFTrainer(resumed, arguments(tmp_path, **settings, max_steps=6), train_dataset=NoiseClips())
    trainer.train(resume_from_checkpoint=str(checkpoint))
    state = resumed.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, state[name]), name
    fresh = small_detector().state_dict()
    moved = [name for name, _ in whole.named_buffers() if name in fresh and not torch.equal(fresh[name], state[name])]
    assert any("temperature" in name for name in moved)
    assert any("cluster" in name for name in moved)


def test_detector_learns_and_evaluates_under_bf16_with_checkpointing(tmp_path: Path) -> None:
    settings = {"bf16": True, "activation_checkpointing": True, "max_steps": 12, "learning_rate": 1e-2}
    model = small_detector()
    clips = NoiseClips()
    trainer = MACBDFTrainer(
        model, arguments(tmp_path, **settings, logging_steps=4), train_dataset=clips, eval_dataset=clips
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    predictions = trainer.predict(clips).predictions
    assert len(predictions[0]) == len(clips)
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert {"temperature", "fusion_video_mean", "cosine_audio", "loss_multimodal"} <= logged.keys()


@pytest.mark.parametrize("aggregator", ["om_pareto", "mmpareto", "mgda", "pcgrad"])
def test_every_rule_trains_the_detector(tmp_path: Path, aggregator: str) -> None:
    model = small_detector()
    MACBDFTrainer(model, arguments(tmp_path, aggregator=aggregator, max_steps=2), train_dataset=NoiseClips()).train()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


@pytest.mark.parametrize("route", ["exact", "joint"])
def test_accumulated_micro_batches_give_the_gradient_of_one_batch_without_contrast(tmp_path: Path, route: str) -> None:
    """Labels are missing unevenly; the ordinary step once gave each micro-batch the same weight all the same."""
    own = {"use_contrastive": False, "fusion_weights": "uniform"}
    settings = {"aggregator": "sum", "gradient_route": route, "max_steps": 1, "max_grad_norm": 0.0}
    settings |= {"seed": 1, "optim": "sgd"}
    steps = []
    for size, accumulation in ((12, 1), (3, 4)):
        model = small_detector(**own)
        changes = settings | {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        trainer = MACBDFTrainer(model, arguments(tmp_path, **changes), train_dataset=NoiseClips())
        trainer.add_callback(gradients := Gradients(model))
        trainer.train()
        steps += gradients.steps
    assert_same_steps(steps[:1], steps[1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("route", ["exact", "feature_space"])
def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path, route: str) -> None:
    """It once ended the first step with an error of autograd."""
    model, before = small_detector(), small_detector()
    model.audio_encoder.requires_grad_(False)
    MACBDFTrainer(model, arguments(tmp_path, gradient_route=route, max_steps=2), train_dataset=NoiseClips()).train()
    for name in ("audio", "video"):
        pairs = zip(*(getattr(m, f"{name}_encoder").parameters() for m in (model, before)), strict=True)
        assert all(torch.equal(own, old) for own, old in pairs) == (name == "audio")


def test_more_objectives_are_resolved_together_and_the_plain_sum_is_the_same_step(tmp_path: Path) -> None:
    apart = ["contrastive", "multimodal_frame"]
    models = []
    for name, separate in (("two", []), ("four", apart)):
        models.append(small_detector(separate_objectives=separate))
        run = arguments(tmp_path / name, aggregator="sum", max_steps=2, weight_decay=0.0, optim="sgd")
        MACBDFTrainer(models[-1], run, train_dataset=NoiseClips()).train()
    for (name, two), four in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        torch.testing.assert_close(two, four, rtol=1e-4, atol=1e-6, msg=name)

    trained = small_detector(separate_objectives=apart)
    MACBDFTrainer(trained, arguments(tmp_path, max_steps=2), train_dataset=NoiseClips()).train()
    objectives = ["multimodal", "contrastive_objective", "multimodal_frame_objective", "audio"]
    for row in read_rows(tmp_path / "conflict.csv"):
        assert all(f"loss_{name}" in row for name in objectives)
        assert sum(row[f"alpha_audio_{name}"] for name in objectives) == pytest.approx(1.0)
        assert row["clip_loss"] == pytest.approx(row["loss_multimodal"])  # nothing else is left in it
