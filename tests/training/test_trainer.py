"""`MACBDFTrainer` against the ordinary Trainer, against itself under accumulation, and what it refuses."""

import csv
from pathlib import Path

import pytest
import torch
from accelerate.optimizer import patch_optimizer_step
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from modeling_macbdf.optim import Cut, ObjectiveGradients, OMPareto
from modeling_macbdf.training import MACBDFTrainer, MACBDFTrainingArguments

from .small import NoiseClips, small_detector
from .toy import ToyData, ToyDetector

ORDINARY = {
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
}


class Gradients(TrainerCallback):
    """Keeps `.grad` as the optimizer sees it at each step."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.steps = model, []

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        self.steps.append({n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})


def arguments(path: Path, **changes) -> MACBDFTrainingArguments:
    return MACBDFTrainingArguments(output_dir=str(path), **{**ORDINARY, "max_grad_norm": 0.0, **changes})


def trained(path: Path, model: nn.Module | None = None, data: Dataset | None = None, **changes):
    model = ToyDetector() if model is None else model
    trainer = MACBDFTrainer(model, arguments(path, **changes), train_dataset=data or ToyData())
    gradients = Gradients(model)
    trainer.add_callback(gradients)
    trainer.train()
    return model, gradients.steps, trainer


def assert_same_steps(ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]], **tolerance: float) -> None:
    assert len(ours) == len(theirs) > 0
    for first, second in zip(ours, theirs, strict=True):
        assert first.keys() == second.keys()
        for name, grad in first.items():
            torch.testing.assert_close(grad, second[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("route", ["exact", "feature_space", "joint"])
def test_plain_sum_is_an_ordinary_trainer_step(tmp_path: Path, accumulation: int, route: str) -> None:
    """Complete labels: with as many labels in every micro-batch the Trainer's mean of means is the mean."""
    data = ToyData()
    data.labels.clamp_(min=0)
    changes = {"gradient_accumulation_steps": accumulation, "max_grad_norm": 0.5}
    _, ours, _ = trained(tmp_path, data=data, aggregator="sum", gradient_route=route, **changes)
    model = ToyDetector()
    gradients = Gradients(model)
    ordinary = TrainingArguments(output_dir=str(tmp_path), label_names=["labels"], **{**ORDINARY, **changes})
    Trainer(model, ordinary, train_dataset=data, callbacks=[gradients]).train()
    assert_same_steps(ours, gradients.steps, rtol=1e-5, atol=1e-6)


