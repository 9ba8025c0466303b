"""Configuration of MACB-DF: two encoders, contrast, cluster weights, guided fusion, losses.

Source: arXiv 2505.12966. A field marked [ours] has no figure in what is known of the paper.
Clock: the unit is a *step* of `1 / frame_rate_hz` seconds; one face crop and `mel_frames_per_step` mel frames belong
to each. Labels: 0 real, 1 fake, -100 unknown.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

# Everything a bare folder on the Hub needs to be loaded by any Auto class with `trust_remote_code=True`.
AUTO_MAP = {
    "AutoConfig": "configuration_macbdf.MACBDFConfig",
    "AutoModel": "modeling_macbdf.MACBDFForClassification",
    "AutoModelForVideoClassification": "modeling_macbdf.MACBDFForClassification",
    "AutoImageProcessor": "image_processing_macbdf.MACBDFImageProcessor",
    "AutoFeatureExtractor": "feature_extraction_macbdf.MACBDFFeatureExtractor",
    "AutoProcessor": "processing_macbdf.MACBDFProcessor",
}

# Fields of the output that the Trainer must not gather as predictions.
NO_PREDICTION = ("loss_terms", "objectives", "temperature", "hidden_states", "attentions")


def _check(rule: bool, message: str) -> None:
    """Raises `ValueError(message)` unless the rule holds."""
    if not rule:
        raise ValueError(message)


def _check_positive(config: PreTrainedConfig, name: str) -> None:
    value = getattr(config, name)
    _check(0 < value < math.inf, f"{name} must be positive and finite, but got {value}")


def _check_stages(stem_size: int, depths: Sequence[int], hidden_sizes: Sequence[int], norm_groups: int) -> None:
    _check(stem_size >= 1, f"stem_size must be at least 1, but got {stem_size}")
    _check(
        len(depths) == len(hidden_sizes) > 0,
        f"depths and hidden_sizes must have one entry per stage, but got {depths} and {hidden_sizes}",
    )
    _check(min(depths) >= 0, f"depths must not be negative, but got {depths}")
    wrong = [size for size in hidden_sizes if size <= 0 or size % norm_groups]
    _check(not wrong, f"hidden_sizes must be positive multiples of norm_groups={norm_groups}, but got {hidden_sizes}")


def _as_lists(config: PreTrainedConfig, *names: str) -> None:
    """JSON knows no tuples: the same config before and after a save compares equal."""
    for name in names:
        setattr(config, name, list(getattr(config, name)))


@strict
class MACBDFVideoConfig(PreTrainedConfig):
    """The frame-wise convolutional video encoder. All values are [ours].

    Attributes:
        image_size: side of the square face crop, pixels.
        num_channels: colour channels of the crop; only 3 (RGB) is supported by the high-pass filter.
        use_color: feed RGB; `False` feeds luma alone, which cannot learn a colour cast of the training set.
        high_pass: append a fixed, truncated high-pass residual of luma as one more channel.
        high_pass_limit: the residual is clamped to this many normalised grey levels (1.0 = the whole range).
        stem_size: channels after the first stride-2 convolution.
        hidden_sizes: channels of the stages; the first works at stride 4, each further one halves the resolution.
        depths: residual blocks of each stage.
        norm_groups: groups of every GroupNorm (statistics of one frame, so a batch equals its single items).
    """

    model_type = "macbdf_video"
    base_config_key = "video_config"

    image_size: int = 160
    num_channels: int = 3
    use_color: bool = True
    high_pass: bool = True
    high_pass_limit: float = 0.1
    stem_size: int = 16
    hidden_sizes: list[int] | tuple[int, ...] = (24, 64, 128, 256)
    depths: list[int] | tuple[int, ...] = (1, 1, 2, 2)
    norm_groups: int = 8
    hidden_act: str = "relu"

    def __post_init__(self, **kwargs: Any) -> None:
        _as_lists(self, "hidden_sizes", "depths")
        super().__post_init__(**kwargs)

    def validate_stages(self) -> None:
        """One depth and one width per stage, widths divisible by the norm's groups."""
        _check_stages(self.stem_size, self.depths, self.hidden_sizes, self.norm_groups)
        _check(self.num_channels == 3, f"num_channels must be 3 (RGB), but got {self.num_channels}")

    def validate_image_size(self) -> None:
        """The last stage must keep at least one position."""
        smallest = 2 ** (len(self.hidden_sizes) + 1)
        _check(
            self.image_size >= smallest and self.image_size % 4 == 0,
            f"image_size must be a multiple of 4 and at least {smallest}, but got {self.image_size}",
        )
        _check_positive(self, "high_pass_limit")


