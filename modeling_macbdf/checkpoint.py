"""A model and its processor from a folder or the Hub, whole or not at all."""

from collections.abc import Collection
from typing import Any

from transformers import AutoModel, AutoProcessor

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
        OSError: if there is no such model, or its weights are not in safetensors.
    """
    model, info = AutoModel.from_pretrained(name, use_safetensors=True, output_loading_info=True, **source)
    refuse_gaps(name, info["missing_keys"])
    return model, AutoProcessor.from_pretrained(name, **source)


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
