"""What a client changes of its machine: the interface, its routes, the name servers; and how all that is undone.

It is the command's, which is root; the node only carries packets, and may be another process of another user.
"""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address, ip_network
from typing import Any

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted
from irosh.services.vpn import underlay
from irosh.services.vpn.guard import Guard
from irosh.services.vpn.interface import configure_interface, set_mtu
from irosh.services.vpn.messages import VpnWelcome
from irosh.services.vpn.name_service import present_servers
from irosh.services.vpn.pool import conflict
from irosh.services.vpn.resolver import use_name_servers
from irosh.services.vpn.routing import RULES, Wanted, changes, names_outside
from irosh.services.vpn.system import FIRST_RULE, change, free_rules, has_ipv6, interfaces, known_networks, setting
from irosh.services.vpn.tun import make_tun
from irosh.services.vpn.undo import Step

PEER_DNS = "peer"


class ClientMachine:
    """Set up once, for one tunnel. ``servers``: addresses of name servers, or ``peer`` for the peer's own."""

    def __init__(self, guard: Guard, wanted: Wanted, servers: list[str], *, resolved: bool) -> None:
        for text in servers:
            if text != PEER_DNS and parse_ip(text) is None:
                raise IroshError(ErrorCode.INVALID_ADDRESS, f"name server {quoted(text)} is not an IP address")
        self._guard = guard
        self._wanted = wanted
        self._servers = servers
        self._resolved = resolved
        self._device = ""

    async def set_up(self, welcome: VpnWelcome, mtu: int) -> tuple[int, dict[str, Any]]:
        """The interface's descriptor, for whoever carries its packets, and what has been set up.

        ``IroshError``: vpn-unavailable, address-conflict, protocol-error.
        """
        checked_welcome(welcome)
        own_ipv6 = has_ipv6()
        pairs = [(welcome.address4, welcome.gateway4)]
        if welcome.address6 and own_ipv6:
            pairs.append((welcome.address6, welcome.gateway6))
        found = conflict_of(pairs, await known_networks())
        if found is not None:
            raise IroshError(
                ErrorCode.ADDRESS_CONFLICT,
                f"the peer's address in the tunnel is in {found}, to which this machine has a route",
                "the peer's owner can set another vpn.pool",
            )
        descriptor, self._device = make_tun("irosh%d")
        servers = [welcome.gateway4 if text == PEER_DNS else text for text in self._servers]
        # Also where a node holds it that is not this process, and hangs.
        await self._undone_by([("run", ["ip", "link", "delete", self._device])])
        await configure_interface(self._device, mtu, pairs)
        await self._loosen_filters()
        planned = changes(
            self._device,
            welcome,
            self._wanted,
            first_rule=await free_rules(RULES),
            first=FIRST_RULE,
            user=underlay.USER_ID,
            own_ipv6=own_ipv6,
        )
        for each in planned:
            await self._undone_by(list(each.undo))
            await change(*each.command, given=each.given)
        if servers:
            if outside := names_outside(self._device, welcome.address4, servers, present_servers()):
                await change(*outside.command, given=outside.given)
            await use_name_servers(self._guard, self._device, self._device, servers, resolved=self._resolved)
        return descriptor, self._summary(welcome, mtu, servers)

    async def set_mtu(self, mtu: int) -> None:
        """Other packets fit."""
        await set_mtu(self._device, mtu)

    def close(self) -> None:
        """Undo everything. Never raises."""
        self._guard.undo(self._device)

    async def _undone_by(self, steps: list[Step]) -> None:
        await asyncio.to_thread(self._guard.add, self._device, steps)

    async def _loosen_filters(self) -> None:
        """What comes outside the tunnel has no route back there by the ordinary rules: strict filters would drop it."""
        strict_all = setting("net/ipv4/conf/all/rp_filter") == "1"
        for name in interfaces():
            path = f"net/ipv4/conf/{name}/rp_filter"
            before = setting(path)
            if name in ("all", "default", "lo") or not (before == "1" or (strict_all and before == "0")):
                continue
            await self._undone_by([("write", [f"/proc/sys/{path}", before])])
            await change("sysctl", "-qw", f"{path.replace('.', '/')}=2")

    def _summary(self, welcome: VpnWelcome, mtu: int, servers: list[str]) -> dict[str, Any]:
        return {
            "device": self._device,
            "mtu": mtu,
            "addresses": [text for text in (welcome.address4, welcome.address6) if text],
            "gateways": [text for text in (welcome.gateway4, welcome.gateway6) if text],
            "routes": [str(network) for network in self._wanted.routes],
            "everything": self._wanted.everything,
            "dns": servers,
        }


def conflict_of(pairs: list[tuple[str, str]], known: list[Any]) -> Any:
    """The first known network that has one of these addresses."""
    for text in (each for pair in pairs for each in pair):
        if (found := conflict(ip_network(text), known)) is not None:
            return found
    return None


def checked_welcome(welcome: VpnWelcome) -> VpnWelcome:
    """What the peer says goes into commands: nothing but addresses."""
    for text, version in (
        (welcome.address4, 4),
        (welcome.gateway4, 4),
        (welcome.address6, 6),
        (welcome.gateway6, 6),
    ):
        if version == 6 and not (welcome.address6 or welcome.gateway6):
            continue
        with contextlib.suppress(ValueError):
            address = ip_address(text)
            special = address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified
            if address.version == version and str(address) == text and not special and "%" not in text:
                continue
        raise IroshError(ErrorCode.PROTOCOL, f"the peer gives {quoted(text)} for an address")
    return welcome
