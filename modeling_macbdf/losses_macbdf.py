"""The classification losses: pure functions from logits and labels to one loss per objective.

Source: arXiv 2505.12966, Method Summary ("adaptive contrastive loss, frame-level BCE, and sample-level BCE"):

    L_multimodal = BCE(clip) + frame_loss_weight * BCE(frames) + contrastive_loss_weight * L_macl
                   + sync_loss_weight * BCE(sync)
    L_video, L_audio = BCE(clip) + frame_loss_weight * BCE(frames), each on its own logits and labels

Letters: B clips, T steps. 1 = fake, 0 = real, -100 (any other value) = unknown or not there: never in a loss.

Three steps, so that masks and missing labels are settled once, before any arithmetic:
1. `resolve_targets`: labels given + masks -> the labels that count, -100 elsewhere.
2. `loss_counts`: how many items each term averages over. A distributed run divides by the mean of these counts over
   its processes (`mean_over_processes`), a run with gradient accumulation by their mean over the accumulated
   batches too; averaging losses or gradients then gives what one batch of all items gives, odd sizes included.
3. `detection_losses`: the objectives and the named terms.

Departure from "the clip's label where the modality has none": with `modality_label_fallback="mask"`, the default, a
fake clip lends its label to no modality. In DFDC "fake" may mean the face, the voice or both, and a wrong label
teaches a wrong thing. A real clip has two real streams, and a fake clip with one real stream has a fake other one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
OBJECTIVES = ("multimodal", "video", "audio")
SEPARABLE = ("multimodal_frame", "contrastive", "sync")  # terms of "multimodal" that may be objectives of their own


@dataclass(frozen=True)
class Targets:
    """Labels as a batch brings them, in {0, 1, -100}; None = nothing known.

    Attributes:
        labels, video_labels, audio_labels: (B,) long, of the clip and of its streams.
        frame_labels, video_frame_labels, audio_frame_labels: (B, T) long, of each step.
        sync_labels: (B, T) long, 1 = lips and voice in step.
    """

    labels: Tensor | None = None
    video_labels: Tensor | None = None
    audio_labels: Tensor | None = None
    frame_labels: Tensor | None = None
    video_frame_labels: Tensor | None = None
    audio_frame_labels: Tensor | None = None
    sync_labels: Tensor | None = None


def resolve_targets(
    targets: Targets, video_mask: Tensor, audio_mask: Tensor, modality_label_fallback: str = "mask"
) -> dict[str, Tensor]:
    """Settle which label counts where.

    The joint label of a clip of which only one stream is present is that stream's: a forged voice that is not there
    cannot be heard. A step's label is its frame label where the row has any, else the clip's or stream's label. A fake
    clip of two real streams, a voice over a face that it does not belong to, is fake at each step by the last rule.

    Args:
        targets: What the batch brings.
        video_mask, audio_mask: (B, T) bool, True = valid; a row without True is a missing modality.
        modality_label_fallback: "mask" or "clip", see the top of this file.

    Returns:
        Long tensors with -100 wherever nothing is to be learned: "multimodal_clip", "video_clip", "audio_clip" (B,),
        "multimodal_frame", "video_frame", "audio_frame", "sync" (B, T), and the streams' labels whether present or
        not, "video_label", "audio_label" (B,).

    Raises:
        ValueError: Unknown fallback, or labels of another shape than the masks.
    """
    _check(targets, video_mask, audio_mask, modality_label_fallback)
    clip, video, audio = _clip_labels(targets, video_mask, modality_label_fallback)
    seen, heard = video_mask.any(dim=1), audio_mask.any(dim=1)
    joint = torch.where(seen & heard, clip, torch.where(seen, video, audio))
    video_frames = _frame_labels(targets.video_frame_labels, video, video_mask)
    audio_frames = _frame_labels(targets.audio_frame_labels, audio, audio_mask)
    both = (seen & heard).unsqueeze(1)
    found = _either(video_frames, audio_frames)
    # Two real streams in a fake clip do not belong together: at which steps, they cannot tell.
    mismatched = (clip == 1) & (video == 0) & (audio == 0)
    given = _prefer(targets.frame_labels, found.masked_fill(mismatched.unsqueeze(1), IGNORED))
    joint_frames = _frame_labels(given, joint, video_mask | audio_mask)
    present_frames = torch.where(seen.unsqueeze(1), video_frames, audio_frames)
    return {
        "multimodal_clip": _keep(joint, seen | heard),
        "video_clip": _keep(video, seen),
        "audio_clip": _keep(audio, heard),
        "multimodal_frame": torch.where(both, joint_frames, present_frames),
        "video_frame": video_frames,
        "audio_frame": audio_frames,
        "sync": _keep(_or_unknown(targets.sync_labels, video_mask), video_mask & audio_mask),
        "video_label": video,
        "audio_label": audio,
    }


def _check(targets: Targets, video_mask: Tensor, audio_mask: Tensor, fallback: str) -> None:
    if fallback not in ("mask", "clip"):
        raise ValueError(f"modality_label_fallback must be 'mask' or 'clip', but got {fallback!r}")
    if video_mask.dim() != 2 or video_mask.shape != audio_mask.shape:
        shapes = f"{tuple(video_mask.shape)} and {tuple(audio_mask.shape)}"
        raise ValueError(f"video_mask and audio_mask must both be (B, T), but got {shapes}")
    for name, labels in vars(targets).items():
        wanted = video_mask.shape if "frame" in name or "sync" in name else video_mask.shape[:1]
        if labels is not None and labels.shape != wanted:
            raise ValueError(f"{name} must have shape {tuple(wanted)}, but got {tuple(labels.shape)}")


def _known(labels: Tensor) -> Tensor:
    return (labels == 0) | (labels == 1)


def _keep(labels: Tensor, where: Tensor) -> Tensor:
    return torch.where(where & _known(labels), labels, IGNORED)


def _or_unknown(labels: Tensor | None, like: Tensor) -> Tensor:
    return torch.full(like.shape, IGNORED, device=like.device) if labels is None else labels.long()


def _clip_labels(targets: Targets, mask: Tensor, fallback: str) -> tuple[Tensor, Tensor, Tensor]:
    """Clip, video and audio labels (B,), each completed from the others where that is certain."""
    clip, video, audio = (
        _or_unknown(labels, mask[:, 0]) for labels in (targets.labels, targets.video_labels, targets.audio_labels)
    )
    fake = (video == 1) | (audio == 1)
    real = (video == 0) & (audio == 0)
    clip = torch.where(_known(clip), clip, torch.where(fake, 1, torch.where(real, 0, IGNORED)))
    return clip, _stream_labels(video, audio, clip, fallback), _stream_labels(audio, video, clip, fallback)


def _stream_labels(own: Tensor, other: Tensor, clip: Tensor, fallback: str) -> Tensor:
    certain = (clip == 0) | ((clip == 1) & (other == 0))
    lent = clip if fallback == "clip" else torch.where(certain, clip, IGNORED)
    return torch.where(_known(own), own, lent)


def _frame_labels(given: Tensor | None, labels: Tensor, mask: Tensor) -> Tensor:
    """Labels (B, T) of the valid steps; a row of `given` without any known label takes the clip's (B,)."""
    lent = labels.unsqueeze(1).expand(mask.shape)
    if given is None:
        return _keep(lent, mask)
    return _keep(torch.where(_known(given).any(dim=1, keepdim=True), given, lent), mask)


