"""The host's network while it carries packets for peers: forwarding, masquerade, MSS; undone with the last of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.guard import Guard
from irosh.services.vpn.name_service import name_service
from irosh.services.vpn.pool import Pool, conflict
from irosh.services.vpn.system import change, check_able, has_ipv6, interfaces, known_networks, setting
from irosh.services.vpn.undo import Step

INTERFACES = "iroshgw"
"""What the names of the host's interfaces begin with."""

_TABLE = """
table inet {table} {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{interfaces}*" tcp flags syn tcp option maxseg size set rt mtu
        oifname "{interfaces}*" tcp flags syn tcp option maxseg size set rt mtu
        iifname "{interfaces}*" oifname "{interfaces}*" drop
        oifname "{interfaces}*" ct state established,related accept
        oifname "{interfaces}*" drop
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {network4} oifname != "{interfaces}*" masquerade
        ip6 saddr {network6} oifname != "{interfaces}*" masquerade
    }}
}}
"""
_USE = "network"


class HostNetwork:
    """Shared by all clients of a host; set up for the first, undone behind the last or by the guard."""

    def __init__(self, pools: list[Pool]) -> None:
        self._pools = pools
        self._pool: Pool | None = None
        self._guard: Guard | None = None
        self._names = AsyncExitStack()
        self._users = 0
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Pool]:
        """The network is ready for the length of the context. ``IroshError``: vpn-unavailable, address-conflict."""
        async with self._changing:
            if self._guard is None or self._pool is None:
                check_able("the host")
                self._pool = await self._free_pool()
                await self._set_up(self._pool)
            pool = self._pool
            self._users += 1
        try:
            yield pool
        finally:
            async with self._changing:
                self._users -= 1
                if not self._users:
                    await self._undo()

    async def _free_pool(self) -> Pool:
        known = await known_networks()
        for pool in self._pools:
            found = conflict(pool.network4, known) or conflict(pool.network6, known)
            if found is None:
                return pool
        raise IroshError(
            ErrorCode.ADDRESS_CONFLICT,
            f"the host has a route to {found}, where its clients would get their addresses",
            "the host's owner can set vpn.pool and vpn.pool6 in its configuration",
        )

    async def _set_up(self, pool: Pool) -> None:
        guard = self._guard = await asyncio.to_thread(Guard)
        try:
            table = f"irosh_vpn_{os.getpid()}"
            await asyncio.to_thread(guard.add, _USE, [("run", ["nft", "delete", "table", "inet", table])])
            rules = _TABLE.format(table=table, interfaces=INTERFACES, network4=pool.network4, network6=pool.network6)
            await change("nft", "-f", "-", given=rules)
            for path, value in _forwarding():
                steps: list[Step] = [("write", [f"/proc/sys/{path}", setting(path)])]
                await asyncio.to_thread(guard.add, _USE, steps)
                await change("sysctl", "-qw", f"{path.replace('/', '.')}={value}")
            # One for all clients, each of whom has an interface with these very addresses.
            await self._names.enter_async_context(name_service([str(each) for each in pool.gateways]))
        except BaseException:
            await self._undo()
            raise

    async def _undo(self) -> None:
        guard, self._guard, self._pool = self._guard, None, None
        await self._names.aclose()
        if guard is not None:
            await asyncio.shield(asyncio.to_thread(guard.close))


def _forwarding() -> list[tuple[str, str]]:
    """The settings to change so that packets are forwarded, in order."""
    changes = []
    if setting("net/ipv4/ip_forward") == "0":
        changes.append(("net/ipv4/ip_forward", "1"))
    if has_ipv6() and setting("net/ipv6/conf/all/forwarding") == "0":
        # A router ignores what other routers announce, unless told otherwise: the host would lose its own IPv6.
        changes += [
            (path, "2")
            for path in (f"net/ipv6/conf/{name}/accept_ra" for name in interfaces() if name != "all")
            if setting(path) == "1"
        ]
        changes.append(("net/ipv6/conf/all/forwarding", "1"))
    return changes
