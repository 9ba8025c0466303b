"""What a user typed as files, folders and globs, as a list of files."""

import glob
import os
from collections.abc import Sequence


def expand_paths(patterns: Sequence[str]) -> list[str]:
    """Files for what a user typed: a folder gives every file below it but hidden ones, a glob what it matches.

    A name that matches nothing stays in the list, so that it is reported as missing and counted.
    """
    found: list[str] = []
    for pattern in patterns:
        if os.path.isdir(pattern):
            found += _files_below(pattern)
        elif not os.path.lexists(pattern) and glob.has_magic(pattern):
            matches = sorted(glob.glob(pattern, recursive=True))
            found += [name for name in matches if not os.path.isdir(name)] or [pattern]
        else:
            found.append(pattern)
    if not found:
        raise ValueError(f"no file found in {', '.join(patterns)}")
    return list(dict.fromkeys(found))


def _files_below(folder: str) -> list[str]:
    names = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [os.path.join(root, name) for name in sorted(files) if not name.startswith(".")]
    return names
