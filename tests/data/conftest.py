"""Small real media for the data tests: encoded clips for the readers, a cache of rendered talking faces."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modeling_macbdf.data.clips import CANONICAL_LANDMARKS, Clip
from modeling_macbdf.data.records import ClipRecord, real_record
from modeling_macbdf.media.synthetic import render_talking_face
from modeling_macbdf.media.write import write_clip

STEP = 3200  # samples


@pytest.fixture(scope="session")
def small_file(tmp_path_factory) -> bytes:
    """A real encoded clip of 0.4 s with sound."""
    path = tmp_path_factory.mktemp("small") / "small.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    write_clip(path, frames, 25.0, np.sin(np.arange(6400) / 8).astype(np.float32) * 0.3)
    return path.read_bytes()


@pytest.fixture
def place(small_file) -> Callable[[Path], Path]:
    """Puts a small real clip at a path."""

    def write(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_file)
        return path

    return write


@pytest.fixture(scope="session")
def talking_files(tmp_path_factory) -> list[ClipRecord]:
    """Records of three rendered people, 4 s each; the third is silent."""
    folder = tmp_path_factory.mktemp("people")
    records = []
    for seed in range(3):
        face = render_talking_face(seed, 4.0, size=192, fps=15.0)
        path = folder / f"person{seed}.mp4"
        write_clip(path, face.frames, face.fps, None if seed == 2 else face.waveform, face.sampling_rate)
        records.append(real_record(str(path), source=f"source{seed % 2}", identities=(f"person{seed}",)))
    return records


@pytest.fixture(scope="session")
def cache_folder(talking_files, tmp_path_factory) -> Path:
    """Those three people after preprocessing with the real detector."""
    from modeling_macbdf.data.preprocess import preprocess

    folder = tmp_path_factory.mktemp("cache")
    preprocess(talking_files, folder)
    return folder


@pytest.fixture(scope="session")
def voice() -> np.ndarray:
    """5 s of a made voice at 16 kHz: harmonics under an envelope of syllables."""
    time = np.arange(5 * 16000) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * time)) / 16000
    tone = sum(np.sin(k * pitch) / k for k in range(1, 12))
    envelope = np.clip(np.sin(2 * np.pi * 2.3 * time), 0, 1) + 0.05
    noise = np.random.default_rng(1).standard_normal(len(time))
    return (0.15 * envelope * (tone + 0.05 * noise)).astype(np.float32)


@pytest.fixture(scope="session")
def clip(voice) -> Clip:
    """A window of 16 steps with sensor noise, a moving pattern and a voice."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(160), np.arange(160)), axis=-1)
    frames = []
    for t in range(16):
        wave = 120 + 60 * np.sin((grid[..., 0] + 3 * t) / 9) + 40 * np.cos((grid[..., 1] - 2 * t) / 7)
        frames.append((wave[..., None] + rng.normal(0, 6, (160, 160, 3))).clip(0, 255).astype(np.uint8))
    shift = np.stack([np.linspace(-3, 3, 16), np.linspace(2, -2, 16)], axis=1)
    landmarks = (CANONICAL_LANDMARKS[None] * 160 + shift[:, None]).astype(np.float32)
    valid = np.ones(16, bool)
    start = 12800
    return Clip(np.stack(frames), landmarks, valid, voice[start : start + 16 * STEP], valid, voice, start)
