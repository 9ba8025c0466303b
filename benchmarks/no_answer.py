"""What the detector says where there is nothing to judge: refusals and "cannot tell" counted against verdicts.

    python benchmarks/no_answer.py --json OUT [--model DIR] [--media FOLDER]

The clips are made here (3 s each, with a voice or music); `--media` adds the files of a folder, whose truth is not
asked: only how often there is a verdict. A wrong answer here is a "real" or a "fake" about a clip without a living
face. The exit code is 1 where there is one.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf.inference import Detector  # noqa: E402
from modeling_macbdf.media.synthetic import TalkingFace, render_talking_face  # noqa: E402
from modeling_macbdf.media.write import write_clip  # noqa: E402

FPS, SECONDS, SIDE, RATE = 10, 3.0, 240, 16_000
COUNT = round(FPS * SECONDS)


def music() -> np.ndarray:
    """(N,) chords with a beat."""
    t = np.arange(round(SECONDS * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * hz * t) for hz in (220.0, 277.2, 329.6, 440.0))
    return (0.15 * chord * np.exp(-4 * (t % 0.5))).astype(np.float32)


def drawn(kind: str) -> np.ndarray:
    """(T, SIDE, SIDE, 3) a drawn figure whose mouth moves: "cartoon" or "dog"."""
    frames = []
    for index in range(COUNT):
        picture = Image.new("RGB", (SIDE, SIDE), (120, 190, 240))
        pen, gape = ImageDraw.Draw(picture), 6 + 6 * (index % 3)
        if kind == "dog":
            for left in (50, 160):
                pen.ellipse((left, 30, left + 40, 120), fill=(110, 70, 40))
        pen.ellipse(
            (60, 40, 180, 200), fill=(150, 100, 60) if kind == "dog" else (250, 220, 90), outline="black", width=3
        )
        for left in (85, 130):
            pen.ellipse((left, 85, left + 24, 115), fill="white", outline="black", width=2)
            pen.ellipse((left + 8, 95, left + 16, 108), fill="black")
        pen.ellipse((100, 150, 140, 150 + gape), fill=(150, 20, 30), outline="black")
        frames.append(np.asarray(picture))
    return np.stack(frames)


def shrunk(face: TalkingFace, side: int) -> np.ndarray:
    """(T, side, side, 3) the face in small."""
    return np.stack([np.asarray(Image.fromarray(frame).resize((side, side))) for frame in face.frames])


def lifeless(face: TalkingFace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, frames and sound of clips that hold no living face large enough to judge."""
    rng, voice, shape = np.random.default_rng(0), face.waveform, (COUNT, SIDE, SIDE, 3)
    yield "black frames, silence", np.zeros(shape, np.uint8), np.zeros_like(voice)
    yield "black frames, voice", np.zeros(shape, np.uint8), voice
    yield "noise, voice", rng.integers(0, 256, shape, dtype=np.uint8), voice
    yield "noise, music", rng.integers(0, 256, shape, dtype=np.uint8), music()
    ramp = np.broadcast_to(np.linspace(0, 255, SIDE).astype(np.uint8)[:, None, None], shape).copy()
    yield "still landscape, voice", ramp, voice
    yield "still photograph of a face, voice", np.repeat(face.frames[:1], COUNT, 0), voice
    yield "still photograph of a face, silence", np.repeat(face.frames[:1], COUNT, 0), np.zeros_like(voice)
    for kind in ("cartoon", "dog"):
        yield f"drawn {kind}, voice", drawn(kind), voice
    tiny = np.full(shape, 90, np.uint8)
    tiny[:, 100:116, 100:116] = shrunk(face, 16)
    yield "tiny face, voice", tiny, voice
    yield "crowd of tiny faces, voice", np.tile(shrunk(face, 16), (1, 15, 15, 1)), voice


def hard(face: TalkingFace) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Living faces that are hard to see, or a sound that is no voice: a verdict is no fault, its rate is told."""
    masked = face.frames.copy()
    masked[:, 130:220, 50:190] = (90, 130, 170)
    yield "mask over mouth and nose, voice", masked, face.waveform
    narrow = np.full_like(face.frames, 90)
    narrow[:, :, 80:160] = face.frames[:, :, :: SIDE // 80][:, :, :80]
    yield "face squeezed to a third, voice", narrow, face.waveform
    yield (
        "half a face, voice",
        np.concatenate([face.frames[:, :, : SIDE // 2], np.full_like(face.frames, 90)[:, :, SIDE // 2 :]], 2),
        face.waveform,
    )
    yield "upside down, voice", np.ascontiguousarray(face.frames[:, ::-1]), face.waveform
    yield "face, music", face.frames, music()
    yield "face, silence", face.frames, np.zeros_like(face.waveform)


def row(detector: Detector, name: str, path: Path) -> dict[str, Any]:
    """What was said about one clip."""
    result = detector.detect(path)
    said = str(result.verdict) if result.verdict else str(result.status)
    return {"clip": name, "said": said, "p_fake": result.p_fake, "why": result.reason or "; ".join(result.warnings)}


def main() -> int:
    parser = argparse.ArgumentParser(description="clips without anything to judge")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--model", help="default: the weights that the project ships")
    parser.add_argument("--media", type=Path, metavar="FOLDER", help="files of your own")
    arguments = parser.parse_args()
    detector = Detector.from_pretrained(arguments.model, device="cpu")
    face = render_talking_face(seed=0, duration_s=SECONDS, size=SIDE, fps=FPS)
    result: dict[str, Any] = {"model": detector.model_info}
    with tempfile.TemporaryDirectory() as folder:
        for kind, clips in (("lifeless", lifeless(face)), ("hard", hard(face))):
            result[kind] = []
            for index, (name, frames, sound) in enumerate(clips):
                path = write_clip(Path(folder) / f"{kind}{index}.mp4", frames, FPS, sound, RATE)
                result[kind].append(row(detector, name, path))
    if arguments.media:
        paths = sorted(path for path in arguments.media.iterdir() if path.is_file())
        result["media"] = [row(detector, path.name, path) for path in paths]
    kinds = [kind for kind in ("lifeless", "hard", "media") if kind in result]
    result["counts"] = {kind: dict(Counter(entry["said"] for entry in result[kind])) for kind in kinds}
    wrong = [entry["clip"] for entry in result["lifeless"] if entry["said"] in ("real", "fake")]
    result["verdicts_from_nothing"] = wrong
    arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
