"""What the project stands on: whether every version is pinned, and under which licences.

    python benchmarks/supply.py [--audit]

`--audit` also asks pip-audit (to be installed apart) for known weaknesses, over the network.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Would bind this project's own code; LGPL and MPL, which bind their own files only, may be used.
STRONG_COPYLEFT = re.compile(r"\bA?GPL|(?<!Lesser )General Public License|\bSSPL", re.IGNORECASE)


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints() -> dict[str, str]:
    """Name -> version of constraints.txt.

    Raises:
        ValueError: a line that pins no exact version.
    """
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        name, exact, version = text.partition("==")
        if not exact or not re.fullmatch(r"[A-Za-z0-9.+!]+", version):
            raise ValueError(f"constraints.txt must pin exact versions, but has {text!r}")
        pins[normal(name)] = version
    return pins


def declared() -> set[str]:
    """The distributions that pyproject.toml asks for, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {normal(found.group()) for line in lines if (found := _NAME.match(line))}
    return names - {normal(project["name"])}


def licence(name: str) -> str | None:
    """What an installed distribution says of its licence; None where it is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    classifiers = [c.rpartition("::")[2].strip() for c in about.get_all("Classifier") or [] if "License ::" in c]
    expression, text = ((about.get_all(field) or [""])[0].strip() for field in ("License-Expression", "License"))
    text = text.partition("\n")[0][:60]  # some packages put the whole licence there
    return expression or ", ".join(classifiers) or text or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description="pins and licences of the dependencies")
    parser.add_argument("--audit", action="store_true", help="ask pip-audit too")
    arguments = parser.parse_args()
    pins = constraints()
    missing = declared() - set(pins)
    for name, version in pins.items():
        print(f"{name} {version}: {licence(name) or 'not installed'}")
    bound = [name for name in pins if STRONG_COPYLEFT.search(licence(name) or "")]
    print(f"{len(pins)} pinned; not pinned: {sorted(missing) or 'none'}; strong copyleft: {bound or 'none'}")
    audited = 0
    if arguments.audit:
        # strict: a package that its data do not know would pass as one without weaknesses
        command = [sys.executable, "-m", "pip_audit", "--strict", "--requirement", "constraints.txt", "--no-deps"]
        command += ["--disable-pip"]
        audited = subprocess.run(command, cwd=ROOT, check=False).returncode
    return 1 if missing or bound or audited else 0


if __name__ == "__main__":
    sys.exit(main())
