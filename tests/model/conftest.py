"""A tiny detector and a batch for it, shared by the model tests."""

import pytest
import torch

from modeling_macbdf import MACBDFConfig, MACBDFForClassification

STEPS = 8
TOWERS = {
    "video_config": {"image_size": 32, "stem_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "audio_config": {"stem_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
}

LITE = {
    "model_type": "macbdf_lite_video",
    "image_size": 32,
    "stem_size": 8,
    "hidden_sizes": [8, 8, 16, 16, 24],
    "depths": [1, 1, 2, 1, 1],
    "kernel_sizes": [3, 3, 5, 3, 5],
    "strides": [1, 2, 2, 1, 2],
    "expansions": [1, 2, 2, 3, 2],
}


def build_config(**fields) -> MACBDFConfig:
    """A config of about 0.2 M parameters; `fields` replace its values."""
    small = {"hidden_size": 32, "projection_size": 16, "num_frames": STEPS, "dropout": 0.0, **TOWERS}
    return MACBDFConfig(**{**small, **fields})


def build_model(**fields) -> MACBDFForClassification:
    """A tiny model in evaluation mode, always with the same weights, far enough from zero to tell answers apart."""
    torch.manual_seed(0)
    model = MACBDFForClassification(build_config(**fields)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("macbdf" in name and "encoder" not in name) or "head" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def build_batch(clips: int = 3, steps: int = STEPS, seed: int = 1) -> dict[str, torch.Tensor]:
    """Random crops and mel frames with all steps valid."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randn(clips, steps, 3, 32, 32, generator=generator),
        "input_features": torch.randn(clips, steps * 20, 80, generator=generator),
        "video_mask": torch.ones(clips, steps, dtype=torch.bool),
        "audio_mask": torch.ones(clips, steps, dtype=torch.bool),
    }


@pytest.fixture(scope="session")
def tiny_model() -> MACBDFForClassification:
    """With the sync head, in evaluation mode. Not to be changed by a test."""
    return build_model(sync_head=True)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three clips of eight steps."""
    return build_batch()
