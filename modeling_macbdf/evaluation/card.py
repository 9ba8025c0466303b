"""The model card, from data: config, evaluations and the facts of the training. No number is typed by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..pipeline import MEDIA_PACKAGES, TASK
from .groups import by_group
from .tables import evaluation_markdown, number, title_of

TAGS = ["deepfake-detection", "audio-visual", "video", "audio", "face-forgery", "voice-cloning", "macb-df"]
TAGS += ["arxiv:2505.12966"]  # the Hub links it to the paper
_USE = """## How to use it

Without this project's package: `pip install torch transformers {packages}`, then

```python
from transformers import pipeline

detect = pipeline("{task}", model="{repo}", trust_remote_code=True)
result = detect("interview.mp4")
print(result.verdict, result.p_fake, result.status, result.reason)
```

With it: the same without `trust_remote_code` after `import modeling_macbdf`, or
`macbdf detect --model {repo} interview.mp4`. The model alone, on face crops and a waveform, comes from `AutoModel` and
`AutoProcessor`. 1 = fake everywhere.
"""
_INTENDED = """## What it is for

Research on, and triage of, forged talking-face video: swapped or generated faces, cloned voices, moved lips. A person
looks at what it flags. **Out of scope:** proof in court, automatic moderation without review, judging people, any
other kind of image or sound. A verdict is evidence of one kind; provenance and context are others.
"""
_KNOWN_FAILURES = """## Known limits

- Forgeries of kinds that are unlike those of the tables may get any score: look at the table by generator.
- Heavy recompression, small or turned faces and strong blur take away what it looks at.
- Being out of sync is not being forged; dubbed and lagged video is real.
- Thresholds carry over to other footage only in part. `inconclusive` is an answer.
"""
_CITATION = """## How to cite

The method; this is an independent implementation of it, whose `docs/method.md` marks its own readings.

```bibtex
@misc{macbdf2025,
  title  = {Multiscale Adaptive Conflict-Balancing Model For Multimedia Deepfake Detection},
  year   = {2025},
  eprint = {2505.12966},
  archivePrefix = {arXiv}
}
```
"""
_NO_EVALUATION = "## Results\n\nNone: nothing is known of what this checkpoint can do.\n"


def placeholder(name: str) -> str:
    """The repository that a card names until it is pushed."""
    return f"org/{name}"


def model_card(name: str, config: Any, evaluations: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> str:
    """The card as Markdown with the Hub's metadata.

    Args:
        name: of the model.
        config: its `MACBDFConfig`.
        evaluations: results of `macbdf evaluate`, the main one first.
        training: "license", "license_name", the lists "data", "terms", "notes" (sentences) and "commands", and "cost"
            (see `_cost`), as far as known; "evaluations" has a sentence about the clips of a titled evaluation.

    Raises:
        ValueError: an evaluation whose numbers the Hub's metadata cannot hold.
    """
    sentences = training.get("evaluations", {})
    told = [{**evaluation, "about": sentences.get(evaluation.get("title"), "")} for evaluation in evaluations]
    parts = [
        f"---\n{metadata(name, evaluations, training).to_yaml()}\n---\n",
        f"# {name}\n\nAn audio-visual deepfake detector, method of arXiv 2505.12966 (independent implementation).\n",
        _INTENDED,
        _USE.format(packages=MEDIA_PACKAGES, task=TASK, repo=placeholder(name)),
        _bullets("Training data", training.get("data", [])),
        _bullets("Terms", training.get("terms", [])),
        *([evaluation_markdown(evaluation) for evaluation in told] or [_NO_EVALUATION]),
        _calibration(config.calibration or {}),
        _groups(evaluations),
        _KNOWN_FAILURES,
        _bullets("Notes", training.get("notes", [])),
        _cost(training.get("cost", {})),
        _commands(training.get("commands", [])),
        _CITATION,
    ]
    return "\n".join(part for part in parts if part)


def metadata(name: str, evaluations: Sequence[Mapping[str, Any]], training: Mapping[str, Any]) -> ModelCardData:
    """The Hub's metadata: licence, library, tags, and the results as a model index."""
    results = [result for evaluation in evaluations for result in _eval_results(evaluation)]
    extra: dict[str, Any] = {"co2_eq_emissions": _emissions(training["cost"])} if training.get("cost") else {}
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="video-classification",
        license=training.get("license", "other"),
        license_name=training.get("license_name"),
        tags=TAGS,
        model_name=name if results else None,
        eval_results=results or None,
        **extra,
    )


