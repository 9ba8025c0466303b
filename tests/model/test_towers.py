"""Pretrained towers in the place of the built-in encoders, here tiny and random."""

import pytest
import torch
from transformers import (
    ASTConfig,
    AutoModel,
    ConvNextV2Config,
    HubertConfig,
    SwinConfig,
    TimesformerConfig,
    VideoMAEConfig,
    ViTConfig,
    Wav2Vec2Config,
    WhisperConfig,
)

from modeling_macbdf import MACBDFForClassification
from modeling_macbdf.towers_macbdf import AudioTower, FrameTower, VideoTower, to_steps

from .conftest import STEPS, build_batch, build_config

BODY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
EARS = {
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 8, 4],
    "conv_stride": [5, 8, 4],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
VIDEO = {
    "vit": lambda: ViTConfig(image_size=32, patch_size=8, **BODY),
    "convnextv2": lambda: ConvNextV2Config(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]),
    "swin": lambda: SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1] * 3, num_heads=[2] * 3, window_size=4
    ),
    "videomae": lambda: VideoMAEConfig(image_size=32, patch_size=8, num_frames=STEPS, **BODY),
    "timesformer": lambda: TimesformerConfig(image_size=32, patch_size=8, num_frames=STEPS, **BODY),
}
AUDIO = {
    "ast": lambda: ASTConfig(max_length=20 * STEPS, num_mel_bins=80, **BODY),
    "wav2vec2": lambda: Wav2Vec2Config(**EARS, **BODY),
    "hubert": lambda: HubertConfig(**EARS, **BODY),
    "whisper": lambda: WhisperConfig(
        d_model=16,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        max_source_positions=12 * STEPS,
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    ),
}
PAIRS = [
    ("vit", "ast"),
    ("convnextv2", "whisper"),
    ("swin", "hubert"),
    ("videomae", "wav2vec2"),
    ("timesformer", "ast"),
]


def tower_batch(audio: str) -> dict[str, torch.Tensor]:
    batch = build_batch(clips=2)
    if audio in ("wav2vec2", "hubert"):
        batch["input_features"] = torch.randn(2, STEPS * 3200)
    return batch


@pytest.mark.parametrize(("video", "audio"), PAIRS)
def test_a_detector_on_any_two_towers_trains_and_saves(video, audio, tmp_path):
    torch.manual_seed(0)
    config = build_config(video_config=VIDEO[video]().to_dict(), audio_config=AUDIO[audio]())
    model, batch = MACBDFForClassification(config), tower_batch(audio)
    model.train()(**batch, labels=torch.tensor([0, 1])).loss.backward()
    for tower in (model.video_encoder, model.audio_encoder):
        assert sum(float(p.grad.abs().sum()) for p in tower.parameters() if p.grad is not None) > 0
    model.eval().save_pretrained(tmp_path)
    loaded = MACBDFForClassification.from_pretrained(tmp_path)
    assert type(loaded.config.video_config) is type(VIDEO[video]())
    assert type(loaded.config.audio_config) is type(AUDIO[audio]())
    with torch.no_grad():
        first, second = model(**batch), loaded(**batch)
    assert first.frame_logits.shape == (2, STEPS)
    assert torch.equal(first.logits, second.logits)


@pytest.mark.parametrize(("video", "audio"), [("vit", "wav2vec2"), ("videomae", "ast"), ("convnextv2", "whisper")])
def test_from_pretrained_carries_the_weights_of_both_towers(video, audio, tmp_path):
    towers = {}
    for kind, config in (("video", VIDEO[video]()), ("audio", AUDIO[audio]())):
        towers[kind] = AutoModel.from_config(config)
        towers[kind].save_pretrained(tmp_path / kind)
    model = MACBDFForClassification.from_video_audio_pretrained(
        tmp_path / "video", tmp_path / "audio", hidden_size=32, projection_size=16, num_frames=STEPS
    )
    assert not model.training
    for kind, encoder in (("video", model.video_encoder), ("audio", model.audio_encoder)):
        source = towers[kind].get_encoder() if towers[kind].config.is_encoder_decoder else towers[kind]
        state = encoder.tower.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in source.state_dict().items())
    with torch.no_grad():
        assert model(**tower_batch(audio)).logits.isfinite().all()


