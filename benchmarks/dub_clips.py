"""Clips whose pictures are real and whose voices are real or synthetic, beside the clips they come from.

    python benchmarks/dub_clips.py --pictures MEDIA/index.csv --split dev --voices SPEECH/index.csv \
        --not-trained-by hub_configs/train-small-media.yaml --out DUBBED

Each real clip of the split is laid under one left-out real voice and under one left-out synthetic voice of the same
source; its picture is copied, not encoded again. DUBBED/index.csv lists the dubbed clips and, by their whole paths,
the untouched clips of the split, so that a calibration sees all of them. Lips and voice do not belong together.
"""

import argparse
import csv
import random
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf.media.audio import read_audio  # noqa: E402
from modeling_macbdf.training.config import load_config  # noqa: E402

RATE_HZ = 44_100
COLUMNS = ("file", "label", "video_label", "audio_label", "generator", "source", "identity", "split", "pair")


def read_rows(index: Path) -> list[dict[str, str]]:
    """The rows of an index, with whole paths."""
    with index.open(newline="") as file:
        return [{**row, "file": str((index.parent / row["file"]).resolve())} for row in csv.DictReader(file)]


def left_out_by(recipe: Path) -> set[str]:
    """Names of generators and people that a training configuration leaves out."""
    return set(load_config(recipe, []).data.leave_out)


def sound_of(path: str, rate_hz: int) -> np.ndarray:
    """(N,) float32 samples of a recording."""
    sound = read_audio(path, rate_hz)
    if sound is None:
        raise ValueError(f"{path} must hold sound, but holds none")
    return sound.samples


def dub(picture: str, voice: str, out: Path) -> None:
    """Copies a picture and encodes a voice beside it, repeated until the picture ends."""
    sound = sound_of(voice, RATE_HZ)
    with av.open(picture) as source, av.open(str(out), "w") as target:
        video = source.streams.video[0]
        copied = target.add_stream_from_template(video)
        spoken = target.add_stream("aac", rate=RATE_HZ, layout="mono")
        end_s = 0.0
        for packet in source.demux(video):
            if packet.dts is None:
                continue
            packet.stream = copied
            end_s = max(end_s, float((packet.pts or 0) * packet.time_base))
            target.mux(packet)
        samples = np.resize(sound, round(end_s * RATE_HZ))
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = RATE_HZ, start
            target.mux(spoken.encode(frame))
        target.mux(spoken.encode(None))


def make(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Writes the dubbed clips and returns all rows."""
    left_out = left_out_by(arguments.not_trained_by)
    clips = [
        {**row, "video_label": row["label"]}  # the forgeries of this media are of the picture
        for row in read_rows(arguments.pictures)
        if row["split"] == arguments.split
    ]
    voices = [row for row in read_rows(arguments.voices) if left_out & {row["generator"], row["speaker"]}]
    spoken = {label: [row for row in voices if row["label"] == label] for label in ("real", "fake")}
    rng, rows = random.Random(arguments.seed), list(clips)
    for number, clip in enumerate(row for row in clips if row["label"] == "real"):
        for label, choice in spoken.items():
            voice = rng.choice(choice)
            out = arguments.out / f"{number:03d}-{label}.mp4"
            dub(clip["file"], voice["file"], out)
            rows.append(
                clip | {"file": str(out.resolve()), "label": label, "video_label": "real", "audio_label": label,
                        "generator": voice["generator"] if label == "fake" else "", "pair": ""}
            )  # fmt: skip
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="index.csv of the media")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--voices", type=Path, required=True, help="index.csv of the voices")
    parser.add_argument("--not-trained-by", type=Path, required=True, help="recipe whose left-out voices are taken")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = make(arguments)
    with (arguments.out / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows in {arguments.out / 'index.csv'}")


if __name__ == "__main__":
    main()
