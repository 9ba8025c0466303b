"""Half-precision storage: smaller files, float32 arithmetic, state untouched."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from modeling_macbdf.training.storage import store_in_half_precision


@pytest.fixture
def tiny_model(tiny_folder):
    return AutoModel.from_pretrained(tiny_folder)


def test_weights_are_halved_and_still_computed_with_in_float32(tiny_model, tmp_path):
    bank = tiny_model.macbdf.cluster_weighting.bank
    bank.covariance.fill_(1e-7)  # float16 could hold it only as a denormal
    tiny_model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").stat().st_size
    store_in_half_precision(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.75 * before
    loaded = AutoModel.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    assert torch.equal(loaded.macbdf.cluster_weighting.bank.covariance, bank.covariance)
    for (name, kept), original in zip(loaded.named_parameters(), tiny_model.parameters(), strict=True):
        torch.testing.assert_close(kept, original, rtol=1e-3, atol=1e-6, msg=name)


def test_a_weight_beyond_float16_is_refused_by_name(tiny_model, tmp_path):
    with torch.no_grad():
        tiny_model.video_head.clip.bias.fill_(1e6)
    tiny_model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"video_head\.clip\.bias must fit into float16.*1e\+06"):
        store_in_half_precision(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["video_head.clip.bias"].dtype == torch.float32, "a refused file is left as it was"
