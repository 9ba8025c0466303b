"""What is installed with what: extras that are missing say so with the command that installs them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]

WITHOUT = """
import json, sys, time
blocked = sys.argv[1].split()
for name in blocked:
    sys.modules[name] = None  # an import of it fails as if it were not installed
import contextlib, io, runpy
import torch
from transformers import PreTrainedModel
started = time.process_time()
import modeling_macbdf
answers = {"import_s": time.process_time() - started}
from modeling_macbdf import cli

def said(*words, run=cli.main):
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = run(list(words))
        except SystemExit as ended:
            code = ended.code
    return [code, error.getvalue()]

answers["detect"] = said("detect", "clip.mp4", "--model", sys.argv[2])
answers["preprocess"] = said("preprocess", "--dataset", "manifest", "--root", "list.csv", "--out", "cache")
dataset = ("--dataset", "manifest", "--root", "list.csv")
answers["evaluate"] = said("evaluate", "--model", "m", *dataset, "--json", "o.json")
answers["train"] = said(run=lambda words: runpy.run_path(sys.argv[3], run_name="__main__"))
from transformers import pipeline
try:
    pipeline("audio-visual-deepfake-detection", model=sys.argv[2], device="cpu")
except ImportError as error:
    answers["pipeline"] = [2, str(error)]
for name in ("av", "onnxruntime", "soundfile"):
    sys.modules.pop(name, None)
answers["make-clip"] = said("make-clip", "clip.mp4")
print(json.dumps(answers))
"""
# Import names of what the extras install, but for what transformers brings anyway.
OF_EXTRAS = (
    "av onnxruntime soundfile accelerate datasets pyarrow sklearn scipy matplotlib evaluate skimage gradio onnx"
)


def test_a_missing_extra_answers_with_the_command_and_the_bare_package_imports_fast(tiny_folder, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", WITHOUT, OF_EXTRAS, str(tiny_folder), str(ROOT / "train_accelerate.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.strip().splitlines()[-1])
    assert answers.pop("import_s") < 2.0  # CPU seconds beyond torch and transformers
    extras = {
        "detect": "media",
        "pipeline": "media",
        "preprocess": "",
        "evaluate": "",
        "train": "train",
        "make-clip": "synthetic",
    }
    for name, (code, message) in answers.items():
        assert code == 2, (name, message)
        assert re.search(rf"pip install -e ['\"]\.\[{extras[name] or '(media|train)'}\]['\"]", message), (
            name,
            message,
        )


def names(requirements: list[str]) -> set[str]:
    """Names of the distributions that a list of requirements installs, extras of ours resolved."""
    found = set()
    for requirement in requirements:
        if ours := re.fullmatch(r"macb-df\[(.+)\]", requirement):
            found |= names([one for extra in ours[1].split(",") for one in EXTRAS[extra]])
        else:
            found.add(re.match(r"[\w.-]+", requirement)[0].lower())
    return found


def test_every_extra_is_there_and_pinned():
    assert {"media", "demo", "train", "export", "dev"} <= set(EXTRAS)
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    wanted = names([*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)])
    assert wanted - pinned == set()


def test_the_space_installs_what_the_demo_needs():
    lines = (ROOT / "demo" / "requirements.txt").read_text().splitlines()
    listed = names([line for line in lines if line and line[0] not in "#-"])
    needed = names([*PROJECT["dependencies"], *EXTRAS["demo"]]) - {"gradio"}  # which the Space brings
    assert needed <= listed


def test_the_package_knows_its_types_and_its_weights():
    assert (ROOT / "modeling_macbdf" / "py.typed").is_file()
    link = ROOT / "modeling_macbdf" / "hub_configs"
    assert link.resolve() == ROOT / "hub_configs"  # setuptools follows it into the wheel


def test_the_package_takes_along_every_file_of_its_model_folders():
    """The identities of the people trained on were once left behind, and with them the check for overlap."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["*"]
    for folder in (ROOT / "hub_configs").glob("macb-df-*"):
        taken = {path for pattern in patterns for path in folder.glob(pattern)}
        assert taken == {path for path in folder.rglob("*") if path.is_file()}
