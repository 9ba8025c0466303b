"""From losses to `.grad`: the cut route, the direct route, accumulation, processes, non-finite values."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from modeling_macbdf.optim import (
    MGDA,
    Cut,
    FeatureSpaceGradients,
    ObjectiveGradients,
    OMPareto,
    PlainSum,
    gram_matrix,
    pareto_backward,
)
from modeling_macbdf.optim.rows import _float64_device

OBJECTIVES = {"video": ["joint", "video"], "audio": ["joint", "audio"]}


class TwoTowers(nn.Module):
    """Two encoders, a fused head and two unimodal heads, with targets that make the objectives conflict."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.video = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
        self.audio = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5))
        self.fused_head, self.video_head, self.audio_head = nn.Linear(10, 1), nn.Linear(5, 1), nn.Linear(5, 1)
        with torch.no_grad():  # the same read-out with opposite targets: the objectives conflict from the start
            self.video_head.weight.copy_(self.fused_head.weight[:, :5])
            self.audio_head.weight.copy_(self.fused_head.weight[:, 5:])

    def heads(self, video: Tensor, audio: Tensor) -> dict[str, Tensor]:
        return {
            "joint": (self.fused_head(torch.cat([video, audio], -1)) - 2).square().mean(),
            "video": (self.video_head(video) + 2).square().mean(),
            "audio": (self.audio_head(audio) + 2).square().mean(),
        }

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"video": list(self.video.parameters()), "audio": list(self.audio.parameters())}

    def others(self) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if "head" in name]

    def cut_losses(self, frames: Tensor, mel: Tensor) -> tuple[dict[str, Tensor], Cut]:
        cut = Cut({"video": self.video(frames), "audio": self.audio(mel)})
        return self.heads(cut["video"], cut["audio"]), cut


def batch(count: int = 8, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, generator=generator), torch.randn(count, 4, generator=generator)


