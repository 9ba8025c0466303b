"""`macbdf evaluate`, `macbdf calibrate`, `macbdf card`: arguments in, files and words out. The command line prints."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm
from transformers import AutoConfig

from ..data.commands import add_dataset_arguments, read_from_arguments
from ..data.records import ClipRecord
from ..inference import Detector
from ..report import dump_json, write_atomically
from .calibration import IDENTITY, calibrate, with_answer
from .card import model_card
from .evaluate import evaluate, score_records
from .groups import by_group


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf evaluate`."""
    _add_model_arguments(parser)
    add_dataset_arguments(parser)
    _add_left_out_argument(parser)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="write metrics and scores as JSON")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap draws over identities (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def add_calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf calibrate`."""
    _add_model_arguments(parser)
    add_dataset_arguments(parser)
    _add_left_out_argument(parser)
    parser.add_argument(
        "--answer", choices=("joint", "video", "audio"), help="fit this answer only; the rest of the calibration stays"
    )
    parser.add_argument("--source", required=True, help="the data in words; stored in the config beside the numbers")


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf card`."""
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="its README.md is written")
    parser.add_argument("--evaluation", required=True, type=Path, nargs="+", metavar="JSON", help="of macbdf evaluate")
    parser.add_argument("--training", type=Path, metavar="JSON", help="facts of the training: data, terms, command")


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="DIR_OR_REPO")
    parser.add_argument("--revision", help="of a Hub repository")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the model code of a Hub repository")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N")


def _add_left_out_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--left-out-of",
        type=Path,
        metavar="YAML",
        help="only the generators and people that this training configuration leaves out",
    )


def _detector(arguments: argparse.Namespace, **options: Any) -> Detector:
    return Detector.from_pretrained(
        arguments.model,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
        device=arguments.device,
        batch_size=arguments.batch_size,
        **options,
    )


def _with_bar(records: Iterable[ClipRecord], total: int) -> Iterator[ClipRecord]:
    return iter(tqdm(records, total=total, unit="clip", disable=not sys.stderr.isatty()))


def _records(arguments: argparse.Namespace) -> tuple[list[ClipRecord], list[dict[str, Any]]]:
    records, problems = read_from_arguments(arguments)
    if arguments.left_out_of:
        names = left_out_names(arguments.left_out_of)
        records = [record for record in records if {record.generator, *record.identities} & names]
    if not records:
        raise ValueError(f"the dataset must hold at least one clip, but {arguments.root} with its options holds none")
    return records, [problem.to_dict() for problem in problems]


def left_out_names(path: Path) -> set[str]:
    """Generators and identities that a training configuration keeps out of training.

    Raises:
        ValueError: the file has no training set with `leave_out`.
    """
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    sets = (settings.get("data") or {}).get("sets") or []
    names = {str(name) for part in sets for name in part.get("leave_out", [])}
    if not names:
        raise ValueError(f"--left-out-of must name a configuration with data.sets and leave_out, but {path} has none")
    return names


def run_evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores the dataset and writes the JSON; returns it.

    Raises:
        ValueError: the dataset cannot be read or is empty, or the model is untrained.
    """
    records, problems = _records(arguments)
    detector = _detector(arguments)
    rows = score_records(detector, _with_bar(records, len(records)))
    result = evaluate(rows, resamples=arguments.resamples, seed=arguments.seed)
    result = {
        "schema_version": 1,
        "model": detector.model_info,
        "dataset": {"name": arguments.dataset, "splits": arguments.split, "problems": problems},
        "command": shlex.join(["macbdf", *sys.argv[1:]]),
        "bootstrap": {"resamples": arguments.resamples, "seed": arguments.seed, "over": "identities"},
        **result,
    }
    write_atomically(arguments.json, dump_json(result))
    return result


def run_calibrate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fits the calibration on a dataset and writes it into the model folder's config; returns it.

    Raises:
        ValueError: the model is no folder, or the dataset lacks a class.
    """
    folder = Path(arguments.model)
    if not (folder / "config.json").is_file():
        raise ValueError(f"model must be a folder with a config.json, but got {folder}")
    records, _ = _records(arguments)
    detector = _detector(arguments, calibration=IDENTITY)
    rows = score_records(detector, _with_bar(records, len(records)))
    config = AutoConfig.from_pretrained(folder)
    if arguments.answer is None:
        calibration = calibrate(rows, arguments.source)
    else:
        calibration = with_answer(config.calibration, rows, arguments.answer, arguments.source)
    config.calibration = calibration
    config.save_pretrained(folder)
    return calibration


def run_card(arguments: argparse.Namespace) -> Path:
    """Writes the model card from the model's config and the evaluations; returns its path.

    The evaluations are left in the model's folder `results/`, without the scores of single clips and their paths.
    """
    evaluations = [_shareable(json.loads(path.read_text(encoding="utf-8"))) for path in arguments.evaluation]
    training = json.loads(arguments.training.read_text(encoding="utf-8")) if arguments.training else {}
    results = arguments.model / "results"
    results.mkdir(exist_ok=True)
    for path, evaluation in zip(arguments.evaluation, evaluations, strict=True):
        write_atomically(results / path.name, dump_json(evaluation))
    config = AutoConfig.from_pretrained(arguments.model)
    path = arguments.model / "README.md"
    write_atomically(path, model_card(arguments.model.name, config, evaluations, training))
    return path


def _shareable(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The evaluation without what names single clips; errors by group in their place."""
    kept = {name: value for name, value in evaluation.items() if name != "scores"}
    kept["dataset"] = {name: value for name, value in kept["dataset"].items() if name != "problems"}
    return kept if "by_group" in kept else kept | {"by_group": by_group(evaluation.get("scores", []))}


def evaluation_text(result: dict[str, Any]) -> str:
    """The result for reading: AUCs with their intervals, the verdict rates, and what was not scored."""
    values, bounds = result["metrics"], result["intervals"]
    lines = []
    for name, value in values.items():
        interval = f"  [{bounds[name][0]:.3f}, {bounds[name][1]:.3f}]" if name in bounds else ""
        lines.append(f"{name:>20} {'-' if value is None else f'{value:.3f}'}{interval}")
    covered = result["coverage"]
    lines.append(f"{'scored':>20} {covered['scored']} of {covered['clips']} clips: {covered['by_status']}")
    return "\n".join(lines)