def test_towers_saved_in_half_precision_compute_as_the_detector_does(tmp_path):
    """They kept their dtypes, and the first forward ended in "mat1 and mat2 must have the same dtype"."""
    for kind, config, dtype in (("v", VIDEO["vit"](), torch.bfloat16), ("a", AUDIO["ast"](), torch.float16)):
        AutoModel.from_config(config).to(dtype).save_pretrained(tmp_path / kind)
    model = MACBDFForClassification.from_video_audio_pretrained(
        tmp_path / "v", tmp_path / "a", hidden_size=32, projection_size=16, num_frames=STEPS
    )
    model.save_pretrained(tmp_path / "both")
    again = AutoModel.from_pretrained(tmp_path / "both")
    for detector in (model, again, MACBDFForClassification(model.config)):
        assert {parameter.dtype for parameter in detector.parameters()} == {torch.float32}
    with torch.no_grad():
        assert torch.equal(model(**tower_batch("ast")).logits, again(**tower_batch("ast")).logits)
    half = AutoModel.from_pretrained(tmp_path / "both", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_a_missing_stream_never_depends_on_its_filler():
    config = build_config(video_config=VIDEO["videomae"](), audio_config=AUDIO["wav2vec2"]())
    model, batch = MACBDFForClassification(config).eval(), tower_batch("wav2vec2")
    batch["audio_mask"][0], batch["video_mask"][1] = False, False
    with torch.no_grad():
        first = model(**batch).logits
        batch["input_features"][0], batch["pixel_values"][1] = float("nan"), float("nan")
        assert torch.equal(model(**batch).logits, first)


@pytest.mark.parametrize("name", ["videomae", "timesformer"])
def test_the_time_axis_of_a_video_tower_is_found(name):
    """One family lays its tokens time first, the other space first."""
    tower = VideoTower(build_config(video_config=VIDEO[name]()))
    times = STEPS // tower.tubelet
    grid = torch.arange(times).float()[:, None].expand(times, 16)  # (time, positions)
    laid = grid.T if name == "timesformer" else grid
    special = torch.full((1 if name == "timesformer" else 0,), -1.0)
    state = torch.cat([special, laid.flatten()]).view(1, -1, 1).expand(-1, -1, 16)
    found = tower._by_time(state)[0, :, :, 0]
    assert torch.equal(found, grid)


def test_the_time_axis_of_a_spectrogram_tower_is_found_and_its_padding_dropped():
    tower = AudioTower(build_config(audio_config=ASTConfig(max_length=320, num_mel_bins=80, **BODY)))
    bands, times = 7, 31
    grid = torch.arange(times).float().expand(bands, times)
    state = torch.cat([torch.full((2,), -1.0), grid.flatten()]).view(1, -1, 1).expand(-1, -1, 16)
    found = tower._by_time(state, length=160)[0, :, :, 0]
    assert torch.equal(found, torch.arange(16).float()[:, None].expand(16, bands))


def test_crops_are_brought_to_the_side_of_the_tower():
    tower = FrameTower(build_config(video_config=ViTConfig(image_size=16, patch_size=8, **BODY))).eval()
    with torch.no_grad():
        assert tower(torch.randn(1, 2, 3, 32, 32))[0].shape == (1, 2, 32)


def test_too_many_scales_for_a_tower_are_refused():
    shallow = ViTConfig(image_size=32, patch_size=8, **{**BODY, "num_hidden_layers": 2})
    model = MACBDFForClassification(build_config(video_config=shallow)).eval()
    with pytest.raises(ValueError, match=r"num_scales=3 must not exceed the layers of the tower, but it has 2"):
        model(**build_batch())


def test_sound_longer_than_the_tower_takes_is_refused():
    model = MACBDFForClassification(build_config(audio_config=AUDIO["ast"]())).eval()
    with pytest.raises(ValueError, match="input_features must have at most 160 frames, but got 180"):
        model(**build_batch(steps=9))


def test_tokens_are_averaged_onto_fewer_and_repeated_onto_more_steps():
    tokens = torch.arange(4.0).view(1, 4, 1)
    assert to_steps(tokens, 2).flatten().tolist() == [0.5, 2.5]
    assert to_steps(tokens, 8).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
