"""An exported model answers as PyTorch does, for other batches and lengths than it was traced with."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor

from modeling_macbdf.checkpoint import files_digest
from modeling_macbdf.export import (
    batches,
    deep_convolutions,
    export_model,
    export_program,
    quantize,
    stamp,
    write_onnx,
)
from modeling_macbdf.inference import Detector, _fastest_backend
from modeling_macbdf.media.write import WriteOptions, write_clip
from modeling_macbdf.onnx_model import ONNX_FILE, OnnxModel, exported_from, filler
from modeling_macbdf.scoring import WindowAnswers

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
TINY = Path(__file__).resolve().parents[1] / "hub_configs" / "macb-df-tiny"
ALIKE = dict.fromkeys(("joint", "video", "audio"), (1.0, 0.0))  # a calibration that changes nothing


@pytest.fixture(scope="module")
def small_model():
    """A detector on the lite tower of thin stages, with prototypes and a sync head."""
    from modeling_macbdf import MACBDFConfig, MACBDFForClassification

    tower = {
        "model_type": "macbdf_lite_video",
        "image_size": 32,
        "use_color": False,
        "stem_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 4],
        "kernel_sizes": [3, 5],
        "strides": [1, 2],
        "expansions": [1, 2],
    }
    sound = {"model_type": "macbdf_audio", "hidden_sizes": [8, 16], "depths": [1, 1], "stem_size": 8, "norm_groups": 4}
    torch.manual_seed(0)
    config = MACBDFConfig(
        video_config=tower, audio_config=sound, num_scales=2, hidden_size=32, projection_size=16, sync_head=True
    )
    config.calibration = {**ALIKE, "real_below": 0.3, "fake_above": 0.7}
    model = MACBDFForClassification(config).eval()
    model.macbdf.cluster_weighting.bank.counts.fill_(100)
    return model


@pytest.fixture(scope="module")
def program(small_model):
    return export_program(small_model)


@pytest.fixture(scope="module")
def onnx_file(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / ONNX_FILE
    write_onnx(program, path)
    return path


def windows(model, batch: int, steps: int) -> dict[str, torch.Tensor]:
    """Random windows, of which the first lacks the picture and the last a part of the sound."""
    inputs = {
        name: torch.from_numpy(value)
        for name, value in filler(model.config, batch, steps, crops=batch * steps).items()
    }
    inputs["crop_index"] = torch.arange(batch * steps).reshape(batch, steps)
    torch.manual_seed(batch)
    for name in ("pixel_values", "input_features"):
        inputs[name] = torch.randn_like(inputs[name])
    for name in ("video_mask", "audio_mask"):
        inputs[name] = torch.ones_like(inputs[name])
    inputs["video_mask"][0], inputs["audio_mask"][-1, steps // 2 :] = False, False
    return inputs


def assert_same(model, other, inputs) -> None:
    with torch.inference_mode():
        expected = WindowAnswers(model)(**inputs)
        answers = other(**inputs)
    assert set(answers) == set(expected) > {"distances", "sync_logits", "frame_logits"}
    for name, value in expected.items():
        torch.testing.assert_close(answers[name], value, atol=1e-4, rtol=1e-4, equal_nan=True, msg=name)


def test_a_torch_program_answers_the_same_for_any_batch_and_length(small_model, program):
    assert_same(small_model, program.module(), windows(small_model, 3, 21))


def test_onnx_answers_the_same_for_any_batch_and_length(small_model, onnx_file):
    exported = OnnxModel(onnx_file, small_model.config, threads=1)
    inputs = windows(small_model, 1, 16)
    inputs["video_mask"][:], inputs["audio_mask"][:] = True, True
    assert_same(small_model, exported, inputs)
    assert_same(small_model, exported, windows(small_model, 3, 21))
    sound = {name: inputs[name] for name in ("input_features", "audio_mask")}
    assert_same(small_model, exported, sound)  # a stream may be left out


def test_the_graph_is_taken_where_it_is_the_faster_one(onnx_file, tiny_folder, tmp_path, caplog):
    """On the CPU, or where a folder holds nothing else; a folder of weights alone is PyTorch's.

    A graph beside weights that it was not made of judged in their name.
    """
    assert [_fastest_backend(tiny_folder, device) for device in ("auto", "cpu", "cuda")] == ["torch"] * 3
    (tmp_path / ONNX_FILE).write_bytes(onnx_file.read_bytes())
    assert [_fastest_backend(tmp_path, device) for device in ("cpu", "cuda")] == ["onnx", "onnx"]
    (tmp_path / "model.safetensors").touch()
    assert [_fastest_backend(tmp_path, device) for device in ("cpu", "cuda")] == ["torch", "torch"]
    assert f"{tmp_path / ONNX_FILE} is left unused" in caplog.text
    stamp(tmp_path / ONNX_FILE, files_digest(tmp_path))
    assert [_fastest_backend(tmp_path, device) for device in ("cpu", "cuda")] == ["onnx", "torch"]
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert _fastest_backend(tmp_path, "cpu") == "torch"
    (tmp_path / ONNX_FILE).write_bytes(b"no graph")
    assert _fastest_backend(tmp_path, "cpu") == "torch"


def test_an_export_says_of_which_weights_it_is(small_model, talking_clip, tmp_path):
    small_model.save_pretrained(tmp_path / "m")
    AutoProcessor.from_pretrained(TINY, size={"height": 32, "width": 32}).save_pretrained(tmp_path / "m")
    weights = files_digest(tmp_path / "m")
    for name, samples in (("exact", []), ("int8", [str(talking_clip)])):
        graph = export_model(str(tmp_path / "m"), tmp_path / name, "onnx", samples)
        assert exported_from(graph) == weights
        revision = Detector.from_pretrained(tmp_path / name, backend="auto").model_info["revision"]
        assert revision == files_digest(tmp_path / name, ONNX_FILE)
    shutil.copy(graph, tmp_path / "m")
    assert _fastest_backend(tmp_path / "m", "cpu") == "onnx"


def test_eight_bits_stay_near_on_the_clip_whose_ranges_they_have(small_model, onnx_file, talking_clip, tmp_path):
    processor = AutoProcessor.from_pretrained(TINY, size={"height": 32, "width": 32})
    path = tmp_path / ONNX_FILE
    path.write_bytes(onnx_file.read_bytes())
    quantize(path, small_model, processor, [str(talking_clip)])
    nodes = onnx.load(path).graph.node
    operators = [node.op_type for node in nodes]
    in_eight_bits = len(deep_convolutions(onnx.load(onnx_file).graph))
    made = {output for node in nodes if node.op_type == "DequantizeLinear" for output in node.output}
    assert sum(node.op_type == "Conv" and node.input[1] in made for node in nodes) == in_eight_bits
    assert operators.count("Conv") > in_eight_bits > 3
    eight_bits, exact = (OnnxModel(file, small_model.config, threads=1) for file in (path, onnx_file))
    for inputs in batches(small_model, processor, [str(talking_clip)]):
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        found, expected = (model(**tensors)["logits"].sigmoid() for model in (eight_bits, exact))
        assert not torch.equal(found, expected)
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_eight_bits_need_a_deep_network():
    graph = onnx.helper.make_graph([], "nothing", [], [])
    with pytest.raises(ValueError, match="deeper than 9 convolutions"):
        deep_convolutions(graph)


def test_eight_bits_need_a_window(small_model, onnx_file, tmp_path):
    processor = AutoProcessor.from_pretrained(TINY)
    (tmp_path / "empty.mp4").write_text("no media")
    with pytest.raises(ValueError, match="at least one window with a face"):
        list(batches(small_model, processor, [str(tmp_path / "empty.mp4")]))


def test_a_voice_gives_no_range_of_a_picture(small_model, talking_face, tmp_path, caplog):
    options = WriteOptions(audio_codec="pcm_s16le")
    path = write_clip(tmp_path / "voice.wav", None, waveform=talking_face[1], options=options)
    with pytest.raises(ValueError, match="at least one window with a face"):
        list(batches(small_model, AutoProcessor.from_pretrained(TINY), [str(path), str(tmp_path / "absent.mp4")]))
    assert "absent.mp4 gives no range" in caplog.text


def test_formats_that_do_not_exist_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="'onnx' or 'torch', but got 'tflite'"):
        export_model("nowhere", tmp_path, "tflite")
    with pytest.raises(ValueError, match="8-bit integers are for format 'onnx' only"):
        export_model("nowhere", tmp_path, "torch", ["clip.mp4"])
