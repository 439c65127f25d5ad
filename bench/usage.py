"""What processes use, from ``/proc`` (Linux): CPU time and memory of a process and all that it started."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import BenchError

_TICK = os.sysconf("SC_CLK_TCK")
_KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """Bytes. ``rss``: resident; ``pss``: shared pages divided by their users; ``uss``: private pages only.

    ``anonymous``: what the processes allocated themselves, no pages of files. Right also for several that were forked
    from one another, and whatever else runs: the figure for growth.
    """

    rss: int
    pss: int
    uss: int
    anonymous: int


def process_tree(pid: int) -> list[int]:
    """``pid`` and its living descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue  # it has just ended
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time so far of these processes and of their descendants, also of those that have ended."""
    ticks = 0
    for member in {member for pid in pids for member in process_tree(pid)}:
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except OSError:
            continue
        # The name in parentheses may hold anything; utime, stime, cutime and cstime are fields 14 to 17 (proc(5)).
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / _TICK


def memory(pids: Iterable[int]) -> Memory:
    """Memory of these processes together, without their descendants. :class:`BenchError` when none of them lives."""
    totals = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0, "Private_Hugetlb": 0, "Pss_Anon": 0}
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # of a tree, one has just ended
        for line in rollup.splitlines()[1:]:
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0]) * _KIB
    if not totals["Rss"]:
        raise BenchError("a program whose memory is measured has ended")
    private = totals["Private_Clean"] + totals["Private_Dirty"] + totals["Private_Hugetlb"]
    return Memory(rss=totals["Rss"], pss=totals["Pss"], uss=private, anonymous=totals["Pss_Anon"])
