"""The attack stays within its limit and moves the answer the way it is told."""

from types import SimpleNamespace

import pytest
import torch

from modeling_macbdf.evaluation.adversarial import attacked


def model(pixel_values, weight):
    return SimpleNamespace(logits=(torch.tanh(pixel_values) * weight).flatten(1).sum(1))


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return {"pixel_values": torch.randn(2, 3, 3, 4, 4), "weight": torch.randn(3, 3, 4, 4)}


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("towards_fake", [True, False])
def test_it_moves_every_clip_as_told_within_the_limit(inputs, steps, towards_fake):
    limit = torch.tensor([0.01, 0.02, 0.03])[:, None, None]
    changed = attacked(model, inputs, limit, towards_fake, steps)
    change = (changed - inputs["pixel_values"]).abs()
    assert torch.all(change <= limit + 1e-6)
    moved = model(changed, inputs["weight"]).logits - model(**inputs).logits
    assert torch.all(moved > 0 if towards_fake else moved < 0)


def test_it_moves_further_than_noise_of_the_same_size(inputs):
    limit = torch.tensor(0.02)
    noise = inputs["pixel_values"] + limit * torch.randn_like(inputs["pixel_values"]).sign()
    by_noise = (model(noise, inputs["weight"]).logits - model(**inputs).logits).abs()
    attack = model(attacked(model, inputs, limit, True), inputs["weight"]).logits - model(**inputs).logits
    assert torch.all(attack > 3 * by_noise)


def test_no_step_is_refused(inputs):
    with pytest.raises(ValueError, match="steps must be at least 1, but got 0"):
        attacked(model, inputs, torch.tensor(0.1), True, 0)
