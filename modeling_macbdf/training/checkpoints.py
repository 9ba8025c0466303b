"""Which checkpoint to resume from after a process was killed, perhaps while it wrote one."""

import json
from pathlib import Path

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def last_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """The newest checkpoint of a run that was written to its end; None where there is none.

    The Trainer writes `trainer_state.json` last: a checkpoint without a readable one was cut off.

    Args:
        output_dir: the run's folder, with `checkpoint-<step>` folders.
    """
    found = [path for path in Path(output_dir).glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    found.sort(key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in found if is_complete(path)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint holds weights, optimizer, schedule, random states and a readable trainer state."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    random_states = list(checkpoint.glob("rng_state*.pth"))
    needed = [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt"]
    weights = any((checkpoint / name).exists() for name in _WEIGHTS)
    return "global_step" in state and weights and bool(random_states) and all(path.exists() for path in needed)
