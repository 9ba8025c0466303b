"""What transformers expects of any model: saving, Auto classes, attention back ends, compiling, lower precision."""

import copy
import dataclasses

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification
from transformers.modeling_layers import GradientCheckpointingLayer

from modeling_macbdf import MACBDFForClassification, MACBDFModel, MACBDFOutput

from .conftest import LITE, TOWERS, build_batch, build_config, build_model


def run(model, **inputs):
    with torch.no_grad():
        return model(**inputs)


@pytest.fixture(scope="module")
def trained_model():
    """After one training step: beliefs and prototypes are not at their start."""
    model = build_model(sync_head=True, prototype_warmup=2).train()
    model(**build_batch(clips=8), labels=torch.tensor([0, 1] * 4))
    return model.eval()


@pytest.mark.parametrize("auto", [AutoModel, AutoModelForVideoClassification, MACBDFForClassification])
def test_a_saved_model_answers_bit_for_bit_the_same(trained_model, batch, tmp_path, auto):
    trained_model.save_pretrained(tmp_path)
    loaded, info = auto.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is MACBDFForClassification
    assert not any(info.values()), info
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained_model.state_dict().items())
    first, second = run(trained_model, **batch), run(loaded, **batch)
    for name in ("logits", "video_logits", "audio_logits", "frame_logits", "sync_logits", "fusion_weights"):
        assert torch.equal(first[name], second[name]), name
    assert torch.equal(first.temperature, second.temperature)


def test_the_config_survives_a_save_unchanged(trained_model, tmp_path):
    trained_model.config.save_pretrained(tmp_path)
    loaded, saved = AutoConfig.from_pretrained(tmp_path).to_dict(), trained_model.config.to_dict()
    assert {**loaded, "_name_or_path": ""} == {**saved, "_name_or_path": ""}


def test_a_saved_half_precision_model_loads_as_such(trained_model, tmp_path):
    copy.deepcopy(trained_model).half().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float16}
    assert AutoModel.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("way", ["cast", "loaded"])
def test_what_is_gathered_over_many_steps_stays_float32(trained_model, tmp_path, way):
    """In bfloat16 a covariance was 3 % off, and a moving average of momentum .998 stood still."""
    if way == "cast":
        model = copy.deepcopy(trained_model).to(torch.bfloat16)
    else:
        trained_model.save_pretrained(tmp_path)
        model = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    before = dict(trained_model.named_buffers())
    assert {"counts", "belief_mean", "covariance"} <= {name.rpartition(".")[2] for name in before}
    for name, value in model.named_buffers():
        assert value.dtype == before[name].dtype != torch.bfloat16
        assert torch.equal(value, before[name]), name
    data = build_batch(clips=8)
    half = {name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in data.items()}
    model.train()(**half, labels=torch.tensor([0, 1] * 4)).loss.backward()
    moved = [name for name, value in model.named_buffers() if not torch.equal(value, before[name])]
    assert any("covariance" in name for name in moved) and any("belief" in name for name in moved)


def test_missing_weights_and_buffers_are_made_anew_and_named(tmp_path, trained_model):
    """On the meta device a buffer that nothing initialises would come up as whatever lies in memory."""
    state = {name: value for name, value in trained_model.state_dict().items() if "macbdf.fusion" in name}
    trained_model.save_pretrained(tmp_path, state_dict=state)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert "temperature.belief_mean" in info["missing_keys"]
    fresh = MACBDFForClassification(trained_model.config)
    for name, value in fresh.named_buffers():
        assert torch.equal(loaded.get_buffer(name), value), name
    assert all(parameter.isfinite().all() for parameter in loaded.parameters())


def test_initialisation_leaves_nothing_of_what_lay_in_memory():
    config = build_config(sync_head=True)
    direct = MACBDFForClassification(config)
    with torch.device("meta"):
        empty = MACBDFForClassification(config)
    empty.to_empty(device="cpu")
    for parameter in empty.parameters():
        parameter.data.fill_(7.0)
    for module in empty.modules():
        module._is_hf_initialized = False
    for tensor in (*empty.parameters(), *empty.buffers()):
        tensor._is_hf_initialized = False
    empty.init_weights()
    for name, value in empty.named_parameters():
        assert not (value == 7.0).any(), name
    for name, value in empty.named_buffers():
        assert torch.equal(value, direct.get_buffer(name)), name