@strict
class MACBDFLiteVideoConfig(PreTrainedConfig):
    """The frame-wise encoder of inverted residuals; the defaults are EfficientNet-Lite0, so that its weights fit.

    Attributes:
        image_size, num_channels, use_color, high_pass, high_pass_limit: as in `MACBDFVideoConfig`.
        stem_size: channels after the first convolution, which works at stride 2.
        hidden_sizes, depths, kernel_sizes, strides, expansions: of the stages; the expansion widens within a block.
    """

    model_type = "macbdf_lite_video"
    base_config_key = "video_config"

    image_size: int = 160
    num_channels: int = 3
    use_color: bool = True
    high_pass: bool = True
    high_pass_limit: float = 0.1
    stem_size: int = 32
    hidden_sizes: list[int] | tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    depths: list[int] | tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    kernel_sizes: list[int] | tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: list[int] | tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    expansions: list[int] | tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)

    def __post_init__(self, **kwargs: Any) -> None:
        _as_lists(self, "hidden_sizes", "depths", "kernel_sizes", "strides", "expansions")
        super().__post_init__(**kwargs)

    def last_of_resolution(self) -> list[int]:
        """Numbers of the stages after which the resolution falls, or nothing follows."""
        return [index for index in range(len(self.strides)) if [*self.strides, 2][index + 1] > 1]

    def validate_stages(self) -> None:
        """One value of each kind per stage, strides 1 or 2, odd kernels."""
        _check_stages(self.stem_size, self.depths, self.hidden_sizes, norm_groups=1)
        for name in ("kernel_sizes", "strides", "expansions"):
            values = getattr(self, name)
            fits = len(values) == len(self.depths)
            _check(fits, f"{name} must have one entry per stage, {len(self.depths)}, but got {values}")
        _check(min(self.depths) >= 1, f"depths must be at least 1, but got {self.depths}")
        _check(set(self.strides) <= {1, 2}, f"strides must be 1 or 2, but got {self.strides}")
        odd = all(kernel > 0 and kernel % 2 for kernel in self.kernel_sizes)
        _check(odd, f"kernel_sizes must be odd, but got {self.kernel_sizes}")
        _check(min(self.expansions) >= 1, f"expansions must be at least 1, but got {self.expansions}")
        _check(self.num_channels == 3, f"num_channels must be 3 (RGB), but got {self.num_channels}")

    def validate_image_size(self) -> None:
        """Every resolution is a whole number of pixels."""
        factor = 2 ** (1 + sum(stride == 2 for stride in self.strides))
        whole = self.image_size > 0 and self.image_size % factor == 0
        _check(whole, f"image_size must be a positive multiple of {factor}, but got {self.image_size}")
        _check_positive(self, "high_pass_limit")


