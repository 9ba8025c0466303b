"""Cluster-aware fusion weights: distances, prototypes that follow the data, and weights that stay fair."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import distance as scipy_distance
from sklearn.covariance import oas
from torch import Tensor

from modeling_macbdf.clustering_macbdf import ClusterWeighting, PrototypeBank, composite_distance, mahalanobis
from modeling_macbdf.prototypes_macbdf import shrunk_covariance

WIDTH = 8


def config(**changes) -> SimpleNamespace:
    values = {
        "projection_size": WIDTH,
        "num_attention_heads": 4,
        "fusion_weights": "cluster",
        "num_prototypes": 1,
        "weight_floor": 0.05,
        "prototype_momentum": 0.99,
        "prototype_warmup": 16,
        "cluster_corruption": 0.0,
    }
    return SimpleNamespace(**values | changes)


def gaussians(count: int, seed: int, gap: float = 1.0, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    """Unit vectors of two classes around opposite sides of one axis, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    points = spread * torch.randn(count, WIDTH, generator=generator)
    points[:, 0] += gap * (2 * labels - 1)
    points[:, 1] += 1.0
    return F.normalize(points, dim=-1), labels


def everything(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def trained(batches: int = 8, video_gap: float = 1.0, audio_gap: float = 1.0, **changes) -> ClusterWeighting:
    torch.manual_seed(0)
    weighting = ClusterWeighting(config(**changes))
    for batch in range(batches):
        z_v, labels = gaussians(32, 2 * batch, video_gap)
        z_a, _ = gaussians(32, 2 * batch + 1, audio_gap)
        weighting.update(z_v, z_a, labels, labels, everything(32), everything(32))
    return weighting


def fresh(count: int = 64, video_gap: float = 1.0, audio_gap: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    z_v, z_a = gaussians(count, 1000, video_gap)[0], gaussians(count, 1001, audio_gap)[0]
    return z_v, z_a, everything(count), everything(count)


# Distances


def known_gaussian() -> tuple[np.ndarray, np.ndarray, np.ndarray, Tensor]:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(WIDTH, WIDTH))
    covariance = mix @ mix.T + 0.1 * np.eye(WIDTH)
    centres = rng.normal(size=(3, WIDTH))
    points = rng.multivariate_normal(centres[0], covariance, size=20)
    whitening = torch.linalg.inv(torch.linalg.cholesky(torch.tensor(covariance))).float()
    return points, centres, covariance, whitening


def test_mahalanobis_matches_scipy_on_a_known_gaussian():
    points, centres, covariance, whitening = known_gaussian()
    ours = mahalanobis(torch.tensor(points).float(), torch.tensor(centres).float(), whitening)
    theirs = scipy_distance.cdist(points, centres, "mahalanobis", VI=np.linalg.inv(covariance))
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
def test_composite_distance_matches_scipy(mixing):
    points, centres, covariance, whitening = known_gaussian()
    spread = scipy_distance.cdist(points, centres, "mahalanobis", VI=np.linalg.inv(covariance)) / np.sqrt(WIDTH)
    expected = mixing * spread + (1 - mixing) * scipy_distance.cdist(points, centres, "cosine")
    ours = composite_distance(torch.tensor(points).float(), torch.tensor(centres).float(), whitening, mixing)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_each_class_is_measured_with_its_own_covariance():
    points, centres = torch.randn(5, WIDTH), torch.randn(2, 3, WIDTH)
    whitening = torch.stack([torch.eye(WIDTH), 2 * torch.eye(WIDTH)])
    both = mahalanobis(points, centres, whitening)
    assert both.shape == (5, 2, 3)
    for c in range(2):
        torch.testing.assert_close(both[:, c], mahalanobis(points, centres[c], whitening[c]))


def test_distance_gradient_is_finite_on_top_of_a_prototype():
    point = torch.randn(1, WIDTH).requires_grad_()
    composite_distance(point, point.detach().clone(), torch.eye(WIDTH), 0.5).sum().backward()
    assert torch.isfinite(point.grad).all()


# Prototypes


def test_learned_clusters_reach_the_mean_and_shrunk_covariance_of_all_samples():
    rng = np.random.default_rng(1)
    mixes = rng.normal(size=(2, 2, WIDTH, WIDTH))
    noise = rng.normal(size=(2, 2, 48, WIDTH))
    samples = noise @ mixes + rng.normal(size=(2, 2, 1, WIDTH))  # modality, class, sample, axis
    bank = PrototypeBank(config(prototype_momentum=0.999))
    labels = torch.tensor([0] * 16 + [1] * 16).expand(2, -1)
    for part in np.split(samples, 3, axis=2):
        bank.update(torch.tensor(part).flatten(1, 2).float(), labels)
    points = rng.normal(size=(5, WIDTH))
    for m in range(2):
        ours = bank.distances(m, torch.tensor(points).float(), 1.0) * np.sqrt(WIDTH)
        for c in range(2):
            group = samples[m, c]
            shrunk = oas(group)[0] + 1e-3 / WIDTH * np.eye(WIDTH)
            np.testing.assert_allclose(bank.prototypes[m, c, 0], group.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(bank.covariance[m, c], np.cov(group.T, bias=True), rtol=1e-4, atol=1e-4)
            theirs = scipy_distance.cdist(points, group.mean(axis=0)[None], "mahalanobis", VI=np.linalg.inv(shrunk))
            np.testing.assert_allclose(ours[:, c], theirs, rtol=1e-4, atol=1e-4)


def test_old_samples_fade():
    bank, labels = PrototypeBank(config(prototype_momentum=0.9)), torch.zeros(2, 8, dtype=torch.long)
    first, second = F.normalize(torch.ones(WIDTH), dim=0), F.normalize(torch.arange(WIDTH).float(), dim=0)
    for direction in [first] * 3 + [second] * 10:
        bank.update(direction.expand(2, 8, -1), labels)
    torch.testing.assert_close(bank.prototypes[0, 0, 0], second, atol=1e-3, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("same", [False, True])
def test_covariance_inverts_with_very_few_samples(count, same):
    points = F.normalize(torch.randn(1, 1, WIDTH) if same else torch.randn(1, count, WIDTH), dim=-1)
    bank = PrototypeBank(config())
    bank.update(points.expand(2, count, -1), torch.zeros(2, count, dtype=torch.long))
    covariance = shrunk_covariance(bank.covariance[0, 0], torch.tensor(float(count)))
    assert torch.linalg.eigvalsh(covariance).min() > 0.5e-3 / WIDTH
    product = bank.whitening[0, 0] @ covariance @ bank.whitening[0, 0].T
    torch.testing.assert_close(product, torch.eye(WIDTH), atol=1e-3, rtol=0)
    assert (bank.distances(0, F.normalize(torch.randn(50, WIDTH), dim=-1), 1.0)[:, 0] < 64).all()


def test_several_prototypes_find_the_modes_of_a_class():
    torch.manual_seed(0)
    modes = F.normalize(torch.randn(3, WIDTH), dim=-1)
    bank = PrototypeBank(config(num_prototypes=3))
    for _ in range(5):
        points = F.normalize(modes.repeat(8, 1) + 0.05 * torch.randn(24, WIDTH), dim=-1)
        bank.update(points.expand(2, -1, -1), torch.zeros(2, 24, dtype=torch.long))
    gaps = torch.cdist(modes, bank.prototypes[1, 0])
    assert (gaps.amin(dim=1) < 0.1).all()
    assert sorted(gaps.argmin(dim=1).tolist()) == [0, 1, 2]
    assert (bank.distances(1, modes, 0.5)[:, 1] == 1e4).all()  # the other class is still empty


def test_unknown_absent_and_broken_samples_are_not_learned():
    weighting, (z_v, labels) = ClusterWeighting(config()), gaussians(8, 0)
    spoilt = z_v.clone()
    spoilt[6] = float("nan")
    unknown = labels.clone()
    unknown[0] = -100
    present = everything(8)
    present[1] = False
    weighting.update(spoilt, z_v, unknown, labels, present, everything(8))
    assert weighting.bank.counts[:, :, 0].tolist() == [[2, 3], [4, 4]]
    assert all(torch.isfinite(buffer).all() for buffer in weighting.buffers())


def test_evaluation_never_moves_the_prototypes():
    weighting = trained().eval()
    before = {name: value.clone() for name, value in weighting.named_buffers()}
    z_v, labels = gaussians(8, 5)
    weighting.update(z_v, z_v, labels, labels, everything(8), everything(8))
    assert all(torch.equal(value, before[name]) for name, value in weighting.named_buffers())


def test_clusters_are_saved_and_restored_with_their_answers():
    weighting, restored = trained().eval(), ClusterWeighting(config()).eval()
    assert not torch.equal(restored(*fresh()), weighting(*fresh()))
    restored.load_state_dict(weighting.state_dict())
    assert torch.equal(restored(*fresh()), weighting(*fresh()))
    assert torch.equal(restored.feature_distance(*fresh()), weighting.feature_distance(*fresh()))


# Weights


def test_weights_sum_to_one_and_respect_the_floor_even_for_extreme_scores():
    weighting = trained(weight_floor=0.1)
    for attention in (weighting.video_attention, weighting.audio_attention):
        torch.nn.init.normal_(attention.score.weight, std=1e3)
    weights = weighting(*fresh())
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(64))
    assert weights.min() >= 0.1 - 1e-6
    assert weights.max() > 0.85


def test_the_modality_with_clearer_clusters_weighs_more():
    clear_video = trained(audio_gap=0.0).eval()(*fresh(audio_gap=0.0))
    clear_audio = trained(video_gap=0.0).eval()(*fresh(video_gap=0.0))
    assert clear_video[:, 0].mean() > 0.6
    assert clear_audio[:, 1].mean() > 0.6


def test_weights_are_equal_until_every_class_of_every_modality_has_warmed_up():
    weighting = ClusterWeighting(config(prototype_warmup=16))
    for seed in range(5):
        z_v, labels = gaussians(8, seed)
        z_a, _ = gaussians(8, seed + 100)
        real_voice = torch.where(labels == 0, 0, -100)  # no forged voice seen so far
        assert (weighting(*fresh()) == 0.5).all()
        weighting.update(z_v, z_a, labels, real_voice, everything(8), everything(8))
    weighting.update(*fresh()[:2], torch.ones(64), torch.ones(64), everything(64), everything(64))
    assert (weighting(*fresh()) != 0.5).any()


@pytest.mark.parametrize("changes", [{}, {"fusion_weights": "uniform"}, {"prototype_warmup": 10_000}])
def test_a_missing_modality_weighs_exactly_nothing_whatever_its_filler(changes):
    weighting = trained(**changes).eval()
    z_v, z_a, present, _ = fresh(4)
    video, audio = present.clone(), present.clone()
    video[0], audio[1] = False, False
    video[3], audio[3] = False, False
    z_v[0], z_a[1] = float("nan"), 0.0
    weights = weighting(z_v, z_a, video, audio)
    assert weights[0].tolist() == [0.0, 1.0]
    assert weights[1].tolist() == [1.0, 0.0]
    assert weights[3].tolist() == [0.0, 0.0]
    assert 0 < weights[2, 0] < 1


def test_uniform_weights_have_no_parameters_but_keep_their_clusters():
    weighting = trained(fusion_weights="uniform")
    assert not list(weighting.parameters())
    assert (weighting(*fresh()) == 0.5).all()
    assert torch.isfinite(weighting.feature_distance(*fresh())).all()


def test_gradients_reach_every_parameter_and_both_embeddings():
    weighting = trained()
    for attention in (weighting.video_attention, weighting.audio_attention):
        torch.nn.init.normal_(attention.score.weight)
    z_v, z_a, video, audio = fresh()
    z_v.requires_grad_(), z_a.requires_grad_()
    (weighting(z_v, z_a, video, audio)[:, 0] * torch.randn(64)).sum().backward()
    bare = [name for name, p in weighting.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert set(bare) <= {"video_attention.score.bias", "audio_attention.score.bias", *_key_biases(weighting)}
    assert z_v.grad.abs().sum() > 0
    assert z_a.grad.abs().sum() > 0


def _key_biases(weighting: ClusterWeighting) -> set[str]:
    """A bias of the keys moves all logits of a query alike: softmax cancels it."""
    return {name for name, _ in weighting.named_parameters() if name.endswith("key.bias")}


def test_a_missing_modality_leaves_finite_gradients():
    weighting, (z_v, z_a, video, audio) = trained(), fresh()
    z_v[:4] = 0.0
    video[:4] = False
    z_v.requires_grad_()
    weighting(z_v, z_a, video, audio)[:, 0].sum().backward()
    assert torch.isfinite(z_v.grad).all()
    assert (z_v.grad[:4] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in weighting.parameters())


def test_an_update_between_forward_and_backward_is_harmless():
    """The buffers are written in place: autograd once refused the backward pass."""
    weighting, (z_v, z_a, video, audio) = trained(), fresh()
    z_v.requires_grad_()
    weights = weighting(z_v, z_a, video, audio)
    weighting.update(z_v, z_a, torch.ones(64), torch.zeros(64), video, audio)
    weights[:, 0].sum().backward()
    assert z_v.grad.abs().sum() > 0


@pytest.mark.parametrize("prototypes", [1, 2, 3])
def test_swapped_assignments_degrade_the_weights_gracefully(prototypes):
    """With several prototypes the swapped 10 % once founded their own and levelled the weights at a stroke."""

    def weights(corruption: float) -> Tensor:
        settings = {"audio_gap": 0.4, "num_prototypes": prototypes, "prototype_momentum": 0.998, "batches": 16}
        return trained(**settings, cluster_corruption=corruption).eval()(*fresh(audio_gap=0.4)).detach()

    clean, few, tenth, half = (weights(corruption) for corruption in (0.0, 0.02, 0.1, 0.5))
    lead = [float(level[:, 0].mean()) for level in (clean, few, tenth, half)]
    assert lead == sorted(lead, reverse=True)
    assert lead[0] > 0.8
    assert lead[2] > 0.6  # the clearer modality still leads
    assert (clean - tenth).abs().mean() < 0.25
    assert np.corrcoef(clean[:, 0], tenth[:, 0])[0, 1] > 0.5  # and the clips keep their order
    assert lead[3] == pytest.approx(0.5, abs=0.05)  # labels without information: equal weights


def test_corruption_follows_the_seed_of_torch_and_swaps_the_asked_fraction():
    assert torch.equal(
        trained(cluster_corruption=0.3).bank.prototypes, trained(cluster_corruption=0.3).bank.prototypes
    )
    weighting = ClusterWeighting(config(cluster_corruption=0.1))
    points = gaussians(2000, 0)[0]
    real = torch.zeros(2000, dtype=torch.long)
    weighting.update(points, points, real, real, everything(2000), everything(2000))
    assert weighting.bank.counts[0, 1, 0].item() == pytest.approx(200, abs=50)


# Distance for abstention


def test_unfamiliar_media_lie_farther_from_every_cluster():
    weighting, (z_v, z_a, video, audio) = trained().eval(), fresh()
    strange = -z_v
    near = weighting.feature_distance(z_v, z_a, video, audio)
    far = weighting.feature_distance(strange, z_a, video, audio)
    assert far[:, 0].min() > near[:, 0].quantile(0.9)
    assert torch.equal(far[:, 1], near[:, 1])


def test_distance_of_what_is_not_there_is_not_a_number():
    z_v, z_a, video, audio = fresh(4)
    audio[2] = False
    measured = trained().eval().feature_distance(z_v, z_a, video, audio)
    assert torch.isnan(measured).nonzero().tolist() == [[2, 1]]
    assert torch.isnan(ClusterWeighting(config()).feature_distance(z_v, z_a, video, audio)).all()


# House rules


def test_evaluation_compiles_without_a_graph_break_and_gives_the_same_weights():
    weighting = trained().eval()
    compiled = torch.compile(weighting, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*fresh()), weighting(*fresh()))


def test_batch_equals_single_items_and_permutes_with_them():
    weighting, batch = trained().eval(), fresh(6)
    whole = weighting(*batch)
    single = torch.cat([weighting(*(tensor[i : i + 1] for tensor in batch)) for i in range(6)])
    torch.testing.assert_close(single, whole, atol=1e-5, rtol=0)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(weighting(*(tensor[order] for tensor in batch)), whole[order], atol=1e-5, rtol=0)


def test_half_precision_and_autocast_give_nearly_the_same_weights():
    weighting = trained().eval()
    exact = weighting(*fresh())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(weighting(*fresh()), exact, atol=0.02, rtol=0)
    half = weighting.to(torch.bfloat16)(*fresh())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, atol=0.1, rtol=0)


def test_a_width_that_the_heads_do_not_divide_is_refused_by_name():
    with pytest.raises(ValueError, match="projection_size must be a multiple of num_attention_heads=3, but got 8"):
        ClusterWeighting(config(num_attention_heads=3))
