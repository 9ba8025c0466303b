"""The demo as a Space: its folder, this package beside it, and the weights that it shows."""

import shutil
from pathlib import Path

from .flatten import PACKAGE

_NOT_CODE = shutil.ignore_patterns("__pycache__", "generated", ".*")
_NEEDED = ("app.py", "README.md", "requirements.txt")


def stage_space(demo: Path, model: Path, out: Path) -> None:
    """Writes the folder that `macbdf push-space` sends.

    A Space installs its `requirements.txt` and runs `app.py` in its own folder, so the package lies beside it, with
    the weights in the place where `Detector.from_pretrained()` finds them.

    Args:
        demo: the project's folder `demo`.
        model: the model folder to show.
        out: an empty folder.

    Raises:
        ValueError: `demo` is no Space, or `model` has no weights.
    """
    missing = [name for name in _NEEDED if not (demo / name).is_file()]
    if missing:
        raise ValueError(f"demo must be the project's folder demo/, but {demo} lacks {', '.join(missing)}")
    if not (model / "model.safetensors").is_file():
        raise ValueError(f"model must be a folder with model.safetensors, but got {model}")
    shutil.copytree(demo, out, dirs_exist_ok=True, ignore=_NOT_CODE)
    ours = out / PACKAGE.name
    shutil.copytree(PACKAGE, ours, ignore=shutil.ignore_patterns("__pycache__", "hub_configs"))
    shutil.copytree(model, ours / "hub_configs" / model.resolve().name, dirs_exist_ok=True, ignore=_NOT_CODE)
