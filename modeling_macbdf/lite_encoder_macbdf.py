"""A frame-wise video encoder of inverted residuals, whose weights may begin as EfficientNet-Lite0's.

Source: EfficientNet-Lite (TensorFlow TPU repository, 2020): the EfficientNet of arXiv 1905.11946 without squeeze and
excitation, with ReLU6. Differs in: batch norm is a scale and a bias per channel from the start, as it is in evaluation
(its statistics are folded in), so that a batch equals its single items; the classifier and its last convolution are
left out; a fourth input channel takes the high-pass residual.

Letters: N frames, C channels, H, W pixels.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_macbdf import MACBDFLiteVideoConfig
from .encoders_macbdf import FrameEncoder, input_channels


class ScaledConv(nn.Module):
    """Convolution with a scale and a bias per output channel: a convolution and a batch norm with fixed statistics.

    The scale is multiplied into the weights, which are small, and not into the maps, which are large.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, channels // groups, kernel, kernel))
        self.scale = nn.Parameter(torch.ones(out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride, self.groups = stride, groups
        # At stride 2 the further pixel of an even side is padded, as TensorFlow does: the weights are made for it.
        before = (kernel - stride) // 2
        self.padding = (before, kernel - stride - before)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        weight = self.weight * self.scale[:, None, None, None]
        before, after = self.padding
        if before != after:
            hidden = F.pad(hidden, (before, after, before, after))
        padding = before if before == after else 0
        return F.conv2d(hidden, weight, self.bias, self.stride, padding, groups=self.groups)


class InvertedResidual(GradientCheckpointingLayer):
    """Widen by 1x1, filter each channel, narrow by 1x1; plus the input where the shapes agree."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = ScaledConv(channels, inner, 1) if expansion > 1 else None
        self.depthwise = ScaledConv(inner, inner, kernel, stride, groups=inner)
        self.project = ScaledConv(inner, out_channels, 1)
        self.is_residual = stride == 1 and channels == out_channels

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        inner = hidden if self.expand is None else F.relu6(self.expand(hidden), inplace=True)
        inner = self.project(F.relu6(self.depthwise(inner), inplace=True))
        return hidden + inner if self.is_residual else inner


class Stem(nn.Module):
    """The first convolution, at stride 2."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ScaledConv(channels, out_channels, 3, stride=2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H / 2, W / 2)."""
        return F.relu6(self.conv(frames), inplace=True)


class LiteVideoEncoder(FrameEncoder):
    """Inverted residuals; the last stage of each of the S lowest resolutions gives tokens.

    Args:
        config: the video tower.
        width: D, width of the tokens.
        num_scales: S.
    """

    cpu_frames = 4
    shallow_stages = 3

    def __init__(self, config: MACBDFLiteVideoConfig, width: int, num_scales: int) -> None:
        widths = [config.stem_size, *config.hidden_sizes]
        stages = []
        for index, depth in enumerate(config.depths):
            kernel, stride = config.kernel_sizes[index], config.strides[index]
            first = InvertedResidual(widths[index], widths[index + 1], kernel, stride, config.expansions[index])
            further = (
                InvertedResidual(widths[index + 1], widths[index + 1], kernel, 1, config.expansions[index])
                for _ in range(depth - 1)
            )
            stages.append(nn.Sequential(first, *further))
        taps = {index: config.hidden_sizes[index] for index in config.last_of_resolution()[-num_scales:]}
        stem = Stem(input_channels(config), config.stem_size)
        super().__init__(config, stem, stages, taps, width)
