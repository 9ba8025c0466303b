"""The detector as flat files for the Hub, whose loader follows `from .name import X` and nothing else.

The files are the package's own, byte for byte but for the names in their relative imports: `media/decode.py` becomes
`media_decode.py`. So there is one decoder and one cropper, wherever a verdict is made.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def flat_files(root: str) -> dict[str, str]:
    """File name -> text, of a module and of everything of ours that it imports.

    Args:
        root: a module of the package, as "pipeline".

    Raises:
        ValueError: an import that the Hub's loader cannot follow.
    """
    done: dict[str, str] = {}
    waiting = [root]
    while waiting:
        module = waiting.pop()
        name = f"{_flat(module)}.py"
        if name not in done:
            done[name], needed = _flattened(module)
            waiting += needed
    return done


def _flat(module: str) -> str:
    return module.replace(".", "_")


def _source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _flattened(module: str) -> tuple[str, list[str]]:
    """The text of a module with flat imports, and the modules that it imports."""
    path = _source(module)
    text = path.read_text(encoding="utf-8")
    package = path.parent.relative_to(PACKAGE).parts
    lines, needed = text.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = _target(node, package, path)
            if target is None:
                continue
            needed.append(target)
            line = lines[node.lineno - 1]
            written = "." * node.level + (node.module or "")
            lines[node.lineno - 1] = line.replace(f"from {written} import", f"from .{_flat(target)} import", 1)
    return "".join(lines), needed


def _target(node: ast.ImportFrom, package: tuple[str, ...], path: Path) -> str | None:
    """The module that a relative import names, as "media.decode".

    None for `from . import name` in the package's own folder, which works among flat files as well. The loader does
    not see it, so the module has to be imported by its name too.
    """
    if node.module is None:
        if package:
            raise ValueError(f"{path.name} line {node.lineno} must import from a module by its name, to go to the Hub")
        return None
    return ".".join([*package[: len(package) - node.level + 1], node.module])