@strict
class MACBDFAudioConfig(PreTrainedConfig):
    """The convolutional audio encoder on spectral frames, log-mel or another `representation`. All are [ours].

    Attributes:
        num_mel_bins: mel bands F of the input.
        mel_frames_per_step: mel frames of one step (hop 10 ms, step 200 ms); divisible by 4, the stem's time stride.
        stem_size, hidden_sizes, depths: as in the video encoder; stages after the first halve the frequency axis only.
    """

    model_type = "macbdf_audio"
    base_config_key = "audio_config"

    num_mel_bins: int = 80
    mel_frames_per_step: int = 20
    stem_size: int = 16
    hidden_sizes: list[int] | tuple[int, ...] = (24, 48, 96, 128)
    depths: list[int] | tuple[int, ...] = (1, 1, 1, 1)
    norm_groups: int = 8
    hidden_act: str = "relu"

    def __post_init__(self, **kwargs: Any) -> None:
        _as_lists(self, "hidden_sizes", "depths")
        super().__post_init__(**kwargs)

    def validate_stages(self) -> None:
        """One depth and one width per stage, and an input that the strides divide."""
        _check_stages(self.stem_size, self.depths, self.hidden_sizes, self.norm_groups)
        _check(
            self.mel_frames_per_step % 4 == 0 and self.mel_frames_per_step > 0,
            f"mel_frames_per_step must be a positive multiple of 4, but got {self.mel_frames_per_step}",
        )
        smallest = 2 ** (len(self.hidden_sizes) + 1)
        _check(self.num_mel_bins >= smallest, f"num_mel_bins must be at least {smallest}, but got {self.num_mel_bins}")


