"""Several training sets at once, and recorded fakes beside their originals."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from modeling_macbdf.data.augmentation import NO_AUGMENTATION
from modeling_macbdf.data.cache_reader import TrackCache
from modeling_macbdf.data.clips import IGNORE
from modeling_macbdf.data.collate import WindowCollator
from modeling_macbdf.data.dataset import TrainingOptions, TrainingWindows, WindowOptions
from modeling_macbdf.data.mixed import MixedWindows
from modeling_macbdf.data.preprocess import preprocess
from modeling_macbdf.data.pseudofakes import Mix
from modeling_macbdf.data.records import real_record
from modeling_macbdf.data.splits import write_splits
from modeling_macbdf.processing_macbdf import MACBDFProcessor
from modeling_macbdf.training.config import DataConfig
from modeling_macbdf.training.windows import build_data

QUICK = Mix(streams={"video": 1}, visual={"freeze_or_splice": 1})
MODEL = SimpleNamespace(num_frames=8, sync_head=False, frame_rate_hz=5.0, sampling_rate=16_000)


def one(cache, steps=4, seed=1, **changes):
    settings = {"seed": seed, "mix": QUICK, "augmentation": NO_AUGMENTATION, "windows": 40, "balance": "none"}
    return TrainingWindows(cache, WindowOptions(steps=steps), TrainingOptions(**(settings | changes)))


@pytest.fixture(scope="module")
def caches(cache_folder, talking_files):
    """Two sets: person 0, and persons 1 and 2."""
    return TrackCache(cache_folder, talking_files[:1]), TrackCache(cache_folder, talking_files[1:])


@pytest.mark.parametrize("paired", [False, True])
def test_the_shares_are_drawn_and_items_follow_from_seed_epoch_and_index(caches, paired):
    mixed = MixedWindows([one(cache, paired=paired) for cache in caches], [3, 1], seed=5, windows=120)
    items = [mixed[i] for i in range(120)]
    first_set = [item.record.identities == ("person0",) for item in items]
    assert 0.6 < np.mean(first_set) < 0.9
    for i in reversed(range(0, 120, 17)):
        assert (mixed[i].record, mixed[i].first_s) == (items[i].record, items[i].first_s)
        np.testing.assert_array_equal(mixed[i].labelled.clip.frames, items[i].labelled.clip.frames)
    other = MixedWindows([one(cache, paired=paired) for cache in caches], [3, 1], seed=6, windows=120)
    assert sum(other[i].record != items[i].record for i in range(120)) > 10
    mixed.set_epoch(1)
    assert sum(mixed[i].first_s != items[i].first_s for i in range(40)) > 10


def test_both_halves_of_a_pair_come_from_one_set(caches):
    mixed = MixedWindows([one(cache, paired=True) for cache in caches], [1, 1], seed=0, windows=60)
    for i in range(0, 60, 2):
        real, forged = mixed[i], mixed[i + 1]
        assert (real.record, real.first_s) == (forged.record, forged.first_s)
        assert (real.labelled.label, forged.labelled.label) == (0, 1)
    assert len({mixed[i].record.path for i in range(0, 60, 2)}) == 3


@pytest.mark.parametrize("shares", [[1], [1, 0], []])
def test_shares_that_do_not_fit_the_sets_are_refused(caches, shares):
    with pytest.raises(ValueError, match="shares must be one positive number for each of 2 sets"):
        MixedWindows([one(cache) for cache in caches], shares, seed=0, windows=4)


def test_paired_and_single_windows_do_not_mix(caches):
    """Halves of two pairs would stand beside each other; it was promised to be checked, and was not."""
    with pytest.raises(ValueError, match=r"all paired, or none, but paired is \[True, False\]"):
        MixedWindows([one(caches[0], paired=True), one(caches[1])], [1, 1], seed=0, windows=4)


def recorded(cache_folder, records, share=1.0, **changes):
    return one(TrackCache(cache_folder, records), paired=True, recorded_share=share, **changes)


def test_a_recorded_fake_stands_beside_its_own_original_at_the_same_instant(cache_folder, talking_files):
    original = replace(talking_files[0], pair="a")
    swap = replace(talking_files[1], label=1, video_label=1, audio_label=None, generator="swap", pair="a")
    stranger = replace(talking_files[2], label=1, video_label=1, audio_label=None, generator="other", pair="b")
    windows = recorded(cache_folder, [original, swap, stranger])
    for i in range(0, 20, 2):
        real, fake = windows[i], windows[i + 1]
        assert (real.record, fake.record) == (original, swap)
        assert real.first_s == fake.first_s
        assert (fake.labelled.label, fake.labelled.audio_label, fake.labelled.kind) == (1, IGNORE, "swap")
    share = recorded(cache_folder, [original, swap], share=0.5)
    kinds = Counter(share[i].labelled.kind for i in range(1, 80, 2))
    assert set(kinds) == {"swap", "freeze_or_splice"} and 10 <= kinds["swap"] <= 30


def test_without_a_pair_a_fake_of_the_same_source_serves_and_generators_weigh_alike(cache_folder, talking_files):
    def fake(number, generator, source):
        return replace(
            talking_files[number], path=talking_files[number].path, label=1, video_label=1, audio_label=1,
            generator=generator, source=source,
        )  # fmt: skip

    original = replace(talking_files[0], source="web")
    windows = recorded(cache_folder, [original, fake(1, "one", "web"), fake(2, "two", "web")])
    kinds = Counter(windows[i].labelled.kind for i in range(1, 80, 2))
    assert set(kinds) == {"one", "two"} and min(kinds.values()) >= 10
    elsewhere = recorded(cache_folder, [original, fake(1, "one", "studio")])
    assert {elsewhere[i].labelled.kind for i in range(1, 12, 2)} == {"freeze_or_splice"}, "another source tells"


def test_a_batch_is_as_long_as_its_longest_window(caches):
    items = [one(caches[0], steps=4)[0], one(caches[0], steps=6)[1]]
    batch = WindowCollator(MACBDFProcessor())(items)
    assert batch["pixel_values"].shape[:2] == (2, 6), "not the model's 16 steps"
    assert batch["input_features"].shape[1] % 6 == 0
    assert batch["video_mask"].tolist() == [[True] * 4 + [False] * 2, [True] * 6]
    assert (batch["frame_labels"][0, 4:] == IGNORE).all() and (batch["frame_labels"][1] != IGNORE).all()


def test_a_batch_has_one_sampling_rate(caches):
    """That of the first clip was once taken for all."""
    items = [one(cache)[0] for cache in caches]
    slow = replace(items[1].labelled.clip, sampling_rate=8000)
    items[1] = replace(items[1], labelled=replace(items[1].labelled, clip=slow))
    with pytest.raises(ValueError, match=r"one sampling_rate, but have \[8000, 16000\] Hz"):
        WindowCollator(MACBDFProcessor())(items)


@pytest.fixture(scope="module")
def divided_folder(talking_files, tmp_path_factory):
    """Three people to train on, of whom two have no split, and one of the split "dev"."""
    folder = tmp_path_factory.mktemp("divided")
    (folder / "person3.mp4").symlink_to(talking_files[0].path)
    dev = real_record(str(folder / "person3.mp4"), split="dev", identities=("person3",))
    first, *others = talking_files
    preprocess([replace(first, split="train"), *others, dev], folder / "cache")
    return folder / "cache"


def config(cache_folder, *sets, **changes):
    values = {"root": str(cache_folder.parent), "cache": cache_folder.name, "windows": 12}
    sets = [{"cache": cache_folder.name, **values} for values in sets]
    return DataConfig(**(values | {"sets": sets, "eval_windows": 4, "augment": False} | changes))


def test_sets_of_a_configuration_have_their_own_windows_and_leave_the_same_people_out(divided_folder):
    data = build_data(
        config(
            divided_folder,
            {"window_steps": 4, "streams": {"video": 1.0}},
            {"share": 2.0, "balance": "none"},
            window_steps=6, leave_out=["person0"],
        ),
        MACBDFProcessor(), MODEL, seed=0,
    )  # fmt: skip
    assert data.facts["training_clips"] == [{"real": 2}, {"real": 2}]
    items = [data.train[index] for index in range(12)]
    assert {item.labelled.clip.steps for item in items} == {4, 6}
    assert ("person0",) not in {item.record.identities for item in items}


def test_no_clip_of_the_evaluation_is_trained_on_and_every_voice_is_told(divided_folder):
    """A set without a split once took the clips of the evaluation too, and so did voices."""
    data = build_data(
        config(
            divided_folder,
            {"balance": "none"},
            {"split": "train", "voices": divided_folder.name, "window_steps": 4},
            paired=True,
        ),
        MACBDFProcessor(), MODEL, seed=0,
    )  # fmt: skip
    assert data.facts["training_clips"] == [{"real": 3}, {"real": 1}]
    people = [record.identities[0] for record in data.training_records]
    assert Counter(people) == {"person0": 3, "person1": 2, "person2": 2}, "two sets, and the second one's voices"


def test_a_cache_with_another_clock_is_refused(divided_folder):
    faster = SimpleNamespace(**{**vars(MODEL), "frame_rate_hz": 10.0})
    with pytest.raises(ValueError, match=r"must have the model's clock, .*10\.0.*5\.0"):
        build_data(config(divided_folder, {}), MACBDFProcessor(), faster, seed=0)


def test_people_to_leave_out_must_be_known(divided_folder):
    with pytest.raises(ValueError, match=r"leave_out must name .*no set has \['persom1'\]"):
        build_data(config(divided_folder, {}, leave_out=["person0", "persom1"]), MACBDFProcessor(), MODEL, seed=0)
    with pytest.raises(ValueError, match=r"leave_out must come with data\.sets"):
        config(divided_folder, leave_out=["person0"])


def test_a_system_to_leave_out_takes_its_work_with_others_along(talking_files, tmp_path):
    """Leaving out wav2lip once let faceswap-wav2lip in."""
    made = ("wav2lip", "faceswap + wav2lip", "faceswap")
    folder = tmp_path / "cache"
    fakes = [replace(record, label=1, generator=name) for record, name in zip(talking_files, made, strict=True)]
    (tmp_path / "dev.mp4").symlink_to(talking_files[0].path)
    preprocess([*fakes, real_record(str(tmp_path / "dev.mp4"), split="dev")], folder)
    data = build_data(config(folder, {}, leave_out=["wav2lip"]), MACBDFProcessor(), MODEL, seed=0)
    assert [record.generator for record in data.training_records] == ["faceswap"]
    with pytest.raises(ValueError, match=r"no set has \['fsgan'\]"):
        build_data(config(folder, {}, leave_out=["fsgan + wav2lip"]), MACBDFProcessor(), MODEL, seed=0)


@pytest.mark.parametrize("sets", [(), ({"split": "train"},), ({},)], ids=["one cache", "sets", "a set of any split"])
def test_the_splits_of_a_file_take_the_place_of_the_records_own(divided_folder, tmp_path, sets):
    """Where a reader gives every clip one split, as DFDC's does, nothing was once left to evaluate on."""
    clips = [entry.record for entry in TrackCache(divided_folder).entries]
    parts = {"train": clips[1:3], "test": clips[:1], "dev": clips[3:]}
    write_splits(tmp_path / "split.json", parts, "/")
    changes = {"splits": str(tmp_path / "split.json"), "eval_split": "test"}
    data = build_data(config(divided_folder, *sets, **changes), MACBDFProcessor(), MODEL, seed=0)
    assert [record.key for record in data.training_records] == [clip.key for clip in clips[1:3]]
    assert {data.evaluation[index].record.key for index in range(4)} == {clips[0].key}
    with pytest.raises(ValueError, match=r"got 'trian' of .*data\.train_split=NAME takes another"):
        build_data(config(divided_folder, **changes, train_split="trian"), MACBDFProcessor(), MODEL, seed=0)


