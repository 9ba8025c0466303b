"""Encoders from the config: the built-in ones, or any transformers encoder behind an adapter.

Letters: B batch, T steps, D width, S scales, C channels of the tower, K its tokens. An adapter takes S evenly spaced
hidden states of the tower, deepest last, brings their time axis to T steps, and projects them to (B, T, D).

Built-in encoders keep padding out of valid steps exactly. A pretrained tower sees padding as silence or as grey crops,
as in its own code.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from .configuration_macbdf import MACBDFConfig
from .encoders_macbdf import AudioEncoder, ScaleProjection, VideoEncoder
from .lite_encoder_macbdf import LiteVideoEncoder

# How the tokens of a tower lie: without an entry, time first (or no time axis at all).
SPACE_FIRST = ("timesformer",)
MEL_FRAMES_HZ = 100  # of every spectrogram tower in transformers: hop 10 ms


def build_video_encoder(config: MACBDFConfig) -> nn.Module:
    """The video tower that the config names."""
    tower = config.video_config
    if tower.model_type == "macbdf_video":
        return VideoEncoder(tower, config.hidden_size, config.num_scales)
    if tower.model_type == "macbdf_lite_video":
        return LiteVideoEncoder(tower, config.hidden_size, config.num_scales)
    return VideoTower(config) if _clip_length(tower) else FrameTower(config)


def build_audio_encoder(config: MACBDFConfig) -> nn.Module:
    """The audio tower that the config names."""
    tower = config.audio_config
    if tower.model_type == "macbdf_audio":
        return AudioEncoder(tower, config.hidden_size, config.num_scales)
    return AudioTower(config)


def load_tower(name_or_path: str, config: PreTrainedConfig) -> PreTrainedModel:
    """The pretrained encoder of that name; the encoder half of an encoder-decoder."""
    return _encoder_half(AutoModel.from_pretrained(name_or_path, config=config, dtype=torch.get_default_dtype()))


def _encoder_half(model: PreTrainedModel) -> PreTrainedModel:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _clip_length(config: PreTrainedConfig) -> int | None:
    """Frames that a video tower eats at once; None for an image tower."""
    return getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)


class TowerAdapter(nn.Module):
    """A tower and the projections of S of its hidden states."""

    def __init__(self, config: MACBDFConfig, tower: PreTrainedConfig) -> None:
        super().__init__()
        if hasattr(tower, "layerdrop"):
            tower.layerdrop = 0.0  # a dropped layer leaves no hidden state to take
        # Not in the dtype that the tower was saved in: the whole detector computes in one.
        self.tower = _encoder_half(AutoModel.from_config(tower, dtype=torch.get_default_dtype()))
        self.num_scales = config.num_scales
        self.projections = nn.ModuleList(
            ScaleProjection(channels, config.hidden_size) for channels in self._widths(tower)
        )

    def _widths(self, tower: PreTrainedConfig) -> list[int]:
        """Channels of the S chosen hidden states."""
        sizes = getattr(tower, "hidden_sizes", None)
        if sizes is None and hasattr(tower, "embed_dim"):  # the Swin family: a state is taken after its merging
            sizes = [min(tower.embed_dim * 2 ** (stage + 1), tower.hidden_size) for stage in range(len(tower.depths))]
        if sizes is None:
            return [tower.hidden_size] * self.num_scales
        return [sizes[index] for index in self._indices(len(sizes))]

    def _indices(self, count: int) -> list[int]:
        """S evenly spaced indices of `count` hidden states, the last one included."""
        if count < self.num_scales:
            raise ValueError(
                f"num_scales={self.num_scales} must not exceed the layers of the tower, but it has {count}"
            )
        return [(count * (scale + 1)) // self.num_scales - 1 for scale in range(self.num_scales)]

    def states(self, **inputs: torch.Tensor) -> list[torch.Tensor]:
        """The S chosen hidden states, the embeddings left out; the last one behind the tower's final norm."""
        output = self.tower(**inputs, output_hidden_states=True, return_dict=True)
        hidden = output.hidden_states[1:]
        chosen = [hidden[index] for index in self._indices(len(hidden))]
        if output.last_hidden_state.shape == chosen[-1].shape:
            chosen[-1] = output.last_hidden_state
        return chosen


