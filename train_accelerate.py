"""Trains MACB-DF.

    python train_accelerate.py                              tiny, on a small set that it makes itself: a few minutes
    python train_accelerate.py --config hub_configs/train-small.yaml cache=/data/cache output_dir=runs/small
    accelerate launch --num_processes 2 train_accelerate.py aggregator=sum seed=1
    python train_accelerate.py --resume                     goes on where a run was killed
    python train_accelerate.py --dry-run                    checks everything, estimates time and memory

key=value or --key value sets any field of RunConfig, DataConfig and MACBDFTrainingArguments over the YAML file.
"""

import argparse
import json
import sys
from pathlib import Path

try:
    from accelerate import PartialState
except ModuleNotFoundError as error:
    print(
        f"train_accelerate.py: {error}; it needs, in the project's folder: pip install -e '.[train]'", file=sys.stderr
    )
    sys.exit(2)

from modeling_macbdf.training.checkpoints import last_complete_checkpoint
from modeling_macbdf.training.config import RunConfig, load_config
from modeling_macbdf.training.memory import keep_freed_memory
from modeling_macbdf.training.plots import plot_conflict
from modeling_macbdf.training.run import Run

DEFAULT = Path(__file__).resolve().parent / "hub_configs" / "train-tiny.yaml"


def parse_arguments(words: list[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """The options of this command, and the overrides of the configuration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--config", type=Path, default=DEFAULT, help="YAML file (default: hub_configs/train-tiny.yaml)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last complete checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="take three steps, keep nothing, print the estimates")
    return parser.parse_known_args(words)


def say(text: str) -> None:
    """Prints once, however many processes run."""
    if PartialState().is_main_process:
        print(text, flush=True)


def checkpoint_of(config: RunConfig, resume: bool) -> str | None:
    """The checkpoint to go on from; a run that would overwrite another one is refused.

    Raises:
        ValueError: `--resume` without a checkpoint, or an unfinished run in the way.
    """
    folder = Path(str(config.training.get("output_dir", "")))
    found = last_complete_checkpoint(folder)
    if resume and found is None:
        raise ValueError(f"--resume must find a complete checkpoint, but {folder} has none.")
    if not resume and found is not None:
        raise ValueError(f"output_dir must be new, but {found} exists: give --resume, or another output_dir.")
    return str(found) if resume else None


def train(config: RunConfig, checkpoint: str | None) -> None:
    """Trains, evaluates, calibrates and saves."""
    run = Run(config)
    say(f"data: {json.dumps(run.data.facts, indent=2)}")
    trainer = run.trainer()
    trainer.train(resume_from_checkpoint=checkpoint)
    metrics = run.finish(trainer)
    conflicts = run.output_dir / run.arguments.conflict_csv
    if trainer.is_world_process_zero() and trainer.separates_objectives and conflicts.is_file():
        say(f"conflict between the objectives: {plot_conflict({'': conflicts}, conflicts.with_suffix('.png'))}")
    say(f"evaluation: {json.dumps(metrics, indent=2)}")
    say(f"saved: {run.output_dir / 'model'}\ntry it: macbdf detect --model {run.output_dir / 'model'} CLIP.mp4")


def main(words: list[str] | None = None) -> int:
    """The command; 2 where configuration, data or disk cannot be used, or a package for it is not installed."""
    options, overrides = parse_arguments(words)
    if PartialState().device.type == "cpu":
        keep_freed_memory()
    try:
        config = load_config(options.config, overrides)
        say(config.as_yaml())
        if options.dry_run:
            run = Run(config)
            say(json.dumps({"data": run.data.facts, "estimate": run.estimate()}, indent=2))
        else:
            train(config, checkpoint_of(config, options.resume))
    except (ValueError, OSError, ImportError) as error:
        print(f"train_accelerate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
