"""A trained model as one file for other runtimes: ONNX, in 32-bit floats or 8-bit integers, or torch.export's.

The graph is `WindowAnswers`: inputs `pixel_values` (N, 3, S, S) float32, the N different crops of B windows of T
steps, `crop_index` (B, T) int64, which of them each step shows, `input_features` (B, L, F) float32, `video_mask`
and `audio_mask` (B, T) bool; N, B and T are free. A missing stream goes in as any filler with a mask of False.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim, ExportedProgram
from transformers.utils import CONFIG_NAME, cached_file

from .checkpoint import files_digest, load_checkpoint
from .inference import Detector, shipped_model
from .media.outcomes import missing_extra
from .onnx_model import ONNX_FILE, SOURCE_KEY, completed, filler
from .paths import expand_paths
from .scoring import Voice, WindowAnswers
from .sources import FileSource, Watcher
from .windows import Window

logger = logging.getLogger(__name__)

TORCH_FILE = "model.pt2"
MAX_STEPS = 4096
# The first ones stay in 32 bits: they see the high-pass picture and the persistence of the sound, whose small values
# carry the trace and vanish in 8 bits, and they are a small part of the cost. In 8 bits they moved p_fake by up to .1.
EXACT_CONVOLUTIONS = 9
_BUILT_IN = ("macbdf_video", "macbdf_lite_video", "macbdf_audio")


def add_export_arguments(export: argparse.ArgumentParser) -> None:
    """What `macbdf export` takes."""
    export.add_argument("out", type=Path, metavar="OUT", help="folder for the graph, its configuration and processor")
    export.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="torch: a torch.export program")
    export.add_argument(
        "--int8",
        nargs="+",
        default=(),
        metavar="FILE",
        help="deeper convolutions in 8 bits, their ranges taken from these media",
    )
    export.add_argument("--model", metavar="DIR_OR_REPO", help="default: the weights that the project ships")
    export.add_argument("--revision", help="of a Hub repository: branch, tag or commit")


def run_export(arguments: argparse.Namespace) -> Path:
    """Exports; returns the file."""
    name = str(arguments.model or shipped_model())
    samples = expand_paths(arguments.int8) if arguments.int8 else ()
    return export_model(name, arguments.out, arguments.format, samples, revision=arguments.revision)


def export_model(name: str, out: Path, file_format: str, samples: Sequence[str] = (), **source: Any) -> Path:
    """Writes a folder with the graph, the configuration and the processor: a detector with backend "onnx".

    Args:
        name: folder or "org/name" of the trained model.
        out: the folder, made if needed.
        file_format: "onnx" or "torch".
        samples: media files with faces and voices. With them the ONNX file computes in 8-bit integers, whose ranges
            are those of the files' windows.
        source: `revision`, `trust_remote_code`.

    Returns:
        The graph's file.

    Raises:
        ValueError: an unknown format, 8 bits elsewhere than in ONNX, samples without a window, or a foreign tower.
        ImportError: without the packages of the extra `export`.
    """
    if file_format not in ("onnx", "torch"):
        raise ValueError(f"format must be 'onnx' or 'torch', but got {file_format!r}")
    if samples and file_format != "onnx":
        raise ValueError(f"8-bit integers are for format 'onnx' only, but format is {file_format!r}")
    model, processor = load_checkpoint(name, **source)
    program = export_program(model)
    out.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(out)
    processor.save_pretrained(out)
    if file_format == "torch":
        torch.export.save(program, out / TORCH_FILE)
        return out / TORCH_FILE
    with tempfile.TemporaryDirectory(dir=out) as folder:  # what failed half-way must not look finished
        unfinished = Path(folder) / ONNX_FILE
        write_onnx(program, unfinished)
        if samples:
            quantize(unfinished, model, processor, samples)
        stamp(unfinished, _weights_of(name, source.get("revision")))
        unfinished.replace(out / ONNX_FILE)
    return out / ONNX_FILE


def _weights_of(name: str, revision: str | None) -> str:
    """Digest of the weights that were loaded, from a folder or from the Hub's cache; empty where they are gone."""
    config = cached_file(name, CONFIG_NAME, revision=revision)
    return "" if config is None else files_digest(Path(config).parent) or ""


def stamp(path: Path, weights: str) -> None:
    """Writes into an ONNX file which weights it was made of: beside others it is not used."""
    import onnx

    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {SOURCE_KEY: weights})
    onnx.save(graph, path)


