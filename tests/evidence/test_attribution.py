"""Heat maps point to where the answer comes from: on a model whose answer is known to come from one place."""

from types import SimpleNamespace

import pytest
import torch

from modeling_macbdf.evidence.attribution import (
    blurred_picture,
    blurred_sound,
    deletion_drop,
    integrated_gradients,
    picture_cells,
)

ROWS, COLUMNS = slice(32, 64), slice(64, 96)  # where the model looks: cells of 16 pixels, 2 x 2 of 6 x 6


def looks_at_one_place(pixel_values, **_):
    """Answers by the fine texture of one part of the picture."""
    rough = (pixel_values - blurred_picture(pixel_values))[..., ROWS, COLUMNS]
    return SimpleNamespace(video_logits=rough.square().mean(dim=(1, 2, 3, 4)))


@pytest.fixture(scope="module")
def explained():
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, 3, 96, 96)  # rough everywhere: only the model knows where it matters
    baseline = blurred_picture(pixels)
    inputs = {"pixel_values": pixels}
    attribution = integrated_gradients(looks_at_one_place, inputs, "pixel_values", "video_logits", baseline)
    return inputs, baseline, attribution


def test_heat_lies_where_the_model_looks(explained):
    cells = picture_cells(explained[2]).clamp(min=0)
    assert cells.shape == (2, 3, 6, 6)
    assert cells[..., 2:4, 4:6].sum() > 0.9 * cells.sum()


def test_attributions_sum_to_the_difference_of_the_answers(explained):
    inputs, baseline, attribution = explained
    answers = [looks_at_one_place(pixels).video_logits for pixels in (inputs["pixel_values"], baseline)]
    torch.testing.assert_close(attribution.flatten(1).sum(dim=1), answers[0] - answers[1], rtol=0.02, atol=1e-3)


def test_deleting_the_hottest_cells_beats_deleting_random_ones(explained):
    inputs, baseline, attribution = explained
    cells = picture_cells(attribution)
    generator = torch.Generator().manual_seed(1)
    drops = [
        deletion_drop(looks_at_one_place, inputs, order, "video_logits", baseline, share=0.11)
        for order in (cells, *(torch.rand(cells.shape, generator=generator) for _ in range(8)))
    ]
    assert bool((drops[0] > 2 * torch.stack(drops[1:]).mean(dim=0)).all())


def test_cells_hold_the_whole_attribution():
    attribution = torch.randn(1, 2, 3, 32, 48)
    assert picture_cells(attribution).shape == (1, 2, 2, 3)
    assert picture_cells(attribution).sum() == pytest.approx(float(attribution.sum()), abs=1e-3)


def test_blurred_sound_keeps_the_shape_and_loses_the_detail():
    features = torch.randn(1, 320, 80)
    smooth = blurred_sound(features)
    assert smooth.shape == features.shape
    assert smooth.std() < 0.2 * features.std()
