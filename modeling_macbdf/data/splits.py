"""Splits that do not leak: by person, by generator, by language, as published; written with a hash.

Two clips that share a person (the target of a swap and its donor count alike), footage (`pair`) or a file belong to
one group, however long the chain between them, and a group is never divided.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .records import ClipRecord, generator_parts

logger = logging.getLogger(__name__)

Splits = dict[str, list[ClipRecord]]
NAMED = 5  # clips, people or footage named in a message
LEFT_OUT = "left out"  # the split of clips that neither train nor test


def _links(record: ClipRecord) -> set[str]:
    """What ties a clip to others."""
    files = {f"file\n{path}" for path in (record.path, record.audio_path) if path}
    people = {f"person\n{name}" for name in record.people}
    return files | people | ({f"footage\n{record.dataset}\n{record.pair}"} if record.pair else set())


def identity_groups(records: Sequence[ClipRecord]) -> list[list[ClipRecord]]:
    """Clips that share people, footage or files, directly or through others (union-find).

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
        for link in _links(record):
            parent[find(link)] = find(f"file\n{record.path}")
    groups: dict[str, list[ClipRecord]] = {}
    for record in records:
        groups.setdefault(find(f"file\n{record.path}"), []).append(record)
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
    """Cross-validation without shared people: each part is "test" once, and once "dev", which chooses and calibrates.

    Raises:
        ValueError: fewer than three folds, or too few groups of people.
    """
    if folds < 3:
        raise ValueError(f"folds must be at least 3 (train, dev, test), but got {folds}")
    parts = split_by_identity(records, {str(i): 1 / folds for i in range(folds)}, seed)
    names = list(parts)
    found = []
    for test, dev in zip(names, [*names[1:], names[0]], strict=True):
        train = [record for name in names if name not in (test, dev) for record in parts[name]]
        found.append({"train": train, "dev": parts[dev], "test": parts[test]})
    return found


def leave_generator_out(splits: Splits, generator: str, test: str = "test") -> Splits:
    """The test split keeps its reals and this generator's fakes; all other splits lose this generator.

    A fake that several systems made is one of each of them.

    Args:
        splits: by identity, so that people stay apart as well.
        generator: the one to hold out.
        test: name of the split to test on.

    Raises:
        ValueError: there is no such split, or it has no fake of this generator.
    """
    held = generator_parts(generator)

    def is_held(record: ClipRecord) -> bool:
        return bool(held & generator_parts(record.generator))

    if not any(map(is_held, splits.get(test, []))):
        raise ValueError(f"test split {test!r} must hold fakes of {generator!r}, but it has none")
    return _kept(splits, lambda record, name: record.label == 0 or is_held(record) == (name == test))


def leave_language_out(splits: Splits, language: str, test: str = "test") -> Splits:
    """The test split keeps this language only; all other splits lose it.

    Raises:
        ValueError: there is no such split, or it has no clip in this language.
    """
    if not any(record.language == language for record in splits.get(test, [])):
        raise ValueError(f"test split {test!r} must hold clips in {language!r}, but it has none")
    return _kept(splits, lambda record, name: (record.language == language) == (name == test))


def _kept(splits: Splits, keep: Callable[[ClipRecord, str], bool]) -> Splits:
    """The splits without the clips that they shall not keep; those become the split `LEFT_OUT`."""
    parts = {name: [record for record in clips if keep(record, name)] for name, clips in splits.items()}
    return parts | {LEFT_OUT: [r for name, clips in splits.items() for r in clips if not keep(r, name)]}


def published_splits(records: Sequence[ClipRecord]) -> Splits:
    """The division that the dataset came with.

    Raises:
        ValueError: some clips have none (FakeAVCeleb, KoDF and DeepfakeTIMIT publish none).
    """
    without = [record.path for record in records if not record.split]
    if without or not records:
        raise ValueError(
            f"records must come with a published split, but {len(without)} of {len(records)} have none "
            f"({', '.join(without[:NAMED])}): divide them by identity"
        )
    splits: Splits = {}
    for record in records:
        splits.setdefault(record.split, []).append(record)
    return splits


def shared_between(splits: Mapping[str, Sequence[ClipRecord]]) -> list[str]:
    """People, footage and files in more than one split, in words ("person ann"), sorted; `LEFT_OUT` is none."""
    owner: dict[str, str] = {}
    shared = set()
    for name, clips in splits.items():
        if name == LEFT_OUT:
            continue
        for link in {link for record in clips for link in _links(record)}:
            if owner.setdefault(link, name) != name:
                kind, *_, what = link.split("\n")
                shared.add(f"{kind} {what}")
    return sorted(shared)


def sharing_words(shared: Sequence[str]) -> str:
    """How many people, pieces of footage and files `shared_between` found, and a few of them; empty for none."""
    return f"{len(shared)}, such as {', '.join(shared[:NAMED])}" if shared else ""


def _hash(content: Mapping[str, Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_splits(path: str | Path, splits: Splits, root: str | Path, method: str = "") -> str:
    """Write splits as a JSON file of paths below `root`, with a hash of what it says.

    A file that lies in `root` itself is written with the name of that folder: its own one may be met anywhere.

    Returns:
        The hash, 64 hex digits.
    """

    def below(file: str) -> str:
        if not Path(file).is_relative_to(root):
            return file
        place = Path(file).relative_to(root)
        return (place if len(place.parts) > 1 else Path(Path(root).name, place)).as_posix()

    content = {name: sorted(below(record.path) for record in clips) for name, clips in splits.items()}
    datasets = sorted({record.dataset for clips in splits.values() for record in clips})
    body = {"version": 1, "method": method, "datasets": datasets, "sha256": _hash(content), "splits": content}
    Path(path).write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    return str(body["sha256"])


def read_splits(path: str | Path) -> Callable[[ClipRecord], ClipRecord]:
    """What gives a clip the split of a file that `write_splits` wrote.

    A clip is found by its dataset and by the end of its path, so that the dataset may have moved. One that the file
    does not name keeps its own split.

    Raises:
        ValueError: the file is no such file, or was changed after it was written.
    """
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"))
        content, datasets, written = body["splits"], set(body["datasets"]), body["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a file that `macbdf data split` wrote, but: {error}") from error
    if _hash(content) != written:
        raise ValueError(f"{path} must be as it was written, but its hash does not fit its contents")
    owner = {file: name for name, files in content.items() for file in files}

    def divided(record: ClipRecord) -> ClipRecord:
        parts = Path(record.path).as_posix().split("/")
        ends = ("/".join(parts[start:]) for start in range(max(len(parts) - 1, 1)))
        named = next((end for end in ends if end in owner), None)
        known = named is not None and record.dataset in datasets
        return replace(record, split=owner[str(named)]) if known else record

    return divided


def with_splits(records: Iterable[ClipRecord], path: str | Path) -> list[ClipRecord]:
    """The clips with the splits of a file, see `read_splits`.

    Raises:
        ValueError: the file was changed, or names none of the clips.
    """
    divide, records = read_splits(path), list(records)
    found = [divide(record) for record in records]
    if all(new is old for new, old in zip(found, records, strict=True)):
        raise ValueError(f"{path} must name clips that are at hand, but it names none of these {len(records)}")
    if unnamed := sum(new is old for new, old in zip(found, records, strict=True)):
        logger.warning("%s does not name %d of %d clips: they keep their own split.", path, unnamed, len(records))
    return found