@strict
class MACBDFConfig(PreTrainedConfig):
    """The whole detector.

    Attributes:
        video_config, audio_config: `MACBDFVideoConfig` or `MACBDFLiteVideoConfig`, and `MACBDFAudioConfig`; or the
            config of any transformers image, video or audio encoder (an object, or a dict with its `model_type`).
        hidden_size: width D of both streams and of the fused map.
        num_scales: scales S taken from each encoder, fused one after the other.
        num_frames: steps T of a training window; sets the dilation of the large kernels and the range of the
            relative time bias. Other lengths run too.
        frame_rate_hz: steps a second. `sampling_rate`: audio, Hz.
        kernel_sizes: dilated kernel of each channel group of the large-kernel attention.
        guided_fusion: the fused map of a scale guides the next scale of both streams.
        use_contrastive: train with the contrastive loss.
        projection_size: width P of the contrastive embeddings.
        temperature_mode, temperature_value: "adaptive" (the paper), "learned", or "fixed" at the value.
        fusion_weights: "cluster" (the paper) or "uniform".
        num_prototypes: prototypes K of each modality and class. prototype_warmup: samples of each class and modality
            seen before the weights leave 0.5. weight_floor: smallest weight of a present modality.
        cluster_corruption: fraction of training labels swapped before the prototypes see them (robustness check).
        pooling_top_k: steps averaged into the clip logit, so that a short forged segment is not diluted.
        modality_label_fallback: "mask" leaves a stream without its own label out of its loss where the clip is fake;
            "clip" lends it the clip's label (a face-only forgery then teaches that its real voice is fake).
        pos_weight: weight of the fake class in every binary cross-entropy.
        separate_objectives: terms of the multimodal loss that are objectives of their own in training: some of
            "multimodal_frame", "contrastive" and "sync". The loss stays the same, the conflict is resolved among more.
        sync_head: adds the temporal-consistency head and its own loss.
        calibration: written by training: per-stream affine maps of the logits and the two thresholds.
    """

    model_type = "macbdf"
    sub_configs_defaults: ClassVar[dict] = {"video_config": MACBDFVideoConfig, "audio_config": MACBDFAudioConfig}
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_scales"}
    keys_to_ignore_at_inference: ClassVar[list[str]] = list(NO_PREDICTION)

    video_config: Any = None  # None, a dict or a config; always a config once built
    audio_config: Any = None

    hidden_size: int = 128
    num_scales: int = 3
    num_frames: int = 16
    frame_rate_hz: float | int = 5.0
    sampling_rate: int = 16000
    num_attention_heads: int = 4
    kernel_sizes: list[int] | tuple[int, ...] = (3, 5, 7)
    mlp_ratio: float | int = 2.0
    hidden_act: str = "gelu"
    layer_scale_init: float = 1e-2
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    guided_fusion: bool = True
    use_contrastive: bool = True
    projection_size: int = 64
    temperature_mode: Literal["adaptive", "learned", "fixed"] = "adaptive"
    temperature_value: float = 0.07
    temperature_min: float = 0.01
    temperature_max: float = 0.5

    fusion_weights: Literal["cluster", "uniform"] = "cluster"
    num_prototypes: int = 1
    weight_floor: float | int = 0.05
    prototype_momentum: float = 0.99
    prototype_warmup: int = 32
    cluster_corruption: float | int = 0.0

    pooling_top_k: int = 4
    frame_loss_weight: float | int = 0.5
    contrastive_loss_weight: float | int = 0.1
    sync_loss_weight: float | int = 0.1
    modality_label_fallback: Literal["mask", "clip"] = "mask"
    pos_weight: float | int = 1.0
    separate_objectives: list[str] | tuple[str, ...] = ()
    sync_head: bool = False
    sync_max_lag: int = 2

    calibration: dict | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        _as_lists(self, "kernel_sizes", "separate_objectives")
        self.video_config = _sub_config(self.video_config, MACBDFVideoConfig, MACBDFLiteVideoConfig)
        self.audio_config = _sub_config(self.audio_config, MACBDFAudioConfig)
        if self.id2label is None and kwargs.get("num_labels") is None:
            # The default two-label map of transformers is not saved: say what 0 and 1 mean.
            self.id2label, self.label2id = {0: "real", 1: "fake"}, {"real": 0, "fake": 1}
        if __package__ == "modeling_macbdf":
            # The installed package has its own pipeline: nobody need trust the code of the one in the repository.
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        self.auto_map = dict(AUTO_MAP)

    @property
    def samples_per_step(self) -> int:
        """Audio samples of one step."""
        return round(self.sampling_rate / self.frame_rate_hz)

    def validate_architecture(self) -> None:
        """Widths, scales and kernels fit each other."""
        heads = self.num_attention_heads
        whole = heads > 0 and self.hidden_size % heads == 0
        _check(whole, f"hidden_size must be a multiple of num_attention_heads={heads}, but got {self.hidden_size}")
        _check(self.num_scales >= 1, f"num_scales must be at least 1, but got {self.num_scales}")
        _check(self.num_frames >= 1, f"num_frames must be at least 1, but got {self.num_frames}")
        inner = math.isfinite(self.mlp_ratio) and int(self.hidden_size * self.mlp_ratio) >= 1
        _check(inner, f"mlp_ratio must leave a width of 1 at least of hidden_size, but got {self.mlp_ratio}")
        _check_positive(self, "layer_norm_eps")
        scale = self.layer_scale_init
        _check(math.isfinite(scale), f"layer_scale_init must be finite, but got {scale}")
        _check(self.projection_size >= 1, f"projection_size must be at least 1, but got {self.projection_size}")
        _check(self.sync_max_lag >= 0, f"sync_max_lag must not be negative, but got {self.sync_max_lag}")
        odd = all(kernel > 0 and kernel % 2 for kernel in self.kernel_sizes)
        _check(odd and len(self.kernel_sizes) > 0, f"kernel_sizes must be odd, but got {self.kernel_sizes}")
        for name in ("video_config", "audio_config"):
            tower = getattr(self, name)
            _check(
                _num_levels(tower) >= self.num_scales,
                f"num_scales={self.num_scales} must not exceed the stages of {name}",
            )

    def validate_clock(self) -> None:
        """A step is a whole number of audio samples."""
        _check(self.frame_rate_hz > 0, f"frame_rate_hz must be positive, but got {self.frame_rate_hz}")
        _check(
            self.sampling_rate > 0 and self.sampling_rate % self.frame_rate_hz == 0,
            f"sampling_rate must be a positive multiple of frame_rate_hz={self.frame_rate_hz}, "
            f"but got {self.sampling_rate}",
        )

    def validate_temperature(self) -> None:
        """0 < temperature_min <= temperature_value <= temperature_max, with room between them unless it is fixed."""
        low, value, high = self.temperature_min, self.temperature_value, self.temperature_max
        bounds = f"[temperature_min > 0, temperature_max] = [{low}, {high}]"
        _check(0 < low <= value <= high < math.inf, f"temperature_value must lie in {bounds}, but got {value}")
        _check(
            low < high or self.temperature_mode == "fixed",
            f"temperature_max must exceed temperature_min={low} unless temperature_mode is 'fixed', but got {high}",
        )

    def validate_fusion_weights(self) -> None:
        """Prototype numbers in their ranges."""
        _check(self.num_prototypes >= 1, f"num_prototypes must be at least 1, but got {self.num_prototypes}")
        _check(0 <= self.weight_floor < 0.5, f"weight_floor must be in [0, 0.5), but got {self.weight_floor}")
        momentum, corruption = self.prototype_momentum, self.cluster_corruption
        _check(0 <= momentum < 1, f"prototype_momentum must be in [0, 1), but got {momentum}")
        _check(0 <= corruption <= 1, f"cluster_corruption must be in [0, 1], but got {corruption}")
        warmup = self.prototype_warmup
        _check(warmup >= 0, f"prototype_warmup must not be negative, but got {warmup}")

    def validate_losses(self) -> None:
        """Loss weights are not negative, the class weight is positive."""
        for name in ("frame_loss_weight", "contrastive_loss_weight", "sync_loss_weight"):
            value = getattr(self, name)
            _check(0 <= value < math.inf, f"{name} must be finite and not negative, but got {value}")
        _check_positive(self, "pos_weight")
        offered = {"multimodal_frame": True, "contrastive": self.use_contrastive, "sync": self.sync_head}
        known = [name for name, there in offered.items() if there]
        separate = self.separate_objectives
        rule = f"separate_objectives must be different ones of the model's terms {known}"
        _check(len(set(separate)) == len(separate) and set(separate) <= set(known), f"{rule}, but got {separate}")
        _check(self.pooling_top_k >= 1, f"pooling_top_k must be at least 1, but got {self.pooling_top_k}")
        for name in ("dropout", "attention_dropout"):
            _check(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1), but got {getattr(self, name)}")

    def validate_calibration(self) -> None:
        """Each map is a finite [scale > 0, bias]; real_below <= fake_above, both probabilities."""
        calibration = self.calibration or {}
        for name in set(calibration) & {"joint", "video", "audio"}:
            pair = calibration[name]
            good = isinstance(pair, list | tuple) and len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] > 0
            _check(good, f"calibration[{name!r}] must be [scale > 0, bias], both finite, but got {pair}")
        rule = "0 <= real_below <= fake_above <= 1"
        for own in (calibration, *calibration.get("alone", {}).values()):
            low, high = own.get("real_below", 0.5), own.get("fake_above", 0.5)
            _check(0 <= low <= high <= 1, f"calibration must have {rule}, but got {low} and {high}")


def _num_levels(tower: PreTrainedConfig) -> float:
    """Scales that a built-in tower can give; a tower of another kind says so itself when it is built."""
    if isinstance(tower, MACBDFLiteVideoConfig):
        return len(tower.last_of_resolution())
    return len(tower.depths) if tower.model_type.startswith("macbdf") else float("inf")


def _sub_config(value: dict | PreTrainedConfig | None, *own: type[PreTrainedConfig]) -> PreTrainedConfig:
    """A tower's config from an object, a dict (naming its `model_type`, else the first of ours) or nothing."""
    if isinstance(value, PreTrainedConfig):
        return value
    values = dict(value or {})
    model_type = values.pop("model_type", own[0].model_type)
    # Ours are resolved without the Auto registry: in a folder loaded from the Hub they are not registered.
    built_in = {kind.model_type: kind for kind in own}
    if model_type not in built_in:
        return AutoConfig.for_model(model_type, **values)
    values.pop("initializer_range", None)  # stands in files of earlier versions, where it did nothing
    return built_in[model_type](**values)


MACBDFConfig.register_for_auto_class()

__all__ = ["MACBDFAudioConfig", "MACBDFConfig", "MACBDFLiteVideoConfig", "MACBDFVideoConfig"]
