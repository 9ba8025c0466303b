"""MACB-DF: an audio-visual deepfake detector. Method: arXiv 2505.12966; docs/method.md marks what is our reading.

Letters: B batch, T steps, D width, P projection width, S scales, H heads, L mel frames, F mel bins. 1 = fake.
Masks: True = valid step; a row without True (or no tensor at all) is a missing modality, whose filler never matters.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .clustering_macbdf import ClusterWeighting
from .configuration_macbdf import MACBDFConfig
from .contrastive_macbdf import AdaptiveTemperature, ContrastiveHead, contrastive_loss, gather_pairs
from .encoders_macbdf import FrameEncoder, TimeUnitNorm
from .fusion_macbdf import MFTLKA, MSTLKA, LargeKernelAttention, TemporalAttention
from .gathering_macbdf import mean_over_processes
from .heads_macbdf import ClassifierHead, SyncHead
from .lite_encoder_macbdf import ScaledConv
from .losses_macbdf import Targets, detection_losses, loss_counts, objective_names, pair_masks, resolve_targets
from .masks_macbdf import Scales, checked_mask, resolve_masks
from .towers_macbdf import build_audio_encoder, build_video_encoder, load_tower

Pair = tuple[torch.Tensor, torch.Tensor]  # of the video, of the audio stream


@dataclass
class MACBDFModelOutput(ModelOutput):
    """What the trunk computes.

    Attributes:
        last_hidden_state: (B, T, D) fused map of the last scale, zeros where neither stream is valid.
        video_hidden_state, audio_hidden_state: (B, T, D) each stream by itself, never guided by the other.
        fusion_weights: (B, 2) [w_v, w_a], sum 1; 0 for a missing modality.
        video_embeds, audio_embeds: (B, P) unit norm; zeros for a missing modality.
        hidden_states: S + 1 fused maps (B, T, D), the first before any fusion layer.
        attentions: S cross-attentions (B, H, T, 2 T) of the fused map to the video, then the audio steps.
    """

    last_hidden_state: torch.Tensor | None = None
    video_hidden_state: torch.Tensor | None = None
    audio_hidden_state: torch.Tensor | None = None
    fusion_weights: torch.Tensor | None = None
    video_embeds: torch.Tensor | None = None
    audio_embeds: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class MACBDFOutput(ModelOutput):
    """What the detector says. Logits are log-odds of fake, any real number; NaN = no evidence, never a number.

    Attributes:
        loss: () sum of the objectives, where labels were given.
        logits: (B,) joint; a clip with one modality gets that modality's own logit.
        video_logits, audio_logits: (B,) of each stream heard alone; NaN for a missing modality.
        frame_logits: (B, T) joint, NaN where neither stream is valid.
        video_frame_logits, audio_frame_logits: (B, T), NaN at masked steps.
        fusion_weights: (B, 2) [w_v, w_a] in [0, 1], sum 1.
        video_embeds, audio_embeds: (B, P) unit norm, zeros for a missing modality.
        temperature: () of the contrastive loss, in [temperature_min, temperature_max]; None where it is off.
        sync_logits: (B, T) log-odds of lips and voice being in step, NaN unless both are valid; with `sync_head`.
        loss_terms: every named term, detached, before its weight.
        objectives: "multimodal", "video", "audio": live losses, for gradients one by one.
        hidden_states, attentions: as in `MACBDFModelOutput`, on request.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    video_logits: torch.Tensor | None = None
    audio_logits: torch.Tensor | None = None
    frame_logits: torch.Tensor | None = None
    video_frame_logits: torch.Tensor | None = None
    audio_frame_logits: torch.Tensor | None = None
    fusion_weights: torch.Tensor | None = None
    video_embeds: torch.Tensor | None = None
    audio_embeds: torch.Tensor | None = None
    temperature: torch.Tensor | None = None
    sync_logits: torch.Tensor | None = None
    loss_terms: dict[str, torch.Tensor] | None = None
    objectives: dict[str, torch.Tensor] | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MACBDFPreTrainedModel(PreTrainedModel):
    """Initialisation and loading, shared by the trunk and the detector."""

    config_class = MACBDFConfig
    base_model_prefix = "macbdf"
    main_input_name = "pixel_values"
    input_modalities = ["video", "audio"]  # noqa: RUF012 (declared so by the base class)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over clips: the Trainer must scale it under accumulation
    _no_split_modules = ["ConvBlock", "InvertedResidual", "MSTLKA", "MFTLKA"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    missing_weights: tuple[str, ...] = ()  # names; transformers filled them with random numbers

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """As in transformers, but from safetensors only, and `missing_weights` tells what the checkpoint lacked."""
        kwargs = {"use_safetensors": True} | kwargs
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        model.missing_weights = tuple(sorted(info["missing_keys"]))
        return (model, info) if output_loading_info else model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, ScaledConv):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.ones_(module.scale)
            init.zeros_(module.bias)
        elif isinstance(module, TimeUnitNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, LargeKernelAttention):
            init.constant_(module.layer_scale, module.layer_scale_init)
        elif isinstance(module, TemporalAttention):
            init.zeros_(module.distance_bias)
        elif hasattr(module, "reset_state"):
            cast(Any, module).reset_state()


