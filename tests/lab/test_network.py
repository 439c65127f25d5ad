"""The laboratory itself: packets pass where they should, and what is made is removed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lab.network import Host, Network, Router
from tests.lab.processes import processes_with, wait_until
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]


def namespaces(owner: int) -> set[str]:
    """The names of those that the process ``owner`` has made."""
    return {entry.name for entry in Path("/run/netns").glob(f"irosh-lab-{owner}-*")}


def route(network: Network) -> tuple[Host, Host, Router]:
    """Two hosts and the router between them."""
    one, other, router = network.host("one"), network.host("other"), network.router("router")
    network.link(one, router, "10.1.0.0/24")
    network.link(other, router, "10.2.0.0/24")
    return one, other, router


def udp_passes(sender: Host, receiver: Host) -> bool:
    """Whether a packet from one reaches the other: a closed port answers with an ICMP error at once."""
    probe = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.settimeout(0.5)\n"
        "s.connect((sys.argv[1], 9))\n"
        "s.send(b'x')\n"
        "try: s.recv(1)\n"
        "except ConnectionRefusedError: print('reached')\n"
        "except TimeoutError: print('lost')\n"
    )
    return sender.run("python3", "-c", probe, receiver.address).stdout == b"reached\n"


def test_a_router_passes_packets_on_and_drops_what_it_is_told_to() -> None:
    with Network() as network:
        one, other, router = route(network)
        assert udp_passes(one, other)
        block = router.drop_udp(one, other)
        assert not udp_passes(one, other)
        assert not udp_passes(other, one)
        assert block.dropped() == 2
        block.lift()
        assert udp_passes(one, other)


def test_a_lan_joins_its_hosts_and_nobody_else() -> None:
    with Network() as network:
        one, other = network.host("one"), network.host("other")
        network.lan("10.3.0.0/24", one, other)
        assert (one.address, other.address) == ("10.3.0.1", "10.3.0.2")
        assert udp_passes(one, other)
        assert other.run("ip", "route", "get", "192.0.2.1", check=False).returncode != 0


def test_a_program_left_running_is_an_error_and_is_ended() -> None:
    marker = f"600.{os.getpid()}"
    with pytest.raises(AssertionError, match=marker), Network() as network:
        left = network.host("one").popen("sleep", marker)
        wait_until(lambda: processes_with(marker), what="the program runs")
    assert left.wait(10) != 0
    assert not namespaces(os.getpid())


def test_a_failure_in_the_block_is_what_is_raised() -> None:
    with pytest.raises(ValueError, match="the test's own"), Network() as network:
        left = network.host("one").popen("sleep", "600")
        raise ValueError("the test's own failure")
    assert left.wait(10) != 0
    assert not namespaces(os.getpid())


def test_what_a_killed_test_process_left_is_removed_by_the_next() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    abandoned = f"irosh-lab-{ended.pid}-1-left"
    subprocess.run(["ip", "netns", "add", abandoned], check=True)
    with Network():
        # Another test process may be removing it at the same time.
        wait_until(lambda: abandoned not in namespaces(ended.pid), timeout=5, what="it is removed")
    assert not namespaces(os.getpid())
