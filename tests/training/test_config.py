"""The YAML file of a run and the overrides of the command line."""

from pathlib import Path

import pytest
import yaml

from modeling_macbdf.training.config import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "hub_configs"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(
        "model: beside\ndata: {cache: there}\ntraining: {output_dir: out, learning_rate: 5e-4, use_cpu: true}\n"
    )
    return path


def test_file_is_read_and_overridden_in_every_spelling(file: Path) -> None:
    words = ["learning_rate=1e-3", "--data.fake_share", "0.25", "--seed=7", "model_config.dropout=0.3"]
    config = load_config(file, [*words, "early-stopping-patience=2", "cache=elsewhere"])
    assert config.training["learning_rate"] == pytest.approx(1e-3)
    assert config.training["seed"] == 7
    assert (config.data.fake_share, config.data.cache) == (0.25, "elsewhere")
    assert config.model_config == {"dropout": 0.3}
    assert config.early_stopping_patience == 2


def test_an_empty_text_may_be_given_on_the_command_line(file: Path) -> None:
    """Of `cache=""` the shell leaves `cache=`, which was read as null and refused."""
    assert load_config(file, ["cache=", "--data.root", ""]).data.cache == ""


def test_a_tower_is_changed_by_a_longer_key(file: Path) -> None:
    words = ["model_config.video_config.image_size=80", "model_config.video_config.high_pass=false"]
    assert load_config(file, words).model_config == {"video_config": {"image_size": 80, "high_pass": False}}


def test_no_means_no(file: Path) -> None:
    """YAML 1.1 reads no as false, which is no strategy."""
    assert load_config(file, ["eval_strategy=no", "save_strategy=no"]).arguments().eval_strategy == "no"


def test_a_name_of_digits_stays_a_name(file: Path) -> None:
    """A speaker called "1098" was once a number, and could not be left out."""
    words = ["cache=a", "windows=4", 'sets=[{cache: a, split: "10"}]', 'leave_out=[1098, "12", ann]']
    data = load_config(file, words).data
    assert data.leave_out == ["1098", "12", "ann"]
    assert data.sets[0]["split"] == "10"


def test_a_number_written_as_1e_3_is_a_number(file: Path) -> None:
    """YAML 1.1 reads 5e-4 as text, which the optimizer then met."""
    assert load_config(file).arguments().learning_rate == pytest.approx(5e-4)
    assert load_config(file, ["windows=2e4"]).data.windows == 20_000


def test_printed_configuration_gives_the_same_run(file: Path, tmp_path: Path) -> None:
    config = load_config(file, ["gamma=1.5"])
    again = tmp_path / "again.yaml"
    again.write_text(config.as_yaml())
    assert load_config(again) == config


def test_a_model_beside_the_file_is_meant_before_a_hub_repository(file: Path) -> None:
    assert load_config(file).model == "beside"
    (file.parent / "beside").mkdir()
    assert load_config(file).model == str(file.parent / "beside")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["learning_rat=1"], "learning_rat must be a known setting, but is not; did you mean learning_rate"),
        (["data.cash=x"], r"data\.cash must be a known setting, but is not; did you mean cache"),
        (["training.gama=1"], "did you mean gamma"),
        (["other.thing=1"], "must begin with one of"),
        (["--seed"], "overrides must read key=value or --key value, but got '--seed'"),
        (["seed", "1"], "overrides must read key=value"),
        (["data=nothing"], "data must hold key: value pairs"),
        (["eval_share=1.5"], r"data\.eval_share must be in \(0, 1\), but got 1.5"),
        (["early_stopping_patience=-1"], "early_stopping_patience must not be negative"),
        (["streams={video: 0.7"], "streams must be YAML, but is not"),
        (["self_made_clips=abc"], r"data\.self_made_clips must be a whole number, but got 'abc'"),
        (["eval_share=abc"], r"data\.eval_share must be a number, but got 'abc'"),
        (["streams={video: much}"], r"data\.streams must be key: value pairs, each a number"),
        (["windows=1.5"], r"data\.windows must be a whole number or null, but got 1.5"),
        (["windows=-3"], r"data\.windows must be at least 1, but got -3"),
        (["window_steps=0"], r"data\.window_steps must be at least 1, but got 0"),
        (["paired=2"], r"data\.paired must be true or false, but got 2"),
        (["leave_out=ann"], r"data\.leave_out must be a list, each text, but got 'ann'"),
        (["learning_rate=abc"], r"training\.learning_rate must be a number, but got 'abc'"),
        (["max_steps=true"], r"training\.max_steps must be a whole number, but got True"),
        (["from_scratch=maybe"], "from_scratch must be true or false, but got 'maybe'"),
        (["cache=a", "windows=4", "sets=[{cache: a}]", "balance=identity"], r"data\.balance must stand in each of"),
    ],
)
def test_wrong_settings_are_refused_by_name(file: Path, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(file, words)


def test_a_set_says_its_settings_by_name(file: Path) -> None:
    data = load_config(file, ["cache=a", "windows=4", "sets=[{cache: a, share: much}]"]).data
    with pytest.raises(ValueError, match=r"data\.sets: share must be a number, but got 'much'"):
        data.training_sets()


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: {")
    with pytest.raises(ValueError, match=r"run\.yaml must be YAML, but is not"):
        load_config(tmp_path / "run.yaml")


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_prepared(file: Path) -> None:
    config = load_config(file, ["report_to=[none_such]"])
    with pytest.raises(ValueError, match=r"report_to must name installed trackers, .* but got 'none_such'"):
        config.arguments()
    assert load_config(file, ["report_to=none"]).arguments().report_to == []


def test_a_missing_file_or_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="config must name a YAML file"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "empty.yaml").write_text("training: {}")
    with pytest.raises(ValueError, match="model must be given"):
        load_config(tmp_path / "empty.yaml")


def test_every_shipped_training_file_gives_valid_arguments(tmp_path: Path) -> None:
    files = sorted(CONFIGS.glob("train-*.yaml"))
    assert len(files) >= 2
    for path in files:
        config = load_config(path, [f"output_dir={tmp_path}", "use_cpu=true"])
        assert Path(config.model).is_dir(), path
        assert config.arguments().output_dir == str(tmp_path)
        assert yaml.safe_load(config.as_yaml())["training"]["output_dir"] == str(tmp_path)
