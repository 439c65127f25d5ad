"""A terminal at a session that stays or is shared: for ``irosh session attach``, ``irosh share`` and ``irosh join``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from irosh.core.errors import IroshError
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.carrier import carry_session
from irosh.faces.cli.escape_flags import EscapeFlags
from irosh.faces.cli.network_flags import NetworkFlags
from irosh.faces.cli.options import Settings
from irosh.faces.cli.running import Abandoned, control_client, running_node
from irosh.faces.cli.session_escapes import SessionEscapes, begin_foreground
from irosh.faces.cli.session_exit import cut_short, ended
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.ssh_options import sent_environment
from irosh.faces.cli.terminal import LocalTerminal

Request = Callable[[dict[str, Any]], tuple[str, Mapping[str, Any]]]
"""From what is said of the terminal to the operation and its arguments."""


def be_at_session(
    settings: Settings,
    request: Request,
    network: NetworkFlags | None = None,
    *,
    local: bool = False,
    hosting: bool = False,
    escapes: EscapeFlags,
) -> int:
    """Until the session has ended or was left; the exit status of the command.

    ``local``: at a session of the node that runs; ``hosting``: of one that lets peers in, which begins if none runs.
    """
    terminal = None if settings.json else LocalTerminal.find()
    if terminal is None:
        escapes = replace(escapes, character=None)
    foreground = begin_foreground(escapes, terminal)
    described: dict[str, Any] = {"env": sent_environment()}
    if terminal is not None:
        described |= terminal.request()
    try:
        node = running_node(settings) if local else control_client(settings, settings.output, hosting=hosting)
        with ended_as_interrupted(), node as client:
            client.request(*request(described))
            blocks = Blocks(settings.output, network.files() if network else {}, stdin=True, stdout=False)
            with SessionEscapes(settings, escapes, terminal, foreground=foreground) as keys:
                end = carry_session(client, settings.output, terminal, blocks, keys)
                keys.finish()
    except (Abandoned, IroshError) as error:
        return cut_short(settings, error)
    return ended(settings, end)
