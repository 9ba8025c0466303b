"""What many tests share: made clips, and a small detector whose scores mean nothing but whose path is the real one."""

from pathlib import Path

import numpy as np
import pytest
import torch

torch.set_num_threads(1)
CONFIGS = Path(__file__).resolve().parent.parent / "hub_configs"
CALIBRATION = {
    "joint": [1.0, 0.0],
    "video": [1.0, 0.0],
    "audio": [1.0, 0.0],
    "real_below": 0.3,
    "fake_above": 0.7,
    "source": "made up for a test",
}


@pytest.fixture(scope="session")
def talking_clip(tmp_path_factory) -> Path:
    """A rendered talking face of 6 s with a voice."""
    from modeling_macbdf.media.synthetic import make_talking_clip

    path = tmp_path_factory.mktemp("clips") / "talking.mp4"
    make_talking_clip(path, seed=0, duration_s=6.0)
    return path


@pytest.fixture(scope="session")
def talking_face() -> tuple[np.ndarray, np.ndarray]:
    """Frames (N, H, W, 3) at 25 Hz and a waveform at 16 kHz of a rendered talking face of 4 s."""
    from modeling_macbdf.media.synthetic import render_talking_face

    face = render_talking_face(seed=1, duration_s=4.0)
    return face.frames, face.waveform


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A saved tiny model with random weights, a calibration and its processor."""
    from transformers import AutoConfig, AutoModel, AutoProcessor

    import modeling_macbdf  # noqa: F401  registers the Auto classes

    folder = tmp_path_factory.mktemp("tiny")
    config = AutoConfig.from_pretrained(CONFIGS / "macb-df-tiny")
    config.calibration = dict(CALIBRATION)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoProcessor.from_pretrained(CONFIGS / "macb-df-tiny").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def detector(tiny_folder):
    """A detector on the tiny random model."""
    from modeling_macbdf.inference import Detector

    return Detector.from_pretrained(tiny_folder, device="cpu", max_duration_s=60.0)
