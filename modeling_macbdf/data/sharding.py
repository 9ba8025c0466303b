"""Which share of the clips a process works on."""

from __future__ import annotations

from collections.abc import Mapping


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
