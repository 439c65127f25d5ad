"""STUN and TURN servers: coturn on a host of the laboratory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from irosh.core.socket_spec import bracketed
from tests.lab.host import Host

DEFAULT_PORT = 3478
_TEMPORARY = ("--userdb", "/dev/null", "--pidfile", "/dev/null", "--log-file", "stdout", "--simple-log")


@dataclass(frozen=True)
class TurnServer:
    """Where a relay is, by UDP and TCP alike, and the long-term credentials (RFC 8489, 9.2) that it takes."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Coturn:
    """A running coturn. ``addresses`` are those it listens on, each with two ports: :attr:`turn`'s and the next."""

    addresses: tuple[str, ...]
    turn: TurnServer
    pid: int

    @property
    def stun(self) -> str:
        """``host:port`` of its first address."""
        return f"{self.turn.host}:{self.turn.port}"

    @property
    def other_address(self) -> tuple[str, int]:
        """What it answers as OTHER-ADDRESS (RFC 5780) when asked at :attr:`stun`; it needs two addresses."""
        return self.addresses[1], self.turn.port + 1


@contextmanager
def coturn(
    host: Host,
    *addresses: str,
    port: int = DEFAULT_PORT,
    username: str = "irosh",
    password: str = "in the laboratory",
) -> Iterator[Coturn]:
    """STUN and TURN on ``host`` for the length of the block, which begins once it listens.

    ``addresses`` are all of the host's IPv4 addresses by default. With two or more it also finds out a NAT's behaviour
    for clients (RFC 5780). Nothing is written to the disk.
    """
    listening = addresses or tuple(each for each in host.addresses if ":" not in each)
    command = [
        *("turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", *_TEMPORARY),
        *("--lt-cred-mech", "--realm", "lab", "--user", f"{username}:{password}", "--listening-port", str(port)),
        *(f"--listening-ip={each}" for each in listening),
        f"--relay-ip={listening[0]}",
        *(["--no-rfc5780"] if len(listening) == 1 else []),
    ]

    def listens() -> bool:
        asked = ("-Hln", "sport", "=", f":{port}")
        sockets = [host.run("ss", kind, *asked).stdout.decode() for kind in ("-u", "-t")]
        return all(f"{bracketed(each)}:{port} " in found for each in listening for found in sockets)

    with host.running(*command, ready=listens) as process:
        yield Coturn(listening, TurnServer(listening[0], port, username, password), process.pid)
