"""MSTLKA and MFTLKA: large-kernel attention over time, multi-head attention and an MLP, for one stream and for two.

Source: arXiv 2505.12966 names the blocks; reading the acronyms as *multi-scale temporal large-kernel attention* and
its *multimodal fusion* twin is [our reading]. The gate follows the Visual Attention Network (arXiv 2202.09741), turned
to time.

Letters: B batch, T query steps, K key steps, D width, H heads, C channels of one kernel group. Every module takes
the (B, T) mask and cuts masked steps out before anything mixes time, so padding changes no valid step.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_macbdf import MACBDFConfig

LOCAL_KERNEL = 3  # of the depth-wise convolution in front of each dilated one


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    **_: object,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out: (B, H, T, d), (B, H, K, d) -> output (B, T, H, d) and weights (B, H, T, K)."""
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    mixed = torch.matmul(nn.functional.dropout(weights, p=dropout, training=module.training), value)
    return mixed.transpose(1, 2), weights


def fit_kernel(kernel: int, span: int) -> tuple[int, int]:
    """The kernel and dilation that, behind the local kernel, see at most `span` steps.

    The source's 5 + 7 (dilation 3) spans 23 steps, which on a clip of 16 mostly sees padding.

    Args:
        kernel: wished kernel, odd. span: steps to reach, in all.

    Returns:
        (kernel, dilation) with `LOCAL_KERNEL + dilation * (kernel - 1) <= span` where any kernel fits, else (1, 1).

    Example:
        >>> fit_kernel(7, 16), fit_kernel(7, 6)
        ((7, 2), (3, 1))
    """
    room = span - LOCAL_KERNEL
    while kernel > 1 and kernel - 1 > room:
        kernel -= 2
    return (kernel, room // (kernel - 1)) if kernel > 1 else (1, 1)


def group_spans(num_frames: int, groups: int) -> list[int]:
    """Steps that each channel group sees: evenly spaced up to the whole clip, so that the scales differ.

    Example:
        >>> group_spans(16, 3)
        [7, 11, 16]
    """
    room = max(num_frames - LOCAL_KERNEL, 0)
    return [LOCAL_KERNEL + room * (group + 1) // groups for group in range(groups)]


def group_sizes(width: int, groups: int) -> list[int]:
    """Channels of each group: equal up to a multiple of 16, which depth-wise convolutions like."""
    unit = 16 if width % 16 == 0 and width // 16 >= groups else 1
    return [unit * len(part) for part in torch.arange(width // unit).tensor_split(groups)]


class DilatedGate(nn.Conv1d):
    """Dilated depth-wise convolution over time for one group of channels: (B, C, T) -> (B, C, T)."""

    def __init__(self, channels: int, kernel: int, span: int) -> None:
        kernel, dilation = fit_kernel(kernel, span)
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, padding=padding, dilation=dilation, groups=channels)


class LargeKernelAttention(nn.Module):
    """x + scale * project(gate(x) * value(x)), the gate seeing several time spans in parallel channel groups."""

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__()
        width, kernels = config.hidden_size, config.kernel_sizes
        self.sizes, spans = group_sizes(width, len(kernels)), group_spans(config.num_frames, len(kernels))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.local = nn.Conv1d(width, width, LOCAL_KERNEL, padding=LOCAL_KERNEL // 2, groups=width)
        self.gates = nn.ModuleList(map(DilatedGate, self.sizes, kernels, spans))
        self.gate_mix = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        # Without norm and a small layer scale the product of gate and value diverges early in training.
        self.layer_scale = nn.Parameter(torch.full((width,), config.layer_scale_init))
        self.layer_scale_init = config.layer_scale_init

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, D), (B, T) bool -> (B, T, D)."""
        normed = self.norm(hidden)
        ones = mask.unsqueeze(1).to(hidden.dtype)
        groups = (self.local(normed.transpose(1, 2) * ones) * ones).split(self.sizes, dim=1)
        gate = torch.cat([gate(group) for gate, group in zip(self.gates, groups, strict=True)], dim=1)
        mixed = self.output(self.gate_mix(gate.transpose(1, 2)) * self.value(normed))
        return hidden + self.layer_scale * mixed


class TemporalAttention(nn.Module):
    """Multi-head attention of T steps to the steps of one or several streams, with a learned bias per time distance.

    Args:
        config: the detector's.
        num_streams: streams laid one after the other in the memory, each with T steps.
    """

    def __init__(self, config: MACBDFConfig, num_streams: int = 1) -> None:
        super().__init__()
        self.config = config
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.scaling, self.is_causal = (width // self.heads) ** -0.5, False
        self.reach = max(config.num_frames - 1, 1)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.distance_bias = nn.Parameter(torch.zeros(num_streams, self.heads, 2 * self.reach + 1))

    def forward(
        self, hidden: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor, with_weights: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend.

        Args:
            hidden: (B, T, D). memory: (B, K, D), K = streams * T.
            mask: (B, K) bool, steps of the memory that may be seen; a row without any sees all.
            with_weights: compute the weights too, whatever the attention implementation.

        Returns:
            (B, T, D), and the weights (B, H, T, K) where they were asked for.
        """
        split = (-1, self.heads, self.config.hidden_size // self.heads)
        query, key, value = (
            layer(source).unflatten(-1, split[1:]).transpose(1, 2)
            for layer, source in ((self.query, hidden), (self.key, memory), (self.value, memory))
        )
        attend: Callable = eager_attention_forward
        if not with_weights:
            attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        bias = self._bias(hidden.shape[1], mask).to(query.dtype)
        mixed, weights = attend(self, query, key, value, bias, scaling=self.scaling, dropout=dropout, is_causal=False)
        return self.output(mixed.flatten(-2)), weights

    def _bias(self, steps: int, mask: torch.Tensor) -> torch.Tensor:
        """Additive (B, H, T, K): the bias of each time distance, and the lowest number on masked keys."""
        clock = torch.arange(steps, device=mask.device)
        distance = (clock[None, :] - clock[:, None]).clamp(-self.reach, self.reach) + self.reach
        bias = self.distance_bias[:, :, distance].permute(1, 2, 0, 3).flatten(2).unsqueeze(0)  # (1, H, T, K)
        visible = mask | ~mask.any(dim=1, keepdim=True)  # softmax over nothing would be NaN
        return torch.where(visible[:, None, None, :], bias, torch.finfo(bias.dtype).min)


class FeedForward(nn.Module):
    """x + dropout(MLP(norm(x)))."""

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__()
        inner = int(config.hidden_size * config.mlp_ratio)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up, self.down = nn.Linear(config.hidden_size, inner), nn.Linear(inner, config.hidden_size)
        self.act, self.dropout = ACT2FN[config.hidden_act], nn.Dropout(config.dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, T, D)."""
        return hidden + self.dropout(self.down(self.act(self.up(self.norm(hidden)))))


class MSTLKA(GradientCheckpointingLayer):
    """One stream at one scale: large kernels, self-attention, MLP; the fused map of the scale before may guide it."""

    def __init__(self, config: MACBDFConfig, guided: bool) -> None:
        super().__init__()
        if guided:  # no parameter that would never receive a gradient
            self.guide_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.guide = nn.Linear(config.hidden_size, config.hidden_size)
        self.large_kernel = LargeKernelAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = TemporalAttention(config)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = FeedForward(config)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor | None = None) -> torch.Tensor:
        """Advance the stream.

        Args:
            hidden: (B, T, D) the encoder's scale plus the stream's state.
            mask: (B, T) bool.
            guide: (B', T, D) fused map of the scale before, for the last B' rows; the others (all, where it is None)
                are the pass that hears one modality only.

        Returns:
            (B, T, D), zeros at masked steps.
        """
        if guide is not None:
            alone = hidden.shape[0] - guide.shape[0]
            hidden = torch.cat([hidden[:alone], hidden[alone:] + self.guide(self.guide_norm(guide))])
        hidden = self.large_kernel(hidden, mask)
        normed = self.norm(hidden)
        hidden = self.feed_forward(hidden + self.dropout(self.attention(normed, normed, mask)[0]))
        return torch.where(mask.unsqueeze(-1), hidden, 0.0)


class MFTLKA(GradientCheckpointingLayer):
    """Both weighted streams and the previous fused map into the next fused map, by cross-attention."""

    def __init__(self, config: MACBDFConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.video_norm, self.audio_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.mix = nn.Linear(3 * width, width)
        self.large_kernel = LargeKernelAttention(config)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.cross_attention = TemporalAttention(config, num_streams=2)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        fused: torch.Tensor,
        video: torch.Tensor,
        audio: torch.Tensor,
        weights: torch.Tensor,
        video_mask: torch.Tensor,
        audio_mask: torch.Tensor,
        with_weights: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Fuse one scale.

        Args:
            fused: (B, T, D) fused map of the scale before. video, audio: (B, T, D) streams of this scale.
            weights: (B, 2) [w_v, w_a]; they act after the norms, which would undo them.
            video_mask, audio_mask: (B, T) bool.
            with_weights: return the cross-attention too.

        Returns:
            (B, T, D), zeros where neither stream is valid, and the cross-attention (B, H, T, 2 T), video keys first.
        """
        shares = weights.to(fused.dtype)[:, :, None, None]
        video = self.video_norm(video) * shares[:, 0] * video_mask.unsqueeze(-1)
        audio = self.audio_norm(audio) * shares[:, 1] * audio_mask.unsqueeze(-1)
        seen = video_mask | audio_mask
        # The product is what two streams say together: agreement and conflict at the same instant.
        fused = fused + self.mix(torch.cat([video, audio, video * audio], dim=-1))
        fused = self.large_kernel(fused, seen)
        memory = torch.cat([video, audio], dim=1)
        keys = torch.cat([video_mask, audio_mask], dim=1)
        attended, attention = self.cross_attention(self.norm(fused), memory, keys, with_weights)
        fused = self.feed_forward(fused + self.dropout(attended))
        return torch.where(seen.unsqueeze(-1), fused, 0.0), attention
