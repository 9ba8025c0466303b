"""Splits that do not leak: by person, by generator, by language, as published; written with a hash.

Two clips that share a person (the target of a swap and its donor count alike) or footage (`pair`) belong to one
group, however long the chain between them, and a group is never divided.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .records import ClipRecord

Splits = dict[str, list[ClipRecord]]
NAMED = 5  # clips named in a message


def _links(record: ClipRecord) -> list[str]:
    """What ties a clip to others. A name means the same person only within one dataset."""
    where = f"{record.dataset}\n"
    links = [f"{where}person\n{name}" for name in record.identities]
    return [*links, f"{where}pair\n{record.pair}"] if record.pair else links


def identity_groups(records: Sequence[ClipRecord]) -> list[list[ClipRecord]]:
    """Clips that share people or footage, directly or through others (union-find).

    Returns:
        Groups in order of their first clip; the clips of a group in their order.
    """
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for record in records:
        own = find(f"clip\n{record.key}")
        for link in _links(record):
            parent[find(link)] = own = find(own)
    groups: dict[str, list[ClipRecord]] = {}
    for record in records:
        groups.setdefault(find(f"clip\n{record.key}"), []).append(record)
    return list(groups.values())


def _shuffled(groups: Iterable[list[ClipRecord]], seed: int) -> list[list[ClipRecord]]:
    """Groups by a hash of their clips' places in the dataset: the same on every machine."""

    def order(group: list[ClipRecord]) -> str:
        names = sorted("\n".join((*record.identities, record.pair, Path(record.path).name)) for record in group)
        return hashlib.sha256(f"{seed}\n{names[0]}".encode()).hexdigest()

    return sorted(groups, key=order)


def split_by_identity(records: Sequence[ClipRecord], shares: Mapping[str, float], seed: int = 0) -> Splits:
    """Groups of people dealt out so that every split gets about its share of the clips.

    Args:
        records: of one or more datasets.
        shares: split -> share of the clips; they sum to 1.
        seed: another seed, another division.

    Raises:
        ValueError: shares do not sum to 1, or a split stays empty because the groups are too large.
    """
    if not shares or any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"shares must be positive and sum to 1, but got {dict(shares)}")
    splits: Splits = {name: [] for name in shares}
    # Large groups first: a small one can still even out what a large one upset.
    for group in sorted(_shuffled(identity_groups(records), seed), key=len, reverse=True):
        lacking = {name: share * len(records) - len(splits[name]) for name, share in shares.items()}
        splits[max(lacking, key=lambda name: lacking[name])] += group
    empty = [name for name, clips in splits.items() if not clips]
    if empty:
        raise ValueError(f"records must form enough groups of people for {tuple(shares)}, but {empty} stay empty")
    return splits


def identity_folds(records: Sequence[ClipRecord], folds: int = 5, seed: int = 0) -> list[Splits]:
    """Cross-validation without shared people: each fold is tested once.

    Raises:
        ValueError: fewer than two folds, or too few groups of people.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, but got {folds}")
    parts = split_by_identity(records, {str(i): 1 / folds for i in range(folds)}, seed)
    names = list(parts)
    return [
        {"train": [r for name in names if name != held for r in parts[name]], "test": parts[held]} for held in names
    ]


def leave_generator_out(splits: Splits, generator: str, test: str = "test") -> Splits:
    """The test split keeps its reals and this generator's fakes; all other splits lose this generator.

    Args:
        splits: by identity, so that people stay apart as well.
        generator: the one to hold out.
        test: name of the split to test on.

    Raises:
        ValueError: there is no such split, or it has no fake of this generator.
    """
    if test not in splits or not any(record.generator == generator for record in splits[test]):
        raise ValueError(f"test split {test!r} must hold fakes of {generator!r}, but it has none")
    return {
        name: [r for r in clips if (r.label == 0 or (r.generator == generator) == (name == test))]
        for name, clips in splits.items()
    }


def leave_language_out(splits: Splits, language: str, test: str = "test") -> Splits:
    """The test split keeps this language only; all other splits lose it.

    Raises:
        ValueError: there is no such split, or it has no clip in this language.
    """
    if test not in splits or not any(record.language == language for record in splits[test]):
        raise ValueError(f"test split {test!r} must hold clips in {language!r}, but it has none")
    return {name: [r for r in clips if (r.language == language) == (name == test)] for name, clips in splits.items()}


def published_splits(records: Sequence[ClipRecord]) -> Splits:
    """The division that the dataset came with.

    Raises:
        ValueError: some clips have none (FakeAVCeleb, KoDF and DeepfakeTIMIT publish none).
    """
    without = [record.path for record in records if not record.split]
    if without or not records:
        raise ValueError(
            f"records must come with a published split, but {len(without)} of {len(records)} have none "
            f"({', '.join(without[:NAMED])}): use split_by_identity or identity_folds"
        )
    splits: Splits = {}
    for record in records:
        splits.setdefault(record.split, []).append(record)
    return splits


def check_disjoint(splits: Splits, same_people: bool = False) -> None:
    """Refuse splits that share a clip, a person or footage.

    Args:
        splits: to check.
        same_people: allow shared people (published divisions by clip need it); clips and footage still not.

    Raises:
        ValueError: naming the shared clips, people or footage.
    """
    owner: dict[str, tuple[str, str]] = {}
    shared: list[str] = []
    for name, clips in splits.items():
        for record in clips:
            people = [] if same_people else _links(record)
            pair = [link for link in _links(record) if "\npair\n" in link]
            for link in (f"clip\n{record.key}", *(people or pair)):
                first, path = owner.setdefault(link, (name, record.path))
                if first != name:
                    what = link.split("\n")[-2] + " " + link.split("\n")[-1]
                    shared.append(f"{record.path} ({name}) and {path} ({first}) share {what}")
    if shared:
        raise ValueError(f"splits must not overlap, but {len(shared)} clips do: {'; '.join(shared[:NAMED])}")


def _content(splits: Splits, root: Path) -> dict[str, list[str]]:
    def relative(path: str) -> str:
        return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path

    return {name: sorted(relative(record.path) for record in clips) for name, clips in splits.items()}


def _hash(content: Mapping[str, Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_splits(path: str | Path, splits: Splits, root: str | Path, method: str = "") -> str:
    """Write splits as a JSON file of paths below `root`, with a hash of what it says.

    Returns:
        The hash, 64 hex digits.
    """
    content = _content(splits, Path(root))
    body = {"version": 1, "method": method, "sha256": _hash(content), "splits": content}
    Path(path).write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    return str(body["sha256"])


def read_splits(path: str | Path, records: Sequence[ClipRecord], root: str | Path) -> Splits:
    """Splits of a file, with these records.

    Raises:
        ValueError: the file was changed after it was written, or names clips that are not among the records.
    """
    body = json.loads(Path(path).read_text(encoding="utf-8"))
    if _hash(body["splits"]) != body["sha256"]:
        raise ValueError(f"{path} must be as it was written, but its hash does not fit its contents")
    known = {record.path: record for record in records}
    named = {name: [str(Path(root) / file) for file in files] for name, files in body["splits"].items()}
    lost = [file for files in named.values() for file in files if file not in known]
    if lost:
        raise ValueError(f"{path} must name known clips, but {len(lost)} are unknown: {', '.join(lost[:NAMED])}")
    return {name: [known[file] for file in files] for name, files in named.items()}
