"""The losses: which labels count, what is averaged over what, and nothing poisoned by what is missing."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modeling_macbdf.losses_macbdf import (
    Targets,
    detection_losses,
    loss_counts,
    masked_bce,
    objective_names,
    pair_masks,
    resolve_targets,
)

NAN = float("nan")
STEPS = 4
LOGITS = {
    "multimodal_clip": "logits",
    "video_clip": "video_logits",
    "audio_clip": "audio_logits",
    "multimodal_frame": "frame_logits",
    "video_frame": "video_frame_logits",
    "audio_frame": "audio_frame_logits",
    "sync": "sync_logits",
}


def config(**changes) -> SimpleNamespace:
    values = {"frame_loss_weight": 0.5, "contrastive_loss_weight": 0.1, "sync_loss_weight": 0.2, "pos_weight": 1.0}
    return SimpleNamespace(**values | changes)


def labels(*values: int) -> Tensor:
    return torch.tensor(values)


def masks(count: int, no_video: tuple[int, ...] = (), no_audio: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    video, audio = torch.ones(count, STEPS, dtype=torch.bool), torch.ones(count, STEPS, dtype=torch.bool)
    video[list(no_video)], audio[list(no_audio)] = False, False
    return video, audio


def all_logits(count: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: (count,) if term.endswith("clip") else (count, STEPS) for term, name in LOGITS.items()}
    return {name: torch.randn(shape, generator=generator).requires_grad_() for name, shape in shapes.items()}


# Which labels count


def test_a_modality_takes_its_own_label_where_the_data_has_it():
    targets = Targets(labels=labels(1, 1), video_labels=labels(1, 0), audio_labels=labels(0, 1))
    resolved = resolve_targets(targets, *masks(2))
    assert resolved["video_clip"].tolist() == [1, 0]
    assert resolved["audio_clip"].tolist() == [0, 1]


def test_a_fake_clip_lends_its_label_to_no_modality_but_a_real_one_does():
    resolved = resolve_targets(Targets(labels=labels(0, 1, -100)), *masks(3))
    assert resolved["multimodal_clip"].tolist() == [0, 1, -100]
    assert resolved["video_clip"].tolist() == [0, -100, -100]
    assert resolved["audio_clip"].tolist() == [0, -100, -100]


def test_the_other_stream_of_a_fake_clip_with_one_real_stream_is_fake():
    targets = Targets(labels=labels(1, 1), video_labels=labels(-100, 1), audio_labels=labels(0, -100))
    resolved = resolve_targets(targets, *masks(2))
    assert resolved["video_clip"].tolist() == [1, 1]
    assert resolved["audio_clip"].tolist() == [0, -100]


def test_lending_the_clip_label_is_a_switch():
    resolved = resolve_targets(Targets(labels=labels(0, 1)), *masks(2), modality_label_fallback="clip")
    assert resolved["video_clip"].tolist() == resolved["audio_clip"].tolist() == [0, 1]


def test_the_clip_label_follows_from_the_streams_where_it_is_not_given():
    targets = Targets(video_labels=labels(0, 1, 0, -100), audio_labels=labels(0, 0, -100, 1))
    assert resolve_targets(targets, *masks(4))["multimodal_clip"].tolist() == [0, 1, -100, 1]


def test_a_clip_with_one_stream_is_judged_by_the_label_of_that_stream():
    """A forged voice that was dropped cannot be heard: the joint label of the real face alone is real."""
    targets = Targets(
        labels=labels(1, 1, 1),
        video_labels=labels(0, 0, 1),
        audio_labels=labels(1, 1, 1),
        frame_labels=torch.tensor([[0, 1, 1, 0]] * 3),
    )
    resolved = resolve_targets(targets, *masks(3, no_audio=(0,), no_video=(1,)))
    assert resolved["multimodal_clip"].tolist() == [0, 1, 1]
    assert resolved["multimodal_frame"].tolist() == [[0] * 4, [1] * 4, [0, 1, 1, 0]]
    assert resolved["audio_clip"].tolist() == [-100, 1, 1]


def test_frames_take_segments_where_known_and_the_label_elsewhere_on_valid_steps_only():
    video, audio = masks(3)
    video[:, 3] = False
    segments = torch.tensor([[0, 1, -100, 1], [-100] * 4, [0, 0, 1, 1]])
    targets = Targets(labels=labels(1, 1, 1), video_labels=labels(1, 1, 1), video_frame_labels=segments)
    resolved = resolve_targets(targets, video, audio)
    assert resolved["video_frame"].tolist() == [[0, 1, -100, -100], [1, 1, 1, -100], [0, 0, 1, -100]]
    assert (resolved["audio_frame"] == -100).all()


def test_a_joint_step_is_fake_where_a_stream_is():
    video, audio = torch.tensor([[0, 1, 0, 0]]), torch.tensor([[0, 0, 1, -100]])
    targets = Targets(labels=labels(1), video_frame_labels=video, audio_frame_labels=audio)
    assert resolve_targets(targets, *masks(1))["multimodal_frame"].tolist() == [[0, 1, 1, -100]]
    given = Targets(labels=labels(1), frame_labels=torch.tensor([[1, 0, 0, 0]]), video_frame_labels=video)
    assert resolve_targets(given, *masks(1))["multimodal_frame"].tolist() == [[1, 0, 0, 0]]


def test_sync_counts_only_where_both_streams_are_valid():
    video, audio = masks(2, no_audio=(1,))
    video[0, 0] = False
    resolved = resolve_targets(Targets(labels=labels(0, 0), sync_labels=torch.ones(2, 4).long()), video, audio)
    assert resolved["sync"].tolist() == [[-100, 1, 1, 1], [-100] * 4]


def test_a_voice_that_does_not_belong_to_its_face_is_fake_at_each_step():
    """The steps of two real streams were once real although the clip was fake: the loss taught both at once."""
    targets = Targets(labels=labels(1, 1, 0), video_labels=labels(0, 1, 0), audio_labels=labels(0, 0, 0))
    segments = torch.tensor([[-100] * 4, [0, 1, 1, 0], [-100] * 4])
    resolved = resolve_targets(Targets(**vars(targets) | {"video_frame_labels": segments}), *masks(3))
    assert resolved["multimodal_frame"].tolist() == [[1] * 4, [0, 1, 1, 0], [0] * 4]
    given = Targets(**vars(targets) | {"frame_labels": torch.tensor([[0, 0, 1, 1], [-100] * 4, [-100] * 4])})
    assert resolve_targets(given, *masks(3))["multimodal_frame"][0].tolist() == [0, 0, 1, 1]


def test_pairs_are_positive_when_both_streams_are_real_and_valid_when_that_is_known():
    """The last one is a real voice over a real face of somebody else, once taught to be alike."""
    targets = Targets(
        labels=labels(0, 1, 1, -100, 0, 1),
        video_labels=labels(-100, 1, -100, 0, 0, 0),
        audio_labels=labels(-100, 0, -100, -100, 0, 0),
    )
    video, audio = masks(6, no_audio=(4,))
    positive, valid = pair_masks(resolve_targets(targets, video, audio), video, audio)
    assert positive.tolist() == [True, False, False, False, False, False]
    assert valid.tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize(
    ("targets", "fallback", "message"),
    [
        (Targets(), "guess", "modality_label_fallback must be 'mask' or 'clip', but got 'guess'"),
        (Targets(labels=labels(0)), "mask", r"labels must have shape \(2,\), but got \(1,\)"),
        (Targets(sync_labels=labels(0, 1)), "mask", r"sync_labels must have shape \(2, 4\), but got \(2,\)"),
    ],
)
def test_wrong_targets_are_refused_by_name(targets, fallback, message):
    with pytest.raises(ValueError, match=message):
        resolve_targets(targets, *masks(2), modality_label_fallback=fallback)


# Averages


def test_frame_loss_averages_the_steps_of_a_clip_and_then_the_clips():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    frames = torch.tensor([[1, 1, 0, 0], [0, -100, -100, -100], [-100] * 4])
    items = F.binary_cross_entropy_with_logits(logits, (frames == 1).float(), reduction="none")
    torch.testing.assert_close(masked_bce(logits, frames), (items[0].mean() + items[1, 0]) / 2)


def test_class_weight_is_that_of_the_configuration_whatever_the_batch():
    logits = torch.tensor([0.3, -0.7, 1.1])
    expected = F.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0, 1.0]), pos_weight=torch.tensor(0.25))
    torch.testing.assert_close(masked_bce(logits, labels(1, 0, 1), pos_weight=0.25), expected)
    fake_only = masked_bce(logits[:1], labels(1), pos_weight=0.25)
    torch.testing.assert_close(fake_only, 0.25 * F.softplus(-logits[0]))


def test_objectives_are_the_weighted_sums_of_their_terms():
    targets = Targets(labels=labels(0, 1, 1), video_labels=labels(0, 1, 0), audio_labels=labels(0, 0, 1))
    targets = Targets(**vars(targets) | {"sync_labels": torch.tensor([[1, 0, 1, -100]] * 3)})
    losses = detection_losses(all_logits(3), resolve_targets(targets, *masks(3)), config(), torch.tensor(2.0))
    torch.testing.assert_close(
        losses["multimodal"],
        losses["multimodal_clip"] + 0.5 * losses["multimodal_frame"] + 0.2 * losses["sync"] + 0.1 * 2.0,
    )
    for stream in ("video", "audio"):
        torch.testing.assert_close(losses[stream], losses[f"{stream}_clip"] + 0.5 * losses[f"{stream}_frame"])


def test_separated_terms_become_objectives_and_leave_the_sum_as_it_is():
    targets = Targets(labels=labels(0, 1, 1), sync_labels=torch.tensor([[1, 0, 1, -100]] * 3))
    resolved, logits = resolve_targets(targets, *masks(3)), all_logits(3)
    apart = config(separate_objectives=["contrastive", "multimodal_frame", "sync"])
    together, separated = (detection_losses(logits, resolved, c, torch.tensor(2.0)) for c in (config(), apart))
    assert objective_names(config()) == ["multimodal", "video", "audio"]
    names = objective_names(apart)
    assert names[3:] == ["contrastive_objective", "multimodal_frame_objective", "sync_objective"]
    torch.testing.assert_close(separated["multimodal"], together["multimodal_clip"])
    torch.testing.assert_close(separated["contrastive_objective"], torch.tensor(0.1 * 2.0))
    torch.testing.assert_close(
        sum(separated[name] for name in names), sum(together[name] for name in objective_names(config()))
    )


def test_an_objective_moves_only_its_own_logits():
    logits = all_logits(3)
    resolved = resolve_targets(Targets(labels=labels(0, 0, 0)), *masks(3))
    detection_losses(logits, resolved, config())["video"].backward()
    moved = {name for name, value in logits.items() if value.grad is not None}
    assert moved == {"video_logits", "video_frame_logits"}


def test_terms_without_logits_are_left_out():
    resolved = resolve_targets(Targets(labels=labels(0, 1)), *masks(2))
    losses = detection_losses({"logits": torch.zeros(2), "frame_logits": None}, resolved, config())
    assert set(losses) == {"multimodal", "video", "audio", "multimodal_clip"}
    assert float(losses["audio"]) == 0.0


def test_the_class_weight_does_not_touch_sync():
    targets = Targets(labels=labels(0, 1), sync_labels=torch.ones(2, 4).long())
    resolved, logits = resolve_targets(targets, *masks(2)), all_logits(2)
    plain, weighted = (detection_losses(logits, resolved, config(pos_weight=w)) for w in (None, 3.0))
    torch.testing.assert_close(plain["sync"], weighted["sync"])
    assert weighted["multimodal_clip"] > plain["multimodal_clip"]


@pytest.mark.parametrize("parts", [[5, 1], [3, 3], [1, 2, 3]])
def test_uneven_parts_with_averaged_counts_equal_the_whole_batch(parts):
    """As for processes or accumulated batches: the mean over parts, of the losses and so of the gradients."""
    targets = Targets(
        labels=labels(0, 1, 1, 0, 1, 1),
        video_labels=labels(0, 1, -100, 0, 0, 1),
        audio_labels=labels(0, -100, -100, 0, 1, 0),
        video_frame_labels=torch.tensor([[0, 0, 1, -100]] * 6),
    )
    video, audio = masks(6, no_audio=(3,), no_video=(5,))
    video[0, 2:] = False
    logits, settings = all_logits(6), config(pos_weight=0.3)
    whole = detection_losses(logits, resolve_targets(targets, video, audio), settings)
    expected = torch.autograd.grad(sum(whole[o] for o in ("multimodal", "video", "audio")), list(logits.values())[:6])

    cuts = [slice(sum(parts[:i]), sum(parts[: i + 1])) for i in range(len(parts))]
    resolved = []
    for cut in cuts:
        part = Targets(**{name: None if value is None else value[cut] for name, value in vars(targets).items()})
        resolved.append(resolve_targets(part, video[cut], audio[cut]))
    counts = [loss_counts(part) for part in resolved]
    mean = {name: sum(count[name] for count in counts) / len(parts) for name in counts[0]}
    losses = [
        detection_losses({name: value[cut] for name, value in logits.items()}, part, settings, normalizers=mean)
        for cut, part in zip(cuts, resolved, strict=True)
    ]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in losses) / len(parts), value)
    total = sum(part[o] for part in losses for o in ("multimodal", "video", "audio")) / len(parts)
    torch.testing.assert_close(torch.autograd.grad(total, list(logits.values())[:6]), expected)


def test_a_term_that_only_one_process_has_keeps_its_size():
    """The mean count is then below one: it must divide, not be raised to one."""
    loss = masked_bce(torch.tensor([0.5]), labels(1), normalizer=torch.tensor(1 / 3))
    torch.testing.assert_close(loss / 3, masked_bce(torch.tensor([0.5]), labels(1)))


# What is missing


def test_nan_of_a_missing_modality_poisons_neither_loss_nor_gradient():
    video, audio = masks(3, no_audio=(1,))
    audio[0, 2:] = False
    values = all_logits(3)
    with torch.no_grad():
        values["audio_logits"][1] = NAN
        values["audio_frame_logits"][1] = NAN
        values["audio_frame_logits"][0, 2:] = float("inf")
        values["sync_logits"][1] = NAN
    targets = Targets(labels=labels(0, 0, 0), sync_labels=torch.zeros(3, 4).long())
    losses = detection_losses(values, resolve_targets(targets, video, audio), config())
    (losses["multimodal"] + losses["video"] + losses["audio"]).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(value.grad).all() for value in values.values())
    assert values["audio_logits"].grad[1] == 0
    assert values["audio_logits"].grad[2] != 0


def test_nothing_labelled_costs_exactly_zero_and_stays_in_the_graph():
    values = all_logits(2)
    losses = detection_losses(values, resolve_targets(Targets(), *masks(2)), config())
    for objective in ("multimodal", "video", "audio"):
        assert float(losses[objective].detach()) == 0.0
        losses[objective].backward()
    assert all((value.grad == 0).all() for value in values.values())


def test_a_nan_of_a_present_modality_is_not_hidden():
    resolved = resolve_targets(Targets(labels=labels(0, 1)), *masks(2))
    assert torch.isnan(detection_losses({"logits": torch.tensor([NAN, 0.0])}, resolved, config())["multimodal"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_a_float32_loss_even_when_large(dtype):
    loss = masked_bce(torch.tensor([200.0, -200.0], dtype=dtype), labels(0, 1))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(200.0, rel=1e-2)
