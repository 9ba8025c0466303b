"""What the Trainer sends to the Hub: the same folder as `macbdf push`."""

import tempfile
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..hub.folder import stage_model
from ..hub.push import push_folder


def private_by_default(private: bool | None, args: TrainingArguments) -> bool:
    """Whether a new repository is private: as said, as the arguments say, else yes."""
    if private is not None:
        return private
    return True if args.hub_private_repo is None else args.hub_private_repo


def push_model(
    args: TrainingArguments,
    message: str,
    token: str | None = None,
    revision: str | None = None,
    private: bool | None = None,
    folder: str | None = None,
) -> Any:
    """Sends a saved model (default: that in `output_dir`) to `hub_model_id`; returns huggingface_hub's `CommitInfo`.

    Raises:
        ValueError: `hub_model_id` is not "org/name".
        HubError: no token, no network, or the Hub refused.
    """
    repo = str(args.hub_model_id)
    with tempfile.TemporaryDirectory() as staged:
        stage_model(str(folder or args.output_dir), Path(staged), repo)
        return push_folder(
            Path(staged),
            repo,
            message=message,
            private=private_by_default(private, args),
            revision=revision or args.hub_revision,
            token=token or args.hub_token,
        )
