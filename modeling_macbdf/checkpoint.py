"""A model and its processor from a folder or the Hub, whole or not at all."""

from typing import Any

from transformers import AutoModel, AutoProcessor


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
    if info["missing_keys"]:
        raise UntrainedModelError(f"{name} lacks the weights {', '.join(sorted(info['missing_keys']))}")
    return model, AutoProcessor.from_pretrained(name, **source)
