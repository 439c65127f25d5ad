"""irosh as people run it: a host, clients with state directories of their own, tunnels; each a program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measuring import BenchError
from bench.places import Place
from bench.programs import IROSH, Program, run

PETNAME = "bench-host"


@dataclass(frozen=True)
class Host:
    """A running ``irosh host`` and its ticket; empty in the modes that have none."""

    program: Program
    ticket: str


@contextmanager
def irosh_host(
    place: Place, state: Path, *, bind: str | None = None, relay: str | None = None, uses: int = 100
) -> Iterator[Host]:
    """A host in ``place`` that can be reached at ``bind`` (default: its address) and, if given, through ``relay``."""
    relays = ["--no-relay"] if relay is None else ["--relay", relay]
    where = ["--bind", f"{bind or place.address}:0", *relays, "--no-stun"]
    with irosh_host_with(place, state, *where, "--invite-uses", str(uses)) as host:
        yield host


@contextmanager
def irosh_host_with(place: Place, state: Path, *options: str) -> Iterator[Host]:
    """``irosh host`` with these options, once it is ready."""
    with Program(place.command(IROSH, "--state", str(state), "--json", "host", *options)) as program:
        yield Host(program, wait_event(program, "ready").get("ticket", ""))


@contextmanager
def nostr_relay(place: Place, state: Path, port: int) -> Iterator[str]:
    """``irosh nostr relay`` at the place's address; its URL."""
    command = ["nostr", "relay", "--listen", f"{place.address}:{port}"]
    with Program(place.command(IROSH, "--state", str(state), "--json", *command)) as program:
        yield str(wait_event(program, "ready")["url"])


@contextmanager
def irosh_relay(place: Place, port: int) -> Iterator[Program]:
    """``irosh relay serve`` at the place's address."""
    with Program(place.command(IROSH, "--json", "relay", "serve", "--listen", f"{place.address}:{port}")) as program:
        wait_event(program, "ready")
        yield program


def client_state(directory: Path, *relays: str) -> Path:
    """A state directory for a client that uses these relays and no other."""
    directory.mkdir(mode=0o700, parents=True)
    (directory / "config.toml").write_text(f"[network]\nrelays = {json.dumps(relays)}\nstun_servers = []\n")
    return directory


def pin(place: Place, state: Path, ticket: str) -> None:
    """Connect once with the ticket, so that :data:`PETNAME` is enough from now on."""
    run(place.command(IROSH, "--state", str(state), "connect", "--name", PETNAME, ticket, "true"))


@contextmanager
def irosh_tunnel(
    place: Place, state: Path, target: str, ports: Mapping[int, int], options: Sequence[str] = ()
) -> Iterator[Program]:
    """``irosh tunnel open``, once it listens. ``ports``: TCP port on the host's loopback → port on ours."""
    maps = [word for there, here in ports.items() for word in ("--map", f"tcp://127.0.0.1:{there}=127.0.0.1:{here}")]
    command = [IROSH, "--state", str(state), "--json", "tunnel", "open", *options, target, *maps]
    with Program(place.command(*command)) as program:
        wait_event(program, "ready")
        yield program


@contextmanager
def irosh_forwards(place: Place, state: Path, target: str, *forwards: str) -> Iterator[Program]:
    """``irosh connect -N`` with ``-L``, ``-R`` and ``-D``, once they stand."""
    options = ("-N", "-o", "ExitOnForwardFailure=yes", *forwards)
    with Program(place.command(IROSH, "--state", str(state), "--json", "connect", *options, target)) as program:
        wait_event(program, "ready")
        yield program


def path_in_use(place: Place, state: Path) -> str:
    """``direct`` or ``relayed``: how the only connection of the node with this state goes now."""
    status = json.loads(run(place.command(IROSH, "--state", str(state), "--json", "status")))
    (connection,) = status["connections"]
    return str(connection["path"])


def wait_event(program: Program, name: str) -> dict[str, Any]:
    """The next event ``name`` of a program that runs with ``--json``; other lines are passed over."""

    def find(line: str) -> dict[str, Any] | None:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            return None
        if event.get("ok") is False:
            raise BenchError(f"irosh: {event['error']}")
        return event if event.get("event") == name else None

    return program.wait_line(find)
