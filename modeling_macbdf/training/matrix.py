"""Train on A, test on B, C, ...: the generalisation table of several recipes, with the gain over a named baseline.

Every cell is a model of an ordinary `Run`, judged on recorded clips through the ordinary `Detector`: with the run's
own calibration or, where it has none (`calibrate: false`), by raw log-odds.
"""

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from ..data.commands import add_dataset_arguments, read_from_arguments
from ..data.records import ClipRecord
from ..evaluation import bootstrap
from ..evaluation.calibration import IDENTITY
from ..evaluation.clusters import clusters
from ..evaluation.evaluate import answer_metrics, coverage
from ..evaluation.plots import new_figure
from ..evaluation.score import Processes, Row, row_of, score_all, source_of
from ..evaluation.self_made import make_recorded_set
from ..evaluation.tables import number, table
from ..inference import Detector
from .config import RunConfig, load_config, read_yaml
from .run import Run

METRICS = ("auc", "macro_auc", "macro_auc_balanced", "accuracy", "balanced_accuracy", "average_precision", "eer")


@dataclass(frozen=True)
class MatrixConfig:
    """One matrix.

    Attributes:
        base: training configuration of `train_accelerate.py`, relative to the matrix's own file.
        output_dir: where runs and self-made sets are kept; a finished run of the same configuration is used again.
        models: name -> settings over `base`, as `key: value` of the training command.
        train: name of a training set -> settings over those, such as `cache`.
        test: name of a test set -> the dataset options of `macbdf evaluate` as one line, or `self_made` with the name
            of a forgery and `people`, seeds.
        baseline: of `models`; the others' gain over it is shown.
        seeds: each model is trained once for each.
        metric: of `METRICS`, shown in the table; the result holds all.
    """

    base: str
    output_dir: str
    models: dict[str, dict[str, Any]]
    train: dict[str, dict[str, Any]]
    test: dict[str, Any]
    baseline: str
    seeds: list[int] = field(default_factory=lambda: [0])
    metric: str = "auc"

    def __post_init__(self) -> None:
        if self.baseline not in self.models:
            raise ValueError(f"baseline must be one of the models {tuple(self.models)}, but got {self.baseline!r}")
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {METRICS}, but got {self.metric!r}")
        for name in ("train", "test", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")


def load_matrix(path: Path) -> MatrixConfig:
    """Reads the YAML file of a matrix.

    Raises:
        ValueError: there is no such file, or a setting is unknown, missing or out of range.
    """
    if not path.is_file():
        raise ValueError(f"config must name a YAML file, but there is no {path}")
    values = read_yaml(path.read_text(encoding="utf-8"), str(path))
    known = {f.name for f in fields(MatrixConfig)}
    needed, found = known - {"seeds", "metric"}, set(values) if isinstance(values, dict) else set()
    if not needed <= found <= known:
        raise ValueError(f"{path} must hold {sorted(needed)} and may hold seeds and metric, but holds {sorted(found)}")
    values["base"] = str(path.parent / values["base"])
    return MatrixConfig(**values)


def records_for(config: MatrixConfig, name: str) -> list[ClipRecord]:
    """The clips of a test set; a self-made one is rendered first.

    Raises:
        ValueError: see `read_from_arguments`; the message begins with the set's name.
    """
    wanted = config.test[name]
    if isinstance(wanted, Mapping):
        people = list(range(*wanted["people"]))
        made = make_recorded_set(Path(config.output_dir) / "sets" / name, wanted["self_made"], people)
        wanted = f"--dataset manifest --root {shlex.quote(str(made))}"
    parser = argparse.ArgumentParser(prog=f"test set {name}", exit_on_error=False)
    add_dataset_arguments(parser)
    try:
        return read_from_arguments(parser.parse_args(shlex.split(wanted)))[0]
    except ValueError as error:
        raise ValueError(f"test set {name}: {error}") from error


def run_config(config: MatrixConfig, model: str, trained_on: str, seed: int) -> RunConfig:
    """The configuration of one run."""
    place = Path(config.output_dir) / model / trained_on / f"seed-{seed}"
    settings = config.models[model] | config.train[trained_on] | {"seed": seed, "output_dir": str(place)}
    return load_config(Path(config.base), [f"{key}={json.dumps(value)}" for key, value in settings.items()])


def trained_model(config: RunConfig) -> Path:
    """The model folder of a run: trained now, or found where the very same configuration was trained before."""
    folder = Path(str(config.training["output_dir"])) / "model"
    facts = folder / "training_run.json"
    if facts.is_file() and json.loads(facts.read_text(encoding="utf-8"))["config"] == config.as_yaml():
        return folder
    run = Run(config)
    trainer = run.trainer()
    trainer.train()
    run.finish(trainer)
    return folder


def run_matrix(
    config: MatrixConfig, *, device: str = "auto", resamples: int = 1000, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Trains and tests every cell.

    Args:
        config: the matrix.
        device: to test on.
        resamples: bootstrap draws over identities.
        say: told what comes next.

    Returns:
        "cells", one for each model, training set and test set: the mean of each metric over seeds, the "interval" of
        the shown one, its "delta" over the baseline with "delta_interval" (paired: the same people in both), and
        "coverage".
    """
    planned = {cell: run_config(config, *cell) for cell in product(config.models, config.train, config.seeds)}
    processes = Processes.current()
    with PartialState().main_process_first():  # renders the self-made sets, which the others then find
        sets = {name: records_for(config, name) for name in config.test}
    rows: dict[tuple[str, str, str], list[list[Row]]] = {}
    for (model, trained_on, seed), run in planned.items():
        say(f"{model}, trained on {trained_on}, seed {seed}")
        calibration = None if run.calibrate else IDENTITY  # None = the run's own
        detector = Detector.from_pretrained(trained_model(run), device=device, calibration=calibration)
        for name, records in sets.items():
            scored = score_all(records, lambda r, d=detector: _row(d, r), processes=processes)  # type: ignore[misc]
            rows.setdefault((model, trained_on, name), []).append(scored)
    cells = [
        {"model": model, "train": trained_on, "test": name}
        | _cell(config.metric, runs, rows[config.baseline, trained_on, name], resamples, model == config.baseline)
        for (model, trained_on, name), runs in rows.items()
    ]
    settings = {f.name: getattr(config, f.name) for f in fields(MatrixConfig)}
    return {"schema_version": 1, "config": settings, "cells": cells}


def _row(detector: Detector, record: ClipRecord) -> Row:
    return row_of(record, detector.judge(source_of(record, detector)))


def _cell(
    metric: str, runs: Sequence[Sequence[Row]], baseline: Sequence[Sequence[Row]], resamples: int, is_baseline: bool
) -> dict[str, Any]:
    values = [_metrics(rows) for rows in runs]
    means = {name: _mean([value.get(name) for value in values]) for name in METRICS}
    found: dict[str, Any] = {"metrics": means, "seeds": [value.get(metric) for value in values]}
    found |= {"coverage": [coverage(rows) for rows in runs], "interval": None, "delta": None, "delta_interval": None}
    reference = _mean([_metrics(rows).get(metric) for rows in baseline])
    value = means[metric]
    if not is_baseline and value is not None and reference is not None:
        found["delta"] = value - reference
    if metric == "auc":
        limits = _intervals(runs, baseline, resamples)
        found["interval"] = limits.get("own")
        found["delta_interval"] = None if is_baseline else limits.get("delta")
    return found


def _metrics(rows: Sequence[Row]) -> dict[str, float | None]:
    return answer_metrics([row for row in rows if None not in (row["label"], row["p_fake"])])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _intervals(
    runs: Sequence[Sequence[Row]], baseline: Sequence[Sequence[Row]], resamples: int
) -> dict[str, tuple[float, float]]:
    """Of the mean AUC over seeds and of its gain, on the clips that every run scored."""
    every = [*runs, *baseline]
    chosen = [
        i
        for i in range(len(every[0]))
        if every[0][i]["label"] is not None and all(rows[i]["p_fake"] is not None for rows in every)
    ]
    labels = np.array([every[0][i]["label"] for i in chosen], int)
    if len(set(labels.tolist())) < 2:
        return {}
    own, other = (
        [bootstrap.Ranking(labels, np.array([rows[i]["p_fake"] for i in chosen], float)) for rows in group]
        for group in (runs, baseline)
    )

    def mean_auc(rankings: Sequence[bootstrap.Ranking], weights: np.ndarray) -> np.ndarray:
        return np.mean([ranking.auc(weights) for ranking in rankings], axis=0)

    statistics: dict[str, bootstrap.Statistic] = {
        "own": lambda weights: mean_auc(own, weights),
        "delta": lambda weights: mean_auc(own, weights) - mean_auc(other, weights),
    }
    return bootstrap.intervals(statistics, clusters([every[0][i] for i in chosen])[0], resamples=resamples)


def matrix_markdown(result: Mapping[str, Any]) -> str:
    """One row a model and training set, one column a test set: the metric, its interval, its gain on the baseline."""
    config, cells = result["config"], result["cells"]
    tests = list(dict.fromkeys(cell["test"] for cell in cells))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        rows.setdefault((cell["model"], cell["train"]), {})[cell["test"]] = _words(cell, config["metric"])
    lines = [(model, trained_on, *(row[name] for name in tests)) for (model, trained_on), row in rows.items()]
    seeds = ", ".join(str(seed) for seed in config["seeds"])
    note = (
        f"{config['metric']}, mean over seeds {seeds}; [95 % interval by bootstrap over identities]; "
        f"Δ = gain over {config['baseline']} trained on the same set, same people in each draw."
    )
    return f"# Trained on one set, tested on others\n\n{note}\n\n{table(('model', 'trained on', *tests), lines)}\n"


def _words(cell: Mapping[str, Any], metric: str) -> str:
    text = number(cell["metrics"][metric])
    if cell["interval"]:
        text += f" [{cell['interval'][0]:.2f}, {cell['interval'][1]:.2f}]"
    if cell["delta"] is not None:
        text += f" Δ {cell['delta']:+.3f}"
    if cell["delta_interval"]:
        text += f" [{cell['delta_interval'][0]:+.2f}, {cell['delta_interval'][1]:+.2f}]"
    scored, clips = (min(own[name] for own in cell["coverage"]) for name in ("scored", "clips"))
    return text if scored == clips else f"{text} ({scored} of {clips} scored)"


def draw_matrix(result: Mapping[str, Any], path: Path) -> None:
    """One panel a model: training sets down, test sets across, coloured by the metric."""
    config, cells = result["config"], result["cells"]
    models = list(config["models"])
    figure = new_figure(2 + 3.2 * len(models), 3.5)
    for axis, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        own = {(c["train"], c["test"]): c["metrics"][config["metric"]] for c in cells if c["model"] == model}
        values = [[own[a, b] if own[a, b] is not None else np.nan for b in config["test"]] for a in config["train"]]
        axis.imshow(np.array(values, float), vmin=0.0, vmax=1.0, cmap="viridis")
        for (row, column), value in np.ndenumerate(np.array(values, float)):
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="w")
        axis.set_xticks(range(len(config["test"])), list(config["test"]), rotation=30)
        axis.set_yticks(range(len(config["train"])), list(config["train"]))
        axis.set(title=model, xlabel="tested on", ylabel="trained on")
    figure.savefig(path, dpi=110)