def test_om_pareto_direction_reaches_the_optimizer(tmp_path: Path) -> None:
    """The first step against the rule applied by hand to the same batch."""
    seen = []

    class Recording(ToyDetector):
        def encode(self, **inputs):
            seen.append({name: value.clone() for name, value in inputs.items()})
            return super().encode(**inputs)

        def forward_from_scales(self, *args, **kwargs):
            seen[-1] |= {name: value.clone() for name, value in kwargs.items() if name.endswith("labels")}
            return super().forward_from_scales(*args, **kwargs)

    _, steps, _ = trained(tmp_path, Recording(), gamma=1.5)
    model = ToyDetector()
    output = model(**seen[0])
    store = ObjectiveGradients(model.encoder_parameters(), [p for n, p in model.named_parameters() if "head" in n])
    store.accumulate(output.objectives)
    report = store.resolve(OMPareto(gamma=1.5))
    assert any(found.conflict for found in report.groups.values())
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert_same_steps(steps[:1], [expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("aggregator", ["om_pareto", "mgda"])
def test_accumulated_micro_batches_give_the_gradient_of_one_batch(tmp_path: Path, aggregator: str) -> None:
    """Labels are missing here and there, and the last batch of an epoch is odd: 22 clips in eights."""
    common = {"aggregator": aggregator, "max_steps": 6}
    _, whole, _ = trained(tmp_path, data=ToyData(22), per_device_train_batch_size=8, **common)
    accumulated = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    _, parts, _ = trained(tmp_path, data=ToyData(22), **accumulated, **common)
    assert_same_steps(whole, parts, rtol=1e-5, atol=1e-6)


def test_clipping_comes_last(tmp_path: Path) -> None:
    _, steps, _ = trained(tmp_path, max_grad_norm=1e-3, gamma=3.0)
    for step in steps:
        total = torch.stack([grad.norm() for grad in step.values()]).norm()
        assert float(total) == pytest.approx(1e-3, rel=1e-3)


def test_bf16_differs_by_its_own_rounding_only(tmp_path: Path) -> None:
    """Cosine of the whole gradient with the float32 one: at bf16's noise, like an ordinary step under autocast."""
    directions = {}
    for precision in (False, True):
        _, steps, _ = trained(tmp_path, aggregator="sum", bf16=precision, max_steps=1)
        directions[precision] = torch.cat([grad.flatten() for grad in steps[0].values()])
    assert directions[True].dtype == torch.float32
    assert not torch.equal(directions[True], directions[False])
    relative = (directions[True] - directions[False]).norm() / directions[False].norm()
    assert float(relative) < 2e-2
    _, om_pareto, _ = trained(tmp_path, bf16=True, max_steps=1)
    assert all(torch.isfinite(grad).all() for grad in om_pareto[0].values())


@pytest.mark.parametrize("route", ["exact", "feature_space"])
def test_non_finite_gradients_skip_the_step_and_are_reported(tmp_path: Path, route: str) -> None:
    class Exploding(ToyDetector):
        def forward_from_scales(self, *args, **kwargs):
            output = super().forward_from_scales(*args, **kwargs)
            output["objectives"]["video"] = output["objectives"]["video"] * torch.nan
            return output

    model, steps, trainer = trained(tmp_path, Exploding(), gradient_route=route, weight_decay=0.5)
    for name, parameter in ToyDetector().named_parameters():
        torch.testing.assert_close(dict(model.named_parameters())[name], parameter, rtol=0, atol=0)
    assert steps == [{}] * 3
    assert [row["finite"] for row in rows(tmp_path)] == ["0.0"] * 3
    assert trainer.state.global_step == 3


def test_a_loss_scale_changes_no_weight_of_the_rule(tmp_path: Path, monkeypatch) -> None:
    """fp16: the gradients arrive scaled, the rule is the same, and the optimizer's scaler divides them later."""
    _, plain, _ = trained(tmp_path, max_steps=1)
    monkeypatch.setattr(MACBDFTrainer, "_scaled", lambda self, loss: loss * 2.0**10)
    _, scaled, _ = trained(tmp_path, max_steps=1)
    assert_same_steps([{name: grad / 2.0**10 for name, grad in scaled[0].items()}], plain, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("overflows", [False, True])
def test_fp16_scaler_steps_on_finite_gradients_and_skips_overflow(tmp_path: Path, overflows: bool) -> None:
    """A scaler as on a GPU, planted by hand, for a CPU gets none: it must see the overflow, halve its scale, skip."""
    model = ToyDetector()
    trainer = MACBDFTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=ToyData())
    scaler = torch.amp.GradScaler("cpu", init_scale=3e38 if overflows else 2.0**10, growth_interval=1)

    class UseScaler(TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer=None, **kwargs) -> None:
            trainer.accelerator.scaler = optimizer.scaler = scaler
            optimizer._accelerate_step_called = False
            optimizer._optimizer_original_step_method = optimizer.optimizer.step
            optimizer._optimizer_patched_step_method = patch_optimizer_step(optimizer, optimizer.optimizer.step)

    trainer.add_callback(UseScaler())
    trainer.train()
    moved = any(not torch.equal(p, q) for p, q in zip(model.parameters(), ToyDetector().parameters(), strict=True))
    assert moved is not overflows
    assert (scaler.get_scale() < 3e38) if overflows else (scaler.get_scale() == 2.0**11)


def test_torch_compile_gives_the_same_gradients(tmp_path: Path) -> None:
    """A compiled backward once refused to run twice over the same graph."""
    _, eager, _ = trained(tmp_path, max_steps=2)
    _, compiled, _ = trained(tmp_path, max_steps=2, torch_compile=True, torch_compile_backend="aot_eager")
    assert_same_steps(eager, compiled, rtol=1e-5, atol=1e-6)


def test_checkpointed_encoders_give_the_same_gradients(tmp_path: Path) -> None:
    class Checkpointed(ToyDetector):
        def encode(self, **inputs):
            run = torch.utils.checkpoint.checkpoint
            return (
                [run(self.video_encoder, inputs["pixel_values"], use_reentrant=False)],
                [run(self.audio_encoder, inputs["input_features"], use_reentrant=False)],
            )

    _, whole, _ = trained(tmp_path, ToyDetector(0.3))
    _, recomputed, _ = trained(tmp_path, Checkpointed(0.3))
    assert_same_steps(whole, recomputed, rtol=1e-5, atol=1e-6)


def rows(path: Path) -> list[dict[str, str]]:
    with (path / "conflict.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_step_is_written_to_the_conflict_file(tmp_path: Path) -> None:
    _, _, trainer = trained(tmp_path, logging_steps=1, gradient_accumulation_steps=2)
    written = rows(tmp_path)
    assert [float(row["step"]) for row in written] == [1, 2, 3]
    for row in written:
        assert -1.0 <= float(row["cosine_video"]) <= 1.0
        alphas = [float(row[f"alpha_audio_{name}"]) for name in ("multimodal", "audio")]
        assert sum(alphas) == pytest.approx(1.0)
        assert sum(float(row[f"fusion_video_bin{index}"]) for index in range(10)) == 8
        assert float(row["fusion_video_mean"]) + float(row["fusion_audio_mean"]) == pytest.approx(1.0)
        total = sum(float(row[f"loss_{name}"]) for name in ("multimodal", "video", "audio"))
        assert total > 0
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged[0]["loss"] == pytest.approx(
        sum(logged[0][f"loss_{name}"] for name in ("multimodal", "video", "audio")), abs=1e-3
    )
    assert {"cosine_video", "conflict_audio", "amplification_video", "temperature"} <= logged[0].keys()


def test_evaluation_returns_the_loss_with_some_labels_only(tmp_path: Path) -> None:
    model = ToyDetector()
    trainer = MACBDFTrainer(model, arguments(tmp_path), train_dataset=ToyData(), eval_dataset=ToyData(10))
    assert "eval_loss" in trainer.evaluate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregator": "median"}, "aggregator must be one of"),
        ({"gradient_route": "fast"}, "gradient_route must be one of"),
        ({"gradient_route": "joint"}, "gradient_route='joint' must go with aggregator='sum'"),
        ({"rho_max": 2.0}, r"rho_max must be in \[0, 1\], but got 2.0"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, "use_reentrant"),
        ({"optim": "lomo"}, "optim must not update within the backward pass"),
        ({"fp16": True}, "fp16 must be false on a CPU"),  # it once computed in float32 without a word
    ],
)
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_arguments_that_cannot_be_right_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **changes)