def test_people_on_both_sides_are_warned_of(divided_folder, tmp_path, caplog):
    clips = [entry.record for entry in TrackCache(divided_folder).entries]
    known = [replace(clip, identities=(*clip.identities, "ann")) for clip in clips]
    preprocess([replace(clip, split="train") for clip in known[:2]] + [replace(known[2], split="dev")], tmp_path / "c")
    build_data(config(tmp_path / "c"), MACBDFProcessor(), MODEL, seed=0)
    assert "share people, footage or files: 1, such as person ann" in caplog.text
    caplog.clear()
    build_data(config(divided_folder), MACBDFProcessor(), MODEL, seed=0)
    assert "share" not in caplog.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"split": "trian"}, "split 'trian' without .*has none of them"),
        ({"share": -1.0}, "share must be positive, but got -1.0"),
        ({"cahce": "x"}, "did you mean cache"),
        ({"balance": "age"}, "balance must be one of"),
    ],
)
def test_mistakes_in_a_set_are_named(divided_folder, values, words):
    with pytest.raises(ValueError, match=words):
        build_data(config(divided_folder, values), MACBDFProcessor(), MODEL, seed=0)


def test_sets_need_a_number_of_windows_and_a_cache_to_judge_on(cache_folder):
    with pytest.raises(ValueError, match=r"data\.sets must come with data\.windows and data\.cache"):
        config(cache_folder, {}, windows=None)
