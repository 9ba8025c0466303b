"""Freed memory stays with the process. The setting is the process's, so each measurement has a process of its own."""

import subprocess
import sys

import pytest

from modeling_macbdf.training import memory

PROGRAM = """
import resource, sys
import torch
from modeling_macbdf.training import memory

memory._ENOUGH_BYTES = 0
if sys.argv[1] == "keep":
    assert memory.keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_fetched(mode: str) -> int:
    found = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the settings are those of glibc")
def test_blocks_of_a_later_step_are_not_fetched_from_the_system_again():
    assert pages_fetched("keep") < 0.1 * pages_fetched("as it is")


def test_a_machine_with_little_memory_gets_it_back(monkeypatch):
    monkeypatch.setattr(memory, "_ENOUGH_BYTES", 2**60)
    assert not memory.keep_freed_memory()
