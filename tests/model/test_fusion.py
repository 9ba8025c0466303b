"""Large-kernel attention and the two fusion blocks: spans, masks, guides and weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_macbdf.fusion_macbdf import (
    LOCAL_KERNEL,
    MFTLKA,
    MSTLKA,
    LargeKernelAttention,
    fit_kernel,
    group_sizes,
    group_spans,
)
from modeling_macbdf.heads_macbdf import masked_top_mean, shifted

from .conftest import build_config


@settings(max_examples=200, deadline=None)
@given(kernel=st.integers(0, 15).map(lambda half: 2 * half + 1), span=st.integers(1, 64))
def test_a_kernel_never_sees_more_than_its_span(kernel, span):
    fitted, dilation = fit_kernel(kernel, span)
    assert fitted % 2 == 1
    assert fitted <= kernel
    assert fitted == 1 or LOCAL_KERNEL + dilation * (fitted - 1) <= span


@settings(max_examples=100, deadline=None)
@given(width=st.integers(1, 400), groups=st.integers(1, 6))
def test_the_groups_share_all_channels(width, groups):
    sizes = group_sizes(max(width, groups), groups)
    assert sum(sizes) == max(width, groups)
    assert min(sizes) > 0


def test_the_groups_see_different_spans_up_to_the_clip():
    assert group_spans(16, 3) == [7, 11, 16]
    config = build_config(num_frames=16, hidden_size=48)
    gates = LargeKernelAttention(config).gates
    reach = [LOCAL_KERNEL + gate.dilation[0] * (gate.kernel_size[0] - 1) for gate in gates]
    assert reach == [7, 11, 15]


@pytest.fixture(scope="module")
def blocks():
    torch.manual_seed(0)
    config = build_config(layer_scale_init=1.0)
    config._attn_implementation = "sdpa"
    return MSTLKA(config, guided=True).eval(), MFTLKA(config).eval()


def test_padded_steps_change_no_valid_step_of_a_stream(blocks):
    stream, _ = blocks
    mask = torch.tensor([[True] * 5 + [False] * 3])
    first = torch.randn(1, 8, 32)
    second = torch.where(mask.unsqueeze(-1), first, torch.randn(1, 8, 32) * 100)
    with torch.no_grad():
        a, b = stream(first, mask), stream(second, mask)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    assert not a[:, 5:].any()


def test_a_guide_of_half_the_rows_touches_that_half_only(blocks):
    stream, _ = blocks
    hidden, guide = torch.randn(4, 8, 32), torch.randn(2, 8, 32)
    mask = torch.ones(4, 8, dtype=torch.bool)
    with torch.no_grad():
        alone, half = stream(hidden, mask), stream(hidden, mask, guide)
        guided = stream(hidden[2:], mask[2:], guide)
    torch.testing.assert_close(half[:2], alone[:2], atol=1e-6, rtol=0)
    torch.testing.assert_close(half[2:], guided, atol=1e-5, rtol=0)
    assert (half[2:] - alone[2:]).abs().max() > 1e-2


@pytest.mark.parametrize(("weights", "silent"), [([1.0, 0.0], "audio"), ([0.0, 1.0], "video")])
def test_a_weight_of_zero_silences_a_stream(blocks, weights, silent):
    _, fusion = blocks
    fused, video, audio, other = torch.randn(4, 1, 8, 32)
    mask, shares = torch.ones(1, 8, dtype=torch.bool), torch.tensor([weights])
    changed = (video, other) if silent == "audio" else (other, audio)
    with torch.no_grad():
        first = fusion(fused, video, audio, shares, mask, mask)[0]
        second = fusion(fused, *changed, shares, mask, mask)[0]
    torch.testing.assert_close(first, second)


def test_the_weight_of_a_stream_moves_the_fused_map(blocks):
    _, fusion = blocks
    fused, video, audio = torch.randn(3, 1, 8, 32)
    mask = torch.ones(1, 8, dtype=torch.bool)
    with torch.no_grad():
        even = fusion(fused, video, audio, torch.tensor([[0.5, 0.5]]), mask, mask)[0]
        uneven = fusion(fused, video, audio, torch.tensor([[0.9, 0.1]]), mask, mask)[0]
    assert (even - uneven).abs().max() > 1e-2


def test_a_clip_longer_than_in_training_runs(blocks):
    stream, _ = blocks
    with torch.no_grad():
        output = stream(torch.randn(1, 40, 32), torch.ones(1, 40, dtype=torch.bool))
    assert output.shape == (1, 40, 32)
    assert output.isfinite().all()


def test_the_clip_logit_takes_the_highest_valid_steps():
    values = torch.tensor([[1.0, 5.0, 3.0, 9.0], [2.0, 4.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    assert masked_top_mean(values, mask, 2).tolist() == [4.0, 2.0]
    assert masked_top_mean(values, ~mask & mask, 2).tolist() == [0.0, 0.0]
    assert masked_top_mean(values, mask, 99).tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("lag", "expected"), [(0, [1, 2, 3]), (1, [2, 3, 0]), (-1, [0, 1, 2]), (5, [0, 0, 0])])
def test_a_shift_reads_later_steps(lag, expected):
    assert shifted(torch.tensor([[[1.0], [2.0], [3.0]]]), lag).flatten().tolist() == expected
