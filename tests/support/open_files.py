"""What another process has open."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def udp_ports(pid: int) -> list[int]:
    """The local ports of all UDP sockets of a process."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            inodes.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    found = []
    for family in ("udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                found.append(int(fields[1].rpartition(":")[2], 16))
    return sorted(found)


def thread_count(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
