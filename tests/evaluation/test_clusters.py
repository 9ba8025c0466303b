"""Clips that share a person or footage are drawn together."""

from modeling_macbdf.evaluation.clusters import clusters


def row(identity: str, pair: str = "") -> dict:
    return {"identity": identity, "pair": pair}


def test_people_and_footage_chain_clips_together():
    names, words = clusters([row("a"), row("a|b"), row("b"), row("c"), row("d", "1"), row("e", "1"), row("f.mp4")])
    assert words == "identities"
    assert names[0] == names[1] == names[2]
    assert names[4] == names[5], "two halves of a pair"
    assert len(set(names)) == 4


def test_where_swaps_chain_everybody_the_first_person_counts():
    names, words = clusters([row("a|b"), row("b|c"), row("c|a"), row("a|c"), row("a")])
    assert words == "the first identity of each clip"
    assert names == ["a", "b", "c", "a", "a"]


def test_one_person_alone_is_one_cluster():
    assert len(set(clusters([row("a"), row("a")])[0])) == 1
