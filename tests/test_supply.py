"""What the project stands on, and what it never does: run what a checkpoint brings, or tell a token."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_macbdf import cli
from modeling_macbdf.inference import Detector

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))
supply = importlib.import_module("supply")
SOURCES = [*(ROOT / "modeling_macbdf").rglob("*.py"), ROOT / "train_accelerate.py"]
TOKEN = "hf_thisIsNoRealTokenButLooksLikeOne"


def test_every_dependency_is_pinned_to_one_version():
    pins = supply.constraints()
    assert len(pins) > 50
    assert supply.declared() <= set(pins)


def test_no_dependency_has_a_licence_that_binds_this_code():
    licences = {name: found for name in supply.constraints() if (found := supply.licence(name))}
    assert licences["numpy"].startswith("BSD-3-Clause")
    assert [name for name, text in licences.items() if supply.STRONG_COPYLEFT.search(text)] == []
    for text in ("GPL-3.0-only", "GNU Affero General Public License v3"):
        assert supply.STRONG_COPYLEFT.search(text)
    for text in ("LGPL-2.1-only", "GNU Lesser General Public License v3 (LGPLv3)", "MPL-2.0"):
        assert not supply.STRONG_COPYLEFT.search(text)


def unsafe_calls(text: str) -> list[str]:
    """Calls that run text or a pickle as code."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in ("eval", "exec", "os.system", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"):
            found.append(name)
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append(name)
        if options.get("shell") == "True" or options.get("allow_pickle") == "True":
            found.append(name)
    return found


@pytest.mark.parametrize("text", ["eval(x)", "torch.load(p)", "subprocess.run(c, shell=True)", "pickle.loads(b)"])
def test_the_search_for_unsafe_calls_finds_them(text):
    assert unsafe_calls(text)


def test_nothing_runs_text_or_pickles_as_code():
    assert {str(path): calls for path in SOURCES if (calls := unsafe_calls(path.read_text()))} == {}


def with_foreign_code(source: Path, folder: Path) -> Path:
    """A model folder whose config asks for code of its own, which leaves a mark when it runs."""
    shutil.copytree(source, folder)
    mark = folder / "ran"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
    for name in ("config.json", "processor_config.json"):
        settings = json.loads((folder / name).read_text())
        settings["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel", "AutoProcessor"), "own.Own")
        settings["model_type"] = "foreign"
        (folder / name).write_text(json.dumps(settings))
    return mark


def test_code_in_a_model_folder_does_not_run_without_the_users_flag(tiny_folder, tmp_path):
    mark = with_foreign_code(tiny_folder, tmp_path / "model")
    with pytest.raises(ValueError, match="trust_remote_code"):
        Detector.from_pretrained(tmp_path / "model", device="cpu")
    assert not mark.exists()
    with pytest.raises(Exception):  # noqa: B017  whatever follows from a class that is no model
        Detector.from_pretrained(tmp_path / "model", device="cpu", trust_remote_code=True)
    assert mark.exists(), "the folder asks for its own code, so the first part can fail"


def test_a_pickle_as_checkpoint_is_refused_in_words(tiny_folder, talking_clip, tmp_path, capsys):
    import torch

    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model" / "pytorch_model.bin")
    assert cli.main(["detect", str(talking_clip), "--model", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert "safetensors" in said
    assert "Traceback" not in said


def test_a_token_is_in_no_output(tiny_folder, talking_clip, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    report = tmp_path / "report.json"
    names = [str(talking_clip), str(tmp_path / "absent.mp4")]
    assert cli.main(["detect", *names, "--model", str(tiny_folder), "--json", str(report)]) == 1
    assert cli.main(["detect", *names, "--model", "nobody/no-such-model"]) == 2
    assert cli.main(["push", "--model", str(tiny_folder), "--repo", "nobody/no-such-model"]) == 2
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err + report.read_text()
    assert said.err.count("macbdf: ") == 2


def test_the_face_detector_reports_to_nobody(tmp_path):
    """Since 1.29 onnxruntime sends its sessions to its maker, unless it is told not to; its queue lies in the home."""
    program = "from modeling_macbdf.media.faces import CenterFaceDetector; CenterFaceDetector()"
    unset = ("ORT_DISABLE_TELEMETRY", "CI")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    homes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment | homes, cwd=ROOT)
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name] == []
