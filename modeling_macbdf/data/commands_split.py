"""`macbdf data split`: a dataset divided so that nothing leaks, written as a file that training and tests read."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from .commands import add_dataset_arguments, read_from_arguments
from .records import ClipRecord
from .splits import (
    Splits,
    identity_folds,
    leave_generator_out,
    leave_language_out,
    published_splits,
    shared_between,
    sharing_words,
    split_by_identity,
    write_splits,
)

METHODS = ("identity", "generator", "language", "published")
HOLDING_OUT = {"generator": leave_generator_out, "language": leave_language_out}
SHARES = ("train=0.8", "dev=0.1", "test=0.1")


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf data split`."""
    add_dataset_arguments(parser)
    parser.add_argument(
        "--method", required=True, choices=METHODS,
        help="nobody on two sides; so, and a generator or a language in the test alone; or as the dataset came",
    )  # fmt: skip
    parser.add_argument(
        "--shares", nargs="+", metavar="SPLIT=SHARE", help=f"of the clips (default: {' '.join(SHARES)})"
    )
    parser.add_argument(
        "--folds", type=int, metavar="N", help="identity: N files OUT-1, OUT-2, ..., each train, dev and test"
    )
    parser.add_argument("--hold-out", metavar="NAME", help="generator, language: which one only the split test has")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another division of people (default: 0)")
    parser.add_argument("--out", required=True, type=Path, metavar="JSON", help="for data.splits and --split-file")


def run_split(arguments: argparse.Namespace) -> dict[str, Any]:
    """Writes the file or the folds.

    Returns:
        For each file the clips of each split and what two of its splits share; and the dataset's own problems.

    Raises:
        ValueError: the dataset cannot be read, cannot be divided so, or an option does not belong to the method.
    """
    _check(arguments)
    records, problems = read_from_arguments(arguments)
    divided = _divided(records, arguments)
    root = Path(os.path.abspath(arguments.media_root or arguments.root))
    result: dict[str, Any] = {}
    for number, splits in enumerate(divided, start=1):
        fold = f"fold {number} of {len(divided)}" if len(divided) > 1 else ""
        out = arguments.out.with_stem(f"{arguments.out.stem}-{number}") if fold else arguments.out
        write_splits(out, splits, root if root.is_dir() else root.parent, _words(arguments, fold))
        shared = sharing_words(shared_between(splits)) or "nothing"
        result[str(out)] = {name: len(clips) for name, clips in splits.items()} | {"in more than one split": shared}
    return result | {"problems": [problem.to_dict() for problem in problems]}


def _check(arguments: argparse.Namespace) -> None:
    method, folds = arguments.method, arguments.folds is not None
    if bool(arguments.hold_out) != (method in HOLDING_OUT):
        raise ValueError(
            f"hold_out must come with method generator or language, but got {arguments.hold_out!r}, {method}"
        )
    if folds and method != "identity":
        raise ValueError(f"folds must come with method identity, but got {method}")
    if arguments.shares and (folds or method == "published"):
        raise ValueError(f"shares must come without folds, and not with method published, but got {arguments.shares}")


def _divided(records: list[ClipRecord], arguments: argparse.Namespace) -> list[Splits]:
    if arguments.method == "published":
        return [published_splits(records)]
    if arguments.folds is not None:
        return identity_folds(records, arguments.folds, arguments.seed)
    splits = split_by_identity(records, _shares(arguments.shares or SHARES), arguments.seed)
    if arguments.method in HOLDING_OUT:
        splits = HOLDING_OUT[arguments.method](splits, arguments.hold_out)
    return [splits]


def _shares(texts: list[str] | tuple[str, ...]) -> dict[str, float]:
    shares = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share)
        except ValueError as error:
            raise ValueError(f"shares must read SPLIT=SHARE, but got {text!r}") from error
    return shares


def _words(arguments: argparse.Namespace, fold: str) -> str:
    """How the file was made, for its reader."""
    if arguments.method == "published":
        return "published"
    held = f"{arguments.method} {arguments.hold_out} held out" if arguments.hold_out else ""
    shares = fold or " ".join(arguments.shares or SHARES)
    return ", ".join(filter(None, ("identity", held, shares, f"seed {arguments.seed}")))
