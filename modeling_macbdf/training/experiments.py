"""Runs an experiment: every variant with every seed through the ordinary `Run`, then the summary.

A run's folder is named by its whole configuration. So experiments share the runs that they have in common, a finished
run is never repeated, and a killed experiment goes on where it stopped.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..report import dump_json, write_atomically
from .checkpoints import last_complete_checkpoint
from .config import RunConfig, load_config
from .conflict_log import read_rows
from .experiment_plots import plot_experiment
from .experiment_specs import EXPERIMENTS, Experiment
from .experiment_summary import as_markdown, run_outcomes, summarise
from .run import Run

logger = logging.getLogger(__name__)

RESULT = "result.json"
# Said for every run, so that a variant is what its name says whatever the configuration holds.
_PAPER = (
    "aggregator=om_pareto", "gradient_route=exact", "conflict_csv=conflict.csv", "model_config.use_contrastive=true",
    "model_config.temperature_mode=adaptive", "model_config.fusion_weights=cluster",
    "model_config.cluster_corruption=0.0", "model_config.separate_objectives=[]",
)  # fmt: skip


def run_experiment(
    name: str,
    config: Path,
    out: Path,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] = range(5),
    target_loss: float = 0.6,
    on_run: Callable[[str], None] = logger.info,
) -> dict[str, Any]:
    """Trains what is not trained yet, and writes results.json, results.md and plot.png into `out`/`name`.

    Args:
        name: of `EXPERIMENTS`.
        config: YAML file of a training run.
        out: folder of the experiments; their runs lie in its folder `runs`.
        overrides: of the configuration, for every variant: `key=value`.
        seeds: of people, windows, forgeries and first weights.
        target_loss: of the joint answer's cross-entropy, for the convergence speed.
        on_run: is told about each run.

    Returns:
        What results.json holds.

    Raises:
        ValueError: there is no such experiment, or the configuration or the data cannot be used.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment must be one of {tuple(EXPERIMENTS)}, but got {name!r}")
    spec = EXPERIMENTS[name]
    folders: dict[str, dict[int, Path]] = {variant: {} for variant in spec.variants}
    for seed in seeds:  # all variants of a seed first: a stopped experiment has whole pairs
        for variant, changes in spec.variants.items():
            words = [*_PAPER, *overrides, *changes, f"seed={seed}"]
            folders[variant][seed] = _finished_run(config, out / "runs", words)
            on_run(f"{name}, {variant}, seed {seed}: {folders[variant][seed]}")
    result = _result(name, spec, folders, target_loss) | {"overrides": list(overrides), "config": config.name}
    _write(out / name, result, spec, folders)
    return result


def _finished_run(path: Path, runs: Path, words: Sequence[str]) -> Path:
    """The folder of a run with these settings, trained unless it is there."""
    key = hashlib.sha256(load_config(path, [*words, "output_dir="]).as_yaml().encode()).hexdigest()[:12]
    folder = runs / key
    if not (folder / RESULT).is_file():
        _train(load_config(path, [*words, f"output_dir={folder}"]), folder)
    return folder


def _train(config: RunConfig, folder: Path) -> None:
    checkpoint = last_complete_checkpoint(folder)
    run = Run(config)
    trainer = run.trainer()
    trained = trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    metrics = run.finish(trainer)
    known = {name: value for name, value in metrics.items() if value == value}  # JSON has no NaN, as of a stream's AUC
    if trainer.is_world_process_zero():
        facts = {"metrics": known, "train_seconds": trained.metrics["train_runtime"], "data": run.data.facts}
        write_atomically(folder / RESULT, dump_json(facts))
    trainer.accelerator.wait_for_everyone()  # every process reads it


def _result(
    name: str, spec: Experiment, folders: Mapping[str, Mapping[int, Path]], target_loss: float
) -> dict[str, Any]:
    runs = {
        variant: {seed: _outcomes(folder, target_loss) for seed, folder in by_seed.items()}
        for variant, by_seed in folders.items()
    }
    return {
        "schema_version": 1,
        "experiment": name,
        "question": spec.question,
        "seeds": list(next(iter(folders.values()))),
        "target_loss": target_loss,
        **summarise(spec, runs),
        "runs": [
            {"variant": variant, "changes": list(spec.variants[variant]), "seed": seed, "folder": folder.name}
            | dict(runs[variant][seed])
            for variant, by_seed in folders.items()
            for seed, folder in by_seed.items()
        ],
    }


def _outcomes(folder: Path, target_loss: float) -> Mapping[str, float]:
    facts = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return run_outcomes(facts["metrics"], read_rows(folder / "conflict.csv"), target_loss)


def _write(
    place: Path, result: Mapping[str, Any], spec: Experiment, folders: Mapping[str, Mapping[int, Path]]
) -> None:
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / "results.json", dump_json(result))
    write_atomically(place / "results.md", as_markdown(result, spec))
    tables = {
        variant: [read_rows(folder / "conflict.csv") for folder in by_seed.values()]
        for variant, by_seed in folders.items()
    }
    plot_experiment(result, spec, tables, place / "plot.png")
