"""A tunnel of mode custom on the three ways that ICE may end with: direct, by the embedded iroh relay, by TURN.

Host and client are each behind a NAT: one that ICE gets through, or two symmetric ones, which nothing gets through.
The relay and coturn run on a server of the same internet. No link is shaped, so what the programs take is what counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.laboratory import internet, place
from bench.measuring import BenchError, Effort, interleaved
from bench.meeting import pair
from bench.nodes import PETNAME, irosh_relay, irosh_tunnel, path_in_use
from bench.places import Place, scratch
from bench.results import Measurement
from bench.ways import ECHO_PORT, IPERF_PORT, Way, far_servers, shown, traffic
from tests.lab.coturn import coturn
from tests.lab.nat import NatKind
from tests.lab.topologies import Internet

TITLE = "a tunnel of mode custom: direct, through the embedded iroh relay, and through TURN (coturn)"
DIRECT, RELAYED, TURN = "direct", "relayed", "TURN"
_RELAY_PORT = 3340
_FORWARDS = {IPERF_PORT: 15201, ECHO_PORT: 17007}


def run(effort: Effort) -> list[Measurement]:
    """Measure the three ways in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        net = stack.enter_context(internet(needs={"turnserver": "coturn"}))
        with_turn = stack.enter_context(coturn(net.server))
        turn = with_turn.turn
        relay = stack.enter_context(irosh_relay(place(net.server), _RELAY_PORT))
        url = f"http://{net.server.address}:{_RELAY_PORT}"
        credentials = f"{turn.username}:{turn.password}@{turn.host}:{turn.port}"
        stun = ["--stun-server", with_turn.stun]
        on = _Lab(stack, net, directory)
        ways = {
            DIRECT: _way(on, DIRECT, NatKind.PORT_RESTRICTED, stun),
            RELAYED: _way(on, RELAYED, NatKind.SYMMETRIC, stun, relay=url, others=[relay.pid]),
            TURN: _way(on, TURN, NatKind.SYMMETRIC, [*stun, "--turn-server", credentials], others=[with_turn.pid]),
        }
        contenders = {name: traffic(near, way, effort) for name, (near, way) in ways.items()}
        results = interleaved(contenders, effort.repeats)
    return shown(results, "all programs", subject=DIRECT)


@dataclass(frozen=True)
class _Lab:
    stack: contextlib.ExitStack
    internet: Internet
    directory: Path


def _way(
    lab: _Lab,
    name: str,
    nat: NatKind,
    options: Sequence[str],
    *,
    relay: str | None = None,
    others: Sequence[int] = (),
) -> tuple[Place, Way]:
    """A host and a client at homes of their own, and a tunnel between them; the client's place and what appears there.

    ``others``: further programs whose processor time counts.
    """
    host, client = (place(lab.internet.home(f"{name.lower()}-{side}", nat).host) for side in ("host", "client"))
    lab.stack.enter_context(far_servers(host))
    met = lab.stack.enter_context(pair(client, host, lab.directory / name, "custom", *options, relay=relay))
    met.ready()
    tunnel = lab.stack.enter_context(irosh_tunnel(client, met.state, PETNAME, _FORWARDS, met.options))
    found, wanted = path_in_use(client, met.state), DIRECT if name == DIRECT else RELAYED
    if found != wanted:
        raise BenchError(f"the path of the tunnel that should be {name} is {found}")
    pids = [met.host.program.pid, tunnel.pid, *others]
    return client, Way("127.0.0.1", _FORWARDS[IPERF_PORT], _FORWARDS[ECHO_PORT], pids)
