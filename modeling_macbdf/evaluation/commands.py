"""`macbdf evaluate`, `macbdf calibrate`, `macbdf card`: arguments in, files and words out. The command line prints."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm
from transformers import AutoConfig

from ..data.commands import add_dataset_arguments, read_from_arguments
from ..data.records import ClipRecord, generator_parts
from ..data.splits import identity_groups, with_splits
from ..inference import Detector
from ..report import dump_json, write_atomically
from .calibration import IDENTITY, THRESHOLDS, VOICE, calibrate, with_thresholds, with_voice
from .card import model_card
from .clusters import clusters
from .distortions import PROFILES, SOUND
from .evaluate import evaluate, judged
from .groups import by_group
from .masked import MaskedModel
from .overlap import identity_overlap, training_people
from .plots import draw_all
from .probes import audit, warnings
from .robustness import parse_conditions, robust_row
from .score import Processes, Row, ScoreLog, log_path, made_by, score_all, witnessed_row
from .tables import NEEDED, evaluation_markdown, number


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf evaluate`."""
    add_model_arguments(parser)
    add_dataset_arguments(parser)
    add_left_out_argument(parser)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="write metrics and scores as JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a Markdown table and plots there")
    parser.add_argument("--no-probes", action="store_true", help="leave the shortcut probes out")
    add_resamples_argument(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def add_calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf calibrate`."""
    add_model_arguments(parser)
    add_dataset_arguments(parser)
    add_left_out_argument(parser)
    parser.add_argument(
        "--only", choices=(VOICE, THRESHOLDS),
        help="fit the voice's answer only, or set the verdict thresholds only; the rest of the calibration stays",
    )  # fmt: skip
    parser.add_argument(
        "--under", nargs="+", default=[], metavar="NAME/SEVERITY",
        help="fit on copies of the clips too, changed as in `macbdf robustness`, such as opus/2 audio_noise/1",
    )  # fmt: skip
    parser.add_argument("--source", required=True, help="the data in words; stored in the config beside the numbers")


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf card`."""
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="its README.md is written")
    parser.add_argument(
        "--evaluation",
        required=True,
        type=Path,
        nargs="+",
        metavar="JSON",
        help="of macbdf evaluate; their names are the titles",
    )
    parser.add_argument("--training", type=Path, metavar="JSON", help="facts of the training: data, terms, command")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose a model; all commands that score share them."""
    parser.add_argument("--model", required=True, metavar="DIR_OR_REPO", help="folder or Hub repository")
    parser.add_argument("--revision", help="of a Hub repository")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the model code of a Hub repository")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="windows judged at once (default: 4)")


def add_left_out_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that keeps only what a training left out."""
    parser.add_argument(
        "--not-trained-by",
        type=Path,
        metavar="YAML",
        help="only clips that this training configuration does not train on; where one of its sets names no split, "
        "those of the evaluation's split and of what leave_out names",
    )


def add_resamples_argument(parser: argparse.ArgumentParser) -> None:
    """The number of bootstrap draws, which is checked before hours of scoring."""
    parser.add_argument(
        "--resamples", type=_at_least_one, default=1000, metavar="N",
        help="bootstrap draws over identities (default: 1000)",
    )  # fmt: skip


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 1, but got {text!r}")
    return int(text)


def make_detector(arguments: argparse.Namespace, **options: Any) -> Detector:
    """The detector that the arguments name."""
    return Detector.from_pretrained(
        arguments.model,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
        device=Processes.current().device if arguments.device == "auto" else arguments.device,
        batch_size=arguments.batch_size,
        **options,
    )


def with_bar(records: Iterable[ClipRecord], total: int) -> Iterator[ClipRecord]:
    """The records, with a progress bar on a terminal."""
    return iter(tqdm(records, total=total, unit="clip", disable=not sys.stderr.isatty()))


def records_of(arguments: argparse.Namespace) -> tuple[list[ClipRecord], list[dict[str, Any]]]:
    """The chosen dataset's records and its problems.

    Raises:
        ValueError: see `read_from_arguments`; or every clip was trained on.
    """
    records, problems = read_from_arguments(arguments)
    if arguments.not_trained_by:
        records = not_trained(records, arguments.not_trained_by)
    if not records:
        raise ValueError(f"{arguments.root} must hold a clip that was not trained on, but has none")
    return records, [problem.to_dict() for problem in problems]


def not_trained(records: Sequence[ClipRecord], path: Path) -> list[ClipRecord]:
    """The clips that a training configuration with several sets does not train on.

    A clip is trained on where its split is that of a training set, unless the configuration leaves out one of its
    people or its generator. A set without a split may hold clips of any split but the evaluation's, which are then
    counted as trained on; the list must be the one behind `data.cache`, or have no splits.

    Raises:
        ValueError: the file has no training sets.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8")).get("data") or {}
    if not data.get("sets"):
        raise ValueError(f"--not-trained-by must name a configuration with data.sets, but {path} has none")
    if data.get("splits"):
        records = with_splits(records, data["splits"])
    splits = {part.get("split", "") for part in data["sets"]}
    every = {record.split for record in records} - {data.get("eval_split", "dev")}
    splits = every if "" in splits else splits
    left_out = generator_parts(*map(str, data.get("leave_out") or []))
    return [record for record in records if record.split not in splits or record.names & left_out]


def run_evaluate(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Scores the dataset and writes the JSON, and with `--out` the tables and plots.

    Returns:
        The result; None on all processes but the first.

    Raises:
        ValueError: the dataset cannot be read or is empty, the model is untrained, or an earlier run's log that was to
            be continued belongs to another model.
    """
    records, problems = records_of(arguments)
    detector = make_detector(arguments)
    processes = Processes.current()
    rows = _scored_rows(arguments, records, detector, processes)
    if processes.rank:
        return None
    draws = {"resamples": arguments.resamples, "seed": arguments.seed}
    result = {
        **result_header(arguments, detector, problems, rows),
        **evaluate(rows, **draws),
        "probes": _audit(arguments, records, rows, draws),
    }
    write_atomically(arguments.json, dump_json(result))
    if arguments.out is not None:
        _write_out(arguments.out, result)
    ScoreLog(log_path(arguments.json), {}).remove()
    return result


def result_header(
    arguments: argparse.Namespace, detector: Detector, problems: list[dict[str, Any]], rows: Sequence[Row]
) -> dict[str, Any]:
    """What every result begins with: model, data, command, and what the bootstrap draws."""
    names, over = clusters(judged(rows))
    return {
        "schema_version": 1,
        "model": detector.model_info,
        "dataset": {"name": arguments.dataset, "splits": arguments.split, "problems": problems},
        "command": shlex.join(["macbdf", *sys.argv[1:]]),
        "bootstrap": {
            "resamples": arguments.resamples,
            "seed": arguments.seed,
            "over": over,
            "clusters": len(set(names)),
        },
    }


def _scored_rows(
    arguments: argparse.Namespace, records: list[ClipRecord], detector: Detector, processes: Processes
) -> list[dict[str, Any]]:
    masked = None if arguments.no_probes else MaskedModel(detector)
    rests_on = made_by(detector, records, probes=not arguments.no_probes)
    log = ScoreLog(log_path(arguments.json), rests_on, processes.rank)

    def score(record: ClipRecord) -> dict[str, Any]:
        return witnessed_row(detector, masked, record)

    return score_all(records, score, log, processes, lambda todo: with_bar(todo, len(todo)))


def _audit(
    arguments: argparse.Namespace, records: list[ClipRecord], rows: list[dict[str, Any]], draws: dict[str, int]
) -> dict[str, Any]:
    """The probes' results where they are asked for, the identity overlap in any case, and the warnings of both."""
    probes: dict[str, Any] = {}
    if not arguments.no_probes:
        place = {id(record): number for number, group in enumerate(identity_groups(records)) for record in group}
        probes = audit(rows, [place[id(record)] for record in records], **draws)
    trained_on = training_people(arguments.model, arguments.revision)
    probes["identity_overlap"] = identity_overlap(records, trained_on)
    return probes | {"warnings": warnings(probes)}


def _write_out(folder: Path, result: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "evaluation.md", evaluation_markdown(result, level=1))
    draw_all(result, folder)


def run_calibrate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fits the calibration on a dataset and writes it into the model folder's config; returns it.

    Several processes (`torchrun`) share the clips; the first one writes.

    Raises:
        ValueError: the model is no folder, or the dataset lacks a class.
    """
    folder = Path(arguments.model)
    if not (folder / "config.json").is_file():
        raise ValueError(f"model must be a folder with a config.json, but got {folder}")
    records, _ = records_of(arguments)
    detector = make_detector(arguments, calibration=IDENTITY)
    under = parse_conditions(arguments.under)
    processes = Processes.current()
    scored = score_all(
        records,
        lambda record: robust_row(detector, record, under),
        processes=processes,
        progress=lambda todo: with_bar(todo, len(todo)),
    )
    rows = [row for every in scored for row in _copies(every)]
    source = arguments.source + (f", as they are and under {', '.join(arguments.under)}" if under else "")
    config = AutoConfig.from_pretrained(folder)
    if arguments.only is None:
        config.calibration = calibrate(rows, source)
    elif arguments.only == THRESHOLDS:
        config.calibration = with_thresholds(config.calibration, rows, source)
    else:
        config.calibration = with_voice(config.calibration, rows, source)
    if not processes.rank:  # save_pretrained would leave the code beside it
        write_atomically(folder / "config.json", config.to_json_string())
    return dict(config.calibration)


def _copies(row: Row) -> list[Row]:
    """The clip's row as it is, and one for each condition that it was judged under.

    The answer of a stream that the condition leaves alone is no second observation, and is left out.
    """
    copies = [row]
    for condition, said in row["conditions"].items():
        name = condition.partition("/")[0]
        same = "video" if name in SOUND else "" if name in PROFILES else "audio"
        distances = {stream: value for stream, value in said["distances"].items() if stream != same}
        copies.append(row | said | {"distances": distances} | ({f"p_fake_{same}": None} if same else {}))
    return copies


def run_card(arguments: argparse.Namespace) -> Path:
    """Writes the model card from the model's config and the evaluations; returns its path.

    The evaluations, called by the names of their files, are left in the model's folder `results/` without the scores
    of single clips and their paths.

    Raises:
        ValueError: two evaluations have the same file name, or a file is no JSON or no result of `macbdf evaluate`.
    """
    names = [path.name for path in arguments.evaluation]
    if len(set(names)) < len(names):
        raise ValueError(f"--evaluation must name files with different names, but got {', '.join(names)}")
    evaluations = [_shareable(_evaluation_in(path)) | {"title": path.stem} for path in arguments.evaluation]
    training = _json_in(arguments.training) if arguments.training else {}
    config = AutoConfig.from_pretrained(arguments.model)
    card = model_card(arguments.model.resolve().name, config, evaluations, training)
    results = arguments.model / "results"
    results.mkdir(exist_ok=True)
    for path, evaluation in zip(arguments.evaluation, evaluations, strict=True):
        write_atomically(results / path.name, dump_json(evaluation))
    write_atomically(arguments.model / "README.md", card)
    return arguments.model / "README.md"


def _json_in(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise ValueError(f"{path} must be a JSON file, but: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, but holds a {type(found).__name__}")
    return found


def _evaluation_in(path: Path) -> dict[str, Any]:
    found = _json_in(path)
    missing = [name for name in NEEDED if name not in found]
    if missing:
        raise ValueError(f"{path} must be a result of macbdf evaluate, but lacks {', '.join(missing)}")
    return found


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
    for name, probe in result["probes"].items():
        if isinstance(probe, dict) and "auc" in probe:
            lines.append(f"{'probe ' + name:>20} {number(probe['auc'])}")
    lines += [f"WARNING {sentence}" for sentence in result["probes"]["warnings"]]
    return "\n".join(lines)
