"""`macbdf matrix`: a YAML file in, JSON, a table and a plot out."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from ..evaluation.commands import add_resamples_argument
from ..report import dump_json, write_atomically
from .matrix import draw_matrix, load_matrix, matrix_markdown
from .matrix import run_matrix as run


def add_matrix_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf matrix`."""
    parser.add_argument("--config", type=Path, required=True, metavar="YAML", help="see docs/results.md")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="write the result as JSON")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a Markdown table and a plot there")
    parser.add_argument("--device", default="auto", help="to test on (default: auto)")
    add_resamples_argument(parser)


def run_matrix(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and tests what the file asks for; writes and returns the result.

    Raises:
        ValueError: the file, a training configuration or a dataset cannot be used.
    """
    config = load_matrix(arguments.config)
    result = run(config, device=arguments.device, resamples=arguments.resamples, say=_say)
    result["command"] = shlex.join(["macbdf", *sys.argv[1:]])
    write_atomically(arguments.json, dump_json(result))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_atomically(arguments.out / "matrix.md", matrix_markdown(result))
        draw_matrix(result, arguments.out / "matrix.png")
    return result


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
