"""MACL: the embeddings, the pair rule of the loss, and a temperature that learns without swinging."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modeling_macbdf.contrastive_macbdf import AdaptiveTemperature, ContrastiveHead, contrastive_loss

LOW, HIGH, START = 0.01, 0.5, 0.07


def config(**changes) -> SimpleNamespace:
    values = {
        "hidden_size": 24,
        "projection_size": 16,
        "num_attention_heads": 4,
        "temperature_mode": "adaptive",
        "temperature_value": START,
        "temperature_min": LOW,
        "temperature_max": HIGH,
    }
    return SimpleNamespace(**values | changes)


def unit(count: int, seed: int = 0, width: int = 16) -> Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def everything(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def lively(**changes) -> AdaptiveTemperature:
    """A temperature whose proposals depend strongly on the batch, as after unfortunate training."""
    temperature = AdaptiveTemperature(config(**changes))
    torch.nn.init.normal_(temperature.proposal.output.weight, std=20.0)
    return temperature


class Scripted(torch.nn.Module):
    """Proposes what the test says."""

    def __init__(self, log_taus: list[float], variance: float = 0.1) -> None:
        super().__init__()
        self.log_taus = [torch.tensor(value, requires_grad=True) for value in log_taus]
        self.variance = torch.tensor(variance, requires_grad=True)

    def forward(self, z_v: Tensor, z_a: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_taus.pop(0) * 1, self.variance * 1


# Embeddings


def test_embeddings_have_unit_norm_and_a_missing_modality_gives_zeros():
    torch.manual_seed(0)
    video_mask, audio_mask = torch.ones(4, 6, dtype=torch.bool), torch.ones(4, 6, dtype=torch.bool)
    audio_mask[2] = False
    z_v, z_a = ContrastiveHead(config())(torch.randn(4, 6, 24), torch.randn(4, 6, 24), video_mask, audio_mask)
    assert z_v.shape == z_a.shape == (4, 16)
    torch.testing.assert_close(z_v.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(z_a.norm(dim=-1), torch.tensor([1.0, 1.0, 0.0, 1.0]))


def test_padded_steps_never_reach_an_embedding_even_as_nan():
    torch.manual_seed(0)
    head, features = ContrastiveHead(config()), torch.randn(3, 6, 24, requires_grad=True)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[:, 4:], mask[1] = False, False
    spoilt = features.masked_fill(~mask.unsqueeze(-1), float("nan"))
    clean = head(features[:, :4], features[:, :4], mask[:, :4], mask[:, :4])[0]
    padded = head(spoilt, spoilt, mask, mask)[0]
    torch.testing.assert_close(padded, clean)
    padded[:, 0].sum().backward()
    assert torch.isfinite(features.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in head.video_projection.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_are_float32_in_a_half_precision_model(dtype):
    head, mask = ContrastiveHead(config()).to(dtype), torch.ones(3, 6, dtype=torch.bool)
    z_v, _ = head(torch.randn(3, 6, 24, dtype=dtype), torch.randn(3, 6, 24, dtype=dtype), mask, mask)
    assert z_v.dtype == torch.float32
    torch.testing.assert_close(z_v.norm(dim=-1), torch.ones(3))


# Loss


def reference_loss(z_v: Tensor, z_a: Tensor, tau: float, positive: list[bool], valid: list[bool]) -> float:
    """The pair rule in plain loops and double precision."""
    count = len(valid)
    score = [[float(z_v[i].double() @ z_a[j].double()) / tau for j in range(count)] for i in range(count)]
    forged = [math.exp(score[k][k]) for k in range(count) if valid[k] and not positive[k]]
    terms = []
    for i in range(count):
        if positive[i] and valid[i]:
            row = sum(math.exp(score[i][j]) for j in range(count) if valid[j]) + sum(forged)
            column = sum(math.exp(score[j][i]) for j in range(count) if valid[j]) + sum(forged)
            own = math.exp(score[i][i])
            terms += [-math.log(own / row), -math.log(own / column)]
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("tau", [0.05, 0.07, 0.5])
@pytest.mark.parametrize(
    ("positive", "valid"),
    [([1] * 7, [1] * 7), ([1, 0, 1, 0, 0, 1, 1], [1] * 7), ([1, 0, 1, 0, 0, 1, 1], [1, 1, 0, 1, 0, 1, 1])],
)
def test_loss_equals_an_independent_reference_at_fixed_temperature(tau, positive, valid):
    z_v, z_a = unit(7, 1), unit(7, 2)
    loss = contrastive_loss(z_v, z_a, tau, flags(*positive), flags(*valid))
    expected = reference_loss(z_v, z_a, tau, [bool(p) for p in positive], [bool(v) for v in valid])
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_without_forged_pairs_the_loss_is_symmetric_cross_entropy():
    z_v, z_a, target = unit(8, 1), unit(8, 2), torch.arange(8)
    logits = z_v @ z_a.T / 0.07
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(contrastive_loss(z_v, z_a, 0.07, everything(8), everything(8)), expected)


def test_gradient_pulls_a_real_pair_together_and_pushes_a_forged_pair_apart():
    z_v, z_a = unit(6, 1).requires_grad_(), unit(6, 1) * 0.9
    contrastive_loss(z_v, z_a, 0.2, flags(1, 1, 0, 1, 1, 1), everything(6)).backward()
    along = (z_v.grad * z_a).sum(dim=-1)  # > 0: a step downhill lowers the pair's similarity
    assert along[2] > 0
    assert (along[flags(1, 1, 0, 1, 1, 1)] < 0).all()


def test_an_invalid_pair_changes_nothing_whatever_it_holds():
    z_v, z_a = unit(5, 1), unit(5, 2)
    keep = flags(1, 1, 0, 1, 1)
    expected = contrastive_loss(z_v[keep], z_a[keep], 0.07, everything(4), everything(4))
    z_v[2], z_a[2] = float("nan"), 1e6
    z_v.requires_grad_()
    loss = contrastive_loss(z_v, z_a, 0.07, everything(5), keep)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    assert (z_v.grad[2] == 0).all()
    assert torch.isfinite(z_v.grad).all()


@pytest.mark.parametrize("valid", [everything(4), ~everything(4)])
def test_a_batch_without_a_real_pair_costs_exactly_zero_and_stays_in_the_graph(valid):
    z_v = unit(4, 1).requires_grad_()
    loss = contrastive_loss(z_v, unit(4, 2), 0.07, ~everything(4), valid)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert (z_v.grad == 0).all()


def test_loss_is_finite_at_the_lowest_temperature_and_equal_under_autocast():
    z_v, z_a = unit(6, 1).requires_grad_(), -unit(6, 1)
    plain = contrastive_loss(z_v, z_a, LOW, everything(6), everything(6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = contrastive_loss(z_v, z_a, LOW, everything(6), everything(6))
    assert torch.equal(plain, mixed)
    plain.backward()
    assert torch.isfinite(plain)
    assert torch.isfinite(z_v.grad).all()


def test_wrong_shapes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"positive, valid \(B,\), but got .*\(4,\)"):
        contrastive_loss(unit(5), unit(5), 0.07, everything(5), everything(4))


# Temperature


@torch.no_grad()
def test_temperature_stays_in_range_for_ten_thousand_random_updates():
    torch.manual_seed(0)
    temperature, seen = lively(), []
    pairs, valid = torch.randn(100, 2, 6, 16), torch.rand(100, 6) < 0.7
    pairs[13, 0, 0] = float("nan")
    pairs[17] *= 1e20
    for step in range(10_000):
        index = step % 100
        temperature.gradient_mean.fill_(step % 7)
        temperature.gradient_variance.fill_(step % 11 * 1e3)
        seen.append(temperature(*pairs[index], valid[index]))
    values = torch.stack(seen)
    assert values.min() >= LOW * (1 - 1e-6)
    assert values.max() <= HIGH * (1 + 1e-6)
    assert values.std() > 1e-3  # the proposals did move it
    assert 0 < temperature.belief_variance < 1


@pytest.mark.parametrize("erratic", [False, True])
def test_an_alternating_proposal_is_damped(erratic):
    temperature = AdaptiveTemperature(config())
    extremes = [math.log(LOW), math.log(HIGH)]
    temperature.proposal = Scripted(extremes * 100)
    if erratic:  # the largest process noise there is
        temperature.gradient_mean.fill_(1.0)
        temperature.gradient_variance.fill_(1e6)
    z = unit(4)
    steps = [float(temperature(z, z, everything(4)).detach().log()) for _ in range(200)]
    swing = [abs(b - a) for a, b in pairwise([math.log(START), *steps])]
    full = extremes[1] - extremes[0]
    periods = [max(swing[i : i + 2]) for i in range(0, 200, 2)]
    assert max(swing) < 0.6 * full
    assert all(later <= earlier + 1e-5 for earlier, later in pairwise(periods))
    assert periods[-1] < (0.1 if erratic else 0.02) * full


def test_belief_update_is_the_closed_form_and_only_the_proposal_carries_gradient():
    temperature = AdaptiveTemperature(config())
    temperature.proposal = scripted = Scripted([math.log(0.2)], variance=0.3)
    proposal, variance = scripted.log_taus[0], scripted.variance
    mean, spread, noise = math.log(START), float(temperature.belief_variance), float(temperature.process_noise())
    gain = spread / (spread + 0.3)
    tau = temperature(unit(4), unit(4), everything(4))
    assert float(tau.detach().log()) == pytest.approx(mean + gain * (math.log(0.2) - mean), rel=1e-5)
    assert float(temperature.belief_mean) == pytest.approx(float(tau.detach().log()), rel=1e-5)
    assert float(temperature.belief_variance) == pytest.approx((1 - gain) * spread + noise, rel=1e-5)
    tau.log().backward()
    assert float(proposal.grad) == pytest.approx(gain, rel=1e-5)
    assert variance.grad is not None
    assert not temperature.belief_mean.requires_grad


def test_loss_trains_the_proposal_network_but_not_the_embeddings_through_it():
    torch.manual_seed(0)
    temperature, z_v = lively(), unit(6, 1).requires_grad_()
    temperature(z_v, unit(6, 2), everything(6)).backward()
    assert z_v.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in temperature.proposal.value.parameters())


def test_erratic_gradients_raise_the_process_noise_and_loss_scaling_does_not():
    def noise_after(gradients: list[float], scale: float = 1.0) -> float:
        temperature = AdaptiveTemperature(config())
        for gradient in gradients:
            (temperature(unit(4), unit(4), everything(4)).log() * gradient * scale).backward()
        return float(temperature.process_noise())

    steady, erratic = [1.0, 1.02, 0.98] * 10, [0.01, 3.0, 0.02] * 10
    assert noise_after(erratic) > 10 * noise_after(steady)
    assert noise_after(erratic, scale=65536.0) == pytest.approx(noise_after(erratic), rel=1e-3)


def test_gradient_history_counts_one_forward_once_however_it_is_differentiated():
    def recorded(differentiate) -> tuple[float, float]:
        temperature = AdaptiveTemperature(config())
        tau = temperature(unit(6, 1), unit(6, 2), everything(6))
        differentiate(contrastive_loss(unit(6, 1), unit(6, 2), tau, everything(6), everything(6)), temperature)
        return float(temperature.gradient_mean), float(temperature.gradient_count)

    def twice(loss: Tensor, _: AdaptiveTemperature) -> None:
        (loss * 0).backward(retain_graph=True)  # an objective that does not use tau
        loss.backward(retain_graph=True)
        loss.backward()

    once = recorded(lambda loss, _: loss.backward())
    assert once[0] > 0
    assert once[1] == 1
    assert recorded(twice) == once
    assert recorded(lambda loss, t: torch.autograd.grad(loss, list(t.parameters()))) == once


def test_recorded_gradient_is_that_of_log_tau_also_under_autocast():
    temperature = AdaptiveTemperature(config())
    z_v, z_a = unit(6, 1), unit(6, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        contrastive_loss(z_v, z_a, temperature(z_v, z_a, everything(6)), everything(6), everything(6)).backward()
    log_tau = temperature.belief_mean.clone().requires_grad_()
    contrastive_loss(z_v, z_a, log_tau.exp(), everything(6), everything(6)).backward()
    assert float(temperature.gradient_mean) == pytest.approx(abs(float(log_tau.grad)), rel=1e-4)
    assert temperature.belief_mean.dtype == torch.float32


def test_a_gradient_that_overflows_is_not_remembered():
    temperature = AdaptiveTemperature(config())
    (temperature(unit(4), unit(4), everything(4)) * float("inf")).backward()
    assert float(temperature.gradient_count) == 0
    assert torch.isfinite(temperature.process_noise())


def test_a_batch_without_a_pair_leaves_the_belief():
    temperature = lively()
    before = {name: value.clone() for name, value in temperature.named_buffers()}
    tau = temperature(unit(4), unit(4), ~everything(4))
    tau.backward()
    assert float(tau.detach()) == pytest.approx(START)
    assert all(torch.equal(value, before[name]) for name, value in temperature.named_buffers())


def test_belief_is_saved_and_restored():
    torch.manual_seed(0)
    trained = lively()
    for step in range(5):
        trained(unit(6, step), unit(6, step + 50), everything(6)).backward()
    restored = AdaptiveTemperature(config())
    assert not torch.equal(restored.belief_mean, trained.belief_mean)
    restored.load_state_dict(trained.state_dict())
    for step in (10, 11):  # the belief itself, and everything that the next update depends on
        pair = unit(6, step), unit(6, step + 50), everything(6)
        assert torch.equal(restored(*pair), trained(*pair))
    assert torch.equal(restored.eval()(*pair), trained.eval()(*pair))


def test_evaluation_reads_the_belief_and_changes_nothing():
    temperature = lively().eval()
    before = {name: value.clone() for name, value in temperature.named_buffers()}
    tau = temperature(unit(6, 1), unit(6, 2), everything(6))
    assert float(tau) == pytest.approx(START)
    assert all(torch.equal(value, before[name]) for name, value in temperature.named_buffers())


def test_evaluation_compiles_without_a_graph_break():
    for mode in ("adaptive", "learned", "fixed"):
        temperature = AdaptiveTemperature(config(temperature_mode=mode)).eval()
        compiled = torch.compile(temperature, backend="eager", fullgraph=True)
        assert float(compiled(unit(4), unit(4), everything(4)).detach()) == pytest.approx(START)


def test_a_fixed_temperature_has_no_state_and_a_learned_one_stays_in_range():
    fixed = AdaptiveTemperature(config(temperature_mode="fixed"))
    assert not fixed.state_dict()
    assert float(fixed(unit(2), unit(2), everything(2))) == pytest.approx(START)
    learned = AdaptiveTemperature(config(temperature_mode="learned"))
    optimizer = torch.optim.SGD(learned.parameters(), lr=10.0)
    for _ in range(50):
        optimizer.zero_grad()
        learned(unit(2), unit(2), everything(2)).log().backward()
        optimizer.step()
    assert LOW * (1 - 1e-6) <= float(learned(unit(2), unit(2), everything(2)).detach()) < 0.02
    assert float(learned.raw_temperature.grad) > 0  # still able to come back


def test_a_width_that_the_heads_do_not_divide_is_refused_by_name():
    with pytest.raises(ValueError, match="projection_size must be a multiple of num_attention_heads=4, but got 18"):
        AdaptiveTemperature(config(projection_size=18))
