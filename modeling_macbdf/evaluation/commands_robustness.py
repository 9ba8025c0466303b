"""`macbdf robustness`: arguments in, one row a clip with all its conditions, then JSON, a table and curves."""

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.commands import add_dataset_arguments
from ..data.records import ClipRecord
from ..report import dump_json, write_atomically
from .clusters import clusters
from .commands import add_left_out_argument, add_model_arguments, make_detector, records_of, with_bar
from .distortions import ALL, PROFILES, SEVERITIES
from .evaluate import coverage, judged
from .plots import new_figure
from .robustness import conditions, robust_row, summarize
from .score import Processes, ScoreLog, log_path, made_by, score_all
from .tables import number, table


def add_robustness_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf robustness`."""
    add_model_arguments(parser)
    add_dataset_arguments(parser)
    add_left_out_argument(parser)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="write the result as JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a Markdown table and curves there")
    parser.add_argument("--distortions", nargs="+", default=list(ALL), metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument(
        "--severities",
        nargs="+",
        type=int,
        default=list(SEVERITIES),
        metavar="1..5",
        help="5 is strongest (default: all)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only N clips, half of them real where that can be")
    parser.add_argument("--resamples", type=int, default=1000, help="bootstrap draws over identities (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of clips and the bootstrap (default: 0)")


def run_robustness(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Scores every clip under every condition; writes and returns the result, None on all processes but the first.

    Raises:
        ValueError: an unknown distortion, an empty dataset, or a log of another run in the way.
    """
    wanted = conditions(arguments.distortions, arguments.severities)
    records, problems = records_of(arguments)
    records = chosen(records, arguments.limit, arguments.seed)
    detector = make_detector(arguments)
    processes = Processes.current()
    rests_on = made_by(detector, records, conditions=[f"{n}/{s}" for n, s in wanted])
    log = ScoreLog(log_path(arguments.json), rests_on, processes.rank)
    rows = score_all(
        records, lambda record: robust_row(detector, record, wanted), log, processes, lambda r: with_bar(r, len(r))
    )
    if processes.rank:
        return None
    draws = {"resamples": arguments.resamples, "seed": arguments.seed}
    result: dict[str, Any] = {
        "schema_version": 1,
        "model": detector.model_info,
        "dataset": {"name": arguments.dataset, "splits": arguments.split, "problems": problems},
        "command": shlex.join(["macbdf", *sys.argv[1:]]),
        "bootstrap": {**draws, "over": clusters(judged(rows))[1]},
        "coverage": coverage(rows),
        "conditions": summarize(rows, **draws),
        "scores": rows,
    }
    write_atomically(arguments.json, dump_json(result))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_atomically(arguments.out / "robustness.md", robustness_markdown(result))
        draw_curves(result["conditions"], arguments.out / "robustness.png")
    log.remove()
    return result


def chosen(records: Sequence[ClipRecord], limit: int | None, seed: int) -> list[ClipRecord]:
    """At most `limit` clips, half real and half fake as far as there are any, in the order of the records.

    Raises:
        ValueError: `limit` is not positive.
    """
    if limit is None or limit >= len(records):
        return list(records)
    if limit < 1:
        raise ValueError(f"limit must be at least 1 clip, but got {limit}")
    order = np.random.default_rng(seed).permutation(len(records))
    real, other = ([i for i in order if (records[i].label == 0) == is_real] for is_real in (True, False))
    reals = min(len(real), max(limit // 2, limit - len(other)))
    return [records[i] for i in sorted(real[:reals] + other[: limit - reals])]


def robustness_markdown(result: Mapping[str, Any]) -> str:
    """One row a distortion: AUC unchanged and by severity, clips, and clips that lost their score."""
    conditions = result["conditions"]
    severities = sorted({severity for by_severity in conditions.values() for severity in by_severity})
    rows = []
    for name, by_severity in conditions.items():
        first = next(iter(by_severity.values()))
        cells = [_cell(by_severity.get(severity)) for severity in severities]
        lost = max(value["lost"] for value in by_severity.values())
        rows.append((name, number(first["clean_auc"]), *cells, str(first["clips"]), str(lost)))
    header = ("distortion", "unchanged", *(f"severity {s}" for s in severities), "clips", "lost at most")
    title = " ".join([result["dataset"]["name"], *result["dataset"]["splits"]])
    note = (
        "AUC by severity, with the 95 % interval by bootstrap over identities. Only clips that have the stream which "
        "is changed; `messenger` has one severity. A clip that lost its score leaves the AUC."
    )
    return f"# Robustness on {title}\n\n{note}\n\n{table(header, rows)}\n\nCommand: `{result['command']}`\n"


def _cell(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    limits = value["interval"]
    return number(value["auc"]) + (f" [{limits[0]:.2f}, {limits[1]:.2f}]" if limits else "")


def draw_curves(conditions: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """AUC over severity, 0 = unchanged; a profile is a point at its severity."""
    figure = new_figure(9, 5)
    axis = figure.subplots()
    for number_, (name, by_severity) in enumerate(conditions.items()):
        known = sorted((int(s), value) for s, value in by_severity.items() if value["auc"] is not None)
        if not known:
            continue
        points = [(0, known[0][1]["clean_auc"]), *((severity, value["auc"]) for severity, value in known)]
        style = "*" if name in PROFILES else ("o-", "s--", "^:")[number_ // 10 % 3]
        axis.plot(*zip(*(points[1:] if name in PROFILES else points), strict=True), style, label=name, ms=4)
    axis.axhline(0.5, color="0.6", lw=0.8)
    axis.set(xlabel="severity (0 = unchanged)", ylabel="AUC", title="robustness")
    if axis.has_data():
        axis.legend(fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)
