"""Half-precision storage of trained weights: half the size on disk and on the Hub, the same arithmetic."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

_STATE = ("bank.", "temperature.")  # small and with a wide range: prototypes, covariances, the belief over log tau


def store_in_half_precision(folder: str | Path) -> None:
    """Rewrites the `model.safetensors` of a saved model with float16 weights; state buffers stay as they are.

    The config says float32, so that `from_pretrained` computes in float32 whatever is stored.

    Args:
        folder: of `save_pretrained`, with one weights file.

    Raises:
        ValueError: a weight that float16 cannot hold.
    """
    path = Path(folder) / "model.safetensors"
    weights = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    for name, value in weights.items():
        if value.dtype == torch.float32 and not any(part in name for part in _STATE):
            weights[name] = value.half()
            if not torch.isfinite(weights[name]).all():
                raise ValueError(f"{name} must fit into float16, but its largest value is {value.abs().max():.3g}")
    unfinished = path.with_suffix(".unfinished")
    save_file(weights, unfinished, metadata)
    unfinished.replace(path)
    config = Path(folder) / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) | {"dtype": "float32"}
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
