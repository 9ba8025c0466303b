"""A push with the real client: what is sent, what is refused, and what another machine makes of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from modeling_macbdf import cli
from modeling_macbdf.inference import Detector, UntrainedModelError
from modeling_macbdf.training.arguments import MACBDFTrainingArguments
from modeling_macbdf.training.trainer import MACBDFTrainer

from .server import TOKEN

REPO = "acme/macb-df"


def push(model: Path, *options: str, repo: str = REPO) -> int:
    return cli.main(["push", "--repo", repo, "--model", str(model), *options])


@pytest.fixture
def changed(tiny_folder, tmp_path):
    """The model after more training: one weight differs."""
    folder = tmp_path / "changed"
    folder.mkdir()
    for name in ("config.json", "processor_config.json"):
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    weights = load_file(tiny_folder / "model.safetensors")
    name = next(name for name, value in weights.items() if "joint_head" in name and value.is_floating_point())
    weights[name] = weights[name] + 1.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_dry_run_lists_the_files_and_needs_neither_token_nor_network(hub, tiny_folder, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    assert push(tiny_folder, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "nothing is sent" in told
    assert "private if it is new" in told
    for name in ("model.safetensors", "modeling_macbdf.py", "detector/pipeline.py", "README.md", "example.py"):
        assert name in told
    assert hub.requests == []


def test_without_a_token_it_says_how_to_get_one(hub, tiny_folder, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert push(tiny_folder) == 2
    assert "hf auth login" in capsys.readouterr().err


def test_a_token_that_may_not_write_is_named(hub, token, tiny_folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert push(tiny_folder) == 2
    assert "refused to write to acme/macb-df" in capsys.readouterr().err


def test_without_a_network_it_names_the_address(tiny_folder, token, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert push(tiny_folder) == 2
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("repo", ["macb-df", "a/b/c", "acme/bad name"])
def test_a_bad_name_is_refused_before_anything_is_read(repo, tmp_path, capsys):
    assert push(tmp_path, repo=repo) == 2
    assert repo in capsys.readouterr().err


def test_what_is_no_whole_model_is_not_pushed(hub, token, changed, tmp_path):
    assert push(tmp_path) == 2
    weights = load_file(changed / "model.safetensors")
    weights.pop(next(name for name in weights if "joint_head" in name))
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    from modeling_macbdf.hub.folder import stage_model

    (tmp_path / "out").mkdir()
    with pytest.raises(UntrainedModelError, match="joint_head"):
        stage_model(changed, tmp_path / "out", REPO)
    assert ("model", REPO) not in hub.repositories


ELSEWHERE = """
import json, os, sys
sys.modules["modeling_macbdf"] = None  # as if it were not installed
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline
torch.set_num_threads(1)
repo, first, folder = sys.argv[1:]
given = torch.load(folder + "/inputs.pt")
answers = {}
for name, revision in (("main", None), ("first", first)):
    options = {"trust_remote_code": True, "revision": revision}
    model = AutoModel.from_pretrained(repo, **options).eval()
    inputs = AutoProcessor.from_pretrained(repo, **options)(**given)
    with torch.no_grad():
        answers[name] = model(**inputs).logits.tolist()
    answers[name + " config"] = AutoConfig.from_pretrained(repo, **options).calibration["source"]
