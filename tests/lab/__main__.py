"""The laboratory for people: two machines behind NATs and a STUN and TURN server, until Ctrl-C. Needs root.

python -m tests.lab port-restricted symmetric --carrier symmetric --delay 20 --loss 0.01 --rate 20mbit
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from contextlib import ExitStack

from tests.lab.coturn import coturn
from tests.lab.host import Host
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import find_program
from tests.lab.topologies import Home, Internet

KINDS = [kind.value for kind in NatKind]


def main(arguments: Sequence[str] | None = None) -> None:
    """Build it, say how to use it, and remove it when interrupted."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Network() as network, ExitStack() as stack:
            internet = Internet(network, ipv6=options.ipv6)
            homes = [_home(internet, name, options) for name in ("alice", "bob")]
            for home in homes:
                _row(home.host, f"behind {home.router.name}")
            _row(internet.server, "public")
            if find_program("turnserver"):
                server = stack.enter_context(coturn(internet.server))
                print(f"STUN and TURN: {server.stun}, user {server.turn.username!r}, password {server.turn.password!r}")
            print("Ctrl-C removes all of it, and ends what runs there.", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("removed")


def _home(internet: Internet, name: str, options: argparse.Namespace) -> Home:
    kinds = [NatKind(getattr(options, name)), *map(NatKind, options.carrier)]
    home = internet.home(name, *kinds, ipv6=options.ipv6 and not options.carrier, hairpin=options.hairpin)
    if options.delay or options.loss or options.rate:
        home.link.shape(delay=options.delay, jitter=options.jitter, loss=options.loss, rate=options.rate)
    return home


def _row(host: Host, where: str) -> None:
    print(f"{host.name:8}{', '.join(host.addresses):44}{where:24}{' '.join(host.prefix)} bash")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description="Two machines behind NATs, until Ctrl-C.")
    parser.add_argument("alice", choices=KINDS, nargs="?", default=NatKind.PORT_RESTRICTED.value)
    parser.add_argument("bob", choices=KINDS, nargs="?", default=NatKind.PORT_RESTRICTED.value)
    parser.add_argument("--carrier", choices=KINDS, action="append", default=[], help="one more NAT before both homes")
    parser.add_argument("--hairpin", action="store_true", help="the NATs turn packets to their outside back")
    parser.add_argument("--ipv6", action="store_true", help="with IPv6, which is not translated")
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="of each home's cable, one way")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="MS")
    parser.add_argument("--loss", type=float, default=0.0, metavar="FRACTION")
    parser.add_argument("--rate", metavar="RATE", help="such as 20mbit")
    return parser


if __name__ == "__main__":
    main()
