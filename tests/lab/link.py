"""A cable between two hosts, or between a host and a switch: addresses, routes, faults and shaping."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.lab.host import Host, Router
from tests.lab.shaping import Shape, Shaper

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Direction = Literal["both", "up", "down"]

_FIRST_TABLE = 1000


@dataclass
class Address:
    """An interface address, and the neighbour that passes packets on to everywhere else, if there is one."""

    interface: Interface
    gateway: str | None


class Link:
    """A veth pair from ``device`` of ``host`` to ``peer_device`` of ``peer``. "Up" is what the host sends.

    Each link with a gateway gives the host a default route; that of an earlier link is preferred. Packets *from* one of
    the link's addresses leave by this link and no other, as RFC 8445 has it for candidates with different bases.
    """

    def __init__(self, host: Host, peer: Host) -> None:
        self.host, self.peer = host, peer
        self.device, self.peer_device = host.new_device(), peer.new_device()
        self._addresses: list[Address] = []
        self._aliases: list[str] = []
        self._shapers: dict[str, Shaper] = {}
        self._table = _FIRST_TABLE + len(host.links)
        veth = ("type", "veth", "peer", "name", self.peer_device, "netns", peer.namespace)
        host.ip("link", "add", self.device, *veth)
        peer.ip("link", "set", self.peer_device, "up")
        host.links.append(self)

    @property
    def addresses(self) -> list[str]:
        """The addresses that the host has by this link, whether it is up or not."""
        return [*(str(each.interface.ip) for each in self._addresses), *self._aliases]

    @property
    def address(self) -> str:
        """The first of them."""
        return self.addresses[0]

    def configure(self, addresses: Sequence[Address]) -> None:
        """Give the host's end its addresses and routes."""
        self._addresses = list(addresses)
        self.host.configure(self.device, *(str(each.interface) for each in addresses))
        self._set_routes()

    def shape(
        self,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        loss: float = 0.0,
        reorder: float = 0.0,
        rate: str | None = None,
        queue: float = 100.0,
        direction: Direction = "both",
    ) -> None:
        """Make the packets on it late, few or slow from now on: see :class:`~tests.lab.shaping.Shape`.

        ``delay`` is one way: 20 in both directions adds 40 ms to a round trip.
        """
        shape = Shape(delay=delay, jitter=jitter, loss=loss, reorder=reorder, rate=rate, queue=queue)
        ends = {"up": (self.host, self.device), "down": (self.peer, self.peer_device)}
        for way, (machine, device) in ends.items():
            if direction in ("both", way):
                if way not in self._shapers:
                    self._shapers[way] = Shaper(machine, device)
                self._shapers[way].set(shape)

    def unshape(self) -> None:
        """Undo :meth:`shape`."""
        while self._shapers:
            self._shapers.popitem()[1].close()

    @property
    def programs(self) -> list[int]:
        """Process ids of the programs that shape it."""
        return [each.pid for each in self._shapers.values()]

    def down(self) -> None:
        """Unplug it, and let the host notice: its addresses and routes by this link go, as with a network manager.

        Where nobody is to notice, ``shape(loss=1.0)``.
        """
        self.host.ip("address", "flush", "dev", self.device)
        self.host.ip("link", "set", self.device, "down")

    def up(self) -> None:
        """Plug it in again."""
        self.host.ip("link", "set", self.device, "up")
        self._add_addresses()

    def set_mtu(self, size: int) -> None:
        """Both ends send no packets larger than ``size`` bytes."""
        self.host.ip("link", "set", self.device, "mtu", str(size))
        self.peer.ip("link", "set", self.peer_device, "mtu", str(size))

    def change_address(self, new: str) -> None:
        """Replace the host's address of the same IP version by another of the same subnet, as a new DHCP lease does."""
        old = next(each for each in self._addresses if each.interface.version == ipaddress.ip_address(new).version)
        self.host.addresses[self.host.addresses.index(str(old.interface.ip))] = new
        self._forget_rules()
        self.host.ip("address", "flush", "dev", self.device, "scope", "global")
        old.interface = ipaddress.ip_interface(f"{new}/{old.interface.network.prefixlen}")
        self._add_addresses()
        self.host.links_changed()

    def add_address(self, alias: str) -> None:
        """One more address, outside the subnet or in it, for which the peer finds the host."""
        self._aliases.append(alias)
        self.host.addresses.append(alias)
        self._add_addresses()
        self.host.links_changed()

    def remove(self) -> None:
        """Take it away for good: the host may then be linked elsewhere."""
        self.unshape()
        self._forget_rules()
        self.host.ip("link", "delete", self.device)
        self.host.links.remove(self)
        for each in self.addresses:
            self.host.addresses.remove(each)

    def _add_addresses(self) -> None:
        interfaces = [str(each.interface) for each in self._addresses]
        interfaces += [f"{each}/{ipaddress.ip_address(each).max_prefixlen}" for each in self._aliases]
        for each in interfaces:
            self.host.ip("address", "replace", each, "dev", self.device, *(["nodad"] if ":" in each else []))
        self._set_routes()

    def _set_routes(self) -> None:
        for each in self._addresses:
            if each.gateway is None:
                continue
            way = ("default", "via", each.gateway, "dev", self.device)
            self.host.ip("route", "replace", *way, "metric", str(self._table))
            if not isinstance(self.host, Router):
                self._set_rules(each, way)
        self._find_aliases()

    def _set_rules(self, address: Address, way: tuple[str, ...]) -> None:
        """What comes from ``address`` leaves by this link, and nowhere while it is down."""
        family = _family(address)
        table = ("table", str(self._table))
        self.host.ip(family, "route", "replace", str(address.interface.network), "dev", self.device, *table)
        self.host.ip(family, "route", "replace", *way, *table)
        self.host.ip(family, "route", "replace", "unreachable", "default", "metric", "9999", *table)
        self._forget_rules(address)
        for source in [str(address.interface.ip), *self._aliases]:
            if ipaddress.ip_address(source).version == address.interface.version:
                self.host.ip(family, "rule", "add", "from", source, *table, "priority", str(self._table))

    def _forget_rules(self, *addresses: Address) -> None:
        for each in addresses or self._addresses:
            if each.gateway is not None and not isinstance(self.host, Router):
                while str(self._table) in self.host.ip(_family(each), "rule", "list", "priority", str(self._table)):
                    self.host.ip(_family(each), "rule", "delete", "priority", str(self._table))

    def _find_aliases(self) -> None:
        """The peer learns where the aliases are."""
        for alias in self._aliases:
            version = ipaddress.ip_address(alias).version
            via = next(str(each.interface.ip) for each in self._addresses if each.interface.version == version)
            self.peer.route(f"{alias}/{ipaddress.ip_address(alias).max_prefixlen}", via)


def _family(address: Address) -> str:
    return "-4" if address.interface.version == 4 else "-6"
