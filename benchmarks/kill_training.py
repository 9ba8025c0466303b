"""Kills a training run with signal 9 at random moments, resumes it, and compares the weights it ends with.

    python benchmarks/kill_training.py --json OUT [--kills 20] [--seed 0]

The run is the toy of tests/training (18 steps, dropout, data that change with the epoch, a checkpoint every 2 steps).
A killed run goes on from its last complete checkpoint; when it reaches its end, its weights must be those of a run
that nobody killed, bit for bit, and the next one begins. The exit code is 1 where they are not.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from training.killed_run import run  # noqa: E402

from modeling_macbdf.training import last_complete_checkpoint  # noqa: E402


def start(folder: Path) -> int:
    """The process number of a run that resumes where it can; forked, since the imports take longer than the run."""
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  for the life of the child
        torch.save(run(folder, resume=True).state_dict(), folder / "end.partial")
        os.replace(folder / "end.partial", folder / "end.pt")
        os._exit(0)
    except BaseException:
        os._exit(1)


def killed(child: int, after_s: float) -> bool:
    """Whether the signal came before the run's end; a run that failed by itself is an error."""
    end = time.monotonic() + after_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise RuntimeError(f"a run ended with status {status} before it was killed")
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def same(one: Path, other: Path) -> bool:
    """Whether two saved sets of weights are equal bit for bit."""
    first, second = (torch.load(path, weights_only=True) for path in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 at random moments of a training run")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, compared, equal, cut_off = random.Random(arguments.seed), 0, 0, 0
    moments: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        whole, begin = Path(name) / "whole", time.monotonic()
        whole.mkdir()
        if killed(start(whole), 3600.0):
            raise RuntimeError("the run that nobody should kill took over an hour")
        takes_s, unfinished = time.monotonic() - begin, True
        while len(moments) < arguments.kills or unfinished:
            folder = Path(name) / str(compared)
            folder.mkdir(exist_ok=True)
            after_s = rng.uniform(0.0, takes_s) if len(moments) < arguments.kills else 3600.0
            unfinished = killed(start(folder), after_s)
            if unfinished:
                folders = list(folder.glob("checkpoint-*"))
                last = last_complete_checkpoint(folder)
                newest = max(folders, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
                cut_off += last != newest
                moments.append(last.name if last else "none")
            else:
                compared += 1
                equal += same(folder / "end.pt", whole / "end.pt")
    result = {
        "kills": len(moments),
        "last_complete_checkpoint_at_each": moments,
        "kills_that_left_a_cut_off_checkpoint": cut_off,
        "runs_to_the_end": compared,
        "with_the_same_weights": equal,
        "undisturbed_run_wall_s": round(takes_s, 2),
    }
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0 if equal == compared else 1


if __name__ == "__main__":
    sys.exit(main())
