"""The shape of the package: imports run one way, and the model's files travel to the Hub and answer there the same."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor
from transformers.dynamic_module_utils import get_relative_import_files

import modeling_macbdf
from modeling_macbdf.hub.flatten import flat_files

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "modeling_macbdf"
H_FILES = {path.stem for path in PACKAGE.glob("*_macbdf.py")}
H_THIRD_PARTY = {"torch", "numpy", "transformers", "huggingface_hub"}
LITE = {
    "use_color": False,
    "stem_size": 8,
    "hidden_sizes": [8, 16, 24],
    "depths": [1, 1, 1],
    "kernel_sizes": [3, 3, 5],
    "strides": [1, 2, 2],
    "expansions": [1, 2, 2],
}
# Each may import itself and what stands in a later line.
LAYERS = (
    ("train_accelerate", "__main__", "cli", "detect_options", "demo"),
    ("training", "hub"),
    (
        "pipeline",
        "evaluation",
        "inference",
        "report",
        "evidence",
        "export",
        "streaming",
        "batch",
        "isolation",
        "judging",
    ),
    ("scoring", "sources", "verdicts", "windows", "provenance", "picture", "onnx_model"),
    ("data", "media", "optim", "H"),
)
# Of ours, these import nothing outside themselves.
ALONE = ("optim/pareto.py", "evaluation/metrics.py", "data/records.py", "media")


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, as "media.decode" or "losses_macbdf"."""
    found = set()
    here = path.relative_to(PACKAGE).parent.parts if path.is_relative_to(PACKAGE) else ()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = list(here[: len(here) - node.level + 1]) if node.level else []
            names = [*base, *(node.module.split(".") if node.module else [])]
            if node.level == 0 and names[:1] == ["modeling_macbdf"]:
                names = names[1:]
            elif node.level == 0:
                continue
            found |= {".".join([*names, alias.name]) for alias in node.names} if not names else {".".join(names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("modeling_macbdf.") for alias in node.names if "macbdf" in alias.name}
    return found


def layer(module: str) -> int:
    """Row of `LAYERS`; the package itself and what has no row stand beside everything."""
    top = module.split(".")[0]
    name = "H" if top in H_FILES else top
    return next((row for row, names in enumerate(LAYERS) if name in names), len(LAYERS))


def python_files() -> list[Path]:
    others = [ROOT / "train_accelerate.py", *(ROOT / "demo").glob("*.py")]
    return [*PACKAGE.rglob("*.py"), *(path for path in others if path.exists())]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    if path == PACKAGE / "__init__.py":
        pytest.skip("the package's front door shows the model")
    own = ".".join(path.relative_to(PACKAGE).with_suffix("").parts) if path.is_relative_to(PACKAGE) else path.stem
    own = "demo" if path.parent == ROOT / "demo" else own
    upward = {name for name in imports(path) if layer(name) < layer(own)}
    assert not upward, f"{own} imports {upward}"


@pytest.mark.parametrize("name", ALONE)
def test_what_stands_alone_imports_nothing_else_of_ours(name):
    place = PACKAGE / name
    inside = name.removesuffix(".py").split("/")[0]
    for path in [place] if place.suffix else place.rglob("*.py"):
        assert all(module.split(".")[0] == inside for module in imports(path)), path


@pytest.mark.parametrize("name", sorted(H_FILES))
def test_a_file_for_the_hub_needs_only_its_neighbours_and_four_libraries(name):
    path = PACKAGE / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, ast.unparse(node)
            assert node.module in H_FILES, ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in names:
                top = module.split(".")[0]
                assert top in H_THIRD_PARTY or top in sys.stdlib_module_names, ast.unparse(node)
                assert module != "__future__", "annotations as strings do not load from the Hub"


def test_the_loader_finds_every_file_that_the_model_needs():
    roots = ("modeling_macbdf", "processing_macbdf")
    found = {Path(file).stem for root in roots for file in get_relative_import_files(PACKAGE / f"{root}.py")}
    assert found | set(roots) == H_FILES


def hard_imports(tree: ast.AST) -> set[str]:
    """Top-level names that a file imports outside `try`: what the Hub's loader asks of a user."""
    if isinstance(tree, ast.Try):
        return set()
    found = {alias.name.split(".")[0] for alias in tree.names} if isinstance(tree, ast.Import) else set()
    if isinstance(tree, ast.ImportFrom) and not tree.level:
        found = {tree.module.split(".")[0]}
    return found.union(*(hard_imports(child) for child in ast.iter_child_nodes(tree)))


def test_the_pipeline_goes_to_the_hub_as_flat_files_that_need_three_libraries(tmp_path):
    """They are the package's own files, so this says what `inference.py` and `media/` may import outside `try`."""
    files = flat_files("pipeline")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        foreign = hard_imports(ast.parse(text)) - sys.stdlib_module_names
        assert foreign <= H_THIRD_PARTY, name
    found = {Path(file).name for file in get_relative_import_files(tmp_path / "pipeline.py")}
    assert found | {"pipeline.py"} == set(files)


def test_flat_files_differ_from_the_package_in_their_relative_imports_alone():
    flat, own = flat_files("pipeline")["inference.py"], (PACKAGE / "inference.py").read_text()
    pairs = zip(flat.splitlines(), own.splitlines(), strict=True)
    changed = [line for other, line in pairs if other != line]
    assert changed
    assert all(line.startswith("from .") for line in changed)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny model on each built-in tower with its processor, an input, and the answers that they gave here."""
    folder = tmp_path_factory.mktemp("saved")
    source = ROOT / "hub_configs" / "macb-df-tiny"
    torch.manual_seed(0)
    config = modeling_macbdf.MACBDFConfig.from_pretrained(source)
    processor = AutoProcessor.from_pretrained(source)
    crops = torch.randint(0, 256, (16, 64, 64, 3), dtype=torch.uint8)
    inputs = {"videos": [crops, crops], "audio": [torch.randn(51200), None], "sampling_rate": 16000}
    expected = {"inputs": inputs, "logits": {}}
    for tower in (config.video_config, modeling_macbdf.MACBDFLiteVideoConfig(**LITE)):
        config.video_config = tower
        model = modeling_macbdf.MACBDFForClassification(config).eval()
        model.save_pretrained(folder / tower.model_type)
        processor.save_pretrained(folder / tower.model_type)
        with torch.no_grad():
            expected["logits"][tower.model_type] = model(**processor(**inputs)).logits
    torch.save(expected, folder / "expected.pt")
    return folder


ELSEWHERE = """
import json, sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoProcessor
torch.set_num_threads(1)
folder, remote = sys.argv[1], sys.argv[2] == "remote"
if not remote:
    import modeling_macbdf
options = {"trust_remote_code": True} if remote else {}
expected = torch.load(folder + "/expected.pt")
answers = {"installed": "modeling_macbdf" in sys.modules}
for tower, logits in expected["logits"].items():
    place = folder + "/" + tower
    assert AutoConfig.from_pretrained(place, **options).video_config.model_type == tower
    inputs = AutoProcessor.from_pretrained(place, **options)(**expected["inputs"])
    for auto in (AutoModel, AutoModelForVideoClassification):
        model = auto.from_pretrained(place, **options)
        with torch.no_grad():
            output = model(**inputs)
        answers[tower, auto.__name__] = torch.equal(output.logits, logits)
        answers["module"] = type(output).__module__
        if remote:
            model.save_pretrained(place + "/again")
            with torch.no_grad():
                again = auto.from_pretrained(place + "/again", **options)(**inputs)
            answers[tower, auto.__name__, "saved again"] = torch.equal(again.logits, logits)
answers = {" ".join(name) if isinstance(name, tuple) else name: value for name, value in answers.items()}
print(json.dumps(answers))
"""


def run_elsewhere(saved, tmp_path, mode: str, path: str) -> dict:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", ELSEWHERE, str(saved), mode]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_remote_code_answers_bit_for_bit_the_same_where_the_package_is_unknown(saved, tmp_path):
    answers = run_elsewhere(saved, tmp_path, "remote", "")
    assert answers.pop("installed") is False
    assert answers.pop("module").startswith("transformers_modules.")
    assert answers == {
        f"{tower} {auto}{again}": True
        for tower in ("macbdf_video", "macbdf_lite_video")
        for auto in ("AutoModel", "AutoModelForVideoClassification")
        for again in ("", " saved again")
    }


def test_the_installed_package_loads_the_same_folder_bare(saved, tmp_path):
    answers = run_elsewhere(saved, tmp_path, "installed", str(ROOT))
    assert answers.pop("installed") is True
    assert answers.pop("module") == "modeling_macbdf.modeling_macbdf"
    assert answers == {
        f"{tower} {auto}": True
        for tower in ("macbdf_video", "macbdf_lite_video")
        for auto in ("AutoModel", "AutoModelForVideoClassification")
    }


def test_every_shipped_size_loads_and_keeps_its_budget():
    folders = sorted(path.parent for path in (ROOT / "hub_configs").glob("*/config.json"))
    assert [folder.name for folder in folders] == ["macb-df-base", "macb-df-small", "macb-df-tiny"]
    budget = {"macb-df-tiny": 1e6, "macb-df-small": 7e6, "macb-df-base": 60e6}
    for folder in folders:
        config = modeling_macbdf.MACBDFConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = AutoModel.from_config(config)
        assert sum(parameter.numel() for parameter in model.parameters()) < budget[folder.name]
        processor = AutoProcessor.from_pretrained(folder)
        assert processor.image_processor.size["height"] == config.video_config.image_size
        assert processor.image_processor.num_frames == config.num_frames == processor.feature_extractor.num_frames
        assert processor.feature_extractor.feature_size == config.audio_config.num_mel_bins