pipe = pipeline("audio-visual-deepfake-detection", model=repo, trust_remote_code=True, device="cpu", revision=first)
result = pipe(folder + "/clip.mp4")
answers["pipeline"] = [result.p_fake, str(result.verdict), type(result).__module__.split(".")[0]]
print(json.dumps(answers))
"""


def elsewhere(folder: Path, first: str, **environment: str) -> dict:
    """What a machine without the package answers."""
    own = {"HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", ELSEWHERE, REPO, first, str(folder)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **own, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_two_pushes_then_another_machine_and_then_without_network(
    hub, token, tiny_folder, changed, talking_clip, tmp_path, capsys
):
    assert push(tiny_folder) == 0
    repository = hub.repositories["model", REPO]
    assert repository.private
    assert "/commit/" in capsys.readouterr().out
    first = repository.commits[-1][0]
    sent = hub.files(REPO)
    assert json.loads(sent["config.json"])["custom_pipelines"]
    assert REPO in sent["README.md"].decode()
    assert REPO in sent["example.py"].decode()
    assert not any(name.endswith((".bin", ".pt")) for name in sent)
    repository.commits[-1][2]["old.py"] = b"# of an earlier version"
    assert push(changed, "--public") == 0
    assert len(repository.commits) == 3  # one commit a push
    assert "old.py" not in hub.files(REPO)

    torch.manual_seed(0)
    crops = torch.randint(0, 256, (16, 64, 64, 3), dtype=torch.uint8)
    given = {"videos": [crops], "audio": [torch.randn(51200)], "sampling_rate": 16000}
    torch.save(given, tmp_path / "inputs.pt")
    (tmp_path / "clip.mp4").symlink_to(talking_clip)
    expected = {}
    for name, folder in (("first", tiny_folder), ("main", changed)):
        detector = Detector.from_pretrained(folder, device="cpu")
        with torch.no_grad():
            expected[name] = detector.model(**detector.scorer.processor(**given)).logits.tolist()
        if name == "first":
            result = detector.detect(talking_clip)

    online = elsewhere(tmp_path, first, HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
    for name in ("first", "main"):
        assert online[name] == expected[name]
        assert online[f"{name} config"] == "made up for a test"
    assert online["main"] != online["first"]
    assert online["pipeline"] == [result.p_fake, str(result.verdict), "transformers_modules"]
    before = len(hub.requests)
    assert elsewhere(tmp_path, first, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1") == online
    assert len(hub.requests) == before


def test_the_trainer_sends_what_the_command_sends(hub, token, tiny_folder, tmp_path):
    arguments = MACBDFTrainingArguments(output_dir=str(tmp_path), hub_model_id="acme/trained", report_to="none")
    detector = Detector.from_pretrained(tiny_folder, device="cpu")
    trainer = MACBDFTrainer(detector.model, arguments, processing_class=detector.scorer.processor)
    commit = trainer.push_to_hub("Trained")
    assert push(tiny_folder, repo="acme/by-command") == 0
    by_trainer, by_command = hub.files("acme/trained"), hub.files("acme/by-command")
    assert set(by_trainer) == set(by_command)
    assert hub.repositories["model", "acme/trained"].private
    assert hub.repositories["model", "acme/trained"].commits[-1][:2] == (commit.oid, "Trained")
    code = {name for name in by_trainer if name.endswith(".py") and name != "example.py"}
    assert all(by_trainer[name] == by_command[name] for name in code | {"config.json", "model.safetensors"})


@pytest.fixture
def demo(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "app.py").write_text("from modeling_macbdf.inference import Detector\n")
    (folder / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\n---\n")
    (folder / "requirements.txt").write_text("gradio\n")
    (folder / "generated").mkdir()
    (folder / "generated" / "clip.mp4").write_bytes(b"made here")
    return folder


def push_space(demo: Path, *options: str) -> int:
    return cli.main(["push-space", "--repo", "acme/demo", "--demo", str(demo), *options])


def test_a_space_holds_the_demo_the_package_and_one_model(hub, token, demo, tiny_folder):
    assert push_space(demo, "--model", str(tiny_folder)) == 0
    space = hub.repositories["space", "acme/demo"]
    assert (space.private, space.sdk) == (True, "gradio")
    sent = hub.files("acme/demo", "space")
    weights = f"modeling_macbdf/hub_configs/{tiny_folder.name}/model.safetensors"
    assert {"app.py", "README.md", "requirements.txt", "modeling_macbdf/media/decode.py", weights} <= set(sent)
    assert [name for name in sent if name.endswith(".safetensors")] == [weights]
    assert not any("generated" in name or "__pycache__" in name for name in sent)


def test_a_space_that_is_pushed_again_keeps_no_other_model(hub, token, demo, tiny_folder, tmp_path):
    """Otherwise it went on judging with the first one, whose name comes first."""
    other = tmp_path / "zebra"
    shutil.copytree(tiny_folder, other)
    assert push_space(demo, "--model", str(tiny_folder)) == 0
    assert push_space(demo, "--model", str(other)) == 0
    kept = [name for name in hub.files("acme/demo", "space") if name.endswith(".safetensors")]
    assert kept == ["modeling_macbdf/hub_configs/zebra/model.safetensors"]


def test_a_space_needs_its_files_and_weights(demo, tmp_path, capsys):
    assert push_space(demo, "--model", str(tmp_path), "--dry-run") == 2
    assert "folder with model.safetensors" in capsys.readouterr().err
    (demo / "requirements.txt").unlink()
    assert push_space(demo, "--dry-run") == 2
    assert "lacks requirements.txt" in capsys.readouterr().err
