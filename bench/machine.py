"""The machine: facts for the record, and whether others use it while we measure."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from bench.usage import cpu_seconds

BUSY = 0.10  # share of all cores' time that others may use before the figures are doubtful
_USER, _NICE, _SYSTEM, _STEAL = 0, 1, 2, 7  # columns of /proc/stat's first line, proc(5)


class Neighbours:
    """Watches, from its making on, how much of the processors others take."""

    def __init__(self) -> None:
        self._begin = self._sample()

    def share(self) -> float:
        """The share (0 to 1) of all cores' time since the beginning that went to processes other than our own
        and, on a virtual machine, to other machines.
        """
        before, now = self._begin, self._sample()
        elapsed, used, own = (new - old for old, new in zip(before, now, strict=True))
        return max(0.0, used - own) / elapsed if elapsed > 0 else 0.0

    @staticmethod
    def _sample() -> tuple[float, float, float]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        used = ticks[_USER] + ticks[_NICE] + ticks[_SYSTEM] + ticks[_STEAL]
        seconds = os.sysconf("SC_CLK_TCK")
        return time.monotonic() * (os.cpu_count() or 1), used / seconds, cpu_seconds([os.getpid()])


def busy_warning(share: float) -> str | None:
    """What to tell when others took ``share`` of the machine; None when it is little."""
    if share < BUSY:
        return None
    return (
        f"the machine was busy: other programs took {share:.0%} of its processors. "
        "Trust the ratios more than the figures, and measure again on an idle machine."
    )


def facts() -> dict[str, str]:
    """What a reader needs to know to compare: processors, kernel, versions."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "irosh": importlib.metadata.version("irosh"),
        "iroh": importlib.metadata.version("iroh"),
        "ssh": _version("ssh", "-V"),
        "iperf3": _version("iperf3", "--version"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(program: str, option: str) -> str:
    if shutil.which(program) is None:
        return "not installed"
    done = subprocess.run([program, option], capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout + done.stderr).split("\n", 1)[0].strip()
