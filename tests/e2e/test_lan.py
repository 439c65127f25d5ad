"""A LAN without internet: peers find each other by endpoint id or petname alone, whatever others there announce."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irosh.core.identity import Identity
from irosh.core.ticket import Ticket, parse_target
from tests.lab.host import Host
from tests.lab.irosh_process import Irosh
from tests.lab.network import Network
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

ROOT = Path(__file__).parents[2]
LAN_ONLY = ("stun_servers = []", "nostr_relays = []")
"""Of the table [network]: nothing outside is asked, but the LAN is."""

# Says on the LAN that an endpoint is at an address, whether it is or not.
_ANNOUNCE = """
import asyncio, sys
from irosh.rendezvous.mdns import announce_on_lan
asyncio.run(announce_on_lan(sys.argv[1], lambda: tuple(sys.argv[2:])))
"""


@contextmanager
def lan(directory: Path) -> Iterator[tuple[Irosh, Irosh, Host]]:
    """Two machines of ours and one of somebody else on one switch."""
    with Network() as network:
        hosts = [network.host(name) for name in ("server", "laptop", "stranger")]
        network.lan("10.3.0.0/24", *hosts)
        server, laptop = (Irosh(host, directory / host.name, network=LAN_ONLY) for host in hosts[:2])
        yield server, laptop, hosts[2]


def without_addresses(ticket: object) -> str:
    """The same ticket with nothing but the endpoint id and the invite."""
    parsed = parse_target(str(ticket))
    assert parsed is not None
    return Ticket(parsed.endpoint_id, invite=parsed.invite).encode()


def ran(irosh: Irosh, *arguments: str) -> bytes:
    """What ``irosh connect`` printed."""
    done = irosh.run("connect", *arguments)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def test_an_endpoint_id_or_a_petname_is_enough(tmp_path: Path) -> None:
    with lan(tmp_path) as (server, laptop, _):
        with server.start("host") as host:
            ready = host.wait_event("ready")
            assert ran(laptop, "--name", "server", without_addresses(ready["ticket"]), "echo met") == b"met\n"
            assert ran(laptop, str(ready["id"]), "echo by id") == b"by id\n"
        with server.host():  # on another port, which the petname does not know
            assert ran(laptop, "server", "echo by name") == b"by name\n"


def test_a_peer_that_was_only_pinned_is_found(tmp_path: Path) -> None:
    with lan(tmp_path) as (server, laptop, _):
        laptop_id = str(laptop.call("identity", "show")["id"])
        with server.start("host") as host:
            server_id = str(host.wait_event("ready")["id"])
            server.call("peer", "add", laptop_id, "--name", "laptop", "--allow", "exec")
            laptop.call("peer", "add", server_id, "--name", "server")
            assert ran(laptop, "server", "echo found") == b"found\n"


@pytest.mark.parametrize("silent", ["server", "laptop"])
def test_it_can_be_turned_off_on_either_side(silent: str, tmp_path: Path) -> None:
    with lan(tmp_path) as (server, laptop, _):
        with (tmp_path / silent / "config.toml").open("a") as config:
            config.write("mdns = false\n")
        with server.start("host") as host:
            ticket = without_addresses(host.wait_event("ready")["ticket"])
            error = laptop.failure("connect", ticket, "true")
            assert error["code"] == "unreachable"


def test_a_stranger_that_claims_to_be_the_peer_gets_nothing(tmp_path: Path) -> None:
    with lan(tmp_path) as (_, laptop, stranger):
        victim = Identity.generate().id
        impostor = Irosh(stranger, tmp_path / "impostor", network=LAN_ONLY)
        with impostor.start("host") as host:
            addresses = host.wait_event("ready")["addresses"]
            with announcing(stranger, victim, *addresses):
                error = laptop.failure("connect", victim, "true")
                assert error["code"] == "identity-mismatch"


def test_announcements_do_not_disturb_a_peer_whose_address_is_known(tmp_path: Path) -> None:
    with lan(tmp_path) as (server, laptop, stranger):
        server_id = str(server.call("identity", "show")["id"])
        with (
            announcing(stranger, server_id, f"{stranger.address}:9", "10.3.0.77:9"),
            server.start("host") as host,
        ):
            ticket = host.wait_event("ready")["ticket"]
            assert ran(laptop, str(ticket), "echo here") == b"here\n"


@contextmanager
def announcing(machine: Host, endpoint_id: str, *addresses: str) -> Iterator[None]:
    """A forged announcement."""

    def heard() -> bool:
        found = machine.run(sys.executable, "-c", _FIND, endpoint_id, environment=environment).stdout
        return set(addresses) <= set(json.loads(found))

    environment = {"PYTHONPATH": str(ROOT / "src")}
    program = machine.popen(sys.executable, "-c", _ANNOUNCE, endpoint_id, *addresses, environment=environment)
    try:
        wait_until(heard, what="the announcement is out")
        yield
    finally:
        program.kill()
        program.wait()


_FIND = """
import asyncio, json, sys
from irosh.rendezvous.mdns import find_on_lan
print(json.dumps(asyncio.run(find_on_lan(sys.argv[1], 2))))
"""
