"""A small training run that kills itself as `kill -9` does: python -m training.killed_run OUTPUT_DIR STEP."""

import os
import signal
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from modeling_macbdf.training import MACBDFTrainer, MACBDFTrainingArguments, last_complete_checkpoint

from .toy import ToyData, ToyDetector


class KillAt(TrainerCallback):
    """Ends the process without any farewell right after an optimizer step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def run(path: Path, kill_at: int | None = None, resume: bool = False) -> ToyDetector:
    """Three epochs of six steps with dropout, data that change with the epoch, a schedule and moments."""
    torch.set_num_threads(1)
    arguments = MACBDFTrainingArguments(
        output_dir=str(path),
        num_train_epochs=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        lr_scheduler_type="cosine",
        save_steps=2,
        logging_steps=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        seed=3,
    )
    model = ToyDetector(dropout=0.3)
    trainer = MACBDFTrainer(model, arguments, train_dataset=ToyData(24, epochs=True))
    if kill_at:
        trainer.add_callback(KillAt(kill_at))
    checkpoint = last_complete_checkpoint(path) if resume else None
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return model


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
