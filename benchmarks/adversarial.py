"""How far FGSM and PGD on the face crops move the answer, in probability.

    python benchmarks/adversarial.py --json OUT [--model DIR] [--levels 1 2 4] [--steps 10] [FILE ...]

Without files, three clips are rendered. A level is one step of 8-bit colour. Each window of each file is attacked in
both directions; noise of the same size stands beside it. The number for a card is `flipped_share`: the share of the
windows whose probability an attack takes across 0.5.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from modeling_macbdf.evaluation.adversarial import attacked  # noqa: E402
from modeling_macbdf.inference import Detector  # noqa: E402
from modeling_macbdf.media.synthetic import make_talking_clip  # noqa: E402
from modeling_macbdf.scoring import Voice  # noqa: E402
from modeling_macbdf.sources import FileSource, Watcher  # noqa: E402
from modeling_macbdf.verdicts import calibrated, probability  # noqa: E402
from modeling_macbdf.windows import Window  # noqa: E402


class Keep(Watcher):
    """Keeps the windows and the sound of one clip."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.voice: Voice | None = None

    def on_voice(self, voice: Voice) -> None:
        """See `Watcher`."""
        self.voice = voice

    def on_window(self, window: Window) -> None:
        """See `Watcher`."""
        self.windows.append(window)


def windows_of(detector: Detector, path: Path) -> list[dict[str, torch.Tensor]]:
    """The model's inputs for each window with a picture."""
    keep = Keep()
    detector.judge(FileSource(str(path), detector.limits), keep)
    seen = [window for window in keep.windows if window.crops is not None]
    return [] if keep.voice is None else [dict(detector.scorer.inputs([window], keep.voice)) for window in seen]


def chance(detector: Detector, inputs: dict[str, torch.Tensor], pixels: torch.Tensor) -> float:
    """Calibrated probability of forgery with other crops."""
    kind = "joint" if inputs["audio_mask"].any() else "video"
    with torch.inference_mode():
        logit = float(detector.model(**{**inputs, "pixel_values": pixels}).logits)
    return probability(calibrated(logit, detector.calibration[kind]))


def rows_of(detector: Detector, inputs: dict[str, torch.Tensor], level: int, steps: int) -> list[dict[str, Any]]:
    """What each attack did to one window."""
    std = torch.tensor(detector.scorer.processor.image_processor.image_std).view(3, 1, 1)
    limit, clean = level / 255 / std, inputs["pixel_values"]
    noise = clean + limit * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).sign()
    before = chance(detector, inputs, clean)
    rows = [{"attack": "noise", "before": before, "after": chance(detector, inputs, noise)}]
    for name, count in (("FGSM", 1), ("PGD", steps)):
        pixels = attacked(detector.model, inputs, limit, before < 0.5, count)
        rows.append({"attack": name, "before": before, "after": chance(detector, inputs, pixels)})
    return [{**row, "level": level} for row in rows]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the windows."""
    moved = [abs(row["after"] - row["before"]) for row in rows]
    flipped = [(row["after"] >= 0.5) != (row["before"] >= 0.5) for row in rows]
    return {
        "windows": len(rows),
        "mean_change_of_probability": round(statistics.mean(moved), 3),
        "flipped_share": round(statistics.mean(flipped), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="FGSM and PGD on the face crops")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--model", help="default: the weights that the project ships")
    parser.add_argument("--levels", nargs="+", type=int, default=[1, 2, 4], metavar="N", help="of 8-bit colour")
    parser.add_argument("--steps", type=int, default=10, help="of PGD")
    arguments = parser.parse_args()
    detector = Detector.from_pretrained(arguments.model, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        made = [] if arguments.files else [Path(folder) / f"{seed}.mp4" for seed in range(3)]
        for seed, path in enumerate(made):
            make_talking_clip(path, seed=seed, duration_s=4.0)
        windows = [inputs for path in [*arguments.files, *made] for inputs in windows_of(detector, path)]
    if not windows:
        raise SystemExit("none of the files has a face to attack")
    rows = [row for w in windows for level in arguments.levels for row in rows_of(detector, w, level, arguments.steps)]
    result: dict[str, Any] = {
        "model": detector.model_info,
        "steps": arguments.steps,
        "files": len(arguments.files) or 3,
    }
    for level in arguments.levels:
        chosen = [row for row in rows if row["level"] == level]
        kinds = dict.fromkeys(row["attack"] for row in chosen)
        result[f"level {level}"] = {k: summary([row for row in chosen if row["attack"] == k]) for k in kinds}
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
