"""The configuration: what it refuses, and what comes back from a file."""

import pytest
from transformers import AutoConfig, ViTConfig

from modeling_macbdf import MACBDFAudioConfig, MACBDFConfig, MACBDFForClassification, MACBDFVideoConfig

from .conftest import build_config

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 130}, "hidden_size must be a multiple of num_attention_heads=4, but got 130"),
        ({"num_scales": 5}, "num_scales=5 must not exceed the stages of video_config"),
        ({"num_scales": 0}, "num_scales must be at least 1, but got 0"),
        ({"kernel_sizes": [4]}, r"kernel_sizes must be odd, but got \[4\]"),
        ({"frame_rate_hz": 7.0}, "sampling_rate must be a positive multiple of frame_rate_hz=7.0, but got 16000"),
        ({"temperature_value": 0.9}, r"temperature_value must lie in .* but got 0.9"),
        ({"weight_floor": 0.5}, r"weight_floor must be in \[0, 0.5\), but got 0.5"),
        ({"cluster_corruption": 1.5}, "cluster_corruption must be in .* but got 1.5"),
        ({"prototype_momentum": 1.0}, "prototype_momentum must be in .* but got 1.0"),
        ({"frame_loss_weight": -1}, "frame_loss_weight must be finite and not negative, but got -1"),
        ({"sync_loss_weight": INF}, "sync_loss_weight must be finite and not negative, but got inf"),
        ({"pos_weight": 0}, "pos_weight must be positive and finite, but got 0"),
        ({"pos_weight": INF}, "pos_weight must be positive and finite, but got inf"),
        ({"mlp_ratio": 0}, "mlp_ratio must leave a width of 1 at least of hidden_size, but got 0"),
        ({"projection_size": 0}, "projection_size must be at least 1, but got 0"),
        ({"layer_norm_eps": -1.0}, "layer_norm_eps must be positive and finite, but got -1.0"),
        ({"layer_scale_init": NAN}, "layer_scale_init must be finite, but got nan"),
        ({"prototype_warmup": -5}, "prototype_warmup must not be negative, but got -5"),
        ({"sync_max_lag": -1}, "sync_max_lag must not be negative, but got -1"),
        ({"temperature_max": INF}, "temperature_value must lie in"),
        ({"temperature_min": 0.0}, "temperature_value must lie in"),
        (
            {"temperature_min": 0.07, "temperature_max": 0.07},
            "temperature_max must exceed temperature_min=0.07 unless temperature_mode is 'fixed', but got 0.07",
        ),
        ({"dropout": 1.0}, "dropout must be in .* but got 1.0"),
        ({"pooling_top_k": 0}, "pooling_top_k must be at least 1, but got 0"),
        ({"calibration": {"joint": [-1.0, 0.0]}}, r"calibration\['joint'\] must be \[scale > 0, bias\]"),
        ({"calibration": {"video": [1.0, NAN]}}, r"calibration\['video'\] must be .* finite, but got \[1.0, nan\]"),
        ({"calibration": {"audio": [INF, 0.0]}}, r"calibration\['audio'\] must be .* finite, but got \[inf, 0.0\]"),
        ({"calibration": {"real_below": 0.8, "fake_above": 0.2}}, "calibration must have 0 <= real_below"),
        ({"separate_objectives": ["video"]}, r"separate_objectives must be different ones of .* but got \['video'\]"),
        ({"separate_objectives": ["contrastive"] * 2}, "separate_objectives must be different ones of"),
        ({"separate_objectives": ["sync"]}, "separate_objectives must be different ones of the model's terms"),
        ({"temperature_mode": "sometimes"}, "temperature_mode"),
        ({"fusion_weights": "learned"}, "fusion_weights"),
        ({"num_frames": "16"}, "num_frames"),
        ({"guided_fusion": 1}, "guided_fusion"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields, message):
    with pytest.raises(Exception, match=message) as caught:
        MACBDFConfig(**fields)
    assert isinstance(caught.value, ValueError | TypeError) or "Strict" in type(caught.value).__name__


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MACBDFVideoConfig(stem_size=0), "stem_size must be at least 1, but got 0"),
        (lambda: MACBDFVideoConfig(depths=[1, 1]), "depths and hidden_sizes must have one entry per stage"),
        (
            lambda: MACBDFVideoConfig(hidden_sizes=[20, 64, 128, 256]),
            "hidden_sizes must be positive multiples of norm",
        ),
        (lambda: MACBDFVideoConfig(image_size=30), "image_size must be a multiple of 4 and at least 32, but got 30"),
        (lambda: MACBDFVideoConfig(num_channels=1), r"num_channels must be 3 \(RGB\), but got 1"),
        (lambda: MACBDFVideoConfig(high_pass_limit=0.0), "high_pass_limit must be positive and finite, but got 0.0"),
        (lambda: MACBDFAudioConfig(mel_frames_per_step=18), "mel_frames_per_step must be a positive multiple of 4"),
        (lambda: MACBDFAudioConfig(num_mel_bins=16), "num_mel_bins must be at least 32, but got 16"),
    ],
)
def test_a_wrong_tower_is_refused_by_name(build, message):
    with pytest.raises(Exception, match=message):
        build()


def test_labels_have_names_in_the_saved_file(tmp_path):
    MACBDFConfig().save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert '"0": "real"' in text
    assert '"1": "fake"' in text
    assert MACBDFConfig.from_pretrained(tmp_path).id2label == {0: "real", 1: "fake"}


def test_calibration_and_every_switch_come_back_from_a_file(tmp_path):
    fields = {
        "calibration": {"joint": [1.5, -0.2], "real_below": 0.2, "fake_above": 0.9, "source": "somewhere"},
        "temperature_mode": "fixed",
        "temperature_value": 0.2,
        "fusion_weights": "uniform",
        "sync_head": True,
        "guided_fusion": False,
    }
    MACBDFConfig(**fields).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in fields} == fields


def test_a_setting_that_did_nothing_is_gone_and_older_files_still_load():
    """The towers of the detector begin as its own `initializer_range` says."""
    older = MACBDFConfig(video_config={"initializer_range": 0.5, "image_size": 64}).video_config
    assert older.image_size == 64
    assert "initializer_range" not in older.to_dict()


def test_a_foreign_tower_comes_back_as_its_own_class(tmp_path):
    MACBDFConfig(video_config=ViTConfig(hidden_size=24, num_attention_heads=2)).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded.video_config) is ViTConfig
    assert loaded.video_config.hidden_size == 24
    assert type(loaded.audio_config) is MACBDFAudioConfig


def test_a_loaded_config_points_to_the_code_beside_it(tmp_path):
    """A map that still named the repository of the first load would run that repository's code."""
    config = build_config()
    config.auto_map = {"AutoModel": "someone/else--modeling_macbdf.MACBDFForClassification"}
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.auto_map["AutoModel"] == "modeling_macbdf.MACBDFForClassification"


@pytest.mark.parametrize("mode", ["adaptive", "learned", "fixed"])
@pytest.mark.parametrize("weights", ["cluster", "uniform"])
def test_every_switch_builds_a_model(mode, weights):
    config = build_config(temperature_mode=mode, fusion_weights=weights, num_scales=1)
    assert MACBDFForClassification(config).config.temperature_mode == mode
