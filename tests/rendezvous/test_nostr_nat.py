"""Mode nostr between homes behind NATs, signalled over relays on a public server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.coturn import coturn
from tests.lab.ice_pair import Said, peer
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires_netns
from tests.lab.topologies import TwoHomes, two_nats

pytestmark = [pytest.mark.netns, requires_netns()]


class Servers:
    """Nostr relays, a STUN server and an iroh relay on the public server."""

    def __init__(self, stack: ExitStack, homes: TwoHomes, directory: Path) -> None:
        self.nostr = [self._start(stack, homes, directory / f"nostr{n}", "nostr", "relay") for n in range(3)]
        self.iroh = self._start(stack, homes, directory / "iroh", "relay", "serve")
        self.stun = stack.enter_context(coturn(homes.server)).stun

    def _start(self, stack: ExitStack, homes: TwoHomes, state: Path, *command: str) -> tuple[IroshProcess, str]:
        process = Irosh(homes.server, state).start(*command, "--listen", f"{homes.server.address}:0")
        stack.enter_context(process)
        return process, str(process.wait_event("ready")["url"])

    def settings(self, *, fallback: bool) -> dict[str, Any]:
        return {
            "nostr_relays": [url for _, url in self.nostr],
            "stun_servers": [self.stun],
            "relays": [self.iroh[1]] if fallback else [],
        }


@contextmanager
def met(
    directory: Path, kinds: Sequence[NatKind], *, fallback: bool, kill: int | None = None
) -> Iterator[tuple[Said, Said, Said]]:
    """What a host and a receiver behind NATs say: the receiver of the meeting, then what each has left."""
    with Network() as network, ExitStack() as stack:
        homes = two_nats(network, *kinds)
        servers = Servers(stack, homes, directory)
        settings = servers.settings(fallback=fallback)
        with peer(homes.alice.host, "nostr_peer", host=True, **settings) as host:
            ready = host.hear()
            assert ready["problems"] == []
            if kill is not None:
                servers.nostr[kill][0].kill()
            with peer(homes.bob.host, "nostr_peer", npub=ready["npub"], **settings) as receiver:
                meeting = receiver.hear()
                if "error" not in meeting:
                    assert host.hear()["peer"]
                left = receiver.hear()
            host.tell()
            host.hear()
            yield meeting, host.hear(), left


@pytest.mark.parametrize("kill", [None, 1], ids=["all-relays", "one-relay-killed"])
def test_port_restricted_meets_port_restricted_directly(tmp_path: Path, kill: int | None) -> None:
    kinds = (NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
    with met(tmp_path, kinds, fallback=True, kill=kill) as (meeting, *left):
        assert not meeting["relayed"]
        assert left == [{"sockets": 0, "tasks": 0}] * 2


def test_symmetric_meets_symmetric_by_the_relay(tmp_path: Path) -> None:
    with met(tmp_path, (NatKind.SYMMETRIC, NatKind.SYMMETRIC), fallback=True) as (meeting, *left):
        assert meeting["relayed"]
        assert left == [{"sockets": 0, "tasks": 0}] * 2


def test_symmetric_meets_nobody_symmetric_without_a_relay(tmp_path: Path) -> None:
    with met(tmp_path, (NatKind.SYMMETRIC, NatKind.SYMMETRIC), fallback=False) as (meeting, *left):
        assert meeting["error"]["code"] == "no-path"
        assert left == [{"sockets": 0, "tasks": 0}] * 2