def grads(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_grads(first: nn.Module, second: nn.Module, **tolerance: float) -> None:
    ours, theirs = grads(first), grads(second)
    assert ours.keys() == theirs.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(grad, theirs[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


def per_objective(model: TwoTowers, group: str) -> Tensor:
    """(2, n): the objectives' gradients on one encoder, by one `autograd.grad` each."""
    losses = model.heads(model.video(batch()[0]), model.audio(batch()[1]))
    rows = []
    for name in OBJECTIVES[group]:
        found = torch.autograd.grad(losses[name], model.groups()[group], retain_graph=True)
        rows.append(torch.cat([grad.reshape(-1) for grad in found]))
    return torch.stack(rows)


def test_plain_sum_through_the_cut_equals_backward_of_the_sum() -> None:
    ours, reference = TwoTowers(), TwoTowers()
    losses, cut = ours.cut_losses(*batch())
    pareto_backward(losses, ours.groups(), PlainSum(), cut=cut)
    video, audio = batch()
    sum(reference.heads(reference.video(video), reference.audio(audio)).values()).backward()
    assert_same_grads(ours, reference)


@pytest.mark.parametrize("rule", [OMPareto(), OMPareto(gamma=1.5), MGDA(), PlainSum()], ids=str)
def test_cut_and_direct_route_give_the_same_gradients(rule) -> None:
    through_cut, direct = TwoTowers(), TwoTowers()
    losses, cut = through_cut.cut_losses(*batch())
    pareto_backward(losses, through_cut.groups(), rule, cut=cut)
    video, audio = batch()
    pareto_backward(direct.heads(direct.video(video), direct.audio(audio)), direct.groups(), rule)
    assert_same_grads(through_cut, direct)


def test_direction_is_the_rule_s_weights_times_independent_gradients() -> None:
    model = TwoTowers()
    losses, cut = model.cut_losses(*batch())
    report = pareto_backward(losses, model.groups(), OMPareto(), cut=cut)
    for group, parameters in model.groups().items():
        rows = per_objective(model, group)
        found = report.groups[group]
        assert found.conflict
        torch.testing.assert_close(found.weights, OMPareto()(rows.double() @ rows.double().T).weights)
        flat = torch.cat([p.grad.reshape(-1) for p in parameters])
        torch.testing.assert_close(flat, found.weights.float() @ rows)
        assert (rows @ flat > 0).all()


def test_three_lines_serve_three_modalities() -> None:
    """Any number of encoders and objectives; the heads are found in the graph."""
    torch.manual_seed(0)
    towers = {name: nn.Linear(4, 3) for name in ("video", "audio", "text")}
    head = nn.Linear(9, 1)
    features = {name: tower(torch.randn(5, 4)) for name, tower in towers.items()}
    losses = {name: feature.square().mean() for name, feature in features.items()}
    losses["joint"] = head(torch.cat(list(features.values()), -1)).square().mean()
    report = pareto_backward(losses, {name: tower.parameters() for name, tower in towers.items()}, OMPareto())
    assert set(report.groups) == set(towers)
    assert head.weight.grad is not None
    assert all(len(found.weights) == 2 for found in report.groups.values())


def test_truly_shared_parameters_are_one_group() -> None:
    torch.manual_seed(0)
    trunk, data = nn.Linear(4, 3), torch.randn(5, 4)
    losses = {str(k): (trunk(data).sum(-1) - target).square().mean() for k, target in enumerate((3.0, -3.0, 1.0))}
    rows = [torch.autograd.grad(loss, trunk.parameters(), retain_graph=True) for loss in losses.values()]
    report = pareto_backward(losses, trunk.parameters())
    direction = [p.grad for p in trunk.parameters()]
    assert report.groups["shared"].conflict
    for row in rows:
        assert sum((a * b).sum() for a, b in zip(row, direction, strict=True)) >= -1e-5


@pytest.mark.parametrize("store_of", [ObjectiveGradients, FeatureSpaceGradients])
def test_a_frozen_encoder_keeps_no_gradient_and_changes_no_other(store_of) -> None:
    """autograd once refused to differentiate its outputs, which need no gradient."""
    model, reference = TwoTowers(), TwoTowers()
    model.audio.requires_grad_(False)
    for towers in (model, reference):
        store = store_of(towers.groups(), towers.others(), OBJECTIVES)
        losses, cut = towers.cut_losses(*batch())
        store.accumulate(losses, cut)
        store.resolve()
    assert all(p.grad is None for p in model.audio.parameters())
    reference.audio.zero_grad()
    assert_same_grads(model, reference)


@pytest.mark.parametrize("through_cut", [True, False])
def test_an_objective_that_is_not_listed_for_a_group_is_refused_on_either_route(through_cut: bool) -> None:
    """The direct route once left its gradient out without a word."""
    model = TwoTowers()
    store = ObjectiveGradients(model.groups(), objectives={"video": ["video"], "audio": ["joint", "audio"]})
    if through_cut:
        losses, cut = model.cut_losses(*batch())
    else:
        losses, cut = model.heads(model.video(batch()[0]), model.audio(batch()[1])), None
    with pytest.raises(ValueError, match=r"objectives\['video'\] must list 'joint'"):
        store.accumulate(losses, cut)


@pytest.mark.parametrize("names", [["video"], ["video", "audio", "text"]])
def test_a_cut_must_be_that_of_the_groups(names: list[str]) -> None:
    """A group that it lacked kept no gradient, without a word; a name of no group was a KeyError."""
    model = TwoTowers()
    outputs = {"video": model.video(batch()[0]), "audio": model.audio(batch()[1])}
    outputs["text"] = outputs["audio"]
    cut = Cut({name: outputs[name] for name in names})
    with pytest.raises(ValueError, match=r"cut must name each group .*\['audio', 'video'\], but names \['"):
        pareto_backward({"video": cut["video"].sum()}, model.groups(), cut=cut)


def test_a_leaf_before_the_cut_that_is_in_no_group_takes_the_plain_sum() -> None:
    """It once kept no gradient."""
    through_cut, direct = TwoTowers(), TwoTowers()
    for towers in (through_cut, direct):
        groups = {"video": list(towers.video[2].parameters()), "audio": towers.groups()["audio"]}
        if towers is through_cut:
            losses, cut = towers.cut_losses(*batch())
        else:
            losses, cut = towers.heads(towers.video(batch()[0]), towers.audio(batch()[1])), None
        pareto_backward(losses, groups, cut=cut)
    assert through_cut.video[0].weight.grad is not None
    assert_same_grads(through_cut, direct, rtol=1e-5, atol=1e-6)


def test_gradients_share_no_memory() -> None:
    """Autograd hands one tensor to both terms of a sum: clipping the two in place once scaled it twice."""
    a, b = (nn.Parameter(torch.randn(4)) for _ in range(2))
    pareto_backward({"x": (a + b).square().sum(), "y": (a + b).sum()}, {"a": [a]}, others=[b])
    c, d = (nn.Parameter(torch.randn(4)) for _ in range(2))
    pareto_backward({"x": (c + d).square().sum() + c.sum()}, {}, others=[c, d])
    for first, second in ((a, b), (c, d)):
        assert first.grad.is_contiguous() and first.grad.data_ptr() != second.grad.data_ptr()
    torch.nn.utils.clip_grad_norm_([c, d], 1.0)
    assert torch.cat([c.grad, d.grad]).norm() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_accumulated_micro_batches_resolve_as_one_batch(micro_batches: int) -> None:
    whole, parts = TwoTowers(), TwoTowers()
    losses, cut = whole.cut_losses(*batch())
    pareto_backward(losses, whole.groups(), OMPareto(), cut=cut)
    store = ObjectiveGradients(parts.groups(), parts.others())
    for frames, mel in zip(*(tensor.chunk(micro_batches) for tensor in batch()), strict=True):
        losses, cut = parts.cut_losses(frames, mel)
        store.accumulate({name: loss / micro_batches for name, loss in losses.items()}, cut)
    store.resolve(OMPareto())
    assert_same_grads(whole, parts, rtol=1e-5, atol=1e-6)


def test_a_missing_modality_leaves_its_encoder_without_gradient() -> None:
    model = TwoTowers()
    frames, _ = batch()
    cut = Cut({"video": model.video(frames), "audio": None})
    assert cut["audio"] is None
    losses = {"joint": cut["video"].square().mean(), "video": model.video_head(cut["video"]).mean()}
    report = pareto_backward(losses, model.groups(), cut=cut)
    assert set(report.groups) == {"video"}
    assert all(p.grad is None for p in model.audio.parameters())
    assert all(p.grad is not None for p in model.video.parameters())


def test_several_scales_per_encoder_are_one_cut() -> None:
    model, reference = TwoTowers(), TwoTowers()
    frames, _ = batch()
    for towers, cutting in ((model, True), (reference, False)):
        scales = [towers.video(frames), towers.video(2 * frames)]
        cut = Cut({"video": scales}) if cutting else None
        shallow, deep = cut["video"] if cutting else scales
        losses = {"joint": (shallow * deep).mean(), "video": deep.square().mean()}
        pareto_backward(losses, {"video": towers.video.parameters()}, cut=cut)
    assert_same_grads(model, reference)


def test_gradient_accumulates_into_an_existing_one_as_backward_does() -> None:
    model = TwoTowers()
    losses, cut = model.cut_losses(*batch())
    pareto_backward(losses, model.groups(), cut=cut)
    once = grads(model)
    losses, cut = model.cut_losses(*batch())
    pareto_backward(losses, model.groups(), cut=cut)
    for name, grad in grads(model).items():
        torch.testing.assert_close(grad, 2 * once[name])


@pytest.mark.parametrize("objective", ["joint", "audio"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_non_finite_gradients_skip_the_step_and_say_so(objective: str, bad: float) -> None:
    model = TwoTowers()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.5)
    before = [p.clone() for p in model.parameters()]
    losses, cut = model.cut_losses(*batch())
    losses[objective] = losses[objective] * bad
    report = pareto_backward(losses, model.groups(), cut=cut)
    optimizer.step()
    assert not report.finite
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_non_finite_head_alone_also_skips_the_step() -> None:
    model = TwoTowers()
    losses, cut = model.cut_losses(*batch())
    losses["joint"] = losses["joint"] + model.fused_head.bias.sum() * torch.inf
    report = pareto_backward(losses, model.groups(), cut=cut)
    assert not report.finite
    assert not grads(model)


def test_non_finite_gradients_reach_a_scaler_when_asked() -> None:
    model = TwoTowers()
    store = ObjectiveGradients(model.groups(), model.others())
    losses, cut = model.cut_losses(*batch())
    store.accumulate({"joint": losses["joint"] * torch.inf, "video": losses["video"]}, cut)
    assert not store.resolve(OMPareto(), nonfinite="propagate").finite
    assert not torch.isfinite(model.video[0].weight.grad).all()


def test_nearly_cancelling_float32_gradients_still_oppose_no_objective() -> None:
    """A float32 weighted sum once pointed against an objective: d was 1e-4 of the gradients' length."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(10):
        common = torch.randn(2000, generator=generator)
        rows = [[common + 1e-4 * torch.randn(2000, generator=generator)] for _ in range(2)]
        rows[1] = [-rows[1][0]]
        shared = torch.zeros(2000, requires_grad=True)
        pareto_backward({str(k): (shared * row[0]).sum() for k, row in enumerate(rows)}, [shared])
        for row in rows:
            assert float(row[0].double() @ shared.grad.double()) > 0


def test_gram_matrix_is_exact_where_float32_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    big = torch.randn(200_000, generator=generator) * 100
    rows = [[big], [-big + 1e-3 * torch.randn(200_000, generator=generator)], [None]]
    gram = gram_matrix(rows)
    expected = rows[0][0].double() @ rows[1][0].double()
    assert float(gram[0, 1]) == pytest.approx(float(expected), rel=1e-14)
    assert gram[2].tolist() == [0.0, 0.0, 0.0]


def test_float64_is_looked_for_where_it_exists() -> None:
    """Apple's MPS knows no float64, and every step ended there with a TypeError."""
    assert _float64_device(torch.device("mps", 0)) == torch.device("cpu")
    assert _float64_device(torch.device("cuda", 1)) == torch.device("cuda", 1)


def test_feature_space_variant_is_the_plain_sum_without_conflict() -> None:
    model, reference = TwoTowers(), TwoTowers()
    for towers, store in (
        (model, FeatureSpaceGradients(model.groups(), model.others())),
        (reference, ObjectiveGradients(reference.groups(), reference.others())),
    ):
        cut = Cut({"video": towers.video(batch()[0]), "audio": towers.audio(batch()[1])})
        store.accumulate({"joint": cut["video"].sum() + cut["audio"].sum(), "video": 2 * cut["video"].sum()}, cut)
        store.resolve()
    assert_same_grads(model, reference)


def test_feature_space_variant_resolves_the_gradients_at_the_cut() -> None:
    model = TwoTowers()
    store = FeatureSpaceGradients(model.groups(), model.others(), rule=MGDA())
    losses, cut = model.cut_losses(*batch())
    at_cut = [torch.autograd.grad(losses[n], cut.leaves["video"], retain_graph=True)[0] for n in ("joint", "video")]
    rows = torch.stack(at_cut).flatten(1).double()
    features = model.video(batch()[0])
    store.accumulate(losses, cut)
    found = store.resolve().groups["video"]
    torch.testing.assert_close(found.weights, MGDA()(rows @ rows.T).weights)
    pulled = sum(weight * grad for weight, grad in zip(found.weights.float(), at_cut, strict=True))
    expected = torch.autograd.grad(features, model.groups()["video"], pulled)
    for parameter, grad in zip(model.groups()["video"], expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_feature_space_variant_needs_the_cut_and_with_processes_the_objectives() -> None:
    model = TwoTowers()
    with pytest.raises(ValueError, match="cut must be given"):
        FeatureSpaceGradients(model.groups()).accumulate({"joint": model.video_head.weight.sum()})
    with pytest.raises(ValueError, match="objectives must list each group's objectives where distributed is True"):
        FeatureSpaceGradients(model.groups(), distributed=True)


def test_feature_space_variant_trains_on_without_a_modality() -> None:
    """No objective reached the missing one's encoder: "gram must be a square matrix, but got (0, 0)"."""
    model = TwoTowers()
    store = FeatureSpaceGradients(model.groups(), model.others())
    cut = Cut({"video": model.video(batch()[0]), "audio": None})
    store.accumulate({"video": cut["video"].square().mean()}, cut)
    assert set(store.resolve().groups) == {"video"}
    assert model.audio[0].weight.grad is None
    assert model.video[0].weight.grad is not None


def test_an_unlisted_objective_may_reach_an_encoder_with_zeros_only() -> None:
    """Streams batched together touch each other in the graph, but with exact zeros."""
    model = TwoTowers()
    store = ObjectiveGradients(model.groups(), objectives=OBJECTIVES)
    losses, cut = model.cut_losses(*batch())
    losses["audio"] = losses["audio"] + 0.0 * cut["video"].sum()
    store.accumulate(losses, cut)
    assert store.resolve().objectives == OBJECTIVES


def test_wrong_arguments_are_refused_by_name() -> None:
    model = TwoTowers()
    with pytest.raises(ValueError, match="a parameter must belong to one group"):
        ObjectiveGradients({"video": model.video.parameters(), "again": model.video.parameters()})
    with pytest.raises(ValueError, match="objectives must name groups"):
        ObjectiveGradients(model.groups(), objectives={"touch": ["joint"]})
    store = ObjectiveGradients(model.groups(), objectives={"video": ["video"], "audio": ["joint", "audio"]})
    losses, cut = model.cut_losses(*batch())
    with pytest.raises(ValueError, match=r"objectives\['video'\] must list 'joint'"):
        store.accumulate(losses, cut)
    with pytest.raises(ValueError, match=r"losses\['joint'\] must be a scalar, but got shape \(2,\)"):
        store.accumulate({"joint": torch.ones(2)})
    with pytest.raises(ValueError, match="nonfinite must be"):
        store.resolve(nonfinite="ignore")
    with pytest.raises(ValueError, match="objectives must list"):
        ObjectiveGradients(model.groups()).all_reduce()


def _two_processes(rank: int, path: str, results: list) -> None:
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = TwoTowers()
    store = ObjectiveGradients(model.groups(), model.others(), OBJECTIVES)
    frames, mel = (tensor.chunk(2)[rank] for tensor in batch())
    losses, cut = model.cut_losses(frames, mel)
    if rank == 1:
        del losses["audio"]  # no label for it on this process
    store.accumulate(losses, cut)
    store.all_reduce()
    store.resolve(OMPareto())
    results[rank] = grads(model)
    dist.destroy_process_group()


def test_two_processes_resolve_the_mean_of_their_gradients(tmp_path) -> None:
    """Half a batch each; one of them lacks an objective, which counts as zero there."""
    with mp.Manager() as manager:
        results = manager.list([None, None])
        mp.start_processes(_two_processes, args=(str(tmp_path / "store"), results), nprocs=2, start_method="fork")
        first, second = results
    model = TwoTowers()
    store = ObjectiveGradients(model.groups(), model.others())
    for rank, chunk in enumerate(zip(*(tensor.chunk(2) for tensor in batch()), strict=True)):
        losses, cut = model.cut_losses(*chunk)
        names = [name for name in losses if not (rank == 1 and name == "audio")]
        store.accumulate({name: losses[name] / 2 for name in names}, cut)
    store.resolve(OMPareto())
    for name, grad in grads(model).items():
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        torch.testing.assert_close(first[name], grad, rtol=1e-6, atol=1e-6)


def test_encoders_may_stand_on_one_stem():
    """The graph of the layers before the cut was gone after the first encoder."""
    torch.manual_seed(0)
    stem, left, right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)
    x = torch.randn(5, 3)

    def losses(a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return {"a": (a + b).square().mean(), "b": (a - 1).square().mean()}

    shared = stem(x)
    cut = Cut({"left": left(shared), "right": right(shared)})
    groups = {"left": left.parameters(), "right": right.parameters()}
    pareto_backward(losses(cut.leaves["left"][0], cut.leaves["right"][0]), groups, PlainSum(), cut=cut)
    found = stem.weight.grad.clone()
    stem.zero_grad()
    sum(losses(left(stem(x)), right(stem(x))).values()).backward()
    torch.testing.assert_close(found, stem.weight.grad)
