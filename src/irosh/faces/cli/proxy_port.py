"""``irosh proxy --listen``: a local port that is a peer's SSH server, for programs that cannot run a ProxyCommand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.key_list import parse_key_list
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.input_file import read_input
from irosh.faces.cli.limits import raise_file_limit
from irosh.faces.cli.network_flags import NetworkFlags
from irosh.faces.cli.open_events import show_open_event
from irosh.faces.cli.options import Settings
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted

MAX_FILE = 256 * 1024  # bytes of a file with keys


def serve_port(
    settings: Settings, request: dict[str, Any], network: NetworkFlags, keys_file: Path | None, *, allow_remote: bool
) -> None:
    """Serve the port of ``request`` until interrupted."""
    request["login_keys"] = None if keys_file is None else _read_keys(keys_file)
    if allow_remote and keys_file is None:
        raise click.UsageError("--allow-remote takes --authorized-keys too: whoever reaches the port would be let in")
    listen = str(request["listen"])
    if not allow_remote and not _is_local(listen):
        raise click.UsageError(f"{listen} can be reached from elsewhere: that takes --allow-remote")
    output = settings.output
    if not _is_local(listen):
        text = f"irosh: warning: others may reach {listen}; the keys in {keys_file} are all that keeps them out"
        output.event("warning", {"listen": listen}, text)
    raise_file_limit()
    with ended_as_interrupted(), control_client(settings, output) as client:
        client.request("proxy.listen", request)
        blocks = Blocks(output, network.files(), stdin=True, stdout=True)
        with suppress(KeyboardInterrupt):
            for message in client.messages(lambda: blocks.wait(client)):
                if not blocks.handle(message):
                    show_open_event(
                        output, message, source=lambda _: "its SSH server", refused=lambda fields: str(fields["client"])
                    )


def _is_local(listen: str) -> bool:
    """Whether the address is a Unix socket's or plainly one of loopback; the node looks at what was bound."""
    from irosh.core.addresses import parse_ip
    from irosh.core.socket_spec import parse_listen, with_loopback

    if listen.startswith(("/", "unix:")):
        return True
    spec = parse_listen(listen if "://" in listen else f"tcp://{with_loopback(listen)}")
    address = parse_ip(spec.host)
    return spec.host == "localhost" if address is None else address.ip.is_loopback


def _read_keys(path: Path) -> list[str]:
    digests = read_input(path, MAX_FILE, parse_key_list)
    if not digests:
        raise IroshError(ErrorCode.USAGE, f"{path} holds no key", "put public keys there, one a line")
    return [digest.hex() for digest in digests]