def _eval_results(evaluation: Mapping[str, Any]) -> list[EvalResult]:
    dataset, bounds = evaluation["dataset"], evaluation["intervals"]
    return [
        EvalResult(
            task_type="video-classification",
            task_name="Audio-visual deepfake detection",
            dataset_type=dataset["name"],
            dataset_name=title_of(evaluation),
            dataset_split=evaluation.get("title") or " ".join(dataset["splits"]) or None,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 4),
            metric_args={"interval_95": [round(bound, 4) for bound in bounds[metric]]} if metric in bounds else None,
        )
        for metric, value in evaluation["metrics"].items()
        if value is not None
    ]


def _bullets(title: str, sentences: Sequence[str]) -> str:
    return f"## {title}\n\n" + "".join(f"- {sentence}\n" for sentence in sentences) if sentences else ""


def _calibration(calibration: Mapping[str, Any]) -> str:
    if not calibration:
        return "## Calibration\n\nNone: this checkpoint gives no verdicts.\n"
    low, high = calibration["real_below"], calibration["fake_above"]
    clips = (
        f" (thresholds: {calibration['clips']} scored files, changed copies counted)" if "clips" in calibration else ""
    )
    names = {"video": "a picture", "audio": "a voice"}
    alone = [
        f"of {names[kind]} alone {own['fake_above']:.3f} and {own['real_below']:.3f}"
        for kind, own in calibration.get("alone", {}).items()
    ]
    return (
        "## Calibration\n\n"
        f"Platt scaling and thresholds from: {calibration['source']}{clips}. "
        f"`fake` at p ≥ {high:.3f}, `real` at p ≤ {low:.3f}, `inconclusive` between"
        + (f" ({', '.join(alone)}). " if alone else ". ")
        + "Probabilities are for even prior odds.\n"
    )


def _groups(evaluations: Sequence[Mapping[str, Any]]) -> str:
    """Errors by group: wherever the records tell groups apart."""
    lines = []
    for evaluation in evaluations:
        tables = evaluation.get("by_group") or by_group(evaluation.get("scores", []))
        for column, rows in tables.items():
            lines += [f"\n{title_of(evaluation)}, by {column}:\n"]
            lines += ["| group | reals | called fake | inconclusive | fakes | called real |", "|" + 6 * "---|"]
            lines += [f"| {group} | {_group_cells(row)} |" for group, row in rows.items()]
    if not lines:
        return "## Bias\n\nNot measured: the evaluated clips do not say what groups of people they show.\n"
    intro = "Shares of the scored clips of each group; small groups say little."
    return "\n".join(["## Bias", "", intro, *lines, ""])


def _group_cells(row: Mapping[str, Any]) -> str:
    cells = ("reals", "reals_called_fake", "reals_inconclusive", "fakes", "fakes_called_real")
    return " | ".join(str(row[cell]) if cell in ("reals", "fakes") else number(row[cell]) for cell in cells)


def _energy_kwh(cost: Mapping[str, Any]) -> float:
    return cost["hours"] * cost["watts"] / 1000


def _emissions(cost: Mapping[str, Any]) -> dict[str, Any]:
    grams = 1000 * _energy_kwh(cost) * cost["grid_kg_per_kwh"]
    return {
        "emissions": round(grams, 2),
        "source": "hours x watts x grid factor",
        **{name: cost[name] for name in ("training_type",) if name in cost},
        "hardware_used": cost["hardware"],
    }


def _cost(cost: Mapping[str, Any]) -> str:
    """What the training took: "hours", "hardware", "watts", "grid_kg_per_kwh", and "assumptions" in words."""
    if not cost:
        return "## Environmental cost\n\nNot recorded.\n"
    energy = _energy_kwh(cost)
    return (
        "## Environmental cost\n\n"
        f"{cost['hours']:g} h on {cost['hardware']}: {energy:.3g} kWh at {cost['watts']:g} W, "
        f"{energy * cost['grid_kg_per_kwh']:.2g} kg CO2e at {cost['grid_kg_per_kwh']:g} kg/kWh. "
        f"{cost.get('assumptions', '')}\n"
    )


def _commands(commands: Sequence[str]) -> str:
    return "## Commands\n\n```bash\n" + "\n".join(commands) + "\n```\n" if commands else ""
