"""`pipeline("audio-visual-deepfake-detection")`: the verdicts of the detector, on whatever holds a file."""

import argparse
import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, pipeline

import modeling_macbdf  # registers the pipeline
from modeling_macbdf.detect_options import add_detect_arguments
from modeling_macbdf.evaluation.commands import add_model_arguments
from modeling_macbdf.hub.folder import stage_model
from modeling_macbdf.scoring import WINDOWS_AT_ONCE
from modeling_macbdf.verdicts import FileResult

TASK = "audio-visual-deepfake-detection"


@pytest.fixture(scope="module")
def pipe(tiny_folder):
    return pipeline(TASK, model=str(tiny_folder), device="cpu")


def told(result: FileResult) -> dict:
    """A verdict without what differs from call to call."""
    return dataclasses.asdict(result) | {"seconds": None}


def test_a_path_gets_the_verdict_of_the_command_line(pipe, detector, talking_clip):
    result = pipe(talking_clip)
    assert isinstance(result, FileResult)
    assert told(result) == told(detector.detect(talking_clip))


def test_bytes_and_rows_of_a_dataset_get_the_same_numbers(pipe, talking_clip):
    content = talking_clip.read_bytes()
    by_path = pipe(str(talking_clip))
    for source, name in [
        (content, "<bytes>"),
        ({"bytes": content, "path": "a.mp4"}, "a.mp4"),
        ({"path": str(talking_clip), "bytes": None}, str(talking_clip)),
    ]:
        assert told(pipe(source)) == told(dataclasses.replace(by_path, path=name))


def test_bytes_are_judged_where_a_file_needs_a_name(pipe, talking_clip, monkeypatch):
    """Windows opens no file that is still open under its name."""
    by_path = pipe(str(talking_clip))
    monkeypatch.setattr(modeling_macbdf.pipeline, "_NAMELESS", False)
    assert told(pipe(talking_clip.read_bytes())) == told(dataclasses.replace(by_path, path="<bytes>"))


def test_a_list_gives_a_list_with_a_result_for_every_file(pipe, talking_clip, tmp_path):
    results = pipe([talking_clip, tmp_path / "absent.mp4", b"no video"])
    assert [str(result.status) for result in results] == ["scored", "missing", "not_media"]
    assert results[1].p_fake is results[2].p_fake is None
    assert pipe([]) == []
    assert [result.status for result in pipe((tmp_path / "absent.mp4",))] == ["missing"]


@pytest.mark.parametrize("wrap", [lambda clips: (clip for clip in clips), iter, lambda clips: map(str, clips)])
def test_a_stream_is_judged_one_file_at_a_time(pipe, tmp_path, wrap):
    taken = []

    def clips():
        for number in range(3):
            taken.append(number)
            yield tmp_path / f"absent-{number}.mp4"

    results = pipe(wrap(clips()))
    assert taken in ([], [0])  # the base class looks at the first one
    assert next(iter(results)).status == "missing"
    assert len(taken) < 3


@pytest.mark.parametrize(("given", "largest"), [(1, 1), (2, 2), (None, 3)])
def test_the_model_sees_at_most_batch_size_windows(pipe, talking_clip, given, largest):
    sizes = []
    hook = pipe.model.joint_head.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    pipe([talking_clip], batch_size=given)
    hook.remove()
    assert sum(sizes) == 3  # windows of a clip of 6 s
    assert max(sizes) == largest


def test_detector_command_line_and_pipeline_hold_the_same_default(tiny_folder):
    pipe = pipeline(TASK, model=str(tiny_folder), device="cpu")
    parser = argparse.ArgumentParser()
    add_detect_arguments(parser)
    scoring = argparse.ArgumentParser()
    add_model_arguments(scoring)
    commands = {parser.parse_args(["clip.mp4"]).batch_size, scoring.parse_args(["--model", "m"]).batch_size}
    assert commands == {WINDOWS_AT_ONCE} == {pipe.detector.scorer.batch_size}


def test_the_batch_size_of_the_constructor_holds(tiny_folder, talking_clip, monkeypatch):
    pipe = pipeline(TASK, model=str(tiny_folder), device="cpu", batch_size=2)
    pipe(talking_clip)
    assert pipe.detector.scorer.batch_size == 2
    with pytest.raises(ValueError, match="at least 1 window, but got -1"):
        pipe(talking_clip, batch_size=-1)


def test_what_holds_no_file_is_refused(pipe):
    with pytest.raises(ValueError, match="path, bytes, or hold one of them, but got int"):
        pipe(3)


def test_a_saved_pipeline_loads_again(pipe, talking_clip, tmp_path):
    """The base class leaves the processor out."""
    pipe.save_pretrained(tmp_path / "m")
    AutoProcessor.from_pretrained(tmp_path / "m")
    again = pipeline(TASK, model=str(tmp_path / "m"), device="cpu")
    assert again(Path(talking_clip)).p_fake == pipe(talking_clip).p_fake


@pytest.fixture
def on_the_hub(tiny_folder, tmp_path) -> Path:
    """A folder as `macbdf push` sends it, with the code of model and pipeline."""
    (tmp_path / "m").mkdir()
    stage_model(tiny_folder, tmp_path / "m", "org/m")
    return tmp_path / "m"


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}], ids=["installed", "from the hub"])
def test_a_checkpoint_that_lacks_weights_is_refused(on_the_hub, options):
    """transformers fills what is missing with random numbers, and the pipeline once judged with them."""
    weights = load_file(on_the_hub / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "joint_head" not in name}
    save_file(kept, on_the_hub / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"m lacks the weights macbdf\.?|lacks the weights .*joint_head") as error:
        pipeline(TASK, model=str(on_the_hub), device="cpu", **options)
    assert type(error.value).__name__ == "UntrainedModelError"


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": True}], ids=["installed", "from the hub"])
def test_a_model_without_calibration_is_refused(on_the_hub, options):
    config = on_the_hub / "config.json"
    config.write_text(config.read_text().replace('"calibration"', '"calibration_of_old"'))
    with pytest.raises(ValueError, match="no calibration"):
        pipeline(TASK, model=str(on_the_hub), device="cpu", **options)


def test_a_pickle_is_refused(on_the_hub):
    torch.save(load_file(on_the_hub / "model.safetensors"), on_the_hub / "pytorch_model.bin")
    (on_the_hub / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no file named model\.safetensors"):
        pipeline(TASK, model=str(on_the_hub), device="cpu")
