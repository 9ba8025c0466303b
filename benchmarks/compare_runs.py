"""Training runs side by side: several seeds of each recipe, on clips that none of them was trained on.

    python benchmarks/compare_runs.py --caches CACHES --config hub_configs/train-small-media.yaml --json runs.json \
        recipe=RUN0/model,RUN1/model uniform=RUN2/model,RUN3/model

CACHES is the `data.root` of the runs, with the caches "media" and "speech". Scores are raw log-odds of the cached
windows, a clip's being the mean of its windows'; no calibration takes part. The n-th runs of all recipes must share a
seed: differences from the first recipe are paired. Weights whose figures stand in the JSON are not scored again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoProcessor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import modeling_macbdf  # noqa: E402, F401  (registers the model)
from modeling_macbdf.data.cache_reader import TrackCache  # noqa: E402
from modeling_macbdf.data.collate import WindowCollator  # noqa: E402
from modeling_macbdf.data.dataset import EvaluationWindows, WindowItem, WindowOptions  # noqa: E402
from modeling_macbdf.evaluation import metrics  # noqa: E402
from modeling_macbdf.evaluation.commands import not_trained  # noqa: E402
from modeling_macbdf.evaluation.score import weights_digest  # noqa: E402
from modeling_macbdf.evaluation.tables import table  # noqa: E402
from modeling_macbdf.report import dump_json, write_atomically  # noqa: E402
from modeling_macbdf.training.experiment_summary import interval, shown  # noqa: E402

STEPS = 16  # of a window; the next one begins where it ends
JOINT, VIDEO, AUDIO = range(3)
PICTURES_PER_VOICE = 3
Rows = list[dict[str, Any]]
Outcomes = dict[str, float]


def left_out_windows(caches: Path, config: Path) -> dict[str, list[WindowItem]]:
    """The windows of "dev", "pairs" and "voices", and "heard": the voices under real pictures of dev."""
    found: dict[str, list[WindowItem]] = {"dev": [], "pairs": [], "voices": []}
    for name in ("media", "speech"):
        records = not_trained([entry.record for entry in TrackCache(caches / name).entries], config)
        options = WindowOptions(steps=STEPS, hop=STEPS, trim_silence=False)
        windows = EvaluationWindows(TrackCache(caches / name, records), options)
        for index in range(len(windows)):
            item = windows[index]
            part = "voices" if name == "speech" else item.record.split
            if part in found:
                found[part].append(item)
    return found | {"heard": voices_over_pictures(found["voices"], found["dev"])}


def voices_over_pictures(voices: Sequence[WindowItem], clips: Sequence[WindowItem]) -> list[WindowItem]:
    """The first window of each voice over a few windows of real clips, drawn anew for each voice."""
    pictures = [item for item in clips if item.record.label == 0 and bool(item.labelled.clip.video_mask.all())]
    first = {item.record.key: item for item in reversed(voices)}
    rng = np.random.default_rng(0)
    made = []
    for voice in reversed(first.values()):
        sound = voice.labelled.clip
        for number in rng.choice(len(pictures), PICTURES_PER_VOICE, replace=False):
            picture = pictures[number].labelled.clip
            if picture.steps == sound.steps:
                clip = replace(
                    picture, audio=sound.audio, audio_mask=sound.audio_mask, whole_audio=sound.whole_audio,
                    audio_start=sound.audio_start,
                )  # fmt: skip
                made.append(replace(voice, labelled=replace(voice.labelled, clip=clip)))
    return made


@torch.inference_mode()
def log_odds(
    model: torch.nn.Module, collate: WindowCollator, items: Sequence[WindowItem], batch_size: int = 8
) -> np.ndarray:
    """(N, 3) log-odds of the joint, the picture's and the voice's answer; NaN where there is none."""
    found = []
    for start in range(0, len(items), batch_size):
        batch = {k: v for k, v in collate(items[start : start + batch_size]).items() if "label" not in k}
        out = model(**batch)
        found.append(torch.stack([out.logits, out.video_logits, out.audio_logits], 1))
    return torch.cat(found).double().numpy()


def clips(items: Sequence[WindowItem], scores: np.ndarray, answer: int) -> tuple[np.ndarray, np.ndarray, Rows]:
    """Labels, mean log-odds and records of the clips that have this answer."""
    by_clip: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        if not np.isnan(scores[index, answer]):
            by_clip.setdefault(item.record.key, []).append(index)
    records = [items[own[0]].record for own in by_clip.values()]
    means = np.array([scores[own, answer].mean() for own in by_clip.values()])
    return np.array([record.label for record in records], int), means, [vars(record) for record in records]


def outcomes(model: torch.nn.Module, collate: WindowCollator, windows: dict[str, list[WindowItem]]) -> Outcomes:
    """Every figure of one run."""
    scores = {name: log_odds(model, collate, items) for name, items in windows.items()}
    found: Outcomes = {}
    for answer, name in ((VIDEO, "dev, picture"), (JOINT, "dev, joint")):
        labels, means, rows = clips(windows["dev"], scores["dev"], answer)
        generators, sources = [row["generator"] for row in rows], [row["source"] for row in rows]
        found[f"{name}: pooled"] = metrics.auc(labels, means)
        found[f"{name}: macro"] = metrics.macro_auc(labels, means, generators)
        found[f"{name}: macro balanced"] = metrics.macro_auc(labels, means, generators, sources)
        found[f"{name}: EER"] = metrics.equal_error_rate(labels, means)
        found[f"{name}: hits at 5 % false alarms"] = metrics.tpr_at_fpr(labels, means, 0.05)
    labels, means, rows = clips(windows["pairs"], scores["pairs"], VIDEO)
    found["pairs"] = metrics.pair_accuracy(labels, means, [row["pair"] for row in rows])
    labels, means, _ = clips(windows["voices"], scores["voices"], AUDIO)
    found["voices"] = metrics.auc(labels, means)
    found["voices: EER"] = metrics.equal_error_rate(labels, means)
    heard = np.array([item.record.label for item in windows["heard"]], int)
    found["heard"] = metrics.auc(heard, scores["heard"][:, JOINT])
    return found


def markdown(runs: dict[str, list[Outcomes]]) -> str:
    """One row a figure, one column a recipe: mean and t-interval over seeds, and the paired difference."""
    reference, *others = runs
    rows = []
    for name in runs[reference][0]:
        row = [name]
        for recipe, seeds in runs.items():
            values = [seed[name] for seed in seeds]
            row.append(shown(interval(values)))
            if recipe in others:
                pairs = zip(values, (seed[name] for seed in runs[reference]), strict=False)
                row.append(shown(interval([a - b for a, b in pairs], len(others)), signed=True))
        rows.append(tuple(row))
    head = [f"{reference} ({len(runs[reference])})"]
    for recipe in others:
        head += [f"{recipe} ({len(runs[recipe])})", f"Δ {recipe}"]
    return table(("", *head), rows)


def main() -> None:
    """Scores what is not scored yet, writes the JSON and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="NAME=MODEL,MODEL", help="model folders, one a seed")
    parser.add_argument("--caches", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="says what was trained on")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    arguments = parser.parse_args()
    known = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.is_file() else {}
    windows: dict[str, list[WindowItem]] = {}
    runs: dict[str, list[Outcomes]] = {}
    for recipe in arguments.recipes:
        name, _, folders = recipe.partition("=")
        for folder in folders.split(","):
            model = AutoModel.from_pretrained(folder).float().eval()
            digest = weights_digest(model)
            if digest not in known:
                windows = windows or left_out_windows(arguments.caches, arguments.config)
                collate = WindowCollator(AutoProcessor.from_pretrained(folder))
                known[digest] = {"model": folder, "outcomes": outcomes(model, collate, windows)}
                write_atomically(arguments.json, dump_json(known))
            runs.setdefault(name, []).append(known[digest]["outcomes"])
    print(markdown(runs))


if __name__ == "__main__":
    main()
