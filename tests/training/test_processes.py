"""Two gloo processes against one process: every gradient of every step, odd last batches included."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import RandomSampler, SequentialSampler

from modeling_macbdf.training import MACBDFTrainer, MACBDFTrainingArguments
from modeling_macbdf.training.batches import SharedBatches

from .small import NoiseClips, small_detector
from .test_trainer import Gradients
from .toy import ToyData, ToyDetector

# name: (clips, accumulation, aggregator, route); those called "detector" train the real model on noise. 21 clips in
# global batches of 4 leave one clip for two processes; 23 leave three, and a last step of two micro-batches where four
# are accumulated.
RUNS = {
    "one_clip_left": (21, 1, "om_pareto", "exact"),
    "accumulated": (23, 4, "om_pareto", "exact"),
    "plain_sum": (22, 1, "sum", "exact"),
    "feature_space": (23, 1, "om_pareto", "feature_space"),
    "joint": (22, 1, "sum", "joint"),
    "detector": (11, 1, "om_pareto", "exact"),
    "detector_accumulated": (13, 2, "om_pareto", "exact"),
}
WORLD = 2


def _run(path: Path, name: str, per_device: int) -> dict:
    clips, accumulation, aggregator, route = RUNS[name]
    real = name.startswith("detector")
    arguments = MACBDFTrainingArguments(
        output_dir=str(path / name),
        num_train_epochs=2,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        aggregator=aggregator,
        gradient_route=route,
        learning_rate=1e-2,
        optim="sgd" if real else "adamw_torch",  # Adam turns the rounding of a gradient near zero into a whole step
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    model = small_detector() if real else ToyDetector()
    trainer = MACBDFTrainer(model, arguments, train_dataset=(NoiseClips if real else ToyData)(clips))
    gradients = Gradients(model)
    trainer.add_callback(gradients)
    trainer.train()
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"steps": gradients.steps, "weights": model.state_dict(), "world": arguments.world_size, "loss": history}


def _worker(rank: int, port: int, path: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    for state in (AcceleratorState, GradientState, PartialState):  # of the process that was forked
        state._shared_state.clear()
    for name in RUNS:
        torch.save(_run(Path(path), name, 2), Path(path) / f"{name}-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked, not spawned: importing everything again would take ten times as long as the runs.
    mp.start_processes(_worker, args=(port, str(path)), nprocs=WORLD, start_method="fork")
    return path


@pytest.mark.parametrize("name", list(RUNS))
def test_two_processes_take_the_steps_of_one(two_processes: Path, tmp_path: Path, name: str) -> None:
    alone = _run(tmp_path, name, 4)
    ranks = [torch.load(two_processes / f"{name}-{rank}.pt") for rank in range(WORLD)]
    assert [found["world"] for found in ranks] == [WORLD, WORLD]
    for found in ranks:
        assert len(found["steps"]) == len(alone["steps"]) > 0
        for step, (ours, theirs) in enumerate(zip(found["steps"], alone["steps"], strict=True)):
            assert ours.keys() == theirs.keys()
            # The detector's contrast divides by norms and temperature: after a step its weights differ by rounding.
            tolerance = 3e-6 if step and name.startswith("detector") else 1e-6
            for parameter, grad in ours.items():
                torch.testing.assert_close(grad, theirs[parameter], rtol=0, atol=tolerance, msg=parameter)
    for parameter, value in ranks[0]["weights"].items():
        torch.testing.assert_close(value, ranks[1]["weights"][parameter], rtol=0, atol=0)
        torch.testing.assert_close(value, alone["weights"][parameter], rtol=1e-5, atol=5e-5)


def test_conflict_file_holds_the_means_over_processes(two_processes: Path, tmp_path: Path) -> None:
    _run(tmp_path, "one_clip_left", 4)
    ours, theirs = (
        (path / "one_clip_left" / "conflict.csv").read_text().splitlines() for path in (two_processes, tmp_path)
    )
    names = ours[0].split(",")
    assert len(ours) == len(theirs)
    for first, second in zip(ours[1:-1], theirs[1:-1], strict=True):
        row, expected = (dict(zip(names, line.split(","), strict=True)) for line in (first, second))
        for name in ("loss_video", "cosine_audio", "alpha_video_multimodal", "fusion_video_mean"):
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-4)


@pytest.mark.parametrize("clips", [1, 3, 8, 9, 10, 23])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_clip_is_dealt_out_once_and_no_process_runs_short(clips: int, world_size: int) -> None:
    shares = [
        list(SharedBatches(SequentialSampler(range(clips)), 2, False, rank, world_size)) for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    for batches in zip(*shares, strict=True):
        sizes = [sum(index >= 0 for index in batch) for batch in batches]
        assert max(sizes) - min(sizes) <= 1
        assert all(batch for batch in batches)
    dealt = [index for share in shares for batch in share for index in batch if index >= 0]
    assert sorted(dealt) == list(range(clips))


def test_an_odd_last_batch_is_left_out_where_asked() -> None:
    sampler = RandomSampler(range(10))
    assert sum(len(batch) for batch in SharedBatches(sampler, 2, True, 0, 2)) == 4
