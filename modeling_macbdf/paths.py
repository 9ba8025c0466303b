"""What a user typed as files, folders and globs, as a list of files."""

import glob
import os
from collections.abc import Sequence


def expand_paths(patterns: Sequence[str]) -> list[str]:
    """Files for what a user typed: a folder gives every file below it but hidden ones, a glob what it matches.

    A name that matches nothing stays in the list, and so does a folder that may not be read: both are reported and
    counted.
    """
    found: list[str] = []
    for pattern in patterns:
        if os.path.isdir(pattern):
            found += _files_below(pattern)
        elif not os.path.lexists(pattern) and glob.has_magic(pattern):
            found += _matches(pattern) or [pattern]
        else:
            found.append(pattern)
    if not found:
        raise ValueError(f"no file found in {', '.join(patterns)}")
    return list(dict.fromkeys(found))


def _matches(pattern: str) -> list[str]:
    """The files that a glob matches, and those below the folders that it matches."""
    matches = sorted(glob.glob(pattern, recursive=True))
    if "**" in pattern:  # matches those by itself
        return [name for name in matches if not os.path.isdir(name)]
    return [file for name in matches for file in (_files_below(name) if os.path.isdir(name) else [name])]


def _files_below(folder: str) -> list[str]:
    names: list[str] = []
    seen: set[tuple[int, int]] = set()  # folders, for links that lead back

    def unreadable(error: OSError) -> None:
        names.append(str(error.filename))

    for root, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = os.stat(root)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names += [os.path.join(root, name) for name in sorted(files) if not name.startswith(".")]
    return names