def test_eager_and_sdpa_attention_agree(tiny_model, batch):
    batch["video_mask"][0, 5:] = False
    eager = copy.deepcopy(tiny_model)
    eager.set_attn_implementation("eager")
    first, second = run(tiny_model, **batch), run(eager, **batch)
    for name in ("logits", "frame_logits", "sync_logits"):
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=0, equal_nan=True)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attentions_and_hidden_states_come_on_request(tiny_model, batch, implementation):
    model = copy.deepcopy(tiny_model)
    model.set_attn_implementation(implementation)
    batch["audio_mask"][0, 5:] = False
    output = run(model, **batch, output_attentions=True, output_hidden_states=True)
    assert [tuple(weights.shape) for weights in output.attentions] == [(3, 4, 8, 16)] * 3
    assert [tuple(state.shape) for state in output.hidden_states] == [(3, 8, 32)] * 4
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(3, 4, 8))
    assert not output.attentions[0][0, :, :, 13:].any()  # masked audio keys
    plain = run(model, **batch)
    assert plain.attentions is None
    assert plain.hidden_states is None
    torch.testing.assert_close(plain.logits, output.logits, atol=1e-5, rtol=0)


def test_a_tuple_holds_what_the_output_holds(tiny_model, batch):
    output, values = run(tiny_model, **batch), run(tiny_model, **batch, return_dict=False)
    assert len(values) == len(output.to_tuple())
    assert torch.equal(values[0], output.logits)


def test_every_field_of_the_output_is_documented():
    for field in dataclasses.fields(MACBDFOutput):
        assert field.name in MACBDFOutput.__doc__, field.name


@pytest.mark.slow
def test_the_forward_compiles_without_a_graph_break():
    """Also where masked crops hold NaN, which once reached the answers of a graph, and of a graph alone."""
    model = build_model(sync_head=True, num_scales=2)
    data = build_batch()
    data["video_mask"][0, 5:] = False
    data["pixel_values"][0, 5:] = float("nan")
    reference = run(model, **data)
    compiled = run(torch.compile(model, fullgraph=True, backend="eager"), **data)
    torch.testing.assert_close(compiled.logits, reference.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(compiled.frame_logits, reference.frame_logits, atol=1e-5, rtol=0, equal_nan=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 5e-2), (torch.float16, 1e-2)])
def test_half_precision_gives_nearly_the_same_answer(tiny_model, batch, dtype, tolerance):
    model = copy.deepcopy(tiny_model).to(dtype)
    half = {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}
    output, reference = run(model, **half), run(tiny_model, **batch)
    assert output.logits.dtype == dtype
    scale = reference.logits.abs().max().clamp(min=1.0)
    assert ((output.logits.float() - reference.logits).abs().max() / scale) < tolerance


def test_the_sync_head_trains_in_half_precision_beside_masked_steps():
    """The length of a masked step is 0, and the guard of a division by it once was too in half precision."""
    model = build_model(sync_head=True).train()
    data = build_batch(clips=8)
    data["audio_mask"][:, 2:4] = False
    with torch.autocast("cpu", torch.float16):
        loss = model(**data, labels=torch.tensor([0, 1] * 4), sync_labels=torch.ones(8, 8).long()).loss
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_autocast_trains_with_a_finite_float32_loss():
    model = build_model(sync_head=True).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**build_batch(clips=8), labels=torch.tensor([0, 1] * 4)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_the_trunk_loads_from_a_saved_detector(trained_model, batch, tmp_path):
    trained_model.save_pretrained(tmp_path)
    trunk = MACBDFModel.from_pretrained(tmp_path)
    output = run(trunk, **batch, output_hidden_states=True)
    whole = run(trained_model, **batch, output_hidden_states=True)
    assert torch.equal(output.last_hidden_state, whole.hidden_states[-1])
    assert torch.equal(output.fusion_weights, whole.fusion_weights)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # the frozen sound has none
@pytest.mark.parametrize("video_config", [TOWERS["video_config"], LITE], ids=["dense", "lite"])
def test_adapters_on_frozen_weights_get_gradients_through_checkpoints(video_config):
    """Reentrant checkpoints give none where nothing that enters them asks for a gradient."""
    model = MACBDFForClassification(build_config(video_config=video_config)).train()
    model.requires_grad_(False)
    block = next(module for module in model.video_encoder.modules() if isinstance(module, GradientCheckpointingLayer))
    adapter = next(block.parameters()).requires_grad_()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    model(**build_batch(clips=4), labels=torch.tensor([0, 1] * 2)).loss.backward()
    assert adapter.grad.abs().sum() > 0


def test_the_trainer_scales_the_loss_itself():
    assert MACBDFForClassification.accepts_loss_kwargs is False
