"""Learning: what the loss reaches, and that eight clips can be learned by heart."""

import copy

import pytest
import torch

from modeling_macbdf import MACBDFForClassification
from modeling_macbdf.losses_macbdf import OBJECTIVES

from .conftest import build_batch, build_config, build_model

ON = {"sync_head": True, "prototype_warmup": 2, "dropout": 0.1}
OFF = {"guided_fusion": False, "use_contrastive": False, "fusion_weights": "uniform", "sync_head": False}
LABELS = {
    "labels": torch.tensor([0, 1, 0, 1, 0, 1, 0, 1]),
    "video_labels": torch.tensor([0, 1, 0, 0, 0, 1, 0, 1]),
    "audio_labels": torch.tensor([0, 0, 0, 1, 0, 1, 0, 0]),
}


@pytest.mark.parametrize("switches", [ON, OFF], ids=["every switch on", "every switch off"])
def test_eight_clips_are_learned_to_zero_errors(switches):
    torch.manual_seed(0)
    steps = 4
    model = MACBDFForClassification(build_config(num_frames=steps, **switches)).train()
    data = build_batch(clips=8, steps=steps)
    sync = torch.randint(0, 2, (8, steps)) if model.config.sync_head else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(30):
        loss = model(**data, **LABELS, sync_labels=sync).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        output = model.eval()(**data)
    for name, labels in LABELS.items():
        assert torch.equal(output[name.replace("labels", "logits")] > 0, labels == 1), name


def test_every_parameter_learns_with_every_switch_on():
    model = build_model(**{**ON, "dropout": 0.0}).train()
    for _ in range(2):  # the prototypes weigh only once they have been seen
        model(**build_batch(clips=8), **LABELS, sync_labels=torch.ones(8, 8).long()).loss.backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert idle == []


def test_the_loss_is_the_sum_of_the_objectives(tiny_model):
    output = tiny_model(**build_batch(clips=8), **LABELS)
    assert set(output.objectives) == set(OBJECTIVES)
    torch.testing.assert_close(output.loss, sum(output.objectives.values()))
    assert all(value.requires_grad for value in output.objectives.values())
    assert not any(value.requires_grad for value in output.loss_terms.values())


def test_without_labels_there_is_no_loss(tiny_model, batch):
    output = tiny_model(**batch)
    assert output.loss is None
    assert output.loss_terms is None
    assert output.objectives is None


def test_cut_at_the_scales_the_gradients_add_up_to_the_whole(tiny_model):
    """What the trainer relies on: heads from detached scales, then one product per encoder."""
    model, data = copy.deepcopy(tiny_model), build_batch(clips=8)
    model(**data, **LABELS).loss.backward()
    whole = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    masks = {name: data[name] for name in ("video_mask", "audio_mask")}
    scales = model.encode(**data)
    cut = [[scale.detach().requires_grad_() for scale in stream] for stream in scales]
    model.forward_from_scales(*cut, **masks, **LABELS).loss.backward()
    for live, leaf in zip(scales, cut, strict=True):
        torch.autograd.backward(live, [scale.grad for scale in leaf])
    for name, parameter in model.named_parameters():
        if whole[name] is not None:
            torch.testing.assert_close(parameter.grad, whole[name], atol=1e-5, rtol=1e-4, msg=name)


def test_encoder_parameters_are_those_of_the_towers(tiny_model):
    groups = tiny_model.encoder_parameters()
    assert {id(p) for p in groups["video"]} == {id(p) for p in tiny_model.video_encoder.parameters()}
    assert {id(p) for p in groups["audio"]} == {id(p) for p in tiny_model.audio_encoder.parameters()}


def test_a_missing_stream_gives_finite_gradients():
    """A NaN filler once reached the convolutions' gradients through a product with zero."""
    model, data = build_model(sync_head=True).train(), build_batch(clips=8)
    data["video_mask"][2], data["audio_mask"][5] = False, False
    data["pixel_values"][2], data["input_features"][5] = float("nan"), float("nan")
    model(**data, **LABELS).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_training_moves_the_belief_and_the_prototypes_and_evaluation_does_not():
    model = build_model()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(**build_batch(clips=8), **LABELS)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    model.train()(**build_batch(clips=8), **LABELS)
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert {"temperature.belief_mean", "macbdf.cluster_weighting.bank.prototypes"} <= moved


def test_training_without_labels_teaches_the_belief_nothing(batch):
    model = build_model().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(**batch)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = build_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**build_batch(clips=8), **LABELS).loss.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain, atol=1e-6, rtol=1e-5)
