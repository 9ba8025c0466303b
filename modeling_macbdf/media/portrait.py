"""Many made-up people out of one public-domain portrait: NASA's photo of Eileen Collins, which scikit-image ships.

A seed changes the shape of the face, skin, hair, clothes, light and background. Coordinates are pixels of a 256 x 256
region of the photo, x to the right and y down, unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .outcomes import missing_extra

try:
    from scipy import ndimage
    from skimage.data import astronaut
except ImportError as error:
    raise missing_extra("scikit-image", "synthetic") from error

SIDE = 256  # the region of the photo that is used, in pixels
_LEFT = 96  # its first column in the photo; its first row is 0
NECK = 192.0  # the y below which nothing of the head moves

Grid = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Where things are in a resting face.

    Attributes:
        eyes (`np.ndarray` of shape `(2, 2)`): Their centres.
        mouth (`np.ndarray` of shape `(2,)`): Halfway between the mouth's corners.
        mouth_half (`float`): From there to a corner.
        sag (`float`): From there down to the upper edge of the lower lip.
        chin (`float`): The y of the chin's lower edge.
    """

    eyes: NDArray[np.float64]
    mouth: NDArray[np.float64]
    mouth_half: float
    sag: float
    chin: float


# The photo's own: the eyes, the mouth's corners, the middle of the lower lip's upper edge, the chin.
_POINTS = np.asarray([[107, 101], [151.5, 103], [107, 140.5], [148, 140.5], [127.5, 149.7], [127.5, 178]])


@dataclass(frozen=True, slots=True)
class Person:
    """One person in front of one background, W x W working pixels.

    Attributes:
        rgba (`np.ndarray` of shape `(4, W, W)`, float32): Colours in [0, 1] times the opacity, and the opacity.
        background (`np.ndarray` of shape `(W, W, 3)`, float32): Colours in [0, 1].
        landmarks (`Landmarks`): In region pixels.
        light (`np.ndarray` of shape `(3,)`): Gain of the light's colours.
        flip (`bool`): Whether the finished picture is mirrored.
    """

    rgba: NDArray[np.float32]
    background: NDArray[np.float32]
    landmarks: Landmarks
    light: NDArray[np.float64]
    flip: bool


def make_person(seed: int, width: int) -> Person:
    """Return the person of a seed at W = `width` working pixels; seed 0 is the photo as it is."""
    rng = np.random.default_rng([seed, 2])
    photo, alpha, backdrop = _matted_photo()
    light = np.ones(3)
    bumps: list[_Bump] = []
    if seed:
        photo = _recolour(rng, photo, alpha)
        photo = _shade(rng, photo)
        light = rng.uniform(0.8, 1.08) * (1 + rng.uniform(-0.04, 0.04, 3))
        bumps = _shape(rng)
        backdrop = _background(rng)
    x, y = region_grid(width)
    dx, dy = _displacement(bumps, x, y)
    layers = [*(photo * light * alpha[..., None]).transpose(2, 0, 1), alpha]
    rgba = np.stack([_sample(layer, x + dx, y + dy) for layer in layers])
    background = np.stack([_sample(layer, x, y) for layer in backdrop.transpose(2, 0, 1)], axis=-1)
    return Person(
        np.clip(rgba, 0, 1), np.clip(background, 0, 1), _moved(bumps), light, bool(seed and rng.random() < 0.5)
    )


def region_grid(width: int) -> Grid:
    """Return x and y in region pixels of the centres of W x W working pixels, each `(W, W)`."""
    axis = ((np.arange(width) + 0.5) * (SIDE / width) - 0.5).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _sample(layer: NDArray[np.floating], x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.float32]:
    return ndimage.map_coordinates(layer.astype(np.float32), [y, x], order=3, mode="nearest")


