import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_macbdf.data.records import ClipRecord, real_record
from modeling_macbdf.data.splits import (
    check_disjoint,
    identity_folds,
    identity_groups,
    leave_generator_out,
    leave_language_out,
    published_splits,
    read_splits,
    split_by_identity,
    write_splits,
)


def clips(people_of_clips):
    return [real_record(f"/d/{i}.mp4", identities=tuple(people)) for i, people in enumerate(people_of_clips)]


def test_a_chain_of_swaps_is_one_group():
    groups = identity_groups(clips([["a"], ["a", "b"], ["c"], ["c", "b"], ["d"]]))
    assert [len(group) for group in groups] == [4, 1]


def test_shared_footage_ties_clips_without_names():
    records = [real_record("/d/1.mp4", pair="x"), ClipRecord("/d/2.mp4", 1, pair="x"), real_record("/d/3.mp4")]
    assert [len(group) for group in identity_groups(records)] == [2, 1]


def test_the_same_name_in_two_datasets_is_two_people():
    one, two = (real_record(f"/{d}.mp4", identities=("id1",), dataset=d) for d in ("x", "y"))
    assert len(identity_groups([one, two])) == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=2), min_size=40, max_size=80), st.integers(0, 5))
def test_splits_never_share_a_person(people, seed):
    records = clips([[str(p) for p in group] for group in people])
    try:
        splits = split_by_identity(records, {"train": 0.7, "test": 0.3}, seed)
    except ValueError as error:
        assert "stay empty" in str(error)  # everybody is in one group
        return
    check_disjoint(splits)
    assert sorted(r.path for part in splits.values() for r in part) == sorted(r.path for r in records)


def test_shares_are_kept_when_people_are_many():
    records = clips([[str(i // 2)] for i in range(200)])
    splits = split_by_identity(records, {"train": 0.8, "dev": 0.1, "test": 0.1}, seed=3)
    assert {name: len(part) for name, part in splits.items()} == {"train": 160, "dev": 20, "test": 20}
    assert split_by_identity(records, {"train": 0.8, "dev": 0.1, "test": 0.1}, seed=3) == splits
    assert split_by_identity(records, {"train": 0.8, "dev": 0.1, "test": 0.1}, seed=4) != splits


def test_folds_test_every_clip_once():
    records = clips([[str(i // 3)] for i in range(60)])
    folds = identity_folds(records, 5)
    assert sorted(r.path for fold in folds for r in fold["test"]) == sorted(r.path for r in records)
    for fold in folds:
        check_disjoint(fold)


def test_a_held_out_generator_is_only_in_the_test():
    fakes = [ClipRecord(f"/d/f{i}.mp4", 1, generator="xy"[i % 2], identities=(str(i % 8),)) for i in range(16)]
    splits = leave_generator_out(
        split_by_identity([*clips([[str(i)] for i in range(8)]), *fakes], {"train": 0.5, "test": 0.5}), "x"
    )
    assert {r.generator for r in splits["train"]} == {"", "y"}
    assert {r.generator for r in splits["test"]} == {"", "x"}
    with pytest.raises(ValueError, match="must hold fakes of 'z'"):
        leave_generator_out(splits, "z")


def test_a_held_out_language_is_only_in_the_test():
    records = [real_record(f"/d/{i}.mp4", language="ab"[i % 2], identities=(str(i),)) for i in range(12)]
    splits = leave_language_out(split_by_identity(records, {"train": 0.5, "test": 0.5}), "b")
    assert {r.language for r in splits["train"]} == {"a"}
    assert {r.language for r in splits["test"]} == {"b"}


def test_published_splits_are_taken_over_or_named_as_missing():
    records = [real_record("/d/1.mp4", split="train"), real_record("/d/2.mp4", split="test")]
    assert {name: len(part) for name, part in published_splits(records).items()} == {"train": 1, "test": 1}
    with pytest.raises(ValueError, match=r"/d/3\.mp4.*identity_folds"):
        published_splits([*records, real_record("/d/3.mp4")])


def test_an_overlap_is_refused_and_named():
    one, two = clips([["a"], ["a"]])
    with pytest.raises(ValueError, match=r"/d/1\.mp4 \(test\) and /d/0\.mp4 \(train\) share person a"):
        check_disjoint({"train": [one], "test": [two]})
    check_disjoint({"train": [one], "test": [two]}, same_people=True)
    with pytest.raises(ValueError, match="share clip"):
        check_disjoint({"train": [one], "test": [one]}, same_people=True)


def test_a_written_split_comes_back_and_notices_changes(tmp_path):
    records = clips([[str(i)] for i in range(10)])
    splits = split_by_identity(records, {"train": 0.5, "test": 0.5})
    path = tmp_path / "split.json"
    digest = write_splits(path, splits, "/d")
    again = read_splits(path, records, "/d")
    assert {n: {r.path for r in p} for n, p in again.items()} == {n: {r.path for r in p} for n, p in splits.items()}
    assert digest == write_splits(tmp_path / "copy.json", again, "/d"), "the hash is of the contents, not the order"
    body = json.loads(path.read_text())
    body["splits"]["test"].append(body["splits"]["train"].pop())
    path.write_text(json.dumps(body))
    with pytest.raises(ValueError, match="hash does not fit"):
        read_splits(path, records, "/d")


def test_a_split_file_of_other_clips_is_refused(tmp_path):
    records = clips([["a"], ["b"]])
    write_splits(tmp_path / "s.json", {"train": records}, "/d")
    with pytest.raises(ValueError, match=r"1 are unknown: /d/1\.mp4"):
        read_splits(tmp_path / "s.json", records[:1], "/d")
