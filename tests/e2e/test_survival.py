"""What runs over a link survives what happens to the network: outages, other addresses, a relay that restarts.

``IROSH_SURVIVAL_MIB=1024 pytest -s`` makes the download larger and prints the figures.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.daily_work import Work, at_work
from tests.lab.irosh_process import Irosh
from tests.lab.link import Link
from tests.lab.network import Network
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires, requires_netns
from tests.lab.routed import HOST, routed
from tests.lab.terminal import Terminal
from tests.lab.traffic import first_after, longest_gap

pytestmark = [pytest.mark.netns, requires_netns(), requires("tmux")]

IMPATIENT = '[session]\nkeepalive = "2s"\ndead_after = "5s"\nresume = "6s"'


@dataclass(frozen=True)
class Place:
    """A host and a client with a router between, and the links of both."""

    pair: Pair
    work: Work
    host_link: Link
    client_link: Link


@contextmanager
def working(directory: Path) -> Iterator[Place]:
    with routed(directory) as (pair, place), at_work(place.host, pair.client, directory) as work:
        yield Place(pair, work, place.host_link, place.client_link)


def test_the_relay_is_restarted(tmp_path: Path) -> None:
    with Network() as network:
        host, client, middle = (network.host(name) for name in ("host", "client", "relay"))
        router = network.router("router")
        for number, each in enumerate((host, client, middle), 1):
            network.link(each, router, f"10.{number}.0.0/24")
        router.drop_udp(host, client)
        relay = Irosh(middle, tmp_path / "relay")
        listen = f"{middle.address}:3340"
        url = f"http://{listen}"
        with ExitStack() as relays, ExitStack() as stack:
            first = relays.enter_context(relay.start("relay", "serve", "--listen", listen))
            first.wait_event("ready")
            pair = stack.enter_context(
                pinned_pair(tmp_path, "--relay", url, host_machine=host, client_machine=client, relays=[url])
            )
            work = stack.enter_context(at_work(host, pair.client, tmp_path))
            assert pair.client.call("status")["connections"][0]["path"] == "relayed"

            def restart() -> float:
                first.stop()
                second = relays.enter_context(relay.start("relay", "serve", "--listen", listen))
                second.wait_event("ready")
                return time.monotonic()

            work.survives(restart)
            assert pair.client.call("status")["connections"][0]["path"] == "relayed"


def test_the_link_is_down_for_90_seconds(tmp_path: Path) -> None:
    with working(tmp_path) as place:
        title = place.work.editor.title()

        def outage() -> float:
            begun = time.monotonic()
            place.client_link.down()
            assert place.work.wait_lost(begun) < 33
            wait_until(lambda: "connection lost" in place.work.editor.title(), what="the title says it")
            time.sleep(begun + 90 - time.monotonic())
            place.client_link.up()
            return time.monotonic()

        place.work.survives(outage)
        gap = place.work.tunnel.process.wait_event("resumed")["gap"]
        assert 80 < gap < 110
        wait_until(lambda: place.work.editor.title() == title, what="the title is given back")


@pytest.mark.parametrize("whose", ["client", "host"])
def test_an_address_changes(tmp_path: Path, whose: str) -> None:
    with working(tmp_path) as place:

        def change() -> float:
            if whose == "client":
                place.client_link.change_address("10.2.0.77")
            else:
                place.host_link.change_address("10.1.0.77")
            return time.monotonic()

        place.work.survives(change)
        if whose == "client":
            assert place.work.events() == [], "the engine has moved the connection"


def test_the_host_is_suspended_for_60_seconds(tmp_path: Path) -> None:
    with working(tmp_path) as place:

        def suspend() -> float:
            place.pair.host_process.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(60)
            finally:
                place.pair.host_process.process.send_signal(signal.SIGCONT)
            return time.monotonic()

        place.work.survives(suspend)
        assert 50 < place.work.tunnel.process.wait_event("resumed")["gap"] < 90


def test_the_link_comes_and_goes(tmp_path: Path) -> None:
    with working(tmp_path) as place:

        def flap() -> float:
            for _ in range(5):
                place.client_link.down()
                time.sleep(4)
                place.client_link.up()
                first_after(place.work.tcp, time.monotonic(), timeout=30)
            return time.monotonic()

        place.work.survives(flap)
        assert longest_gap(place.work.tcp) < 30


def test_longer_than_the_session_waits(tmp_path: Path) -> None:
    with (
        routed(tmp_path, config=IMPATIENT) as (pair, place),
        pair.client.start("connect", PEER, "cat", stdin=subprocess.PIPE) as command,
        Terminal.open(place.client, tmp_path, *pair.client.command, "connect", PEER, columns=100) as terminal,
    ):
        command.wait_event("connected")
        terminal.type("echo $((40 + 2))")
        terminal.wait_for("42")
        place.client_link.down()
        assert command.wait_event("lost")["error"]["code"] == "connection-lost"
        error = command.wait_failure()
        assert error["code"] == "connection-lost"
        assert "was not back within 6 s" in error["message"]
        assert command.process.returncode == 255
        terminal.wait_for("was not back within 6 s")
        assert terminal.wait_exit() == 255


def test_a_host_that_was_killed_and_came_back(tmp_path: Path) -> None:
    bind = f"--bind={HOST}:4242"
    with routed(tmp_path, bind) as (pair, place):
        terminal = Terminal.open(place.client, tmp_path, *pair.client.command, "connect", PEER, columns=100)
        with terminal as screen:
            screen.type("echo $((40 + 2))")
            screen.wait_for("42")
            pair.host_process.kill()
            with pair.host.host("--no-relay", bind):
                screen.wait_for("has ended there")
                assert screen.wait_exit() == 255
