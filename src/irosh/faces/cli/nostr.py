"""``irosh nostr``: this machine's Nostr key, and a Nostr relay for machines without the internet."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import style

if TYPE_CHECKING:
    from irosh.rendezvous.nostr_relay import NostrRelay

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - a comparison


@click.group()
def nostr() -> None:
    """Show this machine's Nostr key, or run a Nostr relay."""


@nostr.command()
@click.option("--nsec-file", type=click.Path(path_type=Path), metavar="F", help="The key in this file instead.")
@common_options
def key(settings: Settings, nsec_file: Path | None) -> None:
    """Show the npub under which peers find this machine with --mode nostr.

    It belongs to this machine's identity, unless --nsec-file or the configuration names a key of your own.
    """
    from irosh.core.config import load_config
    from irosh.core.identity import load_or_create_identity
    from irosh.core.nostr_key import NostrKey
    from irosh.core.state import StateDirectory

    state = StateDirectory(settings.state_path)
    file = nsec_file or load_config(state.config_path).network.nsec_file
    if file is not None:
        own = NostrKey.load(file)
    else:
        own = NostrKey.derive(load_or_create_identity(state.ensure().identity_path).secret)
    settings.output.result({"npub": own.npub, "public_key": own.public.hex()}, own.npub)


@nostr.command()
@click.option(
    "--listen",
    default="127.0.0.1:7447",
    metavar="ADDR:PORT",
    show_default=True,
    help="Address to listen on; 0.0.0.0:PORT or [::]:PORT for all, port 0 for any free one.",
)
@common_options
def relay(settings: Settings, listen: str) -> None:
    """Pass on signalling of --mode nostr between machines that reach this one, until interrupted.

    For a network without the internet, or to need no one else's relay. It sees who meets whom and when, not what they
    say.
    """
    from irosh.core.addresses import parse_ip
    from irosh.core.socket_spec import Fault, parse_host, parse_port, split_host_port
    from irosh.rendezvous.nostr_relay import NostrRelay

    try:
        host_text, port_text = split_host_port(listen)
        host, port = parse_host(host_text), 0 if port_text == "0" else parse_port(port_text)
    except Fault as fault:
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"--listen {listen}: {fault.message}", fault.hint) from None
    if parse_ip(host) is None:
        raise IroshError(
            ErrorCode.INVALID_ADDRESS, f"--listen {listen}: not an IP address", "such as 127.0.0.1:7447, 0.0.0.0:7447"
        )
    asyncio.run(_serve(settings, NostrRelay(host, port)))


async def _serve(settings: Settings, relay: NostrRelay) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with relay:
        settings.output.event("ready", {"url": relay.url}, _welcome(relay))
        await stop.wait()
    settings.output.event("stopped", {}, "irosh: stopped")


def _welcome(relay: NostrRelay) -> str:
    import sys

    everywhere = relay.host in _WILDCARDS
    url = f"ws://ADDRESS:{relay.port}" if everywhere else relay.url
    return "\n".join(
        [
            f"The Nostr relay {style(relay.url, 'bold', sys.stderr)} serves everybody who can reach it",
            "",
            "Use it on a host, with this machine's address:" if everywhere else "Use it on a host:",
            "",
            f"    {style(f'irosh host --mode nostr --nostr-relay {url}', 'green', sys.stderr)}",
            "",
        ]
    )
