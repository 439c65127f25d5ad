"""Mode nostr, one host and many receivers at once: each has its session, the limit is told, and nothing is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from irosh.rendezvous.nostr_host import JOIN_DEADLINE
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import LOCAL
from tests.lab.processes import wait_until
from tests.support.open_files import udp_ports

ALONE = ("--no-relay", "--no-stun")
LIMIT = 10


def nostr_relay(directory: Path) -> IroshProcess:
    return Irosh(LOCAL, directory).start("nostr", "relay", "--listen", "127.0.0.1:0")


def test_ten_receivers_one_too_many_and_a_relay_that_dies(tmp_path: Path) -> None:
    host = Irosh(LOCAL, tmp_path / "host")
    receivers = [Irosh(LOCAL, tmp_path / f"receiver{number}") for number in range(LIMIT + 1)]
    with ExitStack() as stack:
        relays = [stack.enter_context(nostr_relay(tmp_path / f"relay{number}")) for number in range(3)]
        named = [f"--nostr-relay={relay.wait_event('ready')['url']}" for relay in relays]
        options = (*named, "--invite-uses=12", *ALONE)
        process = stack.enter_context(host.start("host", "--mode=nostr", *options))
        ticket = str(process.wait_event("ready")["ticket"])

        def open_session(receiver: Irosh) -> IroshProcess:
            session = stack.enter_context(receiver.start("connect", *ALONE, ticket, "echo in; sleep 600"))
            session.wait_event("connected")
            wait_until(lambda: "in" in session.output(), what="the command runs")
            return session

        def connections() -> int:
            return len(host.call("status")["connections"])

        open_session(receivers[0]).stop()
        wait_until(lambda: connections() == 0, what="the first receiver has left")
        wait_until(lambda: udp_ports(process.pid) == [], what="its port is free")
        descriptors = process.descriptors()

        with ThreadPoolExecutor(LIMIT // 2) as pool:
            sessions = list(pool.map(open_session, receivers[: LIMIT // 2]))
            relays[1].kill()
            sessions += pool.map(open_session, receivers[LIMIT // 2 : LIMIT])
        assert connections() == LIMIT
        assert len(set(udp_ports(process.pid))) >= LIMIT  # each has a port of its own
        refused = receivers[LIMIT].failure("connect", *ALONE, ticket, "true")
        assert refused["code"] == "busy", refused
        assert str(LIMIT) in refused["message"]
        assert all(session.running for session in sessions)

        for session in sessions[1:]:
            session.stop()
        wait_until(lambda: connections() == 1, what="all but one have left")
        assert receivers[LIMIT].run("connect", *ALONE, ticket, "echo free").stdout == b"free\n"
        sessions[0].stop()
        # A receiver that ends while it signals again may not get to say so: its port is kept while it may still come.
        wait_until(lambda: udp_ports(process.pid) == [], timeout=JOIN_DEADLINE + 15, what="no session's port is left")
        wait_until(lambda: process.descriptors() <= descriptors, what="no descriptor is left")
        assert connections() == 0
