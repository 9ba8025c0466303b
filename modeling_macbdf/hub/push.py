"""Sending a folder to the Hugging Face Hub, with errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx, validate_repo_id


class HubError(OSError):
    """The Hub could not be used; the message says why and what helps."""


def check_repo(repo: str) -> str:
    """The name of a repository, if it is one.

    Raises:
        ValueError: it is not "org/name".
    """
    if repo.count("/") != 1:
        raise ValueError(f"repo must be org/name, but got {repo!r}")
    validate_repo_id(repo)
    return repo


def listing(folder: Path) -> list[tuple[str, int]]:
    """Name and size in bytes of every file that would be sent."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]


def push_folder(
    folder: Path,
    repo: str,
    *,
    message: str,
    repo_type: str = "model",
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> Any:
    """Makes the repository if it is new, and sends the folder as one commit.

    Code files of an earlier push that are no longer part of the folder are removed; other files stay.

    Args:
        folder: what to send.
        repo: "org/name".
        message: of the commit.
        repo_type: "model", "dataset" or "space".
        private: of a new repository; an existing one stays as it is.
        revision: branch (default: main).
        token: default: HF_TOKEN, or what `hf auth login` stored.

    Returns:
        huggingface_hub's `CommitInfo`.

    Raises:
        HubError: no token, no network, or the Hub refused.
        ValueError: a bad name, or a card whose metadata the Hub refuses.
    """
    check_repo(repo)
    if not (token or get_token()):
        raise HubError("the Hub needs a token with write permission: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(token=token)
    with _hub_errors(repo):
        sdk = "gradio" if repo_type == "space" else None
        api.create_repo(repo, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk)
        return api.upload_folder(
            repo_id=repo,
            repo_type=repo_type,
            folder_path=folder,
            commit_message=message,
            revision=revision,
            delete_patterns=["*.py", *(["*/hub_configs/*"] if repo_type == "space" else [])],  # another model's, too
        )


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise HubError("the Hub cannot be used while HF_HUB_OFFLINE is set: unset it to push") from error
    except HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise HubError(f"the Hub refused to write to {repo}: the token needs write permission there") from error
        raise HubError(f"the Hub answered {code} for {repo}: {error}") from error
    except httpx.TransportError as error:
        raise HubError(f"the Hub at {constants.ENDPOINT} cannot be reached: {error}") from error
