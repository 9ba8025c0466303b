"""What happens at the turns of a training run: epochs of the data, the conflict file."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .conflict_log import ConflictLog
from .memory import give_back_freed_memory


class EpochCallback(TrainerCallback):
    """Tells the training data which epoch begins, also after resuming.

    Accelerate's loader forgets it where a sampler knows epochs, and whenever batches are skipped to resume: random
    crops would then be those of the first epoch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Calls `set_epoch` where the data set has it."""
        del args, control, kwargs
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(int(state.epoch or 0))


class FreedMemoryCallback(TrainerCallback):
    """Gives freed memory back to the system now and then: at every step it would cost a third of the time."""

    every = 20  # steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Once in `every` steps."""
        del args, control, kwargs
        if state.global_step % self.every == 0:
            give_back_freed_memory()


class ConflictCallback(TrainerCallback):
    """Begins the conflict file, or continues it at the step a run resumes from."""

    def __init__(self, log: ConflictLog) -> None:
        self.log = log

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drops the rows of steps that the resumed run will take again."""
        del args, control, kwargs
        self.log.start(state.global_step)