def export_program(model: Any) -> ExportedProgram:
    """The model's graph, with free batch, time and crops.

    Raises:
        ValueError: for a model on towers other than the built-in ones.
    """
    config = model.config
    for tower in (config.video_config, config.audio_config):
        if tower.model_type not in _BUILT_IN:
            raise ValueError(f"only the built-in towers can be exported, but the model has a {tower.model_type!r}")
    # Two clips: tracing would take a batch of one for fixed.
    example = {key: torch.from_numpy(value) for key, value in filler(config, 2, config.num_frames, crops=3).items()}
    example["video_mask"], example["audio_mask"] = ~example["video_mask"], ~example["audio_mask"]
    batch, time = Dim("batch", max=MAX_STEPS), Dim("time", min=max(config.pooling_top_k, 2), max=MAX_STEPS)
    sound = {0: batch, 1: config.audio_config.mel_frames_per_step * time}
    crops = {0: Dim("crops", max=MAX_STEPS)}
    free = {key: {0: batch, 1: time} for key in example} | {"pixel_values": crops, "input_features": sound}
    answers, attention = WindowAnswers(model.eval().cpu().float()), config._attn_implementation
    config._attn_implementation = "eager"  # the fused one has another memory layout than its parts in ONNX
    try:
        with torch.no_grad():
            return torch.export.export(answers, (), example, dynamic_shapes=free, strict=False)
    finally:
        config._attn_implementation = attention


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Writes the graph as one ONNX file whose outputs have the names of `WindowAnswers`."""
    try:
        import onnxscript  # noqa: F401  torch's exporter stands on it
    except ImportError as error:
        raise missing_extra("onnx or onnxscript", "export") from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    tree = program.call_spec.out_spec
    names = list(tree.unflatten(range(tree.num_leaves)))
    written = torch.onnx.export(program, dynamo=True, verbose=False, output_names=names)
    if written is None:
        raise RuntimeError("torch.onnx.export gave no program")
    written.save(path, external_data=False)


def quantize(path: Path, model: Any, processor: Any, samples: Sequence[str]) -> None:
    """Rewrites an ONNX file so that the deeper convolutions of its picture encoder compute in 8-bit integers.

    Args:
        path: the file.
        model: the model that it was made of.
        processor: its processor.
        samples: media files; the range of each number in the network is what their windows show.

    Raises:
        ValueError: if the network is no deeper than the convolutions that stay exact, or `samples` have no window.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Samples(batches(model, processor, samples)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=deep_convolutions(onnx.load(prepared).graph),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )


def deep_convolutions(graph: Any) -> list[str]:
    """Names of the two-dimensional convolutions that lie behind `EXACT_CONVOLUTIONS` others.

    Args:
        graph: an `onnx.GraphProto`, its nodes in the order of computing.

    Raises:
        ValueError: if there is none.
    """
    weights = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    before: dict[str, int] = {}  # convolutions on the longest way from the inputs to each value
    found = []
    for node in graph.node:
        depth = max((before.get(name, 0) for name in node.input), default=0)
        is_convolution = node.op_type == "Conv"
        if is_convolution and depth >= EXACT_CONVOLUTIONS and weights.get(node.input[1]) == 4:
            found.append(node.name)
        before |= dict.fromkeys(node.output, depth + is_convolution)
    if not found:
        raise ValueError(f"8 bits need a network deeper than {EXACT_CONVOLUTIONS} convolutions, but this one is not")
    return found


class _Samples:
    """What onnxruntime's calibration reads: one batch after the other, then None."""

    def __init__(self, found: Iterator[dict[str, np.ndarray]]) -> None:
        self._found = found

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._found, None)


class _Keeper(Watcher):
    """Keeps the windows of a clip, each with its voice."""

    def __init__(self) -> None:
        self.windows: list[tuple[Window, Voice]] = []

    def on_voice(self, voice: Voice) -> None:
        self._voice = voice

    def on_window(self, window: Window) -> None:
        self.windows.append((window, self._voice))


def batches(model: Any, processor: Any, samples: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """The graph's inputs for the windows of media files, one window at a time.

    Raises:
        ValueError: if no file has a window with a face.
    """
    detector = Detector(model, processor, device="cpu", batch_size=1, calibration=model.config.calibration)
    found = 0
    for path in samples:
        kept = _Keeper()
        result = detector.judge(FileSource(path, detector.limits), kept)
        if not result.scored:
            logger.warning("%s gives no range: %s", path, result.reason)
        for window, voice in kept.windows:
            if window.crops is None:  # of a picture that is not there a range would be learned
                continue
            inputs = detector.scorer.shared_inputs([window], voice)
            found += 1
            yield completed(model.config, {key: value.numpy() for key, value in inputs.items()})
    if not found:
        raise ValueError(f"samples must hold at least one window with a face, but {', '.join(samples)} hold none")
