"""`macbdf preprocess` and `macbdf data inspect`: arguments in, results and words out. The command line prints."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from .cache import CacheSettings, write_atomic
from .cache_reader import TrackCache
from .inspection import contact_sheet, inspect_dataset, pseudofake_sheet
from .preprocess import preprocess
from .records import ClipRecord, Problem
from .registry import READERS, read_dataset
from .sharding import launched_shard, parse_shard
from .splits import with_splits

SHOWN = 12  # lines of a list that the words show
SHOWN_IN_ERROR = 3  # problems where they are all that was found


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose a dataset; both commands share them."""
    parser.add_argument("--dataset", required=True, choices=tuple(READERS), help="layout of the dataset")
    parser.add_argument("--root", required=True, type=Path, help="its folder; for 'manifest' the list itself")
    parser.add_argument(
        "--columns",
        nargs="*",
        default=[],
        metavar="FIELD=COLUMN",
        help="manifest: where a record's fields stand, such as path=file label=label; all are in docs/data.md",
    )
    parser.add_argument(
        "--values", nargs="*", default=[], metavar="FIELD:OLD=NEW", help="manifest: values to read as others"
    )
    parser.add_argument("--media-root", type=Path, help="manifest: folder of the media (default: the list's)")
    parser.add_argument("--real-root", type=Path, help="deepfaketimit: folder of VidTIMIT videos")
    parser.add_argument("--unlabelled", default="", help="av_deepfake1m: a split without a list")
    parser.add_argument("--split", action="append", default=[], help="only clips of this split; may be repeated")
    parser.add_argument("--split-file", type=Path, metavar="JSON", help="splits that `macbdf data split` wrote")


def add_preprocess_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf preprocess`."""
    add_dataset_arguments(parser)
    defaults = CacheSettings()
    parser.add_argument("--out", required=True, type=Path, help="cache folder; an unfinished one is continued")
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument(
        "--shard", default="0/1", metavar="I/N",
        help="this machine's share (default: 0/1); the processes of `accelerate launch` divide it among themselves",
    )  # fmt: skip
    parser.add_argument(
        "--cache-rate", type=float, default=defaults.cache_rate_hz, metavar="HZ",
        help=f"stored crops a second, 5, 15, 25, ... (default: {defaults.cache_rate_hz:g})",
    )  # fmt: skip
    parser.add_argument("--jpeg-quality", type=int, metavar="Q", help="JPEG crops instead of lossless WebP")


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf data inspect`."""
    add_dataset_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result as JSON")
    parser.add_argument("--no-open", action="store_true", help="do not open the files: no durations, no codecs")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="contact sheet with waveforms, from the files")
    parser.add_argument("--cache", type=Path, help="a cache of this dataset, for --pseudofakes")
    parser.add_argument("--pseudofakes", type=Path, metavar="PNG", help="sheet of every pseudo-fake kind")


def read_from_arguments(arguments: argparse.Namespace) -> tuple[list[ClipRecord], list[Problem]]:
    """The records and problems of the chosen dataset.

    A record's path is absolute, as it is the clip's name in a cache: a run from another folder finds it again.

    Raises:
        ValueError: the dataset cannot be read or has no clip, there is no such split, or an option does not belong to
            its reader.
    """
    records, problems = _read(arguments)
    if not records:
        told = "; ".join(f"{problem.file}: {problem.reason}" for problem in problems[:SHOWN_IN_ERROR])
        raise ValueError(
            f"root must hold at least one clip, but {arguments.root} gives none and {len(problems)} problems. {told}"
        )
    if arguments.split_file:
        records = with_splits(records, arguments.split_file)
    if arguments.split:
        known = sorted({record.split for record in records})
        if unknown := sorted(set(arguments.split) - set(known)):
            raise ValueError(f"split must be one of {known}, but got {', '.join(unknown)}")
        records = [record for record in records if record.split in arguments.split]
    return records, problems


def _read(arguments: argparse.Namespace) -> tuple[list[ClipRecord], list[Problem]]:
    # Links are kept: a cache knows its clips by the path that was typed.
    root, media_root, real_root = (
        path and Path(os.path.abspath(path)) for path in (arguments.root, arguments.media_root, arguments.real_root)
    )
    given: dict[str, tuple[str, Any]] = {
        "columns": ("manifest", arguments.columns),
        "values": ("manifest", arguments.values),
        "root": ("manifest", media_root),
        "real_root": ("deepfaketimit", real_root),
        "unlabelled": ("av_deepfake1m", arguments.unlabelled),
    }
    options = {}
    for name, (reader, value) in given.items():
        if value and reader != arguments.dataset:
            raise ValueError(f"{name} must be given with --dataset {reader}, but got --dataset {arguments.dataset}")
        if value:
            options[name] = value
    if "root" in options:
        from .manifest import read_manifest

        return read_manifest(root, **options)
    return read_dataset(arguments.dataset, root, **options)


def run_preprocess(arguments: argparse.Namespace, progress: bool = True) -> dict[str, Any]:
    """`macbdf preprocess`: the cache's summary so far, with this process's share and the list's own problems."""
    records, problems = read_from_arguments(arguments)
    settings = CacheSettings(cache_rate_hz=arguments.cache_rate, jpeg_quality=arguments.jpeg_quality)
    shard = launched_shard(parse_shard(arguments.shard), os.environ)
    shown = progress and os.environ.get("LOCAL_RANK", "0") == "0"
    summary = preprocess(records, arguments.out, settings, arguments.processes, shard, shown)
    return {"shard": f"{shard[0]}/{shard[1]}"} | summary | {"problems": [problem.to_dict() for problem in problems]}


def run_inspect(arguments: argparse.Namespace) -> dict[str, Any]:
    """`macbdf data inspect`: the result of `inspect_dataset`; writes the files that were asked for.

    Raises:
        ValueError: `--pseudofakes` without `--cache`, or the dataset cannot be read.
    """
    if arguments.pseudofakes and not arguments.cache:
        raise ValueError("--pseudofakes must come with --cache, but got none")
    records, problems = read_from_arguments(arguments)
    result = inspect_dataset(records, problems, open_files=not arguments.no_open)
    if arguments.json:
        write_atomic(arguments.json, json.dumps(result, indent=2, ensure_ascii=False).encode())
    if arguments.sheet:
        contact_sheet(records).save(arguments.sheet)
    if arguments.pseudofakes:
        pseudofake_sheet(TrackCache(arguments.cache, records, lambda r: r.label == 0)).save(arguments.pseudofakes)
    return result


def as_text(result: dict[str, Any]) -> str:
    """A result of either command for reading: counts, then problems by name."""
    lines = []
    for name, value in result.items():
        if isinstance(value, list):
            lines.append(f"{name}: {len(value)}")
            lines += [f"  {_problem(item)}" for item in value[:SHOWN]]
            lines += [f"  ... and {len(value) - SHOWN} more"] if len(value) > SHOWN else []
        elif isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {key}: {_plain(count)}" for key, count in list(value.items())[: 2 * SHOWN]]
            lines += [f"  ... and {len(value) - 2 * SHOWN} more"] if len(value) > 2 * SHOWN else []
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _problem(item: dict[str, Any]) -> str:
    where = item.get("file") or item.get("path")
    row = f" row {item['row']}" if item.get("row") is not None else ""
    status = f"{item['status']}: " if item.get("status") else ""
    return f"{where}{row}: {status}{item['reason']}"
