"""The advice to the memory allocator, where it takes any."""

from __future__ import annotations

import platform
import subprocess
import sys

_MESSAGES = 6
_ROUNDS = 20

_TAKEN_AND_FREED = f"""
import resource, sys
from boundary.memory import keep_freed_memory

taken = sys.argv[1] == "advised" and keep_freed_memory()
for round in range({_ROUNDS} + 1):
    messages = [bytearray(1024 * 1024) for _ in range({_MESSAGES})]
    del messages
    if round == 0:  # from now on the allocator may have what it needs
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(int(taken), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> tuple[bool, int]:
    """Whether the allocator took the advice, and how many pages the system had to give."""
    ran = subprocess.run(
        [sys.executable, "-c", _TAKEN_AND_FREED, how], capture_output=True, text=True, check=True
    )
    taken, faults = map(int, ran.stdout.split())
    return bool(taken), faults


def test_the_memory_of_freed_messages_serves_the_next() -> None:
    by_itself, advised = _faults("by itself"), _faults("advised")
    assert advised[0] == (platform.libc_ver()[0] == "glibc")
    if advised[0]:
        assert advised[1] < by_itself[1] / 10