class FrameTower(TowerAdapter):
    """Any image encoder, applied to each crop by itself."""

    frame_wise = True

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__(config, config.video_config)

    def forward(self, pixel_values: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """(B, T, 3, H, W), (B, T) -> S tensors (B, T, D)."""
        frames = resize_frames(_visible(pixel_values, mask), self.tower.config)
        states = self.states(pixel_values=frames.flatten(0, 1))
        clips = pixel_values.shape[:2]
        return [
            projection(_as_tokens(state)).unflatten(0, clips)
            for projection, state in zip(self.projections, states, strict=True)
        ]


class VideoTower(TowerAdapter):
    """A video encoder; a clip of another length is read at evenly spaced steps."""

    frame_wise = False

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__(config, config.video_config)
        self.length: int = _clip_length(config.video_config) or 1
        self.tubelet = getattr(config.video_config, "tubelet_size", 1)
        self.tubelet = self.tubelet if isinstance(self.tubelet, int) else self.tubelet[0]

    def forward(self, pixel_values: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """(B, T, 3, H, W), (B, T) -> S tensors (B, T, D)."""
        steps = pixel_values.shape[1]
        frames = resize_frames(_visible(pixel_values, mask), self.tower.config)
        chosen = (torch.arange(self.length, device=frames.device) * steps) // self.length
        states = self.states(**{self.tower.main_input_name: frames[:, chosen]})
        return [
            to_steps(projection(self._by_time(state)), steps)
            for projection, state in zip(self.projections, states, strict=True)
        ]

    def _by_time(self, state: torch.Tensor) -> torch.Tensor:
        """(B, K, C) -> (B, time, positions, C), a class token in front dropped."""
        times = self.length // self.tubelet
        state = state[:, state.shape[1] % times :]
        if self.tower.config.model_type in SPACE_FIRST:
            return state.unflatten(1, (-1, times)).transpose(1, 2)
        return state.unflatten(1, (times, -1))


class AudioTower(TowerAdapter):
    """An encoder of spectrograms (tokens on a frequency and time grid, or in time) or of waveforms."""

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__(config, config.audio_config)
        tower = config.audio_config
        self.is_waveform = self.tower.main_input_name == "input_values" and not hasattr(tower, "num_mel_bins")
        rate = config.sampling_rate if self.is_waveform else MEL_FRAMES_HZ
        self.samples_per_step = round(rate / config.frame_rate_hz)
        positions = getattr(tower, "max_source_positions", None)
        # What a tower with a fixed length wants: shorter input is padded, and the padded tokens are dropped again.
        self.length = getattr(tower, "max_length", None) if hasattr(tower, "time_stride") else None
        self.length = 2 * positions if positions and self.tower.main_input_name == "input_features" else self.length

    def forward(
        self, input_features: torch.Tensor, mask: torch.Tensor | None = None, steps: int | None = None
    ) -> list[torch.Tensor]:
        """(B, L, F) or (B, samples) -> S tensors (B, T, D); T is `steps`, or what L gives."""
        length = input_features.shape[1]
        steps = steps or length // self.samples_per_step
        if mask is not None:
            heard = F.interpolate(mask[:, None].float(), size=length, mode="nearest")[:, 0] > 0
            input_features = input_features.masked_fill(
                ~heard.view(*heard.shape, *[1] * (input_features.dim() - 2)), 0
            )
        states = self.states(**{self.tower.main_input_name: self._framed(input_features)})
        return [
            to_steps(projection(self._by_time(state, length)), steps)
            for projection, state in zip(self.projections, states, strict=True)
        ]

    def _framed(self, features: torch.Tensor) -> torch.Tensor:
        """Padded to the tower's fixed length, channels where it expects them."""
        if self.length is None:
            return features
        if features.shape[1] > self.length:
            raise ValueError(f"input_features must have at most {self.length} frames, but got {features.shape[1]}")
        features = F.pad(features, (0, 0, 0, self.length - features.shape[1]))
        return features.transpose(1, 2) if self.tower.config.model_type.startswith("whisper") else features

    def _by_time(self, state: torch.Tensor, length: int) -> torch.Tensor:
        """(B, K, C) -> (B, time, positions, C) of the part that is not padding."""
        tower, bands = self.tower.config, 1
        if hasattr(tower, "time_stride"):  # spectrogram patches: bands first, time within, special tokens in front
            bands = (tower.num_mel_bins - tower.patch_size) // tower.frequency_stride + 1
            times = (tower.max_length - tower.patch_size) // tower.time_stride + 1
            state = state[:, -bands * times :].unflatten(1, (bands, times)).transpose(1, 2)
        else:
            state = state.unsqueeze(2)
        kept = state.shape[1] if self.length is None else max(1, round(state.shape[1] * length / self.length))
        return state[:, :kept]


def resize_frames(frames: torch.Tensor, config: Any) -> torch.Tensor:
    """(B, T, 3, H, W) at the side that the tower's positions are made for."""
    side = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    side = side if side is None or isinstance(side, int) else side[0]
    if side is None or frames.shape[-1] == side:
        return frames
    resized = F.interpolate(frames.flatten(0, 1), size=(side, side), mode="bilinear", antialias=True)
    return resized.unflatten(0, frames.shape[:2])


def to_steps(tokens: torch.Tensor, steps: int) -> torch.Tensor:
    """Average (more tokens than steps) or repeat (fewer) over time: (B, K, D) -> (B, T, D)."""
    return F.adaptive_avg_pool1d(tokens.transpose(1, 2), steps).transpose(1, 2)


def _visible(pixels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return pixels if mask is None else pixels.masked_fill(~mask.bool()[:, :, None, None, None], 0.0)


def _as_tokens(state: torch.Tensor) -> torch.Tensor:
    """Feature maps (N, C, h, w) or tokens (N, K, C) -> (N, K, C)."""
    return state.flatten(2).transpose(1, 2) if state.dim() == 4 else state
