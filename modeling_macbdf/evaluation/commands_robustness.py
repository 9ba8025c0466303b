"""`macbdf robustness`: arguments in, one row a clip with all its conditions, then JSON, a table and curves."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.commands import add_dataset_arguments
from ..data.records import ClipRecord
from ..report import dump_json, write_atomically
from .commands import (
    add_left_out_argument,
    add_model_arguments,
    add_resamples_argument,
    make_detector,
    records_of,
    result_header,
    with_bar,
)
from .distortions import ALL, PROFILES, SEVERITIES
from .evaluate import coverage
from .plots import new_figure
from .robustness import conditions, robust_row, summarize
from .score import Processes, ScoreLog, log_path, made_by, score_all
from .tables import drawn_over, number, table


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
    add_resamples_argument(parser)
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
    result: dict[str, Any] = {
        **result_header(arguments, detector, problems, rows),
        "coverage": coverage(rows),
        "conditions": summarize(rows, resamples=arguments.resamples, seed=arguments.seed),
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
        cells = [_cell(by_severity.get(severity)) for severity in severities]
        clips, lost = (max(value[count] for value in by_severity.values()) for count in ("clips", "lost"))
        rows.append((name, number(_unchanged(by_severity.values())), *cells, str(clips), str(lost)))
    header = ("distortion", "unchanged", *(f"severity {s}" for s in severities), "clips", "lost at most")
    title = " ".join([result["dataset"]["name"], *result["dataset"]["splits"]])
    note = (
        f"AUC by severity, with the 95 % interval, {drawn_over(result['bootstrap'])}. Only clips that have the stream "
        "which is changed; `messenger` has one severity. A clip that lost its score leaves the AUC: there the AUC of "
        "the other clips as they are stands before the arrow."
    )
    return f"# Robustness on {title}\n\n{note}\n\n{table(header, rows)}\n\nCommand: `{result['command']}`\n"


def _unchanged(values: Iterable[Mapping[str, Any]]) -> float | None:
    """The AUC of all the clips as they are; None where some lost their score at every severity."""
    return next((value["clean_auc"] for value in values if not value["lost"]), None)


def _cell(value: Mapping[str, Any] | None) -> str:
    """The AUC; where clips lost their score, behind that of the same remaining clips as they are."""
    if value is None:
        return ""
    limits = value["interval"]
    before = f"{number(value['clean_auc'])} → " if value["lost"] else ""
    return before + number(value["auc"]) + (f" [{limits[0]:.2f}, {limits[1]:.2f}]" if limits else "")


def draw_curves(conditions: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """AUC over severity, 0 = unchanged; a profile is a point at its severity.

    Where clips lost their score, a dotted line comes from the AUC of the same remaining clips as they are.
    """
    figure = new_figure(9, 5)
    axis = figure.subplots()
    for number_, (name, by_severity) in enumerate(conditions.items()):
        known = sorted((int(s), value) for s, value in by_severity.items() if value["auc"] is not None)
        if not known:
            continue
        points = [(severity, value["auc"]) for severity, value in known]
        unchanged = _unchanged(by_severity.values())
        if unchanged is not None and name not in PROFILES:
            points.insert(0, (0, unchanged))
        style = "*" if name in PROFILES else ("o-", "s--", "^:")[number_ // 10 % 3]
        (line,) = axis.plot(*zip(*points, strict=True), style, label=name, ms=4)
        for severity, value in known:
            if value["lost"]:
                axis.plot([severity] * 2, [value["clean_auc"], value["auc"]], ":", color=line.get_color(), lw=1)
    axis.axhline(0.5, color="0.6", lw=0.8)
    axis.set(xlabel="severity (0 = unchanged)", ylabel="AUC", title="robustness")
    if axis.has_data():
        axis.legend(fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=110)
