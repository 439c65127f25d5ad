"""A host with file systems of its own, so that a test may change what it mounts and which name servers it asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.host import Host
from tests.lab.machine import end_group
from tests.lab.processes import wait_until


@contextmanager
def own_mounts(host: Host, resolv_conf: Path) -> Iterator[None]:
    """For the length of the block all programs on ``host`` share a mount namespace; this machine's stays as it is.

    ``resolv_conf`` is what they see as ``/etc/resolv.conf``.
    """
    shared = host.prefix
    keeper = host.popen("unshare", "--mount", "sleep", "infinity")
    try:
        own = Path(f"/proc/{keeper.pid}/ns/mnt")
        wait_until(
            lambda: (
                Path(f"/proc/{keeper.pid}/comm").read_text() == "sleep\n"
                and own.readlink() != Path("/proc/self/ns/mnt").readlink()
            ),
            what="the host has mounts of its own",
        )
        host.prefix = ("nsenter", "--target", str(keeper.pid), "--net", "--mount")
        host.run("mount", "--bind", str(resolv_conf), "/etc/resolv.conf")
        yield
    finally:
        host.prefix = shared
        end_group(keeper)