def smoothstep(value: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between."""
    part = np.clip((value - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


def bell(x: NDArray[np.floating], y: NDArray[np.floating], at: NDArray[np.float64], sx: float, sy: float) -> NDArray:
    """Return a Gaussian bump of height 1 around a point."""
    return np.exp(-0.5 * (((x - at[0]) / sx) ** 2 + ((y - at[1]) / sy) ** 2)).astype(np.float32)


@lru_cache(maxsize=1)
def _matted_photo() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the region `(256, 256, 3)`, the person's opacity `(256, 256)` and the backdrop behind, in [0, 1].

    The backdrop is almost plain: a polynomial through its known parts, and the person is what differs from it.
    """
    photo = astronaut()[:SIDE, _LEFT : _LEFT + SIDE].astype(np.float64) / 255
    y, x = np.mgrid[:SIDE, :SIDE]
    backdrop = _fill_in(photo, _surely_backdrop(x, y))
    difference = np.linalg.norm(photo - backdrop, axis=-1)
    labels, _ = ndimage.label(ndimage.binary_closing(np.pad(difference > 0.15, 4, mode="edge"), iterations=2))
    body = ndimage.binary_fill_holes(labels == labels[-5, SIDE // 2])[4:-4, 4:-4]
    inside = ndimage.binary_erosion(body, iterations=3, border_value=1)
    edge = smoothstep(difference, 0.05, 0.2) * ndimage.gaussian_filter(body.astype(float), 1.0)
    alpha = ndimage.gaussian_filter(np.where(inside, 1.0, edge), 0.6)
    pure = (photo - (1 - alpha[..., None]) * backdrop) / np.maximum(alpha[..., None], 0.25)
    return np.clip(np.where(alpha[..., None] > 0.97, photo, pure), 0, 1), alpha, np.clip(backdrop, 0, 1)


def _surely_backdrop(x: NDArray[np.int_], y: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Return where the photo shows only the backdrop: above, beside the hair and the neck, over the shoulders."""
    above = (y < 12) | ((x < 52) & (y < 138)) | ((x > 212) & (y < 190))
    neck = ((x > 30) & (x < 76) & (y > 134) & (y < 145)) | ((x > 176) & (y > 138) & (y < 176))
    shoulders = ((x < 14) & (y < 190)) | ((x > 197) & (y < 190) & (y > 138)) | ((x > 228) & (y < 218))
    right = (x > 224 + 1.3 * (y - 232)) & (y >= 218)
    return above | neck | shoulders | right


def _fill_in(photo: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Continue the known parts of a smooth picture: a cubic surface, and what it leaves over spread by a wide blur."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], axis=-1)
    surface = terms @ np.linalg.lstsq(terms[known], photo[known], rcond=None)[0]
    rest = np.where(known[..., None], photo - surface, 0)
    weight = ndimage.gaussian_filter(known.astype(float), 14)[..., None]
    return surface + ndimage.gaussian_filter(rest, (14, 14, 0)) / (weight + 0.02)


def _parts(photo: NDArray[np.float64], alpha: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return soft masks `(256, 256)` of skin, hair and clothes."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    face = ((x - 128) / 50) ** 2 + ((y - 130) / 62) ** 2 < 1
    pinkish = (photo[..., 2] > 0.48 * photo[..., 0]) & (photo.mean(axis=-1) > 0.3)  # hair is yellower
    skin = ndimage.binary_opening(face & pinkish & (y > 70), iterations=2)
    skin = ndimage.binary_fill_holes(ndimage.binary_closing(skin, iterations=4))
    clothes = (y > 150) & ~skin & (alpha > 0.5)
    hair = (alpha > 0.3) & ~skin & ~clothes
    return tuple(ndimage.gaussian_filter(part.astype(float), 1.5) for part in (skin, hair, clothes))


_HAIR = ((1.0, 1.0, 1.0), (0.3, 0.29, 0.31), (0.55, 0.45, 0.4), (0.9, 0.6, 0.5), (1.05, 1.1, 1.3), (0.42, 0.36, 0.34))


def _recolour(rng: np.random.Generator, photo: NDArray[np.float64], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    skin, hair, clothes = (part[..., None] for part in _parts(photo, alpha))
    tone = rng.uniform(0.0, 1.0)
    skinny = photo ** (1 + 0.8 * tone) * (1 - tone * np.asarray([0.1, 0.16, 0.2]))
    grey = photo.mean(axis=-1, keepdims=True)
    colour = np.asarray(_HAIR[rng.integers(len(_HAIR))]) * rng.uniform(0.85, 1.15)
    faded = rng.uniform(0.0, 0.7)
    hairy = (photo + faded * (grey - photo)) * colour
    dressed = _turn_hue(photo, rng.uniform(0, 2 * np.pi)) * rng.uniform(0.6, 1.0)
    for mask, changed in ((clothes, dressed), (hair, hairy), (skin, skinny)):
        photo = photo + mask * (changed - photo)
    return np.clip(photo, 0, 1)


def _turn_hue(photo: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Rotate colours around the grey axis."""
    axis = np.full(3, 3**-0.5)
    cross = np.cross(np.eye(3), axis)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    return np.clip(photo @ turn.T, 0, 1)


def _shade(rng: np.random.Generator, photo: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light the head from one side."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    side, top = rng.uniform(-0.3, 0.3), rng.uniform(-0.12, 0.18)
    gain = 1 + side * np.tanh((x - 128) / 45) - top * np.tanh((y - 120) / 60)
    return np.clip(photo * gain[..., None], 0, 1)


@dataclass(frozen=True, slots=True)
class _Bump:
    """A local change of shape: what is within a bell around `at` is scaled and shifted."""

    at: NDArray[np.float64]
    sx: float
    sy: float
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


# Centre, width and height of the bell, and the largest scale (x, y) and shift (x, y, in pixels) of each change.
_Pair = tuple[float, float]
_SHAPES: tuple[tuple[str, _Pair, _Pair, _Pair, _Pair], ...] = (
    ("face", (128, 125), (48, 52), (0.13, 0.08), (0, 0)),
    ("jaw", (128, 160), (32, 20), (0.16, 0.05), (0, 4)),
    ("eye", (107, 101), (11, 9), (0.12, 0.18), (0, 1.5)),
    ("eye", (151.5, 103), (11, 9), (0.12, 0.18), (0, 1.5)),
    ("nose", (127, 124), (9, 13), (0.22, 0.1), (0, 2)),
    ("mouth", (127.5, 145), (20, 10), (0.16, 0.2), (0, 2)),
    ("brow", (105, 91), (13, 4), (0, 0), (0, 1.8)),
    ("brow", (152, 92), (13, 4), (0, 0), (0, 1.8)),
    ("hair", (128, 45), (60, 34), (0.2, 0.25), (0, 6)),
)


def _shape(rng: np.random.Generator) -> list[_Bump]:
    draws = {name: rng.uniform(-1, 1, 4) for name in ("eye", "brow")}  # the two sides of a face are alike
    bumps = []
    for name, at, (sx, sy), scale, shift in _SHAPES:
        draw = draws.get(name, rng.uniform(-1, 1, 4)) + rng.uniform(-0.12, 0.12, 4)  # but not quite
        bumps.append(_Bump(np.asarray(at), sx, sy, np.asarray(scale) * draw[:2], np.asarray(shift) * draw[2:]))
    earnest = rng.uniform(0, 5)  # pixels: corners of the mouth drawn down from the photo's smile
    corners = [_Bump(at, 8, 7, np.zeros(2), np.asarray([0, earnest])) for at in _POINTS[2:4]]
    return bumps + corners


def _displacement(bumps: list[_Bump], x: NDArray[np.floating], y: NDArray[np.floating]) -> Grid:
    """Return where to look in the photo, minus where we are."""
    dx, dy = np.zeros_like(x, dtype=np.float32), np.zeros_like(y, dtype=np.float32)
    for bump in bumps:
        weight = bell(x, y, bump.at, bump.sx, bump.sy)
        dx -= weight * (bump.scale[0] * (x - bump.at[0]) + bump.shift[0])
        dy -= weight * (bump.scale[1] * (y - bump.at[1]) + bump.shift[1])
    return dx, dy


def _moved(bumps: list[_Bump]) -> Landmarks:
    """Return where the photo's landmarks are after the change of shape (fixed-point inverse of the displacement)."""
    moved = _POINTS.copy()
    for _ in range(20):
        moved = _POINTS - np.stack(_displacement(bumps, moved[:, 0], moved[:, 1]), axis=1)
    mouth = moved[2:4].mean(axis=0)
    half = float(moved[3, 0] - moved[2, 0]) / 2
    return Landmarks(moved[:2], mouth, half, float(moved[4, 1] - mouth[1]), float(moved[5, 1]))


def _background(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return an out-of-focus room `(256, 256, 3)`: a wall, some furniture and lights, blurred."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    wall = rng.uniform(0.15, 0.8) * (1 + rng.uniform(-0.12, 0.12, 3))
    room = np.ones((SIDE, SIDE, 3)) * wall
    for _ in range(int(rng.integers(2, 9))):
        colour = np.clip(rng.uniform(0.05, 0.95) * (1 + rng.uniform(-0.18, 0.18, 3)), 0, 1)
        centre, half = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.3, 2)
        room[(np.abs(x - centre[0]) < half[0]) & (np.abs(y - centre[1]) < half[1])] = colour
    blurred = ndimage.gaussian_filter(room, (*[rng.uniform(5, 14)] * 2, 0))
    slope = 1 + rng.uniform(-0.35, 0.35) * (x - 0.5) + rng.uniform(-0.35, 0.35) * (y - 0.5)
    return np.clip(blurred * slope[..., None], 0, 1)
