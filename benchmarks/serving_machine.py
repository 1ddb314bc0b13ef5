"""How much of the machine others took while something was measured."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """A process and everything that it started and that lives."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time that some processes and those that they started have had."""
    total = 0.0
    for pid in pids:
        for process in tree(pid):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
    return total


class Stopwatch:
    """The machine's busy time between two moments, and how much of it was not ours.

    Args:
        pids: the servers; this process and what it waited for (wrk) are counted by themselves.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._before = self._now()

    def others(self) -> float:
        """Share of all processor time since the start that other processes took, 0 to 1."""
        all_before, busy_before, own_before = self._before
        all_now, busy_now, own_now = self._now()
        taken = (busy_now - busy_before) - (own_now - own_before)
        return max(0.0, taken / max(all_now - all_before, 1e-9))

    def _now(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # A guest's time is in `user` already.
        every = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        own = cpu_seconds(self._pids)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            own += usage.ru_utime + usage.ru_stime
        return every, every - idle, own


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
