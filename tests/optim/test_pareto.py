"""Properties of the aggregation rules over families of gradient matrices (K objectives x n parameters)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from modeling_macbdf.optim import MGDA, MMPareto, OMPareto, PCGrad, PlainSum, Rule, min_norm_weights

EVERY_RULE = [OMPareto(), OMPareto(rho_max=0.3, gamma=1.5), PlainSum(), MMPareto(), MGDA(), PCGrad()]
NEVER_OPPOSING = [OMPareto(), OMPareto(rho_max=0.5), OMPareto(gamma=2.0, max_amplification=50.0), MMPareto(), MGDA()]


def random(k: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(k, 20, generator=generator, dtype=torch.float64)


def opposed(k: int, generator: torch.Generator) -> torch.Tensor:
    """All share one direction with changing sign: heavy conflict."""
    common = torch.randn(20, generator=generator, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0]).repeat(k)[:k, None]
    return signs * common + 0.3 * random(k, generator)


def nearly_antiparallel(k: int, generator: torch.Generator) -> torch.Tensor:
    common = torch.randn(20, generator=generator, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0]).repeat(k)[:k, None]
    return signs * common + 1e-4 * random(k, generator)


def antiparallel(k: int, generator: torch.Generator) -> torch.Tensor:
    common = torch.randn(20, generator=generator, dtype=torch.float64)
    return torch.tensor([1.0, -2.0, 3.0, -0.5, 1.5], dtype=torch.float64)[:k, None] * common


def rank_one(k: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(k, 1, generator=generator, dtype=torch.float64) * torch.ones(1, 20, dtype=torch.float64)


def norm_ratios(k: int, generator: torch.Generator) -> torch.Tensor:
    return opposed(k, generator) * torch.logspace(-3, 3, k, dtype=torch.float64)[:, None]


def dependent(k: int, generator: torch.Generator) -> torch.Tensor:
    basis = random(2, generator)
    return torch.randn(k, 2, generator=generator, dtype=torch.float64) @ basis


def zero_row(k: int, generator: torch.Generator) -> torch.Tensor:
    gradients = opposed(k, generator)
    gradients[0] = 0.0
    return gradients


FAMILIES = [random, opposed, nearly_antiparallel, antiparallel, rank_one, norm_ratios, dependent, zero_row]
family = pytest.mark.parametrize("sample", FAMILIES, ids=lambda sample: sample.__name__)
sizes = pytest.mark.parametrize("k", [2, 3, 4, 5])


def cases(sample: Callable, k: int, count: int = 12):
    generator = torch.Generator().manual_seed(17 * k)
    return (sample(k, generator) for _ in range(count))


def least_product(gradients: torch.Tensor, weights: torch.Tensor) -> float:
    """min_k <g, g_k>, relative to |g_k| and to the length the weighted gradients would have without cancelling."""
    norms = gradients.norm(dim=1)
    reach = (weights.abs() * norms).sum() * norms
    products = gradients @ (weights @ gradients)
    known = reach > 0
    return float((products[known] / reach[known]).min()) if known.any() else 0.0


@family
@sizes
@pytest.mark.parametrize("rule", NEVER_OPPOSING, ids=str)
def test_direction_never_opposes_an_objective(rule: Rule, sample: Callable, k: int) -> None:
    for gradients in cases(sample, k):
        weights = rule(gradients @ gradients.T).weights
        assert torch.isfinite(weights).all()
        assert least_product(gradients, weights) >= -1e-12


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(2, 5),
    n=st.integers(1, 6),
    scales=st.lists(st.floats(-6, 6), min_size=5, max_size=5),
    rho_max=st.floats(0, 1),
)
def test_direction_never_opposes_an_objective_for_any_shape_and_scale(seed, k, n, scales, rho_max) -> None:
    gradients = torch.randn(k, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients *= 10.0 ** torch.tensor(scales[:k], dtype=torch.float64)[:, None]
    weights = OMPareto(rho_max=rho_max)(gradients @ gradients.T).weights
    assert (weights >= 0).all()
    assert least_product(gradients, weights) >= -1e-12


@sizes
@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_weights_follow_a_permutation_of_the_objectives(rule: Rule, k: int) -> None:
    for sample in (random, opposed, norm_ratios, zero_row):
        for gradients in cases(sample, k, 5):
            order = torch.randperm(k, generator=torch.Generator().manual_seed(k))
            permuted = rule(gradients[order] @ gradients[order].T).weights
            torch.testing.assert_close(permuted, rule(gradients @ gradients.T).weights[order], rtol=1e-6, atol=1e-12)


@sizes
@pytest.mark.parametrize("gamma", [1.0, 1.5])
def test_without_conflict_the_direction_is_gamma_times_the_plain_sum(gamma: float, k: int) -> None:
    gradients = torch.rand(k, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
    found = OMPareto(gamma=gamma)(gradients @ gradients.T)
    assert found.weights.tolist() == [gamma] * k
    assert not found.conflict


def test_orthogonal_gradients_do_not_conflict() -> None:
    assert OMPareto()(torch.eye(3)).weights.tolist() == [1.0, 1.0, 1.0]


@sizes
def test_equal_scaling_of_all_gradients_changes_no_weight(k: int) -> None:
    for gradients in cases(opposed, k, 5):
        gram = gradients @ gradients.T
        for scale in (1e-20, 1e20):
            torch.testing.assert_close(OMPareto()(scale * gram).weights, OMPareto()(gram).weights)


def test_golden_values_of_two_unit_gradients_at_cosine_minus_a_half() -> None:
    gram = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    expected = {
        OMPareto(): 1.25,
        OMPareto(rho_max=0.0): 1.0,
        PlainSum(): 1.0,
        MGDA(): 0.5,
        PCGrad(): 1.5,
        MMPareto(): 1.5,
    }
    for rule, weight in expected.items():
        torch.testing.assert_close(rule(gram).weights, torch.full((2,), weight, dtype=torch.float64))


def test_golden_values_of_unequal_gradients() -> None:
    """g_0 = (1, 0), g_1 = (-1, 3): alpha_0 = 11/13, c^2 = 1/10, norms 1 and sqrt(10), worked by hand."""
    gram = torch.tensor([[1.0, -1.0], [-1.0, 10.0]], dtype=torch.float64)
    found = OMPareto(max_amplification=1.0)(gram)
    alpha = torch.tensor([11 / 13, 2 / 13], dtype=torch.float64)
    torch.testing.assert_close(found.alpha, alpha)
    cross = torch.tensor([[1.0, 0.1 * 1 / 10**0.5], [0.1 * 10**0.5, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(found.weights, 2 * alpha @ cross)


def test_both_inner_products_equal_the_squared_min_norm_for_two_conflicting_gradients() -> None:
    for gradients in cases(opposed, 2):
        gram = gradients @ gradients.T
        alpha = min_norm_weights(gram)
        torch.testing.assert_close(gram @ alpha, (alpha @ gram @ alpha).expand(2))


@sizes
@pytest.mark.parametrize("sample", [random, opposed, norm_ratios, dependent, nearly_antiparallel])
def test_min_norm_point_agrees_with_scipy(sample: Callable, k: int) -> None:
    """Independent route: the nearest point of the hull as a non-negative least-squares problem with sum(alpha) = 1."""
    for gradients in cases(sample, k, 10):
        unit = gradients / gradients.norm(dim=1).max()
        heavy = 1e4  # weight of the row that asks sum(alpha) = 1
        system = np.vstack([unit.T.numpy(), heavy * np.ones(k)])
        reference, _ = nnls(system, np.append(np.zeros(unit.shape[1]), heavy))
        reference /= reference.sum()
        gram = (unit @ unit.T).numpy()
        ours = min_norm_weights(unit @ unit.T).numpy()
        assert ours.min() >= 0 and ours.sum() == pytest.approx(1.0)
        assert ours @ gram @ ours <= reference @ gram @ reference * (1 + 1e-6) + 1e-12


@sizes
def test_min_norm_weights_agree_with_a_general_solver_on_well_conditioned_gradients(k: int) -> None:
    for gradients in cases(opposed, k, 5):
        gram = (gradients @ gradients.T).numpy()
        start = np.full(k, 1 / k)
        found = minimize(
            lambda a, gram=gram: a @ gram @ a,
            start,
            jac=lambda a, gram=gram: 2 * gram @ a,
            bounds=[(0, 1)] * k,
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
            options={"ftol": 1e-15, "maxiter": 500},
        )
        np.testing.assert_allclose(min_norm_weights(torch.from_numpy(gram)).numpy(), found.x, atol=1e-5)


@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_zero_gradient_leaves_the_others_alone(rule: Rule) -> None:
    """With one gradient absent the rest are resolved as if it had never been listed."""
    for gradients in cases(zero_row, 4, 5):
        with_zero = rule(gradients @ gradients.T).weights
        without = rule(gradients[1:] @ gradients[1:].T).weights
        assert with_zero[0] == 0.0
        torch.testing.assert_close(with_zero[1:], without)


def test_a_single_remaining_gradient_is_kept_whole() -> None:
    gram = torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    assert OMPareto()(gram).weights.tolist() == [0.0, 1.0]
    assert OMPareto()(torch.zeros(2, 2)).weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("rule", EVERY_RULE, ids=str)
def test_non_finite_gradients_are_reported(rule: Rule, bad: float) -> None:
    gram = torch.eye(3)
    gram[0, 1] = gram[1, 0] = bad
    found = rule(gram)
    assert not found.finite
    assert found.weights.tolist() == [1.0, 1.0, 1.0]


def test_cancelling_gradients_rest_instead_of_dividing_by_zero() -> None:
    for rule in (OMPareto(), MMPareto()):
        found = rule(torch.tensor([[1.0, -2.0], [-2.0, 4.0]]))
        assert found.stationary
        assert found.weights.tolist() == [0.0, 0.0]


def test_amplification_restores_the_length_of_the_sum_up_to_its_cap() -> None:
    """Cosine -0.1: rescaling by 5, 17 and 50 at norm ratios 10, 34 and 100 without a cap."""
    for ratio, uncapped in ((10.0, 5.0), (34.0, 17.0), (100.0, 50.0)):
        gram = torch.tensor([[1.0, -0.1 * ratio], [-0.1 * ratio, ratio**2]], dtype=torch.float64)
        free = OMPareto(rho_max=0.0, max_amplification=1e9)(gram)
        assert free.amplification == pytest.approx(uncapped, rel=0.05)
        plain = float(gram.sum().sqrt())
        assert float((free.weights @ gram @ free.weights).sqrt()) == pytest.approx(plain)
        assert OMPareto(rho_max=0.0, max_amplification=4.0)(gram).amplification == 4.0


def test_orthogonalization_vanishes_with_the_conflict_and_grows_with_it() -> None:
    added = []
    for cosine in (-0.01, -0.5, -0.9):
        gram = torch.tensor([[1.0, cosine], [cosine, 1.0]], dtype=torch.float64)
        added.append(float(OMPareto()(gram).weights[0]) - 1.0)
    assert added == pytest.approx([0.01**2, 0.5**2, 0.9**2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho_max": 1.5}, r"rho_max must be in \[0, 1\], but got 1.5"),
        ({"gamma": 0.5}, "gamma must be finite and at least 1, but got 0.5"),
        ({"gamma": float("nan")}, "gamma must be finite"),
        ({"max_amplification": 0.0}, "max_amplification must be at least 1, but got 0.0"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OMPareto(**arguments)


@pytest.mark.parametrize("gram", [torch.zeros(2, 3), torch.zeros(4), torch.zeros(0, 0)])
def test_anything_but_a_square_matrix_is_refused(gram: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="gram must be a square matrix"):
        OMPareto()(gram)


def test_pcgrad_refuses_more_objectives_than_it_can_order() -> None:
    with pytest.raises(ValueError, match="at most 6 objectives"):
        PCGrad()(torch.eye(7))
