"""A tunnel through the embedded relay against one on the direct path, between the same two places in the same run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench.measuring import BenchError, Effort, interleaved
from bench.nodes import client_state, irosh_host, irosh_relay, irosh_tunnel, path_in_use
from bench.places import Place, scratch, two_namespaces
from bench.results import Measurement
from bench.ways import ECHO_PORT, IPERF_PORT, Way, far_servers, shown, traffic

TITLE = "a tunnel through the embedded relay, against one on the direct path"
DIRECT, RELAYED = "direct", "relayed"
_RELAY_PORT = 3340
_FORWARDS = {
    DIRECT: {IPERF_PORT: 15201, ECHO_PORT: 17007},
    RELAYED: {IPERF_PORT: 25201, ECHO_PORT: 27007},
}


def run(effort: Effort) -> list[Measurement]:
    """Measure both ways in turn. The relay runs beside the host in the far place."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        near, far = stack.enter_context(two_namespaces())
        stack.enter_context(far_servers(far))
        relay = stack.enter_context(irosh_relay(far, _RELAY_PORT))
        url = f"http://{far.address}:{_RELAY_PORT}"
        ways = {
            DIRECT: _way(stack, near, far, directory, DIRECT, None, []),
            RELAYED: _way(stack, near, far, directory, RELAYED, url, [relay.pid]),
        }
        results = interleaved({name: traffic(near, way, effort) for name, way in ways.items()}, effort.repeats)
        for path in ways:
            if (found := path_in_use(near, _client(directory, path))) != path:
                raise BenchError(f"the {path} tunnel's path is {found}")
    return shown(results, "all programs", subject=RELAYED)


def _way(
    stack: contextlib.ExitStack,
    near: Place,
    far: Place,
    directory: Path,
    path: str,
    relay: str | None,
    pids: list[int],
) -> Way:
    # A host bound to its own loopback has no address that the near place could reach: only the relay is left.
    bind = far.address if relay is None else "127.0.0.1"
    host = stack.enter_context(irosh_host(far, directory / f"host-{path}", bind=bind, relay=relay))
    state = client_state(_client(directory, path), *([relay] if relay else []))
    ports = _FORWARDS[path]
    tunnel = stack.enter_context(irosh_tunnel(near, state, host.ticket, ports))
    pids = [*pids, host.program.pid, tunnel.pid]
    return Way("127.0.0.1", ports[IPERF_PORT], ports[ECHO_PORT], pids)


def _client(directory: Path, path: str) -> Path:
    return directory / f"client-{path}"
