import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_macbdf.data.records import ClipRecord, real_record
from modeling_macbdf.data.splits import (
    LEFT_OUT,
    identity_folds,
    identity_groups,
    leave_generator_out,
    leave_language_out,
    published_splits,
    read_splits,
    shared_between,
    sharing_words,
    split_by_identity,
    with_splits,
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


def test_a_name_with_a_namespace_is_one_person_in_all_datasets():
    """FakeAVCeleb and AV-Deepfake1M both show people of VoxCeleb2, who once counted as two each."""
    one, two = (real_record(f"/{d}.mp4", identities=("voxceleb2:id1",), dataset=d) for d in ("x", "y"))
    assert len(identity_groups([one, two])) == 1


def test_a_shared_file_ties_clips():
    """One picture under two voices once made two groups."""
    own, dubbed, again = (real_record(f"/d/{a}.mp4", audio_path=f"/d/{b}.wav") for a, b in ("ax", "ay", "by"))
    assert len(identity_groups([own, dubbed])) == len(identity_groups([dubbed, again])) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=2), min_size=40, max_size=80), st.integers(0, 5))
def test_splits_never_share_a_person(people, seed):
    records = clips([[str(p) for p in group] for group in people])
    try:
        splits = split_by_identity(records, {"train": 0.7, "test": 0.3}, seed)
    except ValueError as error:
        assert "stay empty" in str(error)  # everybody is in one group
        return
    assert not shared_between(splits)
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
    assert not any(map(shared_between, folds))
    for fold, after in zip(folds, [*folds[1:], folds[0]], strict=True):
        assert fold["dev"] == after["test"], "the test chooses no checkpoint and sets no threshold"
        assert sum(map(len, fold.values())) == 60
    with pytest.raises(ValueError, match="folds must be at least 3"):
        identity_folds(records, 2)


def test_a_held_out_generator_is_only_in_the_test():
    fakes = [ClipRecord(f"/d/f{i}.mp4", 1, generator="xy"[i % 2], identities=(str(i % 8),)) for i in range(16)]
    splits = leave_generator_out(
        split_by_identity([*clips([[str(i)] for i in range(8)]), *fakes], {"train": 0.5, "test": 0.5}), "x"
    )
    assert {r.generator for r in splits["train"]} == {"", "y"}
    assert {r.generator for r in splits["test"]} == {"", "x"}
    assert {r.generator for r in splits[LEFT_OUT]} == {"x", "y"}, "the file tells every clip's place"
    with pytest.raises(ValueError, match="must hold fakes of 'z'"):
        leave_generator_out(splits, "z")


def test_what_a_held_out_generator_made_with_another_is_held_out_too():
    """Holding out wav2lip once left faceswap-wav2lip in the training."""
    made = ("wav2lip", "faceswap + wav2lip", "faceswap", "Grad-TTS", "FF++ Deepfakes")
    fakes = [ClipRecord(f"/d/{split}{i}.mp4", 1, generator=made[i]) for split in "ab" for i in range(5)]
    splits = leave_generator_out({"train": fakes[:5], "test": fakes[5:]}, "wav2lip")
    assert [r.generator for r in splits["train"]] == ["faceswap", "Grad-TTS", "FF++ Deepfakes"]
    assert [r.generator for r in splits["test"]] == ["wav2lip", "faceswap + wav2lip"]
    both = leave_generator_out({"train": fakes[:5], "test": fakes[5:]}, "faceswap + wav2lip")
    assert [r.generator for r in both["train"]] == ["Grad-TTS", "FF++ Deepfakes"]
    assert fakes[1].names == {"faceswap", "wav2lip"}


def test_a_held_out_language_is_only_in_the_test():
    records = [real_record(f"/d/{i}.mp4", language="ab"[i % 2], identities=(str(i),)) for i in range(12)]
    splits = leave_language_out(split_by_identity(records, {"train": 0.5, "test": 0.5}), "b")
    assert {r.language for r in splits["train"]} == {"a"}
    assert {r.language for r in splits["test"]} == {"b"}


def test_published_splits_are_taken_over_or_named_as_missing():
    records = [real_record("/d/1.mp4", split="train"), real_record("/d/2.mp4", split="test")]
    assert {name: len(part) for name, part in published_splits(records).items()} == {"train": 1, "test": 1}
    with pytest.raises(ValueError, match=r"/d/3\.mp4.*divide them by identity"):
        published_splits([*records, real_record("/d/3.mp4")])


def test_what_splits_share_is_named():
    one, two = clips([["a"], ["a", "b"]])
    assert shared_between({"train": [one], "test": [two]}) == ["person a"]
    assert shared_between({"train": [one], LEFT_OUT: [two]}) == []
    assert shared_between({"train": [one], "test": [one]}) == ["file /d/0.mp4", "person a"]
    pair = [real_record(f"/d/{i}.mp4", pair="x") for i in range(2)]
    assert shared_between({"train": pair[:1], "test": pair[1:]}) == ["footage x"]
    assert sharing_words(["person a", "footage x"]) == "2, such as person a, footage x"
    assert sharing_words([]) == ""


def test_a_written_split_comes_back_and_notices_changes(tmp_path):
    records = clips([[str(i)] for i in range(10)])
    splits = split_by_identity(records, {"train": 0.5, "test": 0.5})
    path = tmp_path / "split.json"
    digest = write_splits(path, splits, "/d")
    again = with_splits(records, path)
    for name, part in splits.items():
        assert {r.path for r in again if r.split == name} == {r.path for r in part}
    shuffled = {name: part[::-1] for name, part in splits.items()}
    assert digest == write_splits(tmp_path / "copy.json", shuffled, "/d"), "the hash is of the contents, not the order"
    body = json.loads(path.read_text())
    body["splits"]["test"].append(body["splits"]["train"].pop())
    path.write_text(json.dumps(body))
    with pytest.raises(ValueError, match="hash does not fit"):
        read_splits(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"split\.json must be a file that `macbdf data split` wrote"):
        read_splits(path)


def test_a_split_file_holds_where_the_dataset_has_moved(tmp_path, caplog):
    here = [real_record("/d/x/1.mp4", dataset="dfdc"), real_record("/d/1.mp4", dataset="dfdc")]
    write_splits(tmp_path / "s.json", {"train": here[:1], "test": here[1:]}, "/d")
    names = ("/mnt/sets/d/x/1.mp4", "/mnt/sets/d/1.mp4", "/mnt/sets/d/2.mp4", "/elsewhere/1.mp4")
    there = [real_record(name, dataset="dfdc", split="own") for name in names]
    assert [r.split for r in with_splits(there, tmp_path / "s.json")] == ["train", "test", "own", "own"]
    assert "does not name 2 of 4 clips" in caplog.text
    with pytest.raises(ValueError, match="names none of these 1"):
        with_splits([real_record("/mnt/1.mp4", dataset="lavdf")], tmp_path / "s.json")
