"""`macbdf experiment`: arguments in, files out. The command line prints."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .experiment_specs import EXPERIMENTS

DEFAULT = Path(__file__).resolve().parents[2] / "hub_configs" / "experiments-tiny.yaml"


def add_experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `macbdf experiment`."""
    questions = "\n".join(f"  {name:<20}{spec.question}" for name, spec in EXPERIMENTS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"experiments:\n{questions}"
    parser.add_argument("name", choices=tuple(EXPERIMENTS), metavar="NAME", help="see below")
    parser.add_argument("--config", type=Path, default=DEFAULT, help="YAML of a training run (default: a tiny one)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0..N-1 (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("runs/experiments"), help="default: runs/experiments")
    parser.add_argument(
        "--target-loss", type=float, default=0.6, help="of the joint answer, for the convergence speed (default: 0.6)"
    )
    parser.add_argument(
        "--set", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help="override the configuration"
    )


def run_from_arguments(arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs the experiment; the returned result names its folder under "folder".

    Raises:
        ValueError: fewer than one seed, or what `run_experiment` refuses.
    """
    from .experiments import run_experiment

    if arguments.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, but got {arguments.seeds}")
    result = run_experiment(
        arguments.name, arguments.config, arguments.out, arguments.set, range(arguments.seeds),
        arguments.target_loss, say,
    )  # fmt: skip
    return result | {"folder": str(arguments.out / arguments.name)}
