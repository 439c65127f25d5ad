"""Hosts and routers: network namespaces, without a link at first."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.filters import Filter
from tests.lab.machine import Machine
from tests.lab.namespace import entered, ip, namespace_name

if TYPE_CHECKING:
    from tests.lab.link import Link


class Host(Machine):
    """A machine of its own. ``links`` are its ways to others; the first one is preferred."""

    def __init__(self, name: str) -> None:
        self.namespace = namespace_name(name)
        super().__init__(name, prefix=("ip", "netns", "exec", self.namespace))
        self.links: list[Link] = []
        self._devices = count()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {', '.join(self.addresses)}>"

    @property
    def address6(self) -> str:
        """The first of its IPv6 addresses."""
        return next(each for each in self.addresses if ":" in each)

    def new_device(self) -> str:
        """A name for its next network interface."""
        return f"eth{next(self._devices)}"

    def ip(self, *arguments: str) -> str:
        """``ip`` on this host."""
        return ip("-n", self.namespace, *arguments)

    def sysctl(self, name: str, value: str | int) -> None:
        """Set a kernel parameter of this host's network, such as ``net.ipv4.ip_forward``."""
        with self.inside():
            Path("/proc/sys", *name.split(".")).write_text(str(value))

    def configure(self, device: str, *addresses: str) -> None:
        """Give ``device`` interface addresses (each with its prefix length) and bring it up."""
        self.ip("link", "set", device, "up")
        for address in addresses:
            # An IPv6 address is usable at once, without the second of duplicate address detection.
            self.ip("address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
            self.addresses.append(address.partition("/")[0])

    def add_address(self, address: str) -> str:
        """One more address on its first link, by which it is reached as by the others; returns it."""
        self.links[0].add_address(address)
        return address

    def route(self, destination: str, via: str) -> None:
        """Packets to ``destination`` (a subnet) go to the neighbour ``via``."""
        self.ip("route", "replace", destination, "via", via)

    def inside(self) -> AbstractContextManager[None]:
        """This thread is on the host for the length of the block, and sockets made there are the host's for good."""
        return entered(self.namespace)

    def links_changed(self) -> None:
        """Called when the host has got a link or another address."""

    @contextmanager
    def udp_socket(self, address: str = "", port: int = 0, *, timeout: float = 10.0) -> Iterator[socket.socket]:
        """A UDP socket of this host in this process, bound to ``address`` (all if empty) and ``port`` (any if 0)."""
        with self.inside():
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.bind((address, port))
            sock.settimeout(timeout)
            yield sock


class Router(Host):
    """A host that passes packets on between its links, but for those that it is told to drop."""

    def drop_udp(self, one: Host, other: Host) -> Filter:
        """Drop the UDP packets that pass here between two hosts, both ways, until lifted."""
        rules = [
            f"{_family(source)} saddr {source} {_family(target)} daddr {target} meta l4proto udp counter drop"
            for sender, receiver in ((one, other), (other, one))
            for source in sender.addresses
            for target in receiver.addresses
            if _family(source) == _family(target)
        ]
        return Filter(self, rules)

    def block_udp(self) -> Filter:
        """Drop all UDP packets that pass here, as some offices do, until lifted."""
        return Filter(self, ["meta l4proto udp counter drop"])

    def block_all_but_tcp(self, *ports: int) -> Filter:
        """Pass on only TCP connections to ``ports`` (all if none is given), made from either side."""
        allowed = f"tcp dport {{ {', '.join(map(str, ports))} }}" if ports else "meta l4proto tcp"
        return Filter(self, [f"{allowed} accept", "ct state established accept", "counter drop"])

    def block_inbound(self, host: Host) -> Filter:
        """Pass on to ``host`` only what answers its own packets, as a firewall before a public address does."""
        rules = [f"{_family(each)} daddr {each} ct state new counter drop" for each in host.addresses]
        return Filter(self, rules)

    def block_icmp(self) -> Filter:
        """Drop all ICMP packets, also this router's own: paths with a smaller MTU become black holes."""
        rules = ["meta l4proto icmp counter drop", "icmpv6 type { 1, 2, 3, 4, 128, 129 } counter drop"]
        return Filter(self, rules, hooks=("forward", "output"))


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"
