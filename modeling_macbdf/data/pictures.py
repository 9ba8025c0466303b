"""Fast operations on a stack of face crops: PIL and numpy, on one core.

Frames are (T, S, S, 3) uint8. Many operations view the stack as one tall picture of T*S rows: one call of PIL
instead of T. A filter then mixes a few rows at the seam of two frames; callers that blur or resize use `per_frame`
where that would show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .clips import CANONICAL_LANDMARKS

MASK_SHRINK = 4  # masks are drawn and blurred at a quarter of the size: they are smooth
DOWN_FILTERS = (
    Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS,
    Image.Resampling.BOX, Image.Resampling.HAMMING,
)  # fmt: skip
UP_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.NEAREST)
Rng = np.random.Generator


def tall(frames: np.ndarray) -> Image.Image:
    """(T, S, S, 3) as one picture of T*S rows."""
    return Image.fromarray(np.ascontiguousarray(frames).reshape(-1, *frames.shape[2:]))


def untall(image: Image.Image, like: np.ndarray) -> np.ndarray:
    """The picture of `tall` back as frames shaped like `like`."""
    return np.array(image).reshape(like.shape)


def per_frame(frames: np.ndarray, change: Callable[[int, Image.Image], Image.Image]) -> np.ndarray:
    """Frames changed one by one."""
    return np.stack([np.asarray(change(t, Image.fromarray(frame))) for t, frame in enumerate(frames)])


def usable_landmarks(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(T, 5, 2) px; steps where a point is unknown or far outside take the canonical face of the crop."""
    bad = ~np.isfinite(landmarks).all(axis=(1, 2))
    bad |= (np.abs(np.nan_to_num(landmarks) - size / 2) > size).any(axis=(1, 2))
    flat = np.abs(np.nan_to_num(landmarks[:, 3:].mean(axis=1) - landmarks[:, :2].mean(axis=1))).max(axis=1) < size / 16
    return np.where((bad | flat)[:, None, None], CANONICAL_LANDMARKS * size, landmarks).astype(np.float32)


def smooth_noise(rng: Rng, steps: int, width: int, scale: float, memory: float = 0.8) -> np.ndarray:
    """(steps, width) drift of standard deviation `scale`: a first-order autoregression."""
    noise = rng.standard_normal((steps, width)) * scale
    for t in range(1, steps):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return noise


def jitter_colour(frames: np.ndarray, rng: Rng, strength: float = 1.0) -> np.ndarray:
    """Brightness, contrast, gamma, white balance and saturation, the same for the whole stack."""
    levels = np.linspace(0, 1, 256)
    gain, lift = 1 + strength * rng.uniform(-0.15, 0.15), strength * rng.uniform(-0.06, 0.06)
    curve = (levels ** np.exp(strength * rng.uniform(-0.15, 0.15)) - 0.5) * gain + 0.5 + lift
    tables = [(curve + strength * shift).clip(0, 1) * 255 for shift in rng.uniform(-0.04, 0.04, 3)]
    image = tall(frames).point(np.concatenate(tables).round().astype(np.uint8).tolist())
    if rng.random() < 0.5:
        grey = image.convert("L").convert("RGB")
        image = Image.blend(grey, image, 1 + strength * rng.uniform(-0.3, 0.3))
    return untall(image, frames)


def down_up(frames: np.ndarray, factor: float, down: Image.Resampling, up: Image.Resampling) -> np.ndarray:
    """Frames shrunk to `factor` of their side and enlarged again."""
    height, width = frames.shape[1:3]
    small = (max(8, round(width * factor)), max(8, round(height * factor)))
    return per_frame(frames, lambda _, im: im.resize(small, down).resize((width, height), up))


def random_down_up(frames: np.ndarray, rng: Rng, low: float, high: float) -> np.ndarray:
    """`down_up` with a random factor and random filters."""
    down, up = DOWN_FILTERS[rng.integers(len(DOWN_FILTERS))], UP_FILTERS[rng.integers(len(UP_FILTERS) - 1)]
    return down_up(frames, rng.uniform(low, high), down, up)


def sharpen(frames: np.ndarray, amount: float, radius: float = 1.0) -> np.ndarray:
    """Detail finer than `radius` px raised by `amount` (0.5 = half as much again)."""
    image = tall(frames)
    return untall(Image.blend(image.filter(ImageFilter.BoxBlur(radius)), image, 1 + amount), frames)


def luma(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 brightness."""
    return np.array(tall(frames).convert("L")).reshape(frames.shape[:3])


def with_luma(frames: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Frames whose brightness goes from `old` to `new`; the colour differences stay."""
    change = np.rint(new - old.astype(np.float32)).astype(np.int16)
    return np.clip(frames + change[..., None], 0, 255).astype(np.uint8)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) similarity that takes the points `source` (K, 2) to `target` (K, 2), least squares."""
    mean_s, mean_t = source.mean(axis=0), target.mean(axis=0)
    s, t = (source - mean_s) @ (1, 1j), (target - mean_t) @ (1, 1j)
    turn = np.vdot(s, t) / max(float(np.vdot(s, s).real), 1e-6)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.concatenate([linear, (mean_t - linear @ mean_s)[:, None]], axis=1)


def affine_warp(frames: np.ndarray, matrices: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Frame t resampled so that its pixel p shows what was at matrices[t] (2, 3) applied to p.

    Args:
        frames: (T, H, W, 3) uint8.
        matrices: (T, 2, 3), output px to input px.
        size: width and height of the output in px; default that of the input.
    """

    def warp(t: int, image: Image.Image) -> Image.Image:
        data = matrices[t].ravel().tolist()
        return image.transform(size or image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)

    return per_frame(frames, warp)


