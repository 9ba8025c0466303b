"""A tree of FakeAVCeleb's layout from rendered people: real clips, smoothed pictures, reversed voices."""

import csv
from pathlib import Path

import numpy as np
import pytest

from modeling_macbdf.evaluation.self_made import smoothed
from modeling_macbdf.media.synthetic import render_talking_face
from modeling_macbdf.media.write import write_clip

HEADER = ["source", "target1", "target2", "method", "category", "type", "race", "gender", "path", ""]
KINDS = (
    ("RealVideo-RealAudio", "real", "A"),
    ("RealVideo-FakeAudio", "rtvc", "B"),
    ("FakeVideo-RealAudio", "fsgan", "C"),
)


@pytest.fixture(scope="session")
def fakeavceleb_tree(tmp_path_factory) -> Path:
    """Three people, 1.2 s each; one listed file is no video."""
    root = tmp_path_factory.mktemp("sets") / "FakeAVCeleb_v1.2"
    rows = []
    for person in range(3):
        face = render_talking_face(person, 1.2, size=128, fps=15.0)
        for kind, method, letter in KINDS:
            folder = f"{kind}/African/women/id0000{person}"
            (root / folder).mkdir(parents=True)
            frames = smoothed(face.frames) if kind.startswith("Fake") else face.frames
            voice = np.ascontiguousarray(face.waveform[::-1]) if "FakeAudio" in kind else face.waveform
            write_clip(root / folder / "00001.mp4", frames, face.fps, voice, face.sampling_rate)
            who = [f"id0000{person}", "-", "-", method, letter, kind, "African", "women", "00001.mp4"]
            rows.append([*who, f"FakeAVCeleb/{folder}"])
    broken = root / "FakeVideo-RealAudio/African/women/id00000/00002.mp4"
    broken.write_text("no video")
    rows.append([*rows[2][:8], broken.name, rows[2][9]])
    with (root / "meta_data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return root
