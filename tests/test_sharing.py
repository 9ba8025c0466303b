"""Windows overlap: each crop passes the picture's encoder once, and every answer stays as it was."""

import numpy as np
import pytest
import torch

from modeling_macbdf.media.audio import Audio
from modeling_macbdf.scoring import Voice, WindowAnswers, different_crops
from modeling_macbdf.timing import Stopwatch
from modeling_macbdf.windows import Window

SIDE = 160


def overlapping(lengths: tuple[int, ...] = (16, 16, 9), hop: int = 8) -> list[Window]:
    """Windows of one track whose neighbours share crops."""
    crops = np.random.default_rng(0).integers(0, 255, (hop * len(lengths) + 16, SIDE, SIDE, 3), np.uint8)
    return [Window(0, hop * n, length, crops[hop * n : hop * n + length]) for n, length in enumerate(lengths)]


def test_the_index_gives_back_every_crop_of_every_step():
    windows = overlapping()
    crops, index, mask = different_crops(windows, 16)
    assert len(crops) == 25  # 41 steps
    assert mask.sum(1).tolist() == [16, 16, 9]
    for row, window in enumerate(windows):
        np.testing.assert_array_equal(np.stack(crops)[index[row, : window.steps]], window.crops)


def test_a_still_picture_is_one_crop():
    crop = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    assert len(different_crops([Window(0, 0, 16, np.stack([crop] * 16))], 16)[0]) == 1


@pytest.mark.parametrize("with_sound", [True, False])
def test_shared_crops_answer_as_whole_windows_do(detector, with_sound):
    windows = [*overlapping(), Window(None, 0, 16, None)] if with_sound else overlapping()
    samples = np.random.default_rng(1).normal(0, 0.1, 16_000 * 8).astype(np.float32)
    audio = Audio(samples, 16_000, np.array([[0, len(samples)]]))
    voice = Voice(audio if with_sound else None, detector.config.frame_rate_hz)
    with torch.inference_mode():
        answers = WindowAnswers(detector.model)(**detector.scorer.shared_inputs(windows, voice))
        whole = detector.model(**detector.scorer.inputs(windows, voice))
    for name in ("logits", "video_logits", "audio_logits", "frame_logits"):
        torch.testing.assert_close(answers[name], whole[name], atol=1e-5, rtol=1e-5, equal_nan=True, msg=name)


def test_windows_are_cut_while_the_model_works(detector, monkeypatch):
    """The second batch is asked for before the first one's scores are there."""
    events = []
    score = detector.scorer._score_batch
    monkeypatch.setattr(detector.scorer, "batch_size", 1)
    monkeypatch.setattr(detector.scorer, "_score_batch", lambda *given: events.append("judged") or score(*given))

    def windows():
        for number, window in enumerate(overlapping()):
            events.append(f"cut {number}")
            yield window

    scores = detector.scorer.score(windows(), Voice(None, 5.0), Stopwatch("model"))
    first = next(scores)
    assert first.start_s == 0.0
    assert "cut 1" in events
    assert "cut 2" not in events
    assert [next(scores).start_s, next(scores).start_s] == [1.6, 3.2]


def test_towers_that_look_at_a_whole_clip_get_whole_windows():
    """A video encoder cannot share crops; the answer must not change by asking for it."""
    from transformers import VideoMAEConfig

    from modeling_macbdf import MACBDFConfig, MACBDFForClassification

    tower = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=4, tubelet_size=2, hidden_size=16, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=32,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MACBDFForClassification(MACBDFConfig(video_config=tower, hidden_size=32, projection_size=16)).eval()
    crops, index = torch.randn(6, 3, 32, 32), torch.tensor([[0, 1, 2, 3], [2, 3, 4, 5]])
    with torch.inference_mode():
        shared = model.macbdf.encode_shared(crops, index)
        whole = model.macbdf.encode(crops[index])[0]
    for one, other in zip(shared, whole, strict=True):
        torch.testing.assert_close(one, other)