class MACBDFModel(MACBDFPreTrainedModel):
    """Encoders, contrast, cluster weights and guided fusion, without heads.

    ```
    pixel_values (B,T,3,H,W) -> VideoEncoder -> v_1..v_S        input_features (B,L,F) -> AudioEncoder -> a_1..a_S
    v_1, a_1 -> ContrastiveHead -> z_v, z_a -> ClusterWeighting -> w_v, w_a
    f_0 = w_v h_v + w_a h_a,  h = MSTLKA_1(v_1), MSTLKA_1(a_1)
    for s = 1..S:   f_s = MFTLKA_s(f_{s-1}, w_v h_v, w_a h_a);   h_v = MSTLKA_{s+1}(v_{s+1} + h_v, guided by f_s)
    ```

    Each stream also runs through the same MSTLKA layers without a guide: the unimodal answers read that pass, so the
    picture's answer never depends on the sound, nor the sound's on the picture. [our reading]
    """

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__(config)
        guided = [config.guided_fusion and scale > 0 for scale in range(config.num_scales)]
        self.video_encoder = build_video_encoder(config)
        self.audio_encoder = build_audio_encoder(config)
        self.contrastive_head = ContrastiveHead(config)
        self.cluster_weighting = ClusterWeighting(config)
        self.video_layers = nn.ModuleList(MSTLKA(config, guide) for guide in guided)
        self.audio_layers = nn.ModuleList(MSTLKA(config, guide) for guide in guided)
        self.fusion_layers = nn.ModuleList(MFTLKA(config) for _ in guided)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The first layer that the crops meet: where adapters on frozen weights let their gradients begin."""
        encoder: Any = self.video_encoder
        return encoder.stem if isinstance(encoder, FrameEncoder) else encoder.tower.get_input_embeddings()

    def encode(
        self,
        pixel_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
    ) -> tuple[Scales | None, Scales | None]:
        """Both encoders: S tensors (B, T, D) per modality, shallow to deep; None for a tensor not given.

        Raises:
            ValueError: the two streams, or a stream and its mask, differ in their steps.
        """
        if video_mask is not None and pixel_values is not None:
            video_mask = checked_mask("video_mask", video_mask, pixel_values.shape[:2])
        video = None if pixel_values is None else self.video_encoder(pixel_values, video_mask)
        if input_features is None:
            return video, None
        clock = pixel_values if pixel_values is not None else audio_mask
        steps = None if clock is None else clock.shape[1]
        if audio_mask is not None:
            audio_mask = checked_mask("audio_mask", audio_mask, (input_features.shape[0], steps))
        return video, self.audio_encoder(input_features, audio_mask, steps)

    def encode_shared(self, pixel_values: torch.Tensor, crop_index: torch.Tensor) -> Scales:
        """The picture of windows that overlap: each crop passes the encoder once.

        Args:
            pixel_values: (N, 3, H, W) normalised crops.
            crop_index: (B, T) long, the crop of each step; anything in [0, N) at masked steps.

        Returns:
            S tensors (B, T, D), as `encode` gives for `pixel_values[crop_index]`.
        """
        if not self.video_encoder.frame_wise:
            return self.video_encoder(pixel_values[crop_index])
        return [scale[0][crop_index] for scale in self.video_encoder(pixel_values.unsqueeze(0))]

    def fuse(
        self,
        video_scales: Scales | None,
        audio_scales: Scales | None,
        video_mask: torch.Tensor,
        audio_mask: torch.Tensor,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> MACBDFModelOutput:
        """Everything after the encoders, on what `encode` and `resolve_masks` returned."""
        masks = (video_mask, audio_mask)
        absent = [torch.zeros_like(scale) for scale in video_scales or audio_scales or []]
        scales = list(zip(video_scales or absent, audio_scales or absent, strict=True))
        z_v, z_a = self.contrastive_head(*scales[0], *masks)
        weights = self.cluster_weighting(z_v, z_a, video_mask.any(dim=1), audio_mask.any(dim=1))
        alone = guided = self._advance(0, scales[0], masks)
        shares = weights.to(alone[0].dtype)[:, :, None, None]
        states, attentions = [shares[:, 0] * alone[0] + shares[:, 1] * alone[1]], []
        for index, (scale, fusion) in enumerate(zip(scales, self.fusion_layers, strict=True)):
            if index:
                alone, guided = self._advance_both(index, scale, alone, guided, masks, states[-1])
            fused, attention = fusion(states[-1], *guided, weights, *masks, output_attentions)
            states.append(fused)
            attentions.append(attention)
        return MACBDFModelOutput(
            last_hidden_state=states[-1],
            video_hidden_state=alone[0],
            audio_hidden_state=alone[1],
            fusion_weights=weights,
            video_embeds=z_v,
            audio_embeds=z_a,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def _advance(self, index: int, streams: Pair, masks: Pair, guide: torch.Tensor | None = None) -> Pair:
        """Both streams through the MSTLKA of one scale."""
        video = self.video_layers[index](streams[0], masks[0], guide)
        return video, self.audio_layers[index](streams[1], masks[1], guide)

    def _advance_both(
        self, index: int, scale: Pair, alone: Pair, guided: Pair, masks: Pair, fused: torch.Tensor
    ) -> tuple[Pair, Pair]:
        """The unguided and the guided pass of the next scale, as two halves of one batch: half the calls.

        Each pass enters with the encoder's scale plus its own state.
        """
        if not self.config.guided_fusion:
            streams = self._advance(index, (scale[0] + alone[0], scale[1] + alone[1]), masks)
            return streams, streams
        video, audio = (torch.cat([scale[m] + alone[m], scale[m] + guided[m]]) for m in (0, 1))
        video_mask, audio_mask = (mask.repeat(2, 1) for mask in masks)
        video, audio = self._advance(index, (video, audio), (video_mask, audio_mask), fused)
        rows = fused.shape[0]
        return (video[:rows], audio[:rows]), (video[rows:], audio[rows:])

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MACBDFModelOutput | tuple[Any, ...]:
        """The trunk on a batch; arguments as in `MACBDFForClassification.forward`."""
        video, audio = self.encode(pixel_values, input_features, video_mask, audio_mask)
        output = self.fuse(
            video,
            audio,
            *resolve_masks(video, audio, video_mask, audio_mask),
            _chosen(output_attentions, self.config.output_attentions),
            _chosen(output_hidden_states, self.config.output_hidden_states),
        )
        return output if _chosen(return_dict, self.config.return_dict) else output.to_tuple()


class MACBDFForClassification(MACBDFPreTrainedModel):
    """The detector: joint, video and audio answers per clip and per step, and their losses."""

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__(config)
        self.macbdf = MACBDFModel(config)
        self.temperature = AdaptiveTemperature(config) if config.use_contrastive else None
        self.joint_head = ClassifierHead(config)
        self.video_head = ClassifierHead(config)
        self.audio_head = ClassifierHead(config)
        self.sync_head = SyncHead(config) if config.sync_head else None
        self.post_init()

    @property
    def video_encoder(self) -> nn.Module:
        """The video tower."""
        return self.macbdf.video_encoder

    @property
    def audio_encoder(self) -> nn.Module:
        """The audio tower."""
        return self.macbdf.audio_encoder

    def encoder_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters on which the objectives may conflict, by modality."""
        towers = {"video": self.video_encoder, "audio": self.audio_encoder}
        return {name: [p for p in tower.parameters() if p.requires_grad] for name, tower in towers.items()}

    @classmethod
    def from_video_audio_pretrained(
        cls, video_name_or_path: str, audio_name_or_path: str, **kwargs: Any
    ) -> "MACBDFForClassification":
        """Builds the detector on two pretrained transformers encoders; everything else starts random.

        Args:
            video_name_or_path: an image encoder, applied to each crop, or a video encoder.
            audio_name_or_path: an encoder of spectrograms (AST, Whisper) or of waveforms (Wav2Vec2, HuBERT, ...).
            **kwargs: fields of `MACBDFConfig`.

        Returns:
            The model in evaluation mode. Feed each tower what its own processor makes.
        """
        kwargs["video_config"] = AutoConfig.from_pretrained(video_name_or_path)
        kwargs["audio_config"] = AutoConfig.from_pretrained(audio_name_or_path)
        model = cls(MACBDFConfig(**kwargs))
        model.video_encoder.tower = load_tower(video_name_or_path, kwargs["video_config"])
        model.audio_encoder.tower = load_tower(audio_name_or_path, kwargs["audio_config"])
        return model.eval()

    def encode(
        self,
        pixel_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
    ) -> tuple[Scales | None, Scales | None]:
        """See `MACBDFModel.encode`; the place to cut the graph for gradients per objective."""
        return self.macbdf.encode(pixel_values, input_features, video_mask, audio_mask)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        video_labels: torch.Tensor | None = None,
        audio_labels: torch.Tensor | None = None,
        frame_labels: torch.Tensor | None = None,
        video_frame_labels: torch.Tensor | None = None,
        audio_frame_labels: torch.Tensor | None = None,
        sync_labels: torch.Tensor | None = None,
        normalizers: dict[str, torch.Tensor] | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MACBDFOutput | tuple[Any, ...]:
        """Judges a batch of windows.

        Args:
            pixel_values: (B, T, 3, H, W) normalised face crops, one a step.
            input_features: (B, L, F) log-mel or another `representation`; (B, samples) for a tower on waveforms.
            video_mask, audio_mask: (B, T) bool.
            labels, video_labels, audio_labels: (B,) long, 0 real, 1 fake, -100 unknown.
            frame_labels, video_frame_labels, audio_frame_labels: (B, T) long, the same values.
            sync_labels: (B, T) long, 1 in step, 0 out of step, -100 unknown.
            normalizers: as in `forward_from_scales`.

        Returns:
            `MACBDFOutput`, or its tuple.

        Raises:
            ValueError: neither stream present in some clip, or shapes that do not fit.
        """
        video, audio = self.encode(pixel_values, input_features, video_mask, audio_mask)
        output = self.forward_from_scales(
            video,
            audio,
            video_mask,
            audio_mask,
            normalizers,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            labels=labels,
            video_labels=video_labels,
            audio_labels=audio_labels,
            frame_labels=frame_labels,
            video_frame_labels=video_frame_labels,
            audio_frame_labels=audio_frame_labels,
            sync_labels=sync_labels,
        )
        return output if _chosen(return_dict, self.config.return_dict) else output.to_tuple()

    def forward_from_scales(
        self,
        video_scales: Scales | None,
        audio_scales: Scales | None,
        video_mask: torch.Tensor | None = None,
        audio_mask: torch.Tensor | None = None,
        normalizers: dict[str, torch.Tensor] | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **labels: torch.Tensor | None,
    ) -> MACBDFOutput:
        """Everything after `encode`.

        Args:
            video_scales, audio_scales: from `encode`. video_mask, audio_mask: (B, T) bool or None.
            normalizers: mean `loss_counts` over processes and accumulated batches; None = over the processes, which
                is right without accumulation.
            **labels: the label arguments of `forward`.
        """
        masks = resolve_masks(video_scales, audio_scales, video_mask, audio_mask)
        trunk = self.macbdf.fuse(
            video_scales,
            audio_scales,
            *masks,
            _chosen(output_attentions, self.config.output_attentions),
            _chosen(output_hidden_states, self.config.output_hidden_states),
        )
        logits = self._logits(trunk, *masks)
        resolved = None
        if any(label is not None for label in labels.values()):
            resolved = resolve_targets(Targets(**labels), *masks, self.config.modality_label_fallback)
        temperature, contrastive = self._contrast(trunk, resolved, masks)
        answers: dict[str, Any] = {**self._losses(logits, resolved, contrastive, normalizers), **logits}
        if self.training and resolved is not None:
            self._update_clusters(trunk, resolved, masks)
        carried = ("fusion_weights", "video_embeds", "audio_embeds", "hidden_states", "attentions")
        answers.update({name: getattr(trunk, name) for name in carried})
        return MACBDFOutput(temperature=temperature, **answers)

    def _logits(self, trunk: Any, video_mask: torch.Tensor, audio_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every logit by its name in the output, NaN where there is no evidence."""
        clip, frames = self.joint_head(trunk.last_hidden_state, video_mask | audio_mask)
        video_clip, video_frames = self.video_head(trunk.video_hidden_state, video_mask)
        audio_clip, audio_frames = self.audio_head(trunk.audio_hidden_state, audio_mask)
        video_clip, video_frames = _only(video_clip, video_mask.any(dim=1)), _only(video_frames, video_mask)
        audio_clip, audio_frames = _only(audio_clip, audio_mask.any(dim=1)), _only(audio_frames, audio_mask)
        seen, heard = video_mask.any(dim=1), audio_mask.any(dim=1)
        alone = torch.where(seen, video_clip, audio_clip)
        frames_alone = torch.where(seen.unsqueeze(1), video_frames, audio_frames)
        logits = {
            "logits": torch.where(seen & heard, clip, alone),
            "video_logits": video_clip,
            "audio_logits": audio_clip,
            "frame_logits": torch.where(
                (seen & heard).unsqueeze(1), _only(frames, video_mask | audio_mask), frames_alone
            ),
            "video_frame_logits": video_frames,
            "audio_frame_logits": audio_frames,
        }
        if self.sync_head is not None:
            streams = (trunk.video_hidden_state, trunk.audio_hidden_state)
            logits["sync_logits"] = _only(self.sync_head(*streams, video_mask, audio_mask), video_mask & audio_mask)
        return logits

    def _contrast(
        self, trunk: Any, resolved: dict[str, torch.Tensor] | None, masks: Pair
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Temperature and, with labels, contrastive loss; in training over the pairs of all processes."""
        if self.temperature is None:
            return None, None
        z_v, z_a = trunk.video_embeds, trunk.audio_embeds
        if resolved is None:  # no pair is known, so the belief learns nothing
            return self.temperature(z_v, z_a, z_v.new_zeros(z_v.shape[0], dtype=torch.bool)), None
        positive, valid = pair_masks(resolved, *masks)
        if self.training:
            z_v, z_a, positive, valid = gather_pairs(z_v, z_a, positive, valid)
        temperature = self.temperature(z_v, z_a, valid)
        return temperature, contrastive_loss(z_v, z_a, temperature, positive, valid)

    def _losses(
        self,
        logits: dict[str, torch.Tensor],
        resolved: dict[str, torch.Tensor] | None,
        contrastive: torch.Tensor | None,
        normalizers: dict[str, torch.Tensor] | None,
    ) -> dict[str, Any]:
        """`loss`, `objectives` and `loss_terms` of the output; nothing without labels."""
        if resolved is None:
            return {}
        if normalizers is None and self.training:
            normalizers = mean_over_processes(loss_counts(resolved))
        losses = detection_losses(logits, resolved, self.config, contrastive, normalizers)
        objectives = {name: losses[name] for name in objective_names(self.config)}
        terms = {name: value.detach() for name, value in losses.items()}
        return {"loss": torch.stack(list(objectives.values())).sum(), "objectives": objectives, "loss_terms": terms}

    def _update_clusters(self, trunk: Any, resolved: dict[str, torch.Tensor], masks: Pair) -> None:
        self.macbdf.cluster_weighting.update(
            trunk.video_embeds.detach(),
            trunk.audio_embeds.detach(),
            resolved["video_label"],
            resolved["audio_label"],
            masks[0].any(dim=1),
            masks[1].any(dim=1),
        )


def _only(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """NaN where there is no evidence: it can be mistaken for no answer."""
    return torch.where(where, values, float("nan"))


def _chosen(argument: bool | None, default: bool | None) -> bool:
    return bool(default if argument is None else argument)


MACBDFForClassification.register_for_auto_class("AutoModelForVideoClassification")

__all__ = ["MACBDFForClassification", "MACBDFModel", "MACBDFModelOutput", "MACBDFOutput", "MACBDFPreTrainedModel"]
