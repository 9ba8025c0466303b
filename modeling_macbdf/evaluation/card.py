"""The model card, from data: config, evaluations and the facts of the training. No number is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

FRONT_MATTER = """---
library_name: transformers
pipeline_tag: video-classification
license: {license}
tags: [deepfake-detection, audio-visual, macb-df]
---
"""

INTENDED = """## What it is for

Research on, and triage of, forged talking-face video: swapped or generated faces, cloned voices, moved lips. A person
looks at what it flags. **Out of scope:** proof in court, automatic moderation without review, judging people, any
other kind of image or sound. A verdict is evidence of one kind; provenance and context are others.
"""

KNOWN_FAILURES = """## Known limits

- Forgeries of kinds that are unlike those below may get any score: look at the table by generator.
- Heavy recompression, small or turned faces and strong blur take away what it looks at.
- Being out of sync is not being forged; dubbed and lagged video is real.
- Thresholds carry over to other footage only in part. `inconclusive` is an answer.
"""


def model_card(name: str, config: Any, evaluations: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        name: of the model.
        config: its `MACBDFConfig` with a calibration.
        evaluations: results of `macbdf evaluate`, the main one first.
        training: "license", and the lists "data", "terms", "notes" (sentences) and "commands", as far as known.
    """
    parts = [
        FRONT_MATTER.format(license=training.get("license", "other")),
        f"# {name}\n\nAn audio-visual deepfake detector, method of arXiv 2505.12966 (independent implementation).\n",
        INTENDED,
        _bullets("Training data", training.get("data", [])),
        _bullets("Terms", training.get("terms", [])),
        *(_evaluation(evaluation) for evaluation in evaluations),
        _calibration(config.calibration or {}),
        KNOWN_FAILURES,
        _bullets("Notes", training.get("notes", [])),
        _commands(training.get("commands", [])),
    ]
    return "\n".join(part for part in parts if part)


def _bullets(title: str, sentences: Sequence[str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {sentence}\n" for sentence in sentences) if sentences else ""


def _evaluation(result: Mapping[str, Any]) -> str:
    dataset, covered = result["dataset"], result["coverage"]
    title = " ".join([dataset["name"], *dataset["splits"]])
    lines = [
        f"## Results on {title}\n",
        f"{covered['scored']} of {covered['clips']} clips scored ({_counts(covered['by_status'])}). Intervals: 95 %, "
        f"{result['bootstrap']['resamples']} bootstrap draws over identities, seed {result['bootstrap']['seed']}.\n",
        "| metric | value | interval | unscored clips counted as wrong |\n|---|---|---|---|",
    ]
    for name, value in result["metrics"].items():
        low_high = result["intervals"].get(name)
        interval = f"{low_high[0]:.3f} to {low_high[1]:.3f}" if low_high else ""
        lines.append(f"| {name} | {_number(value)} | {interval} | {_number(result['worst_case'].get(name))} |")
    streams = [
        f"{name} alone {_number(s['auc_against_clip'])} ({s['scored']} clips)" for name, s in result["streams"].items()
    ]
    lines.append(f"\nAUC of each stream's own answer against the clip's label: {', '.join(streams)}.\n")
    lines.append("| generator | clips | AUC | AUC, reals balanced by source |\n|---|---|---|---|")
    for name, row in result["by_generator"].items():
        lines.append(f"| {name} | {row['clips']} | {_number(row['auc'])} | {_number(row['auc_balanced'])} |")
    return "\n".join([*lines, f"\nCommand: `{result['command']}`\n"])


def _calibration(calibration: Mapping[str, Any]) -> str:
    if not calibration:
        return "## Calibration\n\nNone: this checkpoint gives no verdicts.\n"
    low, high = calibration["real_below"], calibration["fake_above"]
    return (
        "## Calibration\n\n"
        f"Platt scaling and thresholds from: {calibration['source']} ({calibration['clips']} clips). "
        f"`fake` at p ≥ {high:.3f}, `real` at p ≤ {low:.3f}, `inconclusive` between. "
        "Probabilities are for even prior odds.\n"
    )


def _commands(commands: Sequence[str]) -> str:
    return "## Commands\n\n```bash\n" + "\n".join(commands) + "\n```\n" if commands else ""


def _counts(by_status: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in by_status.items())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
