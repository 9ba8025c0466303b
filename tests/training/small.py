"""The real detector at its smallest, and clips of noise for it."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from modeling_macbdf import MACBDFAudioConfig, MACBDFConfig, MACBDFForClassification, MACBDFVideoConfig

STEPS, SIDE = 4, 16


def small_detector(**changes: object) -> MACBDFForClassification:
    stages = {"hidden_sizes": [8, 16], "depths": [1, 1], "stem_size": 8}
    settings = {"hidden_size": 16, "num_scales": 2, "projection_size": 8, "num_attention_heads": 2, "dropout": 0.0}
    settings |= {"num_frames": STEPS, "pooling_top_k": 2, "prototype_warmup": 4, "kernel_sizes": [3, 5]}
    config = MACBDFConfig(
        video_config=MACBDFVideoConfig(image_size=SIDE, **stages),
        audio_config=MACBDFAudioConfig(num_mel_bins=8, **stages),
        **(settings | changes),
    )
    torch.manual_seed(0)
    return MACBDFForClassification(config)


class NoiseClips(Dataset):
    """Every fifth clip lacks its sound, every seventh its picture; some labels are unknown."""

    def __init__(self, count: int = 12) -> None:
        generator = torch.Generator().manual_seed(2)
        self.frames = torch.randn(count, STEPS, 3, SIDE, SIDE, generator=generator)
        self.mel = torch.randn(count, STEPS * 20, 8, generator=generator)
        self.labels = torch.randint(0, 2, (count, 2), generator=generator)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        video, audio = self.labels[index]
        everywhere = torch.ones(STEPS, dtype=torch.bool)
        return {
            "pixel_values": self.frames[index],
            "input_features": self.mel[index],
            "video_mask": everywhere & (index % 7 != 6),
            "audio_mask": everywhere & (index % 5 != 4),
            "labels": torch.maximum(video, audio),
            "video_labels": video,
            "audio_labels": audio if index % 4 else torch.tensor(-100),
        }
