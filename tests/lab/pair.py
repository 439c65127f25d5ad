"""The usual beginning of a test: a host, and a client that has connected once and knows it by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import LOCAL, Machine

PEER = "box"
"""What clients call the host."""


@dataclass(frozen=True)
class Pair:
    """A running host, and a client that may use it as ``box``."""

    host: Irosh
    host_process: IroshProcess
    client: Irosh

    def add_client(self, state: Path, *, name: str = PEER, allow: Sequence[str] = ()) -> Irosh:
        """Another client with a state directory of its own, on the same machine, let in with ``allow``."""
        client = Irosh(self.client.machine, state)
        invite = self.host.call("invite", *(f"--allow={each}" for each in allow))
        pin(client, str(invite["ticket"]), name)
        return client


@contextmanager
def pinned_pair(
    directory: Path,
    *host_options: str,
    host_machine: Machine = LOCAL,
    client_machine: Machine = LOCAL,
    relays: Sequence[str] | None = (),
    config: str = "",
) -> Iterator[Pair]:
    """A pair for the length of the block, with state directories in ``directory``; ``config`` as for :class:`Irosh`."""
    host = Irosh(host_machine, directory / "host", relays=relays, config=config)
    client = Irosh(client_machine, directory / "client", relays=relays, config=config)
    with host.start("host", *host_options) as process:
        pin(client, process.wait_event("ready")["ticket"], PEER)
        yield Pair(host, process, client)


def pin(client: Irosh, ticket: str, name: str) -> None:
    """Connect for the first time, with a ticket. Needs no capability but that of the invite."""
    done = client.run("connect", "--name", name, ticket, "true")
    assert b"is pinned" in done.stderr, done.stderr.decode(errors="replace")
