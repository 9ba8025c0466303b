"""`macbdf push` and `macbdf push-space`: arguments in, words out. The command line prints."""

import argparse
import tempfile
from pathlib import Path

from .flatten import PACKAGE
from .folder import stage_model
from .push import check_repo, listing, push_folder
from .space import stage_space


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf push`."""
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="as training leaves it")
    _add_repo_arguments(parser)
    parser.add_argument("--revision", help="branch to push to (default: main)")


def add_push_space_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf push-space`."""
    parser.add_argument("--model", type=Path, metavar="DIR", help="default: the weights that the project ships")
    parser.add_argument("--demo", type=Path, default=PACKAGE.parent / "demo", help="default: demo/ of the checkout")
    _add_repo_arguments(parser)


def _add_repo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repo", required=True, metavar="ORG/NAME")
    parser.add_argument("--public", action="store_true", help="if the repository is new (default: private)")
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent; no token, no network")


def run_push(arguments: argparse.Namespace) -> str:
    """Sends a model folder; returns what became of it."""
    check_repo(arguments.repo)
    with tempfile.TemporaryDirectory() as folder:
        stage_model(arguments.model, Path(folder), arguments.repo)
        return _send(arguments, Path(folder), "model", arguments.revision)


def run_push_space(arguments: argparse.Namespace) -> str:
    """Sends the demo; returns what became of it."""
    from ..inference import shipped_model

    check_repo(arguments.repo)
    with tempfile.TemporaryDirectory() as folder:
        stage_space(arguments.demo, arguments.model or shipped_model(), Path(folder))
        return _send(arguments, Path(folder), "space", None)


def _send(arguments: argparse.Namespace, folder: Path, repo_type: str, revision: str | None) -> str:
    private = not arguments.public
    if arguments.dry_run:
        return dry_run_text(folder, arguments.repo, repo_type, private)
    message = f"Push {arguments.repo.split('/')[1]}"
    commit = push_folder(
        folder, arguments.repo, message=message, repo_type=repo_type, private=private, revision=revision
    )
    return f"pushed: {commit.commit_url}"


def dry_run_text(folder: Path, repo: str, repo_type: str, private: bool) -> str:
    """What a push would do: repository, files with their sizes, total."""
    files = listing(folder)
    visibility = "private" if private else "public"
    lines = [f"dry run: nothing is sent. {repo_type} repository {repo}, {visibility} if it is new"]
    lines += [f"  {size:>12,d} bytes  {name}" for name, size in files]
    return "\n".join([*lines, f"  {sum(size for _, size in files):>12,d} bytes in {len(files)} files"])
