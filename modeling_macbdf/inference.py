"""A media file in, a verdict out. The command line, the pipeline and the demo all judge through `Detector`.

Picture and model work window by window, so that memory does not grow with the length of the picture.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from .checkpoint import UntrainedModelError, files_digest, load_checkpoint, refuse_gaps
from .media.container import DecodeLimits
from .media.decode import Frame
from .media.faces import CenterFaceDetector, FaceDetector
from .media.noise import level_range_db
from .media.outcomes import MediaError, Status
from .media.probe import MediaInfo
from .media.tracks import TrackOptions
from .onnx_model import ONNX_FILE, exported_from, load_onnx
from .picture import MIN_STEPS, PictureWindows, answer, hop_steps
from .scoring import WINDOWS_AT_ONCE, Voice, WindowAnswers, WindowScorer, heard_windows
from .sources import FileSource, Source, Watcher
from .streaming import LiveJudge
from .timing import Item, Stopwatch
from .verdicts import FileResult, WindowScore, judged_s, masked_voice
from .windows import Window

logger = logging.getLogger(__name__)

_BACKENDS = {"torch": (load_checkpoint, "*.safetensors"), "onnx": (load_onnx, ONNX_FILE)}  # and what they judge by
BACKENDS = ("auto", *_BACKENDS)
_REPOSITORY = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_SHIPPED = ("macb-df-small", "macb-df-tiny")  # the first one that has weights is the default
_COVERED = 0.8  # share of a clip in which a face is seen; below, it is told


def shipped_model() -> Path:
    """The folder of the weights that come with the project.

    Raises:
        ValueError: if there are none.
    """
    package = Path(__file__).resolve().parent
    for root in (package / "hub_configs", package.parent / "hub_configs"):
        for folder in [*(root / name for name in _SHIPPED), *sorted(root.glob("*/"))]:
            if (folder / "model.safetensors").is_file():
                return folder
    raise ValueError("no shipped weights were found beside the package; name a folder or a Hub repository as model")


class Detector:
    """Judges media files with a trained MACB-DF model.

    Args:
        model: a `MACBDFForClassification`, installed or loaded from the Hub, or an `OnnxModel` of one, with a
            calibration in its config.
        processor: its `MACBDFProcessor`.
        model_info: "id" and "revision" for the report; the revision of a folder is the SHA-256 of its weights.
        device: "auto" or a torch device.
        batch_size: windows judged at once.
        max_duration_s: longer files are refused, in seconds.
        faces: another face detector.
        calibration: in place of the config's, for fitting one.

    Raises:
        UntrainedModelError: if there is no calibration, or the checkpoint that the model came from lacks weights.
        ValueError: if an argument is out of range, or PyTorch has no such device here.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        model_info: dict[str, Any] | None = None,
        device: str = "auto",
        batch_size: int = WINDOWS_AT_ONCE,
        max_duration_s: float = 3600.0,
        faces: FaceDetector | None = None,
        calibration: dict[str, Any] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1 window, but it is {batch_size}")
        refuse_gaps(getattr(model, "name_or_path", "the model"), getattr(model, "missing_weights", ()))
        self.calibration = calibration or model.config.calibration
        if not self.calibration:
            raise UntrainedModelError(
                "the model's config has no calibration: it was not trained, and would only guess"
            )
        if "joint" in self.calibration and "video" not in self.calibration:  # both are on one scale
            self.calibration = {**self.calibration, "video": self.calibration["joint"]}
        self.model = model
        if isinstance(model, torch.nn.Module):
            self.model = _moved(model.eval(), _best_device() if device == "auto" else device)
        self.config = model.config
        self.model_info = model_info or {"id": "in memory", "revision": None}
        self.limits = DecodeLimits(max_duration_s=max_duration_s)
        self.faces = faces or CenterFaceDetector()
        # Faces are looked for in every second step, or every fourth while they stay; 5 Hz need no more. Training
        # crops (data/preprocess.py) come from the same tracker with a look in every step.
        self.tracking = TrackOptions(detect_every=2, steady_every=4, max_misses=1)
        judge = WindowAnswers(self.model) if isinstance(model, torch.nn.Module) else model
        self.scorer = WindowScorer(judge, processor, self.calibration, batch_size)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        trust_remote_code: bool = False,
        backend: str = "torch",
        **options: Any,
    ) -> "Detector":
        """Loads a model from a folder or a Hub repository; without a name, the weights that the project ships.

        Args:
            model: folder or "org/name". A name that is no folder is looked up on the Hub.
            revision: branch, tag or commit of the repository.
            trust_remote_code: run the repository's own model code instead of this package's.
            backend: "torch", or "onnx" for a `model.onnx` (`macbdf export`) run by onnxruntime on the CPU; "auto"
                takes the faster one of those that a folder holds, if the graph is of the weights beside it, and
                "torch" for a Hub repository.
            options: as in the constructor.

        Raises:
            UntrainedModelError: if the checkpoint lacks weights or a calibration.
            ValueError: if there is no such backend, or `model` is neither a folder nor could name a repository.
            OSError: if there is no such model, or its weights are damaged.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, but got {backend!r}")
        name = os.fspath(model or shipped_model())
        if not (Path(name).is_dir() or _REPOSITORY.fullmatch(name)):
            raise ValueError(f"model must be a folder or a Hub repository 'org/name', but there is no folder {name!r}")
        source = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
        if backend == "auto":
            backend = _fastest_backend(Path(name), options.get("device", "auto"))
        load, weights = _BACKENDS[backend]
        try:
            loaded, processor = load(name, **source)
        except OSError as error:
            if Path(name).is_dir():
                raise
            raise OSError(f"there is no folder {name!r}, and as a Hub repository it cannot be had: {error}") from error
        if Path(name).is_dir():
            model_info = {"id": Path(name).resolve().name, "revision": files_digest(name, weights)}
        else:
            model_info = {"id": name, "revision": getattr(loaded.config, "_commit_hash", None) or revision}
        return cls(loaded, processor, model_info=model_info, **options)

    def detect(self, path: str | os.PathLike[str]) -> FileResult:
        """Judges one file. What is wrong with a file comes back as a status and a reason, not as an exception."""
        return self.judge(FileSource(os.fspath(path), self.limits))

    def judge(self, source: Source, watcher: Watcher | None = None) -> FileResult:
        """Judges a clip of any source, as `detect` does.

        Args:
            source: the clip.
            watcher: sees what passes through.
        """
        watch = Stopwatch("decode", "faces", "model")
        result = FileResult(path=source.path, status=Status.internal_error, reason="")
        try:
            info = source.info()
            result = replace(result, duration_s=info.duration_s, sha256=source.sha256())
            result = self._judge(source, result, info, watch, watcher or Watcher())
        except MediaError as error:
            result = replace(result, status=error.status, reason=error.reason)
        except Exception as error:  # a fault of ours must not take the batch down: it is counted and named
            result = replace(result, status=Status.internal_error, reason=f"{type(error).__name__}: {error}")
        return replace(result, seconds=watch.result())

    def stream(self, memory_s: float = 600.0, max_wait_s: float = 2.0, audio_codec: str | None = None) -> LiveJudge:
        """Judges a live feed.

        Args:
            memory_s: how far back the running verdict reaches, in seconds.
            max_wait_s: how long a window waits for sound that is late, in seconds.
            audio_codec: in which the sound came, in FFmpeg's words; "opus" hides what tells voices apart.

        Raises:
            ValueError: if the model judges voices only, or an argument is out of range.
        """
        if "video" not in self.calibration:
            raise ValueError("a feed needs a model that judges pictures, but this one is calibrated for voices only")
        picture = PictureWindows(self.config, self.faces, self.tracking, Stopwatch("faces"), Watcher())
        return LiveJudge(self.scorer, picture, self.config, self.calibration, memory_s, max_wait_s, audio_codec)

    def _judge(
        self, source: Source, result: FileResult, info: MediaInfo, watch: Stopwatch, watcher: Watcher
    ) -> FileResult:
        heard: list[str] = []
        notes: list[str] = []
        watcher.on_info(info)
        unseen = self._unseen(info)
        picture = PictureWindows(self.config, self.faces, self.tracking, watch, watcher)
        with ThreadPoolExecutor(1) as ear:
            listening = ear.submit(self._listen, source, info, bool(unseen), heard)
            frames = iter(()) if unseen else source.frames(self.config.frame_rate_hz, notes)
            shown = self._picture(frames, picture, watch, watcher)
            first = list(islice(shown, 1))  # the sound is read while the first window of the picture is made
            with watch.stage("decode"):
                voice = listening.result()
        watcher.on_voice(voice)
        windows = iter(self._sound(source.path, voice, unseen)) if unseen else chain(first, shown)
        scores = []
        for score in self.scorer.score(_each(windows, watcher.on_window), voice, watch):
            scores.append(score)
            watcher.on_score(score)
        if not scores:
            raise self._nothing_judged(picture, voice, source.path)
        heard_there = any(score.only != "video" for score in scores)
        status, reason = _scored_as(unseen, voice, heard_there)
        notes += _chosen_streams(info, not unseen, voice.audio is not None)
        notes += [] if unseen else _not_covered(scores, max(picture.steps, voice.steps) / self.config.frame_rate_hz)
        result = replace(result, warnings=tuple(dict.fromkeys(heard + notes)), status=status, reason=reason)
        codec = info.audio.codec if info.audio else None
        doubts = masked_voice(codec, level_range_db(voice.audio)) if voice.audio and heard_there else []
        return answer(result, scores, picture.seen, self.config, self.calibration, doubts)

    def _nothing_judged(self, picture: PictureWindows, voice: Voice, path: str) -> MediaError:
        """Why a file with a picture gave no window, and what can be judged of it instead."""
        error = picture.seen.nothing_judged(self.config.frame_rate_hz, path)
        if voice.audio is None or voice.steps < MIN_STEPS or "audio" not in self.calibration:
            return error
        return MediaError(error.status, f"{error.reason}; its voice can be judged alone, as a sound file", path)

    def _unseen(self, info: MediaInfo) -> str:
        """Why no picture is judged; empty where one is."""
        if info.video is None:
            return "there is no picture"
        return "" if "video" in self.calibration else "this model judges voices only"

    def _listen(self, source: Source, info: MediaInfo, alone: bool, notes: list[str]) -> Voice:
        rate_hz = self.config.frame_rate_hz
        if info.audio is None:
            return Voice(None, rate_hz, "the file has no audio stream")
        try:
            audio = source.audio(self.config.sampling_rate)
        except MediaError as error:
            # A picture whose sound is damaged is judged on the picture, and the damage is told.
            if alone or error.status not in (Status.no_audio, Status.undecodable):
                raise
            return Voice(None, rate_hz, error.reason)
        if audio is None or audio.is_silent:
            return Voice(None, rate_hz, "the audio track is silent")
        if not alone and "joint" not in self.calibration:
            return Voice(None, rate_hz, "this model is not calibrated for picture and sound together")
        notes += audio.warnings
        return Voice(audio, rate_hz)

    def _picture(
        self, frames: Iterator[Frame], picture: PictureWindows, watch: Stopwatch, watcher: Watcher
    ) -> Iterator[Window]:
        for frame in watch.iterate("decode", frames):
            watcher.on_frame(frame)
            yield from picture.push(frame)
        yield from picture.finish()

    def _sound(self, path: str, voice: Voice, unseen: str) -> list[Window]:
        """Windows without a picture, if the model's voice answer is calibrated to stand alone."""
        if voice.audio is None:
            raise MediaError(Status.no_audio, f"{unseen}, and {voice.reason}", path)
        if "audio" not in self.calibration:
            raise MediaError(Status.no_video, f"{unseen}, and this model does not judge a voice alone", path)
        windows = heard_windows(voice, self.config.num_frames, hop_steps(self.config), MIN_STEPS)
        if not windows:
            needed = MIN_STEPS / self.config.frame_rate_hz
            raise MediaError(
                Status.too_short, f"it holds {voice.audio.duration_s:.2f} s of sound, {needed} s are needed", path
            )
        return windows


