"""Which share of the clips a process works on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` with 0 <= i < n.

    Raises:
        ValueError: the text has another form.
    """
    first, _, second = text.partition("/")
    if not (first.isdigit() and second.isdigit() and int(first) < int(second)):
        raise ValueError(f"shard must read i/n with 0 <= i < n, but got {text!r}")
    return int(first), int(second)


def launched_shard(shard: tuple[int, int], environment: Mapping[str, str]) -> tuple[int, int]:
    """This process's part of a share where a launcher started several processes, told by `RANK` and `WORLD_SIZE`.

    Raises:
        ValueError: the two do not make sense.
    """
    rank, world = environment.get("RANK", "0"), environment.get("WORLD_SIZE", "1")
    part, parts = parse_shard(f"{rank}/{world}")
    return shard[0] * parts + part, shard[1] * parts


def in_share(paths: Sequence[str], shard: tuple[int, int]) -> list[bool]:
    """Which files of a list belong to the share (i, n).

    It follows from a file's place below the folder that all of them have in common: machines may have the data in
    different places, and still every file belongs to one of them.
    """
    places = [os.path.abspath(path) for path in paths]
    top = os.path.commonpath(places) if places else ""
    names = (os.fsencode(os.path.relpath(place, top)) for place in places)
    return [int(hashlib.sha256(name).hexdigest(), 16) % shard[1] == shard[0] for name in names]
