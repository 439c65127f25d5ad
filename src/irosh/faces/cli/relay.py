"""``irosh relay serve``: a relay for machines that cannot reach each other directly."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import style

if TYPE_CHECKING:
    from irosh.transport.relay import RelayConfig

TOKEN_VARIABLE = "IROSH_RELAY_TOKEN"  # noqa: S105 - a name, not a token
_MAX_TOKEN_FILE = 64 * 1024
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - a comparison


@click.group()
def relay() -> None:
    """Run a relay for machines that cannot reach each other directly."""


@relay.command()
@click.option(
    "--listen",
    default="127.0.0.1:3340",
    metavar="HOST:PORT",
    show_default=True,
    help="Address to listen on; 0.0.0.0:PORT or [::]:PORT for all, port 0 for any free one.",
)
@click.option(
    "--token", envvar=TOKEN_VARIABLE, metavar="T", help=f"Serve only clients with this token. Better: {TOKEN_VARIABLE}."
)
@click.option("--token-file", type=click.Path(path_type=Path), metavar="F", help="Tokens, one a line.")
@click.option("--allow", "allowed", multiple=True, metavar="ID", help="Serve only this endpoint id; repeatable.")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="F", help="PEM certificate chain: serve https.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="F", help="PEM private key of --tls-cert.")
@common_options
def serve(
    settings: Settings,
    listen: str,
    token: str | None,
    token_file: Path | None,
    allowed: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Carry encrypted traffic between machines that use this relay, until interrupted.

    Without --token and --allow it serves everybody. What it carries it cannot read. Arguments can be seen by other
    users of this machine, so a token is better given in a file or in IROSH_RELAY_TOKEN.
    """
    from irosh.core.identity import parse_endpoint_id
    from irosh.core.socket_spec import Fault, parse_host, parse_port, split_host_port
    from irosh.transport.relay import RelayConfig

    try:
        host_text, port_text = split_host_port(listen)
        host, port = parse_host(host_text), 0 if port_text == "0" else parse_port(port_text)
    except Fault as fault:
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"--listen {listen}: {fault.message}", fault.hint) from None
    tokens = ({token} if token is not None else set()) | (_read_tokens(token_file) if token_file else set())
    config = RelayConfig(
        host=host,
        port=port,
        tokens=frozenset(tokens),
        allow=frozenset(bytes.fromhex(parse_endpoint_id(text)) for text in allowed),
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    _run(_serve(settings, config))


def _run(serving: Coroutine[Any, Any, None]) -> None:
    """On uvloop where it is installed: a relay spends its time between sockets, and is up to twice as fast on it."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


async def _serve(settings: Settings, config: RelayConfig) -> None:
    from irosh.faces.cli.limits import raise_file_limit
    from irosh.transport.relay import RelayServer

    raise_file_limit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with RelayServer(config) as server:
        fields = {
            "url": server.url,
            "listen": [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in server.addresses],
            "tls": config.tls_cert is not None,
            "needs_token": bool(config.tokens),
            "allowed": sorted(endpoint_id.hex() for endpoint_id in config.allow),
        }
        settings.output.event("ready", fields, _welcome(server.url, config))
        await stop.wait()
        settings.output.event("stopping", {}, "irosh: stopping; clients are told to come back")
    settings.output.event("stopped", {}, "irosh: stopped")


def _welcome(url: str, config: RelayConfig) -> str:
    import sys

    condition = " and ".join(
        [
            *(["whoever has the token"] if config.tokens else []),
            *([f"{len(config.allow)} endpoint id(s)"] if config.allow else []),
        ]
    )
    return "\n".join(
        [
            f"The relay {style(url, 'bold', sys.stderr)} serves {condition or 'everybody who can reach it'}",
            "",
            "Use it on a host:" if config.host not in _WILDCARDS else "Use it on a host, with this machine's address:",
            "",
            f"    {style(f'irosh host --relay {_reachable(url, config)}', 'green', sys.stderr)}",
            "",
        ]
    )


def _reachable(url: str, config: RelayConfig) -> str:
    """``url``, or its form with a place for the address when the relay listens on all of them."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://ADDRESS:{rest.rpartition(':')[2]}" if config.host in _WILDCARDS else url


def _read_tokens(path: Path) -> set[str]:
    """The tokens in a file, one a line; blank lines and those that begin with ``#`` are skipped."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise IroshError(
                    ErrorCode.INVALID_CONFIG,
                    f"{path} holds relay tokens, but others may read it (mode {stat.S_IMODE(mode):04o})",
                    f"run: chmod 600 {path}",
                )
            content = file.read(_MAX_TOKEN_FILE + 1)
    except OSError as error:
        raise IroshError(ErrorCode.INVALID_CONFIG, f"cannot read {path}: {error.strerror}") from None
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    tokens = {line for line in lines if line and not line.startswith("#")}
    if len(content) > _MAX_TOKEN_FILE or not tokens:
        raise IroshError(ErrorCode.INVALID_CONFIG, f"{path} does not hold tokens, one a line")
    return tokens
