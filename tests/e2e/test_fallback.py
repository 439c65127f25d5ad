"""Where no direct way is: relays and TURN servers, and flags that force or forbid them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from irosh.core.mode import MANUAL_MODES, Mode
from tests.lab.coturn import Coturn, coturn
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import two_nats
from tests.matrix.measure import connection_of

pytestmark = [pytest.mark.netns, requires_netns(), requires("turnserver")]

SYMMETRIC = (NatKind.SYMMETRIC, NatKind.SYMMETRIC)
PUBLIC = (NatKind.NONE, NatKind.NONE)


@dataclass(frozen=True)
class Meeting:
    """A client that has been started, and what is around."""

    client: Irosh
    process: IroshProcess
    servers: Coturn


def turn_flag(servers: Coturn) -> str:
    return f"--turn-server={servers.turn.username}:{servers.turn.password}@{servers.turn.host}:{servers.turn.port}"


@contextmanager
def meeting(
    directory: Path,
    mode: Mode,
    kinds: Sequence[NatKind],
    *,
    host_flags: Sequence[str] = (),
    client_flags: Sequence[str] = (),
    turn: str = "",
) -> Iterator[Meeting]:
    """Both have a relay configured, unless flags say otherwise. ``turn``: which side is given the TURN server."""
    with Network() as network, ExitStack() as stack:
        homes = two_nats(network, kinds[0], kinds[1])
        servers = stack.enter_context(coturn(homes.server))

        def serving(*command: str) -> str:
            process = Irosh(homes.server, directory / command[0]).start(*command, "--listen", f"{servers.turn.host}:0")
            return str(stack.enter_context(process).wait_event("ready")["url"])

        relay, nostr = serving("relay", "serve"), serving("nostr", "relay")
        stun = f'["{servers.stun}", "{servers.addresses[1]}:{servers.turn.port}"]'
        lines = (f"stun_servers = {stun}", f'nostr_relays = ["{nostr}"]', "mdns = false")
        host, client = (
            Irosh(home.host, directory / home.host.name, relays=[relay], network=lines)
            for home in (homes.alice, homes.bob)
        )
        common = [f"--mode={mode}"]
        if mode in MANUAL_MODES:
            common += [f"--{kind}-file={directory / kind}" for kind in ("offer", "answer")]
        extra = {side: [turn_flag(servers)] if turn == side else [] for side in ("host", "client")}
        hosting = stack.enter_context(host.start("host", *common, *host_flags, *extra["host"]))
        target = "-" if mode in MANUAL_MODES else str(hosting.wait_event("ready")["ticket"])
        options = (*common, *client_flags, *extra["client"], "--name=box")
        process = stack.enter_context(client.start("connect", *options, target, "echo through; sleep 100"))
        yield Meeting(client, process, servers)


@pytest.mark.parametrize("side", ["host", "client"])
@pytest.mark.parametrize("mode", [Mode.CUSTOM, Mode.NOSTR])
def test_turn_joins_symmetric_nats(mode: Mode, side: str, tmp_path: Path) -> None:
    flags = ("--no-relay",)
    with meeting(tmp_path, mode, SYMMETRIC, host_flags=flags, client_flags=flags, turn=side) as met:
        met.process.wait_event("connected")
        met.process.wait_event("stdout", data="through\n")
        (path,) = connection_of(met.client)["paths"]
        assert path["remote"] == f"turn:{met.servers.turn.host}"


@pytest.mark.parametrize("mode", [Mode.IROH_DEFAULT, Mode.CUSTOM, Mode.NOSTR])
def test_relay_only_uses_nothing_else(mode: Mode, tmp_path: Path) -> None:
    with meeting(tmp_path, mode, PUBLIC, host_flags=["--relay-only"], client_flags=["--relay-only"]) as met:
        met.process.wait_event("connected")
        met.process.wait_event("stdout", data="through\n")
        assert all(path["relayed"] for path in connection_of(met.client)["paths"])


@pytest.mark.parametrize("mode", [Mode.CUSTOM, Mode.NOSTR])
def test_no_relay_on_one_side_is_enough_to_forbid_it(mode: Mode, tmp_path: Path) -> None:
    with meeting(tmp_path, mode, SYMMETRIC, client_flags=["--no-relay"]) as met:
        error = met.process.wait_failure()
        assert error["code"] == "no-path"
        assert "symmetric" in error["message"]
        assert "--no-relay" in error["hint"]
