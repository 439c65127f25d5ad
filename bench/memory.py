"""Memory of an idle host, and what each connected peer and each tunnelled TCP connection adds, against sshd."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.measuring import Effort, Figures, interleaved, progress
from bench.nodes import client_state, irosh_host, irosh_tunnel, pin
from bench.openssh import OpenSSH, openssh
from bench.places import HERE, free_port, python, scratch
from bench.programs import Program
from bench.results import SUBJECT, Measurement
from bench.round_trip import echo_server
from bench.usage import MIB, memory, process_tree

TITLE = "memory of a host: idle, for each peer, for each tunnelled TCP connection"
SSHD = "sshd"
_KIB = 1024
_SETTLE = 1.0  # seconds for allocations and frees that a new state of things brings
Pids = Callable[[], Iterable[int]]
_KINDS = {"rss": "RSS", "pss": "PSS", "uss": "USS", "anonymous": "anonymous"}


def run(effort: Effort) -> list[Measurement]:
    """Each round starts programs afresh."""
    peers = effort.pick((1, 10, 100), (1, 2))
    clients = effort.pick((1, 10), (1, 2))
    held = effort.pick(1000, 10)
    repeats = min(effort.repeats, 3)  # each round takes a minute, and memory hardly varies
    growing = interleaved({SUBJECT: lambda: _irosh_peers(peers), SSHD: lambda: _ssh_clients(clients)}, repeats)
    holding = interleaved({SUBJECT: lambda: _irosh_held(held), SSHD: lambda: _ssh_held(held)}, repeats)
    served = interleaved({SUBJECT: _irosh_served}, repeats)
    return [
        *_idle(growing),
        Measurement("host that has served a command, anonymous", "MiB", "less", served["served"]),
        *(
            Measurement(f"host with idle peers: {count}, anonymous", "MiB", "less", growing[f"{count} peers"])
            for count in sorted({*peers, *clients})
        ),
        Measurement("each idle peer, at the host, anonymous", "KiB", "less", growing["each"]),
        Measurement(f"each of {held} TCP connections, at the host, anonymous", "KiB", "less", holding["host"]),
        Measurement(f"each of {held} TCP connections, at the client, anonymous", "KiB", "less", holding["client"]),
    ]


def _idle(growing: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Measurement]:
    for kind, name in _KINDS.items():
        yield Measurement(f"idle host, {name}", "MiB", "less", growing[kind])


# -- peers


def _irosh_peers(counts: Sequence[int]) -> Figures:
    with scratch() as directory, irosh_host(HERE, directory / "host", uses=max(counts)) as host:

        def host_memory() -> Iterable[int]:
            return [host.program.pid]

        idle = _settled(host_memory)
        with Program(python("bench.peers", str(directory / "peers")), stdin=True) as peers:
            peers.tell(host.ticket)

            def connect(more: int) -> None:
                peers.tell(str(more))
                peers.wait_line(lambda line: line if line == "connected\n" else None)

            return idle | _growth(counts, connect, host_memory)


def _ssh_clients(counts: Sequence[int]) -> Figures:
    with scratch() as directory, _sshd(directory) as server, contextlib.ExitStack() as clients:

        def server_memory() -> Iterable[int]:
            return process_tree(server.server.pid)

        def connect(more: int) -> None:
            for _ in range(more):
                clients.enter_context(server.background(HERE))

        return _settled(server_memory) | _growth(counts, connect, server_memory)


def _growth(counts: Sequence[int], connect: Callable[[int], None], pids: Pids) -> dict[str, float]:
    """Anonymous memory in MiB with so many peers, and in KiB what each adds between the least and the most."""
    used = {}
    before = 0
    for count in counts:
        progress(f"{count} peers")
        connect(count - before)
        before = count
        used[count] = _settled(pids)["anonymous"]
    each = (used[counts[-1]] - used[counts[0]]) * _KIB / (counts[-1] - counts[0])
    return {f"{count} peers": value for count, value in used.items()} | {"each": each}


# -- tunnelled TCP connections


def _irosh_held(count: int) -> Figures:
    with scratch() as directory, irosh_host(HERE, directory / "host") as host, _echo() as there:
        here = free_port()
        with irosh_tunnel(HERE, client_state(directory / "client"), host.ticket, {there: here}) as tunnel:
            return _held(here, count, lambda: [host.program.pid], lambda: [tunnel.pid])


def _ssh_held(count: int) -> Figures:
    with scratch() as directory, _sshd(directory) as server, _echo() as there:
        here = free_port()
        with server.background(HERE, "-L", f"127.0.0.1:{here}:127.0.0.1:{there}") as client:
            return _held(here, count, lambda: process_tree(server.server.pid), lambda: [client.pid])


def _held(port: int, count: int, host: Pids, client: Pids) -> Figures:
    """What each of ``count`` open connections, which have echoed a byte, adds at either end, in KiB."""
    before = [_settled(host)["anonymous"], _settled(client)["anonymous"]]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        after = [_settled(host)["anonymous"], _settled(client)["anonymous"]]
    added = [(now - then) * _KIB / count for then, now in zip(before, after, strict=True)]
    return {"host": added[0], "client": added[1]}


def _irosh_served() -> Figures:
    with scratch() as directory, irosh_host(HERE, directory / "host") as host:
        pin(HERE, client_state(directory / "client"), host.ticket)
        return {"served": _settled(lambda: [host.program.pid])["anonymous"]}


# -- parts


@contextmanager
def _sshd(directory: Path) -> Iterator[OpenSSH]:
    with openssh(HERE, free_port(), directory) as server:
        yield server


@contextmanager
def _echo() -> Iterator[int]:
    port = free_port()
    with echo_server(HERE, "127.0.0.1", port):
        yield port


def _settled(pids: Pids) -> dict[str, float]:
    """Memory of the processes in MiB, after a moment of rest."""
    time.sleep(_SETTLE)
    used = memory(pids())
    return {"rss": used.rss / MIB, "pss": used.pss / MIB, "uss": used.uss / MIB, "anonymous": used.anonymous / MIB}
