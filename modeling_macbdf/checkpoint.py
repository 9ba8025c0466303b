"""A model and its processor from a folder or the Hub, whole or not at all."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers import AutoModel, AutoProcessor

try:
    from safetensors import SafetensorError
except ImportError as error:
    raise ImportError("safetensors is not installed, which transformers needs") from error

_SHOWN = 5  # names of missing weights in a message


class UntrainedModelError(ValueError):
    """The checkpoint has no calibration or lacks weights: a score from it would mean nothing."""


def load_checkpoint(name: str, **source: Any) -> tuple[Any, Any]:
    """The model and its processor.

    Args:
        name: folder or "org/name".
        source: `revision`, `trust_remote_code`, as for `AutoModel.from_pretrained`.

    Raises:
        UntrainedModelError: if the checkpoint lacks weights, which transformers would fill with random numbers.
        OSError: if there is no such model, or its weights are not in safetensors, or are damaged.
    """
    try:
        model, info = AutoModel.from_pretrained(name, use_safetensors=True, output_loading_info=True, **source)
    except SafetensorError as error:
        words = "is the file cut short, or a Git LFS pointer (then: git lfs pull)?"
        raise OSError(f"the model.safetensors of {name} cannot be read ({error}): {words}") from error
    refuse_gaps(name, info["missing_keys"])
    return model, AutoProcessor.from_pretrained(name, **source)


def files_digest(folder: str | os.PathLike[str], pattern: str = "*.safetensors") -> str | None:
    """SHA-256 of a local model's weights; None where the folder holds none.

    Args:
        folder: the model's.
        pattern: of the files' names; of several, the bytes are taken one after the other, in the order of the names.
    """
    files = sorted(Path(folder).glob(pattern))
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while piece := content.read(2**20):
                digest.update(piece)
    return digest.hexdigest() if files else None


def refuse_gaps(name: str, missing: Collection[str]) -> None:
    """Raises an `UntrainedModelError` if a checkpoint lacks weights.

    Args:
        name: of the checkpoint, for the message.
        missing: names of the weights that it lacks.
    """
    if missing:
        shown = ", ".join(sorted(missing)[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UntrainedModelError(f"{name} lacks the weights {shown}{more}")
