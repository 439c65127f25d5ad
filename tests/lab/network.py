"""Networks of Linux network namespaces: hosts, routers, links (veth pairs), bridges, and packet filters.

Needs root and iproute2; filters need nft. Nothing is made in the main namespace but the namespaces' names, which hold
this process's id: several test processes do not meet, and what a killed one left behind is removed by the next.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

from tests.lab.machine import Machine
from tests.lab.processes import command_line, wait_until

_PREFIX = "irosh-lab"
_serial = count(1)


class Host(Machine):
    """A network namespace, without a link at first."""

    def __init__(self, name: str) -> None:
        self.namespace = f"{_PREFIX}-{os.getpid()}-{next(_serial)}-{name}"
        super().__init__(name, prefix=("ip", "netns", "exec", self.namespace))
        self._devices = count()

    def new_device(self) -> str:
        """A name for its next network interface."""
        return f"eth{next(self._devices)}"

    def ip(self, *arguments: str) -> None:
        """``ip`` on this host."""
        _ip("-n", self.namespace, *arguments)

    def configure(self, device: str, address: str) -> None:
        """Give ``device`` the interface address ``address`` (with its prefix length) and bring it up."""
        self.ip("address", "add", address, "dev", device)
        self.ip("link", "set", device, "up")
        self.addresses.append(address.partition("/")[0])


class Router(Host):
    """A host that passes packets on between its links, but for those that it is told to drop."""

    def drop_udp(self, one: Host, other: Host) -> Filter:
        """Drop the UDP packets that pass here between two hosts, both ways, until lifted."""
        rules = [
            f"ip saddr {source} ip daddr {target} meta l4proto udp counter drop"
            for sender, receiver in ((one, other), (other, one))
            for source in sender.addresses
            for target in receiver.addresses
        ]
        return Filter(self, rules)


class Filter:
    """Rules on the packets that a router passes on, in an nft table of their own."""

    def __init__(self, router: Router, rules: Sequence[str]) -> None:
        self._router = router
        self._table = f"lab_{next(_serial)}"
        # Chain names must not be keywords of nft, such as "fwd".
        chain = ["type filter hook forward priority 0; policy accept;", *rules]
        self._nft(f"table inet {self._table} {{ chain passing {{\n" + "\n".join(chain) + "\n}\n}\n")

    def lift(self) -> None:
        """Remove the rules."""
        self._nft(f"delete table inet {self._table}\n")

    def dropped(self) -> int:
        """Packets that met the rules so far."""
        listing = self._router.run("nft", "list", "table", "inet", self._table).stdout.decode()
        return sum(int(after.split()[0]) for after in listing.split("counter packets ")[1:])

    def _nft(self, text: str) -> None:
        self._router.run("nft", "-f", "-", stdin=text.encode())


H = TypeVar("H", bound=Host)


class Network:
    """Hosts and the links between them, for the length of a ``with`` block.

    At its end it is an error if a program still runs on a host; it is ended all the same.
    """

    def __init__(self) -> None:
        self._hosts: list[Host] = []

    def __enter__(self) -> Network:
        _remove_abandoned()
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
        router = self._add(Router(name))
        router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        return router

    def link(self, host: Host, router: Router, subnet: str) -> None:
        """Join a host to a router, which gets the first address of ``subnet``; the host gets the second.

        A host's first link is its way to everything else.
        """
        network = ipaddress.ip_network(subnet)
        first = not host.addresses
        here, there = host.new_device(), router.new_device()
        host.ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", router.namespace)
        router.configure(there, f"{network[1]}/{network.prefixlen}")
        host.configure(here, f"{network[2]}/{network.prefixlen}")
        if first:
            host.ip("route", "add", "default", "via", str(network[1]))

    def lan(self, subnet: str, *hosts: Host) -> None:
        """Join hosts by a bridge; they get the addresses of ``subnet`` in order."""
        network = ipaddress.ip_network(subnet)
        switch = self.host("lan")
        switch.ip("link", "add", "bridge", "type", "bridge")
        switch.ip("link", "set", "bridge", "up")
        for number, host in enumerate(hosts, 1):
            here, port = host.new_device(), switch.new_device()
            host.ip("link", "add", here, "type", "veth", "peer", "name", port, "netns", switch.namespace)
            switch.ip("link", "set", port, "master", "bridge", "up")
            host.configure(here, f"{network[number]}/{network.prefixlen}")

    def _add(self, host: H) -> H:
        _ip("netns", "add", host.namespace)
        self._hosts.append(host)
        host.ip("link", "set", "lo", "up")
        return host

    def _remove(self) -> list[str]:
        """Remove the hosts; returns the commands of the programs that were still running there."""
        left = []
        while self._hosts:
            left += _remove_namespace(self._hosts.pop().namespace)
        return left


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def _remove_namespace(namespace: str) -> list[str]:
    """Remove a namespace with all that runs there; returns the commands of what did."""
    commands: dict[int, str] = {}

    def empty() -> bool:
        # Asked again and again, because a program may be entering it just now.
        pids = [int(pid) for pid in _ip("netns", "pids", namespace).split()]
        for pid in pids:
            commands[pid] = command_line(pid) or commands.get(pid, "")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(empty, what=f"{namespace} is empty")
    _ip("netns", "delete", namespace)
    return [command for command in commands.values() if command]


def _remove_abandoned() -> None:
    """Remove what test processes that are gone had no time to remove."""
    with suppress(FileNotFoundError):
        for entry in Path("/run/netns").iterdir():
            if entry.name.startswith(f"{_PREFIX}-"):
                owner = entry.name.removeprefix(f"{_PREFIX}-").partition("-")[0]
                if not Path("/proc", owner).exists():
                    # Another test process may be doing the same.
                    with suppress(AssertionError):
                        _remove_namespace(entry.name)
