"""What the documents show runs: every Python block, and every `macbdf` line through the real parser.

A block or line that the tests leave out says so to the reader: a Python block begins with
`# not run in the tests: ...`, an abbreviated command holds `...`.
"""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from modeling_macbdf import cli
from modeling_macbdf.hub.folder import stage_model

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = "# not run in the tests: "


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    found = []
    for path in DOCUMENTS:
        for block in blocks(path, "bash"):
            block = block.replace("\\\n", " ")
            for name, value in re.findall(r'^(\w+)="(.*)"$', block, flags=re.MULTILINE):
                block = block.replace(f"${name}", value)
            lines = block.splitlines()
            found += [line.strip() for line in lines if line.strip().startswith("macbdf ")]
    return [line for line in found if "..." not in shlex.split(line, comments=True)]


WITH_PYTHON = [path for path in DOCUMENTS if blocks(path, "python")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, talking_clip, tiny_folder):
    """A folder where the documents' names exist: self-made clips, and a model in the place of one on the Hub."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "hub_configs").symlink_to(ROOT / "hub_configs")
    (folder / "demo" / "generated").mkdir(parents=True)
    for name in ("demo/generated/talking_face.mp4", "interview.mp4"):
        (folder / name).symlink_to(talking_clip)
    (folder / "org" / "macb-df").mkdir(parents=True)
    stage_model(tiny_folder, folder / "org" / "macb-df", "org/macb-df")
    return folder


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda path: path.name)
def test_python_blocks_run(path, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    names: dict = {}
    for block in blocks(path, "python"):
        if not block.startswith(NOT_RUN):
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block, path.name, "exec"), names)


def test_there_are_commands_to_check():
    assert len(commands()) >= 10


@pytest.mark.parametrize("line", commands())
def test_macbdf_lines_parse(line):
    words = shlex.split(line, comments=True)[1:]
    cli._parser(words).parse_args(words)
