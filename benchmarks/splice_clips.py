"""Real recordings of which a stretch is forged, and that stretch: what localisation is measured on.

    python benchmarks/splice_clips.py --pictures MEDIA/index.csv --voices SPEECH/index.csv \
        --not-trained-by hub_configs/train-small-media.yaml --out SPLICED

Picture: of each recorded pair that the recipe left out, the original, with its middle taken from its swap (the same
frames of the same scene). Voice: each left-out synthetic voice between two left-out real ones of the same source where
there are some. SPLICED/index.csv lists them, and their unspliced real counterparts, encoded alike.
"""

import argparse
import csv
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from dub_clips import left_out_by, read_rows, sound_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf.media.decode import iter_frames  # noqa: E402
from modeling_macbdf.media.write import WriteOptions, write_clip  # noqa: E402

FPS, RATE_HZ = 25.0, 16_000
FORGED = (0.35, 0.65)  # of a picture's length
LONGEST_S = 3.0  # of each of the three parts of a voice
FIELDS = (
    "file", "label", "video_label", "audio_label", "video_segments_s", "audio_segments_s",
    "generator", "source", "identity", "split",
)  # fmt: skip
Row = dict[str, Any]


def frames_of(path: str) -> np.ndarray:
    """(N, H, W, 3) uint8, every frame."""
    return np.stack([frame.rgb for frame in iter_frames(path, None)])


def pictures(rows: Sequence[dict[str, str]], out: Path) -> Iterator[Row]:
    """Writes each pair's original, and the original with the swap in its middle."""
    pairs: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        pairs.setdefault(row["pair"], {})[row["label"]] = row
    for name, pair in sorted(pairs.items()):
        real, fake = frames_of(pair["real"]["file"]), frames_of(pair["fake"]["file"])
        count = min(len(real), len(fake))
        first, end = (round(share * count) for share in FORGED)
        spliced = real[:count].copy()
        spliced[first:end] = fake[first:end]
        for label, frames in (("real", real[:count]), ("fake", spliced)):
            path = out / f"picture-{name}-{label}.mp4"
            write_clip(path, frames, FPS, options=WriteOptions(crf=18))
            segments = [[first / FPS, end / FPS]] if label == "fake" else []
            yield {
                "file": path.name, "label": label, "video_label": label,
                "video_segments_s": json.dumps(segments), "audio_segments_s": "[]",
                "generator": pair["fake"]["generator"] if label == "fake" else "", "source": "pairs",
                "identity": pair["real"]["identity"], "split": "picture",
            }  # fmt: skip


def voices(rows: Sequence[dict[str, str]], out: Path, rng: random.Random) -> Iterator[Row]:
    """Writes each synthetic voice between two real ones, and three real ones in a row."""
    real, longest = [row for row in rows if row["label"] == "real"], round(LONGEST_S * RATE_HZ)
    for number, fake in enumerate(row for row in rows if row["label"] == "fake"):
        near = [row for row in real if row["from_repo"] == fake["from_repo"]]
        around = [rng.choice(near if len(near) > 2 else real) for _ in range(3)]
        for label, middle in (("real", around[2]), ("fake", fake)):
            parts = [sound_of(row["file"], RATE_HZ)[:longest] for row in (around[0], middle, around[1])]
            start = len(parts[0]) / RATE_HZ
            path = out / f"voice-{number:03d}-{label}.flac"
            soundfile.write(path, np.concatenate(parts), RATE_HZ)
            segments = [[start, start + len(parts[1]) / RATE_HZ]] if label == "fake" else []
            yield {
                "file": path.name, "label": label, "audio_label": label,
                "audio_segments_s": json.dumps(segments), "video_segments_s": "[]",
                "generator": fake["generator"] if label == "fake" else "", "source": fake["from_repo"],
                "identity": fake["speaker"], "split": "voice",
            }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="index.csv of the media")
    parser.add_argument("--voices", type=Path, required=True, help="index.csv of the voices")
    parser.add_argument("--not-trained-by", type=Path, required=True, help="recipe whose left-out clips are taken")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kept = left_out_by(arguments.not_trained_by)
    recorded = [row for row in read_rows(arguments.pictures) if row["split"] == "pairs" and row["identity"] in kept]
    spoken = [row for row in read_rows(arguments.voices) if kept & {row["generator"], row["speaker"]}]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [
        *pictures(recorded, arguments.out),
        *voices(spoken, arguments.out, random.Random(arguments.seed)),
    ]
    with (arguments.out / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows in {arguments.out / 'index.csv'}")


if __name__ == "__main__":
    main()
