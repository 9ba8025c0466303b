"""A running demo on the tiny random model, and clips to send to it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modeling_macbdf.media.write import write_clip


@pytest.fixture(scope="session")
def clips(talking_clip, talking_face, tmp_path_factory) -> SimpleNamespace:
    """Paths: `talking`, `noface` (2 s), `long` (10 s), `corrupt`, `sound` (4 s)."""
    folder = tmp_path_factory.mktemp("demo clips")
    noise = np.random.default_rng(0).integers(0, 255, (50, 96, 128, 3), np.uint8)
    corrupt = folder / "corrupt.mp4"
    corrupt.write_bytes(talking_clip.read_bytes()[:2000])
    return SimpleNamespace(
        talking=talking_clip,
        noface=write_clip(folder / "noface.mp4", noise),
        long=write_clip(folder / "long.mp4", noise[:20], fps=2.0),
        corrupt=corrupt,
        sound=write_clip(folder / "sound.m4a", None, waveform=talking_face[1]),
    )


@pytest.fixture(scope="session")
def demo(tiny_folder) -> SimpleNamespace:
    """The address of a running demo that refuses clips over 8 s and uploads over 1 MB; its detector and folder."""
    pytest.importorskip("gradio", reason="needs the extra [demo]")
    import os

    from modeling_macbdf.demo.launch import DemoOptions, running
    from modeling_macbdf.inference import Detector

    detector = Detector.from_pretrained(tiny_folder, device="cpu", max_duration_s=8.0)
    with running(DemoOptions(port=0, max_megabytes=1), detector) as address:
        yield SimpleNamespace(address=address, detector=detector, folder=Path(os.environ["GRADIO_TEMP_DIR"]))
