"""Towers of published audio-visual detectors at their published sizes, with random weights: what they cost, not what
they find.

AVT2-DWF (its repository's `models/`): a window of 1 s; 30 whole frames, and the sound, as tokens of two transformers.
BA-TFD+ (`config/batfd_plus_default.toml`): MViTv2-B and ViT-B on 512 steps, to which shorter clips are padded.
VideoMAE-B and wav2vec2-B: the pair that detectors on pretrained towers use, here on 3.2 s.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

SECONDS = 3.2  # of the clip that every model gets


class Towers(nn.Module):
    """A picture's and a sound's tower, each applied to its own input `times` times (windows of a clip)."""

    def __init__(self, picture: nn.Module, sound: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.picture, self.sound, self.times = picture, sound, times

    def forward(self, pictures: torch.Tensor, sounds: torch.Tensor) -> None:
        """Runs both; nothing is made of what they return."""
        for _ in range(self.times):
            self.picture(pictures)
            self.sound(sounds)


class TokenTower(nn.Module):
    """Rows of numbers as tokens, behind one more token, through pre-norm transformer layers."""

    def __init__(self, values: int, width: int, layers: int, heads: int, inner: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.LayerNorm(values), nn.Linear(values, width), nn.LayerNorm(width))
        self.first = nn.Parameter(torch.randn(1, 1, width))
        layer = nn.TransformerEncoderLayer(width, heads, inner, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, T, values) -> (B, T + 1, width)."""
        tokens = self.embed(rows)
        return self.layers(torch.cat([self.first.expand(len(tokens), -1, -1), tokens], dim=1))


def avt2_dwf() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """AVT2-DWF's two towers on the windows of 1 s that a clip of 3.2 s holds."""
    frame, sound = 224 * 224 * 3, 30 * 30
    picture, hearing = (TokenTower(values, 1024, 6, 16, 2048) for values in (frame, sound))
    return Towers(picture, hearing, times=int(SECONDS)), (torch.randn(1, 30, frame), torch.randn(1, 1, sound))


def ba_tfd_plus() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """BA-TFD+'s towers at their padded length; its boundary modules come on top."""
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    depths, widths, steps = (2, 3, 16, 3), (96, 192, 384, 768), 512
    stages = [stage for stage, depth in enumerate(depths) for _ in range(depth)]
    blocks = []
    for index, stage in enumerate(stages):
        shrink = 2 if index and stage != stages[index - 1] else 1
        keys = 2 ** (len(depths) - 1 - stage)
        blocks.append(
            MSBlockConfig(
                num_heads=2**stage,
                input_channels=widths[stages[max(index - 1, 0)]],
                output_channels=256 if index == len(stages) - 1 else widths[stage],
                kernel_q=[3, 3, 3],
                kernel_kv=[3, 3, 3],
                stride_q=[1, shrink, shrink],
                stride_kv=[1, keys, keys],
            )
        )
    picture = MViT(
        (96, 96),
        steps,
        blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        patch_embed_kernel=(3, 15, 15),
        patch_embed_stride=(1, 12, 12),
        patch_embed_padding=(1, 3, 3),
    )
    sound = TokenTower(64 * 4, 768, 12, 12, 3072)
    return Towers(picture, sound), (torch.randn(1, 3, steps, 96, 96), torch.randn(1, steps, 64 * 4))


def videomae_wav2vec2() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The base sizes of both, as their configurations have them by default."""
    from transformers import VideoMAEConfig, VideoMAEModel, Wav2Vec2Config, Wav2Vec2Model

    picture, sound = VideoMAEModel(VideoMAEConfig()), Wav2Vec2Model(Wav2Vec2Config())
    return Towers(picture, sound), (torch.randn(1, 16, 3, 224, 224), torch.randn(1, int(16_000 * SECONDS)))


PEERS: dict[str, Callable[[], tuple[Any, tuple[torch.Tensor, ...]]]] = {
    "AVT2-DWF, towers": avt2_dwf,
    "BA-TFD+, towers": ba_tfd_plus,
    "VideoMAE-B + wav2vec2-B": videomae_wav2vec2,
}
