"""`macbdf data split`, and what all commands on a dataset share: which clips they take, and their words."""

import json

import pytest

from modeling_macbdf import cli
from modeling_macbdf.data.commands import add_dataset_arguments, as_text, read_from_arguments
from modeling_macbdf.data.splits import LEFT_OUT


@pytest.fixture
def kodf(tmp_path, place):
    """Six people, each with one real clip and two fakes, by two programs."""
    for person in range(6):
        for kind in ("original_videos", "dfl", "fsgan"):
            place(tmp_path / f"kodf/videos/{kind}/{person}/{kind}.mp4")
    return tmp_path / "kodf"


def parsed(*words):
    parser = cli.argparse.ArgumentParser()
    add_dataset_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def run(*words):
    return cli.main([str(word) for word in words])


def split(kodf, out, *words):
    return run("data", "split", "--dataset", "kodf", "--root", kodf, "--out", out, *words)


def test_a_split_that_does_not_exist_is_refused_before_any_work(kodf, tmp_path, capsys):
    """A misspelt one once made an empty cache and exit code 0."""
    words = ["--dataset", "kodf", "--root", kodf, "--split", "trian", "--out", tmp_path / "cache"]
    assert run("preprocess", *words) == 2
    assert "split must be one of [''], but got trian" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_an_empty_reading_is_refused_with_its_problems(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\ngone.mp4,real\n")
    with pytest.raises(ValueError, match=r"must hold at least one clip, but .* none and 1 problems.*gone\.mp4"):
        read_from_arguments(parsed("--dataset", "manifest", "--root", tmp_path / "list.csv"))


def test_the_way_to_a_dataset_does_not_change_its_clips(kodf, monkeypatch):
    """The same clips, read from another folder, once were others: preprocessing began anew."""
    (kodf.parent / "elsewhere").mkdir()
    monkeypatch.chdir(kodf.parent / "elsewhere")
    keys = [
        [record.key for record in read_from_arguments(parsed("--dataset", "kodf", "--root", root))[0]]
        for root in (kodf, "../kodf", "../kodf/videos")
    ]
    assert keys[0] == keys[1] == keys[2]


def test_words_tell_what_they_leave_out():
    """A long table once ended after 24 lines as if that were all."""
    text = as_text({"by_source": {f"s{i}": 1 for i in range(30)}})
    assert text.splitlines()[-1] == "  ... and 6 more"
    assert "more" not in as_text({"by_source": {"s": 1}})


def test_people_are_divided_into_a_file_that_other_commands_read(kodf, tmp_path, capsys):
    out = tmp_path / "split.json"
    assert split(kodf, out, "--method", "identity", "--shares", "train=.5", "dev=.5") == 0
    assert "train: 9\n  dev: 9\n  in more than one split: nothing" in capsys.readouterr().out
    body = json.loads(out.read_text())
    assert body["method"] == "identity, train=.5 dev=.5, seed 0"
    assert all(name.startswith("videos/") for name in body["splits"]["dev"])
    words = ["--dataset", "kodf", "--root", kodf, "--split-file", out, "--split", "dev"]
    records, _ = read_from_arguments(parsed(*words))
    assert {record.path.removeprefix(f"{kodf}/") for record in records} == set(body["splits"]["dev"])


def test_each_fold_has_its_own_file_and_test(kodf, tmp_path):
    assert split(kodf, tmp_path / "fold.json", "--method", "identity", "--folds", 3) == 0
    tests = [json.loads((tmp_path / f"fold-{n}.json").read_text())["splits"]["test"] for n in (1, 2, 3)]
    assert len({name for names in tests for name in names}) == 18


def test_a_generator_is_held_out(kodf, tmp_path):
    words = ["--method", "generator", "--hold-out", "dfl", "--shares", "train=.5", "test=.5"]
    assert split(kodf, tmp_path / "s.json", *words) == 0
    splits = json.loads((tmp_path / "s.json").read_text())["splits"]
    kinds = {name: {file.split("/")[1] for file in files} for name, files in splits.items()}
    assert kinds["train"] == {"original_videos", "fsgan"}
    assert kinds["test"] == {"original_videos", "dfl"}
    assert kinds[LEFT_OUT] == {"dfl", "fsgan"}


def test_a_published_division_tells_whom_its_splits_share(tmp_path, place, capsys):
    for name in "ab":
        place(tmp_path / f"{name}.mp4")
    (tmp_path / "list.csv").write_text("file,split,identities\na.mp4,train,ann\nb.mp4,test,ann\n")
    words = ["--dataset", "manifest", "--root", tmp_path / "list.csv", "--method", "published"]
    assert run("data", "split", *words, "--out", tmp_path / "s.json") == 0
    assert "in more than one split: 1, such as person ann" in capsys.readouterr().out
    assert json.loads((tmp_path / "s.json").read_text())["splits"] == {
        "train": [f"{tmp_path.name}/a.mp4"],
        "test": [f"{tmp_path.name}/b.mp4"],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "generator"], "hold_out must come with method generator or language, but got None, generator"),
        (["--method", "identity", "--hold-out", "x"], "but got 'x', identity"),
        (["--method", "published", "--folds", 2], "folds must come with method identity, but got published"),
        (["--method", "identity", "--folds", 2, "--shares", "a=1"], "shares must come without folds"),
        (["--method", "identity", "--shares", "train"], "shares must read SPLIT=SHARE, but got 'train'"),
        (["--method", "published"], "records must come with a published split"),
    ],
)
def test_options_that_do_not_fit_are_refused(kodf, tmp_path, capsys, words, message):
    assert split(kodf, tmp_path / "s.json", *words) == 2
    assert message in capsys.readouterr().err
