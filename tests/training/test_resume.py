"""A run killed in mid-epoch and resumed ends with the weights of one that was never interrupted."""

import csv
import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from modeling_macbdf import disk
from modeling_macbdf.optim import OMPareto
from modeling_macbdf.training import MACBDFTrainer, MACBDFTrainingArguments, last_complete_checkpoint
from modeling_macbdf.training.callbacks import PatienceCallback
from modeling_macbdf.training.conflict_log import ConflictLog, read_rows, resolution_row

from .killed_run import run
from .toy import ToyData, ToyDetector

TESTS = Path(__file__).parents[1]


def _killed(path: Path, step: int) -> int:
    command = [sys.executable, "-m", f"{__package__}.killed_run", str(path), str(step)]
    environment = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "OMP_NUM_THREADS": "1", "PATH": ""}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict[str, torch.Tensor], Path]:
    """Weights and folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder).state_dict(), folder


def test_killed_run_resumes_bit_for_bit(tmp_path: Path, whole) -> None:
    """Killed after step 9 of 18, in the second epoch; the last checkpoint is that of step 8.

    Data that depend on the epoch once restarted at epoch 0: skipping batches to resume loses `set_epoch`.
    """
    weights, folder = whole
    broken = tmp_path / "broken"
    assert _killed(broken, 9) == -signal.SIGKILL
    cut_off = broken / "checkpoint-10"  # what a kill in the middle of saving leaves
    cut_off.mkdir()
    (cut_off / "model.safetensors").write_bytes(b"half")
    assert last_complete_checkpoint(broken) == broken / "checkpoint-8"
    torch.manual_seed(12345)
    resumed = run(broken, resume=True).state_dict()
    for name, value in weights.items():
        assert torch.equal(value, resumed[name]), name
    assert float(weights["belief"]) > 0
    written = [(path / "conflict.csv").read_text() for path in (broken, folder)]
    assert [row["step"] for row in csv.DictReader(written[0].splitlines())] == [str(step) for step in range(1, 19)]
    assert written[0] == written[1]


class BreakAfter(TrainerCallback):
    """Ends a run with an error after the checkpoint of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            raise RuntimeError("interrupted")


def test_patience_goes_on_where_it_was_and_is_that_of_the_run_that_resumes(tmp_path: Path) -> None:
    """A run without progress once waited its whole patience again after each resuming."""
    settings = {"max_steps": 20, "learning_rate": 0.0, "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    settings |= {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "metric_for_best_model": "loss"}

    def steps(patience: int, folder: Path, *callbacks: TrainerCallback, resume: bool = False) -> int:
        arguments = MACBDFTrainingArguments(output_dir=str(folder), **settings)
        trainer = MACBDFTrainer(ToyDetector(), arguments, train_dataset=ToyData(), eval_dataset=ToyData(4))
        for callback in (*([PatienceCallback(patience)] if patience else []), *callbacks):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=resume)
        return trainer.state.global_step

    assert steps(4, tmp_path / "whole") == 5
    for first, then, last in ((4, 4, 5), (4, 6, 7), (0, 2, 5)):  # patience before, after; the step of the end
        folder = tmp_path / f"{first}-{then}"
        with pytest.raises(RuntimeError, match="interrupted"):
            steps(first, folder, BreakAfter(3))
        assert steps(then, folder, resume=True) == last


@pytest.mark.parametrize("says_why", [True, False])
def test_a_full_disk_ends_the_run_with_its_name_and_costs_no_checkpoint(
    says_why, tmp_path: Path, whole, monkeypatch
) -> None:
    """On a disk that was really full, torch.save said "unexpected pos 64 vs 0" and nothing else."""
    save = torch.save

    def full(values, path, *arguments, **options) -> None:
        if "checkpoint-6" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left", str(path)) if says_why else RuntimeError("unexpected pos")
        save(values, path, *arguments, **options)

    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match=r"o space.*resume from .*checkpoint-4") as caught,
    ):
        patch.setattr(torch, "save", full)
        patch.setattr(disk, "_free_bytes", lambda path: 0)
        run(tmp_path)
    assert caught.value.filename == str(tmp_path / "checkpoint-6")
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    resumed = run(tmp_path, resume=True).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole[0].items())


def test_a_checkpoint_counts_only_when_it_was_written_to_its_end(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    names = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text('{"global_st')
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    (tmp_path / "checkpoint-2" / "optimizer.pt").unlink()
    assert last_complete_checkpoint(tmp_path) is None


def test_conflict_file_drops_the_rows_that_a_resumed_run_takes_again(tmp_path: Path) -> None:
    log = ConflictLog(tmp_path / "log.csv", ["step", "cosine_video"])
    log.start(0)
    for step in range(1, 6):
        log.add({"step": step, "cosine_video": -0.1 * step, "not_a_column": 1.0})
    with (tmp_path / "log.csv").open("a") as file:
        file.write("6")  # cut off
    log.start(3)
    log.add({"step": 4})
    assert [row["step"] for row in read_rows(tmp_path / "log.csv")] == [1, 2, 3, 4]
    log.start(0)
    assert read_rows(tmp_path / "log.csv") == []


def test_an_absent_objective_has_no_cosine() -> None:
    """It once entered every mean as a right angle."""
    both, one = (OMPareto()(torch.tensor(gram)) for gram in ([[1.0, -0.5], [-0.5, 1.0]], [[1.0, 0.0], [0.0, 0.0]]))
    assert (both.present, both.min_cosine) == (2, -0.5)
    assert (one.present, one.min_cosine) == (1, 1.0)
    rows = [resolution_row("video", ["multimodal", "video"], found) for found in (both, one)]
    assert rows[0]["cosine_video"] == -0.5
    assert "cosine_video" not in rows[1]
    assert rows[1]["conflict_video"] == 0.0


def test_log_messages_average_the_steps_between_them() -> None:
    log = ConflictLog(None, ["step"])
    log.start(0)
    log.add({"step": 1, "conflict_video": 1.0, "fusion_video_bin3": 2.0})
    log.add({"step": 2, "conflict_video": 0.0, "temperature": 0.5})
    assert log.drain() == {"conflict_video": pytest.approx(0.5), "temperature": 0.5}
    assert log.drain() == {}
