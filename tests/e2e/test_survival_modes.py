"""Sessions go on in the modes whose two sides meet by messages: nostr by itself, custom after another exchange."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lab.irosh_process import Irosh, Tunnel
from tests.lab.link import Link
from tests.lab.network import Host, Network
from tests.lab.pair import PEER, pinned_pair
from tests.lab.requirements import requires_netns
from tests.lab.servers import tcp_server
from tests.lab.traffic import TcpBeats, first_after, longest_gap, patient_echo, tcp_beats

pytestmark = [pytest.mark.netns, requires_netns()]

WATCHFUL = '[session]\nkeepalive = "3s"\ndead_after = "6s"'
OUTAGE = 40.0
STALL = 8.0  # seconds, after the first four of which a further connection is sought
RECOVERY = 40.0


@contextmanager
def three(directory: Path) -> Iterator[tuple[Host, Host, Host, Link]]:
    """Host, client, server, and the client's link."""
    with Network() as network:
        host, client, server = machines = [network.host(name) for name in ("host", "client", "server")]
        router = network.router("router")
        links = [network.link(each, router, f"10.{number}.0.0/24") for number, each in enumerate(machines)]
        yield host, client, server, links[1]


@contextmanager
def beating(host: Host, client: Irosh, *arguments: str) -> Iterator[tuple[Tunnel, TcpBeats]]:
    """A tunnel by ``client`` to an echoing server on the host, in use."""
    assert isinstance(client.machine, Host)
    with ExitStack() as stack:
        with host.inside():
            port = stack.enter_context(tcp_server(patient_echo))
        target, *options = arguments
        tunnel = stack.enter_context(client.tunnel(target, f"tcp://127.0.0.1:{port}=127.0.0.1:0", options=options))
        yield tunnel, stack.enter_context(tcp_beats(client.machine, tunnel.address()))


@contextmanager
def nostr_options(server: Host, directory: Path) -> Iterator[tuple[str, ...]]:
    """Options of a host that meets receivers by a relay on ``server``.

    One receiver at a time: who signals again takes the place of its own earlier connection.
    """
    with Irosh(server, directory / "relay").start("nostr", "relay", "--listen", f"{server.address}:0") as relay:
        url = relay.wait_event("ready")["url"]
        yield ("--mode=nostr", f"--nostr-relay={url}", "--no-stun", "--no-relay", "--max-sessions=1")


@pytest.mark.parametrize("event", ["outage", "address"])
def test_nostr_signals_again(tmp_path: Path, event: str) -> None:
    with ExitStack() as stack:
        host, client, server, link = stack.enter_context(three(tmp_path))
        options = stack.enter_context(nostr_options(server, tmp_path))
        pair = stack.enter_context(
            pinned_pair(tmp_path, *options, host_machine=host, client_machine=client, config=WATCHFUL)
        )
        tunnel, beats = stack.enter_context(beating(host, pair.client, PEER))
        if event == "outage":
            link.down()
            tunnel.process.wait_event("lost", timeout=12)
            time.sleep(OUTAGE)
            link.up()
        else:
            link.change_address("10.1.0.77")
        _check_recovery(tunnel, beats, time.monotonic())


def test_a_receiver_that_signals_again_while_its_connection_lives_keeps_its_session(tmp_path: Path) -> None:
    with ExitStack() as stack:
        host, client, server, _ = stack.enter_context(three(tmp_path))
        options = stack.enter_context(nostr_options(server, tmp_path))
        pair = stack.enter_context(pinned_pair(tmp_path, *options, host_machine=host, client_machine=client))
        tunnel, beats = stack.enter_context(beating(host, pair.client, PEER))
        os.kill(pair.host_process.pid, signal.SIGSTOP)
        try:
            time.sleep(STALL)
        finally:
            os.kill(pair.host_process.pid, signal.SIGCONT)
        first_after(beats, time.monotonic(), timeout=RECOVERY)
        assert tunnel.process.running


def _check_recovery(tunnel: Tunnel, beats: TcpBeats, moment: float) -> None:
    recovery = first_after(beats, moment, timeout=RECOVERY)
    tunnel.process.wait_event("resumed")
    print(f"\nback after {recovery:.2f} s; gap {longest_gap(beats):.2f} s")


def test_custom_asks_for_another_exchange(tmp_path: Path) -> None:
    files = (f"--offer-file={tmp_path / 'offer'}", f"--answer-file={tmp_path / 'answer'}")
    options = ("--mode=custom", "--no-stun", "--no-relay", *files)
    with ExitStack() as stack:
        host, machine, _, link = stack.enter_context(three(tmp_path))
        hosting = Irosh(host, tmp_path / "host", config=WATCHFUL).start("host", *options)
        stack.enter_context(hosting).wait_event("ready")
        client = Irosh(machine, tmp_path / "client", config=WATCHFUL)
        tunnel, beats = stack.enter_context(beating(host, client, "-", "--name=box", *options))
        link.down()
        tunnel.process.wait_event("lost", timeout=12)
        tunnel.process.wait_event("paste", kind="offer")
        time.sleep(OUTAGE)
        link.up()
        _check_recovery(tunnel, beats, time.monotonic())
