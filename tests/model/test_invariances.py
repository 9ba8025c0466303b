"""What must not change an answer: padding, company in the batch, the filler of a missing stream, the other stream."""

import pytest
import torch

from .conftest import build_batch, build_model

CLIP = ("logits", "video_logits", "audio_logits", "fusion_weights", "video_embeds", "audio_embeds")
STEP = ("frame_logits", "video_frame_logits", "audio_frame_logits", "sync_logits")


def run(model, **inputs):
    with torch.no_grad():
        return model(**inputs)


def assert_same(first, second, names=CLIP + STEP, rows=slice(None), atol=1e-5):
    for name in names:
        torch.testing.assert_close(first[name][rows], second[name], atol=atol, rtol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("stream", ["video", "audio", "both"])
def test_padding_changes_no_valid_output(tiny_model, batch, stream):
    for name, per_step, kind in (("pixel_values", 1, "video"), ("input_features", 20, "audio")):
        if stream in (kind, "both"):
            batch[f"{kind}_mask"][1, 5:] = False
            batch[name][1, 5 * per_step :] = 0.0
    clean = run(tiny_model, **batch)
    for name, per_step, kind in (("pixel_values", 1, "video"), ("input_features", 20, "audio")):
        if stream in (kind, "both"):
            batch[name][1, 5 * per_step :] = 1e4
    assert_same(run(tiny_model, **batch), clean)


def test_a_padded_clip_answers_as_the_short_clip_alone(tiny_model):
    short, padded = build_batch(clips=1, steps=5), build_batch(clips=1)
    padded["pixel_values"][:, :5], padded["input_features"][:, :100] = short["pixel_values"], short["input_features"]
    padded["video_mask"][:, 5:] = padded["audio_mask"][:, 5:] = False
    alone, long = run(tiny_model, **short), run(tiny_model, **padded)
    assert_same(long, alone, CLIP)
    for name in STEP:
        torch.testing.assert_close(long[name][:, :5], alone[name], atol=1e-5, rtol=0)
        assert long[name][:, 5:].isnan().all(), name


def test_a_batch_equals_its_single_items(tiny_model, batch):
    batch["audio_mask"][0, 3:] = False
    together = run(tiny_model, **batch)
    for row in range(3):
        single = run(tiny_model, **{name: value[row : row + 1] for name, value in batch.items()})
        assert_same(together, single, rows=slice(row, row + 1))


def test_permuting_the_batch_permutes_the_outputs(tiny_model, batch):
    order = torch.tensor([2, 0, 1])
    shuffled = run(tiny_model, **{name: value[order] for name, value in batch.items()})
    assert_same(run(tiny_model, **batch), shuffled, rows=order)


@pytest.mark.parametrize(("missing", "tensor"), [("video", "pixel_values"), ("audio", "input_features")])
@pytest.mark.parametrize("filler", [0.0, 7.0, float("nan")])
def test_a_missing_stream_leaves_the_other_ones_own_answer(tiny_model, batch, missing, tensor, filler):
    present = "audio" if missing == "video" else "video"
    unimodal = run(tiny_model, **batch)
    batch[f"{missing}_mask"][1] = False
    batch[tensor][1] = filler
    output = run(tiny_model, **batch)
    own = unimodal[f"{present}_logits"][1]
    torch.testing.assert_close(output.logits[1], own, atol=1e-5, rtol=0)
    torch.testing.assert_close(output[f"{present}_logits"][1], own, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.frame_logits[1], unimodal[f"{present}_frame_logits"][1], atol=1e-5, rtol=0)
    assert output[f"{missing}_logits"][1].isnan()
    assert output[f"{missing}_frame_logits"][1].isnan().all()
    assert output.sync_logits[1].isnan().all()
    assert output.fusion_weights[1].tolist() == ([0.0, 1.0] if missing == "video" else [1.0, 0.0])
    assert not output[f"{missing}_embeds"][1].any()


@pytest.mark.parametrize(("missing", "tensor"), [("video", "pixel_values"), ("audio", "input_features")])
def test_leaving_a_stream_out_equals_masking_it(tiny_model, batch, missing, tensor):
    masked = {**batch, f"{missing}_mask": torch.zeros(3, 8, dtype=torch.bool)}
    without = {name: value for name, value in batch.items() if name not in (tensor, f"{missing}_mask")}
    assert_same(run(tiny_model, **without), run(tiny_model, **masked))


def test_the_picture_does_not_move_the_voice_and_the_voice_does_not_move_the_picture(tiny_model, batch):
    other = build_batch(seed=9)
    reference = run(tiny_model, **batch)
    voice = run(tiny_model, **{**batch, "input_features": other["input_features"]})
    picture = run(tiny_model, **{**batch, "pixel_values": other["pixel_values"]})
    assert_same(voice, reference, ("video_logits", "video_frame_logits"), atol=0)
    assert_same(picture, reference, ("audio_logits", "audio_frame_logits"), atol=0)
    assert (voice.logits - reference.logits).abs().max() > 1e-3
    assert (picture.logits - reference.logits).abs().max() > 1e-3


def test_shifted_sound_changes_the_sync_score_and_moves_no_mask(tiny_model, batch):
    batch["audio_mask"][:, :2] = False
    reference = run(tiny_model, **batch)
    shifted = run(tiny_model, **{**batch, "input_features": batch["input_features"].roll(40, dims=1)})
    assert (shifted.sync_logits - reference.sync_logits)[:, 2:].abs().max() > 1e-3
    for name in STEP:
        assert torch.equal(shifted[name].isnan(), reference[name].isnan()), name
    assert torch.equal(reference.sync_logits.isnan(), ~batch["audio_mask"])


def test_masks_may_be_integers(tiny_model, batch):
    batch["video_mask"][0, 6:] = False
    numbers = {**batch, "video_mask": batch["video_mask"].long(), "audio_mask": batch["audio_mask"].long()}
    assert_same(run(tiny_model, **numbers), run(tiny_model, **batch), atol=0)


def test_guidance_of_the_fused_map_changes_the_joint_answer_only(batch):
    guided, plain = build_model(), build_model(guided_fusion=False)
    plain.load_state_dict(guided.state_dict(), strict=False)
    first, second = run(guided, **batch), run(plain, **batch)
    assert_same(first, second, ("video_logits", "audio_logits"))
    assert (first.logits - second.logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": None, "input_features": None}, "pixel_values or input_features must be given"),
        ({"video_mask": torch.ones(3, 7)}, r"video_mask must have shape \(B, T\) = \(3, 8\), but got \(3, 7\)"),
        ({"audio_mask": torch.ones(3, 9)}, r"audio_mask must have shape \(B, T\) = \(3, 8\), but got \(3, 9\)"),
        ({"input_features": torch.zeros(3, 140, 80)}, r"input_features must have L = T \* mel_frames_per_step = 8"),
        ({"labels": torch.zeros(2).long()}, "labels must have shape"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tiny_model, batch, change, message):
    with pytest.raises(ValueError, match=message):
        run(tiny_model, **{**batch, **change})


def test_a_clip_without_any_stream_is_refused(tiny_model, batch):
    batch["video_mask"][1] = batch["audio_mask"][1] = False
    with pytest.raises(ValueError, match="some clip has neither"):
        run(tiny_model, **batch)
