"""What passes a machine's network interfaces, and what is in a program's memory: to show what somebody cannot see."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.host import Host
from tests.lab.processes import wait_until

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw")
_CHUNK = 16 * 1024 * 1024
_SETTLE = 0.5  # seconds for tcpdump to write what it has


@contextmanager
def captured(machine: Host, file: Path) -> Iterator[None]:
    """Write all packets of all interfaces, loopback too, to ``file`` for the length of the block."""
    command = ("tcpdump", "-i", "any", "-U", "-s", "0", "-w", str(file))
    with machine.running(*command, ready=lambda: file.exists() and file.stat().st_size >= 24):
        yield
        size = -1

        def settled() -> bool:
            nonlocal size
            before, size = size, file.stat().st_size
            time.sleep(_SETTLE)
            return before == size

        wait_until(settled, what="the capture has been written")


def memory_contains(pid: int, marker: bytes) -> bool:
    """Whether ``marker`` stands anywhere in the writable memory of a process; not if it has ended."""
    try:
        mappings = _MAPPING.findall(Path(f"/proc/{pid}/maps").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for first, last in mappings:
            position, end = int(first, 16), int(last, 16)
            rest = b""
            while position < end:
                try:
                    memory.seek(position)
                    data = memory.read(min(_CHUNK, end - position))
                except (OSError, ValueError, OverflowError):
                    break
                if not data:
                    break
                if marker in rest + data:
                    return True
                rest = data[-len(marker) :]
                position += len(data)
    return False
