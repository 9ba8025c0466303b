"""A disk that takes no more is told as that, with what it was to take and what is kept."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit on a file's size
_FULL_BYTES = 2**20  # less is free: some writers (torch, safetensors) do not say why they failed


@contextmanager
def full_disk_told(path: Path, kept: str) -> Iterator[None]:
    """Names what was being written where the block fails because no more can be written.

    Args:
        path: what is written.
        kept: what is safe and how to go on, in words.

    Raises:
        OSError: with both; every other error passes.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if number not in _NO_MORE and (number is not None or _free_bytes(path) >= _FULL_BYTES):
            raise
        why = getattr(error, "strerror", None) or "no space is left"
        raise OSError(number or errno.ENOSPC, f"{why}; {kept}", str(path)) from error


def _free_bytes(path: Path) -> int:
    there = next(place for place in (path, *path.absolute().parents) if place.is_dir())
    return shutil.disk_usage(there).free
