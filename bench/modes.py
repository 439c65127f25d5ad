"""Time to set up a session in each mode, from starting ``irosh connect`` to the first byte, beside ``ssh``.

The client is at home behind a NAT, 20 ms from everybody else. Its host has a public address, as ssh needs it, or is
behind a NAT too. Servers for STUN, iroh's relay and Nostr's run on the same internet; blocks go by files.
"""

from __future__ import annotations

import contextlib

from bench.connect import timed
from bench.laboratory import internet, place
from bench.measuring import Contender, Effort, Figures, interleaved
from bench.meeting import Pair, pair
from bench.nodes import irosh_relay, nostr_relay
from bench.openssh import openssh
from bench.places import scratch
from bench.results import SUBJECT, Measurement
from tests.lab.coturn import coturn
from tests.lab.nat import NatKind

TITLE = "from starting `irosh connect` to the first byte, in each mode, 20 ms from the host; nothing runs at the client"
MODES = ("iroh-default", "iroh-manual", "custom", "nostr")
_SSH = "ssh"
_PUBLIC, _HIDDEN = "host with a public address", "both behind NATs"
_DELAY = 10.0  # ms, one way
_COMMAND = "echo x"
_RELAY_PORT, _NOSTR_PORT = 3340, 7447


def run(effort: Effort) -> list[Measurement]:
    """All modes with both hosts, and ssh with the public one, in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        net = stack.enter_context(internet(needs={"turnserver": "coturn"}))
        stun = stack.enter_context(coturn(net.server)).stun
        server = place(net.server)
        stack.enter_context(irosh_relay(server, _RELAY_PORT))
        relay = f"http://{server.address}:{_RELAY_PORT}"
        nostr = stack.enter_context(nostr_relay(server, directory / "nostr-relay", _NOSTR_PORT))
        client = net.home("client", NatKind.PORT_RESTRICTED)
        client.link.shape(delay=_DELAY)
        near = place(client.host)
        hosts = {_PUBLIC: place(net.home("public").host)}
        if not effort.quick:
            hosts[_HIDDEN] = place(net.home("hidden", NatKind.PORT_RESTRICTED).host)
        ssh = stack.enter_context(openssh(hosts[_PUBLIC], 2222, directory))
        ssh_command = near.command(*ssh.command(), _COMMAND)
        contenders: dict[str, Contender] = {_SSH: lambda: timed(ssh_command)}
        options = {
            "iroh-default": ["--stun-server", stun],
            "iroh-manual": ["--stun-server", stun],
            "custom": ["--stun-server", stun],
            "nostr": ["--stun-server", stun, "--nostr-relay", nostr],
        }
        for where, far in hosts.items():
            for mode in MODES:
                name = f"{mode}, {where}"
                uses = relay if mode == "iroh-default" else None
                met = stack.enter_context(pair(near, far, directory / name, mode, *options[mode], relay=uses))
                contenders[name] = _connecting(met)
        results = interleaved(contenders, effort.repeats * effort.pick(3, 1))
    measurements = []
    for where in hosts:
        for mode in MODES:
            for figure in ("first byte", "end"):
                values = {SUBJECT: results[figure][f"{mode}, {where}"]}
                if where == _PUBLIC:
                    values = {_SSH: results[figure][_SSH], **values}
                measurements.append(Measurement(f"{mode}, {where}: {figure}", "ms", "less", values))
    return measurements


def _connecting(met: Pair) -> Contender:
    command = met.command(_COMMAND)

    def measure() -> Figures:
        met.ready()
        return timed(command)

    return measure
