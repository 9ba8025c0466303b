"""An exported model, run by onnxruntime on the CPU in place of PyTorch's."""

import os
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoProcessor
from transformers.utils import cached_file

from .media.outcomes import missing_extra

try:
    import onnxruntime
except ImportError as error:
    raise missing_extra("onnxruntime", "media") from error

ONNX_FILE = "model.onnx"
SOURCE_KEY = "macbdf.weights_sha256"  # of a graph's metadata: which weights it was made of


class OnnxModel:
    """Answers for batches of windows as `WindowAnswers` does, whose graph the file holds.

    Args:
        path: the file that `macbdf export --format onnx` wrote.
        config: the model's `MACBDFConfig`.
        threads: of onnxruntime; 0 = as many as PyTorch uses here.
    """

    device = torch.device("cpu")

    def __init__(self, path: str | os.PathLike[str], config: Any, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.config = config
        self._session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The answers by name; a missing stream goes in as masked filler, which never matters."""
        given = {name: value.numpy() for name, value in inputs.items()}
        answers = self._session.run(self._names, completed(self.config, given))
        return {name: torch.from_numpy(answer) for name, answer in zip(self._names, answers, strict=True)}


def completed(config: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The graph's inputs from those of a batch that may lack a stream."""
    batch, steps = next(given[name] for name in ("video_mask", "audio_mask") if name in given).shape
    return filler(config, batch, steps, crops=1) | given


def filler(config: Any, batch: int, steps: int, crops: int) -> dict[str, np.ndarray]:
    """Inputs of a batch that holds nothing: zeros, with every step masked, and so many crops that none shows."""
    side, sound = config.video_config.image_size, config.audio_config
    return {
        "pixel_values": np.zeros((crops, 3, side, side), np.float32),
        "crop_index": np.zeros((batch, steps), np.int64),
        "input_features": np.zeros((batch, steps * sound.mel_frames_per_step, sound.num_mel_bins), np.float32),
        "video_mask": np.zeros((batch, steps), bool),
        "audio_mask": np.zeros((batch, steps), bool),
    }


def exported_from(path: str | os.PathLike[str]) -> str | None:
    """`files_digest` of the weights that a graph was made of; None where it does not say, or cannot be read."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception:  # the library has a class of its own for each way in which a file is damaged
        return None
    return session.get_modelmeta().custom_metadata_map.get(SOURCE_KEY)


def load_onnx(name: str, **source: Any) -> tuple[OnnxModel, Any]:
    """The exported model and its processor, from a folder or a Hub repository.

    Args:
        name: folder or "org/name".
        source: `revision`, `trust_remote_code`, as for `AutoConfig.from_pretrained`.

    Raises:
        OSError: if there is no `model.onnx`.
    """
    config = AutoConfig.from_pretrained(name, **source)
    path = cached_file(name, ONNX_FILE, revision=source.get("revision"))
    if path is None:
        raise OSError(f"{name} must hold {ONNX_FILE}, but does not")
    return OnnxModel(path, config), AutoProcessor.from_pretrained(name, **source)
