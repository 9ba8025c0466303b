"""What happens at the turns of a training run: epochs of the data, the conflict file, stopping early."""

from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .conflict_log import ConflictLog


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


class PatienceCallback(EarlyStoppingCallback):
    """transformers' early stopping, whose count of evaluations without a better one outlives a kill.

    `restore_callback_states_from_checkpoint` would bring back the patience too, over that of the run that resumes.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes the count from the checkpoint that the run resumes from."""
        super().on_train_begin(args, state, control, **kwargs)
        # The Trainer saves into an entry that is there, and a checkpoint of a run without patience has none.
        saved: Any = state.stateful_callbacks.setdefault(type(self).__name__, self.state())  # type: ignore[union-attr]
        self.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]


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
