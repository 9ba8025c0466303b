"""demo/ is a Space as it lies there: it asks for what the package needs, in the tested versions."""

import re
import tomllib
from pathlib import Path

from modeling_macbdf.hub.space import stage_space

ROOT = Path(__file__).resolve().parent.parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: Path) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def needed() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(d for extra in ("media", "synthetic", "provenance") for d in extras[extra])]
    return {normal(re.match(r"[\w.-]+", dependency)[0]) for dependency in wanted} - {"macb-df"}


def test_requirements_are_what_the_package_needs_in_the_tested_versions():
    asked = pins(ROOT / "demo" / "requirements.txt")
    tested = pins(ROOT / "constraints.txt")
    assert set(asked) == needed()
    assert {name: tested[name] for name in asked} == asked


def test_front_matter_names_the_tested_gradio():
    head = (ROOT / "demo" / "README.md").read_text().split("---")[1]
    assert f"sdk_version: {pins(ROOT / 'constraints.txt')['gradio']}\n" in head
    assert "app_file: app.py\n" in head


def test_the_staged_space_holds_app_package_and_weights(tiny_folder, tmp_path):
    stage_space(ROOT / "demo", tiny_folder, tmp_path / "space")
    for name in ("app.py", "requirements.txt", "modeling_macbdf/demo/launch.py"):
        assert (tmp_path / "space" / name).is_file()
    weights = tmp_path / "space" / "modeling_macbdf" / "hub_configs" / tiny_folder.name / "model.safetensors"
    assert weights.is_file()