@pytest.mark.parametrize(("name", "value"), [("fsdp", True), ("deepspeed", {"zero_optimization": {"stage": 2}})])
def test_sharded_backends_are_refused_at_the_start(tmp_path: Path, name: str, value: object) -> None:
    args = arguments(tmp_path)
    setattr(args, name, value)
    with pytest.raises(ValueError, match=f"{name} must be off with MACBDFTrainer.*DDP"):
        MACBDFTrainer(ToyDetector(), args, train_dataset=ToyData())


def test_a_backend_set_up_by_the_launcher_is_refused_too(tmp_path: Path, monkeypatch) -> None:
    set_up = Trainer.create_accelerator_and_postprocess

    def with_fsdp(trainer: Trainer) -> None:
        set_up(trainer)
        trainer.is_fsdp_enabled = True

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", with_fsdp)
    with pytest.raises(ValueError, match="fsdp must be off"):
        MACBDFTrainer(ToyDetector(), arguments(tmp_path), train_dataset=ToyData())


def test_a_model_without_the_interface_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Linear lacks .*encode"):
        MACBDFTrainer(nn.Linear(2, 2), arguments(tmp_path), train_dataset=ToyData())


def test_other_arguments_and_losses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="args must be MACBDFTrainingArguments, but got NoneType"):
        MACBDFTrainer(ToyDetector())
    with pytest.raises(ValueError, match="compute_loss_func must be None"):
        MACBDFTrainer(ToyDetector(), arguments(tmp_path), compute_loss_func=print)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_batches_without_labels_are_refused_in_training(tmp_path: Path, accumulation: int) -> None:
    """With the real model this once was a KeyError, or a StopIteration under accumulation."""

    class Unlabelled(NoiseClips):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {name: value for name, value in super().__getitem__(index).items() if "labels" not in name}

    with pytest.raises(ValueError, match="inputs must hold labels in training"):
        trained(tmp_path, small_detector(), Unlabelled(), gradient_accumulation_steps=accumulation)


def test_what_a_broken_step_left_does_not_enter_the_next_run(tmp_path: Path) -> None:
    """The first of two micro-batches had been taken when an error ended the run; its gradient then came twice."""

    class BreaksOnce(ToyDetector):
        calls = 0

        def encode(self, **inputs):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("interrupted")
            return super().encode(**inputs)

    settings = {"gradient_accumulation_steps": 2, "max_steps": 1}
    _, expected, _ = trained(tmp_path / "whole", **settings)
    model = BreaksOnce()
    trainer = MACBDFTrainer(model, arguments(tmp_path / "broken", **settings), train_dataset=ToyData())
    with pytest.raises(RuntimeError, match="interrupted"):
        trainer.train()
    gradients = Gradients(model)
    trainer.add_callback(gradients)
    trainer.train()
    assert_same_steps(gradients.steps, expected, rtol=1e-5, atol=1e-6)


def test_the_cut_hands_back_what_it_was_given() -> None:
    scales = [torch.ones(2, requires_grad=True), torch.ones(3)]
    cut = Cut({"video": scales, "audio": None})
    assert [leaf.requires_grad for leaf in cut["video"]] == [True, False]
    assert cut["audio"] is None