def similarity_matrices(angle: np.ndarray, scale: np.ndarray, shift: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(T, 2, 3) turns by `angle` (T,) rad and scalings by `scale` (T,) about `centre` (2,), then shifts (T, 2) px."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    return np.concatenate([linear, (centre - linear @ centre + shift)[..., None]], axis=-1)


def small_affine(rng: Rng, steps: int, height: int, width: int, strength: float = 1.0) -> np.ndarray:
    """(steps, 2, 3) turns, scalings and shifts about the centre that drift a little over time."""
    base = rng.normal(0, strength, 4) * (0.03, 0.02, 0.014 * width, 0.014 * height)
    angle, scale, *shift = (base + smooth_noise(rng, steps, 4, 0.2) * np.abs(base)).T
    return similarity_matrices(angle, 1 + scale, np.stack(shift, axis=1), np.array([width, height]) / 2)


def mesh_ticks(length: int, cells: int) -> np.ndarray:
    """(cells+1,) px at which a side of the picture is cut into cells."""
    return np.linspace(0, length, cells + 1).round().astype(int)


def mesh_warp(image: Image.Image, moves: np.ndarray) -> Image.Image:
    """A picture pulled by a (G+1, G+1, 2) grid of displacements (x, y) in px: output p shows input p + move."""
    cells = len(moves) - 1
    xs, ys = mesh_ticks(image.size[0], cells), mesh_ticks(image.size[1], cells)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1) + moves
    # PIL wants the source corners in the order upper left, lower left, lower right, upper right.
    corners = np.concatenate([grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]], axis=-1)
    boxes = [(int(xs[x]), int(ys[y]), int(xs[x + 1]), int(ys[y + 1])) for y in range(cells) for x in range(cells)]
    pieces = list(zip(boxes, map(tuple, corners.reshape(-1, 8).tolist()), strict=True))
    return image.transform(image.size, Image.Transform.MESH, pieces, Image.Resampling.BILINEAR)


def elastic_grid(rng: Rng, cells: int, scale: float) -> np.ndarray:
    """(cells+1, cells+1, 2) random displacements in px that are zero on the border."""
    moves = np.zeros((cells + 1, cells + 1, 2))
    moves[1:-1, 1:-1] = rng.normal(0, scale, (cells - 1, cells - 1, 2))
    return moves


def outline_masks(outlines: Sequence[np.ndarray], size: int, blur_px: float, alpha: float = 1.0) -> np.ndarray:
    """(T, size, size) uint8 masks with one soft filled polygon a step, zero at the border of the crop.

    Args:
        outlines: T polygons (K, 2) in px of the crop.
        size: side of the crop in px.
        blur_px: width of the soft edge.
        alpha: weight inside, in (0, 1].
    """
    small = size // MASK_SHRINK
    window = border_window(small, margin=2)
    images = []
    for outline in outlines:
        mask = Image.new("L", (small, small), 0)
        points = [(float(x), float(y)) for x, y in outline / MASK_SHRINK]
        ImageDraw.Draw(mask).polygon(points, fill=round(255 * alpha))
        soft = ImageChops.multiply(mask.filter(ImageFilter.GaussianBlur(max(0.4, blur_px / MASK_SHRINK))), window)
        images.append(np.asarray(soft.resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(images)


@lru_cache(maxsize=4)
def border_window(size: int, margin: int) -> Image.Image:
    """(size, size) grey picture, 255 inside, falling to 0 over `margin` px at the border: no edge becomes a cue."""
    ramp = np.minimum(np.arange(size), np.arange(size)[::-1]).clip(0, margin) / margin
    return Image.fromarray((np.minimum.outer(ramp, ramp) * 255).astype(np.uint8))


def blend(inside: np.ndarray, outside: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`inside` where the mask (T, H, W) uint8 is 255, `outside` where it is 0."""
    grey = Image.fromarray(np.ascontiguousarray(mask).reshape(-1, mask.shape[2]))
    return untall(Image.composite(tall(inside), tall(outside), grey), outside)


def mask_box(mask: np.ndarray, margin: int = 4) -> tuple[slice, slice]:
    """Rows and columns outside which the masks (T, S, S) are zero at every step, with a margin in px."""
    touched = mask.max(axis=0) > 0
    if not touched.any():
        return slice(0, len(touched)), slice(0, len(touched))
    parts = []
    for axis in (1, 0):
        hit = np.flatnonzero(touched.any(axis=axis))
        parts.append(slice(max(0, int(hit[0]) - margin), min(len(touched), int(hit[-1]) + 1 + margin)))
    return parts[0], parts[1]


def change_inside(frames: np.ndarray, mask: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Frames with `change` blended in by the mask; only the mask's box is computed."""
    rows, columns = mask_box(mask)
    part = frames[:, rows, columns]
    out = frames.copy()
    out[:, rows, columns] = blend(change(part), part, mask[:, rows, columns])
    return out
