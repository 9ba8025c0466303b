"""The two built-in encoders: face crops and spectral frames to S scales of (B, T, D) on one clock.

Letters: B batch, T steps, D width of a token, L mel frames, F mel bins, N = B * T frames, C channels, U time units of
the audio stages (4 mel frames each). Both encoders are [ours]; dense convolutions in channels-last layout were chosen
by measured CPU seconds, and norms with the statistics of one frame, so that a batch equals its single items.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_macbdf import MACBDFAudioConfig, MACBDFVideoConfig

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class TimeUnitNorm(nn.Module):
    """Normalises each time unit by itself over channels and frequency: a padded unit changes no other one."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, U, F) -> the same shape."""
        last = hidden.permute(0, 2, 3, 1)  # contiguous where hidden is channels-last
        last = F.layer_norm(last, last.shape[-2:], eps=self.eps) * self.weight + self.bias
        return last.permute(0, 3, 1, 2)


class ConvBlock(GradientCheckpointingLayer):
    """x + mix(act(norm(conv3x3(x)))), blind to masked time units where a mask is given."""

    def __init__(self, channels: int, norm: nn.Module, hidden_act: str) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = norm
        self.act = _activation(hidden_act)
        self.mix = nn.Linear(channels, channels)  # a 1x1 convolution, faster so on channels-last maps

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """hidden (N, C, H, W), mask (N, 1, H, 1) of ones and zeros or None -> (N, C, H, W)."""
        visible = hidden if mask is None else hidden * mask
        inner = self.act(self.norm(self.spatial(visible)))
        return hidden + self.mix(inner.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ScaleProjection(nn.Module):
    """Mean, maximum and deviation over the positions of a step, projected to the token width.

    The mean alone hides artefacts that touch a small part of a face or of a spectrum.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3 * channels)
        self.projection = nn.Linear(3 * channels, width)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """(..., P positions, C) -> (..., D)."""
        mean = positions.mean(-2)
        spread = (positions - mean.unsqueeze(-2)).pow(2).mean(-2).add(1e-6).sqrt()
        return self.projection(self.norm(torch.cat([mean, positions.amax(-2), spread], dim=-1)))


class FacePreprocessor(nn.Module):
    """Appends the truncated high-pass residual of luma, and drops colour where the config asks for it.

    The filter is the 3x3 second-order residual of Ker and Boehme (steganalysis). The truncation is what makes it more
    than a linear filter that the first convolution could learn: it keeps strong edges of the face from drowning weak
    traces of synthesis. Differences of slices, since a one-channel convolution is ten times slower on a CPU.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.use_color, self.high_pass, self.limit = config.use_color, config.high_pass, config.high_pass_limit

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised RGB -> (N, C, H, W), channels-last."""
        red, green, blue = pixels.split(1, dim=1)
        luma = torch.add(red * LUMA[0], green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
        parts = [pixels if self.use_color else luma]
        if self.high_pass:
            parts.append(self._residual(luma))
        return torch.cat(parts, dim=1).contiguous(memory_format=torch.channels_last)

    def _residual(self, luma: torch.Tensor) -> torch.Tensor:
        """(N, 1, H, W) -> the same shape in [-1, 1]; 0 on the border, where a filter would see an edge."""
        rows = (luma[..., 1:-1] * 2).sub_(luma[..., :-2]).sub_(luma[..., 2:])
        both = (rows[..., 1:-1, :] * 2).sub_(rows[..., :-2, :]).sub_(rows[..., 2:, :])
        return F.pad(both.mul_(0.25 / self.limit).clamp_(-1.0, 1.0), (1, 1, 1, 1))


def input_channels(config: Any) -> int:
    """Channels that `FacePreprocessor` makes of a crop."""
    return (3 if config.use_color else 1) + int(config.high_pass)


class FrameEncoder(nn.Module):
    """Frame-wise encoder of face crops: a stem and stages, some of whose maps become tokens.

    Args:
        config: of the video tower.
        stem: (N, C, H, W) -> the map that the first stage takes.
        stages: one after the other.
        taps: channels of the maps that become tokens, by the number of their stage, shallow to deep.
        width: D, width of the tokens.
    """

    # On a CPU, frames pass the first stages in groups, whose large maps stay in the cache; the small maps of the
    # further stages go through all at once, so that their large weights are unpacked once.
    cpu_frames = 16
    shallow_stages = 2
    frame_wise = True  # a crop's tokens depend on no other crop

    def __init__(
        self, config: Any, stem: nn.Module, stages: Iterable[nn.Module], taps: dict[int, int], width: int
    ) -> None:
        super().__init__()
        self.preprocess = FacePreprocessor(config)
        self.stem, self.stages, self.taps = stem, nn.ModuleList(stages), list(taps)
        self.projections = nn.ModuleList(ScaleProjection(channels, width) for channels in taps.values())

    def forward(self, pixel_values: torch.Tensor, mask: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Tokens of each scale, shallow to deep.

        Args:
            pixel_values: (B, T, 3, H, W) normalised crops.
            mask: (B, T) bool; crops of masked steps are never looked at.

        Returns:
            S tensors (B, T, D).
        """
        frames = pixel_values.flatten(0, 1)
        seen = None if mask is None else mask.flatten()
        if seen is not None and _is_exporting():  # all frames pass, the masked ones empty
            frames, seen = frames.masked_fill(~seen[:, None, None, None], 0.0), None
        if seen is None or bool(seen.all()):
            tokens = self._tokens(frames)
        else:  # masked steps cost nothing: a photograph is one frame of its window
            shown = self._tokens(frames[seen])
            tokens = [
                scale.new_zeros(len(frames), scale.shape[-1]).masked_scatter(seen[:, None], scale) for scale in shown
            ]
        return [scale.unflatten(0, pixel_values.shape[:2]) for scale in tokens]

    def _tokens(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) -> S tensors (N, D)."""
        size = self.cpu_frames
        if torch.is_grad_enabled() or frames.device.type != "cpu" or _is_exporting() or len(frames) <= size:
            hidden, tokens = self._shallow(frames)
        else:
            chunks = [self._shallow(chunk) for chunk in frames.split(size)]
            hidden = torch.cat([chunk for chunk, _ in chunks])
            tokens = [torch.cat(scale) for scale in zip(*(scales for _, scales in chunks), strict=True)]
        return tokens + self._deepen(hidden, self.shallow_stages, len(self.stages))[1]

    def _shallow(self, frames: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(N, 3, H, W) -> the map of the last shallow stage, and the tokens up to it."""
        return self._deepen(self.stem(self.preprocess(frames)), 0, self.shallow_stages)

    def _deepen(self, hidden: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(N, C, h, w) through the stages [first, last) -> the last map, and tokens (N, D) of the taps passed."""
        tokens = []
        for index, stage in list(enumerate(self.stages))[first:last]:
            hidden = stage(hidden)
            if index in self.taps:
                projection = self.projections[self.taps.index(index)]
                tokens.append(projection(hidden.permute(0, 2, 3, 1).flatten(1, 2)))
        return hidden, tokens


class VideoEncoder(FrameEncoder):
    """Dense convolutions, trained from scratch.

    Args:
        config: the video tower.
        width: D, width of the tokens.
        num_scales: S, the last stages whose maps become tokens.
    """

    def __init__(self, config: MACBDFVideoConfig, width: int, num_scales: int) -> None:
        sizes, groups, act = list(config.hidden_sizes), config.norm_groups, config.hidden_act
        # Two overlapping stride-2 convolutions: one with stride 4 would alias the high frequencies away.
        stem = nn.Sequential(
            nn.Conv2d(input_channels(config), config.stem_size, 3, stride=2, padding=1),
            _activation(act),
            nn.Conv2d(config.stem_size, sizes[0], 3, stride=2, padding=1),
        )
        stages = []
        for index, (size, depth) in enumerate(zip(sizes, config.depths, strict=True)):
            down = [nn.GroupNorm(groups, sizes[index - 1]), nn.Conv2d(sizes[index - 1], size, 3, stride=2, padding=1)]
            blocks = [ConvBlock(size, nn.GroupNorm(groups, size), act) for _ in range(depth)]
            stages.append(nn.Sequential(*(down if index else []), *blocks))
        taps = dict(list(enumerate(sizes))[-num_scales:])
        super().__init__(config, stem, stages, taps, width)


def _activation(name: str) -> nn.Module:
    """The named activation, in place where it may be: a fresh large map costs more than its arithmetic."""
    return nn.ReLU(inplace=True) if name == "relu" else ACT2FN[name]


def _is_exporting() -> bool:
    """Graph capture wants one pass over any number of frames."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


class AudioDownsample(nn.Module):
    """Halves the frequency axis and keeps the time axis."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = TimeUnitNorm(channels)
        self.conv = nn.Conv2d(channels, out_channels, (3, 2), stride=(1, 2), padding=(1, 0))

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, U, F), mask (B, 1, U, 1) or None -> (B, C', U, F // 2)."""
        hidden = self.norm(hidden)
        return self.conv(hidden if mask is None else hidden * mask)


class AudioEncoder(nn.Module):
    """Convolutional encoder of spectral frames; its receptive field is symmetric around each step.

    Args:
        config: the audio tower.
        width: D, width of the tokens.
        num_scales: S, the last stages whose maps become tokens.
    """

    def __init__(self, config: MACBDFAudioConfig, width: int, num_scales: int) -> None:
        super().__init__()
        sizes, act = list(config.hidden_sizes), config.hidden_act
        self.num_scales, self.frames_per_step = num_scales, config.mel_frames_per_step
        # Kernel 4, stride 2, padding 1: an even kernel keeps the centre of a unit at the centre of its frames.
        self.stem = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1)
            for before, after in ((1, config.stem_size), (config.stem_size, sizes[0]))
        )
        self.act = _activation(act)
        self.stages = nn.ModuleList()
        for index, (size, depth) in enumerate(zip(sizes, config.depths, strict=True)):
            down = [AudioDownsample(sizes[index - 1], size)] if index else []
            blocks = [ConvBlock(size, TimeUnitNorm(size), act) for _ in range(depth)]
            self.stages.append(nn.ModuleList([*down, *blocks]))
        self.projections = nn.ModuleList(ScaleProjection(size, width) for size in sizes[-num_scales:])

    def forward(
        self, input_features: torch.Tensor, mask: torch.Tensor | None = None, steps: int | None = None
    ) -> list[torch.Tensor]:
        """Tokens of each scale, shallow to deep.

        Args:
            input_features: (B, L, F) of the feature extractor, `L = T * mel_frames_per_step`.
            mask: (B, T) bool; masked steps are cut out before every convolution over time.
            steps: T that L must fit, where it is known from elsewhere.

        Returns:
            S tensors (B, T, D).

        Raises:
            ValueError: L is not `T * mel_frames_per_step`.
        """
        frames = input_features.shape[1]
        wanted = f"{steps if steps is not None else 'T'} * {self.frames_per_step}"
        if frames % self.frames_per_step or (steps is not None and frames != steps * self.frames_per_step):
            raise ValueError(
                f"input_features must have L = T * mel_frames_per_step = {wanted} frames, but got {frames}"
            )
        hidden, tokens = input_features.unsqueeze(1), []
        if mask is not None:
            hidden = hidden.masked_fill(~_spread(mask, self.frames_per_step), 0.0)
        hidden = self.act(self.stem[0](hidden.contiguous(memory_format=torch.channels_last)))
        if mask is not None:
            hidden = hidden * _spread(mask, self.frames_per_step // 2)
        hidden = self.stem[1](hidden)
        units = None if mask is None else _spread(mask, self.frames_per_step // 4).to(hidden.dtype)
        for index, stage in enumerate(self.stages, start=self.num_scales - len(self.stages)):
            for layer in stage.children():
                hidden = layer(hidden, units)
            if index >= 0:
                tokens.append(self.projections[index](self._by_step(hidden)))
        return tokens

    def _by_step(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, U, F) -> (B, T, positions of a step, C)."""
        return hidden.permute(0, 2, 3, 1).unflatten(1, (-1, self.frames_per_step // 4)).flatten(2, 3)


def _spread(mask: torch.Tensor, units: int) -> torch.Tensor:
    """(B, T) mask -> (B, 1, T * units, 1)."""
    return mask.repeat_interleave(units, dim=1)[:, None, :, None]
