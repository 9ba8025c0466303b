"""A model folder as it goes to the Hub: weights, processor, code, pipeline, card, results, example."""

import json
import shutil
from pathlib import Path
from typing import Any

from ..checkpoint import load_checkpoint
from ..evaluation.card import model_card, placeholder
from ..pipeline import MEDIA_PACKAGES, TASK
from .flatten import flat_files

DETECTOR = "detector"  # folder of the pipeline's code
RESULTS = "results"  # folder of evaluations, as `macbdf card` leaves it
_FACTS = ("training.json", "training_run.json", "training_people.json")
_EXAMPLE = '''"""Judges media files: python example.py interview.mp4 ...

pip install torch transformers {packages}
"""

import sys

from transformers import pipeline

detect = pipeline("{task}", model="{repo}", trust_remote_code=True)
for result in detect(sys.argv[1:]):
    print(result.path, result.status, result.verdict, result.p_fake, result.reason)
'''


def stage_model(source: str | Path, out: Path, repo: str) -> None:
    """Writes the folder that `macbdf push` sends.

    Args:
        source: a model folder, as training leaves it.
        out: an empty folder.
        repo: "org/name", for the example and the card.

    Raises:
        ValueError: `source` is no model folder, or its checkpoint lacks weights.
    """
    source = Path(source)
    if not (source / "config.json").is_file():
        raise ValueError(f"model must be a folder with a config.json, but got {source}")
    model, processor = load_checkpoint(str(source))
    model.save_pretrained(out)
    processor.save_pretrained(out)
    _add_pipeline(out)
    for name in _FACTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    if (source / RESULTS).is_dir():
        shutil.copytree(source / RESULTS, out / RESULTS)
    card = source / "README.md"
    name = source.resolve().name
    text = card.read_text(encoding="utf-8") if card.is_file() else model_card(name, model.config, [], {})
    (out / "README.md").write_text(text.replace(placeholder(name), repo), encoding="utf-8")
    example = _EXAMPLE.format(packages=MEDIA_PACKAGES, task=TASK, repo=repo)
    (out / "example.py").write_text(example, encoding="utf-8")


def _add_pipeline(out: Path) -> None:
    """The pipeline's code, and the entry in the config that leads to it."""
    (out / DETECTOR).mkdir()
    for name, text in flat_files("pipeline").items():
        (out / DETECTOR / name).write_text(text, encoding="utf-8")
    path = out / "config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    implementation = f"{DETECTOR}/pipeline.DeepfakeDetectionPipeline"
    config["custom_pipelines"] = {TASK: {"impl": implementation, "pt": ["AutoModel"], "type": "multimodal"}}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
