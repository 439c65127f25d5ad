"""Has this machine ask the name servers of the tunnel, for as long as it is open.

Where systemd-resolved answers, it is told about the interface, and forgets with it. Elsewhere another file is mounted
over /etc/resolv.conf: what is there is not touched, and there again when the mount is gone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.guard import Guard
from irosh.services.vpn.name_service import RESOLV_CONF

_DIRECTORY = Path("/run")


async def use_name_servers(guard: Guard, use: str, device: str, servers: Sequence[str], *, resolved: bool) -> None:
    """Ask ``servers`` from now on, until ``use`` is undone. ``resolved``: systemd-resolved answers here."""
    if resolved:
        await asyncio.to_thread(guard.run, "resolvectl", "dns", device, *servers)
        await asyncio.to_thread(guard.run, "resolvectl", "domain", device, "~.")
        return
    if not RESOLV_CONF.exists():
        raise IroshError(
            ErrorCode.VPN_UNAVAILABLE, f"this machine has no {RESOLV_CONF}", "use --no-dns, or make an empty one"
        )
    file = _DIRECTORY / f"irosh-{os.getpid()}-{device}.conf"
    target = await asyncio.to_thread(os.path.realpath, RESOLV_CONF)
    await asyncio.to_thread(guard.add, use, [("run", ["rm", "-f", str(file)]), ("run", ["umount", target])])
    lines = [
        "# For the time of `irosh vpn`; the file below this mount is unchanged.",
        *(f"nameserver {s}" for s in servers),
    ]
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w") as out:
        out.write("\n".join(lines) + "\n")
    file.chmod(0o644)
    await asyncio.to_thread(guard.run, "mount", "--bind", str(file), target)
