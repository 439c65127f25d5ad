"""Measuring one place of the matrix: hosts and clients as a person starts them, one pair for each mode."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irosh.core.mode import MANUAL_MODES, Mode
from irosh.core.state import StateDirectory
from irosh.node.control_client import ControlClient
from tests.lab.coturn import coturn
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.processes import wait_until
from tests.lab.servers import echo, tcp_server, udp_server
from tests.matrix.places import Built, built
from tests.matrix.theory import Outcome, Place, expected

PEER = "box"
MEETING = 50.0  # seconds, more than any mode's own deadline
BETTER = 20.0  # for a relayed connection to become direct where theory says so
SETTLED = 3.0  # for it to become direct where theory says no


@dataclass(frozen=True)
class Measured:
    """What came of one mode. ``seconds``: from the command's start to that; ``code``: of the refusal."""

    mode: Mode
    relay: bool
    outcome: Outcome
    seconds: float
    code: str = ""

    def __str__(self) -> str:
        return f"{self.mode}{' with relay' if self.relay else ''}: {self.outcome} {self.code} {self.seconds:.1f} s"


def measure(
    place: Place, directory: Path, *, relay: bool, modes: Sequence[Mode] = tuple(Mode), services: bool = False
) -> list[Measured]:
    """All ``modes`` side by side. ``services``: a shell's command, a TCP and a UDP tunnel go over what connects."""
    with built(place) as machines, ExitStack() as stack:
        server = stack.enter_context(coturn(machines.server))
        network = [f'stun_servers = ["{server.stun}", "{server.addresses[1]}:{server.turn.port}"]', "mdns = false"]
        network.append(f'nostr_relays = ["{_serving(stack, machines, directory, "nostr", "relay")}"]')
        relays = [_serving(stack, machines, directory, "relay", "serve")] if relay else []

        def one(mode: Mode) -> Measured:
            host = Irosh(machines.host, directory / f"{mode}-host", relays=relays, network=network)
            client = Irosh(machines.client, directory / f"{mode}-client", relays=relays, network=network)
            wanted = expected(mode, place, relay=relay)
            return _Meeting(machines, mode, host, client, directory, relay).outcome(wanted, services=services)

        with ThreadPoolExecutor(len(modes)) as pool:
            return list(pool.map(one, modes))


def _serving(stack: ExitStack, machines: Built, directory: Path, *command: str) -> str:
    server = Irosh(machines.server, directory / command[0])
    process = stack.enter_context(server.start(*command, "--listen", f"{machines.server.address}:0"))
    return str(process.wait_event("ready")["url"])


@dataclass(frozen=True)
class _Meeting:
    machines: Built
    mode: Mode
    host: Irosh
    client: Irosh
    directory: Path
    relay: bool

    def outcome(self, wanted: Outcome, *, services: bool) -> Measured:
        manual = self.mode in MANUAL_MODES
        files = [f"--{kind}-file={self.directory / f'{self.mode}-{kind}'}" for kind in ("offer", "answer")]
        options = [f"--mode={self.mode}", *(files if manual else [])]
        with self.host.start("host", *options) as hosting:
            ready = hosting.wait_event("ready")
            if manual:
                hosting.wait_event("block", kind="offer")
            target = "-" if manual else str(ready["ticket"])
            began = time.monotonic()
            with self.client.start("connect", *options, "--name", PEER, target, "echo hello; sleep 100") as process:
                failure = self._failure(process, hosting, wanted)
                if failure is not None:
                    if wanted is not Outcome.REFUSED:
                        print(f"{self.mode}: the host said {hosting.events}, the client {process.events}")
                    return self._measured(Outcome.REFUSED, began, failure)
                seconds = time.monotonic() - began
                outcome = self._path(wanted)
                if outcome is Outcome.DIRECT:
                    seconds = time.monotonic() - began  # it may have been relayed at first
                wait_until(lambda: "hello" in process.output(), what="the command's output has come")
                if services:
                    check_tunnels(self.machines, self.client, PEER)
                return self._measured(outcome, time.monotonic() - seconds)

    def _measured(self, outcome: Outcome, began: float, code: str = "") -> Measured:
        return Measured(self.mode, self.relay, outcome, round(time.monotonic() - began, 1), code)

    def _failure(self, client: IroshProcess, host: IroshProcess, wanted: Outcome) -> str | None:
        """None once connected, or why that failed."""
        if self.mode in MANUAL_MODES and wanted is Outcome.REFUSED:
            return self._no_way_by_hand(client, host)
        try:
            client.wait_event("connected", timeout=MEETING)
        except AssertionError:
            return client.wait_failure(MEETING)["code"]
        return None

    def _no_way_by_hand(self, client: IroshProcess, host: IroshProcess) -> str | None:
        """The client gives up by itself, or the host says that nothing came of the answer; no packet passes then."""

        def over() -> bool:
            said = [event["error"]["code"] for event in host.events if event.get("event") == "block-refused"]
            connected = any(event.get("event") == "connected" for event in client.events)
            return connected or not client.running or "no-path" in said

        wait_until(over, timeout=MEETING, what="one of both sides says that there is no way")
        if any(event.get("event") == "connected" for event in client.events):
            return None
        return "no-path" if client.running else client.wait_failure()["code"]

    def _path(self, wanted: Outcome) -> Outcome:
        """How the connection goes, given time to become direct."""
        deadline = time.monotonic() + (SETTLED if wanted is not Outcome.DIRECT else BETTER)
        while (path := connection_of(self.client)["path"]) != "direct" and time.monotonic() < deadline:
            time.sleep(0.1)
        return Outcome(path)


def connection_of(irosh: Irosh) -> dict[str, Any]:
    """The only connection of a running node, as `irosh status` has it."""
    with ControlClient(StateDirectory(irosh.state).control_socket_path) as control:
        (connection,) = control.call("status", {})["connections"]
    return dict(connection)


def check_tunnels(machines: Built, client: Irosh, peer: str) -> None:
    """Bytes go there and back through a TCP and a UDP tunnel."""
    with machines.host.inside(), tcp_server(echo) as tcp, udp_server(lambda packet, _: packet) as udp:
        maps = [f"tcp://127.0.0.1:{tcp}=127.0.0.1:0", f"udp://127.0.0.1:{udp}=127.0.0.1:0"]
        with client.tunnel(peer, *maps) as tunnel, machines.client.inside():
            _check_tcp(tunnel.address(0))
            _check_udp(tunnel.address(1))


def _check_tcp(address: tuple[str, int]) -> None:
    sent = bytes(range(256)) * 1000
    with socket.create_connection(address, timeout=20) as sock:
        sender = threading.Thread(target=sock.sendall, args=(sent,))
        sender.start()
        received = bytearray()
        while len(received) < len(sent):
            data = sock.recv(65536)
            assert data, "the tunnel ended early"
            received += data
        sender.join()
    assert received == sent


def _check_udp(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.0)
        for _ in range(20):
            sock.sendto(b"ping", address)
            try:
                assert sock.recv(100) == b"ping"
            except TimeoutError:
                continue
            return
    raise AssertionError("no packet came back through the UDP tunnel")
