"""A detector of a few hundred parameters with the interface that the trainer needs, and its data."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers.utils import ModelOutput

from modeling_macbdf.gathering_macbdf import mean_over_processes, world_size
from modeling_macbdf.losses_macbdf import OBJECTIVES, Targets, detection_losses, loss_counts, resolve_targets

STEPS = 3


class ToyDetector(nn.Module):
    """Linear towers and heads, dropout, and a buffer that follows the batches, as the temperature's belief does."""

    accepts_loss_kwargs = False
    supports_gradient_checkpointing = False

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = SimpleNamespace(
            modality_label_fallback="mask", frame_loss_weight=0.5, sync_loss_weight=0.0, pos_weight=None
        )
        self.video_encoder, self.audio_encoder = self._tower(4, dropout), self._tower(6, dropout)
        self.joint_head, self.video_head, self.audio_head = nn.Linear(10, 1), nn.Linear(5, 1), nn.Linear(5, 1)
        with torch.no_grad():  # opposite read-outs: the objectives conflict from the start
            self.video_head.weight.copy_(-self.joint_head.weight[:, :5])
            self.audio_head.weight.copy_(-self.joint_head.weight[:, 5:])
        self.register_buffer("belief", torch.zeros(()))
        self.unused = nn.Parameter(torch.ones(2))

    @staticmethod
    def _tower(width: int, dropout: float) -> nn.Sequential:
        return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 5))

    def encoder_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {"video": list(self.video_encoder.parameters()), "audio": list(self.audio_encoder.parameters())}

    def encode(self, pixel_values=None, input_features=None, video_mask=None, audio_mask=None):
        return [self.video_encoder(pixel_values)], [self.audio_encoder(input_features)]

    def forward_from_scales(
        self, video_scales, audio_scales, video_mask=None, audio_mask=None, normalizers=None, **labels: Tensor | None
    ) -> ModelOutput:
        (video,), (audio,) = video_scales, audio_scales
        frames = {
            "frame_logits": self.joint_head(torch.cat([video, audio], -1)).squeeze(-1),
            "video_frame_logits": self.video_head(video).squeeze(-1),
            "audio_frame_logits": self.audio_head(audio).squeeze(-1),
        }
        clips = {name.replace("frame_", ""): value.mean(1) for name, value in frames.items()}
        mask = torch.ones(video.shape[:2], dtype=torch.bool, device=video.device)
        resolved = resolve_targets(Targets(**labels), mask, mask, "mask")
        counts = loss_counts(resolved)
        if self.training:
            normalizers = mean_over_processes(counts) if normalizers is None else normalizers
            self.belief.mul_(0.9).add_(0.1 * world_size() * normalizers["multimodal_clip"])
        losses = detection_losses({**frames, **clips}, resolved, self.config, None, normalizers)
        objectives = {name: losses[name] for name in OBJECTIVES}
        share = torch.sigmoid(video.detach().mean((1, 2)))
        return ModelOutput(
            loss=sum(objectives.values()),
            logits=clips["logits"],
            objectives=objectives,
            temperature=self.belief.clone(),
            fusion_weights=torch.stack([share, 1 - share], -1),
        )

    def forward(self, pixel_values=None, input_features=None, labels=None, video_labels=None, audio_labels=None):
        scales = self.encode(pixel_values, input_features)
        named = {"labels": labels, "video_labels": video_labels, "audio_labels": audio_labels}
        return self.forward_from_scales(*scales, **named)


class ToyData(Dataset):
    """Clips with some labels missing; with `epochs` the data differ from epoch to epoch."""

    def __init__(self, count: int = 24, epochs: bool = False) -> None:
        generator = torch.Generator().manual_seed(5)
        self.frames = torch.randn(count, STEPS, 4, generator=generator)
        self.mel = torch.randn(count, STEPS, 6, generator=generator)
        self.labels = torch.randint(0, 2, (count, 1), generator=generator).repeat(1, 3)
        self.labels[::5, 1] = -100
        self.epochs, self.epoch = epochs, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        labels = dict(zip(("labels", "video_labels", "audio_labels"), self.labels[index], strict=True))
        shift = 0.1 * self.epoch if self.epochs else 0.0
        return {"pixel_values": self.frames[index] + shift, "input_features": self.mel[index] - shift, **labels}
