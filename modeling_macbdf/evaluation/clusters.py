"""Which clips hang together: a bootstrap draws whole clusters of them, since clips of one person are no two votes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# A cluster of more than this share of the clips, joined from several people, leaves nothing to draw.
_LARGEST = 0.5


def clusters(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """The cluster of each clip: clips that share a person (a swap's target and donor alike) or footage.

    Where nearly all are chained to each other by swaps among few people, the first person that each clip names.

    Args:
        rows: of `score.row_of`: "identity", names joined by "|", and "pair".

    Returns:
        A name for each clip (N,), its cluster's first one, and what the clusters are, in words.
    """
    named = [str(row["identity"]).split("|") for row in rows]
    links = [
        [*names, f"pair {row['pair']}"] if row.get("pair") else names for names, row in zip(named, rows, strict=True)
    ]
    places = {link: len(rows) + number for number, link in enumerate(sorted({link for own in links for link in own}))}
    edges = [(clip, places[link]) for clip, own in enumerate(links) for link in own]
    clips, targets = np.array(edges, int).reshape(-1, 2).T
    size = len(rows) + len(places)
    graph = coo_array((np.ones(len(edges)), (clips, targets)), shape=(size, size))
    group = connected_components(graph, directed=False)[1][: len(rows)]
    largest = group == np.bincount(group, minlength=1).argmax()
    first = [names[0] for names in named]
    if largest.mean() > _LARGEST and len({name for name, is_in in zip(first, largest, strict=True) if is_in}) > 1:
        return first, "the first identity of each clip"
    called: dict[int, str] = {}
    for number, names in zip(group.tolist(), named, strict=True):
        called[number] = min(called.get(number, names[0]), *names)
    return [called[number] for number in group.tolist()], "identities"