def _scored_as(unseen: str, voice: Voice, heard: bool) -> tuple[Status, str]:
    """Status and reason of a file that has a score."""
    if unseen:
        return Status.no_video, f"{unseen}: judged on the voice alone"
    if voice.audio is None:
        return Status.no_audio, f"{voice.reason}: judged on the picture alone"
    if not heard:
        return Status.no_audio, "there is no sound while a face is seen: judged on the picture alone"
    return Status.scored, ""


def _chosen_streams(info: MediaInfo, seen: bool, heard: bool) -> list[str]:
    """Which stream was judged where there are several of a kind."""
    kinds = (("video", info.video_streams, info.video, seen), ("audio", info.audio_streams, info.audio, heard))
    return [
        f"it has {count} {kind} streams: number {stream.index} of the file, counted from 0, was judged"
        for kind, count, stream, judged in kinds
        if count > 1 and stream is not None and judged
    ]


def _not_covered(scores: Sequence[WindowScore], whole_s: float) -> list[str]:
    """How much of a clip with a picture was judged, where that is clearly less than all."""
    covered_s = judged_s(scores)
    if covered_s >= _COVERED * whole_s:
        return []
    return [f"a face is seen for {covered_s:.1f} of {whole_s:.1f} s; the rest was not judged"]


def _fastest_backend(folder: Path, device: str) -> str:
    """ONNX where a folder holds a graph of its weights and the model would work on the CPU, or a graph alone."""
    if not (folder / ONNX_FILE).is_file():
        return "torch"
    weights = files_digest(folder)
    if weights is None:
        return "onnx"
    if (_best_device() if device == "auto" else device) != "cpu":
        return "torch"
    if exported_from(folder / ONNX_FILE) == weights:
        return "onnx"
    words = (
        "%s is left unused: it does not say that it was made of the weights beside it (macbdf export makes it anew)"
    )
    logger.warning(words, folder / ONNX_FILE)
    return "torch"


def _moved(model: torch.nn.Module, device: str) -> torch.nn.Module:
    try:
        return model.to(device)
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError) as error:  # this build has no such device, or there is no such name
        words = str(error).split("\n")[0]
        raise ValueError(f"device must be one that PyTorch has here, but {device!r} is not: {words}") from error


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _each(items: Iterable[Item], look: Callable[[Item], None]) -> Iterator[Item]:
    """The items, each after a look at it."""
    for item in items:
        look(item)
        yield item