def _prefer(first: Tensor | None, second: Tensor) -> Tensor:
    return second if first is None else torch.where(_known(first).any(dim=1, keepdim=True), first, second)


def _either(video: Tensor, audio: Tensor) -> Tensor:
    """A step is fake where a stream is, and real where both are known as real."""
    real = (video == 0) & (audio == 0)
    return torch.where((video == 1) | (audio == 1), 1, torch.where(real, 0, IGNORED))


def pair_masks(resolved: Mapping[str, Tensor], video_mask: Tensor, audio_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs the contrastive loss may use.

    Args:
        resolved: From `resolve_targets`. video_mask, audio_mask: (B, T) bool.

    Returns:
        positive, valid: (B,) bool. Positive: both streams real, in a clip that is not fake (a real voice over a real
            face that it does not belong to is). Valid: both present and known as positive or not.
    """
    video, audio, clip = resolved["video_label"], resolved["audio_label"], resolved["multimodal_clip"]
    both = video_mask.any(dim=1) & audio_mask.any(dim=1)
    positive = both & (video == 0) & (audio == 0) & (clip != 1)
    forged = both & ((video == 1) | (audio == 1) | (clip == 1))
    return positive, positive | forged


def loss_counts(resolved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Clips that each term averages over: 0-dim float32 per term, from labels alone.

    A frame term counts the clips with at least one labelled step.
    """
    terms = [f"{objective}_{part}" for objective in OBJECTIVES for part in ("clip", "frame")] + ["sync"]
    return {name: _rows(_known(resolved[name])).sum().float() for name in terms}


def _rows(known: Tensor) -> Tensor:
    return known if known.dim() == 1 else known.any(dim=1)


def masked_bce(logits: Tensor, labels: Tensor, pos_weight: float = 1.0, normalizer: Tensor | None = None) -> Tensor:
    """Binary cross-entropy over the known labels; steps are averaged within their clip, then clips.

    Args:
        logits: (B,) or (B, T) log-odds of label 1; may be NaN where the label is not 0 or 1.
        labels: The same shape; other values than 0 and 1 are left out, with an exactly zero gradient.
        pos_weight: Factor of the items labelled 1, a constant of the configuration.
        normalizer: 0-dim number of clips to divide by; None = the clips of this batch that have a label.

    Returns:
        0-dim float32 loss; exactly 0, and still part of the graph, where nothing is labelled.
    """
    known = _known(labels)
    # Select before the arithmetic: a NaN of a missing modality times 0 is still NaN, in the gradient too.
    safe = torch.where(known, logits.float(), 0.0)
    weight = torch.as_tensor(pos_weight, dtype=torch.float32, device=logits.device)
    target = (labels == 1).float()
    items = F.binary_cross_entropy_with_logits(safe, target, pos_weight=weight, reduction="none") * known
    if items.dim() == 2:
        items = items.sum(dim=1) / known.sum(dim=1).clamp(min=1)
    count = _rows(known).sum().float() if normalizer is None else normalizer
    # Not clamp(min=1): the mean count over processes may be a fraction.
    return items.sum() / torch.where(count > 0, count, 1.0)


def detection_losses(
    logits: Mapping[str, Tensor | None],
    resolved: Mapping[str, Tensor],
    config: Any,
    contrastive: Tensor | None = None,
    normalizers: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The losses of one batch.

    Args:
        logits: By the names of the model's output: "logits", "video_logits", "audio_logits" (B,), "frame_logits",
            "video_frame_logits", "audio_frame_logits", "sync_logits" (B, T). An absent name or None = no such term.
        resolved: From `resolve_targets`.
        config: `frame_loss_weight`, `contrastive_loss_weight`, `sync_loss_weight`, `pos_weight` (float or None = 1).
        contrastive: 0-dim L_macl of all processes.
        normalizers: From `loss_counts`, averaged; None = this batch alone.

    Returns:
        0-dim float32 tensors: the objectives of `objective_names`, and before weighting the terms "<objective>_clip",
        "<objective>_frame", "sync" and "contrastive" where they exist.
    """
    separate = getattr(config, "separate_objectives", ())
    weights = {"clip": 1.0, "frame": config.frame_loss_weight, "sync": config.sync_loss_weight}
    pos_weight = 1.0 if config.pos_weight is None else config.pos_weight
    losses: dict[str, Tensor] = {}
    for objective in OBJECTIVES:
        total = torch.zeros((), device=resolved["multimodal_clip"].device)
        for name, source in _terms(objective):
            value = logits.get(source)
            if value is None:
                continue
            normalizer = None if normalizers is None else normalizers[name]
            # Sync is no class of real or fake: the class weight is not its own.
            weight = 1.0 if name == "sync" else pos_weight
            losses[name] = masked_bce(value, resolved[name], weight, normalizer)
            part = weights[name.rpartition("_")[2]] * losses[name]
            if name in separate:
                losses[_own_objective(name)] = part
            else:
                total = total + part
        losses[objective] = total
    if contrastive is not None:
        losses["contrastive"] = contrastive
        part = config.contrastive_loss_weight * contrastive
        if "contrastive" in separate:
            losses[_own_objective("contrastive")] = part
        else:
            losses["multimodal"] = losses["multimodal"] + part
    return losses


def objective_names(config: Any) -> list[str]:
    """The objectives of a model: "multimodal", one per stream, and "<term>_objective" per separated term.

    Args:
        config: may hold `separate_objectives`, some of `SEPARABLE`. Their sum is the same loss however it is divided.
    """
    return [*OBJECTIVES, *map(_own_objective, getattr(config, "separate_objectives", ()))]


def _own_objective(term: str) -> str:
    return f"{term}_objective"


def _terms(objective: str) -> list[tuple[str, str]]:
    """(term, name of its logits) of an objective."""
    prefix = "" if objective == "multimodal" else f"{objective}_"
    terms = [(f"{objective}_clip", f"{prefix}logits"), (f"{objective}_frame", f"{prefix}frame_logits")]
    return [*terms, ("sync", "sync_logits")] if objective == "multimodal" else terms
