"""Networks of Linux network namespaces: hosts, routers and NATs, the links between them, and local networks.

Needs root, iproute2 and nft. Nothing is made in the main namespace but the namespaces' names
(:mod:`tests.lab.namespace`).
"""

from __future__ import annotations

import atexit
import ipaddress
from typing import TypeVar

from tests.lab.filters import Filter
from tests.lab.host import Host, Router
from tests.lab.link import Address, Link
from tests.lab.namespace import ip, remove_abandoned, remove_namespace
from tests.lab.nat import Nat, NatKind

__all__ = ["Filter", "Host", "Link", "Nat", "NatKind", "Network", "Router"]

H = TypeVar("H", bound=Host)
R = TypeVar("R", bound=Router)
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


class Network:
    """Hosts and the links between them, for the length of a ``with`` block.

    At its end it is an error if a program still runs on a host; it is ended all the same.
    """

    def __init__(self) -> None:
        self._hosts: list[Host] = []
        self._links: list[Link] = []

    def __enter__(self) -> Network:
        remove_abandoned()
        atexit.register(self._remove)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        left = self._remove()
        atexit.unregister(self._remove)
        assert kind is not None or not left, f"still running on the hosts: {left}"

    def host(self, name: str) -> Host:
        """A new host."""
        return self._add(Host(name))

    def router(self, name: str) -> Router:
        """A new router."""
        return self._add_router(Router(name))

    def nat(
        self,
        name: str,
        kind: NatKind,
        *,
        hairpin: bool = False,
        keep_ports: bool = True,
        timeout: int | None = None,
    ) -> Nat:
        """A new router that translates addresses: see :class:`~tests.lab.nat.Nat`. Link it to its outside first."""
        return self._add_router(Nat(name, kind, hairpin=hairpin, keep_ports=keep_ports, timeout=timeout))

    def link(self, host: Host, router: Router, *subnets: str) -> Link:
        """Join a host to a router, which gets the first address of each of ``subnets``; the host gets the second.

        IPv4, IPv6 or both. The router is the host's way to everything else; if it has several, the first is preferred.
        For a NAT as ``host``, its first link is its outside.
        """
        networks = [ipaddress.ip_network(subnet) for subnet in subnets]
        link = self._join(host, router)
        router.configure(link.peer_device, *(_interface(network, 1) for network in networks))
        link.configure([_address(network, 2, network[1]) for network in networks])
        host.links_changed()
        router.links_changed()
        return link

    def lan(self, subnet: str, *hosts: Host, subnet6: str | None = None) -> list[Link]:
        """Join hosts by a switch; they get the addresses of ``subnet`` in order. Multicast reaches all of them.

        If one of them is a router, it is the others' way to everything else. Returns their links in order.
        """
        networks = [ipaddress.ip_network(each) for each in (subnet, subnet6) if each is not None]
        switch = self.host("switch")
        switch.ip("link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        switch.ip("link", "set", "bridge", "up")
        routers = [number for number, host in enumerate(hosts, 1) if isinstance(host, Router)]
        links = []
        for number, host in enumerate(hosts, 1):
            link = self._join(host, switch)
            switch.ip("link", "set", link.peer_device, "master", "bridge")
            gateway = routers[0] if routers and number not in routers else None
            link.configure(
                [_address(network, number, network[gateway] if gateway else None) for network in networks],
            )
            links.append(link)
        for host in hosts:
            host.links_changed()
        return links

    def _join(self, host: Host, peer: Host) -> Link:
        link = Link(host, peer)
        self._links.append(link)
        return link

    def _add_router(self, router: R) -> R:
        self._add(router)
        router.sysctl("net.ipv4.ip_forward", 1)
        router.sysctl("net.ipv6.conf.all.forwarding", 1)
        return router

    def _add(self, host: H) -> H:
        ip("netns", "add", host.namespace)
        self._hosts.append(host)
        host.ip("link", "set", "lo", "up")
        # Addresses are usable at once: nobody else can have them, so that there is nothing to detect.
        host.sysctl("net.ipv6.conf.default.accept_dad", 0)
        return host

    def _remove(self) -> list[str]:
        """Remove the hosts; returns the commands of the programs that were still running there."""
        while self._links:
            self._links.pop().unshape()
        left = []
        while self._hosts:
            left += remove_namespace(self._hosts.pop().namespace)
        return left


def _interface(network: Subnet, number: int) -> str:
    return f"{network[number]}/{network.prefixlen}"


def _address(network: Subnet, number: int, gateway: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> Address:
    return Address(ipaddress.ip_interface(_interface(network, number)), None if gateway is None else str(gateway))
