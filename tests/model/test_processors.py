"""Crops and waveforms to tensors: one clock, masks, levels, and what is refused."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor

from modeling_macbdf import MACBDFFeatureExtractor, MACBDFImageProcessor, MACBDFProcessor

RATE, STEP = 16000, 3200


@pytest.fixture(scope="module")
def processor():
    return MACBDFProcessor(
        MACBDFImageProcessor(size={"height": 32, "width": 32}, num_frames=8), MACBDFFeatureExtractor(num_frames=8)
    )


def crops(steps, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (steps, side, side, 3), dtype=np.uint8)


def voice(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def test_both_streams_land_on_the_same_steps(processor):
    inputs = processor(videos=[crops(8), crops(5)], audio=[voice(8 * STEP), voice(5 * STEP)], sampling_rate=RATE)
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "pixel_values": (2, 8, 3, 32, 32),
        "video_mask": (2, 8),
        "input_features": (2, 160, 80),
        "audio_mask": (2, 8),
    }
    assert torch.equal(inputs["video_mask"], inputs["audio_mask"])
    assert inputs["video_mask"].sum(1).tolist() == [8, 5]
    assert not inputs["pixel_values"][1, 5:].any()


def test_one_clip_needs_no_list(processor):
    single = processor(videos=crops(8), audio=voice(8 * STEP), sampling_rate=RATE)
    listed = processor(videos=[crops(8)], audio=[voice(8 * STEP)], sampling_rate=RATE)
    assert all(torch.equal(single[name], listed[name]) for name in listed)


def test_one_clip_may_be_a_list_of_images_or_of_numbers(processor):
    """Images were clips of as many steps as they are high, and a number had no length."""
    clip, wave = crops(5), voice(5 * STEP)
    expected = processor(videos=clip, audio=wave, sampling_rate=RATE)
    for listed in (list(clip), [Image.fromarray(image) for image in clip]):
        given = processor(videos=listed, audio=wave.tolist(), sampling_rate=RATE)
        assert all(torch.equal(given[name], expected[name]) for name in expected)
    assert processor(videos=clip[0])["video_mask"].sum() == 1


@pytest.mark.parametrize("representation", ["log_power", "persistence"])
def test_the_sound_of_a_clip_does_not_depend_on_longer_ones_beside_it(representation):
    """The frames that reach over its end once saw a reflection where it was alone and silence where it was not."""
    extractor = MACBDFFeatureExtractor(num_frames=8, representation=representation)
    processor = MACBDFProcessor(MACBDFImageProcessor(size={"height": 32, "width": 32}, num_frames=8), extractor)
    waves = [voice(int(steps * STEP), seed=int(steps)) for steps in (8, 9.7, 5, 3, 14)]
    videos = [crops(8), crops(10), crops(5), crops(11), None]
    together = processor(videos=videos, audio=waves, sampling_rate=RATE)
    for row, (clip, wave) in enumerate(zip(videos, waves, strict=True)):
        alone = processor(videos=None if clip is None else [clip], audio=[wave], sampling_rate=RATE)
        steps = alone["audio_mask"].shape[1]
        assert steps == (8, 10, 8, 11, 14)[row]
        assert torch.equal(alone["audio_mask"][0], together["audio_mask"][row, :steps])
        own = together["input_features"][row, : 20 * steps]
        torch.testing.assert_close(own, alone["input_features"][0], atol=1e-5, rtol=0)


def test_a_longer_clip_widens_the_batch(processor):
    inputs = processor(videos=[crops(3), None], audio=[None, voice(11 * STEP)], sampling_rate=RATE)
    assert inputs["pixel_values"].shape[1] == inputs["audio_mask"].shape[1] == 11


def test_a_missing_stream_is_masked_and_left_out_where_no_clip_has_it(processor):
    inputs = processor(videos=[None, crops(8)], audio=[voice(8 * STEP), None], sampling_rate=RATE)
    assert inputs["video_mask"].any(1).tolist() == [False, True]
    assert inputs["audio_mask"].any(1).tolist() == [True, False]
    assert set(processor(videos=[crops(8)], audio=[None])) == {"pixel_values", "video_mask"}
    assert set(processor(audio=[voice(STEP)], sampling_rate=RATE)) == {"input_features", "audio_mask"}


def test_masks_given_are_kept(processor):
    seen, heard = np.array([1, 0, 1], dtype=bool), np.array([1, 1, 0], dtype=bool)
    inputs = processor(
        videos=[crops(3)], audio=[voice(3 * STEP)], video_mask=[seen], audio_mask=[heard], sampling_rate=RATE
    )
    assert inputs["video_mask"][0, :3].tolist() == seen.tolist()
    assert inputs["audio_mask"][0, :3].tolist() == heard.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "videos or audio must hold at least one clip"),
        (
            {"videos": [crops(2)], "audio": [voice(10), voice(10)], "sampling_rate": RATE},
            "one entry per clip, .* 1 and 2",
        ),
        ({"audio": [voice(10)], "sampling_rate": 44100}, "sampling_rate must be 16000 Hz, but got 44100"),
        ({"audio": [np.zeros((2, 100))], "sampling_rate": RATE}, r"mono waveform \(N,\), .* shape \(2, 100\)"),
        # Each sample of a stereo file was once taken for a clip.
        ({"audio": np.zeros((100, 2)), "sampling_rate": RATE}, r"shape \(100, 2\); of a stereo one average"),
        ({"audio": [np.full(100, np.nan)], "sampling_rate": RATE}, "audio must be finite"),
        ({"videos": [crops(2).astype(np.float32)]}, r"must be \(t, H, W, 3\) uint8 crops, but got .*float32"),
        ({"videos": [crops(2)[..., :1]]}, r"must be \(t, H, W, 3\) uint8 crops, but got \(2, 32, 32, 1\)"),
        ({"videos": [crops(3)], "video_mask": [np.ones(2)]}, "video_mask must have 3 steps for this clip"),
        ({"videos": [crops(2)], "images": crops(1)[0]}, "images and videos are two names of the same input"),
        ({"videos": [crops(2)], "do_sample_frames": True}, "do_sample_frames must be False"),
        ({"videos": [crops(2)], "num_frame": 4}, "this processor has no keyword num_frame"),
        ({"videos": [crops(2)], "crop_size": {"height": 8, "width": 8}}, "image processor has no keyword crop_size"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


@pytest.mark.parametrize("auto", [AutoProcessor, MACBDFProcessor])
def test_a_saved_processor_gives_the_same_tensors(processor, tmp_path, auto):
    processor.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path)
    arguments = {"videos": [crops(4, side=48)], "audio": [voice(9000)], "sampling_rate": RATE}
    first, second = processor(**arguments), loaded(**arguments)
    assert all(torch.equal(first[name], second[name]) for name in first)
    loaded.save_pretrained(tmp_path / "again")
    files = [json.loads((folder / "processor_config.json").read_text()) for folder in (tmp_path, tmp_path / "again")]
    assert files[0] == files[1]
    assert loaded.to_dict() == processor.to_dict()  # the map to the code was left behind in the saved one


def test_keywords_may_lie_flat_or_with_their_part(processor):
    clip, wave = crops(3), voice(3 * STEP)
    flat = processor(clip, wave, sampling_rate=RATE, num_frames=9, do_sample_frames=False)
    sorted_out = processor(clip, wave, images_kwargs={"num_frames": 9}, audio_kwargs={"sampling_rate": RATE})
    assert flat["pixel_values"].shape[1] == flat["audio_mask"].shape[1] == 9
    assert all(torch.equal(flat[name], sorted_out[name]) for name in flat)
    assert processor(clip, return_tensors="np")["pixel_values"].dtype == np.float32


def test_a_photograph_is_a_clip_of_one_step(processor):
    photos = [crops(1)[0], None, Image.fromarray(crops(1, side=48)[0])]
    inputs = processor(images=photos)
    assert inputs["video_mask"].sum(1).tolist() == [1, 0, 1]
    assert torch.equal(inputs["pixel_values"][:1], processor(videos=[crops(1)])["pixel_values"])
    assert torch.equal(processor(images=photos[2])["pixel_values"][0], inputs["pixel_values"][2])


def test_the_parts_load_by_themselves(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).to_dict() == processor.image_processor.to_dict()
    assert AutoFeatureExtractor.from_pretrained(tmp_path).to_dict() == processor.feature_extractor.to_dict()


class TestImages:
    def test_eight_bits_become_minus_one_to_one(self):
        frames = np.stack([np.full((32, 32, 3), level, dtype=np.uint8) for level in (0, 255)])
        pixels = MACBDFImageProcessor(size={"height": 32, "width": 32})(frames, return_tensors="pt")["pixel_values"]
        assert pixels[0, 0].unique().tolist() == [-1.0]
        assert pixels[0, 1].unique().tolist() == [1.0]

    def test_other_sizes_are_resized_without_aliasing(self):
        checkers = ((np.arange(64)[:, None] + np.arange(64)) % 2 * 255).astype(np.uint8)
        frames = np.repeat(checkers[None, :, :, None], 3, axis=-1)
        pixels = MACBDFImageProcessor(size={"height": 16, "width": 16})(frames, return_tensors="pt")["pixel_values"]
        assert pixels.shape == (1, 16, 3, 16, 16)
        assert pixels[0, 0].abs().max() < 0.05  # grey, not a new pattern

    def test_other_sizes_are_refused_where_resizing_is_off(self):
        with pytest.raises(ValueError, match=r"crops must be \(160, 160\) pixels where do_resize is off"):
            MACBDFImageProcessor(do_resize=False)(crops(1))

    def test_arrays_tensors_lists_and_channels_first_agree(self):
        image_processor, frames = MACBDFImageProcessor(size={"height": 32, "width": 32}), crops(3)
        forms = [
            frames,
            torch.from_numpy(frames),
            list(frames),
            [list(frames)],
            [frames],
            frames.transpose(0, 3, 1, 2),
        ]
        results = [image_processor(form, return_tensors="pt")["pixel_values"] for form in forms]
        assert all(torch.equal(result, results[0]) for result in results)

    def test_crops_of_one_clip_may_differ_in_size(self):
        image_processor, frames = MACBDFImageProcessor(size={"height": 32, "width": 32}), crops(2, side=48)
        alone = image_processor(frames, return_tensors="pt")["pixel_values"]
        mixed = image_processor([frames[0], frames[1], crops(1)[0]], return_tensors="pt")["pixel_values"]
        assert torch.equal(mixed[0, :2], alone[0, :2])
        assert mixed[0, 2].any()

    def test_steps_of_the_preparation_can_be_left_out_for_one_call(self):
        image_processor, frames = MACBDFImageProcessor(size={"height": 32, "width": 32}), crops(1)
        raw = image_processor(frames, do_rescale=False, do_normalize=False, num_frames=1, return_tensors="pt")
        assert torch.equal(raw["pixel_values"][0], torch.from_numpy(frames).permute(0, 3, 1, 2).float())
        assert image_processor(frames, return_tensors="pt")["pixel_values"].max() <= 1.0
        assert MACBDFImageProcessor(do_rescale=False).to_dict()["do_rescale"] is False

    def test_a_keyword_without_meaning_is_refused(self):
        with pytest.raises(ValueError, match="no keyword do_center_crop"):
            MACBDFImageProcessor()(crops(1), do_center_crop=True)


class TestSound:
    def test_a_click_shows_in_the_frame_whose_centre_it_is(self):
        """Frame i is centred at (i + 0.5) * hop: a click there must be loudest in frame i, evenly on both sides."""
        extractor = MACBDFFeatureExtractor()
        wave = np.zeros(16 * STEP, dtype=np.float32)
        wave[int(100.5 * 160)] = 1.0
        mel = extractor(wave, sampling_rate=RATE, return_tensors="pt")["input_features"][0].mean(1)
        assert int(mel.argmax()) == 100
        torch.testing.assert_close(mel[99], mel[101], atol=0.05, rtol=0)

    def test_loudness_of_the_clip_does_not_matter(self):
        extractor, wave = MACBDFFeatureExtractor(), voice(16 * STEP)
        loud, soft = (extractor(wave * gain, sampling_rate=RATE, return_tensors="pt") for gain in (3.0, 0.03))
        torch.testing.assert_close(loud["input_features"], soft["input_features"], atol=1e-3, rtol=0)

    def test_noise_at_speech_level_is_of_moderate_size(self):
        features = MACBDFFeatureExtractor()(voice(16 * STEP), sampling_rate=RATE, return_tensors="pt")[
            "input_features"
        ]
        assert features.mean().abs() < 1.5
        assert features.abs().max() < 5

    def test_silence_is_not_amplified(self):
        extractor = MACBDFFeatureExtractor()
        silent = extractor(np.zeros(16 * STEP), sampling_rate=RATE, return_tensors="pt")
        assert silent["audio_mask"].all()
        assert silent["input_features"].std() < 1e-6

    def test_sound_of_masked_steps_changes_nothing(self):
        extractor, mask = MACBDFFeatureExtractor(), np.array([True] * 4 + [False] * 4)
        first, second = voice(8 * STEP), voice(8 * STEP)
        second[4 * STEP :] = 0.9
        results = [extractor(w, sampling_rate=RATE, audio_mask=[mask], return_tensors="pt") for w in (first, second)]
        assert torch.equal(results[0]["input_features"], results[1]["input_features"])

    @settings(max_examples=30, deadline=None)
    @given(samples=st.integers(1, 20 * STEP))
    def test_a_step_is_valid_where_half_of_it_is_heard(self, samples):
        outputs = MACBDFFeatureExtractor()(voice(samples), sampling_rate=RATE, return_tensors="pt")
        heard = int(outputs["audio_mask"].sum())
        assert heard == max(1, (samples + STEP // 2) // STEP)
        assert outputs["input_features"].shape[1] == 20 * outputs["audio_mask"].shape[1]
        assert outputs["input_features"].isfinite().all()

    def test_waveforms_come_out_where_the_tower_wants_them(self):
        outputs = MACBDFFeatureExtractor(return_waveform=True)(voice(5000), sampling_rate=RATE, return_tensors="pt")
        assert outputs["input_features"].shape == (1, 16 * STEP)
        assert outputs["input_features"][0, :5000].square().mean().sqrt() > 0.05

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"hop_length": 170}, "sampling_rate must be a multiple of frame_rate_hz"),
            ({"n_fft": 401}, "n_fft must be hop_length=160 plus an even number, but got 401"),
            ({"min_coverage": 0.0}, r"min_coverage in \(0, 1\], but got 16, 0.0"),
        ],
    )
    def test_a_clock_that_does_not_fit_is_refused(self, fields, message):
        with pytest.raises(ValueError, match=message):
            MACBDFFeatureExtractor(**fields)
