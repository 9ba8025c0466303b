"""The options of `macbdf detect`: what they are, and which go together."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .media.outcomes import container_by_magic
from .paths import expand_paths

_PART = re.compile(r"-\d{4}-of-\d{4}$")  # see `batch.judge_into`
_REPORTS = (".json", ".jsonl", ".csv", ".html", ".htm")


def add_detect_arguments(detect: argparse.ArgumentParser) -> None:
    """What `macbdf detect` takes."""
    detect.epilog = "Exit code: 0 all scored, 1 some not scored, 2 usage."
    detect.add_argument("paths", nargs="+", metavar="PATH", help="file, folder (taken whole) or quoted glob")
    detect.add_argument("--json", type=Path, metavar="OUT", help="write the full report as JSON")
    detect.add_argument("--csv", type=Path, metavar="OUT", help="write one row a file as CSV")
    detect.add_argument("--html", type=Path, metavar="OUT", help="write a report with pictures as one HTML file")
    detect.add_argument("--model", metavar="DIR_OR_REPO", help="default: the weights that the project ships")
    detect.add_argument("--revision", help="of a Hub repository: branch, tag or commit")
    detect.add_argument("--trust-remote-code", action="store_true", help="run the model code of a Hub repository")
    detect.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    detect.add_argument("--batch-size", type=int, default=4, metavar="N", help="windows judged at once (default: 4)")
    detect.add_argument(
        "--backend", choices=("auto", "torch", "onnx"), default="auto",
        help="auto: the graph of `macbdf export` where the model's folder holds one and the device is the CPU",
    )  # fmt: skip
    detect.add_argument("--profile", action="store_true", help="say where the time went, and the peak memory")
    detect.add_argument("--jsonl", type=Path, metavar="OUT", help="append a line a file as it comes; resumable")
    detect.add_argument("--processes", type=int, default=1, metavar="N", help="with --jsonl (default: 1)")
    detect.add_argument("--isolate", action="store_true", help="judge in a child process: a codec may crash there")
    detect.add_argument("--max-minutes", type=float, default=60.0, help="longer files are refused (default: 60)")


def detector_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `isolation.open_judge`."""
    names = ("isolate", "model", "revision", "trust_remote_code", "device", "batch_size", "backend")
    options = {name: getattr(arguments, name) for name in names} | {"max_duration_s": 60.0 * arguments.max_minutes}
    return options | {"backend": "torch"} if arguments.html else options  # its heat maps need gradients


def files_to_judge(arguments: argparse.Namespace) -> list[str]:
    """The files that were named, without the reports of an earlier run that lie in a folder among them."""
    reports = [Path(os.path.realpath(out)) for out in _outputs(arguments) if out.suffix.lower() in _REPORTS]
    files = expand_paths(arguments.paths)
    return [file for file in files if file in arguments.paths or not _is_report(file, reports)]


def _is_report(file: str, reports: Sequence[Path]) -> bool:
    """Whether a file is one of the reports, or a part of one that launched processes wrote."""
    found = Path(os.path.realpath(file))
    whole = found.with_name(_PART.sub("", found.stem) + found.suffix)
    return found in reports or whole in reports


def _outputs(arguments: argparse.Namespace) -> list[Path]:
    named = (arguments.json, arguments.csv, arguments.html, arguments.jsonl)
    return [out for out in named if out is not None]


def check_outputs(arguments: argparse.Namespace, paths: Sequence[str]) -> None:
    """Refuses, before the work, what could not be done after it, or would destroy what is to be judged.

    Args:
        arguments: as parsed.
        paths: the files to judge.

    Raises:
        ValueError: for outputs that cannot or must not be written, or options that do not go together.
    """
    outputs = _outputs(arguments)
    for out in outputs:
        _check_place(out)
    _check_overwritten([out for out in outputs if not out.exists() or out.is_file()], paths)
    if arguments.jsonl and len(outputs) > 1:
        raise ValueError("--jsonl replaces --json, --csv and --html: give one or the others")
    if arguments.isolate and (arguments.html or arguments.profile):
        raise ValueError("--html and --profile look into the judging process: give them or --isolate")
    if arguments.html and arguments.backend == "onnx":
        raise ValueError("--html needs gradients, which only --backend torch has")
    if arguments.processes != 1 and not arguments.jsonl:
        raise ValueError("--processes needs --jsonl OUT, where the outcomes are written as they come")


def _check_place(out: Path) -> None:
    folder = out.resolve().parent
    if not folder.is_dir():
        raise ValueError(f"the report's folder must exist, but {folder} does not")
    if out.is_dir():
        raise ValueError(f"the report must be a file, but {out} is a folder")
    if not os.access(out if out.exists() else folder, os.W_OK):
        raise ValueError(f"the report's place must be writable, but {out} is not")


def _check_overwritten(outputs: Sequence[Path], paths: Sequence[str]) -> None:
    """Refuses files that must not be written over; devices and pipes are none."""
    judged = {os.path.realpath(path) for path in paths}
    for number, out in enumerate(outputs):
        kind = container_by_magic(out)
        if kind is not None:
            raise ValueError(f"the report must not replace media, but {out} is {kind}")
        if os.path.realpath(out) in judged:
            raise ValueError(f"the report must not be one of the files to judge, but {out} is: name another place")
        if any(os.path.realpath(out) == os.path.realpath(other) for other in outputs[:number]):
            raise ValueError(f"each report must be a file of its own, but {out} was named twice")
