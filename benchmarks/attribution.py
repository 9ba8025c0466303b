"""Do the heat maps mean anything? Deleting their hottest cells must lower the answer more than deleting random ones.

    python benchmarks/attribution.py CLIP [CLIP ...] [--model DIR] [--share 0.1] [--json OUT]

Cells of 16 x 16 pixels and one step are replaced by their blurred selves, in the most suspicious window of each clip's
most suspicious face. The answer is the picture's own log-odds.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeling_macbdf.evidence.attribution import blurred_picture, deletion_drop
from modeling_macbdf.evidence.collect import Collector, picture_attribution
from modeling_macbdf.inference import Detector
from modeling_macbdf.sources import FileSource

RANDOM_DRAWS = 8


def measure(detector: Detector, path: str, share: float) -> dict[str, float] | None:
    """How far the log-odds fall: by the heat, and by random cells (mean of the draws); None without a face."""
    collector = Collector(detector.config.frame_rate_hz)
    result = detector.judge(FileSource(path, detector.limits), collector)
    if not result.faces:
        return None
    window, _ = collector.best[result.faces[0].track]
    inputs = detector.scorer.inputs([window], collector.voice)
    baseline = blurred_picture(inputs["pixel_values"])
    cells = picture_attribution(detector.model, inputs)
    cells[:, window.steps :] = -torch.inf  # steps that only fill the window
    generator = torch.Generator().manual_seed(0)
    draws = [torch.rand(cells.shape, generator=generator).where(cells.isfinite(), cells) for _ in range(RANDOM_DRAWS)]
    drops = [
        float(deletion_drop(detector.model, inputs, order, "video_logits", baseline, share)[0])
        for order in (cells, *draws)
    ]
    return {"heat": drops[0], "random": float(np.mean(drops[1:]))}


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Over all clips: in how many the heat wins, and the median falls."""
    heat, random = (np.asarray([row[name] for row in rows]) for name in ("heat", "random"))
    return {
        "clips": len(rows),
        "heat_beats_random": float((heat > random).mean()),
        "median_drop_heat": float(np.median(heat)),
        "median_drop_random": float(np.median(random)),
    }


def main() -> None:
    """The command at the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--model", default=None)
    parser.add_argument("--share", type=float, default=0.1, help="of the cells to delete")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    detector = Detector.from_pretrained(options.model, device="cpu")
    rows = [row for path in options.clips if (row := measure(detector, path, options.share)) is not None]
    result = {"model": detector.model_info["id"], "share": options.share, **summary(rows)}
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
