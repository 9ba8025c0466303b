"""The card of a training set says what is in the cache and what is made from it."""

import argparse
from dataclasses import replace

import pytest
from huggingface_hub import DatasetCard

from modeling_macbdf.data.cache_reader import TrackCache
from modeling_macbdf.data.dataset_card import dataset_card, run_dataset_card
from modeling_macbdf.data.pseudofakes import AUDIO, VISUAL, Mix


def test_it_counts_clips_people_and_kinds(cache_folder, tmp_path):
    out = tmp_path / "README.md"
    run_dataset_card(argparse.Namespace(cache=cache_folder, out=out, license="cc-by-4.0"))
    text = out.read_text()
    data = DatasetCard(text).data
    assert (data.license, data.task_categories) == ("cc-by-4.0", ["video-classification"])
    assert "1 = fake" in text
    assert all(kind in text for kind in (*VISUAL, *AUDIO))


def test_shares_are_those_of_the_mix(cache_folder):
    cache = TrackCache(cache_folder)
    mix = Mix(streams={"video": 3.0, "audio": 1.0}, visual={"self_blend": 1.0})
    text = dataset_card("made", cache.entries, cache.settings, mix=mix)
    assert "| video | 75% | self_blend 100% |" in text
    assert f"{len({entry.record.key for entry in cache.entries})} clips" in text


def test_what_it_says_of_splits_is_true_of_the_clips(cache_folder):
    """The card once said of every set that its splits go by person."""
    cache = TrackCache(cache_folder)

    def card(*splits, **changes):
        entries = [
            replace(entry, record=replace(entry.record, split=split, **changes))
            for entry, split in zip(cache.entries, splits, strict=False)
        ]
        return dataset_card("made", entries, cache.settings)

    assert "Clips by split: test 1, train 1. People, footage and files in more than one" in card("train", "test")
    assert "split: none that is named. 0 of 2 clips name nobody." in card("train", "test")
    named = card("train", "test", identities=("ann",))
    assert "split: 1. 0 of 2" in named
    assert "ann" not in named.split("Clips by split")[1], "a card is published"
    assert "1 of 1 clips name nobody" in card("", identities=())


def test_an_empty_set_has_no_card():
    with pytest.raises(ValueError, match="empty-set holds none"):
        dataset_card("empty-set", [], None)
