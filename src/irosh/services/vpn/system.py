"""What this machine's network is like, asked of and told to iproute2 and nftables."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from irosh.core.addresses import IPNetwork
from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.undo import DEADLINE, run

_WITHOUT_ROOT = "without root, `irosh connect -D` and `irosh tunnel open` reach what the peer reaches"


def check_able(where: str) -> None:
    """Whether packets can be carried here; ``where`` says whose machine this is. ``IroshError`` (vpn-unavailable)."""
    if sys.platform != "linux":
        raise IroshError(ErrorCode.VPN_UNAVAILABLE, f"{where} does not run Linux", _WITHOUT_ROOT)
    if os.geteuid() != 0:
        raise IroshError(ErrorCode.VPN_UNAVAILABLE, f"{where} does not run irosh as root", _WITHOUT_ROOT)
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            raise IroshError(
                ErrorCode.VPN_UNAVAILABLE, f"{where} has no program `{program}`", f"install the package {package}"
            )


async def change(*command: str, given: str = "") -> None:
    """Run a program that changes the machine's network. ``IroshError`` (vpn-unavailable)."""
    failure = await asyncio.to_thread(run, command, given)
    if failure is not None:
        raise IroshError(ErrorCode.VPN_UNAVAILABLE, f"`{' '.join(command)}` failed: {failure}"[:400])


async def ask(*command: str) -> list[dict[str, Any]]:
    """What a program says as a JSON list; nothing if it fails, as for a family that the machine does not have."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(DEADLINE):
            printed, _ = await process.communicate()
        found = json.loads(printed or b"[]")
    except (TimeoutError, ValueError):
        return []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


async def known_networks() -> list[IPNetwork]:
    """Networks that this machine has routes to, by any interface."""
    networks: list[IPNetwork] = []
    for family in ("-4", "-6"):
        for route in await ask("ip", family, "-json", "route", "show", "table", "all"):
            try:
                networks.append(ip_network(str(route.get("dst")), strict=False))
            except ValueError:
                continue  # "default"
    return networks


async def free_rules(count: int) -> int:
    """The first preference of ``count`` routing rules in a row that nobody uses."""
    used = set()
    for family in ("-4", "-6"):
        used |= {int(rule.get("priority", 0)) for rule in await ask("ip", family, "-json", "rule", "show")}
    for first in range(FIRST_RULE, FIRST_RULE + 200 * count, count):
        if not used.intersection(range(first, first + count)):
            return first
    raise IroshError(ErrorCode.VPN_UNAVAILABLE, "there are too many routing rules")


FIRST_RULE = 5000
"""Before those of the system, behind those that somebody wants to come first."""


def has_ipv6() -> bool:
    """Whether this machine uses IPv6 at all."""
    return Path("/proc/net/if_inet6").exists() and _read("/proc/sys/net/ipv6/conf/all/disable_ipv6") == "0"


def has_global_ipv6() -> bool:
    """Whether it has an address by which it could reach others by IPv6."""
    try:
        rows = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    except OSError:
        return False
    return any(len(row) > 5 and row[3] == "00" and not row[5].startswith("irosh") for row in rows)


def setting(path: str) -> str:
    """A setting of the kernel below ``/proc/sys``; empty if there is none."""
    return _read(f"/proc/sys/{path}")


def interfaces() -> Sequence[str]:
    """The names of the network interfaces."""
    try:
        return sorted(entry.name for entry in Path("/proc/sys/net/ipv4/conf").iterdir())
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
